# SPDX-License-Identifier: GPL-3.0-or-later
"""Public keys, serial numbers and common names of what is committed, and who shares them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from .. import csr, public_state, reading
from ..certs import DECODE_ERRORS, name_bytes
from ..errors import PkiError
from .committed import Committed, versions

Identity = tuple[str, str]
#: Of who shares one, so many are told: facts are bounded.
_SHOWN = 100
_LONGEST = 200
_READING_FAULTS = (*DECODE_ERRORS, PkiError)


@dataclass(slots=True)
class Uses:
    """Who has one key, serial number or name; ``live`` while one of them is asked for or valid."""

    certificates: dict[str, None] = field(default_factory=dict)
    classes: set[str] = field(default_factory=set)
    elsewhere: list[str] = field(default_factory=list)
    live: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A directory of committed certificates; ``inventory`` is empty for the one that is judged.

    ``class_of`` tells the class of environments of a version, empty when nothing does, and None
    when the version is another policy's.
    """

    directory: Path
    inventory: str
    class_of: Callable[[Committed], str | None]


@dataclass(slots=True)
class Seen:
    """What the places hold together; ``own`` are the versions of the inventory that is judged."""

    uses: dict[Identity, Uses] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    own: list[Committed] = field(default_factory=list)


def look(places: Iterable[Place], now: datetime) -> Seen:
    """Every key, serial number and name of every place, and what could not be read."""
    seen = Seen()
    for place in places:
        for name in public_state.names(place.directory):
            _look_at(place, name, seen, now)
    return seen


def _look_at(place: Place, name: str, seen: Seen, now: datetime) -> None:
    shown = f"{place.inventory}/" if place.inventory else ""
    try:
        found = versions(place.directory, name)
    except PkiError as error:
        if not _is_empty(Path(error.where)):
            seen.unreadable.append(f"{shown}{name}")
        return
    for one in found:
        environment_class = place.class_of(one)
        if environment_class is None:
            continue
        if not place.inventory:
            seen.own.append(one)
        if _is_bare(one):
            continue  # no key and no serial number yet
        identities = _identities(one)
        if not (identities and environment_class):
            seen.unreadable.append(f"{shown}{one.label}")
        for identity in (*identities, *_names(one)):
            uses = seen.uses.setdefault(identity, Uses())
            uses.live = uses.live or (one.in_use(now) and not one.revoked)
            if environment_class:
                uses.classes.add(environment_class)
            if place.inventory:
                uses.elsewhere.append(f"{shown}{one.label}")
            else:
                uses.certificates.setdefault(name)


def _is_empty(path: Path) -> bool:
    """Whether what cannot be read is a directory with nothing in it, as a killed run leaves one."""
    try:
        return path.is_dir() and not any(path.iterdir())
    except OSError:
        return False


def as_facts(seen: Seen) -> list[dict[str, Any]]:
    """What the inventory that is judged has of them, in the order of their value."""
    return [
        {
            "what": what,
            "value": value,
            "certificates": list(uses.certificates)[:_SHOWN],
            "classes": sorted(uses.classes),
            "live": uses.live,
            "elsewhere": uses.elsewhere[:_SHOWN],
        }
        for (what, value), uses in sorted(seen.uses.items())
        if uses.certificates
    ]


def _identities(one: Committed) -> list[Identity]:
    """What can be read of a version; a reply that is none yet takes nothing from its request."""
    found: list[Identity] = []
    for read in (_of_request, _of_certificates):
        try:
            found += read(one)
        except _READING_FAULTS:
            continue
    return found


def _names(one: Committed) -> list[Identity]:
    """The name that was asked for, whose prefix is its class of environments'."""
    name = one.record.get("common_name")
    return [("name", str(name)[:_LONGEST])] if name else []


def _is_bare(one: Committed) -> bool:
    """Whether nothing was requested or issued: a wish alone, or what a killed run had begun."""
    files = one.files
    return files.request is None and files.request_record is None and not files.presented


def _of_request(one: Committed) -> list[Identity]:
    """The key, by the request itself, or by its record while a killed run's request is missing."""
    request = one.files.request
    if request is not None:
        return [("key", csr.parse(request).spki_sha256)]
    told = one.record.get("key")
    digest = told.get("spki_sha256") if isinstance(told, Mapping) else None
    return [("key", str(digest)[:_LONGEST])] if digest else []


def _of_certificates(one: Committed) -> list[Identity]:
    found = []
    for certificate in reading.read(one.files.presented) if one.files.presented else ():
        if _is_ca(certificate):
            continue
        key = hashlib.sha256(csr.spki_der(certificate.public_key())).hexdigest()
        issuer = hashlib.sha256(name_bytes(certificate, "issuer")).hexdigest()
        found += [("key", key), ("serial", f"{certificate.serial_number:x} of {issuer}")]
    return found


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False
