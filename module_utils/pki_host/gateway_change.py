# SPDX-License-Identifier: GPL-3.0-or-later
"""One gateway's part in a transaction: what differs from its model, and each step of the change.

Nothing here decides what comes next or what happens after a failure: that is the work of
:mod:`.transaction`, which takes all gateways of a host through the same steps.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from . import compromised, crl_links, crl_users, files, probe, probe_client, withdrawal
from .desired import APPLIED, Applied, Desired
from .errors import HostError
from .gateways import adapter as adapter_of
from .gateways.base import Adapter
from .probe import Baseline, View
from .service import Daemon, Generation, for_host
from .systemd import Unit
from .undo import Part, Undo, Wanted

__all__ = ["APPLIED", "Change", "Difference"]


@dataclass(frozen=True)
class Difference:
    """What has to be done, and why: the answer of a comparison that changed nothing."""

    write: tuple[str, ...]
    remove: tuple[str, ...]
    links: tuple[str, ...]
    reasons: tuple[str, ...]
    diff: tuple[dict[str, str], ...]


class Change:
    """Brings one gateway to what is desired, step by step."""

    def __init__(self, desired: Desired) -> None:
        self.desired = desired
        self.root = desired.root
        self.adapter = _adapter(desired.product, desired.program, _age(desired.program))
        self.daemon = _manager(desired, self.adapter)
        # Of a stopped gateway nothing stays: a boot starts what it finds.
        own = {} if desired.stopped else dict(self.daemon.own_files)
        own_links: dict[str, str | None] = dict(self.daemon.own_links)
        self._config = {**desired.config, **own}
        self._previous = Applied.parse(files.read(self._path(APPLIED)))
        self.links: dict[str, str | None] = {
            # Those of a service that is not wanted any more have to go.
            **dict.fromkeys(self._previous.links if self._previous else ()),
            **desired.links,
            **(dict.fromkeys(own_links) if desired.stopped else own_links),
        }
        self.difference = Difference((), (), (), (), ())
        self.activated = False
        self.steps: list[str] = []
        self.notes: list[str] = []
        self._restarted = False
        self._withdraws = False
        self._before: Applied | None = None
        self._baseline = Baseline()

    @property
    def name(self) -> str:
        return self.desired.name

    @property
    def changes(self) -> bool:
        return bool(self.difference.reasons)

    # -- comparing ---------------------------------------------------------------------

    def compare(self, undo: Undo) -> Difference:
        """Everything that differs from what is desired. Reads only."""
        self.daemon.require_usable()
        part = undo.part(self.root)
        for folder in {*self.daemon.directories, *map(os.path.dirname, self.desired.config)}:
            files.require_own(self.root, *folder.split("/"))
        write = tuple(path for path in sorted(self._config) if self._differs(path))
        known = self._known_paths(part, undo)
        remove = tuple(path for path in known if self._superfluous(path))
        links = tuple(
            path for path, to in sorted(self.links.items()) if files.link_target(path) != to
        )
        self._refuse_compromised(links)
        reasons = [f"{path} is not as modelled" for path in write]
        reasons += [f"{path} is no longer part of the model" for path in remove]
        reasons += [self._link_reason(path) for path in links]
        # Nothing of the model: whoever enforces the age of CRLs owns these links and their targets.
        unset = crl_links.absent(self.desired.links, self.desired.config.values())
        reasons += [f"{path} does not lead to CRLs" for path in unset]
        reasons += self._reasons_of_the_process(part)
        diff = self._diff(write, remove, links)
        self.difference = Difference(write, remove, links, tuple(reasons), diff)
        return self.difference

    def _refuse_compromised(self, switched: Sequence[str]) -> None:
        for path, target in self.desired.links.items():
            ask = compromised.of_link if path in switched else compromised.of_served
            listed = ask(path, target)
            if listed is not None:
                raise compromised.refusal(path, listed, f"a link to {target}")

    def _link_reason(self, path: str) -> str:
        target = self.links[path]
        if target is None:
            return f"{path} is no longer part of the model"
        return f"{path} does not point to {target}"

    def _differs(self, path: str) -> bool:
        absolute = self._path(path)
        return files.read(absolute) != self._config[path] or files.mode_of(absolute) != files.PUBLIC

    def _known_paths(self, part: Part | None, undo: Undo) -> list[str]:
        """Files that we put there: by the last good run, or by one that was interrupted."""
        known = set(self._previous.paths if self._previous else ())
        if part is not None:
            before = Applied.parse(undo.previous(self.root, APPLIED))
            known.update(part.files, before.paths if before else ())
        if self.desired.stopped:
            # Without a record, too, nothing may be left that could be started.
            known.update(self.daemon.own_files, [self.config_file])
        return sorted(known - {APPLIED})

    def _superfluous(self, path: str) -> bool:
        return path not in self._config and os.path.lexists(self._path(path))

    def _reasons_of_the_process(self, part: Part | None) -> list[str]:
        if part is not None:
            return ["an earlier run was interrupted"]
        if self.desired.stopped:
            return self._reasons_while_stopped()
        serving = self.daemon.generation()
        if serving is None:
            return ["the gateway is not running"]
        found = self.daemon.problems()
        if self._previous is None or not self._has_loaded_all(self._previous):
            found.append("the running gateway has not loaded this model")
        elif not serving.still_serves(self._previous.generation):
            found.append("the gateway was restarted or reloaded by somebody else")
        elif self._previous.start != self._start_digest:
            found.append("the running gateway was started in another way")
        return found + self._open_ports()

    def _has_loaded_all(self, previous: Applied) -> bool:
        wanted = self.desired
        return previous.digest == wanted.digest and dict(previous.loaded) == dict(wanted.links)

    def _reasons_while_stopped(self) -> list[str]:
        found = ["the gateway still runs"] if self.daemon.master() is not None else []
        found += self._open_ports()
        if self._previous is None or self._previous.digest != self.desired.digest:
            found.append("the gateway is not recorded as out of service")
        return found

    def _open_ports(self) -> list[str]:
        return [
            f"{entry.name} still listens"
            for entry in self.desired.closed
            if self.daemon.still_listens(entry.address, entry.port)
        ]

    @property
    def _start_digest(self) -> str:
        return self.daemon.start_digest(self.desired.config)

    @property
    def config_file(self) -> str:
        return self.adapter.config_file

    def _diff(
        self, write: Sequence[str], remove: Sequence[str], links: Sequence[str]
    ) -> tuple[dict[str, str], ...]:
        entries = [
            self._text_diff(path, self._config[path].decode("utf-8", "replace")) for path in write
        ]
        entries += [self._text_diff(path, "") for path in remove]
        for path in links:
            before = files.link_target(path) or "absent"
            entries.append(_entry(path, f"{before}\n", f"{self.links[path] or 'absent'}\n"))
        return tuple(entries)

    def _text_diff(self, path: str, after: str) -> dict[str, str]:
        before = files.read(self._path(path))
        return _entry(self._path(path), (before or b"").decode("utf-8", "replace"), after)

    # -- changing ----------------------------------------------------------------------

    def require_room(self) -> None:
        """HostError when the program is missing, or a stranger holds a port."""
        if not self.desired.stopped:
            self.daemon.require_program()
            self.daemon.require_ports(self.desired.listens)

    def begin(self, undo: Undo) -> None:
        """Look at what serves now, and at what an interrupted run left of it. Reads only."""
        interrupted = undo.part(self.root) is not None
        self._withdraws = self.serves_compromised() is not None
        # A run that was killed may have put its half of the change into service.
        self.activated = interrupted
        self._before = (
            Applied.parse(undo.previous(self.root, APPLIED)) if interrupted else self._previous
        )
        self._restarted = interrupted and not self._is_master_of(self._before)
        self._baseline = Baseline.of(self.desired.probes)

    @property
    def to_register(self) -> Wanted:
        """The files and links that an undo record must know of, and who is about to use them."""
        paths = [*self.difference.write, *self.difference.remove, APPLIED]
        desired = self.desired
        return Wanted(paths, self.difference.links, desired.identity, desired.links)

    def _is_master_of(self, record: Applied | None) -> bool:
        """True when the master that runs now is the one that this record names."""
        master = self.daemon.master()
        if record is None or master is None:
            return False
        return record.generation.master == master.identity

    def write(self) -> None:
        """The files of the configuration."""
        # Gone until the end: what it says stops being true now.
        files.remove(self._path(APPLIED))
        self.daemon.make_directories()
        self._sweep()
        for path in self.difference.write:
            files.write(self._path(path), self._config[path], files.PUBLIC)
        for path in self.difference.remove:
            files.remove(self._path(path))

    def _sweep(self) -> None:
        """Remove the temporary names that a killed run may have left."""
        for directory in {os.path.dirname(self._path(path)) for path in (*self._config, APPLIED)}:
            files.sweep(directory)
        for directory in {os.path.dirname(path) for path in self.links}:
            files.sweep_links(directory)
        probe_client.sweep(self.root)

    def test(self) -> None:
        """The product's own configuration test."""
        self.daemon.test()

    def stop(self) -> None:
        """Nothing is served any more, and no session outlives it."""
        self.activated = True
        self.daemon.cut()
        ends = [(entry.address, entry.port) for entry in self.desired.closed]
        self.daemon.end_orphans(ends)
        self.daemon.forget()

    @property
    def way_into_service(self) -> str:
        """``stop``, ``start``, ``restart`` or ``reload``."""
        if self.desired.stopped:
            return "stop"
        if self.daemon.master() is None:
            return "start"
        return "restart" if self._needs_start() else "reload"

    def _needs_start(self) -> bool:
        """True when the master that runs cannot come to the model by a reload."""
        return (
            self._restarted  # by a run that was killed: from what, nobody knows
            or self._before is None
            or self._before.start != self._start_digest
            or self.daemon.is_foreign()
            or bool({*self.difference.write} & {*self.daemon.start_paths})
        )

    def refresh(self) -> None:
        """Let the manager know what is on disk now."""
        self.activated = True
        self.daemon.refresh()

    def reload(self) -> None:
        """The running master goes over to what is on disk."""
        self.daemon.reload()

    @property
    def drains(self) -> bool:
        """Whether sessions that were made before must not outlive a reload for long."""
        return self._withdraws

    def drain(self) -> None:
        """New sessions are made without the key; those there are end here."""
        self.daemon.drain(float(self.desired.drain_seconds))

    def start(self) -> None:
        """Start it anew from what is on disk."""
        self._restarted = True
        self.daemon.stop()
        self.daemon.end_orphans(self.desired.listens)
        self.daemon.start()

    def look(self) -> None:
        """What is really served, seen from outside."""
        self.notes += probe.require(self.desired.probes, self._view(self._baseline))
        probe.require_closed(self.desired.closed, self.daemon.still_listens)

    def _view(self, baseline: Baseline) -> View:
        configured = crl_users.configured(self.root, self.adapter)
        return View(self.root, self.adapter.access_log(self.root), baseline, configured=configured)

    def record(self) -> None:
        """Note what was applied, and who serves it."""
        self._record(
            digest=self.desired.digest,
            paths=tuple(sorted(self._config)),
            probes=self.desired.probes,
            start=self._start_digest,
            links=() if self.desired.stopped else tuple(sorted(self.daemon.own_links)),
            uses=tuple(sorted(self.desired.links)),
            closed=self.desired.closed,
            gateway=self.desired.identity,
            loaded=dict(self.desired.links),
        )

    def _record(self, **fields: Any) -> None:
        generation = Generation("", ()) if self.desired.stopped else self.daemon.generation()
        if generation is None:
            raise HostError(
                "the gateway ended right after it was probed",
                rule="GATEWAY-GONE",
                found="no master process",
                expected="a running gateway",
                where=self.root,
                next_step="read the gateway's error log",
            )
        applied = Applied(generation=generation, **fields)
        files.write(self._path(APPLIED), applied.encode(), files.PUBLIC)

    # -- going back --------------------------------------------------------------------

    def serve_again(self, previous: Applied | None) -> None:
        """What was in service before is on disk again: load it, look at it, record it."""
        if not self.activated:
            self.daemon.refresh()
            return
        if not os.path.exists(self._path(self.config_file)):
            self.daemon.stop()
            self.daemon.forget()
            return
        self.daemon.refresh()
        if self.daemon.master() is None or self._restarted:
            self.start()
        else:
            self.daemon.reload()
        if previous is not None:
            probe.require(previous.probes, self._view(Baseline()))
            # Workers are new: the old record names those that are gone.
            self._record(
                digest=previous.digest,
                paths=previous.paths,
                probes=previous.probes,
                start=previous.start,
                links=previous.links,
                uses=previous.uses,
                closed=previous.closed,
                gateway=previous.gateway,
                loaded={path: files.link_target(path) or "" for path in previous.uses},
            )

    def serves_compromised(self) -> compromised.Listed | None:
        """The listed key that is, or by going back would be, in service."""
        recorded = self._previous.uses if self._previous else ()
        return withdrawal.serves(self.root, self.config_file, recorded)

    def _path(self, name: str) -> str:
        return os.path.join(self.root, name)

    def as_result(self) -> dict[str, Any]:
        """For the module's result."""
        return {
            "name": self.name,
            "changed": self.changes,
            "reasons": list(self.difference.reasons),
            "steps": list(self.steps),
            "notes": list(self.notes),
        }


@lru_cache(maxsize=8)
def _adapter(product: str, program: str, _: tuple[int, ...]) -> Adapter:
    """The adapter for the build on this host: one look at each program, not one a gateway."""
    return for_host(adapter_of(product), program)


def _age(program: str) -> tuple[int, ...]:
    """Tells a program from the one that was at this path before."""
    try:
        found = os.stat(program)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _manager(desired: Desired, adapter: Adapter) -> Daemon:
    if desired.service == Unit.kind:
        return Unit(adapter, desired.program, desired.root, desired.name, desired.log_days)
    return Daemon(adapter, desired.program, desired.root)


def _entry(path: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": path, "after_header": path, "before": before, "after": after}
