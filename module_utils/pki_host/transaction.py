# SPDX-License-Identifier: GPL-3.0-or-later
"""One change of one gateway: all of it or none of it, whatever happens in between.

Compare; register the undo; write files and switch links; native test; reload or start;
look at what is served; record what was applied; forget the undo. A failing step puts the
previous bytes back into place and into service. A killed run leaves its undo record,
and the next run does the whole change again from the same starting point.

A key on the host's list (:mod:`.compromised`) is never switched to, and never gone back to: a
change that fails where the previous state had one in service stops the gateway instead.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import compromised, files, probe, withdrawal
from .desired import Applied, Desired
from .errors import HostError
from .gateways import adapter as adapter_of
from .service import Daemon, Generation, for_host
from .systemd import Unit
from .undo import Undo

__all__ = ["APPLIED", "Applied", "Desired", "Difference", "Transaction", "run"]

APPLIED = "applied.json"
# Only directories of these shapes are ours to prune: releases/<id> and sets/<id>.
_PRUNABLE = re.compile(r"(?:releases/v[1-9][0-9]*-|sets/)[0-9a-f]{16}")


@dataclass(frozen=True)
class Difference:
    """What has to be done, and why: the answer of a comparison that changed nothing."""

    write: tuple[str, ...]
    remove: tuple[str, ...]
    links: tuple[str, ...]
    reasons: tuple[str, ...]
    diff: tuple[dict[str, str], ...]


class Transaction:
    """Brings one gateway to what is desired. Call under the host lock."""

    def __init__(self, desired: Desired) -> None:
        self._desired = desired
        self._root = desired.root
        self._daemon = _manager(desired)
        # Of a stopped gateway nothing stays: a boot starts what it finds.
        own = {} if desired.stopped else dict(self._daemon.own_files)
        own_links: dict[str, str | None] = dict(self._daemon.own_links)
        self._config = {**desired.config, **own}
        self._previous = Applied.parse(files.read(self._path(APPLIED)))
        self._links: dict[str, str | None] = {
            # Those of a service that is not wanted any more have to go.
            **dict.fromkeys(self._previous.links if self._previous else ()),
            **desired.links,
            **(dict.fromkeys(own_links) if desired.stopped else own_links),
        }
        self._activated = False
        self._restarted = False
        self._withdraws = False
        self.steps: list[str] = []

    # -- comparing ---------------------------------------------------------------------

    def compare(self) -> Difference:
        """Everything that differs from what is desired. Reads only."""
        self._daemon.require_usable()
        self._refuse_compromised()
        for folder in {*self._daemon.directories, *map(os.path.dirname, self._desired.config)}:
            files.require_own(self._root, *folder.split("/"))
        write = tuple(path for path in sorted(self._config) if self._differs(path))
        remove = tuple(path for path in self._known_paths() if self._superfluous(path))
        links = tuple(
            path for path, to in sorted(self._links.items()) if files.link_target(path) != to
        )
        reasons = [f"{path} is not as modelled" for path in write]
        reasons += [f"{path} is no longer part of the model" for path in remove]
        reasons += [self._link_reason(path) for path in links]
        reasons += self._reasons_of_the_process()
        return Difference(write, remove, links, tuple(reasons), self._diff(write, remove, links))

    def _refuse_compromised(self) -> None:
        for path, target in self._desired.links.items():
            listed = compromised.of_link(path, target)
            if listed is not None:
                raise compromised.refusal(path, listed, f"a link to {target}")

    def _link_reason(self, path: str) -> str:
        target = self._links[path]
        if target is None:
            return f"{path} is no longer part of the model"
        return f"{path} does not point to {target}"

    def _differs(self, path: str) -> bool:
        absolute = self._path(path)
        return files.read(absolute) != self._config[path] or files.mode_of(absolute) != files.PUBLIC

    def _known_paths(self) -> list[str]:
        """Files that we put there: by the last good run, or by one that was interrupted."""
        known = set(self._previous.paths if self._previous else ())
        interrupted = Undo.load(self._root)
        if interrupted is not None:
            before = Applied.parse(interrupted.previous(APPLIED))
            known.update(interrupted.files, before.paths if before else ())
        if self._desired.stopped:
            # Without a record, too, nothing may be left that could be started.
            known.update(self._daemon.own_files, [adapter_of(self._desired.product).config_file])
        return sorted(known - {APPLIED})

    def _superfluous(self, path: str) -> bool:
        return path not in self._config and os.path.lexists(self._path(path))

    def _reasons_of_the_process(self) -> list[str]:
        if Undo.load(self._root) is not None:
            return ["an earlier run was interrupted"]
        if self._desired.stopped:
            return self._reasons_while_stopped()
        serving = self._daemon.generation()
        if serving is None:
            return ["the gateway is not running"]
        found = self._daemon.problems()
        if self._previous is None or self._previous.digest != self._desired.digest:
            found.append("the running gateway has not loaded this model")
        elif not serving.still_serves(self._previous.generation):
            found.append("the gateway was restarted or reloaded by somebody else")
        elif self._previous.start != self._start_digest:
            found.append("the running gateway was started in another way")
        return found + self._open_ports()

    def _reasons_while_stopped(self) -> list[str]:
        found = ["the gateway still runs"] if self._daemon.master() is not None else []
        found += self._open_ports()
        if self._previous is None or self._previous.digest != self._desired.digest:
            found.append("the gateway is not recorded as out of service")
        return found

    def _open_ports(self) -> list[str]:
        return [
            f"{entry.name} still listens"
            for entry in self._desired.closed
            if self._daemon.still_listens(entry.address, entry.port)
        ]

    @property
    def _start_digest(self) -> str:
        return self._daemon.start_digest(self._desired.config)

    def _diff(
        self, write: Sequence[str], remove: Sequence[str], links: Sequence[str]
    ) -> tuple[dict[str, str], ...]:
        entries = [
            self._text_diff(path, self._config[path].decode("utf-8", "replace")) for path in write
        ]
        entries += [self._text_diff(path, "") for path in remove]
        for path in links:
            before = files.link_target(path) or "absent"
            entries.append(_entry(path, f"{before}\n", f"{self._links[path] or 'absent'}\n"))
        return tuple(entries)

    def _text_diff(self, path: str, after: str) -> dict[str, str]:
        before = files.read(self._path(path))
        return _entry(self._path(path), (before or b"").decode("utf-8", "replace"), after)

    # -- changing ----------------------------------------------------------------------

    def apply(self, difference: Difference) -> None:
        """Carry the change out, or leave everything as it was and raise HostError."""
        if not self._desired.stopped:
            self._daemon.require_program()
            self._daemon.require_ports(self._desired.listens)
        self._withdraws = self.serves_compromised() is not None
        interrupted = Undo.load(self._root)
        undo = interrupted or Undo(self._root)
        # A run that was killed may have put its half of the change into service.
        self._activated = interrupted is not None
        self._step("register undo")
        undo.register([*difference.write, *difference.remove, APPLIED], difference.links)
        before = Applied.parse(undo.previous(APPLIED))
        self._restarted = interrupted is not None and not self._is_master_of(before)
        try:
            self._change(difference, before)
        except Exception as exc:
            self._roll_back(undo, exc)
        self._step("close")
        undo.discard()
        self._prune()

    def _is_master_of(self, record: Applied | None) -> bool:
        """True when the master that runs now is the one that this record names."""
        master = self._daemon.master()
        if record is None or master is None:
            return False
        return record.generation.master == master.identity

    def _change(self, difference: Difference, before: Applied | None) -> None:
        # Gone until the end: what it says stops being true now.
        files.remove(self._path(APPLIED))
        self._daemon.make_directories()
        self._sweep()
        self._step("write files")
        for path in difference.write:
            files.write(self._path(path), self._config[path], files.PUBLIC)
        for path in difference.remove:
            files.remove(self._path(path))
        self._step("switch links")
        for path in difference.links:
            self._switch(path, self._links[path])
        if self._desired.stopped:
            self._stop()
        else:
            self._step("test")
            self._daemon.test()
            self._activate(self._needs_start(difference, before))
        self._step("probe")
        probe.require(self._desired.probes)
        probe.require_closed(self._desired.closed, self._daemon.still_listens)
        self._step("record")
        self._record(
            digest=self._desired.digest,
            paths=tuple(sorted(self._config)),
            probes=self._desired.probes,
            start=self._start_digest,
            links=() if self._desired.stopped else tuple(sorted(self._daemon.own_links)),
            uses=tuple(sorted(self._desired.links)),
            closed=self._desired.closed,
            gateway=self._desired.identity,
        )

    def _stop(self) -> None:
        """Nothing is served any more, and no session outlives it."""
        self._step("stop")
        self._activated = True
        self._daemon.cut()
        ends = [(entry.address, entry.port) for entry in self._desired.closed]
        self._daemon.end_orphans(ends)
        self._daemon.forget()

    @staticmethod
    def _switch(path: str, target: str | None) -> None:
        if target is not None:
            files.link(path, target)
        elif os.path.islink(path):
            files.remove(path)

    def _sweep(self) -> None:
        """Remove the temporary names that a killed run may have left."""
        for directory in {os.path.dirname(self._path(path)) for path in self._config}:
            files.sweep(directory)
        for directory in {os.path.dirname(path) for path in self._links}:
            files.sweep_links(directory)

    def _needs_start(self, difference: Difference, before: Applied | None) -> bool:
        """True when the master that runs, if any, cannot come to the model by a reload."""
        return (
            self._restarted  # by a run that was killed: from what, nobody knows
            or before is None
            or before.start != self._start_digest
            or self._daemon.is_foreign()
            or bool({*difference.write} & {*self._daemon.start_paths})
        )

    def _activate(self, needs_start: bool) -> None:
        self._activated = True
        self._daemon.refresh()
        running = self._daemon.master() is not None
        if running and not needs_start:
            self._step("reload")
            self._daemon.reload()
            if self._withdraws:
                # New sessions are made without the key; those there are end here.
                self._step("drain")
                self._daemon.drain(float(self._desired.drain_seconds))
            return
        self._step("restart" if running else "start")
        self._start()

    def _start(self) -> None:
        self._restarted = True
        self._daemon.stop()
        self._daemon.end_orphans(self._desired.listens)
        self._daemon.start()

    def _record(self, **fields: Any) -> None:
        generation = Generation("", ()) if self._desired.stopped else self._daemon.generation()
        if generation is None:
            raise HostError(
                "the gateway ended right after it was probed",
                rule="GATEWAY-GONE",
                found="no master process",
                expected="a running gateway",
                where=self._root,
                next_step="read the gateway's error log",
            )
        applied = Applied(generation=generation, **fields)
        files.write(self._path(APPLIED), applied.encode(), files.PUBLIC)

    # -- going back --------------------------------------------------------------------

    def _roll_back(self, undo: Undo, cause: Exception) -> None:
        """Previous bytes back into place and service; always raises."""
        failed = self.steps[-1]
        if self.serves_compromised() is not None:
            # The undo record stays: whoever stops the gateway, or runs next, goes on from it.
            raise _not_taken_back(self._desired.name, failed, cause) from None
        self._step("roll back")
        try:
            previous = Applied.parse(undo.previous(APPLIED))
            undo.restore()
            if self._activated:
                self._serve_again(previous)
            else:
                self._daemon.refresh()
            undo.discard()
        except Exception as exc:
            raise _stuck(self._desired.name, failed, cause, exc) from None
        raise _rolled_back(self._desired.name, failed, cause) from None

    def _serve_again(self, previous: Applied | None) -> None:
        configured = os.path.exists(self._path(adapter_of(self._desired.product).config_file))
        if not configured:
            self._daemon.stop()
            self._daemon.forget()
            return
        self._daemon.refresh()
        if self._daemon.master() is None or self._restarted:
            self._start()
        else:
            self._daemon.reload()
        if previous is not None:
            probe.require(previous.probes)
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
            )

    def serves_compromised(self) -> compromised.Listed | None:
        """The listed key that is, or by going back would be, in service."""
        config_file = adapter_of(self._desired.product).config_file
        recorded = self._previous.uses if self._previous else ()
        return withdrawal.serves(self._root, config_file, recorded)

    # -- cleaning ----------------------------------------------------------------------

    def _prune(self) -> None:
        """Remove old releases and CRL sets, keys included; the newest few stay."""
        for path, target in self._desired.links.items():
            if _PRUNABLE.fullmatch(target):
                live = os.path.join(os.path.dirname(path), target)
                _prune_beside(live, self._desired.keep_releases)

    def _path(self, name: str) -> str:
        return os.path.join(self._root, name)

    def _step(self, name: str) -> None:
        """Note which step begins; the last one noted is the one that failed."""
        self.steps.append(name)


def run(desired: Desired, *, check: bool) -> dict[str, Any]:
    """The module's result: changed, diff, steps, reasons, msg.

    The lock is one per directory of gateways, so two gateways of a host that share a
    certificate never change it at the same time. Checking needs no lock and makes none.
    """
    if check:
        return _result(desired, Transaction(desired).compare(), [])
    with files.HostLock(os.path.join(os.path.dirname(desired.root), ".lock")):
        transaction = Transaction(desired)
        try:
            difference = transaction.compare()
            if difference.reasons:
                transaction.apply(difference)
        except HostError as exc:
            if desired.stopped or transaction.serves_compromised() is None:
                raise
            failure = _stopped_instead(desired, exc)
        else:
            return _result(desired, difference, transaction.steps)
    raise failure


def _stopped_instead(desired: Desired, cause: HostError) -> HostError:
    """Stop the gateway that would go on with a compromised key; the error to raise."""
    try:
        stopping = Transaction(desired.as_stopped())
        stopping.apply(stopping.compare())
    except Exception as exc:
        with contextlib.suppress(Exception):
            _manager(desired).cut()
        return _ended(desired.name, cause, exc)
    return _wrapped(
        cause,
        f"{desired.name}: the gateway is stopped, since what was in service before has a "
        "compromised key",
    )


def _manager(desired: Desired) -> Daemon:
    adapter = for_host(adapter_of(desired.product), desired.program)
    if desired.service == Unit.kind:
        return Unit(adapter, desired.program, desired.root, desired.name)
    return Daemon(adapter, desired.program, desired.root)


def _result(desired: Desired, difference: Difference, steps: Sequence[str]) -> dict[str, Any]:
    reasons = list(difference.reasons)
    return {
        "changed": bool(reasons),
        "name": desired.name,
        "reasons": reasons,
        "steps": list(steps),
        "diff": list(difference.diff),
        "msg": f"{desired.name}: " + ("; ".join(reasons) or "already as modelled"),
    }


def _prune_beside(live: str, keep: int) -> None:
    parent, kind = os.path.dirname(live), os.path.basename(os.path.dirname(live))
    others = [
        entry.path
        for entry in (os.scandir(parent) if os.path.isdir(parent) else ())
        if entry.is_dir(follow_symlinks=False)
        and entry.path != live
        and _PRUNABLE.fullmatch(f"{kind}/{entry.name}")
    ]
    others.sort(key=lambda path: os.stat(path).st_mtime_ns, reverse=True)
    for path in others[max(keep - 1, 0) :]:
        files.remove_tree(path)


def _entry(path: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": path, "after_header": path, "before": before, "after": after}


def _rolled_back(name: str, step: str, cause: Exception) -> HostError:
    return _wrapped(
        cause, f"{name}: the step '{step}' failed; the previous configuration is back in place"
    )


def _stuck(name: str, step: str, cause: Exception, second: Exception) -> HostError:
    fields = _wrapped(second, "")
    error = _wrapped(
        cause,
        f"{name}: the step '{step}' failed, and the previous configuration could not be "
        "brought back into service",
    )
    error.next_step = f"{error.next_step}; going back failed with: {fields.found}"
    return error


def _ended(name: str, cause: Exception, second: Exception) -> HostError:
    error = _wrapped(
        cause,
        f"{name}: what was in service before has a compromised key, and the gateway could not be "
        "stopped in order; its process was ended",
    )
    fields = _wrapped(second, "")
    error.next_step = f"{error.next_step}; see that it stays down: {fields.message} {fields.found}"
    return error


def _not_taken_back(name: str, step: str, cause: Exception) -> HostError:
    return _wrapped(
        cause,
        f"{name}: the step '{step}' failed, and the previous configuration was not put back: its "
        "key is compromised",
    )


def _wrapped(cause: Exception, message: str) -> HostError:
    if isinstance(cause, HostError):
        fields = cause.as_result()
        text = fields.pop("message")
        return HostError(f"{message}: {text}" if message else text, **fields)
    reason = cause.strerror if isinstance(cause, OSError) else ""
    where = cause.filename if isinstance(cause, OSError) else ""
    return HostError(
        message,
        rule="GATEWAY-STEP",
        found=reason or type(cause).__name__,
        expected="no fault",
        where=str(where or ""),
        next_step="correct the fault above and run again",
    )
