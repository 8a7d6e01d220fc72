# SPDX-License-Identifier: GPL-3.0-or-later
"""What was asked for beside what the CA made of it, field by field, for a person to compare.

Clause 5.6.1 wants the certificate's accuracy reviewed before it is used. The software has judged
it already; this is for the eyes of whoever commits it. Pure: facts documents in, text out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from . import names, x509_der
from .certs import short, stamp
from .report import columns

SAME, DIFFERS, ADDED = "=", "differs", "added by the CA"
NOTHING = "-"
LONGEST_VALUE = 120
MOST_ROWS = 60
_HEAD = ("field", "asked for", "certificate", "")
_SUBJECT = {"O": "organisation", "L": "city", "ST": "state or province", "C": "country"}
Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One field; ``asked`` or ``found`` is empty where there is nothing."""

    field: str
    asked: str
    found: str
    mark: str


def text(
    title: str, request: Facts, certificate: Facts, usages: Mapping[str, Sequence[str]]
) -> str:
    """The comparison as an aligned table under a title.

    Args:
        title: what it is about, as in "dip-nonprod v2".
        request: facts of kind ``request``.
        certificate: facts of kind ``certificate``.
        usages: the usages that each purpose wants, by purpose.
    """
    found = tuple(rows(request, certificate, usages))
    shown = [_HEAD, *(_cells(row) for row in found[:MOST_ROWS])]
    widths = [max(columns(row[column]) for row in shown) for column in range(3)]
    lines = [f"  {_line(row, widths)}" for row in shown]
    if len(found) > MOST_ROWS:
        lines.append(f"  and {len(found) - MOST_ROWS} more")
    differing = sum(row.mark == DIFFERS for row in found)
    fields = "1 field differs" if differing == 1 else f"{differing} fields differ"
    verdict = fields if differing else "nothing differs"
    return "\n".join([f"{title}: {verdict}", *lines])


def rows(request: Facts, certificate: Facts, usages: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    """Every field of the request, and what the certificate has besides."""
    yield _compared("common name", request["common_name"], certificate["common_name"])
    yield from _subject(request["subject"], certificate["subject"])
    yield from _alternative_names(_names(request), _names(certificate))
    yield _compared("key", _key(request), _key(certificate))
    asked, found = request["key"]["spki_sha256"], certificate["key"]["spki_sha256"]
    mark = SAME if asked and asked == found else DIFFERS
    yield Row("public key, SHA-256", _short(asked), _short(found), mark)
    yield from _usages(certificate, usages)
    yield Row("issuer", "", certificate["issuer_name"], ADDED)
    yield Row("serial number", "", certificate["serial"], ADDED)
    yield Row("valid from", "", _moment(certificate["not_before_epoch"]), ADDED)
    yield Row("valid until", "", _moment(certificate["not_after_epoch"]), ADDED)


def _compared(field: str, asked: str, found: str) -> Row:
    return Row(field, asked, found, SAME if asked == found else DIFFERS)


def _subject(asked: Mapping[str, str], found: Mapping[str, str]) -> Iterator[Row]:
    for attribute in dict.fromkeys((*_SUBJECT, *asked, *found)):
        before, after = asked.get(attribute, ""), found.get(attribute, "")
        if not (before or after):
            continue
        field = _SUBJECT.get(attribute, f"subject {attribute}")
        yield Row(field, "", after, ADDED) if not before else _compared(field, before, after)


def _names(facts: Facts) -> list[str]:
    return [f"{name['type']} {name['value']}" for name in facts["san"]]


def _alternative_names(asked: Sequence[str], found: Sequence[str]) -> Iterator[Row]:
    for name in dict.fromkeys((*asked, *found)):
        if name not in found:
            yield Row("alternative name", name, "", DIFFERS)
        elif name not in asked:
            yield Row("alternative name", "", name, ADDED)
        else:
            yield Row("alternative name", name, name, SAME)


def _key(facts: Facts) -> str:
    return f"{facts['key']['algorithm']} {facts['key']['bits']}"


def _usages(certificate: Facts, usages: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    held = (*certificate["key_usage"], *certificate["extended_key_usage"])
    told = ", ".join(held)
    for purpose in certificate["purposes"]:
        wanted = usages.get(purpose, ())
        missing = [usage for usage in wanted if usage not in held and not _free(usage, certificate)]
        mark = DIFFERS if missing else SAME
        yield Row(f"usages for {purpose}", ", ".join(wanted), told, mark)


def _free(usage: str, certificate: Facts) -> bool:
    """Whether a key usage is allowed because nothing is said of any (RFC 5280, 4.2.1.3)."""
    return usage in x509_der.KEY_USAGE_BITS and not certificate["key_usage"]


def _short(digest: str) -> str:
    return short(digest) if digest else ""


def _moment(epoch: int) -> str:
    return stamp(datetime.fromtimestamp(epoch, UTC))


def _cells(row: Row) -> tuple[str, ...]:
    values = (row.field, row.asked or NOTHING, row.found or NOTHING, row.mark)
    return tuple(names.printable(value, LONGEST_VALUE) for value in values)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=False)]
    return "  ".join([*cells, row[-1]]).rstrip()
