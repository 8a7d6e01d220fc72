# SPDX-License-Identifier: GPL-3.0-or-later
"""One change of one gateway: all of it or none of it, whatever happens in between.

Compare; register the undo; write files and switch links; native test; reload or start;
look at what is served; record what was applied; forget the undo. A failing step puts the
previous bytes back into place and into service. A killed run leaves its undo record,
and the next run does the whole change again from the same starting point.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import files, probe
from .errors import HostError
from .gateways import adapter as adapter_of
from .probe import Probe
from .service import Daemon, Generation
from .undo import Undo

APPLIED = "applied.json"
# Only directories of these shapes are ours to prune: releases/<id> and sets/<id>.
_PRUNABLE = re.compile(r"(?:releases/v[1-9][0-9]*-|sets/)[0-9a-f]{16}")


@dataclass(frozen=True)
class Desired:
    """What one gateway must be on this host.

    ``config``: public text by path below ``root``. ``links``: absolute link -> relative
    target. ``keep_releases``: how many directories stay beside each link's target.
    """

    name: str
    product: str
    program: str
    root: str
    config: Mapping[str, bytes]
    links: Mapping[str, str]
    probes: tuple[Probe, ...]
    keep_releases: int = 3

    @staticmethod
    def of(raw: Mapping[str, Any]) -> Desired:
        """From module parameters; refuses paths that leave the root."""
        root = str(raw["root"]).rstrip("/")
        config = {str(f["path"]): str(f["content"]).encode() for f in raw["files"]}
        for path in config:
            if os.path.isabs(path) or os.path.normpath(path) != path or path.startswith(".."):
                raise _outside(path, f"a plain path below {root}")
        if not os.path.isabs(root) or re.search(r"\s", root):
            raise _outside(root, "an absolute path without white space")
        return Desired(
            str(raw["name"]),
            str(raw["product"]),
            str(raw["program"]),
            root,
            config,
            {str(entry["path"]): str(entry["target"]) for entry in raw["links"]},
            tuple(Probe.of(entry) for entry in raw["probes"]),
            int(raw["keep_releases"]),
        )

    @property
    def digest(self) -> str:
        """SHA-256 over all that the running process must have loaded."""
        content = {path: files.sha256(data) for path, data in self.config.items()}
        whole = {"product": self.product, "files": content, "links": dict(self.links)}
        return files.sha256(json.dumps(whole, sort_keys=True).encode())

    @property
    def listens(self) -> tuple[tuple[str, int], ...]:
        return tuple((entry.address, entry.port) for entry in self.probes)


@dataclass(frozen=True)
class Applied:
    """What the last successful transaction left, and who served it then."""

    digest: str
    paths: tuple[str, ...]
    probes: tuple[Probe, ...]
    generation: Generation

    @staticmethod
    def parse(data: bytes | None) -> Applied | None:
        """From the record's bytes; a missing or unreadable record means "not known"."""
        try:
            raw = json.loads(data or b"")
            return Applied(
                raw["digest"],
                tuple(raw["paths"]),
                tuple(Probe.of(entry) for entry in raw["probes"]),
                Generation(raw["master"], tuple(raw["workers"])),
            )
        except (ValueError, KeyError, TypeError):
            return None

    def encode(self) -> bytes:
        record = {
            "digest": self.digest,
            "paths": list(self.paths),
            "probes": [entry.as_json() for entry in self.probes],
            "master": self.generation.master,
            "workers": list(self.generation.workers),
        }
        return json.dumps(record, indent=2, sort_keys=True).encode() + b"\n"


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
        self._daemon = Daemon(adapter_of(desired.product), desired.program, desired.root)
        self._previous = Applied.parse(files.read(self._path(APPLIED)))
        self._activated = False
        self.steps: list[str] = []

    # -- comparing ---------------------------------------------------------------------

    def compare(self) -> Difference:
        """Everything that differs from what is desired. Reads only."""
        desired = self._desired
        for folder in {*self._daemon.directories, *map(os.path.dirname, desired.config)}:
            files.require_own(self._root, *folder.split("/"))
        write = tuple(path for path in sorted(desired.config) if self._differs(path))
        remove = tuple(path for path in self._known_paths() if self._superfluous(path))
        links = tuple(
            path for path, to in sorted(desired.links.items()) if files.link_target(path) != to
        )
        reasons = [f"{path} is not as modelled" for path in write]
        reasons += [f"{path} is no longer part of the model" for path in remove]
        reasons += [f"{path} does not point to {desired.links[path]}" for path in links]
        reasons += self._reasons_of_the_process()
        return Difference(write, remove, links, tuple(reasons), self._diff(write, remove, links))

    def _differs(self, path: str) -> bool:
        absolute = self._path(path)
        return (
            files.read(absolute) != self._desired.config[path]
            or files.mode_of(absolute) != files.PUBLIC
        )

    def _known_paths(self) -> list[str]:
        """Files that we put there: by the last good run, or by one that was interrupted."""
        known = set(self._previous.paths if self._previous else ())
        interrupted = Undo.load(self._root)
        if interrupted is not None:
            before = Applied.parse(interrupted.previous(APPLIED))
            known.update(interrupted.files, before.paths if before else ())
        return sorted(known - {APPLIED})

    def _superfluous(self, path: str) -> bool:
        return path not in self._desired.config and os.path.lexists(self._path(path))

    def _reasons_of_the_process(self) -> list[str]:
        if Undo.load(self._root) is not None:
            return ["an earlier run was interrupted"]
        serving = self._daemon.generation()
        if serving is None:
            return ["the gateway is not running"]
        if self._previous is None or self._previous.digest != self._desired.digest:
            return ["the running gateway has not loaded this model"]
        if not serving.still_serves(self._previous.generation):
            return ["the gateway was restarted or reloaded by somebody else"]
        return []

    def _diff(
        self, write: Sequence[str], remove: Sequence[str], links: Sequence[str]
    ) -> tuple[dict[str, str], ...]:
        entries = [
            self._text_diff(path, self._desired.config[path].decode("utf-8", "replace"))
            for path in write
        ]
        entries += [self._text_diff(path, "") for path in remove]
        for path in links:
            before = files.link_target(path) or "absent"
            entries.append(_entry(path, f"{before}\n", f"{self._desired.links[path]}\n"))
        return tuple(entries)

    def _text_diff(self, path: str, after: str) -> dict[str, str]:
        before = files.read(self._path(path))
        return _entry(self._path(path), (before or b"").decode("utf-8", "replace"), after)

    # -- changing ----------------------------------------------------------------------

    def apply(self, difference: Difference) -> None:
        """Carry the change out, or leave everything as it was and raise HostError."""
        self._daemon.require_program()
        self._daemon.require_ports(self._desired.listens)
        interrupted = Undo.load(self._root)
        undo = interrupted or Undo(self._root)
        # A run that was killed may have put its half of the change into service.
        self._activated = interrupted is not None
        self._step("register undo")
        undo.register([*difference.write, *difference.remove, APPLIED], difference.links)
        try:
            self._change(difference)
        except Exception as exc:
            self._roll_back(undo, exc)
        self._step("close")
        undo.discard()
        self._prune()

    def _change(self, difference: Difference) -> None:
        # Gone until the end: what it says stops being true now.
        files.remove(self._path(APPLIED))
        self._daemon.make_directories()
        self._sweep()
        self._step("write files")
        for path in difference.write:
            files.write(self._path(path), self._desired.config[path], files.PUBLIC)
        for path in difference.remove:
            files.remove(self._path(path))
        self._step("switch links")
        for path in difference.links:
            files.link(path, self._desired.links[path])
        self._step("test")
        self._daemon.test()
        self._activate()
        self._step("probe")
        probe.require(self._desired.probes)
        self._step("record")
        paths = tuple(sorted(self._desired.config))
        self._record(self._desired.digest, paths, self._desired.probes)

    def _sweep(self) -> None:
        """Remove the temporary names that a killed run may have left."""
        for directory in {os.path.dirname(self._path(path)) for path in self._desired.config}:
            files.sweep(directory)
        for directory in {os.path.dirname(path) for path in self._desired.links}:
            files.sweep_links(directory)

    def _activate(self) -> None:
        self._activated = True
        if self._daemon.master() is not None:
            self._step("reload")
            self._daemon.reload()
            return
        self._step("start")
        self._daemon.end_orphans(self._desired.listens)
        self._daemon.start()

    def _record(self, digest: str, paths: tuple[str, ...], probes: tuple[Probe, ...]) -> None:
        generation = self._daemon.generation()
        if generation is None:
            raise HostError(
                "the gateway ended right after it was probed",
                rule="GATEWAY-GONE",
                found="no master process",
                expected="a running gateway",
                where=self._root,
                next_step="read the gateway's error log",
            )
        applied = Applied(digest, paths, probes, generation)
        files.write(self._path(APPLIED), applied.encode(), files.PUBLIC)

    # -- going back --------------------------------------------------------------------

    def _roll_back(self, undo: Undo, cause: Exception) -> None:
        """Previous bytes back into place and service; always raises."""
        failed = self.steps[-1]
        self._step("roll back")
        try:
            previous = Applied.parse(undo.previous(APPLIED))
            undo.restore()
            if self._activated:
                self._serve_again(previous)
            undo.discard()
        except Exception as exc:
            raise _stuck(self._desired.name, failed, cause, exc) from None
        raise _rolled_back(self._desired.name, failed, cause) from None

    def _serve_again(self, previous: Applied | None) -> None:
        configured = os.path.exists(self._path(adapter_of(self._desired.product).config_file))
        running = self._daemon.master() is not None
        if not configured:
            self._daemon.stop()
            return
        if running:
            self._daemon.reload()
        else:
            self._daemon.end_orphans(self._desired.listens)
            self._daemon.start()
        if previous is not None:
            probe.require(previous.probes)
            # Workers are new: the old record names those that are gone.
            self._record(previous.digest, previous.paths, previous.probes)

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
        difference = transaction.compare()
        if difference.reasons:
            transaction.apply(difference)
        return _result(desired, difference, transaction.steps)


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


def _outside(path: str, expected: str) -> HostError:
    return HostError(
        "a path of the gateway model is not acceptable",
        rule="GATEWAY-PATH",
        found=path,
        expected=expected,
        where="gateway root and files",
        next_step="correct gateway_root or the model",
    )
