# SPDX-License-Identifier: GPL-3.0-or-later
"""Take compromised keys out of service on this host, for good.

First the list (:mod:`.compromised`), so that nothing brings such a key back meanwhile; then every
gateway that still serves one is stopped; then the keys are removed, of releases and of the host's
own store, and the links to such releases. Everything is found anew in each run, so one that was
killed anywhere is finished by the next. Blocks are not overwritten: journals, snapshots and flash
would not honour it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import compromised, files, key, transaction, withdrawal
from .compromised import Listed
from .desired import Applied, Desired
from .errors import HostError
from .gateways import adapter
from .release import KEY, KEY_LINK
from .undo import Undo

_RELEASE = re.compile(r"v([1-9][0-9]{0,8})-[0-9a-f]{16}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Found:
    """What is here of a compromised key: a release, or a version of a key that this host made.

    ``place`` is below the certificate's directory; ``has_key`` whether the private key is still
    there, ``linked`` whether ``current`` leads to it.
    """

    certificate: str
    place: str
    version: int
    spki_sha256: str
    has_key: bool
    linked: bool

    @property
    def wrong(self) -> bool:
        """Whether anything is left to do about it."""
        return self.has_key or self.linked

    def paths(self, root: str) -> list[str]:
        """What is removed of it."""
        base = os.path.join(root, self.certificate)
        own = self.place.startswith("keys/")
        keys = [os.path.join(base, self.place, *([] if own else [KEY]))] if self.has_key else []
        return keys + ([os.path.join(base, "current")] if self.linked else [])

    def as_result(self) -> dict[str, Any]:
        """For the module's result."""
        return {
            "certificate": self.certificate,
            "place": self.place,
            "version": self.version,
            "spki_sha256": self.spki_sha256,
            "key": self.has_key,
            "in_service": self.linked,
        }


def found(root: str, listed: Mapping[str, Listed]) -> list[Found]:
    """Every release and own key below the root that falls under the list. Reads only."""
    if not listed:
        return []
    return [
        one
        for certificate in _entries(root)
        for one in (*_releases(root, certificate, listed), *_own_keys(root, certificate, listed))
    ]


def _entries(root: str) -> list[str]:
    try:
        entries = [one for one in os.scandir(root) if _NAME.fullmatch(one.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    # A link would lead to somebody else's files; ours are directories.
    return sorted(one.name for one in entries if one.is_dir(follow_symlinks=False))


def _releases(root: str, certificate: str, listed: Mapping[str, Listed]) -> Iterator[Found]:
    base = os.path.join(root, certificate)
    current = os.path.realpath(os.path.join(base, "current"))
    for name in _names(os.path.join(base, "releases")):
        match = _RELEASE.fullmatch(name)
        directory = os.path.join(base, "releases", name)
        if match is None or os.path.islink(directory):
            continue
        entry = compromised.of_directory(listed, directory)
        if entry is not None:
            # Under the second name there may be a copy.
            has_key = any(os.path.lexists(os.path.join(directory, one)) for one in (KEY, KEY_LINK))
            linked = os.path.realpath(directory) == current
            digest = entry.spki_sha256
            yield Found(certificate, f"releases/{name}", int(match[1]), digest, has_key, linked)


def _own_keys(root: str, certificate: str, listed: Mapping[str, Listed]) -> Iterator[Found]:
    for version in key.versions(root, certificate):
        for digest in sorted(key.digests(root, certificate, version) & {*listed}):
            yield Found(certificate, f"keys/{version}", version, digest, True, False)
            break


def remove(root: str, wrong: list[Found], *, links: bool = True) -> None:
    """Remove the keys, and the links when nobody serves through them. Under the root's lock."""
    for one in wrong:
        base = os.path.join(root, one.certificate)
        if one.place.startswith("keys/"):
            key.destroy(root, one.certificate, one.version)
            continue
        files.require_own(root, one.certificate, *one.place.split("/"))
        for name in (KEY, KEY_LINK):
            files.remove(os.path.join(base, one.place, name))
        if one.linked and links:
            files.remove(os.path.join(base, "current"))


def sweep(root: str) -> None:
    """Remove what killed writers left under other names, which may be keys. Under the lock."""
    for certificate in _entries(root):
        base = os.path.join(root, certificate)
        for name in _names(os.path.join(base, "releases")):
            if not os.path.islink(os.path.join(base, "releases", name)):
                files.sweep(os.path.join(base, "releases", name))
        files.sweep_directories(os.path.join(base, "keys"))


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


# -- gateways that still serve one ------------------------------------------------------------


@dataclass(frozen=True)
class Serving:
    """A gateway that has, or could go back to, a compromised key; and how to stop it."""

    root: str
    listed: Listed
    applied: Applied | None

    @property
    def name(self) -> str:
        return os.path.basename(self.root)

    def stopped(self) -> Desired:
        """What it must be: nothing. HostError when nobody recorded how it is run."""
        told = self.applied.gateway if self.applied else {}
        if self.applied is None or not {"name", "product", "program", "service"} <= {*told}:
            raise HostError(
                f"{self.name}: a gateway serves a compromised key, and how it is run is not known",
                rule="HOST-STILL-SERVING",
                found=f"key {self.listed.spki_sha256} of {self.listed.certificate}",
                expected="a record of the gateway's last change",
                where=os.path.join(self.root, transaction.APPLIED),
                next_step="stop the gateway by hand now, then run the gateway role",
            )
        running = Desired(
            told["name"],
            told["product"],
            told["program"],
            self.root,
            {},
            {},
            self.applied.probes,
            service=told["service"],
            closed=self.applied.closed,
        )
        return running.as_stopped()


def serving(gateway_root: str) -> list[Serving]:
    """The gateways of this host that serve a key on the list."""
    if not gateway_root:
        return []
    roots = [os.path.join(gateway_root, name) for name in _entries(gateway_root)]
    return [one for root in roots for one in _serving(root)]


def _serving(root: str) -> Iterator[Serving]:
    applied = _recorded(root)
    product = (applied.gateway.get("product") if applied else "") or ""
    config_files = [adapter(product).config_file] if product else _texts(root)
    for config_file in config_files:
        listed = withdrawal.serves(root, config_file, applied.uses if applied else ())
        if listed is not None:
            yield Serving(root, listed, applied)
            return


def _recorded(root: str) -> Applied | None:
    """What was applied last; of an open transaction, what it began with."""
    applied = Applied.parse(files.read(os.path.join(root, transaction.APPLIED)))
    if applied is not None:
        return applied
    try:
        undo = Undo.load(os.path.dirname(root))
        return Applied.parse(undo.previous(root, transaction.APPLIED))
    except HostError:
        return None


def _texts(root: str) -> list[str]:
    """Every file that may be a configuration, of a gateway without a record of ours."""
    return [name for name in _names(root) if name.endswith(".conf")]


# -- the whole of it ---------------------------------------------------------------------------


@dataclass
class Outcome:
    """What was done, or with ``check`` would be."""

    added: list[Listed]
    removed: list[Found]
    stopped: list[Serving]
    listed: dict[str, Listed]
    failures: list[HostError]

    @property
    def changed(self) -> bool:
        return bool(self.added or self.removed or self.stopped)


def listing(root: str, keys: list[Listed], *, check: bool) -> list[Listed]:
    """The keys that are new on the list.

    One that cannot be read is moved aside: the ledgers say all that it said.
    """
    damaged = _damaged(root)
    new = _unique(keys) if damaged else compromised.missing(root, keys)
    if check or not new:
        return new
    with files.HostLock(os.path.join(root, ".lock")):
        if _damaged(root):
            compromised.set_aside(root)
        return compromised.add(root, keys)


def known(root: str) -> dict[str, Listed]:
    """What the list says; nothing for one that cannot be read, which is about to be written."""
    return {} if _damaged(root) else compromised.read(root)


def _damaged(root: str) -> bool:
    try:
        compromised.read(root)
    except HostError as exc:
        if exc.rule != compromised.RULE_LIST:
            raise
        return True
    return False


def _unique(keys: list[Listed]) -> list[Listed]:
    return list({one.spki_sha256: one for one in keys}.values())


def run(root: str, gateway_root: str, keys: list[Listed], *, check: bool) -> Outcome:
    """List the keys, stop what serves one, and remove the keys from this host."""
    added = listing(root, keys, check=check)
    listed = {**known(root), **{one.spki_sha256: one for one in added}}
    stopped, failures = [], []
    for one in serving(gateway_root) if listed else ():
        stopped.append(one)
        try:
            if not check:
                transaction.run(one.stopped(), check=False)
        except HostError as exc:
            failures.append(exc)
    wrong = [one for one in found(root, listed) if one.wrong]
    if listed and not check:
        with files.HostLock(os.path.join(root, ".lock")):
            wrong = [one for one in found(root, listed) if one.wrong]
            # A link to such a release is how a gateway that could not be stopped is found again.
            remove(root, wrong, links=not failures)
            sweep(root)
    return Outcome(added, wrong, stopped, listed, failures)
