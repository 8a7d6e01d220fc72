# SPDX-License-Identifier: GPL-3.0-or-later
"""Which run it is whose changes the trail tells: its id, its playbook, and who started it.

The callback begins it, in the process of ``ansible-playbook``, and keeps it in that process's
environment: there the first task sees that somebody writes, and the last that nothing was lost.
"""

from __future__ import annotations

import json
import os
import pwd
import uuid
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from .errors import shown

VARIABLE = "PKI_TRAIL_RUN"
#: By pipeline system: the variables that name the actor and the run.
PIPELINES = (
    ("github", "GITHUB_ACTOR", "GITHUB_RUN_ID"),
    ("gitlab", "GITLAB_USER_LOGIN", "CI_PIPELINE_ID"),
    ("azure", "BUILD_REQUESTEDFOR", "BUILD_BUILDID"),
    ("jenkins", "BUILD_USER_ID", "BUILD_TAG"),
    ("bitbucket", "BITBUCKET_STEP_TRIGGERER_UUID", "BITBUCKET_BUILD_NUMBER"),
    ("circleci", "CIRCLE_USERNAME", "CIRCLE_WORKFLOW_ID"),
)
LONGEST = 200


def begin(playbook: str, environ: MutableMapping[str, str]) -> dict[str, Any]:
    """Begin a run: the fields that each of its lines has, kept in ``environ`` as well."""
    fields = {
        "run": str(uuid.uuid4()),
        "user": _line(user(environ)),
        "ci": pipeline(environ),
        "playbook": _line(Path(playbook).name),
    }
    _keep(environ, fields, 0)
    return fields


def lost(fields: Mapping[str, Any], count: int, environ: MutableMapping[str, str]) -> None:
    """Have every later task of this run see how many changes have no line."""
    _keep(environ, fields, count)


def of_parent(parent: int, environ: Mapping[str, str]) -> tuple[dict[str, Any], int] | None:
    """The run of the process ``parent`` and its lost lines; None where nothing writes a trail.

    A run that another one started inherits its environment, and is not that run.
    """
    try:
        kept = json.loads(environ[VARIABLE])
        mine = kept["pid"] == parent
        return (dict(kept["fields"]), int(kept["lost"])) if mine else None
    except (KeyError, ValueError, TypeError):
        return None


def pipeline(environ: Mapping[str, str]) -> dict[str, str]:
    """The pipeline's system, actor and run; nothing where a person runs it."""
    for system, actor, run in PIPELINES:
        if environ.get(actor):
            told = {"system": system, "actor": environ[actor], "run": environ.get(run, "")}
            return {name: _line(text) for name, text in told.items() if text}
    return {}


def user(environ: Mapping[str, str]) -> str:
    """The operating system's user; through sudo, who that was."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = f"user id {number}"
    before = environ.get("SUDO_USER", "")
    return f"{name}, by sudo of {before}" if before and before != name else name


def _keep(environ: MutableMapping[str, str], fields: Mapping[str, Any], count: int) -> None:
    environ[VARIABLE] = json.dumps({"pid": os.getpid(), "fields": fields, "lost": count})


def _line(text: str) -> str:
    return shown(text)[:LONGEST]
