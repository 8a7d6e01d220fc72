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
PLAYBOOK_SECONDS = 300
RECAP = re.compile(r"^localhost\s+:.*\bchanged=(\d+)\b.*\bfailed=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """What a playbook run said."""

    returncode: int
    output: str

    @property
    def changed(self) -> int:
        """Number of changed tasks, from the recap."""
        recap = RECAP.search(self.output)
        assert recap, self.output
        return int(recap.group(1))


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
        program = str(Path(sys.executable).parent / "ansible-playbook")
        playbook = [program, "-i", "inventories/lab", "playbooks/lab.yml", "--tags", tags]
        return [*playbook, "-e", json.dumps({"lab_dir": str(self.home)}), *arguments]

    def environment(self) -> dict[str, str]:
        """The environment of a run; LAB_DIR of the caller must not decide anything here."""
        kept = {name: value for name, value in os.environ.items() if name != "LAB_DIR"}
        settings = str(REPOSITORY / "ansible.cfg")
        return {**kept, "ANSIBLE_CONFIG": settings, "ANSIBLE_NOCOLOR": "1"}

    def play(self, tags: str, *arguments: str, expected: int = 0) -> Run:
        """Run the playbook; the output is the failure's text."""
        done = subprocess.run(
            self.command(tags, *arguments),
            cwd=REPOSITORY,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PLAYBOOK_SECONDS,
            check=False,
        )
        assert done.returncode == expected, done.stdout[-6000:]
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
