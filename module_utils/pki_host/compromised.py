# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own list of compromised keys, which every staging, switch and rollback reads.

``<release root>/compromised.json`` (0644, nothing secret) names public keys by the SHA-256 of their
SubjectPublicKeyInfo, as the ledgers do. It only ever grows: no run takes an entry away, so that an
old controller, a rollback or a boot cannot bring such a key back either.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from . import der, files, openssl
from .errors import HostError

LIST = "compromised.json"
RULE = "HOST-COMPROMISED"
RULE_LIST = "HOST-COMPROMISED-LIST"
_SCHEMA = 1
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# A target of a certificate's link, as the transaction of a gateway writes it.
_RELEASE = re.compile(r"releases/v[1-9][0-9]{0,8}-[0-9a-f]{16}")
_CERTIFICATES = ("certificate.pem", "fullchain.pem")
_KEY = "key.pem"


@dataclass(frozen=True)
class Listed:
    """A compromised key: its digest, of which certificate, and when this host was told (UTC)."""

    spki_sha256: str
    certificate: str
    since: str


def wanted(raw: Iterable[Mapping[str, Any]], since: str) -> list[Listed]:
    """From module parameters: entries of ``certificate`` and ``spki_sha256`` (a list)."""
    found = []
    for entry in raw:
        name = str(entry["certificate"])
        if not _NAME.fullmatch(name):
            raise _malformed(name, "a plain name as certificate")
        for digest in entry["spki_sha256"]:
            if not _DIGEST.fullmatch(str(digest)):
                raise _malformed(str(digest), "64 lower-case hexadecimal digits")
            found.append(Listed(str(digest), name, since))
    return found


def path(root: str) -> str:
    """Where the list of a release root is."""
    return os.path.join(root, LIST)


def read(root: str) -> dict[str, Listed]:
    """The list by digest; empty where there is none.

    Raises HostError HOST-COMPROMISED-LIST for one that cannot be read: without it nobody knows
    which keys may be used here, so nothing is staged or switched.
    """
    data = files.read(path(root))
    if data is None:
        if os.path.lexists(path(root)):
            raise _damaged(root, "no regular file")
        return {}
    try:
        raw = json.loads(data)
        if raw["schema"] != _SCHEMA:
            raise _damaged(root, "another schema")
        listed = [Listed(digest, **said) for digest, said in raw["keys"].items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(root, "text that is not such a list") from None
    if not all(_DIGEST.fullmatch(one.spki_sha256) for one in listed):
        raise _damaged(root, "an entry that names no key")
    return {one.spki_sha256: one for one in listed}


def set_aside(root: str) -> None:
    """Move a list that cannot be read away, for a person to look at. Under the root's lock."""
    aside = f"{path(root)}.damaged"
    files.remove(aside)
    with files.explained(aside):
        os.rename(path(root), aside)


def missing(root: str, keys: Iterable[Listed]) -> list[Listed]:
    """Those of the keys that are not on the list yet, each once."""
    known = read(root)
    return list({one.spki_sha256: one for one in keys if one.spki_sha256 not in known}.values())


def text(listed: Iterable[Listed]) -> str:
    """The list as it is written."""
    entries = {}
    for one in listed:
        said = asdict(one)
        entries[said.pop("spki_sha256")] = said
    return json.dumps({"schema": _SCHEMA, "keys": entries}, indent=2, sort_keys=True) + "\n"


def add(root: str, keys: Iterable[Listed]) -> list[Listed]:
    """Put keys on the list and return the new ones. Call it under the root's lock."""
    new = missing(root, keys)
    if new:
        files.write(path(root), text([*read(root).values(), *new]).encode(), files.PUBLIC)
    return new


def of_directory(listed: Mapping[str, Listed], directory: str) -> Listed | None:
    """The entry that a release directory falls under, by its certificate or by its key.

    By its key, too: a run that was killed may have left one without a certificate beside it.
    """
    if not listed:
        return None  # so a host without such a list asks openssl nothing
    key = files.read(os.path.join(directory, _KEY))
    asked = [openssl.public_key_of_key(key)] if key else []
    for name in _CERTIFICATES:
        certificate = files.read(os.path.join(directory, name))
        asked += [openssl.public_key_of_certificate(certificate)] if certificate else []
    digests = map(openssl.spki_sha256, asked)
    return next((listed[digest] for digest in digests if digest in listed), None)


def of_certificate(listed: Mapping[str, Listed], pem: bytes) -> Listed | None:
    """The entry that a certificate falls under."""
    if not listed:
        return None
    return listed.get(openssl.spki_sha256(openssl.public_key_of_certificate(pem)))


def of_link(link: str, target: str | None) -> Listed | None:
    """The entry that a link with this target would bring into service; None for other links."""
    if target is None or not _RELEASE.fullmatch(os.path.normpath(target)):
        return None
    entry = os.path.dirname(link)
    return of_directory(read(os.path.dirname(entry)), os.path.join(entry, target))


def of_served(link: str, target: str) -> Listed | None:
    """The same for a link that leads there already: asked in every run, so without a program.

    What is in service was whole when it was put there; its certificate tells its key.
    """
    listed = read(os.path.dirname(os.path.dirname(link)))
    directory = os.path.join(os.path.dirname(link), target)
    if not listed or not _RELEASE.fullmatch(os.path.normpath(target)):
        return None
    for name in _CERTIFICATES:
        pem = files.read(os.path.join(directory, name))
        digest = der.spki_sha256(pem) if pem else ""
        if digest:
            return listed.get(digest)
    return of_link(link, target)


def refusal(where: str, listed: Listed, found: str) -> HostError:
    """What is said of a release that may not be used on this host."""
    return HostError(
        f"{listed.certificate}: the key is compromised and may not be used on this host",
        rule=RULE,
        found=found,
        expected=f"another key than {listed.spki_sha256}, on the list here since {listed.since}",
        where=where,
        next_step="deploy a certificate with another key; the list is not to be edited: an entry "
        "stands for good",
    )


def _malformed(found: str, expected: str) -> HostError:
    return HostError(
        "what is to be taken out of service is malformed",
        rule=RULE_LIST,
        found=found,
        expected=expected,
        where="option keys",
        next_step="use the release role with what the ledgers say; nothing was changed",
    )


def _damaged(root: str, found: str) -> HostError:
    return HostError(
        "this host's list of compromised keys cannot be used",
        rule=RULE_LIST,
        found=found,
        expected="the list as it was written",
        where=path(root),
        next_step="find out who changed it, and run playbooks/site.yml: it moves the file aside "
        "and writes the list anew from the ledgers; until then nothing is staged or switched",
    )
