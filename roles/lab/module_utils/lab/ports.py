# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs and ports: what the lab needs from the machine before it touches anything."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ansible.module_utils.pki.errors import PkiError

from . import files, processes

LOWEST = 10240
HIGHEST = 65535
ATTEMPTS = 2000
RANGE_VARIABLE = "LAB_PORT_RANGE"


def find_program(name: str, wanted: str) -> str:
    """Absolute path of a program: a path, or a name looked up beside this Python and in PATH.

    The directory of the running interpreter comes first: the lab's servers are wheels, and
    an ansible-playbook that was called by its path has no virtual environment in PATH.
    """
    beside = os.path.dirname(sys.executable)
    search = os.pathsep.join((beside, os.environ.get("PATH", os.defpath)))
    found = shutil.which(wanted, path=search)
    if found is None:
        raise PkiError(
            f"the lab needs the program {wanted} and it is not there",
            rule="LAB-PROGRAM",
            found=f"no executable {wanted!r}",
            expected="an executable file, given by path or found beside the Python that runs "
            "Ansible or in PATH",
            where=f"lab_programs.{name}",
            next_step="install requirements-lab.txt into the environment that runs Ansible, or "
            f"set lab_programs.{name}",
        )
    return os.path.abspath(found)


def is_free(port: int) -> bool:
    """True if nobody listens on 127.0.0.1:``port`` (or on all addresses)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As a server binds: connections that linger after a stop are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def below_ephemeral() -> int:
    """The first port the kernel hands out to outgoing connections.

    A port at or above it can be taken by any client while the lab is stopped; the lab keeps
    its ports for good, so it stays below.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
        first = int(text.split()[0])
        if first > LOWEST + ATTEMPTS:
            return first
    return HIGHEST


def allowed() -> range:
    """The ports to choose from: ``LOW-HIGH``, else everything below the outgoing connections'.

    A port is chosen minutes before its server listens, and until then nobody can see that it
    is taken. Labs that come up at the same moment on one machine therefore need ranges of
    their own.
    """
    wanted = os.environ.get(RANGE_VARIABLE)
    if not wanted:
        return range(LOWEST, below_ephemeral())
    bounds = re.fullmatch(r"(\d{1,5})-(\d{1,5})", wanted, re.ASCII)
    low, high = map(int, bounds.groups()) if bounds else (0, 0)
    if not 1024 <= low <= high <= HIGHEST:
        raise PkiError(
            "the lab cannot choose ports from the range given",
            rule="LAB-PORT",
            found=wanted,
            expected=f"LOW-HIGH, with numbers from 1024 to {HIGHEST}",
            where=f"the environment variable {RANGE_VARIABLE}",
            next_step="correct or unset it",
        )
    return range(low, high + 1)


def pick(names: Sequence[str], taken: Iterable[int]) -> dict[str, int]:
    """A free port for each name, none of them in ``taken``."""
    used, chosen = set(taken), {}
    ports = allowed()
    candidates = random.SystemRandom().sample(ports, min(ATTEMPTS, len(ports)))
    for name in names:
        for port in candidates:
            if port not in used and is_free(port):
                used.add(port)
                chosen[name] = port
                break
        else:
            raise PkiError(
                f"no free port for the lab's {name}",
                rule="LAB-PORT",
                found=f"{len(candidates)} ports tried",
                expected="a free port on 127.0.0.1",
                where="127.0.0.1",
                next_step=f"choose one yourself: set lab_ports.{name}",
            )
    return chosen


def kept(path: Path) -> dict[str, int]:
    """The ports chosen by an earlier run; empty before the first."""
    content = files.read(path)
    if content is None:
        return {}
    try:
        found = json.loads(content)
        return {str(name): int(port) for name, port in found.items()}
    except (ValueError, TypeError, AttributeError):
        raise PkiError(
            "the file of the lab's ports cannot be read",
            rule="LAB-PORT",
            found="no JSON object of port numbers",
            expected='{"vault": 12345, ...}',
            where=str(path),
            next_step="delete the file: the lab then chooses new ports",
        ) from None


def refuse_taken(wanted: Mapping[str, int], home: Path) -> None:
    """Raise if a port is held by a process that is not this lab's."""
    busy = {name: port for name, port in wanted.items() if not is_free(port)}
    found = processes.holders(list(busy.values()))
    for name, port in busy.items():
        strangers = [
            pid
            for pid in found.get(port, [])
            if not processes.belongs(processes.open_files(pid), home)
        ]
        if strangers or not found.get(port):
            raise PkiError(
                f"port {port}, which the lab uses for {name}, is held by another program",
                rule="LAB-PORT",
                found=", ".join(processes.describe(pid) for pid in strangers)
                or "a process that /proc does not show to this user",
                expected="nobody, or a server of this lab",
                where=f"127.0.0.1:{port}",
                next_step=f"stop that program, or set lab_ports.{name} to another port; nothing "
                "was changed",
            )


def wishes(given: Mapping[str, object], names: Sequence[str]) -> dict[str, int]:
    """The user's own choice of ports, checked."""
    found = {}
    for name, value in given.items():
        text = str(value)
        if name not in names or not text.isdecimal() or not 0 < int(text) <= HIGHEST:
            raise PkiError(
                f"the lab cannot use the port given for {name}",
                rule="LAB-PORT",
                found=f"{name}: {text}",
                expected="one of {}, with a number from 1 to {}".format(", ".join(names), HIGHEST),
                where=f"lab_ports.{name}",
                next_step="correct lab_ports",
            )
        found[str(name)] = int(text)
    return found


def duplicates(ports: Mapping[str, int]) -> list[int]:
    """Ports that stand for two names."""
    values = list(ports.values())
    return sorted({port for port in values if values.count(port) > 1})


def decide(
    names: Sequence[str], wished: Mapping[str, int], path: Path, home: Path
) -> dict[str, int]:
    """The port of every name: the wish of the user, else the kept one, else a free one."""
    old = kept(path)
    fixed = {name: wished.get(name) or old.get(name) or 0 for name in names}
    fixed = {name: port for name, port in fixed.items() if port}
    if duplicates(fixed):
        raise PkiError(
            "one port stands for two purposes of the lab",
            rule="LAB-PORT",
            found=", ".join(str(port) for port in duplicates(fixed)),
            expected="a port of its own for each of {}".format(", ".join(names)),
            where=f"lab_ports, {path}",
            next_step="give each a port of its own, or leave the choice to the lab",
        )
    refuse_taken(fixed, home)
    chosen = pick([name for name in names if name not in fixed], fixed.values())
    return {name: fixed.get(name) or chosen[name] for name in names}
