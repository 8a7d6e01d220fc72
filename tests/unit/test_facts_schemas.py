# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts fit their schema for the fast validator exactly when they do for the full one."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from pki import policy_files
from pki.documents import Validators
from unit.controller_world import REPOSITORY

POLICIES = REPOSITORY / "policies"
SCHEMAS = policy_files.load_fact_schemas(POLICIES)
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, 2**70, float("nan"), float("inf"), "", "x", "\ud800",
    "x" * 5000, [], [None], [1] * 5000, {}, {"x": 1}, "current", "offline",
)  # fmt: skip


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
def test_an_altered_document_is_valid_exactly_when_a_full_validator_says_so(kind: str) -> None:
    validators = Validators(SCHEMAS)
    full = jsonschema.Draft202012Validator(SCHEMAS[kind])
    chance = random.Random(kind)
    seen = set()
    for base in bases(kind):
        assert validators.fault(kind, base) == ""
        for _ in range(150):
            document = spoilt(base, chance)
            valid = full.is_valid(document)
            seen.add(valid)
            assert (validators.fault(kind, document) == "") == valid, document
    assert not bases(kind) or False in seen


def test_what_is_wrong_is_said_by_the_full_validator() -> None:
    validators = Validators({"fact": {"type": "object", "properties": {"x": {"type": "integer"}}}})
    assert validators.fault("fact", {"x": 1.0}) == ""
    assert validators.fault("fact", {"x": "1"}) == "fact.x: '1' is not of type 'integer'"
