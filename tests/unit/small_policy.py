# SPDX-License-Identifier: GPL-3.0-or-later
"""A policy of five rules over made-up facts, for tests of what is built on policies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pki import policy_files, policy_load
from pki.policy import Policy, Remark

NAME = "test-policy"
KIND = "fact"
_SCHEMA = policy_files.load_schema(Path(__file__).resolve().parents[2] / "policies")

_MAIN = f"""\
schema: 2
name: {NAME}
title: A policy for tests
document: {{title: Test Document, version: "1.0", date: "2026-01-01"}}
environments: {{nonprod: {{class: nonprod}}}}
parties: {{}}
resolutions:
  - {{number: 3, where: "1.1", problem: It says both, resolution: The stricter one}}
parameters:
  smallest:
    value: 3
    unit: bytes
    stricter: higher
    clause: "1.1"
    description: How small a thing may be.
    provisional: The other document is not public.
"""
_PART = """\
kind: KIND
rules:
  - id: T-MUST
    clause: "1.1"
    level: must
    require: KIND.size >= policy.smallest
    found: string(KIND.size) + " bytes"
    expected: "'at least ' + string(policy.smallest) + ' bytes'"
    message: the thing is too small
    remedy: make it larger
    resolves: [3]
  - id: T-SHOULD
    clause: "1.2"
    level: should
    require: size(KIND.label) > 1
    found: KIND.label
    expected: "'two letters'"
    message: the name is too short
    remedy: find a longer name
  - id: T-INFORMATION
    clause: "1.3"
    level: information
    require: INFORMATION
    found: KIND.label
    expected: "'a short name'"
    message: the name is long
    remedy: find a shorter name
  - id: T-REFUSE
    clause: "1.4"
    level: recommendation
    effect: refuse
    require: KIND.size < 100
    found: string(KIND.size) + " bytes"
    expected: "'less than 100 bytes'"
    message: the thing is too large
    remedy: make it smaller
  - id: T-WHEN
    clause: "1.5"
    level: must
    when: KIND.label == "never"
    require: KIND.size == 0
    found: string(KIND.size) + " bytes"
    expected: "'nothing'"
    message: the thing should not be
    remedy: remove it
"""


def facts(**changes: Any) -> dict[str, Any]:
    """Facts that keep every rule."""
    return {"size": 5, "label": "thing", **changes}


def policy(
    kind: str = KIND,
    *,
    more: tuple[str, ...] = (),
    information: str = "",
    remarks: tuple[Remark, ...] = (),
) -> Policy:
    """The policy; ``more`` are kinds that have the same rules under other ids."""
    files = {f"{NAME}.yml": _MAIN}
    for number, one in enumerate(dict.fromkeys((KIND, kind, *more))):
        text = _PART.replace(
            "INFORMATION\n    found", f"{information or 'size(KIND.label) < 10'}\n    found"
        )
        text = text.replace("KIND", one)
        files[f"{NAME}/{one}.yml"] = (
            text if one == KIND else text.replace("id: T-", f"id: T{number}-")
        )
    return replace(policy_load.load(files, _SCHEMA, NAME), remarks=remarks)


POLICY = policy()
