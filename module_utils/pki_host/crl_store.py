# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs and sets of them on a host, and when each was last confirmed by its source.

Layout below the CRL root, for one trust entry::

    <trust>/crls/<sha256>.der, .index     each CRL, and the index of its serials
    <trust>/sets/<id>/crl.pem, set.json   one immutable set; id is 16 hex of crl.pem's SHA-256
    <trust>/fetched.json                  when exactly these bytes were last confirmed
    <trust>/polls.json                    what the next poll has to know of the former ones
    <trust>/current -> sets/<id>          switched by transaction and refresh, not here

Everything is written under ``<root>/.lock``. A set is whole before it has a name, and of what is
not in its place yet only directories of :func:`files.new_directory` are left by a killed writer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import IO, Any, BinaryIO, cast

from . import crl_der, crl_pem, files, processes
from .crl_watch import Authority, Watch
from .errors import HostError

CRL, FACTS, LOCK, GUARD = "crl.pem", "set.json", ".lock", "guard.json"
CONTROLLER = "controller"
#: A run of the playbooks stages a set and switches to it later: younger ones are never removed.
KEPT_SECONDS = 2 * 3600
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SET = re.compile(r"sets/([0-9a-f]{16})")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20
# No writer takes that long between making a temporary file and giving it its name.
_LEFT_SECONDS = 600.0
# What one more holder of the lock may take besides its transfers.
_LOCK_SECONDS = 120.0


# -- values --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """One CRL that this host has: ``authority`` is the SHA-256 of its CA; moments are ISO."""

    authority: str
    name: str
    sha256: str
    number: str
    entries: int
    this_update: str
    next_update: str

    @staticmethod
    def of(raw: object) -> Held | None:
        """From JSON; None for what is none."""
        try:
            fields = cast("Mapping[str, Any]", raw)
            held = Held(
                str(fields["authority"]),
                str(fields["name"]),
                str(fields["sha256"]),
                str(fields["number"]),
                int(fields["entries"]),
                str(fields["this_update"]),
                str(fields["next_update"]),
            )
            held.as_previous()
        except (KeyError, TypeError, ValueError):
            return None
        return held if _SHA256.fullmatch(held.sha256) else None

    @staticmethod
    def by(facts: crl_der.CrlFacts, authority: Authority | None) -> Held:
        """What a CRL says of itself, as the set keeps it."""
        return Held(
            authority.sha256 if authority else "",
            authority.name if authority else "",
            facts.sha256,
            "" if facts.number is None else str(facts.number),
            facts.entries,
            iso(facts.this_update),
            "" if facts.next_update is None else iso(facts.next_update),
        )

    def as_previous(self) -> Previous:
        return Previous(int(self.number) if self.number else None, int(moment(self.this_update)))

    def newer_than(self, other: Held) -> bool:
        """By number where both have one, else by the moment of issue."""
        mine, theirs = self.as_previous(), other.as_previous()
        if mine.number is not None and theirs.number is not None and mine.number != theirs.number:
            return mine.number > theirs.number
        return mine.this_update > theirs.this_update

    def ended(self, now: float) -> bool:
        """Whether nextUpdate has passed; one without it never counts as fresh."""
        return not self.next_update or moment(self.next_update) <= now


@dataclass(frozen=True)
class Previous:
    """Number and moment of issue (seconds since 1970) of the CRL that another one follows."""

    number: int | None
    this_update: int


@dataclass(frozen=True)
class SetFacts:
    """A set of CRLs as ``set.json`` tells; sets that older versions installed have no CRLs here."""

    id: str
    crls: tuple[Held, ...]

    @property
    def next_update(self) -> str:
        """The earliest nextUpdate; empty when one has none, or nobody knows."""
        ends = [one.next_update for one in self.crls]
        return min(ends) if ends and all(ends) else ""


@dataclass(frozen=True)
class Clock:
    """One moment: seconds since 1970, and seconds since this boot, which no one can set."""

    now: float
    boot: str
    monotonic: float

    @staticmethod
    def read(now: float | None = None) -> Clock:
        """This moment, or the one the host comes to at ``now`` if nobody sets a clock."""
        wall, boottime = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
        later = 0.0 if now is None else now - wall
        return Clock(wall + later, processes.boot_id(), boottime + later)


def iso(seconds: float) -> str:
    """Seconds since 1970 as an ISO moment in UTC."""
    return datetime.fromtimestamp(int(seconds), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> float:
    """Seconds since 1970 of an ISO moment; ValueError when it is none."""
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if found.tzinfo is None:
        raise ValueError("a moment without a zone")
    return found.timestamp()


# -- one trust entry -----------------------------------------------------------------------


class Store:
    """What this host has of one trust entry. Writing methods are for the holder of the lock."""

    def __init__(self, root: str, trust: str) -> None:
        if not _SAFE_NAME.fullmatch(trust):
            raise unusable(trust, "a trust name with other characters", "a plain name")
        self.root = root
        self.trust = trust
        self.base = os.path.join(root, trust)

    # -- reading ---------------------------------------------------------------------------

    def current(self) -> SetFacts | None:
        """The set that ``current`` leads to, or None."""
        match = _SET.fullmatch(os.path.normpath(files.link_target(self.link) or ""))
        return self.set(match[1]) if match else None

    def set(self, identity: str) -> SetFacts | None:
        """A set by its id, or None where it is not."""
        folder = self.folder(identity)
        if files.mode_of(os.path.join(folder, CRL)) is None:
            return None
        raw = read_json(os.path.join(folder, FACTS)).get("crls")
        crls = [Held.of(one) for one in raw] if isinstance(raw, list) else []
        return SetFacts(identity, tuple(one for one in crls if one is not None))

    @property
    def link(self) -> str:
        return os.path.join(self.base, "current")

    def folder(self, identity: str) -> str:
        return os.path.join(self.base, "sets", identity)

    def der(self, crl_sha256: str) -> str:
        """The path of a CRL's DER."""
        return os.path.join(self.base, "crls", f"{crl_sha256}.der")

    def index(self, crl_sha256: str) -> str:
        """The path of the index of its serials."""
        return os.path.join(self.base, "crls", f"{crl_sha256}.index")

    def held(self, authority: str) -> Held | None:
        """The newest CRL of a CA that is at hand: adopted, or in ``current``."""
        here = [one for one in self._of(authority) if os.path.isfile(self.der(one.sha256))]
        return _newest(here)

    def floor(self, authority: str) -> Held | None:
        """The newest CRL of a CA that was ever taken here: nothing older may follow it.

        Its file may be lost. That is no reason to let an older one bring somebody back.
        """
        return _newest(self._of(authority))

    def _of(self, authority: str) -> list[Held]:
        current = self.current()
        # Of two that are equally new the one that was judged last: it comes first.
        candidates = [*self._adopted(), *(current.crls if current else ())]
        return [one for one in candidates if one.authority == authority]

    def _adopted(self) -> list[Held]:
        """The newest CRL of each CA, in service or not, as far as it was noted."""
        noted = self.polls().get("newest")
        found = [Held.of(one) for one in noted.values()] if isinstance(noted, dict) else []
        return [one for one in found if one is not None]

    def fetched(self) -> dict[str, dict[str, Any]]:
        """By CRL, when its source last confirmed these bytes; see :meth:`confirm`."""
        found = read_json(os.path.join(self.base, "fetched.json"))
        return {name: one for name, one in found.items() if isinstance(one, dict)}

    def fetched_at(self, crl_sha256: str) -> str:
        return str(self.fetched().get(crl_sha256, {}).get("fetched_at") or "")

    def oldest_confirmation(self, facts: SetFacts | None) -> str:
        """When the CRL of a set that was confirmed longest ago was; empty when nobody knows."""
        fetched = self.fetched()
        times = [
            str(fetched.get(one.sha256, {}).get("fetched_at") or "")
            for one in (facts.crls if facts else ())
        ]
        return min(times) if times and all(times) else ""

    def polls(self) -> dict[str, Any]:
        return read_json(os.path.join(self.base, "polls.json"))

    def problem(self, identity: str) -> str:
        """Why a set on this host is not what its name says; empty when it is."""
        files.require_own(self.root, self.trust, "sets", identity)
        path = os.path.join(self.folder(identity), CRL)
        mode = files.mode_of(path)
        if mode is None:
            return "not on this host"
        if digest(path)[:16] != identity:
            return "changed on this host"
        if mode != files.PUBLIC:
            return f"mode {mode:04o}, not {files.PUBLIC:04o}"
        return "" if self.set(identity) else "not on this host"

    # -- writing ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def staging(self) -> Iterator[str]:
        """A private directory below the trust entry, gone afterwards; what died is swept here."""
        files.make_directory(self.base)
        files.sweep_directories(self.base)
        _sweep_left(self.base)
        for below in ("crls", "sets"):
            files.make_directory(os.path.join(self.base, below))
            files.sweep_directories(os.path.join(self.base, below))
        path = files.new_directory(self.base)
        try:
            yield path
        finally:
            files.remove_tree(path)

    def adopt(self, der_path: str, facts: crl_der.CrlFacts, authority: Authority | None) -> Held:
        """Keep a judged CRL and its index.

        ``der_path`` is in :meth:`staging`, its index beside it as ``<der_path>.index``.
        """
        held = Held.by(facts, authority)
        if not is_whole(self.der(held.sha256), held.sha256):
            # The index first: a DER that is there has its index.
            for source, place in (
                (f"{der_path}.index", self.index(held.sha256)),
                (der_path, self.der(held.sha256)),
            ):
                files.set_mode(source, files.PUBLIC)
                files.put_back(source, place, files.PUBLIC)
        return held

    def stage(self, crls: Sequence[Held]) -> str:
        """Make the set of these CRLs, in this order, unless it is there; returns its id."""
        current = self.current()
        if current and current.crls == tuple(crls) and not self.problem(current.id):
            return current.id
        unfinished = files.new_directory(os.path.join(self.base, "sets"))
        identity = write_set(unfinished, crls, [self.whole(one) for one in crls])[:16]
        self.place(unfinished, identity)
        return identity

    def whole(self, held: Held) -> str:
        """The path of a CRL's DER, which is what its name says."""
        path = self.der(held.sha256)
        if not is_whole(path, held.sha256):
            raise HostError(
                f"{self.trust}: a CRL that this host keeps is not what its name says",
                rule="CRL-SET",
                found="other bytes, or no file",
                expected=f"SHA-256 {held.sha256}",
                where=path,
                next_step="remove that file; the next refresh fetches it again",
            )
        return path

    def place(self, unfinished: str, identity: str) -> None:
        """Give a finished set its name; one that has it is put right file by file, never away."""
        place = self.folder(identity)
        os.chmod(unfinished, files.DIRECTORY)
        if not os.path.lexists(place):
            files.make_directory(os.path.dirname(place))
            files.move_directory(unfinished, place)
            return
        files.require_own(self.root, self.trust, "sets", identity)
        for name in (CRL, FACTS):
            files.put_back(os.path.join(unfinished, name), os.path.join(place, name), files.PUBLIC)
        files.remove_tree(unfinished)

    def confirm(
        self, crl_sha256: str, source: str, clock: Clock, confirmed_at: float | None = None
    ) -> None:
        """Note that ``source`` holds exactly these bytes to be current, now or at ``confirmed_at``.

        An older confirmation never takes the place of a newer one of the same boot's clock.
        """
        at = clock.now if confirmed_at is None else confirmed_at
        fetched = self.fetched()
        known = fetched.get(crl_sha256)
        if confirmed_at is not None and known and _at(known) >= at:
            return
        monotonic = clock.monotonic - max(0.0, clock.now - at)
        fetched[crl_sha256] = {
            "fetched_at": iso(at),
            # Of what was confirmed before this boot only the wall clock knows the age.
            "boot": clock.boot if monotonic >= 0 else "",
            "monotonic": round(max(0.0, monotonic), 3),
            "source": source,
        }
        self._write("fetched.json", fetched)

    def note(self, polls: Mapping[str, Any]) -> None:
        self._write("polls.json", polls)

    def write_status(self, status: Mapping[str, Any]) -> None:
        self._write("status.json", status)

    def status(self) -> dict[str, Any]:
        """The last refresh as people are told; empty where there was none."""
        return read_json(os.path.join(self.base, "status.json"))

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        data = (json.dumps(content, sort_keys=True, indent=1) + "\n").encode()
        path = os.path.join(self.base, name)
        if files.read(path) != data:
            files.write(path, data, files.PUBLIC)

    def prune(self, keep: Iterable[str], now: float) -> None:
        """Remove sets but ``keep``, ``current`` and those of the last hours; then unused CRLs.

        Not while a change of the gateways is open: it may have to go back to any of them.
        """
        current = self.current()
        staying = {*keep, *([current.id] if current else ())}
        for name in _listed(os.path.join(self.base, "sets")):
            path = self.folder(name)
            if name not in staying and _age(path, now) > KEPT_SECONDS:
                files.discard_directory(path)
        self.prune_crls()

    def prune_crls(self) -> None:
        """Remove CRLs that are in no set and are not the newest of their CA."""
        used = {one.sha256 for one in self._adopted()}
        for name in _listed(os.path.join(self.base, "sets")):
            used |= {one.sha256 for one in (self.set(name) or SetFacts("", ())).crls}
        for name in _listed(os.path.join(self.base, "crls")):
            if name.split(".")[0] not in used:
                files.remove(os.path.join(self.base, "crls", name))
        fetched = self.fetched()
        if not used >= fetched.keys():
            self._write("fetched.json", {k: v for k, v in fetched.items() if k in used})


def newest_set(store: Store) -> SetFacts | None:
    """The set that was staged last, in service or not."""
    base = os.path.join(store.base, "sets")
    named = [name for name in _listed(base) if _SET.fullmatch(f"sets/{name}")]
    named.sort(key=lambda name: _age(os.path.join(base, name, FACTS), 0.0))
    return store.set(named[0]) if named else None


def _newest(candidates: Iterable[Held]) -> Held | None:
    best: Held | None = None
    for one in candidates:
        if best is None or one.newer_than(best):
            best = one
    return best


def links(root: str, trusts: Iterable[str]) -> dict[str, str]:
    """Where ``current`` of each trust entry leads; empty for nowhere."""
    return {name: files.link_target(Store(root, name).link) or "" for name in trusts}


def digests(root: str, now: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """The SHA-256 of ``crl.pem`` of each trust entry whose set is another one than before."""
    return {
        name: digest(os.path.join(Store(root, name).base, target, CRL))
        for name, target in now.items()
        if target and target != before.get(name)
    }


def write_set(folder: str, crls: Sequence[Held], ders: Sequence[str]) -> str:
    """Write ``crl.pem`` and ``set.json`` into a new directory; the SHA-256 of ``crl.pem``.

    ``ders`` are the paths of the CRLs, in the order of ``crls``.
    """
    found = hashlib.sha256()

    def fill(descriptor: int) -> None:
        with os.fdopen(os.dup(descriptor), "wb") as handle:
            out = cast("BinaryIO", _Hashing(handle, found))
            for path in ders:
                crl_pem.append_pem(path, out)

    path = os.path.join(folder, CRL)
    files.write_new(path, fill, files.PUBLIC)
    files.set_mode(path, files.PUBLIC)
    write_facts(folder, crls)
    return found.hexdigest()


def write_facts(folder: str, crls: Sequence[Held]) -> None:
    """Write ``set.json`` into the directory of a set."""
    facts = {"crls": [vars(one) for one in crls]}
    data = (json.dumps(facts, sort_keys=True, indent=1) + "\n").encode()
    files.write(os.path.join(folder, FACTS), data, files.PUBLIC)


class _Hashing:
    """A stream that knows the digest of what went through it."""

    def __init__(self, out: IO[bytes], digest: Any) -> None:
        self._out, self._digest = out, digest

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return self._out.write(data)


# -- helpers -------------------------------------------------------------------------------


def _sweep_left(directory: str) -> None:
    """Remove what killed writers left; the guard writes here too, and takes no lock."""
    for entry in os.scandir(directory):
        if entry.name.startswith((".new-", ".link-")) and not entry.is_dir(follow_symlinks=False):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > _LEFT_SECONDS:
                    files.remove(entry.path)


def is_whole(path: str, sha256: str) -> bool:
    """Whether a file has this SHA-256; read in pieces, as CRLs can be large."""
    return os.path.isfile(path) and digest(path) == sha256


def digest(path: str) -> str:
    """The SHA-256 of a file, read in pieces."""
    found = hashlib.sha256()
    with files.explained(path), open(path, "rb") as handle:
        for piece in iter(lambda: handle.read(_CHUNK), b""):
            found.update(piece)
    return found.hexdigest()


def lock(root: str, watch: Watch | None) -> files.HostLock:
    """The lock of all that writes below the CRL root; a poll of dead sources is waited for."""
    return files.HostLock(os.path.join(root, LOCK), _LOCK_SECONDS + _longest_poll(watch))


def _longest_poll(watch: Watch | None) -> float:
    if watch is None:
        return 0.0
    urls = [url for trust in watch.trusts.values() for ca in trust.authorities for url in ca.urls]
    return len(urls) * watch.fetch.total_seconds


def _at(known: Mapping[str, Any]) -> float:
    try:
        return moment(str(known["fetched_at"]))
    except (KeyError, ValueError):
        return 0.0


def _age(path: str, now: float) -> float:
    try:
        return now - os.lstat(path).st_mtime
    except OSError:
        return 0.0


def read_json(path: str) -> dict[str, Any]:
    """An object from a file; a damaged file says nothing."""
    try:
        found = json.loads(files.read(path) or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _listed(directory: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def unusable(trust: str, found: str, expected: str) -> HostError:
    """Why a set from the controller is not taken."""
    return HostError(
        f"{trust}: the CRL set handed to this host is not usable",
        rule="CRL-SET",
        found=found,
        expected=expected,
        where=f"trust {trust}",
        next_step="fetch the CRLs again; the set in use stays",
    )
