# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m pki.check`` from end to end: three exits, and a result that says the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pki import check, collecting, policy_files, policy_test
from pki.reports import explain, files
from unit import clean_inventory as clean
from unit import inventory_on_disk
from unit.clean_inventory import POLICIES
from unit.controller_world import FOREIGN, NAME, REPOSITORY, World, certificate_entry
from unit.pki_factory import NOW

INVENTORY = "inventories/nonprod"
OVERLAY = """\
parameters:
  {name}:
    value: {value}
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = clean.world(tmp_path)
    monkeypatch.chdir(tmp_path)
    return made


class Run:
    """One run of the program: its exit code, what it printed and what it left."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str, now: Any = NOW) -> None:
        given = arguments or ("--inventory", INVENTORY)
        self.reports = Path("reports")
        self.code = check.main([*given, "--report-dir", str(self.reports)], now)
        captured = capsys.readouterr()
        assert captured.err == ""
        assert "Traceback" not in captured.out
        self.text = captured.out

    @property
    def result(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.reports / files.RESULT).read_text())
        statuses = {0: "clean", 1: "findings", 2: "fault"}
        assert document["status"] == statuses[self.code]
        return document

    @property
    def left(self) -> set[str]:
        return {path.name for path in self.reports.iterdir()}

    def failed(self) -> set[str]:
        return {one["rule"] for one in self.result["verdicts"] if one["outcome"] == "failed"}

    def faults(self) -> list[str]:
        found: list[str] = [fault["rule"] for fault in self.result["faults"]]
        # A check that was not made leaves nothing that could look like its report.
        assert self.left == (ALL if self.result["verdicts"] else {files.RESULT})
        return found


ALL = {files.RESULT, files.FACTS, files.SARIF, files.JUNIT, files.MARKDOWN}


def test_an_inventory_in_order_is_clean(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(capsys)
    assert (run.code, run.left) == (0, ALL)
    assert run.result["counts"]["passed"] > 40
    assert f"clean  request {NAME} v1: " in run.text
    assert run.text.splitlines()[-1].startswith("clean: nothing at or above should")


def test_a_reply_is_judged_and_never_deployable_by_that(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    clean.write_reply(world)
    run = Run(capsys)
    assert run.code == 0, run.text
    assert run.result["pending_revocation"] == [f"{NAME} v1"]
    assert "accepted-pending-revocation, never deployable by this verdict" in " ".join(
        run.text.split()
    )


def wrong_name(world: World) -> None:
    clean.write_reply(world, cn="energydip-nonprod.other.example")


def no_second_admin(world: World) -> None:
    world.organisation["roster"] = [one for one in clean.roster() if one["name"] != "Ben Admin"]
    inventory_on_disk.write(world)
    clean.write_request(world)


def edited_request(world: World) -> None:
    file = world.directory() / "request.csr"
    file.write_bytes(file.read_bytes().replace(b"A", b"B", 1))


def twin(world: World) -> None:
    entry = certificate_entry(owner=clean.owner())
    inventory_on_disk.write(world, certificates=[entry, {**entry, "name": "twin"}])


def old_evidence(world: World) -> None:
    clean.write_evidence(world, (NOW - timedelta(days=400)).date().isoformat())


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (wrong_name, "DIP-6.1.2-CN"),
        (no_second_admin, "DIP-5.4.2.1-COVER"),
        (edited_request, "DIP-6.1.1-PKCS10"),
        (twin, "DIP-11-DUPLICATES"),
        (old_evidence, "DIP-2.2-RISK"),
    ],
)
def test_what_is_wrong_is_found_by_its_own_rule_with_file_and_next_step(
    world: World,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[World], None],
    rule: str,
) -> None:
    spoil(world)
    run = Run(capsys)
    assert run.code == 1, run.text
    assert run.left == ALL
    assert rule in run.failed()
    (first, *_) = [one for one in run.result["verdicts"] if one["rule"] == rule]
    assert first["file"].startswith(INVENTORY)
    assert first["next_step"]
    assert f"failed  {rule} (" in run.text
    assert run.text.splitlines()[-1].startswith(("findings: ", "  "))


def test_the_level_asked_decides_what_counts(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    no_second_admin(world)
    for level, code in (("should", 1), ("must", 0)):
        run = Run(capsys, "--inventory", INVENTORY, "--level", level)
        assert (run.code, run.failed()) == (code, {"DIP-5.4.2.1-COVER"})


def test_a_waived_finding_is_shown_until_its_waiver_ends(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    no_second_admin(world)
    also = ("DIP-5.4.2.1-COVER", "example-energy")
    clean.write_waivers(world, *clean.WAIVED, also, expires="2027-01-01")
    waived = Run(capsys)
    assert waived.code == 0, waived.text
    assert "waived  DIP-5.4.2.1-COVER" in waived.text
    assert "approved by Olive Owner" in waived.text
    later = Run(capsys, now=NOW.replace(year=2027, month=1, day=1))
    assert {"POLICY-WAIVER", "DIP-5.4.2.1-COVER"} <= later.failed()
    assert "waivers.yml:" in later.text


def foreign_ca(world: World) -> None:
    (world.base / "trust" / "root.pem").write_bytes(FOREIGN.pem)


def templated(world: World) -> None:
    inventory_on_disk.write(world, trust={"dca": {"anchors": "{{ record.anchors }}"}})


def not_filled_in(world: World) -> None:
    entry = certificate_entry(domain="FILL-IN", environment="FILL-IN")
    inventory_on_disk.write(world, certificates=[entry])


def broken_waivers(world: World) -> None:
    (world.base / "waivers.yml").write_text("waivers:\n  - rule: DIP-5.5-TWO-SETS\n")


def loosening_without_reason(world: World) -> None:
    overlay(world, "minimum_key_bits", 1024)


@pytest.mark.parametrize(
    ("spoil", "rule", "where"),
    [
        (foreign_ca, "TRUST-PIN", "trust.yml"),
        (templated, "INVENTORY-TEMPLATED", "trust.yml:5"),
        (not_filled_in, "INVENTORY", "certificates.yml"),
        (broken_waivers, "POLICY-FILE", "waivers.yml:2"),
        (loosening_without_reason, "POLICY-OVERLAY", "policy/mhhs-dip.yml:2"),
    ],
)
def test_what_keeps_the_check_from_being_made_is_a_fault(
    world: World,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[World], None],
    rule: str,
    where: str,
) -> None:
    assert Run(capsys).code == 0
    spoil(world)
    run = Run(capsys)
    assert run.code == 2
    assert set(run.faults()) == {rule}
    assert where in run.result["faults"][0]["where"]
    assert f"  rule      {rule}\n" in run.text
    assert "  next      " in run.text or "next: " in run.text


def test_every_place_that_is_not_filled_in_is_a_fault_of_its_own(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    not_filled_in(world)
    assert Run(capsys).faults() == ["INVENTORY", "INVENTORY"]


def copied_policies(change: Callable[[str], str], file: str = "mhhs-dip/roster.yml") -> Path:
    copy = Path("policies")
    shutil.copytree(POLICIES, copy)
    text = (copy / file).read_text()
    assert change(text) != text
    (copy / file).write_text(change(text))
    return copy


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda text: text.replace("rules:", "rulez:", 1), "POLICY-FILE"),
        (lambda text: text.replace("require: ", "require: ) ", 1), "POLICY-FILE"),
        (lambda text: text.replace("roster.people", "roster.persons", 1), "POLICY-LINT"),
    ],
    ids=["schema", "expression", "lint"],
)
def test_a_broken_policy_is_a_fault_with_file_and_line(
    world: World, capsys: pytest.CaptureFixture[str], change: Callable[[str], str], rule: str
) -> None:
    directory = copied_policies(change)
    run = Run(capsys, "--inventory", INVENTORY, "--policies", str(directory))
    assert run.code == 2
    assert rule in run.faults()
    assert "policies/mhhs-dip/roster.yml:" in run.text


def test_saved_facts_give_the_same_verdict_elsewhere(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    no_second_admin(world)
    first = Run(capsys)
    shutil.move(first.reports / files.FACTS, "facts.json")
    shutil.move(world.base / "certificates", "elsewhere")
    later = Run(capsys, "--facts", "facts.json", "--inventory", INVENTORY)
    assert (later.code, later.failed(), later.text) == (1, first.failed(), first.text)
    alone = Run(capsys, "--facts", "facts.json")
    assert alone.failed() == first.failed() | {"DIP-5.5-TWO-SETS"}  # nobody's waiver


def without_documents(facts: dict[str, Any]) -> None:
    facts["documents"] = [one for one in facts["documents"] if one["kind"] != "roster"]


def without_anything(facts: dict[str, Any]) -> None:
    facts["documents"] = facts["declarations"] = []


def with_a_misfit(facts: dict[str, Any]) -> None:
    facts["documents"][0]["facts"]["more"] = 1


def with_another_schema(facts: dict[str, Any]) -> None:
    facts["schema"] = 99


def with_an_unknown_policy(facts: dict[str, Any]) -> None:
    facts["declarations"][0]["policy"] = "unknown"


@pytest.mark.parametrize(
    ("spoil", "rule", "says"),
    [
        (without_documents, "FACTS", "roster example-energy cannot be judged"),
        (without_anything, "CHECK-EMPTY", "no rule was evaluated"),
        (with_a_misfit, "FACTS", "'more' was unexpected"),
        (with_another_schema, "FACTS-FILE", "schema 99"),
        (with_an_unknown_policy, "POLICY-UNKNOWN", "unknown"),
    ],
)
def test_facts_that_leave_something_out_are_a_fault(
    world: World,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[dict[str, Any]], None],
    rule: str,
    says: str,
) -> None:
    facts = json.loads((Run(capsys).reports / files.FACTS).read_text())
    spoil(facts)
    Path("facts.json").write_text(json.dumps(facts))
    run = Run(capsys, "--facts", "facts.json", "--inventory", INVENTORY)
    assert run.code == 2
    assert rule in run.faults()
    assert says in run.text


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "null"])
def test_a_facts_file_that_is_none_is_a_fault(
    world: World, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    Path("facts.json").write_text(text)
    assert Run(capsys, "--facts", "facts.json").faults() == ["FACTS-FILE"]


def test_an_exception_of_ours_is_a_fault_that_quotes_nothing(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(scene: object) -> None:
        raise RuntimeError("s.token-in-a-text")

    monkeypatch.setattr(collecting, "collect", broken)
    run = Run(capsys)
    assert (run.code, run.faults()) == (2, ["INTERNAL"])
    assert "RuntimeError" in run.text
    assert "token" not in run.text


def test_a_report_directory_that_cannot_be_written_is_a_fault(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    assert check.main(["--inventory", INVENTORY, "--report-dir", "file"], NOW) == 2
    assert "STATE-WRITE" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--level", "shall", "--inventory", "x"], ["--nothing"]])
def test_arguments_that_are_none_end_with_the_usage_and_two(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        check.main(arguments)
    assert caught.value.code == 2
    assert "usage: " in capsys.readouterr().err


def overlay(world: World, name: str, value: Any) -> Path:
    file = world.base / "policy" / "mhhs-dip.yml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(OVERLAY.format(name=name, value=value))
    return file


def test_an_organisations_own_value_judges_and_is_explained(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay(world, "key_bits", 8192)
    assert "DIP-7.1.2-RSA4096" in Run(capsys).failed()
    assert check.main(["--explain", "DIP-7.1.2-RSA4096", "--inventory", INVENTORY]) == 0
    text = capsys.readouterr().out
    assert "policy.key_bits = 8192 bits" in text
    assert f"{INVENTORY}/policy/mhhs-dip.yml:2" in " ".join(text.split())


def test_every_rule_can_be_explained_in_a_hundred_columns() -> None:
    policies = policy_files.load_policies(POLICIES, policy_files.policy_names(POLICIES))
    schemas = policy_files.load_fact_schemas(POLICIES)
    for policy in policies.values():
        for rule in policy.rules:
            text = explain.render(rule.id, [policy], schemas, ())
            assert f"{rule.id} over {rule.kind} facts" in text
            assert "see the facts' schema" not in text, text
            assert max(map(len, text.splitlines())) <= 100


def test_an_unknown_rule_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(["--explain", "DIP-0-NONE"]) == 2
    assert "there is no rule DIP-0-NONE" in capsys.readouterr().out


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "module_utils")}


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pki.check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)


def test_the_program_tells_its_exit_to_whoever_started_it(world: World) -> None:
    fault = program("--inventory", "nowhere")
    assert (fault.returncode, fault.stderr) == (2, "")
    assert "there is no such inventory" in fault.stdout
    assert program("--explain", "DIP-6.1.2-CN").returncode == 0


def test_a_reader_that_leaves_early_changes_nothing_about_the_exit(world: World) -> None:
    script = f"set -o pipefail; '{sys.executable}' -m pki.check --explain DIP-6.1.2-CN | true"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {"TERM": "xterm"}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(
    world: World,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    environment: dict[str, str],
    coloured: bool,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert ("\x1b[" in Run(capsys).text) is coloured


CASES = """\
kind: roster
base: {base}
cases:
  DIP-5.4.2.1-COVER:
    - passes: {{}}
"""


def write_cases(world: World, text: str) -> None:
    file = world.base / "policy" / "cases" / "mhhs-dip" / "roster.yml"
    file.parent.mkdir(parents=True)
    file.write_text(text)


def own_cases(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = policy_test.main(["--inventory", INVENTORY])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_an_organisation_runs_its_own_cases_on_its_own_values(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = json.loads((Run(capsys).reports / files.FACTS).read_text())
    (base,) = [one["facts"] for one in facts["documents"] if one["kind"] == "roster"]
    write_cases(world, CASES.format(base=json.dumps(base)))
    assert own_cases(capsys) == (0, "1 cases ended as they should\n")
    overlay(world, "certificate_admins_cover", 3)
    code, text = own_cases(capsys)
    assert code == 1
    assert "DIP-5.4.2.1-COVER (roster): failed instead of passed" in text


def test_an_organisation_without_cases_is_told_where_they_belong(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = own_cases(capsys)
    assert code == 2
    assert "there are no cases to run" in text
    (world.base / "policy" / "cases" / "mhhs-dop").mkdir(parents=True)
    assert "cases of an unknown policy" in own_cases(capsys)[1]
