# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway process: is it running, start it, reload it, know that it really did.

A reload signal tells nothing: a gateway that refuses the new configuration just keeps
the old one. What proves a reload is a new generation of workers that took over.

:class:`Daemon` starts the process itself. Who starts it in another way changes what the
section "the manager" says, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from . import files, processes
from .errors import HostError
from .gateways.base import Adapter
from .processes import Process

_SECONDS = 20.0
_PAUSE = 0.05


@dataclass(frozen=True)
class Generation:
    """Who serves: the master and the workers it started on its latest configuration."""

    master: str
    workers: tuple[str, ...]

    def still_serves(self, recorded: Generation) -> bool:
        """True when nobody restarted or reloaded the gateway since ``recorded``.

        One surviving worker is proof enough: a reload replaces all of them, while a
        crashed worker is replaced alone, by the same configuration.
        """
        return self.master == recorded.master and bool({*self.workers} & {*recorded.workers})


def is_program(path: str) -> bool:
    """True for an executable file."""
    return os.path.isfile(path) and os.access(path, os.X_OK)


def for_host(adapter: Adapter, program: str) -> Adapter:
    """The adapter for the build on this host; as it is when there is none yet.

    HostError when the product is installed, but too old or built without what we need.
    """
    if not is_program(program):
        return adapter
    with tempfile.TemporaryDirectory() as nowhere:
        _, output = run_program(adapter.version_command(program), nowhere)
    return adapter.of_build(program, output)


class Daemon:
    """One gateway that we start ourselves, without a service manager."""

    def __init__(self, adapter: Adapter, program: str, root: str) -> None:
        self._adapter = adapter
        self._program = program
        self._root = root

    # -- the manager -------------------------------------------------------------------

    kind = "daemon"

    @property
    def own_files(self) -> Mapping[str, bytes]:
        """Files outside the root that belong to the gateway, by absolute path."""
        return {}

    @property
    def started_from(self) -> Mapping[str, bytes]:
        """Those of them that only a start reads."""
        return {}

    @property
    def own_links(self) -> Mapping[str, str]:
        """Links that belong to them."""
        return {}

    def require_usable(self) -> None:
        """HostError when this host cannot be managed in this way at all. Reads only."""

    def problems(self) -> list[str]:
        """What is wrong with the way the process is run, besides files and links."""
        return []

    def is_foreign(self) -> bool:
        """True when the running gateway was not started by this manager."""
        return False

    def refresh(self) -> None:
        """Let the manager know what is on disk now."""

    def forget(self) -> None:
        """After the gateway has ended and its files are gone: leave no trace of it."""

    def start_command(self) -> list[str]:
        return self._adapter.start_command(self._program, self._root)

    def environment(self) -> dict[str, str]:
        return self._adapter.environment(self._root)

    @property
    def start_paths(self) -> tuple[str, ...]:
        """The files that only a start reads, as the transaction names them."""
        return (*self.started_from, *self._adapter.start_files)

    def start_digest(self, config: Mapping[str, bytes]) -> str:
        """SHA-256 over what only a start reads; when it changes, a reload is not enough."""
        whole = {
            "kind": self.kind,
            "command": self.start_command(),
            "environment": self.environment(),
            "own": {path: files.sha256(data) for path, data in self.started_from.items()},
            "files": {
                path: files.sha256(config[path])
                for path in self._adapter.start_files
                if path in config
            },
        }
        return files.sha256(json.dumps(whole, sort_keys=True).encode())

    # -- before it is there ------------------------------------------------------------

    def require_program(self) -> None:
        if not is_program(self._program):
            raise HostError(
                f"the gateway program {self._adapter.product} is missing on this host",
                rule="PROGRAM-MISSING",
                found="no executable file",
                expected=f"{self._adapter.product}, executable by this user",
                where=self._program,
                next_step="install it, or correct gateway_programs",
            )

    @property
    def directories(self) -> tuple[str, ...]:
        """Directories of the gateway below its root."""
        return self._adapter.directories

    def make_directories(self) -> None:
        for name in ("", *self.directories):
            files.make_directory(os.path.join(self._root, name).rstrip("/"))

    # -- looking -----------------------------------------------------------------------

    def master(self) -> Process | None:
        """The running master. By its title, so a lost or stale pid file does not matter.

        And by its owner: anybody may give a process of their own this title, and a run that
        believed it would signal a stranger and never start the gateway.
        """
        found = self._masters()
        if len(found) > 1:
            recorded = (files.read(self._adapter.pid_file(self._root)) or b"").strip()
            found.sort(key=lambda process: str(process.pid).encode() != recorded)
        return found[0] if found else None

    def _masters(self) -> list[Process]:
        """Those of the title that are nobody's child: of some products the workers have it, too."""
        found = [process for process in processes.processes() if self._is_master(process)]
        pids = {process.pid for process in found}
        return [process for process in found if process.parent not in pids]

    def _is_master(self, process: Process) -> bool:
        return process.uid == os.geteuid() and self._adapter.is_master(process.title, self._root)

    def generation(self) -> Generation | None:
        """Who serves now, or None when the gateway is not running."""
        master = self.master()
        if master is None:
            return None
        workers = sorted(worker.identity for worker in self._workers(master))
        return Generation(master.identity, tuple(workers))

    def _workers(self, master: Process) -> list[Process]:
        return [process for process in self._children(master) if not self._is_retiring(process)]

    def _children(self, master: Process) -> list[Process]:
        return self._children_of(master.pid)

    def _children_of(self, pid: int) -> list[Process]:
        return [
            process
            for process in processes.processes()
            if process.parent == pid and self._adapter.is_worker(process.title)
        ]

    def _is_retiring(self, worker: Process) -> bool:
        if self._adapter.shows_retiring:
            return self._adapter.is_retiring(worker.title)
        if processes.open_files(worker.pid):
            return not processes.is_listening(worker.pid)
        # In a container root may not look into another user's process: there the youngest serves.
        return any(other.start > worker.start for other in self._children_of(worker.parent))

    # -- ports -------------------------------------------------------------------------

    def require_ports(self, listens: Sequence[tuple[str, int]]) -> None:
        """Refuse, before anything changes, a port that a stranger holds."""
        for address, port in listens:
            inodes = processes.listening_inodes(address, port)
            if not inodes:
                continue
            held_by = processes.holders(inodes)
            strangers = [holder for holder in held_by if not self._is_ours(holder)]
            # In a container root may not see who holds it: it may be a worker of ours.
            unseen = not held_by and self.master() is None
            if strangers or unseen:
                raise _port_in_use(address, port, strangers)

    def _is_ours(self, process: Process) -> bool:
        if self._is_master(process):
            return True
        return self._adapter.is_worker(process.title) and self._is_below_root(process)

    def _is_below_root(self, process: Process) -> bool:
        # Every worker of this gateway holds this gateway's log open. That tells it from
        # a worker of another gateway of the same product, which its title does not.
        prefix = self._root + "/"
        return any(target.startswith(prefix) for target in processes.open_files(process.pid))

    def still_listens(self, address: str, port: int) -> bool:
        """Whether this gateway, or somebody this user cannot see, listens there."""
        for bound in _addresses(address, port):
            inodes = processes.listening_inodes(bound, port)
            held_by = processes.holders(inodes) if inodes else []
            if inodes and (not held_by or any(self._is_ours(holder) for holder in held_by)):
                return True
        return False

    def end_orphans(self, listens: Sequence[tuple[str, int]]) -> list[int]:
        """End workers whose master was killed and that still hold one of our ports.

        They serve an old configuration for ever and keep a new master from starting.
        """
        inodes: set[str] = set()
        for address, port in listens:
            inodes |= processes.listening_inodes(address, port)
        orphans = [
            process
            for process in (processes.holders(inodes) if inodes else [])
            if self._adapter.is_worker(process.title)
            and _ours(process)
            and self._is_below_root(process)
            and not self._has_master(process)
        ]
        for process in orphans:
            _end(process, self._adapter.stop_signal)
        return [process.pid for process in orphans]

    def _has_master(self, worker: Process) -> bool:
        parent = processes.process(worker.parent)
        return parent is not None and self._is_master(parent)

    # -- acting ------------------------------------------------------------------------

    def test(self) -> None:
        """The product's own configuration test."""
        code, output = self._run(self._adapter.test_command(self._program, self._root))
        if code != 0:
            raise HostError(
                "the gateway's own configuration test refused the new configuration",
                rule="GATEWAY-CONFIG-TEST",
                found=last_lines(output) or f"exit code {code}",
                expected="exit code 0",
                where=os.path.join(self._root, self._adapter.config_file),
                next_step="correct what the line above names",
            )

    def start(self) -> None:
        """Start the gateway and wait until a worker serves."""
        offset = self._log_size()
        code, output = self._launch()
        if code != 0 or not _wait(self._serving):
            said = "\n".join(self._adapter.start_failures(self._log_since(offset)))
            raise HostError(
                "the gateway did not start",
                rule="GATEWAY-START",
                found=last_lines(output) or last_lines(said)[-400:] or f"exit code {code}",
                expected="a running master and worker",
                where=self._root,
                next_step="read the error log below that directory",
            )

    def _launch(self) -> tuple[int, str]:
        if self._adapter.detaches:
            return self._run(self.start_command())
        started = self._spawn()
        _wait(lambda: started.poll() is not None or self._serving())
        code = started.poll()
        if code is None:
            return 0, ""
        # One that ended did not start, whatever it says.
        return code or 1, ""

    def _spawn(self) -> subprocess.Popen[bytes]:
        """Start a program that stays in the foreground: in a session of its own, with its logs."""
        access, error = self._adapter.access_log(self._root), self._adapter.error_log(self._root)
        with _appended(access) as output, _appended(error) as complaints:
            return subprocess.Popen(
                self.start_command(),
                cwd=self._root,
                env=_environment(self.environment()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=complaints,
                start_new_session=True,
            )

    def _serving(self) -> bool:
        generation = self.generation()
        return generation is not None and bool(generation.workers)

    def reload(self) -> None:
        """Reload and wait until new workers serve and no old one accepts any more."""
        master = self.master()
        if master is None:
            raise _reload_failed(self._root, "the master process is gone")
        old = {worker.identity for worker in self._workers(master)}
        offset = self._log_size()
        os.kill(master.pid, self._adapter.reload_signal)
        failures: list[str] = []

        def settled() -> bool:
            failures[:] = self._adapter.reload_failures(self._log_since(offset))
            now = {worker.identity for worker in self._workers(master)}
            return bool(failures) or (bool(now) and not now & old)

        if not _wait(settled):
            raise _reload_failed(self._root, "the old workers still serve")
        if failures:
            raise _reload_failed(self._root, failures[-1])

    def drain(self, seconds: float) -> list[int]:
        """Wait until the workers that a reload replaced have ended, and end those that do not.

        They hold the keys they were started with, and the sessions made with them.
        """
        if _wait(lambda: not self._retiring(), seconds):
            return []
        late = self._retiring()
        for worker in late:
            _end(worker, signal.SIGTERM)
        return [worker.pid for worker in late]

    def _retiring(self) -> list[Process]:
        master = self.master()
        children = self._children(master) if master is not None else []
        return [process for process in children if self._is_retiring(process)]

    def stop(self) -> None:
        """Let the gateway finish its requests and end; kill it when it does not."""
        master = self.master()
        if master is not None:
            _end(master, self._adapter.stop_signal)

    def cut(self) -> None:
        """End it at once, with every session it has."""
        master = self.master()
        if master is not None:
            _end(master, signal.SIGTERM)

    def _run(self, command: list[str]) -> tuple[int, str]:
        return run_program(command, self._root, self.environment())

    def _log_size(self) -> int:
        try:
            return os.path.getsize(self._adapter.error_log(self._root))
        except OSError:
            return 0

    def _log_since(self, offset: int) -> str:
        try:
            with open(self._adapter.error_log(self._root), "rb") as handle:
                handle.seek(offset)
                return handle.read(1 << 20).decode("utf-8", "replace")
        except OSError:
            return ""


def run_program(
    command: list[str], directory: str, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Exit code and output of a program that is given no more than it needs."""
    # Output to a file: a daemon that keeps the pipe open would make us wait for ever.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            command,
            cwd=directory,
            env=_environment(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        output.seek(0)
        return done.returncode, output.read(1 << 16).decode("utf-8", "replace")


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **more}


def _appended(path: str) -> IO[bytes]:
    """A log to append to; whom a host lets read logs is said by their group."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o640), "ab", buffering=0)


def _addresses(address: str, port: int) -> list[str]:
    """The addresses that a listener's address or name stands for."""
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    except OSError:
        return [address]
    return sorted({str(entry[4][0]) for entry in found})


def _ours(process: Process) -> bool:
    # A master started by root drops its workers to another user.
    return os.geteuid() in (0, process.uid)


def _end(process: Process, gently: int) -> None:
    for number in (gently, 9):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        if _wait(lambda: not _same(process), 5.0):
            return


def _same(process: Process) -> bool:
    now = processes.process(process.pid)
    return now is not None and now.start == process.start


def _wait(condition: Callable[[], bool], seconds: float = _SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        if condition():
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PAUSE)


def last_lines(output: str, count: int = 3) -> str:
    """The end of what a program said, as one line."""
    return " | ".join(line.strip() for line in output.strip().splitlines()[-count:])


def _reload_failed(root: str, found: str) -> HostError:
    return HostError(
        "the gateway kept its old configuration",
        rule="GATEWAY-RELOAD",
        found=found,
        expected="new workers on the new configuration",
        where=root,
        next_step="read the error log below that directory",
    )


def _port_in_use(address: str, port: int, strangers: Sequence[Process]) -> HostError:
    names = [f"process {process.pid} ({process.title[:60]})" for process in strangers]
    return HostError(
        "a port of the gateway is taken by another program",
        rule="PORT-IN-USE",
        found=", ".join(names) or "a process this user cannot see",
        expected="a free port",
        where=f"{address}:{port}",
        next_step="end that program or choose another port in the inventory",
    )
