# SPDX-License-Identifier: GPL-3.0-or-later
"""Policy as data: parameters and CEL rules of one source document, judged over facts.

Pure: values in, values out. Reading text is :mod:`.policy_load`'s work, reading files
:mod:`.policy_files`'. A rule sees exactly two variables: its facts document under the name of
its kind (``request``, ``certificate``, ...) and ``policy``, the parameters' values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from . import cel_engine as cel
from .errors import PkiError

Facts = Mapping[str, Any]

#: The document's own words for how binding a clause is, the most binding first.
LEVELS = ("must", "should", "recommendation", "procedure", "information")
EVIDENCE = "evidence"
#: The kinds of facts that are judged before a key or request is made: only there can a rule hold.
HOLDING = ("declaration", "inventory", "roster", "dca_account")


class Outcome(StrEnum):
    """How a rule ends over one facts document. Only the first is an approval."""

    PASSED = "passed"
    FAILED = "failed"
    WAIVED = "waived"
    NOT_APPLICABLE = "not_applicable"
    NOT_EVALUATED = "not_evaluated"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule's verdict over one facts document.

    ``found`` and ``expected`` are sentences, and empty unless the rule failed or could not be
    evaluated. ``refuses`` says that what it judges is not let in when it fails, ``holds`` that no
    key and no request is made meanwhile, while everything in service goes on.
    """

    rule: str
    clause: str
    level: str
    refuses: bool
    outcome: Outcome
    message: str
    found: str
    expected: str
    next_step: str
    holds: bool = False

    @property
    def passed(self) -> bool:
        """Whether the rule was evaluated and held."""
        return self.outcome is Outcome.PASSED


@dataclass(frozen=True, slots=True)
class Place:
    """A file and a line in it; line 0 when only the file is known."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


NOWHERE = Place()


@dataclass(frozen=True, slots=True)
class Remark:
    """A finding about what an organisation wrote over a policy: ``name`` says what of it."""

    finding: Finding
    name: str
    place: Place


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule whose expressions are compiled.

    ``item`` is empty except for evidence: there a rule judges only the record of its own id.
    ``not_computed`` is why a person must vouch for a clause that says "must", and ``computed_by``
    which records of ours answer it as well.
    """

    id: str
    clause: str
    level: str
    refuses: bool
    kind: str
    message: str
    remedy: str
    when: cel.Program | None
    require: cel.Program
    found: cel.Program
    expected: cel.Program
    resolves: tuple[int, ...] = ()
    place: Place = NOWHERE
    item: str = ""
    age: str = ""
    not_computed: str = ""
    computed_by: str = ""
    holds: bool = False

    @property
    def expressions(self) -> Mapping[str, cel.Program]:
        """The compiled expressions by the name of their field."""
        named = {
            "when": self.when,
            "require": self.require,
            "found": self.found,
            "expected": self.expected,
        }
        return {name: program for name, program in named.items() if program is not None}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value of the document, and which way an organisation may move it freely.

    ``order`` is, for a word, every word that it may be, the least strict first; ``stricter`` is
    ``higher`` then. ``set_by`` is empty for the document's own value, else what set it.
    """

    name: str
    value: Any
    clause: str
    description: str
    stricter: str
    unit: str = ""
    provisional: str = ""
    resolves: tuple[int, ...] = ()
    place: Place = NOWHERE
    set_by: str = ""
    order: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resolution:
    """A contradiction of the document, and how it is read here."""

    number: int
    where: str
    problem: str
    resolution: str


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment of Table 4: its class (nonprod or prod) and its CN prefix."""

    name: str
    environment_class: str
    cn_prefix: str


@dataclass(frozen=True, slots=True)
class Party:
    """A party of Table 3: which purposes its certificates may have, and whether both at once.

    ``connects_for_others``: whether it connects and signs for parties that do not connect.
    """

    name: str
    title: str
    purposes: frozenset[str]
    dual: bool
    connects_for_others: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """A loaded policy. Values are read through :meth:`parameter`, never copied into code.

    ``remarks`` are what is wrong with the organisation's overlay, if it has one.
    """

    name: str
    title: str
    document: str
    environments: Mapping[str, Environment]
    parties: Mapping[str, Party]
    parameters: Mapping[str, Parameter]
    rules: tuple[Rule, ...]
    resolutions: Mapping[int, Resolution] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    _by_kind: dict[str, tuple[Rule, ...]] = field(init=False, repr=False, compare=False)
    _values: dict[str, Any] = field(init=False, repr=False, compare=False)
    _read: dict[str, dict[str, Any]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        kinds: dict[str, list[Rule]] = {}
        for rule in self.rules:
            kinds.setdefault(rule.kind, []).append(rule)
        values = {name: item.value for name, item in self.parameters.items()}
        read = {kind: _read_by(some, values) for kind, some in kinds.items()}
        object.__setattr__(self, "_by_kind", {kind: tuple(some) for kind, some in kinds.items()})
        object.__setattr__(self, "_values", values)
        object.__setattr__(self, "_read", read)

    def parameter(self, name: str) -> Any:
        """The value of a parameter; PkiError when the policy has none of that name."""
        try:
            return self._values[name]
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

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of facts that this policy judges."""
        return tuple(self._by_kind)

    def of_kind(self, kind: str, item: str = "") -> tuple[Rule, ...]:
        """The rules over facts of a kind, in file order; of evidence, those for one record."""
        rules = self._by_kind.get(kind, ())
        return tuple(rule for rule in rules if rule.item == item) if kind == EVIDENCE else rules

    def evaluate(self, kind: str, facts: Facts, item: str = "") -> tuple[Finding, ...]:
        """Every rule of ``kind`` over one facts document, whatever becomes of it.

        A rule that cannot be evaluated (a fact it reads is missing) ends as such, with the
        reason as ``found``.
        """
        context = self.context(kind, facts)
        return tuple(finding_of(rule, context) for rule in self.of_kind(kind, item))

    def judge(self, kind: str, facts: Facts) -> tuple[Finding, ...]:
        """Every applicable rule of ``kind`` over one facts document, in file order.

        For whoever lets something in: raises PkiError POLICY-EVALUATION for a rule that
        cannot be evaluated, and for a kind without rules. What was not judged is never approved.
        """
        if not self.of_kind(kind):
            raise PkiError(
                f"policy {self.name} has no rule for {kind} facts",
                rule="POLICY-EVALUATION",
                where=f"policies/{self.name}.yml",
                next_step="a document that no rule judges cannot be approved; add rules",
            )
        findings = self.evaluate(kind, facts)
        for finding in findings:
            if finding.outcome is Outcome.NOT_EVALUATED:
                raise PkiError(
                    finding.message,
                    rule="POLICY-EVALUATION",
                    found=finding.found,
                    expected=finding.expected,
                    where=f"policies/{self.name}, rule {finding.rule}",
                    next_step=finding.next_step,
                )
        return tuple(one for one in findings if one.outcome is not Outcome.NOT_APPLICABLE)

    def context(self, kind: str, facts: Facts) -> cel.Context:
        """One facts document as the rules of its kind see it."""
        # One context a document and never a dictionary: the engine converts one at every call.
        context = cel.Context(functions=dict(FUNCTIONS))
        context.add_variable(kind, dict(facts))
        context.add_variable("policy", self._read.get(kind, self._values))
        return context


_TEXT = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", re.DOTALL)
_PARAMETER = re.compile(r"\bpolicy\b(?:\s*\.\s*(\w+))?")


def _read_by(rules: Iterable[Rule], values: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that some rules name; all of them when one takes ``policy`` otherwise.

    The engine converts what it is given for every document: of ninety parameters, that took
    longer than to judge a certificate (0.29 ms, measured), and a kind reads a few.
    """
    names: set[str] = set()
    for rule in rules:
        for program in rule.expressions.values():
            names.update(_PARAMETER.findall(_TEXT.sub("''", program.source)))
    if "" in names:
        return dict(values)
    return {name: values[name] for name in values if name in names}


def refused(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings for which what they judge is not let in."""
    return tuple(one for one in findings if one.refuses and not one.passed)


def held(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings for which no key and no request is made for what they judge."""
    return tuple(one for one in findings if one.holds and not one.passed)


def reported(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings that did not pass and yet let in what they judge."""
    return tuple(one for one in findings if not one.refuses and not one.passed)


class _CannotEvaluate(Exception):
    def __init__(self, program: cel.Program, found: str) -> None:
        super().__init__(found)
        self.program = program


def finding_of(rule: Rule, context: cel.Context) -> Finding:
    """How one rule ends over the facts of a context (:meth:`Policy.context`)."""
    try:
        if rule.when is not None and not _boolean(rule.when, context):
            return _result(rule, Outcome.NOT_APPLICABLE)
        if _boolean(rule.require, context):
            return _result(rule, Outcome.PASSED)
        found = str(_execute(rule.found, context))
        return _result(rule, Outcome.FAILED, found, str(_execute(rule.expected, context)))
    except _CannotEvaluate as exc:
        return Finding(
            rule=rule.id,
            clause=rule.clause,
            level=rule.level,
            refuses=rule.refuses,
            outcome=Outcome.NOT_EVALUATED,
            message=f"rule {rule.id} could not be evaluated on these {rule.kind} facts",
            found=str(exc),
            expected=f"a value of `{exc.program.source}`",
            next_step="correct the rule or the facts; until then nothing it judges is approved",
            holds=rule.holds,
        )


def _result(rule: Rule, outcome: Outcome, found: str = "", expected: str = "") -> Finding:
    return Finding(
        rule=rule.id,
        clause=rule.clause,
        level=rule.level,
        refuses=rule.refuses,
        outcome=outcome,
        message=rule.message,
        found=found,
        expected=expected,
        next_step=rule.remedy,
        holds=rule.holds,
    )


def _boolean(program: cel.Program, context: cel.Context) -> bool:
    value = _execute(program, context)
    if isinstance(value, bool):
        return value
    raise _CannotEvaluate(program, f"{type(value).__name__} instead of a boolean")


def _execute(program: cel.Program, context: cel.Context) -> Any:
    try:
        return program.execute(context)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, ArithmeticError) as exc:
        raise _CannotEvaluate(program, f"{type(exc).__name__}: {_words(exc)}") from exc


def _words(exc: Exception) -> str:
    """The engine's own words. What a function of ours said may quote what it was given."""
    text = str(exc)
    own, failed, _ = text.partition("Python function call failed: ")
    return f"{own}the call failed" if failed else text


def _join(items: Sequence[Any], separator: str) -> str:
    return separator.join(map(str, items))


def _show(value: Any) -> str:
    """A map as ``O=..., C=...`` in key order; anything else as compact JSON."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={value[key]}" for key in sorted(value)) or "nothing"
    return json.dumps(value, ensure_ascii=False)


#: What CEL lacks and sentences need.
FUNCTIONS: Mapping[str, Any] = {"join": _join, "show": _show}
