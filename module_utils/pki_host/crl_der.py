# SPDX-License-Identifier: GPL-3.0-or-later
"""A CRL (RFC 5280, 5) as a file of DER: read once from end to end, in constant memory.

A list may have millions of entries, and a host little memory, so nothing holds more than a window
of the file. What is read here is only what the CRL says: whether anybody vouches for it is the
question of :mod:`.crl_judge`. The controller has another reader; they agree on every fact.

This one is stricter where an entry has an extension twice, a serial has more than 64 octets, a CRL
number more than 20, a URI other characters than ASCII, or a part beside the entries more than a
mebibyte; and an entry that names its issuer makes the list indirect, critical or not. It is more
lenient with what only a CA could have signed and nothing here asks for: values inside names and
inside extensions that it does not read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from . import crl_entries, crl_numbers
from . import crl_tlv as tlv
from .crl_entries import Entry
from .crl_tlv import Malformed
from .errors import HostError

__all__ = ["CrlFacts", "Entry", "Frame", "find", "frame", "opened", "read", "unreadable"]

RULE = "CRL-UNREADABLE"
ALL, USER, CA, NONE = "all", "user", "ca", "none"
_NUMBER, _DELTA, _IDP = "2.5.29.20", "2.5.29.27", "2.5.29.28"
_VERSION_2 = 1
_MOST_BESIDE = 1024 * 1024
_NUMBER_OCTETS = 21  # 20, and one for the sign
_EXTENSIONS = 0xA0
_MOST_SHOWN = 8  # object identifiers of unknown extensions that are kept
_PIECE = 1024 * 1024
# issuingDistributionPoint (RFC 5280, 5.2.5), by tag, in their order.
_POINT, _ONLY_USER, _ONLY_CA, _REASONS, _INDIRECT, _ATTRIBUTE = 0xA0, 0x81, 0x82, 0x83, 0x84, 0x85
_FULL_NAME, _RELATIVE_NAME, _URI = 0xA0, 0xA1, 0x86


@dataclass(frozen=True)
class CrlFacts:
    """What one CRL says of itself.

    ``issuer`` is the DER of its Name; times are seconds of the epoch; ``scope`` says whose
    certificates it covers: ``all``, ``user``, ``ca``, or ``none`` where it speaks for some reasons
    or attribute certificates only. ``named``: it names a distribution point, with or without URIs.
    ``unknown_critical`` are object identifiers, of the list and of entries; the first few.
    """

    sha256: str
    size: int
    issuer: bytes
    this_update: int
    next_update: int | None
    number: int | None
    entries: int
    delta: bool
    indirect: bool
    scope: str
    idp_uris: tuple[str, ...]
    unknown_critical: tuple[str, ...]
    algorithm: str
    named: bool = False


@dataclass(frozen=True)
class Frame:
    """The parts of a CRL beside its entries, and the places of what may be long.

    ``signed`` are the first octet of tbsCertList and the one after its last; ``inner`` and
    ``outer`` are the DER of the two AlgorithmIdentifiers.
    """

    signed: tuple[int, int]
    inner: bytes
    outer: bytes
    signature: bytes
    issuer: bytes
    this_update: int
    next_update: int | None
    entries: tuple[int, int]
    extensions: dict[str, tuple[bool, bytes]]


@dataclass(frozen=True)
class _Point:
    """An issuingDistributionPoint."""

    scope: str = ALL
    indirect: bool = False
    uris: tuple[str, ...] = ()
    named: bool = False


@contextlib.contextmanager
def opened(path: str) -> Iterator[tlv.File]:
    """The CRL file; HostError CRL-UNREADABLE for no file, and for Malformed within the block."""
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        yield tlv.File(descriptor)
        return
    except Malformed as exc:
        found = str(exc)
    except OSError as exc:
        found = exc.strerror or "a file that cannot be read"
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    raise unreadable(found, path)


def read(path: str, index: str = "") -> CrlFacts:
    """What the CRL at ``path`` says; its serial index is written to ``index`` if that is a path.

    Raises:
        HostError: CRL-UNREADABLE, where it is not one well-formed CRL in DER, and nothing else.
    """
    with opened(path) as source:
        parts = frame(source)
        point = _point(parts.extensions)
        entries = _Entries()
        hashes = crl_numbers.Collected() if index else None
        for batch in crl_entries.batches(source, *parts.entries):
            entries.add(batch)
            if hashes is not None:
                hashes.add(batch)
        unknown = _unknown_critical(parts.extensions)
        facts = CrlFacts(
            sha256=_sha256(source),
            size=source.size,
            issuer=parts.issuer,
            this_update=parts.this_update,
            next_update=parts.next_update,
            number=_number(parts.extensions),
            entries=entries.count,
            delta=_DELTA in parts.extensions,
            indirect=point.indirect or entries.indirect,
            scope=point.scope,
            idp_uris=point.uris,
            unknown_critical=tuple([*unknown, *entries.critical][:_MOST_SHOWN]),
            algorithm=tlv.dotted(algorithm(parts.inner)[0]),
            named=point.named,
        )
    if hashes is not None:
        hashes.write(index)
    return facts


def find(path: str, serials: Iterable[int]) -> dict[int, Entry]:
    """The entries of these serials in the CRL at ``path``; raises like :func:`read`.

    A serial with the reason removeFromCRL counts as listed: it has no meaning but in a delta.
    """
    with opened(path) as source:
        return crl_entries.find(source, *frame(source).entries, serials)


def frame(source: tlv.File) -> Frame:
    """The parts of a CRL beside its entries, which are not looked at; Malformed for no CRL."""
    outer = tlv.span(source, 0, source.size, tlv.SEQUENCE)
    if outer.end != source.size:
        raise Malformed("octets after the end of the CRL")
    signed = tlv.span(source, outer.start, outer.end, tlv.SEQUENCE)
    name = tlv.span(source, signed.end, outer.end, tlv.SEQUENCE)
    signature = tlv.span(source, name.end, outer.end, tlv.BIT_STRING)
    if signature.end != outer.end:
        raise Malformed("octets after the signature")
    octets = _beside(source, signature.start, signature.end)
    if octets[:1] != b"\0":
        raise Malformed("a signature that is not a whole number of octets")
    parts = list(_signed_parts(source, signed))
    _skip_version(source, parts)
    inner, issuer, this_update = _next(parts), _next(parts), _next(parts)
    later = parts.pop(0) if parts and parts[0].tag in _TIMES else None
    listed = parts.pop(0) if parts and parts[0].tag == tlv.SEQUENCE else None
    more = parts.pop(0) if parts and parts[0].tag == _EXTENSIONS else None
    if parts or inner.tag != tlv.SEQUENCE or issuer.tag != tlv.SEQUENCE:
        raise Malformed("parts that no CRL has")
    return Frame(
        signed=(signed.begin, signed.end),
        inner=_beside(source, inner.begin, inner.end),
        outer=_beside(source, name.begin, name.end),
        signature=octets[1:],
        issuer=_name(_beside(source, issuer.begin, issuer.end)),
        this_update=_moment(source, this_update),
        next_update=None if later is None else _moment(source, later),
        entries=(0, 0) if listed is None else (listed.start, listed.end),
        extensions={} if more is None else _extensions(_beside(source, more.start, more.end)),
    )


def algorithm(encoded: bytes) -> tuple[bytes, Sequence[tuple[int, bytes]]]:
    """The object identifier's content of an AlgorithmIdentifier, and its parameters' elements."""
    parts = list(tlv.elements(tlv.content(encoded, tlv.SEQUENCE)))
    if not 1 <= len(parts) <= 2 or parts[0][0] != tlv.OID:
        raise Malformed("no algorithm where one belongs")
    return parts[0][1], parts[1:]


_TIMES = (tlv.UTC_TIME, tlv.GENERALIZED_TIME)


class _Entries:
    """What is told of all entries together."""

    def __init__(self) -> None:
        self.count = 0
        self.indirect = False
        self.critical: list[str] = []

    def add(self, batch: crl_entries.Batch) -> None:
        self.count += len(batch.plain)
        if batch.odd is None:
            return
        self.count += 1
        self.indirect = self.indirect or batch.odd.indirect
        if len(self.critical) < _MOST_SHOWN:
            self.critical += [one for one in batch.odd.critical if one not in self.critical]


def _signed_parts(source: tlv.File, signed: tlv.Span) -> Iterator[tlv.Span]:
    at = signed.start
    for _ in range(8):  # a tbsCertList has seven parts at most
        if at == signed.end:
            return
        part = tlv.span(source, at, signed.end)
        yield part
        at = part.end
    raise Malformed("parts that no CRL has")


def _skip_version(source: tlv.File, parts: list[tlv.Span]) -> None:
    if parts and parts[0].tag == tlv.INTEGER:
        found = parts.pop(0)
        if source.piece(found.start, found.end) != bytes([_VERSION_2]):
            raise Malformed("a version that no CRL has")


def _next(parts: list[tlv.Span]) -> tlv.Span:
    if not parts:
        raise Malformed("a part of the CRL is missing")
    return parts.pop(0)


def _beside(source: tlv.File, begin: int, end: int) -> bytes:
    if end - begin > _MOST_BESIDE:
        raise Malformed("a part beside the entries that is too long")
    data = source.piece(begin, end)
    if len(data) != end - begin:
        raise Malformed("a file that became shorter")
    return data


def _moment(source: tlv.File, part: tlv.Span) -> int:
    return tlv.moment(part.tag, _beside(source, part.start, part.end))


def _name(encoded: bytes) -> bytes:
    """A Name as it is, once it is seen to be one: sets of pairs of a type and a value."""
    for tag, one in tlv.elements(tlv.content(encoded, tlv.SEQUENCE)):
        pairs = list(tlv.elements(one))
        if tag != tlv.SET or not pairs:
            raise Malformed("no name where the issuer's belongs")
        for kind, pair in pairs:
            parts = list(tlv.elements(pair))
            if kind != tlv.SEQUENCE or len(parts) != 2 or parts[0][0] != tlv.OID:
                raise Malformed("no name where the issuer's belongs")
            tlv.dotted(parts[0][1])
    return encoded


def _extensions(data: bytes) -> dict[str, tuple[bool, bytes]]:
    return crl_entries.extensions(tlv.content(data, tlv.SEQUENCE))


def _unknown_critical(extensions: dict[str, tuple[bool, bytes]]) -> list[str]:
    # RFC 5280 has two that are critical; a delta is told apart, and refused as such.
    known = (_IDP, _DELTA)
    return [oid for oid, (critical, _) in extensions.items() if critical and oid not in known]


def _number(extensions: dict[str, tuple[bool, bytes]]) -> int | None:
    if _NUMBER not in extensions:
        return None
    octets = tlv.content(extensions[_NUMBER][1], tlv.INTEGER)
    if len(octets) > _NUMBER_OCTETS:
        raise Malformed("a CRL number that is too long")
    return tlv.unsigned(octets)


def _point(extensions: dict[str, tuple[bool, bytes]]) -> _Point:
    if _IDP not in extensions:
        return _Point()
    parts = list(tlv.elements(tlv.content(extensions[_IDP][1], tlv.SEQUENCE)))
    tags = [tag for tag, _ in parts]
    wrong = [one for tag, one in parts if tag in _FLAGS and one != tlv.TRUE]
    unknown = set(tags) - {_POINT, _REASONS, *_FLAGS}
    only = len(set(tags) & set(_FLAGS))
    if not tags or tags != sorted(set(tags), key=_in_order) or unknown or wrong or only > 1:
        raise Malformed("an issuingDistributionPoint that is none")
    names = list(tlv.elements(parts[0][1])) if tags[0] == _POINT else []
    if tags[0] == _POINT and [tag for tag, _ in names] not in ([_FULL_NAME], [_RELATIVE_NAME]):
        raise Malformed("an issuingDistributionPoint without a name")
    partial = (
        _REASONS in tags or _ATTRIBUTE in tags or any(tag == _RELATIVE_NAME for tag, _ in names)
    )
    scope = USER if _ONLY_USER in tags else CA if _ONLY_CA in tags else ALL
    uris = tuple(sorted({uri for tag, one in names if tag == _FULL_NAME for uri in _uris(one)}))
    return _Point(NONE if partial else scope, _INDIRECT in tags, uris, bool(names))


_FLAGS = (_ONLY_USER, _ONLY_CA, _INDIRECT, _ATTRIBUTE)


def _in_order(tag: int) -> int:
    return tag & 0x1F


def _uris(names: bytes) -> Iterator[str]:
    for tag, one in tlv.elements(names):
        if tag == _URI:
            try:
                yield one.decode("ascii")
            except UnicodeDecodeError:
                raise Malformed("a URI that is no ASCII") from None


def _sha256(source: tlv.File) -> str:
    digest = hashlib.sha256()
    for part in pieces(source, 0, source.size):
        digest.update(part)
    return digest.hexdigest()


def pieces(source: tlv.File, begin: int, end: int) -> Iterator[bytes]:
    """The octets between two places, a mebibyte at a time."""
    for at in range(begin, end, _PIECE):
        yield _beside(source, at, min(at + _PIECE, end))


def unreadable(found: str, where: str) -> HostError:
    """The refusal of what is no CRL."""
    return HostError(
        "a CRL cannot be read",
        rule=RULE,
        found=found,
        expected="one X.509 CRL and nothing else",
        where=where,
        next_step="fetch the CRL again from its distribution point; the one in use stays",
    )
