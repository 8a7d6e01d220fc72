# SPDX-License-Identifier: GPL-3.0-or-later
"""A policy of a few rules over one small kind of facts, as text whose lines tests can name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pki.policy import Policy
from pki.policy_files import load_schema
from pki.policy_load import load
from pki.shipped import DIRECTORY

SCHEMA = load_schema(DIRECTORY)
NAME = "small"

MAIN = """\
---
schema: 2
name: small
title: A small document
document: {title: Small, version: "1", date: "2026-01-01"}
environments: {test: {class: nonprod, cn_prefix: small-test}}
parties: {member: {title: Member, purposes: [mtls], dual: false}}
resolutions:
  - {number: 1, where: "1", problem: It says both., resolution: The first.}
parameters:
  bits:
    {value: 2048, unit: bits, clause: "1.1", description: Least size., stricter: higher}
  days:
    {value: 30, unit: days, clause: "1.2", description: Longest age., stricter: lower}
"""

PART = """\
---
kind: thing
parameters:
  allowed:
    {value: [a, b], clause: "2", description: What may be., stricter: subset}
  wanted:
    {value: [x], clause: "2", description: What must be., stricter: superset}
  word:
    {value: yes please, clause: "3", description: The word., stricter: fixed}
  share:
    {value: 0.5, clause: "3", description: A part., stricter: lower}
  codes:
    {value: {one: 1, two: 2}, clause: "3", description: Codes., stricter: subset}
  offset:
    {value: -5, clause: "3", description: Below nothing., stricter: higher}
rules:
  - id: S-BITS
    clause: "1.1"
    level: must
    effect: refuse
    require: thing.bits >= policy.bits
    found: string(thing.bits)
    expected: string(policy.bits)
    message: the thing is too small
    remedy: make a bigger one
  - id: S-AGE
    clause: "1.2"
    level: should
    when: thing.kept
    require: thing.age <= policy.days
    found: string(thing.age)
    expected: string(policy.days)
    message: the thing is too old
    remedy: make a new one
    resolves: [1]
  - id: S-MARKS
    clause: "2"
    level: recommendation
    require: >-
      thing.marks.all(m, m in policy.allowed || m in policy.wanted)
      && policy.wanted.all(w, w in thing.marks)
    found: join(thing.marks, ', ')
    expected: join(policy.allowed, ', ')
    message: the thing is marked wrongly
    remedy: mark it again
"""

FACTS: dict[str, Any] = {"bits": 2048, "age": 30, "kept": True, "marks": ["a", "x"]}

FACT_SCHEMA: dict[str, Any] = {
    "title": "thing",
    "type": "object",
    "additionalProperties": False,
    "required": ["bits", "age", "kept", "marks"],
    "properties": {
        "bits": {"type": "integer", "description": "Size in bits."},
        "age": {"type": "integer", "description": "Age in days."},
        "kept": {"type": "boolean", "description": "Whether it is kept."},
        "marks": {
            "type": "array",
            "maxItems": 10,
            "description": "Its marks.",
            "items": {"type": "string", "maxLength": 10},
        },
    },
}


def small(main: str = MAIN, part: str = PART) -> Policy:
    """The policy, or one whose text a test has changed."""
    return load({"small.yml": main, "small/thing.yml": part}, SCHEMA, NAME)


def line_of(text: str, words: str) -> int:
    """The first line of a text that holds some words, counted from 1."""
    return next(number for number, line in enumerate(text.splitlines(), 1) if words in line)


def write(folder: Path, main: str = MAIN, part: str = PART) -> Path:
    """The policy as a directory of policies, with the shipped schema and the facts' schema."""
    (folder / "small").mkdir(parents=True)
    (folder / "facts").mkdir()
    (folder / "schema.json").write_text((DIRECTORY / "schema.json").read_text())
    (folder / "small.yml").write_text(main)
    (folder / "small" / "thing.yml").write_text(part)
    (folder / "facts" / "thing.json").write_text(json.dumps(FACT_SCHEMA))
    return folder
