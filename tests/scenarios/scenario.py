# SPDX-License-Identifier: GPL-3.0-or-later
"""One molecule scenario, driven step by step, so that a test can look between the steps.

``tools/molecule`` gives every run its environment: names, images and state of this checkout. The
world on the hosts is described by ``lab.json`` in the state, as in a lab on loopback.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import testinfra
from integration.lab_fixture import Lab

REPOSITORY = Path(__file__).resolve().parents[2]
TOOL = REPOSITORY / "tools" / "molecule"
STEP_SECONDS = 900

# What moves by itself on a running host, or is nobody's state: left out of a snapshot.
MOVING = (
    "/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/log", "/root/.ansible",
    "/var/lib/systemd", "/var/cache/ldconfig",
    # What the timers of the CRL cache write, whenever they run, and the empty lock they take.
    "/var/lib/pki-crl/guard.json", "/var/lib/pki-crl/metrics", "/var/lib/pki-crl/*/*",
    "/etc/pki/gateway/.lock",
)  # fmt: skip


@dataclass(frozen=True)
class Done:
    """How a step ended and what it said."""

    returncode: int
    output: str

    def succeeded(self) -> Done:
        assert self.returncode == 0, self.output[-20000:]
        return self


@dataclass(frozen=True)
class Change:
    """One changed result of a task, as the callback ``changes`` wrote it down."""

    host: str
    task: str
    item: str
    places: tuple[str, ...]


class Scenario:
    """A scenario by its name; its hosts exist after :meth:`create`."""

    def __init__(self, name: str) -> None:
        self.name = name
        values = self.inside("env").succeeded().output
        self.environment = dict(line.split("=", 1) for line in values.splitlines() if "=" in line)
        self.state = Path(self.environment["SCENARIO_STATE"])
        self.prefix = f"mtls-{self.environment['MOLECULE_STAGE']}-{name}"

    # -- acting --------------------------------------------------------------------

    def molecule(self, action: str, *arguments: str) -> Done:
        """One molecule action: create, prepare, check, converge, idempotence, verify, destroy."""
        return _run([TOOL, action, "-s", self.name, *arguments])

    def inside(self, *command: str | Path, environment: Mapping[str, str] = {}) -> Done:
        """A command in this scenario's environment."""
        return _run([TOOL, "--in", self.name, *command], environment)

    def playbook(self, path: str, *arguments: str) -> Done:
        """A playbook against the scenario's hosts, as a person would run it."""
        return self.inside(*self.playbook_command(path, *arguments), environment=self.settings)

    def playbook_command(self, path: str, *arguments: str) -> list[str]:
        inventories = ("molecule/shared/inventory", f"molecule/{self.name}/inventory")
        sources = [word for folder in inventories for word in ("-i", f"{folder}/")]
        return ["ansible-playbook", *sources, path, *arguments]

    @property
    def settings(self) -> dict[str, str]:
        """What a run outside molecule needs besides: the project's own configuration."""
        return {"ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}

    def podman(self, *arguments: str) -> Done:
        return self.inside("podman", *arguments)

    # -- looking -------------------------------------------------------------------

    @cached_property
    def addresses(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / "addresses.json").read_text())
        return found

    @property
    def hosts(self) -> list[str]:
        return sorted(self.addresses["hosts"])

    def container(self, host: str) -> str:
        return f"{self.prefix}-{host}"

    def host(self, name: str) -> Any:
        """The host as testinfra sees it, through podman."""
        return testinfra.get_host(f"podman://{self.container(name)}")

    @property
    def lab(self) -> Lab:
        """The stand-in world: Vault, CAs, peers."""
        return Lab(self.state / "lab")

    def changes(self, kind: str) -> frozenset[Change]:
        """What the latest run of a kind (check or real) changed or announced."""
        files = sorted(
            (self.state / "changes").glob(f"{kind}-*.json"),
            key=lambda path: int(path.stem.split("-")[1]),
        )
        assert files, f"no {kind} run was recorded"
        return frozenset(
            Change(entry["host"], entry["task"], entry["item"], tuple(entry["places"]))
            for entry in json.loads(files[-1].read_text())["changes"]
        )

    def snapshot(self, host: str) -> dict[str, str]:
        """Every file, link and directory of a host: kind, mode, owner, and digest or target."""
        pruned = " -o ".join(f"-path '{path}'" for path in MOVING)
        kept = " ".join(f"! -path '{path}' ! -path '{path}/*'" for path in MOVING)
        listing = (
            f"find / -xdev \\( {pruned} \\) -prune -o -printf '%y %m %u %g %l|%p\\n'; "
            "find /etc /var /root /home /opt /srv /usr/local -xdev -type f "
            f"{kept} ! -path '/usr/local/bin/bao' -exec sha256sum {{}} +"
        )
        output = self.host(host).run(listing).stdout
        found: dict[str, str] = {}
        for line in output.splitlines():
            facts, separator, path = line.partition("|")
            if separator:
                found[path] = facts
            else:
                digest, _, path = line.partition("  ")
                found[path] = f"{found.get(path, '')} {digest}"
        assert "/etc/hosts" in found, output[:2000]
        return found

    def controller_files(self) -> dict[str, str]:
        """Every file of the lab on the controller, logs left out."""
        return {
            str(path.relative_to(self.state)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((self.state / "lab").rglob("*"))
            if path.is_file() and "log" not in path.parts
        }


def _run(command: list[str | Path], environment: Mapping[str, str] = {}) -> Done:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=STEP_SECONDS,
        check=False,
    )
    return Done(done.returncode, done.stdout)


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Paths whose facts differ, with both; empty when nothing changed."""
    return {
        path: (before.get(path, "absent"), after.get(path, "absent"))
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    }
