# SPDX-License-Identifier: GPL-3.0-or-later
"""Chains with a few faults each, for comparing validators: hypothesis draws, we sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import strategies as st
from interop.oracles import Question
from unit import pki_factory as factory
from unit.pki_factory import DAY, NOW, SECOND

HOUR = timedelta(hours=1)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
SIGNING = ExtendedKeyUsageOID.CODE_SIGNING
POINT = "http://crl.example/one.crl"
OTHER_POINT = "http://crl.example/other.crl"


@dataclass(frozen=True)
class Link:
    """One certificate of a chain, without its place in it; ``usage`` None leaves it out."""

    authority: bool | None = True
    path_length: int | None = None
    usage: tuple[str, ...] | None = ("key_cert_sign", "crl_sign")
    eku: tuple[x509.ObjectIdentifier, ...] = ()
    start: datetime = NOW - 30 * DAY
    end: datetime = NOW + 30 * DAY
    serial: int = 0
    signer: str = ""  # the name of a key, if not that of the CA above
    point: str = POINT
    identifiers: bool = True
    permitted: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class List:
    """One CRL; ``idp`` None leaves the issuing distribution point out."""

    revoked: tuple[int, ...] = ()
    start: datetime = NOW - HOUR
    end: datetime = NOW + HOUR
    number: int = 5
    idp: dict[str, Any] | None = None
    delta: bool = False
    signer: str = ""
    reason: x509.ReasonFlags | None = None


LEAF = Link(
    authority=False,
    usage=("digital_signature", "key_encipherment"),
    eku=(CLIENT, SERVER),
    hosts=("hook.example",),
)

AUTHORITY_FAULTS: tuple[dict[str, Any], ...] = (
    {"authority": False},
    {"authority": None},
    {"path_length": 0},
    {"path_length": 1},
    {"path_length": 2},
    {"usage": ("crl_sign",)},
    {"usage": ("key_cert_sign",)},
    {"usage": ("digital_signature",)},
    {"usage": None},
    {"eku": (CLIENT,)},
    {"eku": (SERVER,)},
    {"eku": (ANY,)},
    {"eku": (SIGNING,)},
    {"start": NOW + SECOND},
    {"start": NOW},
    {"end": NOW - SECOND},
    {"end": NOW},
    {"signer": "stranger"},
    {"identifiers": False},
    {"permitted": ("example",)},
    {"permitted": ("hook.example", "other.example")},
    {"permitted": ("other.example",)},
    {"excluded": ("other.example",)},
    {"excluded": ("example",)},
    {"permitted": ("example",), "excluded": ("hook.example",)},
)
LEAF_FAULTS: tuple[dict[str, Any], ...] = (
    {"authority": True},
    {"authority": True, "usage": ("key_cert_sign",)},
    {"authority": None},
    {"usage": ("key_cert_sign",)},
    {"usage": ("content_commitment",)},
    {"usage": ("key_agreement",)},
    {"usage": ("key_encipherment",)},
    {"usage": None},
    {"eku": ()},
    {"eku": (CLIENT,)},
    {"eku": (SERVER,)},
    {"eku": (ANY,)},
    {"eku": (SIGNING,)},
    {"start": NOW + SECOND},
    {"start": NOW},
    {"end": NOW - SECOND},
    {"end": NOW},
    {"signer": "stranger"},
    {"point": OTHER_POINT},
    {"point": ""},
    {"identifiers": False},
    {"hosts": ()},
    {"hosts": ("hook.example", "other.example")},
    {"hosts": ("*.example",)},
    {"hosts": ("ho_ok.example",)},
    {"hosts": ("HOOK.EXAMPLE",)},
)
LIST_FAULTS: tuple[dict[str, Any], ...] = (
    {"revoked": "child"},
    {"revoked": "child", "reason": x509.ReasonFlags.certificate_hold},
    {"revoked": "child", "end": NOW - SECOND},
    {"revoked": (424242,)},
    {"start": NOW + SECOND},
    {"start": NOW},
    {"end": NOW - SECOND},
    {"end": NOW},
    {"idp": {"only_contains_user_certs": True}},
    {"idp": {"only_contains_ca_certs": True}},
    {"idp": {"only_contains_attribute_certs": True}},
    {"idp": {"uri": POINT}},
    {"idp": {"uri": OTHER_POINT}},
    {"idp": {"uri": POINT, "only_contains_user_certs": True}},
    {"idp": {"only_some_reasons": frozenset({x509.ReasonFlags.key_compromise})}},
    {"idp": {"indirect_crl": True}},
    {"delta": True},
    {"signer": "stranger"},
)


@dataclass(frozen=True)
class Drawn:
    """A chain as drawn: CAs from the anchor downwards; CRLs of the anchor and of each CA."""

    authorities: tuple[Link, ...]
    leaf: Link
    lists: tuple[tuple[List, ...], ...] | None
    purpose: str | None

    def question(self) -> Question:
        anchor = factory.authority("Anchor")
        chain = [anchor]
        for depth, link in enumerate(self.authorities):
            chain.append(_authority(link, depth, chain[-1]))
        leaf = _sign(self.leaf, "leaf", len(chain), chain[-1])
        return Question(
            leaf.public_bytes(Encoding.DER),
            [one.der for one in chain[1:]],
            anchor.der,
            None if self.lists is None else self._crls(chain),
            NOW,
            self.purpose,
        )

    def _crls(self, chain: Sequence[factory.Authority]) -> list[bytes]:
        assert self.lists is not None
        return [
            _crl(one, issuer, child=_serial(depth + 1))
            for depth, (issuer, lists) in enumerate(zip(chain, self.lists, strict=True))
            for one in lists
        ]


def _serial(depth: int) -> int:
    return 1000 + depth


def _authority(link: Link, depth: int, above: factory.Authority) -> factory.Authority:
    name = f"CA {depth}"
    return factory.Authority(_sign(link, name, depth + 1, above), factory.key(name))


def _sign(link: Link, name: str, depth: int, above: factory.Authority) -> x509.Certificate:
    public = factory.key(name).public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(factory.name(name))
        .issuer_name(above.certificate.subject)
        .public_key(public)
        .serial_number(_serial(depth))
        .not_valid_before(link.start)
        .not_valid_after(link.end)
    )
    if link.authority is not None:
        length = link.path_length if link.authority else None
        builder = builder.add_extension(x509.BasicConstraints(link.authority, length), True)
    if link.usage is not None:
        builder = builder.add_extension(factory.usage(*link.usage), True)
    if link.eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage(link.eku), False)
    if link.permitted or link.excluded:
        trees = ([x509.DNSName(one) for one in side] for side in (link.permitted, link.excluded))
        constraints = x509.NameConstraints(*(side or None for side in trees))
        builder = builder.add_extension(constraints, True)
    if link.hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in link.hosts])
        builder = builder.add_extension(names, False)
    if link.point:
        points = x509.CRLDistributionPoints([factory.point(link.point)])
        builder = builder.add_extension(points, False)
    if link.identifiers:
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(above.private.public_key())
        builder = builder.add_extension(identifier, False).add_extension(issuer, False)
    return builder.sign(factory.key(link.signer) if link.signer else above.private, hashes.SHA256())


def _crl(one: List, issuer: factory.Authority, child: int) -> bytes:
    extensions: list[tuple[x509.ExtensionType, bool]] = []
    if one.idp is not None:
        fields = dict(one.idp)
        extensions.append(factory.idp(fields.pop("uri", None), **fields))
    if one.delta:
        extensions.append((x509.DeltaCRLIndicator(1), True))
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.private.public_key())
    return issuer.crl(
        [child] if one.revoked == "child" else one.revoked,
        start=one.start,
        end=one.end,
        number=one.number,
        reason=one.reason,
        extensions=[*extensions, (identifier, False)],
        signer=factory.key(one.signer) if one.signer else None,
    )


def _faulty(draw: st.DrawFn, good: Any, faults: Sequence[dict[str, Any]], odds: int) -> Any:
    """The good thing, or once in ``odds`` one with a fault."""
    number = draw(st.integers(0, odds * len(faults) - 1))
    return replace(good, **faults[number]) if number < len(faults) else good


@st.composite
def chains(draw: st.DrawFn) -> Drawn:
    """Zero to three CAs under the anchor; most parts are good, so that many chains are."""
    depth = draw(st.integers(0, 3))
    authorities = tuple(_faulty(draw, Link(), AUTHORITY_FAULTS, 4) for _ in range(depth))
    leaf = _faulty(draw, LEAF, LEAF_FAULTS, 3)
    lists = None
    if draw(st.booleans()):
        lists = tuple(_lists(draw) for _ in range(depth + 1))
    purpose = draw(st.sampled_from([None, "clientAuth", "serverAuth"]))
    return Drawn(authorities, leaf, lists, purpose)


def _lists(draw: st.DrawFn) -> tuple[List, ...]:
    """One CRL; at times none, or an older or newer one or a delta beside it."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return ()
    first = _faulty(draw, List(), LIST_FAULTS, 4)
    if kind > 3:
        return (first,)
    second = replace(_faulty(draw, List(), LIST_FAULTS, 2), number=5 + kind - 2)
    return (first, second)
