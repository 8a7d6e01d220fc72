# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of a CRL, a window of the file at a time.

Nearly all entries of nearly all CRLs are of a few shapes: a serial, a UTCTime, perhaps a reason.
One regular expression knows them, lengths included, and takes a run of them at once; what is not
of these shapes is read element by element. Both ways agree on what is well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from . import crl_tlv as tlv
from .crl_tlv import Malformed

REASON_OID, INVALIDITY_OID = "2.5.29.21", "2.5.29.24"
CERTIFICATE_ISSUER_OID = "2.5.29.29"
REASONS = {
    0: "unspecified",
    1: "keyCompromise",
    2: "cACompromise",
    3: "affiliationChanged",
    4: "superseded",
    5: "cessationOfOperation",
    6: "certificateHold",
    8: "removeFromCRL",
    9: "privilegeWithdrawn",
    10: "aACompromise",
}
NO_REASON, UNREADABLE_REASON = "no reason given", "unreadable reason"
_WINDOW = 256 * 1024
_LONGEST_ENTRY = 64 * 1024
_LONGEST_SERIAL = 64  # RFC 5280 asks for 20 octets at most; CAs have been longer

# A real date up to the 28th of any month, or a later day that the month always has.
_DAY = (
    rb"(?:(?:0[1-9]|1[0-2])(?:0[1-9]|1[0-9]|2[0-8])"
    rb"|(?:0[13-9]|1[0-2])(?:29|30)|(?:0[13578]|1[02])31)"
)
_TIME = rb"\x17\x0d[0-9]{2}" + _DAY + rb"(?:[01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]Z"
_TIME_OCTETS = 15
_REASON = rb"\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01[\x00-\x06\x08-\x0a]"
_INVALIDITY = rb"\x30\x18\x06\x03\x55\x1d\x18\x04\x11\x18\x0f[0-9]{14}Z"
# The extensions that entries have, with their octets together.
_EXTENSIONS = (
    (b"", 0),
    (_REASON, 12),
    (_INVALIDITY, 26),
    (_REASON + _INVALIDITY, 38),
    (_INVALIDITY + _REASON, 38),
)
_SHAPED_SERIAL = 21  # octets: 20, and one for the sign
_USUAL_SERIAL = 17


def _shape(serial: int, pattern: bytes, octets: int) -> bytes:
    """The pattern of an entry after its tag: a serial of so many octets, and extensions."""
    first = rb"[\x00-\x7f]" if serial == 1 else rb"(?:\x00[\x80-\xff]|[\x01-\x7f].)"
    rest = b".{%d}" % (serial - 2) if serial > 2 else b""
    length = 2 + serial + _TIME_OCTETS + (2 + octets if octets else 0)
    head = b"\\x%02x\\x02\\x%02x" % (length, serial)
    more = b"\\x30\\x%02x" % octets + pattern if octets else b""
    return head + first + rest + _TIME + more


# The usual ones first: they are tried in this order.
_SERIALS = sorted(range(1, _SHAPED_SERIAL + 1), key=lambda octets: abs(octets - _USUAL_SERIAL))
_SHAPES = [_shape(serial, *more) for more in _EXTENSIONS for serial in _SERIALS]
_PLAIN = rb"\x30(?:" + b"|".join(_SHAPES) + rb")"
_ENTRY = re.compile(_PLAIN, re.DOTALL)
_RUN = re.compile(b"(?:" + _PLAIN + b")*", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """One revoked serial: since when (seconds of the epoch), and why in RFC 5280's words."""

    serial: int
    revoked_at: int
    reason: str


@dataclass(frozen=True)
class Odd:
    """An entry that is not of a common shape: its serial's octets, and what stands out in it."""

    serial: bytes
    entry: Entry
    critical: tuple[str, ...]
    indirect: bool


@dataclass(frozen=True)
class Batch:
    """Entries that follow each other: many plain ones, each whole, and then perhaps an odd one."""

    plain: list[bytes]
    odd: Odd | None


def batches(source: tlv.Bytes | tlv.File, begin: int, end: int) -> Iterator[Batch]:
    """All entries between two places of a CRL; Malformed for what is none."""
    at = begin
    while at < end:
        window = source.piece(at, min(at + _WINDOW, end))
        if not window:
            raise Malformed("a file that became shorter")
        place, last = 0, at + len(window) >= end
        while place < len(window):
            run = _matched(window, place)
            plain, place = _ENTRY.findall(window, place, run), run
            if place == len(window):
                yield Batch(plain, None)
                break
            if not last and len(window) - place < _LONGEST_ENTRY:
                yield Batch(plain, None)  # perhaps cut by the window's end
                break
            odd, place = _odd(window, place)
            yield Batch(plain, odd)
        at += place


def serial_of(plain: bytes) -> bytes:
    """The content of a plain entry's serial."""
    return plain[4 : 4 + plain[3]]


def entry_of(plain: bytes) -> Entry:
    """A plain entry, read."""
    return _odd(plain, 0)[0].entry


def find(
    source: tlv.Bytes | tlv.File, begin: int, end: int, serials: Iterable[int]
) -> dict[int, Entry]:
    """The entries of these serials; of several of one serial the first."""
    wanted = {_octets(one) for one in serials}
    found: dict[int, Entry] = {}
    if not wanted:
        return found
    for batch in batches(source, begin, end):
        for plain in batch.plain:
            if plain[4 : 4 + plain[3]] in wanted:
                entry = entry_of(plain)
                found.setdefault(entry.serial, entry)
        if batch.odd is not None and batch.odd.serial in wanted:
            found.setdefault(batch.odd.entry.serial, batch.odd.entry)
    return found


def _octets(serial: int) -> bytes:
    size = max(serial, ~serial).bit_length() // 8 + 1
    return serial.to_bytes(size, "big", signed=True)


def _matched(window: bytes, place: int) -> int:
    """Where the run of plain entries ends that begins at ``place``."""
    match = _RUN.match(window, place)
    return match.end() if match else place


def _odd(data: bytes, at: int) -> tuple[Odd, int]:
    """The entry at ``at``, element by element, and where it ends."""
    found = tlv.span(tlv.Bytes(data), at, min(len(data), at + _LONGEST_ENTRY), tlv.SEQUENCE)
    parts = list(tlv.elements(data[found.start : found.end]))
    if not 2 <= len(parts) <= 3 or parts[0][0] != tlv.INTEGER:
        raise Malformed("an entry that is none")
    serial = parts[0][1]
    if len(serial) > _LONGEST_SERIAL:
        raise Malformed("a serial that is too long")
    since = tlv.moment(*parts[1])
    extensions = _extensions(parts[2]) if len(parts) > 2 else {}
    critical = tuple(
        oid for oid, (must, value) in extensions.items() if must and not _understood(oid, value)
    )
    entry = Entry(tlv.integer(serial), since, _reason(extensions))
    return Odd(serial, entry, critical, CERTIFICATE_ISSUER_OID in extensions), found.end


def _extensions(part: tuple[int, bytes]) -> dict[str, tuple[bool, bytes]]:
    if part[0] != tlv.SEQUENCE:
        raise Malformed("an entry with something that is no extension")
    return extensions(part[1])


def extensions(data: bytes) -> dict[str, tuple[bool, bytes]]:
    """Whether it is critical, and the value, by object identifier; the content of Extensions."""
    found: dict[str, tuple[bool, bytes]] = {}
    for tag, one in tlv.elements(data):
        if tag != tlv.SEQUENCE:
            raise Malformed("something that is no extension")
        parts = list(tlv.elements(one))
        critical = parts[1:2] == [(tlv.BOOLEAN, tlv.TRUE)]
        tags = [each for each, _ in parts]
        if tags != [tlv.OID, *([tlv.BOOLEAN] if critical else []), tlv.OCTET_STRING]:
            raise Malformed("something that is no extension")
        oid = tlv.dotted(parts[0][1])
        if oid in found:
            raise Malformed("an extension that comes twice")
        found[oid] = (critical, parts[-1][1])
    return found


def _reason(extensions: dict[str, tuple[bool, bytes]]) -> str:
    if REASON_OID not in extensions:
        return NO_REASON
    return _reason_in(extensions[REASON_OID][1])


def _reason_in(value: bytes) -> str:
    known = REASONS.get(value[2]) if len(value) == 3 and value[:2] == b"\x0a\x01" else None
    return known or UNREADABLE_REASON


def _understood(oid: str, value: bytes) -> bool:
    """Whether an extension of an entry says something that can be read."""
    if oid == REASON_OID:
        return _reason_in(value) != UNREADABLE_REASON
    try:
        return oid == INVALIDITY_OID and tlv.moment(tlv.whole(value).tag, value[2:]) is not None
    except Malformed:
        return False
