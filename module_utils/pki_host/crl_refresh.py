# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch the CRLs that this host watches, judge them, and put what is newer into service.

The program of a timer, and what the module ``pki_crl_refresh`` runs at once. Nothing that is worse
than what is at hand ever replaces it, and nothing is touched where nothing changed: then a poll is
one conditional request a CA. How old CRLs may get is not decided here, but by :mod:`.crl_guard`.
Killed at any instant it leaves the old set or the new one, and the next run goes on from there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import (
    crl_changes,
    crl_der,
    crl_fetch,
    crl_judge,
    crl_links,
    crl_pem,
    crl_store,
    crl_switch,
    crl_told,
    crl_users,
    crl_watch,
    files,
    own_serials,
)
from .crl_changes import Memory
from .crl_store import Clock, Held, Store
from .crl_switch import Switched
from .crl_told import Line
from .crl_watch import Authority, Known, TrustWatch, Watch
from .errors import HostError

UNCHANGED, CHANGED, FAILED, HELD = crl_told.OUTCOMES
SAME_304, SAME, NEW, _ = crl_told.POLL_OUTCOMES
#: No address is known for the CA's CRL: only the controller brings it.
BROUGHT = "brought"
_MOST_REMEMBERED = 100
_OCSP_SECONDS = 30.0


@dataclass(frozen=True)
class Outcome:
    """What a run came to: each trust entry's status, and the lines for the journal."""

    trusts: Mapping[str, Mapping[str, Any]]
    lines: tuple[Line, ...]

    @property
    def fresh(self) -> bool:
        """Whether every CA of every trust entry has a CRL that is confirmed and in service."""
        return all(one.get("outcome") in (UNCHANGED, CHANGED) for one in self.trusts.values())

    @property
    def changed(self) -> bool:
        """Whether another set than before is in service anywhere."""
        return any(one.get("switched") for one in self.trusts.values())


def run(crl_root: str, now: float | None = None) -> Outcome:
    """Refresh every trust entry once, under the lock of the CRL root.

    HostError only where nothing could be begun: CRL-WATCH, HOST-BUSY, FILE-...
    """
    watch = crl_watch.load(crl_root)
    if watch is None:
        text = f"no CRL is watched on this host; run site.yml so that {crl_root} says what to watch"
        return Outcome({}, (Line(crl_told.WARNING, text),))
    clock = Clock.read(now)
    with crl_store.lock(crl_root, None):
        polls = [
            _Poll(Store(crl_root, name), trust, watch, clock)
            for name, trust in _order(crl_root, watch)
        ]
        for poll in polls:
            poll.refresh()
        # Last, as a responder that does not answer must keep no CRL back.
        for poll in polls:
            poll.ask_responders()
            poll.write_status()
    told = {poll.trust.name: poll.status for poll in polls}
    lines = [line for name in watch.trusts for line in crl_told.lines(name, told[name])]
    lines += _write_metrics(watch, told, clock.now)
    return Outcome({name: told[name] for name in watch.trusts}, tuple(lines))


def known(crl_root: str) -> dict[str, dict[str, Any]]:
    """The status of each watched trust entry as the last run left it; reads only."""
    watch = crl_watch.load(crl_root)
    names = watch.trusts if watch else ()
    return {name: Store(crl_root, name).status() for name in names}


def main(argv: Sequence[str] | None = None) -> int:
    """Run once: 0 when every CA's CRL is fresh, 1 when something failed, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="crl_refresh", description="Refresh the CRLs of a host.")
    parser.add_argument("--root", required=True, help="directory of the CRL sets")
    root = os.path.abspath(parser.parse_args(argv).root)
    try:
        outcome = run(root)
    except HostError as exc:
        crl_told.say([Line(crl_told.ERROR, crl_told.sentence("the CRL refresh", exc))])
        return 1
    except Exception as exc:  # the journal gets a sentence, whatever went wrong
        text = f"the CRL refresh ended early: {_fault(exc)}; the CRLs in service stay; report this"
        crl_told.say([Line(crl_told.ERROR, text)])
        return 1
    crl_told.say(outcome.lines)
    return 0 if outcome.fresh else 1


def _order(crl_root: str, watch: Watch) -> list[tuple[str, TrustWatch]]:
    """Entries whose sources answered last time first: a dead one keeps nobody waiting."""
    return sorted(
        watch.trusts.items(),
        key=lambda one: Store(crl_root, one[0]).status().get("outcome") == FAILED,
    )


def _write_metrics(watch: Watch, told: Mapping[str, Mapping[str, Any]], now: float) -> list[Line]:
    try:
        metrics = crl_told.refresh_metrics(watch, told, now)
        crl_told.write(watch.metrics_dir, crl_told.REFRESH_FILE, metrics)
    except HostError as exc:
        return [Line(crl_told.WARNING, crl_told.sentence("metrics of CRLs", exc))]
    return []


def _fault(exc: Exception) -> str:
    """A slip of ours: its kind and its place."""
    last = traceback.extract_tb(exc.__traceback__)[-1]
    return f"{type(exc).__name__} in {os.path.basename(last.filename)} line {last.lineno}"


@dataclass
class _Poll:
    """The refresh of one trust entry; ``status`` is what people are told."""

    store: Store
    trust: TrustWatch
    watch: Watch
    clock: Clock
    status: dict[str, Any] = field(default_factory=dict)

    def refresh(self) -> None:
        """Poll, stage, switch; whatever goes wrong is this entry's alone."""
        self.memory = Memory(self.store.polls())
        self.status = {
            "ran_at": crl_store.iso(self.clock.now),
            "outcome": FAILED,
            "why": "",
            "switched": False,
            "authorities": [],
            "gateways": [],
            "revoked": [],
            "vanished": [],
            "ocsp": [],
        }
        self.memory.count("polls")
        try:
            with self.store.staging() as folder:
                why = self._refreshed(folder)
        except HostError as exc:
            why = crl_told.reason(exc)
        except Exception as exc:  # a slip of ours in one entry must not keep the others stale
            why = _fault(exc)
        if why:
            self.status.update(outcome=FAILED, why=why)
        self._count()

    def _refreshed(self, folder: str) -> str:
        """All of it; why it failed, empty when it did not."""
        self._forget()
        entries = [self._authority(folder, one) for one in self.trust.authorities]
        self.status["authorities"] = entries
        self.store.note(self.memory.raw)
        held = [self.store.held(one.sha256) for one in self.trust.authorities]
        names = {one.authority for one in held if one is not None}
        missing = [one.name for one in self.trust.authorities if one.sha256 not in names]
        whys = [f"{one['name']}: {_last_why(one)}" for one in entries if one["outcome"] == FAILED]
        if missing:
            return "; ".join(whys) or f"there is no CRL of {', '.join(missing)} yet"
        serving = [one for one in held if one is not None]
        whys += self._into_service(self.store.stage(serving))
        self._own(serving)
        return "; ".join(whys)

    def _forget(self) -> None:
        """Drop what is noted of CAs and addresses that are not watched any more."""
        authorities = {one.sha256 for one in self.trust.authorities}
        urls = {url for one in self.trust.authorities for url in one.urls}
        for name, watched in (
            ("newest", authorities),
            ("changes", authorities),
            ("outcomes", authorities),
            ("urls", urls),
        ):
            noted = self.memory.of(name)
            for key in [key for key in noted if key not in watched]:
                del noted[key]

    # -- one authority ---------------------------------------------------------------------

    def _authority(self, folder: str, authority: Authority) -> dict[str, Any]:
        """Poll one CA's addresses in turn until one has a good CRL."""
        held = self._whole(authority)
        outcome, source = FAILED if authority.urls or held is None else BROUGHT, ""
        tries: list[dict[str, str]] = []
        for number, url in enumerate(authority.urls):
            told = {"url": crl_fetch.shown(url), "outcome": FAILED, "why": ""}
            tries.append(told)
            try:
                place = os.path.join(folder, f"{authority.sha256[:16]}-{number}")
                outcome = told["outcome"] = self._one(place, authority, url, held)
            except HostError as exc:
                told["why"] = crl_told.reason(exc)
                continue
            source = told["url"]
            break
        counted = self.memory.entry("outcomes", authority.sha256)
        counted[outcome] = crl_changes.whole(counted.get(outcome)) + 1
        return self._told(authority, outcome, source, tries)

    def _whole(self, authority: Authority) -> Held | None:
        """The newest of a CA; a file of it that was changed is removed, and fetched anew."""
        held = self.store.floor(authority.sha256)
        if held is not None:
            path = self.store.der(held.sha256)
            if not crl_store.is_whole(path, held.sha256):
                files.remove(path)
        return held

    def _one(self, place: str, authority: Authority, url: str, held: Held | None) -> str:
        """Poll one address. HostError says why what it has is not taken."""
        seen = self.memory.entry("urls", url)
        here = held is not None and os.path.isfile(self.store.der(held.sha256))
        same = held is not None and here and seen.get("sha256") == held.sha256
        answer = crl_fetch.transfer(
            url,
            place,
            self.watch.fetch,
            etag=str(seen.get("etag") or "") if same else "",
            modified=str(seen.get("modified") or "") if same else "",
        )
        if answer.unchanged and held is not None:
            return self._confirmed(held, url, SAME_304)
        der = f"{place}.der"
        crl_pem.to_der(place, der, self.watch.fetch.largest_bytes)
        digest = crl_store.digest(der)
        noted = {"etag": answer.etag, "modified": answer.modified, "sha256": digest}
        if held is not None and here and digest == held.sha256:
            found = self._confirmed(held, url, SAME)
        else:
            found = self._taken(der, authority, url, held)
        seen.update(noted)
        return found

    def _confirmed(self, held: Held, url: str, outcome: str) -> str:
        if held.ended(self.clock.now):
            raise HostError(
                "the source still has a CRL that has expired",
                rule="CRL-EXPIRED",
                found=f"nextUpdate {held.next_update or 'absent'}",
                expected="one that is newer",
                where=crl_fetch.shown(url),
                next_step="ask the CA to publish its CRL",
            )
        self.store.confirm(held.sha256, crl_fetch.shown(url), self.clock)
        return outcome

    def _taken(self, der: str, authority: Authority, url: str, held: Held | None) -> str:
        """Judge what came and keep it as the newest of its CA."""
        facts = crl_der.read(der, f"{der}.index")
        crl_judge.judge(
            der,
            facts,
            authority,
            source=url,
            now=self.clock.now,
            previous=held.as_previous() if held else None,
            tolerance=self.watch.clock_tolerance_seconds,
        )
        now = self.clock.now
        changes = crl_changes.compare(self.store, self.trust, authority, held, der, now)
        adopted = self.store.adopt(der, facts, authority)
        self.memory.succeed(adopted, changes, self.store.der(adopted.sha256), now, first=not held)
        self.store.note(self.memory.raw)
        self.store.confirm(adopted.sha256, crl_fetch.shown(url), self.clock)
        return NEW

    def _told(
        self, authority: Authority, outcome: str, source: str, tries: Sequence[Mapping[str, str]]
    ) -> dict[str, Any]:
        """One CA in ``status.json``."""
        held = Held.of(self.memory.of("newest").get(authority.sha256))
        held = held or self.store.held(authority.sha256)
        changes = self.memory.entry("changes", authority.sha256)
        gone = self.memory.vanished(self.clock.now)
        count = crl_changes.whole
        return {
            "name": authority.name,
            "sha256": authority.sha256,
            "outcome": outcome,
            "url": source,
            "tries": list(tries),
            "crl_sha256": held.sha256 if held else "",
            "number": held.number if held else "",
            "entries": held.entries if held else 0,
            "this_update": held.this_update if held else "",
            "next_update": held.next_update if held else "",
            "fetched_at": self.store.fetched_at(held.sha256) if held else "",
            "changed_at": str(changes.get("at") or ""),
            "added": count(changes.get("added")) if outcome == NEW else 0,
            "removed": count(changes.get("removed")) if outcome == NEW else 0,
            "removed_known": [one["what"] for one in gone if one["issuer"] == authority.sha256],
            "removed_uncertain": count(changes.get("uncertain")) if outcome == NEW else 0,
            "added_total": count(changes.get("added_total")),
            "removed_total": count(changes.get("removed_total")),
            "polls": dict(self.memory.entry("outcomes", authority.sha256)),
        }

    # -- the set ---------------------------------------------------------------------------

    def _into_service(self, identity: str) -> list[str]:
        """Switch to a set if that is not what is loaded; why that failed, if it did."""
        target = f"sets/{identity}"
        if not self._is_due(target):
            self.status["outcome"] = UNCHANGED
            return []
        before = files.link_target(self.store.link)
        switched = crl_switch.switch(
            self.store.root, self.trust.name, target, self.watch.gateway_root
        )
        self.status["switched"] = switched.changed
        self.status["gateways"] = _gateways(switched)
        self.status["notes"] = list(getattr(switched, "notes", ()))
        if switched.failure is not None:
            return [crl_told.reason(switched.failure)]
        if switched.held:
            self.status.update(outcome=HELD, why=switched.held)
            return []
        self.status["outcome"] = CHANGED if switched.changed else UNCHANGED
        self.store.prune([identity, os.path.basename(before or "")], self.clock.now)
        return []

    def _is_due(self, target: str) -> bool:
        """Whether the link, a gateway or what is in force is not as this set wants it."""
        root, name = self.store.root, self.trust.name
        if files.link_target(self.store.link) != target:
            return True
        for direction in self.trust.directions:
            if files.link_target(os.path.join(self.store.base, direction)) != crl_links.CURRENT:
                return True
        users = crl_users.users(self.watch.gateway_root, root, name)
        return any(user.loaded(self.store.link) != target for user in users)

    # -- serials of ours -------------------------------------------------------------------

    def _own(self, serving: Sequence[Held]) -> None:
        """Which certificates of ours and CAs the CRLs list; read again only where one changed."""
        key = files.sha256(
            json.dumps(
                [[one.sha256 for one in serving], [[c.issuer, c.serial] for c in self.trust.known]]
            ).encode()
        )
        kept = self.memory.of("own")
        if kept.get("key") != key:
            paths = {one.authority: self.store.der(one.sha256) for one in serving}
            found = own_serials.revoked(self.trust, paths)
            kept.update(key=key, revoked=[vars(one) for one in found])
        self.status["revoked"] = [dict(one) for one in kept["revoked"]]

    def ask_responders(self) -> None:
        """Ask the OCSP responders once a period, and again where none answered."""
        try:
            self._ask_responders()
        except Exception as exc:  # OCSP is beside the CRLs, which are refreshed by now
            self.status["notes"] = [*self.status.get("notes", ()), f"OCSP: {_fault(exc)}"]

    def _ask_responders(self) -> None:
        answers = self.memory.of("ocsp")
        wanted = {_key(one): one for one in self.trust.known if one.ocsp_urls}
        for name in [name for name in answers if name not in wanted]:
            del answers[name]
        due = [one for name, one in wanted.items() if self._ocsp_due(answers.get(name))]
        if due:
            self._ask(due, answers)
        asked = [answers[name] for name in wanted if name in answers]
        self.status["ocsp"] = [dict(one["answer"]) for one in asked]
        listed = {(one["what"], one["serial"]) for one in self.status["revoked"]}
        self.status["revoked"] += [
            dict(one["revoked"])
            for one in asked
            if one["revoked"] and (one["revoked"]["what"], one["revoked"]["serial"]) not in listed
        ]

    def _ask(self, due: Sequence[Known], answers: dict[str, Any]) -> None:
        limits = dataclasses.replace(
            self.watch.fetch,
            attempts=1,
            total_seconds=min(self.watch.fetch.total_seconds, _OCSP_SECONDS),
        )
        for one in due:
            for answer in own_serials.ask_ocsp(self.trust, [one], limits):
                answers[_key(one)] = {
                    "asked_at": crl_store.iso(self.clock.now),
                    "answer": vars(answer),
                    "revoked": vars(answer.revoked) if answer.revoked else None,
                }

    def _ocsp_due(self, asked: object) -> bool:
        if not isinstance(asked, dict) or asked["answer"]["status"] == own_serials.NONE:
            return True
        age = self.clock.now - crl_store.moment(str(asked["asked_at"]))
        return not 0 <= age < self.watch.ocsp_period_seconds

    # -- the end ---------------------------------------------------------------------------

    def _count(self) -> None:
        good = self.status["outcome"] != FAILED
        self.memory.count("failures", 0 if good else 1)
        if good:
            self.memory.raw["last_success_at"] = crl_store.iso(self.clock.now)
        recent = [one for one in self.memory.raw.get("recent") or () if one in (0, 1)]
        self.memory.raw["recent"] = [*recent, int(good)][-_MOST_REMEMBERED:]

    def write_status(self) -> None:
        """Note what the next run has to know, and what people want to."""
        raw = self.memory.raw
        self.status.update(
            vanished=self.memory.vanished(self.clock.now),
            polls=raw["polls"],
            failures=raw["failures"],
            last_success_at=str(raw.get("last_success_at") or ""),
            recent_polls=len(raw["recent"]),
            recent_failures=raw["recent"].count(0),
        )
        try:
            self.store.note(raw)
            self.store.write_status(self.status)
        except HostError as exc:
            self.status.update(outcome=FAILED, why=crl_told.reason(exc))


def _last_why(entry: Mapping[str, Any]) -> str:
    whys = [one["why"] for one in entry["tries"] if one["why"]]
    return "; ".join(whys) or "no address is known for its CRL, and none was brought"


def _gateways(switched: Switched) -> list[dict[str, str]]:
    told = [{"name": name, "outcome": "reloaded", "why": ""} for name in switched.reloaded]
    if switched.failure is not None:
        told.append({"name": "", "outcome": FAILED, "why": crl_told.reason(switched.failure)})
    if switched.held:
        told.append({"name": "", "outcome": HELD, "why": switched.held})
    return told


def _key(known: Known) -> str:
    return f"{known.issuer}/{known.serial:x}"


if __name__ == "__main__":
    sys.exit(main())
