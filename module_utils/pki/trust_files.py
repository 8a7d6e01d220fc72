# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinned CA files: read, compared with their SHA-256, and nothing else is ever trusted.

Two generations of a CA may be pinned side by side. Which of them counts at a moment says
:meth:`LoadedTrust.at`; what depends on one that should be gone says :mod:`.trust_generations`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import Enum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from . import certs, plain_files
from .certs import DECODE_ERRORS
from .errors import PkiError
from .inventory import CaFile, Declared, TrustSet

MAXIMUM_BYTES = 1_048_576


class Standing(Enum):
    """What a pinned CA is worth on a day; the value is how a sentence goes on after its name."""

    IN_USE = "is trusted"
    UPCOMING = "is not trusted yet"
    RETIRED = "is retired"
    EXPIRED = "has expired"


@dataclass(frozen=True, slots=True)
class Ca:
    """A CA certificate whose pin was checked.

    ``trusted_from`` and ``retire_after`` are the first and the last day (UTC) on which it is
    trusted, as ISO text; empty for no such bound.
    """

    der: bytes
    pem: bytes
    sha256: str
    common_name: str
    crl_urls: tuple[str, ...]
    trusted_from: str = ""
    retire_after: str = ""

    @property
    def certificate(self) -> x509.Certificate:
        """The parsed certificate."""
        return certs.load(self.der)

    def standing(self, now: datetime) -> Standing:
        """What it is worth at ``now`` (aware). Its own dates are stronger than the inventory's."""
        moment = certs.in_seconds(now)
        if moment > self.certificate.not_valid_after_utc:
            return Standing.EXPIRED
        begun = moment >= self.certificate.not_valid_before_utc
        if not begun or (self.trusted_from and moment.date() < _day(self.trusted_from)):
            return Standing.UPCOMING
        if self.retire_after and moment.date() > _day(self.retire_after):
            return Standing.RETIRED
        return Standing.IN_USE


@dataclass(frozen=True, slots=True)
class LoadedTrust:
    """A trust set with its certificates, all that are pinned or those of a moment.

    ``kept`` are, in the view of a moment, the SHA-256 of retired CAs that are there all the same,
    because something depends on them or nobody could say that nothing does.
    """

    name: str
    anchors: tuple[Ca, ...]
    issuers: tuple[Ca, ...]
    kept: frozenset[str] = frozenset()

    @property
    def authorities(self) -> tuple[Ca, ...]:
        """Every CA whose CRL is needed, each once: issuing CAs first, then anchors."""
        return tuple({ca.sha256: ca for ca in (*self.issuers, *self.anchors)}.values())

    def retired(self, now: datetime) -> frozenset[str]:
        """SHA-256 of the CAs whose last day is over and that have not expired."""
        return frozenset(
            ca.sha256 for ca in self.authorities if ca.standing(now) is Standing.RETIRED
        )

    def at(self, now: datetime, live: Collection[str] = ()) -> LoadedTrust:
        """The CAs that count at ``now``: what is rendered, and what CRLs are wanted of.

        ``live`` are the SHA-256 of retired CAs that something still depends on; they stay. Nothing
        keeps a CA that has expired, is not trusted yet, or leads to no anchor that counts.

        Raises:
            PkiError: rule TRUST-EMPTY; no anchor, or no issuing CA, is left.
        """
        kept = self.retired(now) & frozenset(live)

        def counts(ca: Ca) -> bool:
            return ca.sha256 in kept or ca.standing(now) is Standing.IN_USE

        anchors = tuple(filter(counts, self.anchors))
        issuers = _anchored(tuple(filter(counts, self.issuers)), anchors, self.authorities)
        if not anchors or not issuers:
            raise _empty(self, now)
        there = {ca.sha256 for ca in (*anchors, *issuers)}
        return replace(self, anchors=anchors, issuers=issuers, kept=kept & there)

    def only(self, digests: Collection[str]) -> LoadedTrust:
        """Those of its CAs that have one of these SHA-256."""
        return replace(
            self,
            anchors=tuple(ca for ca in self.anchors if ca.sha256 in digests),
            issuers=tuple(ca for ca in self.issuers if ca.sha256 in digests),
        )

    def whole_at(self, now: datetime) -> LoadedTrust:
        """:meth:`at` for somebody who does not know what depends on retired CAs: all of them stay.

        The way to err that locks nobody out. What is new is judged by :attr:`for_new`.
        """
        return self.at(now, self.retired(now))

    @property
    def for_new(self) -> LoadedTrust:
        """The view without retired CAs: none of them vouches for anything new. May be empty."""
        anchors = tuple(ca for ca in self.anchors if ca.sha256 not in self.kept)
        issuers = tuple(ca for ca in self.issuers if ca.sha256 not in self.kept)
        left = _anchored(issuers, anchors, self.authorities)
        return replace(self, anchors=anchors, issuers=left, kept=frozenset())


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _anchored(
    issuers: tuple[Ca, ...], anchors: tuple[Ca, ...], pinned: tuple[Ca, ...]
) -> tuple[Ca, ...]:
    """Those of ``issuers`` that may lead to one of ``anchors``.

    One that no pinned CA has signed has a CA above it that only its peers know: it may.
    """
    usable = {ca.sha256 for ca in anchors}
    above = {
        ca.sha256: {
            other.sha256
            for other in pinned
            if other.sha256 != ca.sha256 and certs.issued_by(ca.certificate, other.certificate)
        }
        for ca in issuers
        if ca.sha256 not in usable
    }
    usable |= {digest for digest, parents in above.items() if not parents}
    while more := {one for one, parents in above.items() if one not in usable and parents & usable}:
        usable |= more
    return tuple(ca for ca in issuers if ca.sha256 in usable)


def _empty(trust: LoadedTrust, now: datetime) -> PkiError:
    found = "; ".join(
        dict.fromkeys(f"{ca.common_name} {_why_out(ca, now)}" for ca in trust.authorities)
    )
    return PkiError(
        f"nothing of the trust set {trust.name} can be used",
        rule="TRUST-EMPTY",
        found=found,
        expected="an anchor, and an issuing CA below it, that are trusted today and have not "
        "expired",
        where=f"group_vars/all/trust.yml: trust.{trust.name}",
        next_step="pin the CA's present generation after comparing its SHA-256 with the CA; "
        "docs/trust.md shows how",
    )


def _why_out(ca: Ca, now: datetime) -> str:
    standing = ca.standing(now)
    since = {
        Standing.EXPIRED: f" on {certs.stamp(ca.certificate.not_valid_after_utc)}",
        Standing.RETIRED: f" since {ca.retire_after}",
        Standing.UPCOMING: f", but from {ca.trusted_from}" if ca.trusted_from else "",
        Standing.IN_USE: ", but leads to no anchor that is",
    }
    return f"{standing.value}{since[standing]}"


def load_all(declared: Declared, base: str | Path) -> Mapping[str, LoadedTrust]:
    """Every trust set of the inventory; relative files are looked up below ``base``."""
    return {name: _load(item, Path(base)) for name, item in declared.trust.items()}


def _load(trust: TrustSet, base: Path) -> LoadedTrust:
    def read(kind: str, files: tuple[CaFile, ...]) -> tuple[Ca, ...]:
        return tuple(
            _ca(entry, base, f"group_vars/all/trust.yml: trust.{trust.name}.{kind}[{index}]")
            for index, entry in enumerate(files)
        )

    loaded = LoadedTrust(trust.name, read("anchors", trust.anchors), read("issuers", trust.issuers))
    _require_roots(loaded)
    return loaded


def _require_roots(trust: LoadedTrust) -> None:
    """Anchors are roots, and a root is an anchor: what gateways make of the bundle is just that.

    A gateway ends a path at whatever is self-signed in its file, and at nothing else. A
    cross-signed root is no root in this form: its self-signed certificate is the one to pin.
    """
    roots = {ca.sha256 for ca in trust.anchors}
    for kind, authorities in (("anchors", trust.anchors), ("issuers", trust.issuers)):
        for index, ca in enumerate(authorities):
            root = certs.issued_by(ca.certificate, ca.certificate)
            place = f"group_vars/all/trust.yml: trust.{trust.name}.{kind}[{index}]"
            if kind == "anchors" and not root:
                raise PkiError(
                    f"{ca.common_name} is pinned as an anchor and is not a root",
                    rule="TRUST-ANCHOR",
                    found=f"a certificate issued by {certs.issuer_of(ca.certificate)}",
                    expected="a self-signed certificate: gateways end no path anywhere else",
                    where=place,
                    next_step="pin the self-signed certificate of the root above it, or of this CA "
                    "if it is cross-signed; an issuing CA belongs under issuers",
                )
            if kind == "issuers" and root and ca.sha256 not in roots:
                raise PkiError(
                    f"{ca.common_name} is pinned as an issuing CA only, and is a root",
                    rule="TRUST-ANCHOR",
                    found="a self-signed certificate, which gateways would end paths at",
                    expected="a certificate below one of the anchors",
                    where=place,
                    next_step="if leaves come from this root itself, pin it under anchors, too",
                )


def _ca(entry: CaFile, base: Path, where: str) -> Ca:
    path = base / entry.file
    certificate = _parse(_read(path, where), path, where)
    der = certificate.public_bytes(Encoding.DER)
    digest = hashlib.sha256(der).hexdigest()
    if digest != entry.sha256:
        raise PkiError(
            f"{path.name} is not the CA certificate that is pinned",
            rule="TRUST-PIN",
            found=f"SHA-256 {digest}",
            expected=f"SHA-256 {entry.sha256}",
            where=f"{where} ({path})",
            next_step="compare both with the fingerprint the CA publishes before changing either",
        )
    name = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return Ca(
        der=der,
        pem=certificate.public_bytes(Encoding.PEM),
        sha256=digest,
        common_name=str(name[0].value) if name else certificate.subject.rfc4514_string(),
        crl_urls=entry.crl_urls,
        trusted_from=entry.trusted_from,
        retire_after=entry.retire_after,
    )


def _read(path: Path, where: str) -> bytes:
    try:
        # Configured by a person, so a link is fine; what it leads to must be a file that ends.
        return plain_files.read(path, MAXIMUM_BYTES, follow=True)
    except OSError as exc:
        raise PkiError(
            f"the CA file {path.name} cannot be read",
            rule="TRUST-FILE",
            found=exc.strerror or "unreadable",
            expected="a readable file with a PEM or DER certificate",
            where=f"{where} ({path})",
            next_step="put the CA certificate there; trust is an input and is never downloaded",
        ) from exc


def _parse(content: bytes, path: Path, where: str) -> x509.Certificate:
    try:
        if b"-----BEGIN" in content:
            certificates = x509.load_pem_x509_certificates(content)
            if len(certificates) != 1:
                raise ValueError("more than one certificate")
            return certificates[0]
        return x509.load_der_x509_certificate(content)
    except DECODE_ERRORS as exc:
        raise PkiError(
            f"{path.name} is not one CA certificate",
            rule="TRUST-FILE",
            found="something else",
            expected="exactly one certificate in PEM or DER",
            where=f"{where} ({path})",
            next_step="put one certificate per file and pin each",
        ) from exc
