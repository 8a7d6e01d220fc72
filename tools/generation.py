#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the unit suite and a lab on the other generation of Ansible: 2.21 where this one is 2.19.

``generation.py`` makes an environment of its own (``.venv-2.21``), from the same pinned
requirements, and fails on every deprecation. ``--doctor`` only looks for a Python: exit code 0
says that there is one, 3 that there is none, with one sentence on stdout.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ansible.release

ROOT = Path(__file__).resolve().parent.parent
MADE_OF = ("requirements-bootstrap.txt", "requirements-dev.txt", "tools/venv")
CANNOT = 3
# Imports what `python -m venv` and the package client need: a bare interpreter is no use.
PROBE = "import ensurepip, ssl, sys, venv; print('%d.%d' % sys.version_info[:2])"


@dataclass(frozen=True)
class Generation:
    """A generation of ansible-core and the Pythons for which it is pinned, best first."""

    core: str
    pythons: tuple[str, ...]
    words: str
    install: str

    @property
    def environment(self) -> Path:
        return ROOT / f".venv-{self.core}"

    @property
    def missing(self) -> str:
        return f"no {self.words} was found; install {self.install}, then make generations"


OLD = Generation("2.19", ("3.11",), "Python 3.11", "python3.11 or pyenv")
NEW = Generation("2.21", ("3.13", "3.12", "3.14"), "Python 3.12 or newer", "python3.13 or pyenv")


def other(core: str) -> Generation:
    """The generation that an environment with this version of ansible-core is not."""
    return NEW if core.startswith(f"{OLD.core}.") else OLD


def candidates(version: str) -> Iterator[Path]:
    """Where a Python may be: on PATH, among pyenv's, among uv's. Not all of them work."""
    for folder in os.get_exec_path():
        yield Path(folder, f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if uv:
        asked = (uv, "python", "find", "--managed-python", "--no-python-downloads", version)
        said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        if said:
            yield Path(said)


def works(python: Path, version: str) -> bool:
    """A name proves nothing: pyenv's shims exist for versions that are not there."""
    try:
        said = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return said.returncode == 0 and said.stdout.strip() == version


def find(generation: Generation) -> Path | None:
    """The first Python that works, in the generation's order."""
    return next(
        (
            python
            for version in generation.pythons
            for python in candidates(version)
            if works(python, version)
        ),
        None,
    )


def stamp(python: Path) -> str:
    """Changes when the environment must be made anew."""
    digest = hashlib.sha256(str(python).encode())
    for name in MADE_OF:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def make(generation: Generation, python: Path) -> bool:
    """From nothing: what an older pin had brought along must not stay behind."""
    environment = generation.environment
    written = environment / ".generation"
    if written.exists() and written.read_text() == stamp(python):
        return True
    shutil.rmtree(environment, ignore_errors=True)
    command = (ROOT / "tools/venv", python, environment, "requirements-dev.txt")
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        return False
    written.write_text(stamp(python))
    return True


def settings(binaries: Path) -> dict[str, str]:
    dropped = ("LAB_DIR", "VIRTUAL_ENV", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {
        **kept,
        "PATH": f"{binaries}:{kept['PATH']}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_INJECT_FACT_VARS": "false",
        "PYTHONWARNINGS": "error::DeprecationWarning",  # also in Ansible and in every module
    }


def prove(generation: Generation) -> bool:
    """Unit suite and lab at once: two processes, a deprecation is an error in both.

    Searches for counterexamples (hypothesis) are about values, not about Ansible or Python: one
    generation searches for all, in `make unit`.
    """
    python = generation.environment / "bin/python"
    told = "import ansible.release, sys; print(ansible.release.__version__, 'on', sys.version)"
    command = (
        *(python, "-m", "pytest", "-q", "--durations=3", "-n", "2", "--dist", "loadfile"),
        *("-W", "error::DeprecationWarning", "-W", "error::PendingDeprecationWarning"),
        *("-m", "not hypothesis"),
        *("tests/generations", "tests/unit"),
    )
    environment = settings(python.parent)
    version = subprocess.run(
        [python, "-c", told], env=environment, stdout=subprocess.PIPE, text=True, check=False
    ).stdout.strip()
    print(f"ansible-core {version}", flush=True)
    if not version.startswith(f"{generation.core}."):
        print(f"the pinned requirements should have brought ansible-core {generation.core}")
        return False
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def main(arguments: list[str]) -> int:
    generation = other(ansible.release.__version__)
    python = find(generation)
    if python is None:
        print(generation.missing)
        return CANNOT
    if arguments == ["--doctor"]:
        print(f"ansible-core {generation.core} can be tried with {python}")
        return 0
    return 0 if make(generation, python) and prove(generation) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
