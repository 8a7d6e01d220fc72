# SPDX-License-Identifier: GPL-3.0-or-later
"""Certification paths to pinned anchors, by RFC 5280 and none of our own wishes.

The verdict is always that of ``cryptography.x509.verification``. What is added here is the
bounds it needs, and the reason in words: when it says no, the chain is walked again
without looking at dates, to tell an expired certificate from a missing or foreign one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from . import names, path_profile, revocation
from .certs import (
    DECODE_ERRORS,
    check_signature_octets,
    in_seconds,
    issued_by,
    issuer_of,
    load,
    name_bytes,
    sha256,
    short,
    stamp,
    subject_of,
    to_der,
)
from .errors import PkiError

RULE_CHAIN = "DIP-3.5.1-CHAIN"
RULE_EXPIRY = "DIP-3.5.1-EXPIRY"
MAX_CHAIN = 8  # certificates in a path, leaf and anchor included
_MAX_SIGNATURES = 64  # checked while looking for words; a real chain needs three

Chain = tuple[x509.Certificate, ...]

_PURPOSES = {
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
}


def validate(
    leaf: bytes,
    intermediates: Sequence[bytes],
    anchors: Sequence[bytes],
    *,
    crls: Sequence[bytes] | None = None,
    ocsp: Sequence[bytes] | None = None,
    purpose: str | None = None,
    now: datetime,
) -> list[bytes]:
    """The path from ``leaf`` to one of ``anchors``, as DER, leaf first and anchor last.

    Certificates are DER or PEM. ``purpose`` is ``clientAuth``, ``serverAuth`` or a dotted
    OID that leaf and CAs must allow; None leaves extended key usage to the caller, and lets
    a CA certificate be the leaf (RFC 5280, 6.1 makes no difference; a named purpose does).
    With ``crls`` and ``ocsp`` both None revocation is not checked; when either is given,
    every certificate below the anchor needs a good answer. Host names are not judged.

    Raises:
        PkiError: DIP-3.5.1-CHAIN, DIP-3.5.1-EXPIRY or DIP-3.5.2.5-RP-CHECK.
        ValueError: a naive ``now`` or a ``purpose`` that is no OID: faults of the caller.
    """
    found = build(
        one_certificate(leaf, "leaf"),
        certificates(intermediates, "intermediate"),
        certificates(anchors, "anchor"),
        purpose=purpose,
        now=now,
    )
    chain = [to_der(certificate) for certificate in found]
    if crls is not None or ocsp is not None:
        revocation.require_good(revocation.check(chain, crls or (), now, ocsp=ocsp or ()))
    return chain


def build(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    *,
    now: datetime,
    purpose: str | None = None,
    judge_leaf: bool = True,
) -> Chain:
    """As ``validate``, on parsed certificates and without revocation.

    ``judge_leaf=False`` leaves the leaf's own key, basicConstraints, keyUsage and names to
    the caller, who has rules with a clause and better words for them; signatures, issuers,
    dates and everything about the CAs are judged all the same.
    """
    moment = in_seconds(now)
    if not anchors:
        raise _chain_error(leaf, "no trust anchor is configured", "at least one pinned CA")
    pool = _relevant(leaf, intermediates)
    usage = _purpose_oid(purpose)
    verifier = _verifier(anchors, moment, usage)
    try:
        chain = tuple(verifier.verify(leaf, list(pool)).chain)
        for certificate in chain:
            check_signature_octets(to_der(certificate))
        fault = path_profile.fault_of_path(chain)
        if fault is None and judge_leaf:
            fault = path_profile.fault_of_leaf(leaf, usage)
    except verification.VerificationError as exc:
        raise _explain(leaf, pool, anchors, moment, str(exc)) from None
    except DECODE_ERRORS as exc:
        raise _chain_error(leaf, names.printable(str(exc)), "well-formed certificates") from None
    if not 2 <= len(chain) <= MAX_CHAIN:
        raise _chain_error(
            leaf,
            f"a path of {len(chain)} certificates",
            f"2 to {MAX_CHAIN}: a certificate and the CAs above it up to a pinned anchor",
        )
    if fault is not None:
        raise _chain_error(leaf, fault.found, fault.expected)
    return chain


def dateless(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
) -> Chain:
    """The shortest path by names and signatures, whatever the dates; the leaf alone if none.

    No verdict: only what there is to look at after ``build`` refused a path for its dates.
    """
    return next(_dateless_paths(leaf, _relevant(leaf, intermediates), anchors), (leaf,))


def certificates(sources: Sequence[bytes], role: str) -> list[x509.Certificate]:
    """All certificates of some DER or PEM files, which were configured by a person.

    Raises:
        PkiError: rule DIP-3.5.1-CHAIN; one of them is not a certificate.
    """
    found: list[x509.Certificate] = []
    for number, data in enumerate(sources, start=1):
        found += _load(data, f"{role} {number}")
    return found


def one_certificate(data: bytes, role: str) -> x509.Certificate:
    """The single certificate of a DER or PEM file; raises like ``certificates``."""
    found = _load(data, role)
    if len(found) != 1:
        raise _not_a_certificate(role, f"{len(found)} certificates")
    return found[0]


def _load(data: bytes, role: str) -> list[x509.Certificate]:
    try:
        if data[:1] == b"\x30":
            return [load(data)]
        return x509.load_pem_x509_certificates(data)
    except DECODE_ERRORS as exc:
        raise _not_a_certificate(role, names.printable(str(exc))) from None


def _not_a_certificate(role: str, found: str) -> PkiError:
    return PkiError(
        f"the {role} given for a path is not a certificate",
        rule=RULE_CHAIN,
        found=found,
        expected="an X.509 certificate, DER or PEM",
        next_step=f"replace the {role} by the file its CA published and check its SHA-256",
    )


def _purpose_oid(purpose: str | None) -> x509.ObjectIdentifier | None:
    return None if purpose is None else _PURPOSES.get(purpose) or x509.ObjectIdentifier(purpose)


def _verifier(
    anchors: Sequence[x509.Certificate],
    now: datetime,
    purpose: x509.ObjectIdentifier | None,
) -> verification.ClientVerifier:
    """A verifier that judges no host name: who may be called what is the policy's affair.

    The client verifier is used for servers too, because it is the one without a host
    name; the extended key usage is therefore judged by our own callback.
    """
    either = verification.Criticality.AGNOSTIC
    usage = above = None
    if purpose is not None:
        usage = _usage_check(purpose)
        above = _usage_check(purpose, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    # A path needs no SAN: the leaf is identified by key and common name. Whether it may be a
    # CA's is judged in path_profile. All else that the library's profiles demand of leaf and
    # CAs (key identifiers, CA flags) stays.
    leaf = (
        verification.ExtensionPolicy.webpki_defaults_ee()
        .may_be_present(x509.SubjectAlternativeName, either, None)
        .may_be_present(x509.ExtendedKeyUsage, either, usage)
        .may_be_present(x509.BasicConstraints, either, None)
        .may_be_present(x509.KeyUsage, either, None)
    )
    authority = verification.ExtensionPolicy.webpki_defaults_ca().may_be_present(
        x509.ExtendedKeyUsage, either, above
    )
    builder = verification.PolicyBuilder().store(verification.Store(list(anchors))).time(now)
    builder = builder.max_chain_depth(MAX_CHAIN - 2)
    builder = builder.extension_policies(ca_policy=authority, ee_policy=leaf)
    return builder.build_client_verifier()


class _usage_check:
    """Extended key usage, where there is one, must name the purpose (RFC 5280, 4.2.1.12).

    A CA's may name any; of a leaf that is no answer to the question whether it may do this.
    """

    def __init__(self, *allowed: x509.ObjectIdentifier) -> None:
        self._allowed = frozenset(allowed)

    def __call__(
        self,
        policy: verification.Policy,
        certificate: x509.Certificate,
        usage: x509.ExtendedKeyUsage | None,
    ) -> None:
        if usage is not None and not self._allowed.intersection(usage):
            raise ValueError("extended key usage does not allow the purpose")


def _relevant(leaf: x509.Certificate, offered: Sequence[x509.Certificate]) -> Chain:
    """Offered certificates that could be above the leaf by name, in an order of our own.

    Strangers in a reply must neither change the verdict nor cost time; sorting makes the
    result independent of the order they came in (latest end first, then fingerprint).
    """
    by_subject: dict[bytes, list[x509.Certificate]] = {}
    unique = {to_der(certificate): certificate for certificate in offered}
    unique.pop(to_der(leaf), None)
    for certificate in unique.values():
        by_subject.setdefault(name_bytes(certificate, "subject"), []).append(certificate)
    found: list[x509.Certificate] = []
    wanted, seen = [name_bytes(leaf, "issuer")], set[bytes]()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        issuers = by_subject.get(name, [])
        found += issuers
        wanted += [name_bytes(certificate, "issuer") for certificate in issuers]
    if len(found) > MAX_CHAIN:
        raise _chain_error(
            leaf,
            f"{len(found)} CA certificates that could be above it",
            f"at most {MAX_CHAIN}",
        )
    return tuple(sorted(found, key=_latest_first))


def _latest_first(certificate: x509.Certificate) -> tuple[float, str]:
    return (-certificate.not_valid_after_utc.timestamp(), sha256(certificate))


# --- words for a refusal ----------------------------------------------------------------


def _explain(
    leaf: x509.Certificate,
    pool: Chain,
    anchors: Sequence[x509.Certificate],
    now: datetime,
    reason: str,
) -> PkiError:
    """The most telling error for a path that the verifier refused."""
    paths = list(_dateless_paths(leaf, pool, anchors))
    if not paths:
        return _no_path(leaf, pool, anchors)
    outdated = [_first_outdated(path, now) for path in paths]
    culprits = [certificate for certificate in outdated if certificate is not None]
    if len(culprits) == len(paths):
        return _expiry_error(culprits[0], now)
    return _chain_error(
        leaf,
        names.printable(reason),
        "a path that satisfies RFC 5280: CA flags, path lengths, key usages, constraints",
    )


def _dateless_paths(
    leaf: x509.Certificate, pool: Chain, anchors: Sequence[x509.Certificate]
) -> Iterator[Chain]:
    """Paths by name and signature alone, shortest first along every branch; bounded."""
    budget = _MAX_SIGNATURES
    fingerprints = {sha256(anchor) for anchor in anchors}
    parents = [*anchors, *(ca for ca in pool if sha256(ca) not in fingerprints)]
    open_paths: list[Chain] = [(leaf,)]
    while open_paths:
        path = open_paths.pop(0)
        for parent in parents:
            if parent in path or name_bytes(parent, "subject") != name_bytes(path[-1], "issuer"):
                continue
            if budget == 0:
                return
            budget -= 1
            if not issued_by(path[-1], parent):
                continue
            if sha256(parent) in fingerprints:
                yield (*path, parent)
            elif len(path) < MAX_CHAIN - 1:
                open_paths.append((*path, parent))


def _first_outdated(path: Chain, now: datetime) -> x509.Certificate | None:
    return next((certificate for certificate in path if not _within(certificate, now)), None)


def _within(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _expiry_error(certificate: x509.Certificate, now: datetime) -> PkiError:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    name = subject_of(certificate)
    ended = now > end
    found = f"ended on {stamp(end)}" if ended else f"begins on {stamp(start)}"
    return PkiError(
        f"the certificate of {name} {'has expired' if ended else 'is not valid yet'}",
        rule=RULE_EXPIRY,
        found=f"{name} {found}",
        expected=f"a certificate that is valid on {stamp(now)}",
        where=f"certificate {short(sha256(certificate))}",
        next_step="ask its issuer for the current certificate; check this machine's clock "
        "if the date above looks right",
    )


def _no_path(leaf: x509.Certificate, pool: Chain, anchors: Sequence[x509.Certificate]) -> PkiError:
    """Where the walk upwards stops: an issuer nobody gave us, or a root that is not ours."""
    top, seen = leaf, {sha256(leaf)}
    while True:
        above = next((ca for ca in pool if sha256(ca) not in seen and issued_by(top, ca)), None)
        if above is None:
            break
        top = above
        seen.add(sha256(top))
    pinned = ", ".join(f"{subject_of(anchor)} ({short(sha256(anchor))})" for anchor in anchors[:4])
    return _chain_error(leaf, _dead_end(top), f"a path to a pinned anchor: {pinned}")


def _dead_end(top: x509.Certificate) -> str:
    name = subject_of(top)
    if name_bytes(top, "subject") == name_bytes(top, "issuer"):
        return f"the chain ends at {name} ({short(sha256(top))}), which is not a pinned anchor"
    issuer = issuer_of(top)
    return f"{name} was issued by {issuer}: no such CA, or not with this key, is in the reply"


def _chain_error(leaf: x509.Certificate, found: str, expected: str) -> PkiError:
    return PkiError(
        f"the certificate of {subject_of(leaf)} has no valid path to a pinned anchor",
        rule=RULE_CHAIN,
        found=found,
        expected=expected,
        where=f"certificate {short(sha256(leaf))}",
        next_step="add the missing CA certificates to the reply, or ask the CA which chain "
        "belongs to it; pin another anchor only after checking its SHA-256 with the CA",
    )
