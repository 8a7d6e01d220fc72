# SPDX-License-Identifier: GPL-3.0-or-later
"""The trust sets of an inventory: which CA files are pinned, for which policy and class. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import PkiError
from .inventory_fields import choice, day, error, mapping, text

_URL = re.compile(r"https?://[!-~]{1,2000}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CA_FIELDS = ("file", "sha256", "crl_urls")
_CA_DAYS = ("trusted_from", "retire_after")


@dataclass(frozen=True, slots=True)
class CaFile:
    """A CA certificate as an input: path, pin (SHA-256 of its DER) and where its CRL is.

    ``trusted_from`` and ``retire_after`` are ISO days in UTC, empty where the inventory names none:
    the first day on which the CA is trusted, and the last.
    """

    file: str
    sha256: str
    crl_urls: tuple[str, ...]
    trusted_from: str = ""
    retire_after: str = ""


@dataclass(frozen=True, slots=True)
class TrustSet:
    """The pinned anchors and allowed issuing CAs of one policy and environment class."""

    name: str
    policy: str
    environment_class: str
    anchors: tuple[CaFile, ...]
    issuers: tuple[CaFile, ...]


def trust_set(key: str, raw: object) -> TrustSet:
    """One trust set, read strictly; PkiError INVENTORY."""
    where = f"trust.yml: trust.{key}"
    fields = ("policy", "environment_class", "anchors", "issuers")
    entry = mapping(raw, where, fields, fields)
    return TrustSet(
        name=key,
        policy=text(entry, "policy", where),
        environment_class=choice(entry, "environment_class", where, ("nonprod", "prod")),
        anchors=_ca_files(entry["anchors"], f"{where}.anchors"),
        issuers=_ca_files(entry["issuers"], f"{where}.issuers"),
    )


def _ca_files(raw: object, where: str) -> tuple[CaFile, ...]:
    if not isinstance(raw, list) or not raw:
        raise error(where, "no CA is pinned", raw, "at least one {file, sha256, crl_urls}")
    result = []
    for index, item in enumerate(raw):
        place = f"{where}[{index}]"
        entry = mapping(item, place, (*_CA_FIELDS, *_CA_DAYS), _CA_FIELDS)
        digest = text(entry, "sha256", place).replace(":", "").lower()
        if not _SHA256.fullmatch(digest):
            raise error(
                f"{place}.sha256",
                "the pin is not a SHA-256 digest",
                digest,
                "64 hexadecimal digits",
            )
        urls = entry["crl_urls"]
        if not isinstance(urls, list) or not all(_URL.fullmatch(str(url)) for url in urls):
            raise error(
                f"{place}.crl_urls",
                "the CRL locations are not http URLs",
                urls,
                "a list of http or https URLs",
            )
        first, last = (day(entry, field, place) for field in _CA_DAYS)
        if first and last and last < first:
            raise error(
                f"{place}.retire_after",
                "the CA is retired before it is trusted",
                f"trusted_from {first}, retire_after {last}",
                "a last day that is not before the first",
            )
        file = text(entry, "file", place)
        result.append(CaFile(file, digest, tuple(str(url) for url in urls), first, last))
    return tuple(result)


def one_each(sets: Iterable[TrustSet], problems: list[PkiError]) -> None:
    """A problem for each policy and class of environments that has a second trust set."""
    seen: dict[tuple[str, str], str] = {}
    for item in sets:
        key = (item.policy, item.environment_class)
        if key in seen:
            problems.append(
                error(
                    f"trust.yml: trust.{item.name}",
                    f"a second trust set for {item.policy} {item.environment_class}",
                    f"{seen[key]} and {item.name}",
                    "one trust set per policy and environment class",
                )
            )
        seen[key] = item.name
