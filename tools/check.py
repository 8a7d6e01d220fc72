#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the project's checks and says what ran: ``check.py [GROUP ...]``, all without a name.

Fast ones first. Every check runs even if an earlier one failed; the last lines are a table
of what ran, and the exit code is 0 only if all of it passed. What this machine cannot run is
no failure; the table says why, and how to get it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
TARGET_PYTHON = "3.9-"
COLLECTION = ("pki", "modules")
MODULES = ("library", "roles/lab/library")
MODULE_UTILS = ("module_utils", "roles/lab/module_utils")
REPORT = ROOT / ".reports/scenarios.xml"
GATEWAYS_REPORT = ROOT / ".reports/gateways.xml"
# Whole files in turn, in the order the tests ask for: what a file starts, its tests share.
TWO_AT_A_TIME = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
# Which tests share hosts or a gateway, and so a process, the conftest.py of each says.
TWO_WORLDS_AT_A_TIME = ("-n", "2", "--dist", "loadscope")
CANNOT = 3  # how our programs say that this machine lacks something


@dataclass(frozen=True)
class NotRun:
    """Why a check could not run here, and how to get it."""

    reason: str


@dataclass(frozen=True)
class Partly:
    """What could run passed or failed; ``not_run`` names the rest, each with the reason."""

    passed: bool
    not_run: Mapping[str, str]


Outcome = bool | NotRun | Partly


@dataclass(frozen=True)
class Result:
    name: str
    outcome: Outcome
    seconds: float

    @property
    def failed(self) -> bool:
        passed = self.outcome.passed if isinstance(self.outcome, Partly) else self.outcome
        return passed is False

    def __str__(self) -> str:
        if isinstance(self.outcome, NotRun):
            return f"not run: {self.name} - {self.outcome.reason}"
        lines = [f"{'FAILED' if self.failed else 'passed'}  {self.name:<28} {self.seconds:6.1f} s"]
        if isinstance(self.outcome, Partly):
            lines += [
                f"not run: {self.name}: {part} - {reason}"
                for part, reason in self.outcome.not_run.items()
            ]
        return "\n  ".join(lines)


Check = Callable[[], Outcome]


def settings(**changes: str) -> dict[str, str]:
    values = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), **changes}
    values.pop("LAB_DIR", None)  # tests make labs of their own; a person's stays alone
    values["PATH"] = f"{BIN}:{values['PATH']}"
    return values


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> bool:
    words = [str(part) for part in command]
    return subprocess.run(words, cwd=cwd, env=settings(**environment), check=False).returncode == 0


def usable(*doctor: str | Path) -> bool | NotRun:
    """Ask a program whether this machine can do its work; a broken program is a failure."""
    words = [str(part) for part in doctor]
    done = subprocess.run(
        words, cwd=ROOT, env=settings(), stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode == CANNOT and done.stdout.strip():
        return NotRun(done.stdout.strip())
    print(done.stdout, end="", flush=True)
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


def pytest(folder: str, *options: str) -> bool:
    return run(sys.executable, "-m", "pytest", "-q", "--durations=5", *options, folder)


def generations() -> bool | NotRun:
    """The unit suite and a lab on the other generation of Ansible, where there is a Python."""
    program = (sys.executable, ROOT / "tools/generation.py")
    there = usable(*program, "--doctor")
    return run(*program) if there is True else there


def gateways() -> bool | Partly:
    """Every gateway product. A pipeline must have them all; a laptop may lack some."""
    doctor = (sys.executable, ROOT / "tests/gateways/doctor.py")
    done = subprocess.run(doctor, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        return False
    products: dict[str, str] = json.loads(done.stdout)
    missing = {name: why for name, why in products.items() if why}
    if missing and os.environ.get("CI") == "true":
        for name, why in missing.items():
            print(f"{name} must be tested in a pipeline: {why}", flush=True)
        return False
    GATEWAYS_REPORT.unlink(missing_ok=True)
    passed = pytest("tests/gateways", *TWO_WORLDS_AT_A_TIME, f"--junitxml={GATEWAYS_REPORT}")
    report = GATEWAYS_REPORT.read_text() if GATEWAYS_REPORT.exists() else "<testsuites/>"
    silent = untested(report, products, missing)
    for name in silent:
        print(f"{GATEWAYS_REPORT.name} has no passed test of {name}, or one that did not run")
    return Partly(passed and not silent, missing)


def untested(report: str, products: Iterable[str], missing: Iterable[str] = ()) -> list[str]:
    """The products, but for missing ones, without a passed test in a JUnit report, or with one
    that was left out. The name of a product is one of the test's parameters."""
    # The longest first: one name may begin like another.
    names = "|".join(map(re.escape, sorted(products, key=len, reverse=True)))
    parameter = re.compile(rf"[\[-]({names})[\]-]")
    ran: dict[str, list[ET.Element]] = {}
    for case in ET.fromstring(report).iter("testcase"):
        if found := parameter.search(case.get("name", "")):
            ran.setdefault(found.group(1), []).append(case)
    wanted = [name for name in products if name not in set(missing)]
    return [name for name in wanted if not _passed(ran.get(name, []))]


def scenarios() -> bool | NotRun:
    """Real hosts under podman. A pipeline must be able to run them, a laptop may not be."""
    there = usable(ROOT / "tools/molecule", "--doctor")
    if isinstance(there, NotRun) and os.environ.get("CI") == "true":
        print(f"the scenarios must run in a pipeline: {there.reason}", flush=True)
        return False
    if there is not True:
        return there
    REPORT.unlink(missing_ok=True)
    passed = pytest("tests/scenarios", *TWO_WORLDS_AT_A_TIME, f"--junitxml={REPORT}")
    wanted = [path.parent.name for path in sorted(ROOT.glob("molecule/*/molecule.yml"))]
    missing = unproven(REPORT.read_text(), wanted) if REPORT.exists() else wanted
    for name in missing:
        print(f"scenario {name}: {REPORT.name} has no passed test of it, or one that did not pass")
    return passed and not missing


def unproven(report: str, wanted: Iterable[str]) -> list[str]:
    """The scenarios that a JUnit report does not name as executed, or not as passed.

    A test belongs to scenario ``one-two`` if it stands in a module ``test_one_two`` or has the
    scenario's name as its only parameter.
    """
    cases = list(ET.fromstring(report).iter("testcase"))
    return [name for name in wanted if not _proven(name, cases)]


def _proven(scenario: str, cases: list[ET.Element]) -> bool:
    module = f"test_{scenario.replace('-', '_')}"
    own = [
        case
        for case in cases
        if module in case.get("classname", "").split(".")
        or case.get("name", "").endswith(f"[{scenario}]")
    ]
    return _passed(own)


def _passed(cases: list[ET.Element]) -> bool:
    bad = ("failure", "error", "skipped")
    return bool(cases) and all(case.find(word) is None for case in cases for word in bad)


CHECKS: dict[str, tuple[Check, ...]] = {
    "lint": (ruff, yamllint, vermin, mypy, validate_modules, ansible_lint),
    "unit": (lambda: pytest("tests/unit", *TWO_AT_A_TIME),),
    "policy": (lambda: pytest("tests/policy"),),
    "adversarial": (lambda: pytest("tests/adversarial", *TWO_AT_A_TIME),),
    "interop": (lambda: pytest("tests/interop", *TWO_AT_A_TIME),),
    "generations": (generations,),
    "integration": (lambda: pytest("tests/integration", *TWO_AT_A_TIME),),
    "gateways": (gateways,),
    "scenarios": (scenarios,),
}


def main(arguments: list[str]) -> int:
    unknown = [name for name in arguments if name not in CHECKS]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    results = [measured(name, check) for name, check in chosen(arguments or list(CHECKS))]
    print("\nwhat ran")
    for result in results:
        print(f"  {result}")
    left_out = [group for group in CHECKS if arguments and group not in arguments]
    if left_out:
        print(f"  not run: {', '.join(left_out)} (not asked for)")
    return 1 if any(result.failed for result in results) else 0


def chosen(groups: list[str]) -> Iterator[tuple[str, Check]]:
    for group in groups:
        for check in CHECKS[group]:
            alone = check.__name__ in ("<lambda>", group)
            yield group if alone else f"{group}: {check.__name__}", check


def measured(name: str, check: Check) -> Result:
    print(f"\n== {name}", flush=True)
    start = time.monotonic()
    outcome = check()
    return Result(name, outcome, time.monotonic() - start)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
