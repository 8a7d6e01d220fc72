# SPDX-License-Identifier: GPL-3.0-or-later
"""One CRL: read, asked who signed it, and searched. What its answer is worth says ``revocation``.

A list may have a million entries, and a batch may ask it ten thousand times. So its signature
is checked once for each issuer, and after a few questions it gets an index; both are kept with
the value, out of sight.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from . import der, names
from .certs import (
    DECODE_ERRORS,
    check_signature_octets,
    name_bytes,
    stamp,
    subject_of,
)
from .errors import PkiError

RULE = "DIP-3.5.2.5-RP-CHECK"
MAX_CRL_BYTES = 64 * 1024 * 1024
SHA2 = frozenset({"sha256", "sha384", "sha512"})
# Critical ones. RFC 5280 allows no other, and a critical freshestCRL asks for deltas.
_UNDERSTOOD = frozenset({ExtensionOID.ISSUING_DISTRIBUTION_POINT})
_ENTRY_UNDERSTOOD = frozenset(
    {CRLEntryExtensionOID.CRL_REASON, CRLEntryExtensionOID.INVALIDITY_DATE}
)
_BEGIN, _END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"
_CRITICAL = b"\x01\x01\xff"  # BOOLEAN TRUE, the DER of an extension's `critical`
_LONGEST_OID = 127
_SCANS = 8  # questions before an index pays
_MOST_ISSUERS = 16
_T = TypeVar("_T", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True, eq=False)
class Crl:
    """A parsed CRL; nothing about it is verified yet. Two of them are never equal.

    ``silent`` says why it can never answer "good" (delta, indirect, ...), or is empty.
    """

    parsed: x509.CertificateRevocationList
    der: bytes = field(repr=False)
    issuer: bytes
    issuer_name: str
    number: int | None
    this_update: datetime
    next_update: datetime | None
    idp: x509.IssuingDistributionPoint | None
    silent: str
    is_delta: bool = False
    # What was found out about it already; never part of what it says.
    _faults: dict[bytes, str] = field(default_factory=dict, repr=False)
    _search: Search = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_search", Search(self.parsed, self.der))

    @classmethod
    def parse(cls, data: bytes) -> Crl:
        """One CRL, DER or PEM.

        Raises:
            PkiError: rule DIP-3.5.2.5-RP-CHECK; too large, malformed, or not exactly one.
        """
        found = parse_crls(data)
        if len(found) != 1:
            raise unreadable(f"{len(found)} CRLs in one file")
        return found[0]

    @property
    def scope(self) -> str:
        """Whom it speaks for: ``all``, ``user`` or ``ca`` certificates, or ``none``."""
        return "none" if self.silent else _scope(self.idp)

    @property
    def distribution_points(self) -> tuple[str, ...]:
        """The URIs of its issuingDistributionPoint."""
        return tuple(sorted(uris(self.idp.full_name if self.idp else None)))

    def signed_by(self, issuer_der: bytes) -> bool:
        """Whether this CA issued and signed it, whatever its dates and scope are."""
        return not self.fault_of(x509.load_der_x509_certificate(issuer_der))

    def fault_of(self, issuer: x509.Certificate) -> str:
        """Why the CRL is not one that this issuer vouches for, or empty."""
        name = name_bytes(issuer, "subject")
        if self.issuer != name:
            return f"is not issued by {subject_of(issuer)}"
        key = issuer.public_bytes(Encoding.DER)
        known = self._faults.get(key)
        if known is None:
            known = _not_vouched_for(self.parsed, issuer)
            if len(self._faults) >= _MOST_ISSUERS:
                self._faults.clear()
            self._faults[key] = known
        return known

    def outside_dates(self, now: datetime) -> str:
        """Why it is not valid at ``now`` (aware, whole seconds), or empty."""
        if self.next_update is None:
            return "has no nextUpdate"
        if now < self.this_update:
            return f"is valid only from {stamp(self.this_update)}"
        if now > self.next_update:
            return f"is stale since {stamp(self.next_update)}"
        return ""

    def entry(self, serial: int) -> x509.RevokedCertificate | None:
        """The entry that revokes a serial.

        removeFromCRL takes an entry away in a delta and has no meaning elsewhere (RFC 5280
        5.3.1), where the serial counts as listed. One entry that revokes is enough, however
        many there are.

        Raises:
            DECODE_ERRORS: entries that cannot be read.
        """
        for found in self._search.entries(serial):
            if not (self.is_delta and reason_of(found) == "removeFromCRL"):
                return found
        return None

    @property
    def unknown_in_entries(self) -> str:
        """Why its entries keep it from answering "good", or empty (RFC 5280 5.3)."""
        return self._search.unknown_critical()

    def describe(self) -> str:
        """Issuer, number and date, for messages."""
        number = "without number" if self.number is None else f"number {self.number}"
        return f"CRL {number} of {self.issuer_name} from {stamp(self.this_update)}"


class Search:
    """Finds the entries of a CRL: by looking through it at first, by an index when asked often.

    The index is a table of entry numbers by the hash of the serial, four places an entry: 16 MiB
    for a million. Entries are compared in full, so a wrong hash costs time and never an answer.
    """

    __slots__ = ("_asked", "_der", "_parsed", "_repeated", "_slots", "_unknown")

    def __init__(self, parsed: x509.CertificateRevocationList, encoded: bytes) -> None:
        self._parsed = parsed
        self._der = encoded
        self._asked = 0
        self._slots: array[int] | None = None
        self._repeated: dict[int, list[int]] = {}
        self._unknown: str | None = None

    def entries(self, serial: int) -> Iterable[x509.RevokedCertificate]:
        """Every entry of a serial, the first of the list first; one may come twice."""
        if self._slots is None and self._asked < _SCANS:
            self._asked += 1
            return self._scanned(serial)
        if self._slots is None:
            self._slots = self._index()
        numbers = self._repeated.get(serial) or self._numbers(self._slots, serial)
        return [self._parsed[number] for number in numbers]

    def _scanned(self, serial: int) -> Iterator[x509.RevokedCertificate]:
        first = self._parsed.get_revoked_certificate_by_serial_number(serial)
        if first is not None:
            yield first
            # Slow, and only for whom the first entry was not enough.
            yield from (one for one in self._parsed if one.serial_number == serial)

    def _index(self) -> array[int]:
        """One walk over the entries; a serial that comes again is kept apart."""
        places = 4 << len(self._parsed).bit_length()
        slots = array("I", bytes(places * array("I").itemsize))
        mask = places - 1
        for number, one in enumerate(self._parsed):
            serial = one.serial_number
            place = _hash(serial) & mask
            while slots[place]:
                if self._parsed[slots[place] - 1].serial_number == serial:
                    self._repeated.setdefault(serial, [slots[place] - 1]).append(number)
                    break
                place = (place + 1) & mask
            else:
                slots[place] = number + 1
        return slots

    def _numbers(self, slots: array[int], serial: int) -> list[int]:
        mask = len(slots) - 1
        place = _hash(serial) & mask
        while slots[place]:
            if self._parsed[slots[place] - 1].serial_number == serial:
                return [slots[place] - 1]
            place = (place + 1) & mask
        return []

    def unknown_critical(self) -> str:
        """Why a critical extension of some entry cannot be processed, or empty."""
        if self._unknown is None:
            self._unknown = self._look_for_unknown() if self._may_have_critical() else ""
        return self._unknown

    def _may_have_critical(self) -> bool:
        """Whether some entry may have a critical extension.

        Almost no list has one, and to make an object of each of a million entries takes a second:
        so the octets of `critical` after an object identifier are looked for first.
        """
        start, end = _entries_of(self._der)
        at = self._der.find(_CRITICAL, start, end)
        while at >= 0:
            for length in range(1, _LONGEST_OID + 1):
                if self._der[at - length - 2 : at - length] == bytes([der.OID, length]):
                    return True
            at = self._der.find(_CRITICAL, at + 1, end)
        return False

    def _look_for_unknown(self) -> str:
        for one in self._parsed:
            try:
                for item in one.extensions:
                    if item.critical and item.oid not in _ENTRY_UNDERSTOOD:
                        oid = item.oid.dotted_string
                        return f"has an entry with the unknown critical extension {oid}"
            except DECODE_ERRORS:
                return "has an entry with an extension that cannot be read"
        return ""


class Dated(Protocol):
    """What tells which of two CRLs of one CA is the older one."""

    @property
    def number(self) -> int | None: ...
    @property
    def this_update(self) -> datetime: ...


def older(one: Dated, than: Dated) -> bool:
    """By CRL number; by date when one of the two has no number."""
    if one.number is None or than.number is None:
        return one.this_update < than.this_update
    return one.number < than.number


def _hash(serial: int) -> int:
    # Of its digits: whole numbers hash to themselves, and serials may share their low bits.
    return hash(b"%x" % serial)


def parse_crls(data: bytes) -> tuple[Crl, ...]:
    """The CRLs of a file: one DER, or any number of PEM blocks; raises like ``Crl.parse``."""
    if len(data) > MAX_CRL_BYTES:
        raise unreadable(f"{len(data)} bytes, where {MAX_CRL_BYTES} are the limit")
    if data[:1] == b"\x30":
        return (_parse(data, x509.load_der_x509_crl),)
    return tuple(_parse(block, x509.load_pem_x509_crl) for block in _pem_blocks(data))


def to_pem(crl_bytes: bytes) -> bytes:
    """One CRL as PEM with line feeds, as gateways load it; raises like ``Crl.parse``."""
    return Crl.parse(crl_bytes).parsed.public_bytes(Encoding.PEM)


def _pem_blocks(data: bytes) -> Iterator[bytes]:
    """Each block from its first line to its last, in one pass: a regular expression would look
    through the rest of the file again for each first line without a last one."""
    at = 0
    while (start := data.find(_BEGIN, at)) >= 0:
        end = data.find(_END, start)
        if end < 0:
            return
        at = end + len(_END)
        yield data[start:at]


def _parse(data: bytes, load: Callable[[bytes], x509.CertificateRevocationList]) -> Crl:
    try:
        parsed = load(data)
        encoded = parsed.public_bytes(Encoding.DER)
        if encoded == data:
            encoded = data  # one copy of a long list is enough
        check_signature_octets(encoded)
        idp = extension(parsed.extensions, x509.IssuingDistributionPoint)
        number = extension(parsed.extensions, x509.CRLNumber)
        return Crl(
            parsed=parsed,
            der=encoded,
            issuer=parsed.issuer.public_bytes(),
            issuer_name=names.display(parsed.issuer),
            number=None if number is None else number.crl_number,
            this_update=parsed.last_update_utc,
            next_update=parsed.next_update_utc,
            idp=idp,
            silent=_never_good(parsed, idp),
            is_delta=extension(parsed.extensions, x509.DeltaCRLIndicator) is not None,
        )
    except DECODE_ERRORS as exc:
        raise unreadable(names.printable(str(exc))) from None


def _never_good(
    parsed: x509.CertificateRevocationList, idp: x509.IssuingDistributionPoint | None
) -> str:
    for item in parsed.extensions:
        if item.oid == ExtensionOID.DELTA_CRL_INDICATOR:
            return "is a delta CRL"
        if item.critical and item.oid not in _UNDERSTOOD:
            return f"has the unknown critical extension {item.oid.dotted_string}"
    if idp is None:
        return ""
    if idp.indirect_crl:
        return "is an indirect CRL"
    if idp.only_some_reasons:
        return "covers only some reasons"
    if idp.only_contains_attribute_certs:
        return "covers attribute certificates only"
    return "names a distribution point relative to its issuer" if idp.relative_name else ""


def _not_vouched_for(parsed: x509.CertificateRevocationList, issuer: x509.Certificate) -> str:
    """Why this issuer, whose name the CRL bears, does not stand behind it, or empty."""
    try:
        algorithm = parsed.signature_hash_algorithm
        if algorithm is not None and algorithm.name not in SHA2:
            return f"is signed with {algorithm.name}, which proves nothing"
        usage = extension(issuer.extensions, x509.KeyUsage)
        if usage is not None and not usage.crl_sign:
            return "comes from a CA that may not sign CRLs (no cRLSign)"
        key = issuer.public_key()
        if parsed.is_signature_valid(key):  # type: ignore[arg-type]
            return ""
    except DECODE_ERRORS:
        pass
    return f"is not signed by the key of {subject_of(issuer)}"


def reason_of(entry: x509.RevokedCertificate) -> str:
    """The reason an entry gives, as RFC 5280 5.3.1 names it, or words for its absence."""
    try:
        found = extension(entry.extensions, x509.CRLReason)
    except DECODE_ERRORS:
        return "unreadable reason"
    return "no reason given" if found is None else str(found.reason.value)


def _scope(idp: x509.IssuingDistributionPoint | None) -> str:
    if idp is not None and idp.only_contains_user_certs:
        return "user"
    return "ca" if idp is not None and idp.only_contains_ca_certs else "all"


def uris(general: Iterable[x509.GeneralName] | None) -> frozenset[str]:
    """The URIs among general names."""
    return frozenset(
        name.value for name in general or () if isinstance(name, x509.UniformResourceIdentifier)
    )


def extension(extensions: x509.Extensions, kind: type[_T]) -> _T | None:
    """The value of an extension, if it is there; raises DECODE_ERRORS."""
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _entries_of(encoded: bytes) -> tuple[int, int]:
    """Where the entries of a CRL begin and end; an empty range when it has none."""
    signed = der.span(encoded, der.span(encoded, 0).start)
    at, after_times = signed.start, False
    while at < signed.end:
        part = der.span(encoded, at)
        if after_times and part.tag == der.SEQUENCE:
            return part.start, part.end
        after_times = after_times or part.tag in (der.UTC_TIME, der.GENERALIZED_TIME)
        at = part.end
    return signed.end, signed.end


def unreadable(found: str) -> PkiError:
    """The refusal of what is no CRL."""
    return PkiError(
        "a CRL cannot be read",
        rule=RULE,
        found=found,
        expected="one X.509 CRL, DER or PEM",
        next_step="fetch the CRL again from its distribution point",
    )
