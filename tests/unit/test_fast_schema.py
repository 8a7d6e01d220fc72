# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fast check accepts, a full validator accepts; what it refuses, the full one decides."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from pki import fast_schema, policy_files
from pki.documents import Validators
from unit.controller_world import REPOSITORY

POLICIES = REPOSITORY / "policies"
SCHEMAS = policy_files.load_fact_schemas(POLICIES)
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, 2**70, float("nan"), float("inf"), "", "x", "\ud800",
    "x" * 5000, [], [None], [1] * 5000, {}, {"x": 1}, (), "current", "offline",
)  # fmt: skip


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_kind_of_facts_has_a_fast_check(kind: str) -> None:
    assert fast_schema.prepared(SCHEMAS[kind]) is not None


def bases(kind: str) -> list[Any]:
    files = POLICIES.glob(f"cases/*/{kind}.yml")
    loader = yaml.CSafeLoader
    return [yaml.load(file.read_text(), Loader=loader)["base"] for file in files]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a document, and a key or index in it."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(pairs):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


def spoilt(base: Any, chance: random.Random) -> Any:
    """A document with one odd thing in it: another value, a field less or one more."""
    document = copy.deepcopy(base)
    container, key = chance.choice(list(places(document)))
    match chance.randrange(3):
        case 0:
            container[key] = chance.choice(ODD)
        case 1:
            del container[key]
        case _ if isinstance(container, dict):
            container["more"] = chance.choice(ODD)
        case _:
            container.append(chance.choice(ODD))
    return document


@pytest.mark.parametrize("kind", SCHEMAS)
def test_it_agrees_with_a_full_validator(kind: str) -> None:
    fast = fast_schema.prepared(SCHEMAS[kind])
    assert fast is not None
    full = jsonschema.Draft202012Validator(SCHEMAS[kind])
    chance = random.Random(kind)
    seen = set()
    for base in bases(kind):
        assert fast(base)
        for _ in range(150):
            document = spoilt(base, chance)
            valid = full.is_valid(document)
            seen.add(valid)
            assert fast(document) == valid, document
    assert not bases(kind) or False in seen


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string", "format": "date"},
        {"$ref": "#/x"},
        {"enum": [1, True]},
        {"type": ["string", "null"], "maxLength": 3},
        {"type": "object", "properties": {"x": {"anyOf": []}}},
        {"type": "array", "items": {"const": 1}},
        {"type": "object", "properties": {"x": True}},
        {"type": "unheard-of"},
        {"type": "array", "uniqueItems": True},
    ],
)
def test_a_schema_with_more_in_it_is_left_to_the_full_validator(schema: dict[str, Any]) -> None:
    assert fast_schema.prepared(schema) is None


@pytest.mark.parametrize(
    ("schema", "accepted", "refused"),
    [
        ({"type": "string", "maxLength": 2}, ["", "ab"], ["abc", 1, None]),
        ({"type": "string", "minLength": 1}, ["a"], [""]),
        ({"type": "string", "pattern": "^a$"}, ["a"], ["b", "aa"]),
        ({"type": "integer", "minimum": 1, "maximum": 3}, [1, 3], [0, 4, True, "1"]),
        ({"type": "number", "minimum": 0}, [0, 0.5], [-0.5, False]),
        ({"type": "boolean"}, [True], [1, 0]),
        ({"type": ["string", "null"]}, ["", None], [1]),
        ({"enum": ["a"]}, ["a"], ["b", ["a"], None]),
        ({"type": "array", "maxItems": 1, "items": {"type": "null"}}, [[], [None]], [[1], [0, 0]]),
        ({"type": "array", "minItems": 1}, [[1]], [[], ()]),
        (
            {"type": "object", "properties": {"x": {"type": "null"}}, "required": ["x"],
             "additionalProperties": False},
            [{"x": None}], [{}, {"x": 1}, {"x": None, "y": 1}, []],
        ),
        ({"type": "object", "additionalProperties": {"type": "null"}, "maxProperties": 1},
         [{}, {"x": None}], [{"x": 1}, {"x": None, "y": None}]),
        ({"type": "object"}, [{"x": 1}], [[], None]),
    ],
)  # fmt: skip
def test_every_word_means_what_it_means_there(
    schema: dict[str, Any], accepted: list[Any], refused: list[Any]
) -> None:
    fast = fast_schema.prepared(schema)
    assert fast is not None
    full = jsonschema.Draft202012Validator(schema)
    for value in accepted:
        assert fast(value)
        assert full.is_valid(value)
    for value in refused:
        assert not fast(value)
        assert not full.is_valid(value)


def test_what_is_wrong_is_said_by_the_full_validator() -> None:
    validators = Validators({"fact": {"type": "object", "properties": {"x": {"type": "integer"}}}})
    assert validators.fault("fact", {"x": 1.0}) == ""
    assert validators.fault("fact", {"x": "1"}) == "fact.x: '1' is not of type 'integer'"
