# SPDX-License-Identifier: GPL-3.0-or-later
"""The program behind ``make test`` runs everything, says what ran, and never calls red green."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.controller_world import REPOSITORY, load_file

CHECK: Any = load_file("tools/check.py")


def passing() -> bool:
    return True


def failing() -> bool:
    return False


def checks(monkeypatch: pytest.MonkeyPatch, **groups: tuple[Callable[[], object], ...]) -> None:
    monkeypatch.setattr(CHECK, "CHECKS", groups)


def test_all_groups_run_when_none_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks(monkeypatch, lint=(passing,), unit=(lambda: True,))
    assert CHECK.main([]) == 0
    printed = capsys.readouterr().out
    assert "passed  lint: passing" in printed
    assert "passed  unit " in printed
    assert "not run" not in printed


@pytest.mark.parametrize("place", range(3))
def test_one_failure_makes_the_run_fail_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: int
) -> None:
    ran: list[str] = []

    def noted(name: str, passed: bool) -> Callable[[], bool]:
        def check() -> bool:
            ran.append(name)
            return passed

        return check

    a, b, c = (noted(name, place != number) for number, name in enumerate("abc"))
    checks(monkeypatch, lint=(a, b), unit=(c,))
    assert CHECK.main([]) == 1
    assert ran == ["a", "b", "c"]
    assert capsys.readouterr().out.count("FAILED") == 1


def test_only_what_is_named_runs_and_the_rest_is_said_not_to_have_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks(monkeypatch, lint=(failing,), unit=(passing,), integration=(failing,))
    assert CHECK.main(["unit"]) == 0
    assert "not run: lint, integration" in capsys.readouterr().out


def test_an_unknown_group_runs_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks(monkeypatch, unit=(passing,))
    assert CHECK.main(["unit", "units"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "units" in printed.err


# --- what this machine cannot run ------------------------------------------------------


def impossible() -> object:
    return CHECK.NotRun("no engine was found; install one, then make hosts")


def test_what_cannot_run_here_is_said_with_its_reason_and_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks(monkeypatch, lint=(passing,), hosts=(impossible,))
    assert CHECK.main([]) == 0
    printed = capsys.readouterr().out
    assert (
        "not run: hosts: impossible - no engine was found; install one, then make hosts" in printed
    )
    assert printed.count("passed") == 1


def test_what_cannot_run_here_hides_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    checks(monkeypatch, hosts=(impossible,), unit=(failing,))
    assert CHECK.main([]) == 1


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("", True),
        ("raise SystemExit(1)", False),
        (
            "print('no engine; install it'); raise SystemExit(3)",
            CHECK.NotRun("no engine; install it"),
        ),
        ("raise SystemExit(3)", False),  # without a reason it is no answer
    ],
)
def test_a_program_says_itself_whether_it_can_work_here(code: str, expected: object) -> None:
    assert CHECK.usable(sys.executable, "-c", code) == expected


# --- what this machine can run in part -------------------------------------------------


def test_what_ran_in_part_passes_and_the_rest_is_said_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks(monkeypatch, engines=(lambda: CHECK.Partly(True, {"diesel": "install diesel"}),))
    assert CHECK.main([]) == 0
    printed = capsys.readouterr().out
    assert "passed  engines " in printed
    assert "\n  not run: engines: diesel - install diesel\n" in printed


def test_what_ran_in_part_and_failed_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks(monkeypatch, engines=(lambda: CHECK.Partly(False, {}),))
    assert CHECK.main([]) == 1
    assert "FAILED  engines " in capsys.readouterr().out


# --- the scenarios' report -------------------------------------------------------------

CASE = '<testcase classname="tests.scenarios.{}" name="{}" time="1">{}</testcase>'


def report(*cases: str) -> str:
    return f"<testsuites><testsuite name='pytest'>{''.join(cases)}</testsuite></testsuites>"


@pytest.mark.parametrize(
    "case",
    [
        CASE.format("test_default", "test_boots", ""),
        CASE.format("test_default.TestHosts", "test_boots", ""),
        CASE.format("test_all", "test_boots[default]", ""),
        CASE.format("test_default", "test_boots", "<system-out>words</system-out>"),
    ],
)
def test_a_scenario_is_proven_by_a_passed_test_of_its_module_or_parameter(case: str) -> None:
    assert CHECK.unproven(report(case), ["default"]) == []


@pytest.mark.parametrize(
    "cases",
    [
        (),
        (CASE.format("test_default_ssh", "test_boots", ""),),
        (CASE.format("test_other", "test_default", ""),),
        (CASE.format("test_default", "test_boots", "<skipped/>"),),
        (CASE.format("test_default", "test_boots", "<failure/>"),),
        (CASE.format("test_default", "test_boots", "<error/>"),),
        (
            CASE.format("test_default", "test_boots", ""),
            CASE.format("test_default", "test_serves", "<skipped/>"),
        ),
    ],
)
def test_a_scenario_that_was_skipped_failed_or_not_named_is_not_proven(
    cases: tuple[str, ...],
) -> None:
    assert CHECK.unproven(report(*cases), ["default"]) == ["default"]


def test_every_scenario_needs_a_test_of_its_own() -> None:
    cases = (CASE.format("test_default", "a", ""), CASE.format("test_over_ssh", "a", ""))
    wanted = ["default", "over-ssh", "operator"]
    assert CHECK.unproven(report(*cases), wanted) == ["operator"]


def test_the_report_that_pytest_itself_writes_is_understood(tmp_path: Path) -> None:
    folder = tmp_path / "scenarios"
    folder.mkdir()
    (folder / "test_default.py").write_text("def test_a(): pass")
    (folder / "test_over_ssh.py").write_text("import pytest\n@pytest.mark.skip\ndef test_a(): pass")
    written = tmp_path / "scenarios.xml"
    options = ("-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", f"--junitxml={written}")
    assert CHECK.run(sys.executable, "-m", "pytest", *options, folder, cwd=tmp_path)
    assert CHECK.unproven(written.read_text(), ["default", "over-ssh"]) == ["over-ssh"]


# --- programs --------------------------------------------------------------------------


class Machine:
    """A machine whose answer about podman, and whose scenarios' end, are chosen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path, doctor: object) -> None:
        self.report = root / "scenarios.xml"
        self.ran = 0
        (root / "molecule/default").mkdir(parents=True)
        (root / "molecule/default/molecule.yml").touch()
        monkeypatch.setattr(CHECK, "ROOT", root)
        monkeypatch.setattr(CHECK, "REPORT", self.report)
        monkeypatch.setattr(CHECK, "usable", lambda *words: doctor)
        monkeypatch.setattr(CHECK, "pytest", self.pytest)
        monkeypatch.delenv("CI", raising=False)
        self.written: str | None = report(CASE.format("test_default", "a", ""))

    def pytest(self, *words: str) -> bool:
        self.ran += 1
        if self.written is not None:
            self.report.write_text(self.written)
        return True


def test_scenarios_pass_when_the_report_names_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = Machine(monkeypatch, tmp_path, doctor=True)
    assert CHECK.scenarios() is True
    assert machine.ran == 1


@pytest.mark.parametrize("written", [None, report()])
def test_scenarios_fail_when_the_report_is_silent_even_if_nothing_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, written: str | None
) -> None:
    machine = Machine(monkeypatch, tmp_path, doctor=True)
    machine.report.write_text(report(CASE.format("test_default", "of an earlier run", "")))
    machine.written = written
    assert CHECK.scenarios() is False


def test_without_podman_the_scenarios_are_not_run_and_in_a_pipeline_that_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = CHECK.NotRun("podman is missing; install podman")
    machine = Machine(monkeypatch, tmp_path, doctor=missing)
    assert CHECK.scenarios() == missing
    monkeypatch.setenv("CI", "true")
    assert CHECK.scenarios() is False
    assert "podman is missing; install podman" in capsys.readouterr().out
    assert machine.ran == 0


def test_a_doctor_that_is_broken_itself_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine = Machine(monkeypatch, tmp_path, doctor=False)
    assert CHECK.scenarios() is False
    assert machine.ran == 0


# --- gateway products -------------------------------------------------------------------

PRODUCTS = {"oak": "", "oak-debian": "", "elm": ""}
OF_OAK = CASE.format("test_x", "test_serves[oak]", "")
OF_OAKS = (OF_OAK, CASE.format("test_x", "test_serves[oak-debian]", ""))
OF_ELM = CASE.format("test_x", "test_refuses[revoked-elm-1.3]", "")


@pytest.mark.parametrize(
    ("cases", "silent"),
    [
        ((*OF_OAKS, OF_ELM), []),
        ((OF_OAK, OF_ELM), ["oak-debian"]),
        ((OF_OAKS[1], OF_ELM), ["oak"]),
        (OF_OAKS, ["elm"]),
        ((*OF_OAKS, OF_ELM, CASE.format("test_x", "test_a[elm]", "<skipped/>")), ["elm"]),
        ((*OF_OAKS, CASE.format("test_x", "test_a[elmwood]", "")), ["elm"]),
        ((), list(PRODUCTS)),
    ],
)
def test_a_product_was_tested_if_all_tests_with_its_name_passed(
    cases: tuple[str, ...], silent: list[str]
) -> None:
    assert CHECK.untested(report(*cases), PRODUCTS) == silent


class Workshop:
    """A machine with some gateway products, and tests whose report is chosen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path, products: str) -> None:
        self.ran = 0
        self.cases: tuple[str, ...] = (*OF_OAKS, OF_ELM)
        self.report = root / "gateways.xml"
        doctor = root / "tests/gateways/doctor.py"
        doctor.parent.mkdir(parents=True)
        doctor.write_text(products)
        monkeypatch.setattr(CHECK, "ROOT", root)
        monkeypatch.setattr(CHECK, "GATEWAYS_REPORT", self.report)
        monkeypatch.setattr(CHECK, "pytest", self.pytest)
        monkeypatch.delenv("CI", raising=False)

    def pytest(self, *words: str) -> bool:
        self.ran += 1
        self.report.write_text(report(*self.cases))
        return True


WHOLE = f"import json; print(json.dumps({PRODUCTS!r}))"
LACKS_ELM = f"import json; print(json.dumps({PRODUCTS!r} | {{'elm': 'install elm'}}))"


def test_all_products_are_tested_where_all_are_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Workshop(monkeypatch, tmp_path, WHOLE)
    assert CHECK.gateways() == CHECK.Partly(True, {})


def test_a_product_that_is_there_and_was_not_tested_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workshop = Workshop(monkeypatch, tmp_path, WHOLE)
    workshop.cases = OF_OAKS
    assert CHECK.gateways() == CHECK.Partly(False, {})
    assert "no passed test of elm" in capsys.readouterr().out


def test_without_one_product_the_others_are_tested_and_in_a_pipeline_that_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workshop = Workshop(monkeypatch, tmp_path, LACKS_ELM)
    workshop.cases = OF_OAKS
    assert CHECK.gateways() == CHECK.Partly(True, {"elm": "install elm"})
    monkeypatch.setenv("CI", "true")
    assert CHECK.gateways() is False
    assert "elm must be tested in a pipeline: install elm" in capsys.readouterr().out
    assert workshop.ran == 1


def test_when_nobody_can_say_which_products_there_are_nothing_passes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workshop = Workshop(monkeypatch, tmp_path, "raise SystemExit(1)")
    assert CHECK.gateways() is False
    assert workshop.ran == 0


def test_the_products_of_this_project_say_whether_they_are_there() -> None:
    doctor = REPOSITORY / "tests/gateways/doctor.py"
    done = subprocess.run([sys.executable, doctor], capture_output=True, text=True, check=True)
    products = json.loads(done.stdout)
    assert {"nginx", "nginx-debian", "haproxy"} <= set(products)
    assert products["nginx"] == ""


def test_a_program_passes_only_with_exit_code_0() -> None:
    assert CHECK.run(sys.executable, "-c", "")
    assert not CHECK.run(sys.executable, "-c", "raise SystemExit(1)")


def test_programs_of_the_environment_are_found_first_and_ansible_reads_our_file() -> None:
    code = (
        "import os, sys; first = os.environ['PATH'].split(':')[0]; "
        "sys.exit(not (os.path.samefile(first, os.path.dirname(sys.executable)) "
        "and os.path.samefile(os.environ['ANSIBLE_CONFIG'], 'ansible.cfg')))"
    )
    assert CHECK.run(sys.executable, "-c", code)


def test_modules_that_run_on_targets_are_held_to_the_targets_python() -> None:
    found = CHECK.target_modules()
    assert "library/pki_release.py" in found
    assert "library/pki_plan.py" not in found


def test_every_module_of_the_project_and_of_the_lab_is_validated_and_can_be_imported() -> None:
    folders = (REPOSITORY / "library", REPOSITORY / "roles/lab/library")
    names = {path.name for folder in folders for path in folder.glob("*.py")}
    assert {"pki_plan.py", "lab_sign.py"} <= names
    with CHECK.collection() as base:
        modules = sorted((base / "plugins" / "modules").glob("*.py"))
        assert {path.name for path in modules} == names
        code = (
            "import runpy, sys; "
            "[runpy.run_path(path, run_name='validated') for path in sys.argv[1:]]"
        )
        environment = {"PYTHONPATH": str(base.parents[2]), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, modules)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        assert done.returncode == 0
        kept = Path(base)
    assert not kept.exists()
