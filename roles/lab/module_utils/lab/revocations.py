# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab's CAs were asked to revoke, and for which reason.

The engine keeps serial and date of a revocation and ignores a reason. So the reason is kept here,
in a file that only grows, and every list that is published from then on carries it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.pki.errors import PkiError
from ansible.module_utils.pki.vault import Client
from cryptography import x509

from . import files, material, peers

RULE = "LAB-REVOKE"
# RFC 5280 5.3.1. Left out: 0, which is said by saying nothing; 2 and 10, which are about CAs; 6 and
# 8, because nothing here is held and taken back; 7, which is not used.
CODES = frozenset({1, 3, 4, 5, 9})
_LONGEST_SERIAL = 20  # octets (RFC 5280 4.1.2.2)
_STAMP = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Revocation:
    """One entry: the serial number, the date (UTC, whole seconds) and the reason code."""

    serial: int
    when: datetime
    code: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """The file, and what it says by PKI mount, in the order in which it was said."""

    path: Path
    known: Mapping[str, tuple[Revocation, ...]]

    def of(self, mount: str) -> tuple[Revocation, ...]:
        """The revocations of one CA."""
        return self.known.get(mount, ())

    def find(self, mount: str, serial: int) -> Revocation | None:
        """The entry of a certificate, or None."""
        return next((one for one in self.of(mount) if one.serial == serial), None)

    def with_one(self, mount: str, revocation: Revocation) -> Ledger:
        """The ledger with one more entry."""
        return Ledger(self.path, {**self.known, mount: (*self.of(mount), revocation)})

    def content(self) -> bytes:
        """The file's bytes."""
        told = {
            mount: [
                {"serial": material.octets(one.serial), "revoked": one.when.strftime(_STAMP),
                 "code": one.code}
                for one in entries
            ]
            for mount, entries in self.known.items()
        }  # fmt: skip
        return (json.dumps(told, indent=2) + "\n").encode()


def load(path: Path) -> Ledger:
    """The ledger in a file; empty for one that is not there.

    Raises:
        PkiError: LAB-REVOKE; a file that cannot be read is never taken for an empty one.
    """
    content = files.read(path)
    if content is None:
        return Ledger(path, {})
    try:
        return Ledger(
            path,
            {
                mount: tuple(_entry(one) for one in entries)
                for mount, entries in json.loads(content).items()
            },
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        raise PkiError(
            "the ledger of revocations cannot be read",
            rule=RULE,
            found="no entries with serial, revoked and code",
            expected="the file as the lab wrote it",
            where=str(path),
            next_step="restore it: without it the published lists would lose their reasons",
        ) from None


def _entry(one: Mapping[str, object]) -> Revocation:
    when = datetime.strptime(str(one["revoked"]), _STAMP).replace(tzinfo=UTC)
    return Revocation(int(str(one["serial"]).replace(":", ""), 16), when, int(str(one["code"])))


def serial_number(text: str) -> int:
    """A serial number as people write it: hexadecimal, with or without colons.

    Raises:
        PkiError: LAB-REVOKE.
    """
    digits = text.strip().replace(":", "")
    if not re.fullmatch(r"[0-9A-Fa-f]+", digits) or len(digits.lstrip("0")) > 2 * _LONGEST_SERIAL:
        raise PkiError(
            "this is no serial number",
            rule=RULE,
            found=repr(text[:80]),
            expected="hexadecimal digits, at most 20 octets, with or without colons",
            where="lab_revoke_serial",
            next_step="copy it from revocation.txt or accepted.yml",
        )
    return int(digits, 16)


def reason_code(name: str, reasons: Mapping[str, int]) -> int:
    """The RFC 5280 code of a reason that the portal has.

    Raises:
        PkiError: LAB-REVOKE.
    """
    code = reasons.get(name)
    if code in CODES:
        return int(code)
    raise PkiError(
        "the lab's CA does not revoke for this reason",
        rule=RULE,
        found=f"{name!r}" if code is None else f"{name!r}, code {code}",
        expected=", ".join(f"{key} ({value})" for key, value in sorted(reasons.items())),
        where="lab_revoke_reason",
        next_step="choose one of these; what was revoked is never taken off the list again",
    )


def revoke(
    client: Client, ledger: Ledger, mount: str, serial: int, code: int, now: datetime, check: bool
) -> tuple[Ledger, list[str]]:
    """Write a revocation down, with its reason; the ledger as it is then, and what was done.

    ``keep`` does the rest. The first word stands: the same one again changes nothing.

    Raises:
        PkiError: LAB-REVOKE for a certificate that this CA did not issue, or one that was revoked
            for another reason.
    """
    known = ledger.find(mount, serial)
    if known is not None and known.code == code:
        return ledger, []
    if known is not None:
        raise PkiError(
            "the certificate is revoked for another reason already",
            rule=RULE,
            found=f"reason code {known.code} since {known.when.strftime(_STAMP)}",
            expected=f"reason code {code}",
            where=f"{ledger.path}, serial {material.octets(serial)}",
            next_step="leave it: the first reason stands",
        )
    longer = ledger.with_one(mount, Revocation(serial, _date(client, mount, serial, now), code))
    if not check:
        files.ensure(ledger.path, longer.content(), 0o644)
    return longer, [f"revoked {material.octets(serial)} of {mount}, reason code {code}"]


def _date(client: Client, mount: str, serial: int, now: datetime) -> datetime:
    """When it was revoked: now, or when the engine was told without a reason."""
    found = client.read(f"{mount}/cert/{material.octets(serial)}") or {}
    pem = str(found.get("certificate", "")).encode()
    certificate = material.load_certificate(pem)
    if certificate is None or certificate.serial_number != serial:
        raise PkiError(
            "the lab's CA has not issued such a certificate",
            rule=RULE,
            found=f"no certificate with serial {material.octets(serial)} in {mount}",
            expected="the serial number of a certificate of this CA",
            where="lab_revoke_serial",
            next_step="compare it with accepted.yml; lab_revoke_mount names another CA",
        )
    earlier = int(found.get("revocation_time") or 0)
    return datetime.fromtimestamp(earlier, UTC) if earlier else now.replace(microsecond=0)


def keep(client: Client, ledger: Ledger, check: bool) -> list[str]:
    """Have the engine know what the ledger says, so that its OCSP and its own CRL say so, too."""
    steps = []
    for mount, entries in ledger.known.items():
        steps += peers.ensure_revoked(client, mount, [one.serial for one in entries], check)
    return steps


def merged(
    crl: x509.CertificateRevocationList | None, told: tuple[Revocation, ...]
) -> list[Revocation]:
    """Everything to publish: what the engine lists, with the reasons of the ledger, by serial."""
    found = {one.serial: one for one in entries(crl)}
    return [one for _, one in sorted({**found, **{one.serial: one for one in told}}.items())]


def entries(crl: x509.CertificateRevocationList | None) -> list[Revocation]:
    """Each revocation of a list, by serial; code 0 for one that says no reason."""
    found = [
        Revocation(one.serial_number, one.revocation_date_utc, _code_of(one)) for one in crl or ()
    ]
    return sorted(found, key=lambda one: one.serial)


def _code_of(entry: x509.RevokedCertificate) -> int:
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value
    except x509.ExtensionNotFound:
        return 0
    # ENUMERATED of one octet: its content is the code.
    return reason.public_bytes()[-1]
