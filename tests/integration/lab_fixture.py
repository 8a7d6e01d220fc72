# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of the tests' own: brought up by the playbook a person would use, in its own directory.

``running_lab`` is for a test that needs a lab to itself. One lab shared by a whole session is the
fixture ``lab`` of ``lab_plugin``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pki.vault import Client, Settings

REPOSITORY = Path(__file__).resolve().parents[2]
PLAYBOOK_SECONDS = 600
RECAP = re.compile(r"^\S+\s+: ok=\d+\s+changed=(\d+)\s", re.MULTILINE)
WARNING = re.compile(r"\[(?:DEPRECATION )?WARNING\].*")
DEPRECATION = "[DEPRECATION WARNING]"


@dataclass(frozen=True)
class Run:
    """What a playbook run said."""

    returncode: int
    output: str

    @property
    def changed(self) -> int:
        """Number of changed tasks, over every host of the recap."""
        recap = RECAP.findall(self.output)
        assert recap, self.output
        return sum(map(int, recap))

    @property
    def warnings(self) -> list[str]:
        """What Ansible warned of, deprecations included."""
        return WARNING.findall(self.output)


@dataclass(frozen=True)
class Answer:
    """Status and body of a plain http request."""

    status: int
    body: bytes


class Lab:
    """One lab below ``home``."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def command(self, tags: str, *arguments: str) -> list[str]:
        """The command line of playbooks/lab.yml for this lab."""
        home = json.dumps({"lab_dir": str(self.home)})
        return self.playbook("lab", "--tags", tags, "-e", home, *arguments)

    def playbook(self, name: str, *arguments: str) -> list[str]:
        """A command line that runs a playbook with the lab's inventory."""
        program = str(Path(sys.executable).parent / "ansible-playbook")
        return [program, "-i", "inventories/lab", f"playbooks/{name}.yml", *arguments]

    def environment(self) -> dict[str, str]:
        """The environment of a run; LAB_DIR of the caller must not decide anything here."""
        kept = {name: value for name, value in os.environ.items() if name != "LAB_DIR"}
        settings = str(REPOSITORY / "ansible.cfg")
        return {**kept, "ANSIBLE_CONFIG": settings, "ANSIBLE_NOCOLOR": "1"}

    def play(self, tags: str, *arguments: str, expected: int = 0) -> Run:
        """Run the lab's playbook; the output is the failure's text."""
        return self._run(self.command(tags, *arguments), self.environment(), expected)

    def site(self, *arguments: str, expected: int = 0) -> Run:
        """Run the product's main playbook for this lab; its inventory asks LAB_DIR."""
        environment = {**self.environment(), "LAB_DIR": str(self.home)}
        return self._run(self.playbook("site", *arguments), environment, expected)

    def _run(self, command: list[str], environment: dict[str, str], expected: int) -> Run:
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PLAYBOOK_SECONDS,
            check=False,
        )
        assert done.returncode == expected, done.stdout[-6000:]
        assert DEPRECATION not in done.stdout, done.stdout
        return Run(done.returncode, done.stdout)

    def record(self) -> dict[str, Any]:
        """lab.json."""
        found = json.loads((self.home / "lab.json").read_text(encoding="utf-8"))
        assert isinstance(found, dict)
        return found

    def port(self, name: str) -> int:
        """A port by its name."""
        return int(self.record()["ports"][name])

    def pid(self, name: str) -> int:
        """The recorded pid of ``openbao`` or ``farend``."""
        return int(json.loads((self.home / "run" / f"{name}.json").read_text())["pid"])

    def client(self, role: str) -> Client:
        """A Vault client logged in as one of the lab's AppRoles."""
        vault = self.record()["vault"]
        options = {
            **vault,
            "auth_method": "approle",
            "role_id_file": str(self.home / "secrets" / f"{role}.role_id"),
            "secret_id_file": str(self.home / "secrets" / f"{role}.secret_id"),
        }
        return Client(Settings.resolve(options, {}))

    def http(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask the lab's plain http port, where a public CA would answer."""
        address = f"http://127.0.0.1:{self.port('pki_http')}{path}"
        request = urllib.request.Request(
            address, data=body, method=method, headers=dict(headers or {})
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=10) as response:
                return Answer(response.status, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read())


@contextlib.contextmanager
def running_lab(home: Path) -> Iterator[Lab]:
    """A lab that is up, and taken down whatever happens."""
    lab = Lab(home)
    try:
        lab.play("up")
        yield lab
    finally:
        lab.play("down")
