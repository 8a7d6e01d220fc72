# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about private keys: what their store tells, and what protects their files on hosts.

Live only. Of a key nothing but what protects it is known here. The raw observations are:

- ``scene.keys[certificate][version]``: see :func:`..gather.key_facts`; a certificate that was
  looked for and not found is there without versions;
- ``scene.hosts[host]["releases"]``: a list of ``{"certificate", "release", "in_service", "home",
  "key": {"mode": "0600", "owner", "group", "directory_mode", "links"}, "spki_sha256"}``, mode
  empty where there is no file, and the digest empty where the key could not be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509

from .. import certificate_facts, key_place, observed, revocation, session
from ..certs import DECODE_ERRORS, to_der
from ..documents import Collected, Declaration, Document
from ..errors import PkiError
from ..inventory import Certificate
from . import issued
from .issued import Issued
from .scene import Collector, Scene

KIND = "key"
_RELEASE = re.compile(r"v([1-9][0-9]{0,8})-")


@dataclass(frozen=True, slots=True)
class _Key:
    """One key version: what names it, and what is known of it from three sides."""

    label: str
    certificate: str
    one: Issued | None
    stored: Mapping[str, Any]
    files: tuple[Mapping[str, Any], ...]


def collect(scene: Scene) -> Collected:
    """A document for every key version that a request, a store or a host knows.

    A version whose store was not asked is declared and has no document.
    """
    read = issued.read(scene)
    dead = _Dead(scene)
    declarations, documents = [], []
    for key in _keys(scene, read):
        entry = scene.inputs.declared.certificates[key.certificate]
        policy = key.one.policy if key.one is not None else entry.policy
        if not scene.inputs.policies[policy].of_kind(KIND):
            continue
        place = (
            key.one.place("request.yml")
            if key.one is not None
            else scene.place("certificates", key.certificate)
        )
        declarations.append(Declaration(KIND, key.label, policy, place))
        if key.certificate in scene.keys and not _silent(scene, key):
            siblings = read.versions.get(key.certificate, ())
            facts = _facts(scene, key, siblings, dead)
            documents.append(Document(KIND, key.label, policy, facts, place))
    # What could not be read is told by the collector of certificates, once.
    return scene.collected(declarations, documents)


def _silent(scene: Scene, key: _Key) -> bool:
    """Whether it is a host's own key and that host told nothing: then nothing is known of it."""
    entry = scene.inputs.declared.certificates[key.certificate]
    if key.stored or _place(entry, key.one) != key_place.HOST:
        return False
    return bool(scene.hosts.get(entry.host, {}).get("problem", "not asked"))


def _place(entry: Certificate, one: Issued | None) -> str:
    """The kind of store a version's key was made in, as far as its request can be used."""
    try:
        return key_place.of_version(entry, one.files if one is not None else None).store
    except PkiError:
        return ""


def _keys(scene: Scene, read: issued.Read) -> Iterator[_Key]:
    files = _files(scene)
    for name in scene.inputs.declared.certificates:
        stored = {int(number): fact for number, fact in scene.keys.get(name, {}).items()}
        versions = {one.files.number: one for one in read.versions.get(name, ())}
        unclaimed = list(files.get(name, ()))
        for number in sorted({*stored, *versions}):
            one = versions.get(number)
            digests = {_digest(stored.get(number, {})), _spki(one)} - {""}
            mine = [f for f in unclaimed if _belongs(f, number, digests)]
            unclaimed = [f for f in unclaimed if f not in mine]
            if number in stored or mine or _wanted(one, read.versions.get(name, ())):
                label = f"{name} v{number}"
                yield _Key(label, name, one, stored.get(number, {}), tuple(mine))
        for digest in dict.fromkeys(_digest(f) for f in unclaimed):
            some = tuple(f for f in unclaimed if _digest(f) == digest)
            label = f"{name} unknown {digest[:16] or 'unreadable'}"
            yield _Key(label, name, None, {"spki_sha256": digest}, some)


def _wanted(one: Issued | None, siblings: Sequence[Issued]) -> bool:
    """Whether a version's key must be somewhere: it is asked for or in use."""
    if one is None or one.files.request is None:
        return False
    return _state(one, siblings) in ("open", "current")


def _belongs(file: Mapping[str, Any], number: int, digests: set[str]) -> bool:
    """By the key itself; by the release's name only where the key could not be read."""
    digest = _digest(file)
    if digest:
        return digest in digests
    match = _RELEASE.match(str(file.get("release", "")))
    return match is not None and int(match[1]) == number


def _files(scene: Scene) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for host, told in scene.hosts.items():
        releases = told.get("releases")
        for release in releases if isinstance(releases, list) else ():
            key = release.get("key") if isinstance(release, Mapping) else None
            if isinstance(key, Mapping) and key.get("mode"):
                own = _certificate(scene, str(release.get("certificate", "")), host)
                found.setdefault(own, []).append({**release, "host": host})
    return found


def _certificate(scene: Scene, entry: str, host: str) -> str:
    """Whose release it is: a directory on a host goes by the entry's name.

    A host that is not among those of the entry has a key that is nobody's: it is looked at
    with the first one's, to whom it does not belong.
    """
    declared = scene.inputs.declared
    if entry not in declared.entries:
        return entry
    return (declared.of_host(entry, host) or declared.like(entry)).name


def _facts(scene: Scene, key: _Key, siblings: Sequence[Issued], dead: _Dead) -> dict[str, Any]:
    entry = scene.inputs.declared.certificates[key.certificate]
    one, stored = key.one, key.stored
    state = _state(one, siblings)
    external = one is not None and _place(entry, one) == key_place.EXTERNAL
    store = str(stored.get("store", "external" if external else "none"))
    return {
        "state": state,
        "environment": observed.text(entry.environment, 63),
        "purposes": sorted(one.expectation(today=False).purposes if one else entry.purposes),
        "expected": _expected_fact(one, entry),
        "spki_sha256": _digest(stored) or _spki(one),
        "request_spki_sha256": _spki(one),
        "store": store,
        "mount": observed.text(str(stored.get("mount", "")), 200),
        "algorithm": observed.text(str(stored.get("algorithm", "")), 40),
        "bits": int(stored.get("bits", 0)),
        "exportable": bool(stored.get("exportable", False)),
        "imported": bool(stored.get("imported", False)),
        "delivery": observed.text(entry.delivery, 40),
        "created_epoch": _epoch(str(stored.get("created", ""))),
        "registered_epoch": _epoch(entry.organisation.registered),
        "retired_days": _retired(one, siblings, state, scene.inputs.now),
        "retired": _retirement(one),
        "certificate_dead": one is not None and dead.is_dead(one),
        "files": [_file(file) for file in key.files[:1000]],
    }


def _retirement(one: Issued | None) -> str:
    """What the record of its end says became of it; none without one."""
    retired = one.version.retired if one is not None else None
    return retired.key if retired else "none"


def _expected_fact(one: Issued | None, entry: Any) -> dict[str, Any]:
    if one is not None:
        return observed.expected(one.expectation(today=False))
    return {"common_name": entry.common_name, "subject": observed.vetted(entry.subject)}


def _file(file: Mapping[str, Any]) -> dict[str, Any]:
    key = file["key"]
    return {
        "host": observed.text(str(file["host"]), 253),
        "release": observed.text(str(file.get("release", "")), 200),
        "in_service": bool(file.get("in_service", False)),
        "home": bool(file.get("home", False)),
        "mode": observed.text(str(key.get("mode", "")), 10),
        "directory_mode": observed.text(str(key.get("directory_mode", "")), 10),
        "owner": observed.text(str(key.get("owner", "")), 64),
        "group": observed.text(str(key.get("group", "")), 64),
        "links": max(0, int(key.get("links", 0))),
        "encrypted": bool(key.get("encrypted", False)),
    }


def _state(one: Issued | None, siblings: Sequence[Issued]) -> str:
    if one is None:
        return "unknown"
    state = issued.state(one, siblings)
    return "open" if state == "presented" else state


def _retired(one: Issued | None, siblings: Sequence[Issued], state: str, now: datetime) -> int:
    """Days since a version was replaced or given up; -1 for one that is not."""
    if one is None or state not in ("superseded", "rejected", "withdrawn"):
        return -1
    after = issued.neighbours(one, siblings).successor_accepted
    since = one.version.outcome_at or after
    return certificate_facts.days_since(since, now) if since else -1


def _digest(raw: Mapping[str, Any]) -> str:
    value = str(raw.get("spki_sha256", "")).lower()
    return value if re.fullmatch(r"[0-9a-f]{64}", value) else ""


def _spki(one: Issued | None) -> str:
    return one.request.spki_sha256 if one is not None and one.request is not None else ""


def _epoch(text: str) -> int:
    """A moment or day in ISO 8601 as seconds since 1970, -1 for none."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return -1
    return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))


class _Dead:
    """Whether a version's certificate has ended, or a cached CRL of its issuer revokes it."""

    def __init__(self, scene: Scene) -> None:
        inputs = scene.inputs
        self._inputs = inputs
        sets = session.cached_crls(inputs, {c.trust for c in inputs.declared.certificates.values()})
        self._crls = {
            name: [crl for data in one.crls for crl in revocation.parse_crls(data)]
            for name, one in sets.items()
        }

    def is_dead(self, one: Issued) -> bool:
        """Ended or revoked; a certificate that cannot be read is neither."""
        if one.leaf is None:
            return False
        try:
            if one.leaf.not_valid_after_utc < self._inputs.now:
                return True
            return self._revoked(one.leaf, one.declared.trust)
        except (*DECODE_ERRORS, PkiError):
            return False

    def _revoked(self, leaf: x509.Certificate, trust: str) -> bool:
        der, now = to_der(leaf), self._inputs.now
        return any(
            revocation.check((der, ca.der), self._crls[trust], now)[0].verdict == "revoked"
            for ca in self._inputs.trust[trust].issuers
        )


COLLECTOR = Collector(kinds=frozenset({KIND}), scopes=frozenset({"live"}), collect=collect)
