# SPDX-License-Identifier: GPL-3.0-or-later
"""A policy file that cannot be used is refused at the line that is to be corrected."""

from __future__ import annotations

from pathlib import Path

import pytest
from pki.errors import PkiError
from pki.policy import Environment, Party, Resolution
from pki.policy_files import load_fact_schemas, load_policies, policy_names, read_text
from pki.policy_load import load
from unit.thing_policy import FACT_SCHEMA, MAIN, NAME, PART, SCHEMA, line_of, small, write

M, P = "policies/small.yml", "policies/small/thing.yml"


def test_a_policy_is_its_main_file_and_one_part_a_kind() -> None:
    policy = small()
    assert (policy.name, policy.title, policy.document) == ("small", "A small document", "Small v1")
    assert policy.environments == {"test": Environment("test", "nonprod", "small-test")}
    assert policy.parties == {"member": Party("member", "Member", frozenset({"mtls"}), False)}
    assert policy.resolutions == {1: Resolution(1, "1", "It says both.", "The first.")}
    assert policy.kinds == ("thing",)
    rule = policy.rules[1]
    assert (rule.id, rule.kind, rule.level, rule.refuses, rule.resolves) == (
        "S-AGE", "thing", "should", False, (1,),
    )  # fmt: skip
    assert set(rule.expressions) == {"when", "require", "found", "expected"}
    assert set(policy.rules[0].expressions) == {"require", "found", "expected"}


def at(file: str, text: str, words: str) -> str:
    return f"{file}:{line_of(text, words)}:"


TWICE = "  - {number: 1, where: x, problem: y, resolution: z}"
# What is broken -> main file, part, where the error must point, words of it.
BROKEN: dict[str, tuple[str, str, str, str]] = {
    "not YAML": (
        MAIN, PART.replace("require: thing.bits", "require: {thing.bits"),
        f"{P}: line", "",
    ),
    "a key twice": (
        MAIN, PART.replace("kind: thing\n", "kind: thing\nkind: thing\n"),
        f"{P}: line 3", "twice",
    ),
    "an alias": (
        MAIN, PART.replace("kind: thing", "kind: &k thing").replace('"1.2"', "*k"),
        f"{P}: line", "alias",
    ),
    "a tag that makes objects": (
        MAIN, PART.replace("kind: thing", "kind: !!python/name:os.system thing"),
        f"{P}: line 2", "tag",
    ),
    "an unknown field of a rule": (
        MAIN, PART.replace("    resolves: [1]", "    resolve: [1]"),
        at(P, PART, "S-AGE"), "resolve",
    ),
    "a rule without remedy": (
        MAIN, PART.replace("    remedy: make a new one\n", ""),
        at(P, PART, "S-AGE"), "remedy",
    ),
    "an unknown level": (
        MAIN, PART.replace("level: should", "level: maybe"),
        at(P, PART, "level: should"), "maybe",
    ),
    "an id that is none": (
        MAIN, PART.replace("id: S-AGE", "id: age"), at(P, PART, "S-AGE"), "age",
    ),
    "an id twice": (
        MAIN, PART.replace("id: S-AGE", "id: S-BITS"),
        f"{P}:{line_of(PART, 'S-AGE')}: rule S-BITS", f"{P}:{line_of(PART, 'S-BITS')}",
    ),
    "an expression that does not parse": (
        MAIN, PART.replace("require: thing.age <=", "require: thing.age <= <="),
        at(P, PART, "require: thing.age"), "S-AGE",
    ),
    "an expression that is too long": (
        MAIN, PART.replace("thing.age <= policy.days", "true" + " || true" * 200),
        at(P, PART, "require: thing.age"), "too long",
    ),
    "a condition that does not parse": (
        MAIN, PART.replace("when: thing.kept", "when: thing."),
        at(P, PART, "when:"), "S-AGE",
    ),
    "the part of another kind": (
        MAIN, PART.replace("kind: thing", "kind: thong"), f"{P}:2:", "thong",
    ),
    "a part without rules": (
        MAIN, PART[: PART.index("rules:")] + "rules: []\n", at(P, PART, "rules:"), "",
    ),
    "the name of another policy": (
        MAIN.replace("name: small", "name: other"), PART, f"{M}:3:", "other",
    ),
    "another version of the schema": (
        MAIN.replace("schema: 2", "schema: 1"), PART, f"{M}:2:", "2",
    ),
    "a parameter in two files": (
        MAIN, PART.replace("  allowed:", "  bits:"), at(P, PART, "  allowed:"), M,
    ),
    "a parameter without direction": (
        MAIN.replace(", stricter: lower", ""), PART, at(M, MAIN, "  days:"), "stricter",
    ),
    "an unknown direction": (
        MAIN.replace("stricter: lower", "stricter: down"), PART, f"{M}:", "down",
    ),
    "an unknown unit": (
        MAIN.replace("unit: days", "unit: weeks"), PART, f"{M}:", "weeks",
    ),
    "a parameter of nothing": (
        MAIN, PART.replace("[a, b]", "[]"), f"{P}:", "",
    ),
    "a provisional parameter without a word": (
        MAIN, PART.replace("description: The word.", "description: The word., provisional: ''"),
        f"{P}:", "",
    ),
    "an order without the word itself": (
        MAIN, PART.replace("stricter: fixed", "stricter: higher, order: [this, that]"),
        f"{P}:{line_of(PART, '  word:') + 1}:", "yes please",
    ),
    "an order of which less is stricter": (
        MAIN, PART.replace("stricter: fixed", "stricter: lower, order: [yes please, never]"),
        f"{P}:{line_of(PART, '  word:') + 1}:", "lower",
    ),
    "a resolution twice": (
        MAIN.replace("\nparameters:", f"\n{TWICE}\nparameters:"), PART,
        f"{M}:{line_of(MAIN, 'number: 1') + 1}:", "1 twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_policy_file_is_refused_at_its_line(name: str) -> None:
    main, part, where, words = BROKEN[name]
    with pytest.raises(PkiError) as caught:
        small(main, part)
    assert caught.value.rule == "POLICY-FILE"
    assert caught.value.where.startswith(where)
    assert words in f"{caught.value.found} {caught.value.expected}"
    assert caught.value.next_step


EVIDENCE = """\
kind: evidence
template:
  require: evidence.age <= policy.{age}
  found: string(evidence.age)
  expected: "'new'"
evidence:
  - {id: S-RISK, clause: "4", level: should, age: days, message: m, remedy: r}
"""
BROKEN_EVIDENCE = {
    "the age of an item is no parameter": (EVIDENCE.replace("age: days", "age: day"), ":7: age"),
    "the template does not compile": (EVIDENCE.replace("<= policy", "<= <= policy"), ":3:"),
    "an item has no age": (EVIDENCE.replace("age: days, ", ""), ":7:"),
    "an item has a requirement of its own": (
        EVIDENCE.replace("age: days", "require: 'true', age: days"), ":7:",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN_EVIDENCE)
def test_a_broken_list_of_evidence_is_refused_at_its_line(name: str) -> None:
    text, where = BROKEN_EVIDENCE[name]
    files = {"small.yml": MAIN, "small/thing.yml": PART, "small/evidence.yml": text}
    with pytest.raises(PkiError) as caught:
        load(files, SCHEMA, NAME)
    assert caught.value.rule == "POLICY-FILE"
    assert caught.value.where.startswith(f"policies/small/evidence.yml{where}")


def test_a_directory_of_policies_is_read_by_name(tmp_path: Path) -> None:
    directory = write(tmp_path / "policies")
    assert policy_names(directory) == (NAME,)
    policy = load_policies(directory, [NAME, NAME])[NAME]
    assert [rule.place for rule in policy.rules] == [rule.place for rule in small().rules]
    assert policy.parameters == small().parameters
    assert load_fact_schemas(directory) == {"thing": FACT_SCHEMA}


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_an_error_that_names_it(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "thing.yml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(PkiError) as caught:
        read_text(file)
    assert (caught.value.rule, caught.value.where) == ("POLICY-FILE", str(file))
