# SPDX-License-Identifier: GPL-3.0-or-later
"""Policy as data: parameters and CEL rules of one source document, judged over facts.

Pure: text and values in, values out. Reading the file is :mod:`.policy_files`' work.
A rule sees exactly two variables: its facts document under the name of its kind
(``request``, ``certificate``) and ``policy``, the parameters' values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jsonschema
import yaml

from . import cel_engine as cel
from .errors import PkiError

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule's verdict over one facts document.

    ``found`` and ``expected`` are sentences, and empty when the rule passed.
    """

    rule: str
    clause: str
    level: str
    passed: bool
    message: str
    found: str
    expected: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule whose expressions are compiled."""

    id: str
    clause: str
    level: str
    kind: str
    message: str
    remedy: str
    when: cel.Program | None
    require: cel.Program
    found: cel.Program
    expected: cel.Program


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment of Table 4: its class (nonprod or prod) and its CN prefix."""

    name: str
    environment_class: str
    cn_prefix: str


@dataclass(frozen=True, slots=True)
class Party:
    """A party of Table 3: which purposes its certificates may have, and whether both at once."""

    name: str
    title: str
    purposes: frozenset[str]
    dual: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """A loaded policy. Values are read through :meth:`parameter`, never copied into code."""

    name: str
    title: str
    document: str
    environments: Mapping[str, Environment]
    parties: Mapping[str, Party]
    parameters: Mapping[str, Any]
    rules: tuple[Rule, ...]

    def parameter(self, name: str) -> Any:
        """The value of a parameter; PkiError when the policy has none of that name."""
        try:
            return self.parameters[name]
        except KeyError:
            raise PkiError(
                f"policy {self.name} has no parameter {name}",
                rule="POLICY-PARAMETER",
                found=", ".join(sorted(self.parameters)),
                expected=name,
                where=f"policies/{self.name}.yml",
                next_step="add the parameter with its clause to the policy file",
            ) from None

    def number(self, name: str) -> int:
        """A parameter that is a whole number, in the unit its file states."""
        return int(self.parameter(name))

    def strings(self, name: str) -> tuple[str, ...]:
        """A parameter that is a list of strings."""
        return tuple(str(item) for item in self.parameter(name))

    def judge(self, kind: str, facts: Facts) -> tuple[Finding, ...]:
        """Every applicable rule of ``kind`` over one facts document, in file order.

        A rule that cannot be evaluated (a fact it reads is missing) raises PkiError
        POLICY-EVALUATION: what was not judged is never approved.
        """
        rules = [rule for rule in self.rules if rule.kind == kind]
        if not rules:
            raise PkiError(
                f"policy {self.name} has no rule for {kind} facts",
                rule="POLICY-EVALUATION",
                where=f"policies/{self.name}.yml",
                next_step="a document that no rule judges cannot be approved; add rules",
            )
        context = _context(kind, facts, self.parameters)
        return tuple(self._findings(rules, context))

    def _findings(self, rules: list[Rule], context: cel.Context) -> Iterator[Finding]:
        for rule in rules:
            if rule.when is not None and not self._boolean(rule, rule.when, context):
                continue
            passed = self._boolean(rule, rule.require, context)
            yield Finding(
                rule=rule.id,
                clause=rule.clause,
                level=rule.level,
                passed=passed,
                message=rule.message,
                found="" if passed else str(self._execute(rule, rule.found, context)),
                expected="" if passed else str(self._execute(rule, rule.expected, context)),
                next_step=rule.remedy,
            )

    def _boolean(self, rule: Rule, program: cel.Program, context: cel.Context) -> bool:
        value = self._execute(rule, program, context)
        if isinstance(value, bool):
            return value
        raise self._not_evaluated(rule, program, f"{type(value).__name__} instead of a boolean")

    def _execute(self, rule: Rule, program: cel.Program, context: cel.Context) -> Any:
        try:
            return program.execute(context)
        except (KeyError, TypeError, ValueError, RuntimeError) as exc:
            raise self._not_evaluated(rule, program, f"{type(exc).__name__}: {exc}") from exc

    def _not_evaluated(self, rule: Rule, program: cel.Program, found: str) -> PkiError:
        return PkiError(
            f"rule {rule.id} could not be evaluated on these {rule.kind} facts",
            rule="POLICY-EVALUATION",
            found=found,
            expected=f"a value of `{program.source}`",
            where=f"policies/{self.name}.yml, rule {rule.id}",
            next_step="correct the rule or the facts; until then nothing it judges is approved",
        )


def failed(findings: tuple[Finding, ...], level: str = "must") -> tuple[Finding, ...]:
    """The findings of a level that did not pass."""
    return tuple(finding for finding in findings if finding.level == level and not finding.passed)


def load(text: str, schema: Mapping[str, Any], name: str) -> Policy:
    """A policy from its YAML text.

    Raises PkiError POLICY-FILE naming the place for text that is not YAML, does not fit
    the schema, or holds an expression that does not compile.
    """
    where = f"policies/{name}.yml"
    raw = _parse(text, where)
    _validate(raw, schema, where)
    if raw["name"] != name:
        raise _broken(where, "name", str(raw["name"]), name)
    return Policy(
        name=name,
        title=raw["title"],
        document=f"{raw['document']['title']} v{raw['document']['version']}",
        environments=MappingProxyType(
            {
                key: Environment(key, value["class"], value["cn_prefix"])
                for key, value in raw["environments"].items()
            }
        ),
        parties=MappingProxyType(
            {
                key: Party(key, value["title"], frozenset(value["purposes"]), value["dual"])
                for key, value in raw["parties"].items()
            }
        ),
        parameters=MappingProxyType(
            {key: value["value"] for key, value in raw["parameters"].items()}
        ),
        rules=_compile_rules(raw["rules"], where),
    )


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "unknown line"
        problem = getattr(exc, "problem", None) or "not YAML"
        raise _broken(where, place, str(problem), "valid YAML") from exc


def _validate(raw: Any, schema: Mapping[str, Any], where: str) -> None:
    validator = jsonschema.Draft202012Validator(dict(schema))
    error = jsonschema.exceptions.best_match(validator.iter_errors(raw))
    if error is not None:
        place = "/".join(str(part) for part in error.absolute_path) or "the whole file"
        raise _broken(where, place, error.message, "what policies/schema.json describes")


def _compile_rules(raw: list[Mapping[str, str]], where: str) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    seen: set[tuple[str, str]] = set()
    for entry in raw:
        key = (entry["id"], entry["kind"])
        if key in seen:
            raise _broken(where, f"rule {entry['id']}", f"twice for {entry['kind']}", "once")
        seen.add(key)

        def program(field: str, entry: Mapping[str, str] = entry) -> cel.Program:
            try:
                return cel.compile_expression(entry[field])
            except ValueError as exc:
                place = f"rule {entry['id']}, {field}"
                raise _broken(where, place, str(exc).splitlines()[0], "a CEL expression") from exc

        rules.append(
            Rule(
                id=entry["id"],
                clause=entry["clause"],
                level=entry["level"],
                kind=entry["kind"],
                message=entry["message"],
                remedy=entry["remedy"],
                when=program("when") if "when" in entry else None,
                require=program("require"),
                found=program("found"),
                expected=program("expected"),
            )
        )
    return tuple(rules)


def _broken(where: str, place: str, found: str, expected: str) -> PkiError:
    return PkiError(
        "the policy file cannot be used",
        rule="POLICY-FILE",
        found=found,
        expected=expected,
        where=f"{where}: {place}",
        next_step="correct the policy file; nothing is judged with a broken policy",
    )


def _context(kind: str, facts: Facts, parameters: Mapping[str, Any]) -> cel.Context:
    context = cel.Context()
    context.add_variable(kind, dict(facts))
    context.add_variable("policy", dict(parameters))
    context.add_function("join", lambda items, separator: separator.join(map(str, items)))
    context.add_function("show", _show)
    return context


def _show(value: Any) -> str:
    """A map as ``O=..., C=...`` in key order; anything else as compact JSON."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={value[key]}" for key in sorted(value)) or "nothing"
    return json.dumps(value, ensure_ascii=False)
