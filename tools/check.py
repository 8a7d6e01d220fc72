#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the project's checks and says what ran: ``check.py [GROUP ...]``, all without a name.

Fast ones first. Every check runs even if an earlier one failed; the last lines are a table
of what ran, and the exit code is 0 only if all of it passed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
TARGET_PYTHON = "3.9-"
COLLECTION = ("pki", "modules")
MODULES = ("library", "roles/lab/library")
MODULE_UTILS = ("module_utils", "roles/lab/module_utils")


@dataclass(frozen=True)
class Result:
    name: str
    passed: bool
    seconds: float


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> bool:
    values = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **environment}
    values.pop("LAB_DIR", None)  # tests make labs of their own; a person's stays alone
    values["PATH"] = f"{BIN}:{values['PATH']}"
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=values, check=False)
    return done.returncode == 0


def ruff() -> bool:
    return run("ruff", "check", ".") and run("ruff", "format", "--check", "--quiet", ".")


def mypy() -> bool:
    packages = [word for name in ("pki", "pki_host", "pki_ansible") for word in ("-p", name)]
    return run("mypy", "--strict", *packages, MYPYPATH=str(ROOT / "module_utils"))


def yamllint() -> bool:
    return run("yamllint", "--strict", ".")


def ansible_lint() -> bool:
    return run("ansible-lint", "--offline", "--strict", "-q", ANSIBLE_INJECT_FACT_VARS="false")


def vermin() -> bool:
    """What runs on targets must be Python 3.9 syntax and library."""
    paths = ("module_utils/pki_host", "module_utils/pki_ansible", *target_modules())
    return run(
        "vermin", "--quiet", "--no-tips", f"--target={TARGET_PYTHON}", "--violations", *paths
    )


def target_modules() -> list[str]:
    return sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "library").glob("*.py")
        if "module_utils.pki_host" in path.read_text()
    )


def validate_modules() -> bool:
    """ansible-core's own validator; it wants a collection, so it gets one for the moment."""
    with collection() as base:
        import ansible_test

        tool = Path(ansible_test.__file__).parent / "_util/controller/sanity/validate-modules"
        modules = sorted(str(path.relative_to(base)) for path in base.glob("plugins/modules/*.py"))
        where = f"ansible_collections/{'/'.join(COLLECTION)}"
        options = ("--arg-spec", "--collection", where)
        command = (sys.executable, tool / "validate.py", *options, *modules)
        return run(*command, cwd=base, PYTHONPATH=str(base.parents[2]))


@contextmanager
def collection() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary, "ansible_collections", *COLLECTION)
        for folder in MODULES:
            shutil.copytree(ROOT / folder, base / "plugins" / "modules", dirs_exist_ok=True)
        # The modules import ansible.module_utils.pki..., which Ansible assembles at run time.
        folders = [str(ROOT / folder) for folder in MODULE_UTILS]
        Path(temporary, "sitecustomize.py").write_text(
            f"import ansible.module_utils as utils\nutils.__path__ += {folders!r}\n"
        )
        yield base


def pytest(folder: str) -> bool:
    return run(sys.executable, "-m", "pytest", "-q", "--durations=5", folder)


CHECKS = {
    "lint": (ruff, yamllint, vermin, mypy, validate_modules, ansible_lint),
    "unit": (lambda: pytest("tests/unit"),),
    "adversarial": (lambda: pytest("tests/adversarial"),),
    "integration": (lambda: pytest("tests/integration"),),
}


def main(arguments: list[str]) -> int:
    unknown = [name for name in arguments if name not in CHECKS]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    results = []
    for group in arguments or CHECKS:
        for check in CHECKS[group]:
            name = group if check.__name__ == "<lambda>" else f"{group}: {check.__name__}"
            print(f"\n== {name}", flush=True)
            start = time.monotonic()
            passed = check()
            results.append(Result(name, passed, time.monotonic() - start))
    print("\nwhat ran")
    for result in results:
        word = "passed" if result.passed else "FAILED"
        print(f"  {word}  {result.name:<28} {result.seconds:6.1f} s")
    not_run = [group for group in CHECKS if arguments and group not in arguments]
    if not_run:
        print(f"  not run: {', '.join(not_run)}")
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
