# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a policy's files to a :class:`~.policy.Policy`; every error names its line.

Pure. A policy is ``<name>.yml`` (document, environments, resolutions, parameters) and one part
a kind of facts, ``<name>/<kind>.yml`` (rules, and parameters that only they read).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jsonschema_rs

from . import cel_engine as cel
from . import marked_yaml
from .errors import PkiError
from .policy import EVIDENCE, Environment, Parameter, Party, Place, Policy, Resolution, Rule

Schema = Mapping[str, Any]
_EXPRESSIONS = ("when", "require", "found", "expected")


@dataclass(frozen=True, slots=True)
class Source:
    """One file as read and validated: its name for messages, and its value with lines."""

    file: str
    marked: marked_yaml.Marked

    def place(self, *path: str | int) -> Place:
        """Where something in the file stands."""
        return Place(self.file, self.marked.line(*path))

    def broken(self, path: tuple[str | int, ...], found: str, expected: str) -> PkiError:
        """The error for something in the file."""
        inside = "/".join(str(part) for part in path) or "the whole file"
        return broken(f"{self.place(*path)}: {inside}", found, expected)


def broken(where: str, found: str, expected: str) -> PkiError:
    """The error for a policy file that cannot be used."""
    return PkiError(
        "the policy file cannot be used",
        rule="POLICY-FILE",
        found=found,
        expected=expected,
        where=where,
        next_step="correct the policy file; nothing is judged with a broken policy",
    )


def read(file: str, text: str, schema: Schema, definition: str) -> Source:
    """A file's value, fit for a definition of ``policies/schema.json``.

    Raises:
        PkiError: POLICY-FILE, with the line.
    """
    try:
        source = Source(file, marked_yaml.load(text))
    except marked_yaml.Unreadable as exc:
        raise broken(f"{file}: {exc.place}", str(exc), "valid YAML, each key once") from exc
    rooted = {"$ref": f"#/$defs/{definition}", "$defs": schema["$defs"]}
    if _surely_valid(rooted, source.marked.value):
        return source
    import jsonschema  # here: 0.1 CPU seconds a module run, which files that fit do not need

    validator = jsonschema.Draft202012Validator(rooted)
    error = jsonschema.exceptions.best_match(validator.iter_errors(source.marked.value))
    if error is not None:
        path = tuple(error.absolute_path)
        raise source.broken(path, _shortened(error.message), "what policies/schema.json describes")
    return source


def _surely_valid(schema: Schema, value: Any) -> bool:
    """The fast answer, in every module run; what it refuses is looked at again, for its words."""
    try:
        return jsonschema_rs.Draft202012Validator(dict(schema)).is_valid(value)
    except (ValueError, TypeError, OverflowError):
        return False


def _shortened(message: str) -> str:
    """A validator quotes the whole value first and says last what is wrong with it."""
    return message if len(message) <= 400 else f"{message[:200]} … {message[-200:]}"


def load(files: Mapping[str, str], schema: Schema, name: str) -> Policy:
    """A policy from the text of its files, by path below ``policies/``.

    Raises:
        PkiError: POLICY-FILE with file and line, for text that is not YAML, does not fit the
            schema, says something twice, or holds an expression that does not compile.
    """
    main_name = f"{name}.yml"
    main = read(f"policies/{main_name}", files[main_name], schema, "policy")
    raw = main.marked.value
    if raw["name"] != name:
        raise main.broken(("name",), str(raw["name"]), name)
    parts = [_part(path, text, schema) for path, text in files.items() if path != main_name]
    parameters = _parameters([main, *parts])
    rules = once(rule for part in parts for rule in rules_of(part))
    _known_ages(rules, parameters)
    return Policy(
        name=name,
        title=raw["title"],
        document=f"{raw['document']['title']} v{raw['document']['version']}",
        environments=MappingProxyType(
            {
                key: Environment(key, value["class"], value.get("cn_prefix", ""))
                for key, value in raw["environments"].items()
            }
        ),
        parties=MappingProxyType(
            {
                key: Party(
                    name=key,
                    title=value["title"],
                    purposes=frozenset(value["purposes"]),
                    dual=value["dual"],
                    connects_for_others=value.get("connects_for_others", False),
                )
                for key, value in raw["parties"].items()
            }
        ),
        parameters=MappingProxyType(parameters),
        rules=rules,
        resolutions=MappingProxyType(_resolutions(main)),
    )


def _part(path: str, text: str, schema: Schema) -> Source:
    kind = path.rsplit("/", 1)[-1].removesuffix(".yml")
    definition = "evidence_part" if kind == EVIDENCE else "part"
    source = read(f"policies/{path}", text, schema, definition)
    if source.marked.value["kind"] != kind:
        raise source.broken(("kind",), source.marked.value["kind"], f"{kind}, as the file's name")
    return source


def _resolutions(main: Source) -> dict[int, Resolution]:
    found: dict[int, Resolution] = {}
    for index, entry in enumerate(main.marked.value["resolutions"]):
        if entry["number"] in found:
            raise main.broken(("resolutions", index), f"{entry['number']} twice", "once")
        found[entry["number"]] = Resolution(**entry)
    return found


def _parameters(sources: list[Source]) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for source in sources:
        for name, entry in (source.marked.value.get("parameters") or {}).items():
            if name in found:
                raise source.broken(("parameters", name), f"also in {found[name].place}", "once")
            _ordered(source, name, entry)
            found[name] = Parameter(
                name=name,
                value=entry["value"],
                clause=entry["clause"],
                description=entry["description"],
                stricter=entry["stricter"],
                unit=entry.get("unit", ""),
                provisional=entry.get("provisional", ""),
                resolves=tuple(entry.get("resolves", ())),
                place=source.place("parameters", name),
                order=tuple(entry.get("order", ())),
            )
    return found


def _ordered(source: Source, name: str, entry: Mapping[str, Any]) -> None:
    """PkiError for an order that does not belong to a word, or does not have it."""
    order = entry.get("order")
    if order is None:
        return
    if entry["value"] not in order:
        raise source.broken(
            ("parameters", name, "value"), str(entry["value"]), f"one of {', '.join(order)}"
        )
    if entry["stricter"] != "higher":
        raise source.broken(
            ("parameters", name, "stricter"), entry["stricter"], "higher, as of every order"
        )


def rules_of(source: Source) -> Iterator[Rule]:
    """The compiled rules of a part."""
    if source.marked.value["kind"] == EVIDENCE:
        yield from _evidence(source)
        return
    yield from rules_at(source, ("rules",), source.marked.value["kind"])


def rules_at(source: Source, path: tuple[str | int, ...], kind: str) -> Iterator[Rule]:
    """The compiled rules of a list in a file."""
    entries = source.marked.value
    for step in path:
        entries = entries[step]
    for index, entry in enumerate(entries):
        compiled = {
            field: _compiled(source, (*path, index, field), entry[field], entry["id"])
            for field in _EXPRESSIONS
            if field in entry
        }
        yield Rule(
            id=entry["id"],
            clause=entry["clause"],
            level=entry["level"],
            refuses=entry.get("effect") == "refuse",
            holds=entry.get("effect") == "hold",
            kind=kind,
            message=entry["message"],
            remedy=entry["remedy"],
            when=compiled.get("when"),
            require=compiled["require"],
            found=compiled["found"],
            expected=compiled["expected"],
            resolves=tuple(entry.get("resolves", ())),
            place=source.place(*path, index),
        )


def _evidence(source: Source) -> Iterator[Rule]:
    for index, entry in enumerate(source.marked.value["evidence"]):
        place = ("evidence", index)
        when = entry.get("when")
        yield Rule(
            id=entry["id"],
            clause=entry["clause"],
            level=entry["level"],
            refuses=False,
            kind=EVIDENCE,
            message=entry["message"],
            remedy=entry["remedy"],
            when=_compiled(source, (*place, "when"), when, entry["id"]) if when else None,
            require=_of_template(source, "require", entry),
            found=_of_template(source, "found", entry),
            expected=_of_template(source, "expected", entry),
            resolves=tuple(entry.get("resolves", ())),
            place=source.place(*place),
            item=entry["id"],
            age=entry["age"],
            not_computed=entry.get("not_computed", ""),
            computed_by=entry.get("computed_by", ""),
        )


def _of_template(source: Source, field: str, entry: Mapping[str, Any]) -> cel.Program:
    text = source.marked.value["template"][field].replace("{age}", entry["age"])
    return _compiled(source, ("template", field), text, entry["id"])


def _compiled(source: Source, path: tuple[str | int, ...], text: str, rule: str) -> cel.Program:
    try:
        return cel.compile_expression(text)
    except ValueError as exc:
        lines = [line for line in str(exc).splitlines() if line.strip()]
        found = lines[1] if len(lines) > 1 and "ERROR" in lines[1] else lines[0]
        raise source.broken(path, f"rule {rule}: {found}", "a CEL expression") from exc


def once(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules; PkiError POLICY-FILE for an id twice in a kind."""
    seen: dict[tuple[str, str], Rule] = {}
    for rule in rules:
        key = (rule.id, rule.kind)
        if key in seen:
            raise broken(
                f"{rule.place}: rule {rule.id}", f"also in {seen[key].place}", "one rule a kind"
            )
        seen[key] = rule
    return tuple(seen.values())


def _known_ages(rules: tuple[Rule, ...], parameters: Mapping[str, Parameter]) -> None:
    for rule in rules:
        if rule.age and rule.age not in parameters:
            raise broken(f"{rule.place}: age", rule.age, "the name of a parameter")
