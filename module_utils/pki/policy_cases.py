# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases: facts on which a rule must pass, fail with given words, or not apply.

Pure. ``policies/cases/<policy>/<kind>.yml`` holds ours, an organisation keeps its own beside its
overlay. A file has one ``base`` document, which every rule of the kind passes or ignores, and
under each rule's id a list of changes to it:

.. code-block:: yaml

    kind: certificate
    base: {common_name: energydip-nonprod.example.co.uk, purposes: [mtls], ...}
    cases:
      DIP-3.4.2-KU-TLS:
        - fails: {eku: [serverAuth]}         # exactly one changed field
          says: clientAuth and serverAuth    # words of message, found or expected
        - passes: {eku: [serverAuth, clientAuth, codeSigning]}
        - given: {purposes: [signing]}       # part of the scene, not what is tested
          ignores: {eku: []}                 # the rule must not apply

A change names a field by its path (``key.bits``, ``chain.0.ca``). ``given`` and the base together
must pass the rule wherever ``fails`` is said, so that the two documents differ in one field only.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .documents import Validators
from .policy import EVIDENCE, Finding, Outcome, Place, Policy, Rule
from .policy_load import Schema, Source, broken, read

_WANTED = {
    "passes": Outcome.PASSED,
    "fails": Outcome.FAILED,
    "ignores": Outcome.NOT_APPLICABLE,
}


@dataclass(frozen=True, slots=True)
class Case:
    """One document and how a rule must end on it; ``says`` are words the finding must hold."""

    rule: str
    kind: str
    item: str
    facts: Mapping[str, Any]
    wanted: Outcome
    says: str
    place: Place


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that did not end as it should."""

    case: Case
    problem: str

    def __str__(self) -> str:
        return f"{self.case.place}: {self.case.rule} ({self.case.kind}): {self.problem}"


def load(file: str, text: str, schema: Schema, policy: Policy) -> tuple[Case, ...]:
    """The cases of a file; PkiError POLICY-FILE with the line when it cannot be used."""
    source = read(file, text, schema, "cases")
    return tuple(_cases(source, policy))


def run(case: Case, policy: Policy, validators: Validators) -> Failure | None:
    """Judge one case; None when it ended as it should."""
    fault = validators.fault(case.kind, case.facts)
    if fault:
        return Failure(case, f"the document does not fit its schema: {fault}")
    findings = policy.evaluate(case.kind, case.facts, case.item)
    return verdict(case, [one for one in findings if one.rule == case.rule])


def verdict(case: Case, findings: list[Finding]) -> Failure | None:
    """Compare the findings of the case's rule with what was wanted."""
    if len(findings) != 1:
        return Failure(case, "there is no such rule for this kind of facts")
    (finding,) = findings
    told = f"{finding.message} | found {finding.found} | expected {finding.expected}"
    if finding.outcome is not case.wanted:
        return Failure(case, f"{finding.outcome} instead of {case.wanted}; {told}")
    if case.says not in told:
        return Failure(case, f"the finding does not say {case.says!r}: {told}")
    if finding.outcome is Outcome.FAILED and not (finding.found and finding.expected):
        return Failure(case, f"the finding does not say what was found and expected: {told}")
    return None


def uncovered(policy: Policy, cases: tuple[Case, ...]) -> tuple[str, ...]:
    """What each rule still lacks: a document that passes it, one that fails it."""
    seen = {(case.rule, case.kind, case.wanted) for case in cases}
    return tuple(
        f"{rule.id} ({rule.kind}): no document that {wanted}"
        for rule in policy.rules
        for wanted, outcome in (("passes", Outcome.PASSED), ("fails", Outcome.FAILED))
        if (rule.id, rule.kind, outcome) not in seen
    )


def _cases(source: Source, policy: Policy) -> Iterator[Case]:
    raw = source.marked.value
    kind = raw["kind"]
    rules = {rule.id: rule for rule in policy.rules if rule.kind == kind}
    for name, entries in raw["cases"].items():
        if name not in rules:
            raise source.broken(("cases", name), name, f"a rule of {policy.name} over {kind} facts")
        for index, entry in enumerate(entries):
            # A rule of evidence judges the record of its own id and no other.
            base = {**raw["base"], "item": name} if kind == EVIDENCE else raw["base"]
            yield from _of_entry(source, rules[name], base, entry, index)


def _of_entry(
    source: Source, rule: Rule, base: Mapping[str, Any], entry: Mapping[str, Any], index: int
) -> Iterator[Case]:
    path = ("cases", rule.id, index)
    scene = changed(source, path, base, entry.get("given", {}))
    for word, outcome in _WANTED.items():
        if word not in entry:
            continue
        change = entry[word]
        if word == "fails":
            if len(change) != 1:
                raise source.broken((*path, word), f"{len(change)} changes", "exactly one")
            yield _case(source, path, rule, scene, Outcome.PASSED, "")
        says = entry.get("says", "") if word == "fails" else ""
        yield _case(source, path, rule, changed(source, path, scene, change), outcome, says)


def _case(
    source: Source,
    path: tuple[str | int, ...],
    rule: Rule,
    facts: Mapping[str, Any],
    wanted: Outcome,
    says: str,
) -> Case:
    return Case(rule.id, rule.kind, rule.item, facts, wanted, says, source.place(*path))


def changed(
    source: Source,
    place: tuple[str | int, ...],
    facts: Mapping[str, Any],
    changes: Mapping[str, Any],
) -> dict[str, Any]:
    """A document with some fields set; PkiError for a path that the document does not have."""
    result: dict[str, Any] = copy.deepcopy(dict(facts))
    for path, value in changes.items():
        target: Any = result
        *parents, last = path.split(".")
        try:
            for parent in parents:
                target = target[_step(target, parent)]
            step = _step(target, last)
            if target[step] == value:
                raise source.broken(place, f"{path} is already {value!r}", "a changed value")
            target[step] = value
        except (KeyError, IndexError, TypeError, ValueError):
            raise broken(
                str(source.place(*place)), f"the base has no {path}", "a field of it"
            ) from None
    return result


def _step(target: Any, part: str) -> str | int:
    return int(part) if isinstance(target, list) else part
