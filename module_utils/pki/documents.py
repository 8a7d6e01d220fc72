# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts documents: what was observed of one object, as plain JSON, and what had to be observed.

Pure. A :class:`Declaration` says that the inventory has an object of a kind, which therefore must
be judged; a :class:`Document` holds its facts. Both are kept in a file (``facts.json``), so that a
check can be repeated later, elsewhere, or with another policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from .errors import PkiError
from .policy import NOWHERE, Place

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Declaration:
    """An object that must be judged.

    Attributes:
        kind: the kind of facts, as in ``policies/facts/<kind>.json``.
        object: its name, unique among objects of its kind ("dip-nonprod v1", "gw1/dip-gateway").
        policy: the policy that judges it.
        place: where the inventory, or the file that was judged, says so.
    """

    kind: str
    object: str
    policy: str
    place: Place = NOWHERE

    @property
    def key(self) -> tuple[str, str, str]:
        """What a document must share with its declaration."""
        return self.kind, self.object, self.policy


@dataclass(frozen=True, slots=True)
class Document:
    """The facts of one object. ``stand_in`` says what they stand in for, when they are not real."""

    kind: str
    object: str
    policy: str
    facts: Mapping[str, Any]
    place: Place = NOWHERE
    stand_in: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What a document shares with its declaration."""
        return self.kind, self.object, self.policy


@dataclass(frozen=True, slots=True)
class Collected:
    """Everything one run saw: ``taken`` is ISO 8601 in UTC; ``scope`` is offline or live.

    ``problems`` are what kept a collector from its work, as blocks of an error's fields.
    """

    taken: str
    scope: str
    declarations: tuple[Declaration, ...]
    documents: tuple[Document, ...]
    problems: tuple[Mapping[str, str], ...] = ()


def merged(first: Collected, *others: Collected) -> Collected:
    """Several collections as one; the first says when and with what scope."""
    every = (first, *others)
    return Collected(
        taken=first.taken,
        scope=first.scope,
        declarations=tuple(item for one in every for item in one.declarations),
        documents=tuple(item for one in every for item in one.documents),
        problems=tuple(item for one in every for item in one.problems),
    )


def to_json(collected: Collected) -> dict[str, Any]:
    """A collection as plain JSON."""
    return {
        "schema": SCHEMA,
        "taken": collected.taken,
        "scope": collected.scope,
        "declarations": [
            {"kind": d.kind, "object": d.object, "policy": d.policy, **_place(d.place)}
            for d in collected.declarations
        ],
        "documents": [
            {
                "kind": d.kind,
                "object": d.object,
                "policy": d.policy,
                **_place(d.place),
                "stand_in": d.stand_in,
                "facts": d.facts,
            }
            for d in collected.documents
        ],
        "problems": [dict(problem) for problem in collected.problems],
    }


def from_json(raw: Any, where: str) -> Collected:
    """A collection from its JSON; PkiError FACTS-FILE when it is none."""
    try:
        if raw["schema"] != SCHEMA:
            raise ValueError(f"schema {raw['schema']}")
        return Collected(
            taken=str(raw["taken"]),
            scope=str(raw["scope"]),
            declarations=tuple(
                Declaration(str(d["kind"]), str(d["object"]), str(d["policy"]), _placed(d))
                for d in raw["declarations"]
            ),
            documents=tuple(
                Document(
                    str(d["kind"]),
                    str(d["object"]),
                    str(d["policy"]),
                    dict(d["facts"]),
                    _placed(d),
                    str(d["stand_in"]),
                )
                for d in raw["documents"]
            ),
            problems=tuple({str(k): str(v) for k, v in p.items()} for p in raw["problems"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise PkiError(
            "the facts file cannot be used",
            rule="FACTS-FILE",
            found=f"{type(exc).__name__}: {exc}",
            expected=f"a facts file of schema {SCHEMA}",
            where=where,
            next_step="collect the facts again",
        ) from None


def _place(place: Place) -> dict[str, Any]:
    return {"file": place.file, "line": place.line}


def _placed(raw: Mapping[str, Any]) -> Place:
    return Place(str(raw["file"]), int(raw["line"]))


class Validators:
    """Checks facts against the schema of their kind, each schema prepared once."""

    def __init__(self, schemas: Mapping[str, Mapping[str, Any]]) -> None:
        self._schemas = {kind: dict(schema) for kind, schema in schemas.items()}
        self._fast = {
            kind: jsonschema_rs.Draft202012Validator(schema)
            for kind, schema in self._schemas.items()
        }

    @property
    def kinds(self) -> Iterable[str]:
        """The kinds there are schemas of."""
        return self._schemas.keys()

    def fault(self, kind: str, facts: Mapping[str, Any]) -> str:
        """What is wrong with a document, in one line; empty when nothing is."""
        if kind not in self._schemas:
            return f"there is no schema for {kind} facts"
        return "" if self._surely_valid(kind, facts) else self._told(kind, facts)

    def _surely_valid(self, kind: str, facts: Mapping[str, Any]) -> bool:
        """The fast answer for the many; what it refuses or cannot take is looked at again."""
        try:
            return self._fast[kind].is_valid(dict(facts))
        except (ValueError, TypeError, OverflowError):
            return False

    def _told(self, kind: str, facts: Mapping[str, Any]) -> str:
        """The full validator's answer, in its words."""
        import jsonschema  # here: 0.1 CPU seconds a module run, which facts that fit do not need

        validator = jsonschema.Draft202012Validator(self._schemas[kind])
        error = jsonschema.exceptions.best_match(validator.iter_errors(facts))
        if error is None:
            return ""
        path = ".".join(str(part) for part in error.absolute_path)
        return f"{kind}{'.' + path if path else ''}: {error.message}"
