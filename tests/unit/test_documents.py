# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts are kept as plain JSON, read back whole, and never judged unless they fit their schema."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pki import documents
from pki.documents import Collected, Declaration, Document, Validators
from pki.errors import PkiError
from pki.policy import NOWHERE, Place
from pki.policy_files import load_fact_schemas
from pki.shipped import DIRECTORY
from unit.thing_policy import FACT_SCHEMA, FACTS

DECLARED = Declaration("thing", "thing v1", "small", Place("inventory/things.yml", 7))
SEEN = Document("thing", "thing v1", "small", FACTS, Place("things/1.yml", 1), "a model of it")
COLLECTED = Collected(
    taken="2026-11-22T10:00:00Z",
    scope="live",
    declarations=(DECLARED, Declaration("thing", "thing v2", "small")),
    documents=(SEEN,),
    problems=({"message": "no answer", "rule": "HOST"},),
)


def test_what_was_collected_is_the_same_after_a_file() -> None:
    text = json.dumps(documents.to_json(COLLECTED))
    assert documents.from_json(json.loads(text), "facts.json") == COLLECTED


def test_a_document_belongs_to_a_declaration_by_kind_name_and_policy() -> None:
    assert SEEN.key == DECLARED.key == ("thing", "thing v1", "small")
    assert Declaration("thing", "thing v1", "other").key != SEEN.key
    assert Document("thing", "x", "small", {}).place == NOWHERE


def test_several_collections_are_one_and_the_first_says_when() -> None:
    other = Collected("2026-11-22T11:00:00Z", "offline", (DECLARED,), (), ({"message": "m"},))
    merged = documents.merged(COLLECTED, other)
    assert (merged.taken, merged.scope) == (COLLECTED.taken, "live")
    assert merged.declarations == (*COLLECTED.declarations, DECLARED)
    assert merged.documents == COLLECTED.documents
    assert merged.problems == (*COLLECTED.problems, {"message": "m"})


def changed(**changes: Any) -> dict[str, Any]:
    return {**documents.to_json(COLLECTED), **changes}


FIRST = changed()["declarations"][0]
NO_FACTS = {
    "nothing": None,
    "a list": [],
    "a text": "facts",
    "another schema": changed(schema=2),
    "no schema": {k: v for k, v in changed().items() if k != "schema"},
    "no documents": {k: v for k, v in changed().items() if k != "documents"},
    "documents that are none": changed(documents=[1]),
    "a document without facts": changed(documents=[{"kind": "thing"}]),
    "facts that are no map": changed(documents=[{**changed()["documents"][0], "facts": 5}]),
    "a line that is no number": changed(
        declarations=[{**changed()["declarations"][0], "line": ""}]
    ),
    "a problem that is none": changed(problems=["x"]),
}


@pytest.mark.parametrize("name", NO_FACTS)
def test_a_file_that_holds_no_facts_is_refused_and_names_itself(name: str) -> None:
    with pytest.raises(PkiError) as caught:
        documents.from_json(NO_FACTS[name], "saved/facts.json")
    assert (caught.value.rule, caught.value.where) == ("FACTS-FILE", "saved/facts.json")
    assert caught.value.found


UNFIT = {
    "a field is missing": ({"bits": 1, "age": 1, "kept": True}, "thing: ", "marks"),
    "a field is unknown": ({**FACTS, "more": 1}, "thing: ", "more"),
    "a type is wrong": ({**FACTS, "bits": "1"}, "thing.bits: ", "integer"),
    "a boolean is a number": ({**FACTS, "kept": 1}, "thing.kept: ", "boolean"),
    "an item is wrong": ({**FACTS, "marks": ["a", 5]}, "thing.marks.1: ", "string"),
    "a list is too long": ({**FACTS, "marks": ["a"] * 11}, "thing.marks: ", "long"),
    "a text is too long": ({**FACTS, "marks": ["a" * 11]}, "thing.marks.0: ", "long"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_facts_that_do_not_fit_their_schema_are_named_by_path(name: str) -> None:
    facts, path, words = UNFIT[name]
    fault = Validators({"thing": FACT_SCHEMA}).fault("thing", facts)
    assert fault.startswith(path)
    assert words in fault


def test_facts_that_fit_have_no_fault_and_a_kind_without_schema_has_one() -> None:
    validators = Validators({"thing": FACT_SCHEMA})
    assert validators.fault("thing", FACTS) == ""
    assert validators.fault("thong", FACTS) == "there is no schema for thong facts"
    assert list(validators.kinds) == ["thing"]


def nested(schema: Any, path: str) -> list[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema, with its path."""
    if not isinstance(schema, dict):
        return []
    found = [(path, schema)]
    for name, inside in schema.get("properties", {}).items():
        found += nested(inside, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        found += nested(schema.get(word), f"{path}[]")
    for word in ("anyOf", "oneOf"):
        for inside in schema.get(word, []):
            found += nested(inside, path)
    return found


SCHEMAS = load_fact_schemas(DIRECTORY)
EVERY = [pair for kind, schema in SCHEMAS.items() for pair in nested(schema, kind)]


def of_type(name: str) -> list[tuple[str, dict[str, Any]]]:
    return [(path, schema) for path, schema in EVERY if name in str(schema.get("type"))]


def test_facts_are_a_closed_world_and_bounded_in_size() -> None:
    """What is not described is not there, and no document can be larger than its schema."""
    wrong = [f"{path}: open" for path, s in of_type("object") if "additionalProperties" not in s]
    wrong += [
        f"{path}: {name} is not required"
        for path, s in of_type("object")
        for name in set(s.get("properties", {})) - set(s.get("required", []))
    ]
    wrong += [
        f"{path}: any number of keys"
        for path, s in of_type("object")
        if isinstance(s.get("additionalProperties"), dict) and "maxProperties" not in s
    ]
    wrong += [f"{path}: anything at all" for path, s in EVERY if not set(s) & DESCRIBING]
    wrong += [f"{path}: any key" for path, s in EVERY if s.get("additionalProperties") is True]
    wrong += [f"{path}: endless list" for path, s in of_type("array") if "maxItems" not in s]
    wrong += [f"{path}: any items" for path, s in of_type("array") if "items" not in s]
    wrong += [f"{path}: endless text" for path, s in of_type("string") if "maxLength" not in s]
    assert not wrong, "\n" + "\n".join(wrong)


DESCRIBING = {"type", "enum", "const", "anyOf", "oneOf"}


def test_every_fact_is_described_and_every_kind_says_where_it_is_known() -> None:
    wrong = [
        f"{path}.{name}"
        for path, schema in EVERY
        for name, inside in schema.get("properties", {}).items()
        if not str(inside.get("description", "")).strip()
    ]
    assert not wrong, "\n" + "\n".join(wrong)
    for kind, schema in SCHEMAS.items():
        assert schema["x-scope"] in ("offline", "live"), kind
        assert schema["x-object"], kind
        assert schema["title"], kind
