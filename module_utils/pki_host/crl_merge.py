# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs that the controller brings, beside those that the host has: of every CA the newest wins.

What comes from the controller is judged on the host again, by the rules for what it fetches
itself. Only where nobody said what this host watches, a set stays as it came.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import crl_changes, crl_der, crl_judge, crl_pem, crl_store, files
from .crl_changes import Memory
from .crl_store import Clock, Held, SetFacts, Store
from .crl_watch import Authority, TrustWatch, Watch
from .errors import HostError

_BEGIN = "-----BEGIN X509 CRL-----"
_BLOCK = re.compile(r"-----BEGIN X509 CRL-----[A-Za-z0-9+/=\s]+-----END X509 CRL-----\n?")
# Without a watch nobody said how large a CRL may be; the controller has its own limit.
_LARGEST = 1 << 30
# Not faults of what was brought: the host has what is newer.
_OUTDONE = ("CRL-OLDER",)


@dataclass(frozen=True)
class Brought:
    """CRLs of every CA of one trust entry, concatenated PEM, verified by the controller."""

    trust: str
    pem: str
    fetched_at: str

    @staticmethod
    def of(raw: Mapping[str, Any]) -> Brought:
        """A set from module parameters; what is not a whole CRL set is refused here.

        An empty file would switch revocation off on gateways that fail open.
        """
        brought = Brought(str(raw["trust"]), str(raw["pem"]), str(raw.get("fetched_at") or ""))
        Store("/", brought.trust)  # refuses names that lead elsewhere
        if _BEGIN not in brought.pem:
            raise crl_store.unusable(brought.trust, "no CRL in the set", "at least one PEM CRL")
        digest = files.sha256(brought.pem.encode())
        if digest != str(raw["sha256"]):
            expected = f"sha256 {raw['sha256']}"
            raise crl_store.unusable(brought.trust, f"sha256 {digest}", expected)
        return brought

    @property
    def at(self) -> float | None:
        """When the controller's oldest poll was (epoch); None when it does not say."""
        try:
            return crl_store.moment(self.fetched_at)
        except ValueError:
            return None


@dataclass(frozen=True)
class Merged:
    """What a trust entry's set is to be: ``problem`` says why it was not there already."""

    trust: str
    id: str
    sha256: str
    problem: str
    next_update: str
    path: str
    remarks: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """The CRL file of the set."""
        return os.path.join(os.path.dirname(self.path), "sets", self.id, crl_store.CRL)

    def as_result(self) -> dict[str, Any]:
        """For the module's result, and by that for the gateways' transaction."""
        return {
            "trust": self.trust,
            "id": self.id,
            "problem": self.problem,
            "changed": bool(self.problem),
            "next_update": self.next_update,
            "link": {"path": self.path, "target": f"sets/{self.id}"},
        }


@dataclass(frozen=True)
class _Choice:
    """A CRL of the set to be, and where its DER is now."""

    held: Held
    der: str
    facts: crl_der.CrlFacts | None = None
    authority: Authority | None = None


def merge(
    crl_root: str,
    watch: Watch | None,
    controller_sets: Sequence[Mapping[str, Any]],
    *,
    check: bool = False,
    now: float | None = None,
) -> list[Merged]:
    """Stage, of every trust entry, the set of the newest CRLs of controller and host.

    A trust entry for which the controller brought nothing is in the result with what is current.
    ``check`` only says what would be staged. Nothing is switched. HostError CRL-SET.
    """
    brought = {one.trust: one for one in map(Brought.of, controller_sets)}
    watched = dict(watch.trusts) if watch else {}
    names = list(dict.fromkeys([*brought, *watched]))
    clock = Clock.read(now)
    unlocked = check or not names
    with contextlib.nullcontext() if unlocked else crl_store.lock(crl_root, watch):
        found = [
            _Merge(Store(crl_root, name), watched.get(name), watch, clock, check).run(
                brought.get(name)
            )
            for name in names
        ]
    return [one for one in found if one is not None]


class _Merge:
    """The merge of one trust entry."""

    def __init__(
        self,
        store: Store,
        trust: TrustWatch | None,
        watch: Watch | None,
        clock: Clock,
        check: bool,
    ) -> None:
        self._store = store
        self._trust = trust
        self._watch = watch
        self._clock = clock
        self._check = check
        self._remarks: list[str] = []
        self._confirmed: list[tuple[str, float | None]] = []

    def run(self, brought: Brought | None) -> Merged | None:
        if brought is None and self._store.current() is None:
            return None
        with self._folder() as folder:
            if self._trust is None:
                # Only with a set: what nobody watches is not looked after either.
                return self._as_it_came(folder, brought) if brought else None
            return self._merged(folder, self._trust, brought)

    @contextlib.contextmanager
    def _folder(self) -> Iterator[str]:
        """Where to work; in check mode elsewhere, as the host may not have ours yet."""
        if not self._check:
            with self._store.staging() as folder:
                yield folder
            return
        with tempfile.TemporaryDirectory() as folder:
            yield folder

    # -- with a watch ----------------------------------------------------------------------

    def _merged(self, folder: str, trust: TrustWatch, brought: Brought | None) -> Merged | None:
        choices = {ca.sha256: self._own(ca) for ca in trust.authorities}
        for one in (self._inherited(), brought):
            if one is not None:
                self._take(folder, trust, one, choices)
        missing = [ca.name for ca in trust.authorities if choices[ca.sha256] is None]
        if missing and brought is None:
            return None
        if missing:
            why = "; ".join(self._remarks) or "none was brought, and none is here"
            raise crl_store.unusable(
                trust.name, f"no CRL of {', '.join(missing)}: {why}", "a CRL of every CA"
            )
        chosen = [one for one in choices.values() if one is not None]
        return self._staged(folder, chosen, brought)

    def _own(self, authority: Authority) -> _Choice | None:
        held = self._store.held(authority.sha256)
        if held is None:
            return None
        path = self._store.der(held.sha256)
        if not crl_store.is_whole(path, held.sha256):
            self._remarks.append(f"{authority.name}: the CRL kept here was changed")
            return None
        return _Choice(held, path)

    def _inherited(self) -> Brought | None:
        """A set that an older version put into service: its CRLs, and when they were fetched."""
        current = self._store.current()
        if current is None or current.crls:
            return None
        text = files.read(os.path.join(self._store.folder(current.id), crl_store.CRL)) or b""
        poll = crl_store.read_json(os.path.join(self._store.base, "poll.json"))
        told = poll if poll.get("set", current.id) == current.id else {}
        at = str(told.get("fetched_at") or "")
        return Brought(self._store.trust, text.decode("ascii", "replace"), at)

    def _take(
        self, folder: str, trust: TrustWatch, brought: Brought, choices: dict[str, _Choice | None]
    ) -> None:
        for body in _bodies(folder, brought.pem):
            found = self._judged(body, trust, choices)
            if found is None or found.authority is None:
                continue
            self._confirmed.append((found.held.sha256, brought.at))
            best = choices[found.authority.sha256]
            if best is None or found.held.newer_than(best.held):
                choices[found.authority.sha256] = found

    def _judged(
        self, body: str, trust: TrustWatch, choices: Mapping[str, _Choice | None]
    ) -> _Choice | None:
        """A CRL as one of the CAs' own, or None; of what was refused a remark stays."""
        watch = self._watch
        der, why = f"{body}.der", "of none of the CAs"
        try:
            crl_pem.to_der(body, der, watch.fetch.largest_bytes if watch else _LARGEST)
            facts = crl_der.read(der, f"{der}.index")
        except HostError as exc:
            self._remarks.append(f"{exc.message}: {exc.found}")
            return None
        for authority in trust.authorities:
            best = choices[authority.sha256]
            floor = best.held if best else self._store.floor(authority.sha256)
            try:
                crl_judge.judge(
                    der,
                    facts,
                    authority,
                    source=crl_store.CONTROLLER,
                    now=self._clock.now,
                    previous=floor.as_previous() if floor else None,
                    tolerance=watch.clock_tolerance_seconds if watch else 0,
                )
            except HostError as exc:
                if exc.rule in _OUTDONE:
                    return None
                if exc.rule != "CRL-ISSUER":
                    why = f"{exc.message}: {exc.found}"
                continue
            held = Held.by(facts, authority)
            return _Choice(held, der, facts, authority)
        self._remarks.append(f"a CRL was not taken: {why}")
        return None

    # -- without ---------------------------------------------------------------------------

    def _as_it_came(self, folder: str, brought: Brought) -> Merged:
        chosen: list[_Choice] = []
        for body in _bodies(folder, brought.pem):
            der = f"{body}.der"
            try:
                crl_pem.to_der(body, der, _LARGEST)
                facts = crl_der.read(der, f"{der}.index")
            except HostError as exc:
                self._remarks.append(f"{exc.message}: {exc.found}")
                continue
            self._confirmed.append((facts.sha256, brought.at))
            chosen.append(_Choice(Held.by(facts, None), der, facts))
        return self._staged(folder, chosen, brought, brought.pem)

    # -- both ------------------------------------------------------------------------------

    def _staged(
        self, folder: str, chosen: Sequence[_Choice], brought: Brought | None, text: str = ""
    ) -> Merged:
        crls = tuple(one.held for one in chosen)
        unfinished = files.new_directory(folder)
        if text:
            files.write(os.path.join(unfinished, crl_store.CRL), text.encode(), files.PUBLIC)
            crl_store.write_facts(unfinished, crls)
            digest = files.sha256(text.encode())
        else:
            digest = crl_store.write_set(unfinished, crls, [one.der for one in chosen])
        facts = SetFacts(digest[:16], crls)
        problem = self._store.problem(facts.id)
        if not problem and self._store.set(facts.id) != facts:
            problem = "what it holds is not noted"
        if not self._check:
            self._keep(chosen)
            if problem:
                self._store.place(unfinished, facts.id)
                self._store.prune_crls()
        return Merged(
            self._store.trust,
            facts.id,
            digest,
            problem,
            facts.next_update,
            self._store.link,
            tuple(self._remarks),
        )

    def _keep(self, chosen: Sequence[_Choice]) -> None:
        memory = Memory(self._store.polls())
        for one in chosen:
            if one.facts is None:
                continue
            if self._trust is not None and one.authority is not None:
                self._remember(memory, self._trust, one.authority, one)
            self._store.adopt(one.der, one.facts, one.authority)
        if memory.raw:
            self._store.note(memory.raw)
        serving = {one.held.sha256 for one in chosen}
        for sha256, at in self._confirmed:
            if sha256 in serving and at is not None:
                self._store.confirm(sha256, crl_store.CONTROLLER, self._clock, at)

    def _remember(
        self, memory: Memory, trust: TrustWatch, authority: Authority, one: _Choice
    ) -> None:
        now, old = self._clock.now, self._store.held(authority.sha256)
        changes = crl_changes.compare(self._store, trust, authority, old, one.der, now)
        memory.succeed(one.held, changes, one.der, now, first=old is None)


def _bodies(folder: str, pem: str) -> Iterator[str]:
    """Each CRL of a text as a file of its own."""
    for match in _BLOCK.finditer(pem):
        data = match[0].encode()
        path = os.path.join(folder, f"brought-{files.sha256(data)[:16]}")
        for name in (path, f"{path}.der", f"{path}.der.index"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        files.write_new(path, _filler(data))
        yield path


def _filler(data: bytes) -> Any:
    def fill(descriptor: int) -> None:
        with os.fdopen(os.dup(descriptor), "wb") as handle:
            handle.write(data)

    return fill
