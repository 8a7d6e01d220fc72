# SPDX-License-Identifier: GPL-3.0-or-later
"""Long-running servers without a service manager: start, watch, heal, stop.

A process is ours by proof, never by name: its pid file holds the pid *and* the start time
the kernel gives it, so that a pid used again by a stranger is not mistaken for ours. What
has no pid file (workers that outlived a killed master, servers the product started below
the lab) is ours if it is our user's, runs one of the lab's programs, and holds a file below
the lab's directory open.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.pki.errors import PkiError

from . import files

PROC = Path("/proc")
POLL_SECONDS = 0.05
LOG_LINES = 8
LISTEN = "0A"


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for as long as it lives: pid, start time in clock ticks, boot id."""

    pid: int
    started: int
    boot: str


@dataclass(frozen=True, slots=True)
class Ready:
    """When a server counts as up: its ports accept, and ``url`` (if any) answers 200."""

    url: str = ""
    ca_cert: str = ""


@dataclass(frozen=True, slots=True)
class FirstStart:
    """A server that initialises itself once.

    ``marker`` exists when the first start went through to the end. Without it whatever is
    in ``directory`` comes from a start that was cut short: nobody can log in to it, so it
    is emptied before the next attempt.
    """

    marker: Path
    directory: Path


@dataclass(frozen=True, slots=True)
class Service:
    """One server of the lab."""

    name: str
    argv: tuple[str, ...]
    log: Path
    pid_file: Path
    ports: tuple[int, ...]
    watch: tuple[Path, ...]
    reload_on_change: bool
    check: tuple[str, ...]
    ready: Ready
    first_start: FirstStart | None
    timeout: float


# --- reading /proc ---------------------------------------------------------------------


def boot_id() -> str:
    """Changes with every boot; start times only mean something within one."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> Identity | None:
    """The identity of a living process, or None if it is gone or a zombie."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The second field is the program's name in brackets and may itself hold brackets.
    fields = text.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return None
    return Identity(pid, int(fields[19]), boot_id())


def program_of(pid: int) -> str:
    """Base name of the program, from the kernel; "" if not visible."""
    try:
        return os.path.basename(os.readlink(PROC / str(pid) / "exe")).removesuffix(" (deleted)")
    except OSError:
        return ""


def describe(pid: int) -> str:
    """Pid and program name. Never the command line: another program's may hold a secret."""
    try:
        name = (PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        name = "gone meanwhile"
    return f"pid {pid} ({name})"


def open_files(pid: int) -> list[str]:
    """Targets of the descriptors of ``pid``; empty if they may not be seen."""
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(PROC / str(pid) / "fd"):
            with contextlib.suppress(OSError):
                found.append(os.readlink(entry.path))
    return found


def pids() -> list[int]:
    """All processes of the machine that we can see."""
    return [int(entry.name) for entry in os.scandir(PROC) if entry.name.isdigit()]


def belongs(links: Iterable[str], home: Path) -> bool:
    """True if one of the open files lies below the lab's directory."""
    prefix = f"{home}/"
    return any(link.startswith(prefix) for link in links)


def listening_inodes(ports: Iterable[int]) -> dict[str, int]:
    """Socket inode -> port, for every listening socket on one of ``ports``."""
    wanted, found = set(ports), {}
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                port = int(fields[1].rpartition(":")[2], 16)
                if fields[3] == LISTEN and port in wanted:
                    found[fields[9]] = port
    return found


def holders(ports: Sequence[int]) -> dict[int, list[int]]:
    """Port -> pids that hold a listening socket on it (those that we may see)."""
    inodes = listening_inodes(ports)
    sockets = {f"socket:[{inode}]": port for inode, port in inodes.items()}
    found: dict[int, list[int]] = {port: [] for port in inodes.values()}
    if sockets:
        for pid in pids():
            for port in {sockets[link] for link in open_files(pid) if link in sockets}:
                found[port].append(pid)
    return found


def ours(home: Path, programs: Iterable[str]) -> list[Identity]:
    """Processes of this lab: our user, one of ``programs``, a file below ``home`` open."""
    names, found = set(programs), []
    for pid in pids():
        if program_of(pid) not in names or not belongs(open_files(pid), home):
            continue
        with contextlib.suppress(OSError):
            identity = identify(pid)
            if identity and (PROC / str(pid)).stat().st_uid == os.geteuid():
                found.append(identity)
    return found


# --- the pid file ----------------------------------------------------------------------


def recorded(service: Service) -> tuple[Identity | None, str]:
    """The living process of the pid file and the digest of the files it was started with."""
    content = files.read(service.pid_file)
    if content is None:
        return None, ""
    try:
        record = json.loads(content)
        known = Identity(int(record["pid"]), int(record["started"]), str(record["boot"]))
    except (ValueError, KeyError, TypeError):
        return None, ""
    return (known, str(record.get("watched", ""))) if identify(known.pid) == known else (None, "")


def record(service: Service, identity: Identity, watched: str) -> None:
    """Write the pid file."""
    content = {
        "pid": identity.pid,
        "started": identity.started,
        "boot": identity.boot,
        "watched": watched,
    }
    files.ensure(service.pid_file, json.dumps(content).encode(), 0o600)


def watched_digest(service: Service) -> str:
    """One digest over command line and watched files: another one means reload or restart."""
    digest = hashlib.sha256("\0".join(service.argv).encode())
    for path in service.watch:
        digest.update(b"\0" + str(path).encode() + b"\0" + (files.read(path) or b""))
    return digest.hexdigest()


# --- being up --------------------------------------------------------------------------


def accepts(port: int) -> bool:
    """True if something accepts a connection on 127.0.0.1:``port``."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(ready: Ready) -> bool:
    """True if ``ready.url`` answers 200 under the pinned CA (no proxy of the environment)."""
    context = ssl.create_default_context(cafile=ready.ca_cert or None)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(ready.url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def is_ready(service: Service) -> bool:
    """True if every port accepts and the ready address answers."""
    return all(accepts(port) for port in service.ports) and (
        not service.ready.url or answers(service.ready)
    )


def log_tail(path: Path) -> str:
    """The last lines of a log, for an error message."""
    lines = (files.read(path) or b"").decode("utf-8", "replace").splitlines()
    return " | ".join(line.strip() for line in lines[-LOG_LINES:]) or "(empty)"


def wait_ready(service: Service, child: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until the server is up; raise with the end of its log if it dies or takes too long."""
    end = time.monotonic() + service.timeout
    while not is_ready(service):
        died = child is not None and child.poll() is not None
        if died or time.monotonic() > end:
            raise PkiError(
                f"{service.name} did not come up",
                rule="LAB-START",
                found="{}; log: {}".format(
                    "it ended" if died else "no answer", log_tail(service.log)
                ),
                expected="ports {} accept connections within {} s".format(
                    ", ".join(str(port) for port in service.ports), service.timeout
                ),
                where=str(service.log),
                next_step="read the log above; then run the lab again",
            )
        time.sleep(POLL_SECONDS)


# --- stopping --------------------------------------------------------------------------


def stop(identities: Sequence[Identity], timeout: float) -> list[str]:
    """End processes: SIGTERM, and SIGKILL for those still there after ``timeout`` seconds."""
    alive = [one for one in identities if identify(one.pid) == one]
    names = [describe(one.pid) for one in alive]
    for number, patience in ((signal.SIGTERM, timeout), (signal.SIGKILL, 5.0)):
        for one in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, number)
        end = time.monotonic() + patience
        while alive and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
            alive = [one for one in alive if identify(one.pid) == one]
    return names


def stop_all(services: Sequence[Service], home: Path, programs: Sequence[str]) -> list[str]:
    """Stop the recorded servers, then whatever else of this lab still runs."""
    known = [one for one in (recorded(service)[0] for service in services) if one]
    steps = [f"stopped {name}" for name in stop(known, 15)]
    steps += [f"stopped {name}" for name in stop(ours(home, programs), 15)]
    for service in services:
        service.pid_file.unlink(missing_ok=True)
    return steps


# --- starting --------------------------------------------------------------------------


def end_orphans(service: Service, home: Path) -> list[str]:
    """End processes of this lab that still hold the service's ports without its master.

    A master that was killed leaves workers behind which keep the listening sockets: the
    new master could not bind, and the old workers would go on with the old files.
    """
    found = {pid for some in holders(service.ports).values() for pid in some}
    orphans = [one for one in map(identify, found) if one and belongs(open_files(one.pid), home)]
    return [f"ended orphan {name}" for name in stop(orphans, 3)]


def refuse_foreign(service: Service) -> None:
    """Raise if a port that we are about to use belongs to somebody else."""
    for port, found in holders(service.ports).items():
        raise PkiError(
            f"port {port} of the lab's {service.name} is in use",
            rule="LAB-PORT",
            found=", ".join(describe(pid) for pid in found)
            or "a process that /proc does not show to this user",
            expected=f"nobody listens on 127.0.0.1:{port}",
            where=f"127.0.0.1:{port}",
            next_step="stop that process and run the lab again",
        )


def run_check(service: Service) -> None:
    """The program's own configuration test, if it has one."""
    if not service.check:
        return
    result = subprocess.run(
        service.check, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if result.returncode != 0:
        raise PkiError(
            f"{service.name} refuses its configuration",
            rule="LAB-CONFIG",
            found=" ".join(result.stderr.split())[-600:],
            expected="exit code 0",
            where=" ".join(service.check),
            next_step="this is a fault of the lab role; please report the line above",
        )


def empty_unfinished(service: Service) -> list[str]:
    """Empty the data of a first start that was cut short (see FirstStart)."""
    first = service.first_start
    if first is None or first.marker.exists() or not any(first.directory.iterdir()):
        return []
    for entry in first.directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    return [f"{service.name}: emptied the data of a first start that was cut short"]


def spawn(service: Service) -> tuple[Identity, subprocess.Popen[bytes]]:
    """Start detached: own session, own log, nothing inherited that could keep us waiting."""
    service.log.touch(mode=0o600, exist_ok=True)
    with service.log.open("ab") as log:
        child = subprocess.Popen(
            service.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
        )
    identity = identify(child.pid)
    if identity is None:
        raise PkiError(
            f"{service.name} ended at once",
            rule="LAB-START",
            found=log_tail(service.log),
            expected="a running server",
            where=str(service.log),
            next_step="read the log above; then run the lab again",
        )
    return identity, child


def start(service: Service, home: Path, logged_in: Callable[[], None] | None) -> list[str]:
    """Start a server that does not run; ``logged_in`` proves the first start complete."""
    steps = end_orphans(service, home)
    refuse_foreign(service)
    run_check(service)
    steps += empty_unfinished(service)
    identity, child = spawn(service)
    record(service, identity, watched_digest(service))
    wait_ready(service, child)
    first = service.first_start
    if first is not None and not first.marker.exists():
        if logged_in is not None:
            wait_login(service, logged_in)
        files.ensure(first.marker, b"The first start went through to the end.\n", 0o600)
    return [*steps, f"started {service.name}, {describe(identity.pid)}"]


def wait_login(service: Service, logged_in: Callable[[], None]) -> None:
    """A server that initialises itself is up before it is done: wait for a login."""
    end = time.monotonic() + service.timeout
    while True:
        try:
            return logged_in()
        except PkiError:
            if time.monotonic() > end:
                raise
        time.sleep(POLL_SECONDS * 4)


def adapt(service: Service, home: Path, identity: Identity) -> list[str]:
    """Bring a running server to the files that are on disk now."""
    if service.reload_on_change:
        run_check(service)
        os.kill(identity.pid, signal.SIGHUP)
        record(service, identity, watched_digest(service))
        wait_ready(service)
        return [f"{service.name}: reloaded"]
    stop([identity], 15)
    return [f"{service.name}: configuration changed, restarting", *start(service, home, None)]


def ensure(
    service: Service,
    home: Path,
    *,
    check: bool = False,
    logged_in: Callable[[], None] | None = None,
) -> list[str]:
    """Make the server run with the files on disk; return what was done, nothing if it did."""
    identity, watched = recorded(service)
    unfinished = service.first_start is not None and not service.first_start.marker.exists()
    if identity and watched == watched_digest(service) and not unfinished and is_ready(service):
        return []
    if check:
        return ["would {} {}".format("reload or restart" if identity else "start", service.name)]
    if identity and not unfinished and watched != watched_digest(service):
        return adapt(service, home, identity)
    if identity:
        stop([identity], 15)
    return start(service, home, logged_in)


def service_of(options: Mapping[str, object]) -> Service:
    """A Service out of one entry of the module's ``processes`` option."""

    def text(key: str) -> str:
        return str(options[key])

    def texts(key: str) -> tuple[str, ...]:
        value = options.get(key) or ()
        assert isinstance(value, (list, tuple))
        return tuple(str(item) for item in value)

    def mapping(key: str) -> dict[str, str]:
        value = options.get(key) or {}
        assert isinstance(value, dict)
        return {str(name): str(item) for name, item in value.items() if item is not None}

    ready, first = mapping("ready"), mapping("first_start")
    return Service(
        name=text("name"),
        argv=texts("argv"),
        log=Path(text("log")),
        pid_file=Path(text("pid_file")),
        ports=tuple(int(port) for port in texts("ports")),
        watch=tuple(Path(path) for path in texts("watch")),
        reload_on_change=text("on_change") == "reload",
        check=texts("check"),
        ready=Ready(ready.get("url", ""), ready.get("ca_cert", "")),
        first_start=FirstStart(Path(first["marker"]), Path(first["directory"])) if first else None,
        timeout=float(text("timeout")),
    )
