# SPDX-License-Identifier: GPL-3.0-or-later
"""An organisation's own values and rules over a policy: ``<inventory>/policy/<policy>.yml``.

Pure. Tightening is free, in the direction that each parameter names as ``stricter``. Whatever
loosens needs a reason, somebody who approves it and the day on which it ends; from that day on
the document's value holds again, and the entry is a finding. Rules can be added, and made to
hold or to refuse; never removed, and never made to do less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from types import MappingProxyType
from typing import Any

from .errors import PkiError
from .policy import Finding, Outcome, Parameter, Policy, Remark, Rule
from .policy_load import Source, once, rules_at

RULE = "POLICY-OVERLAY"
#: The engine counts in 64 bits; no limit of either document comes near.
LARGEST = 10**15
#: What a loosening owes to whoever reads it later.
OWED = ("reason", "approver", "expires")


@dataclass(frozen=True, slots=True)
class _Change:
    """One parameter's entry in an overlay."""

    source: Source
    original: Parameter
    entry: Mapping[str, Any]
    today: date

    @property
    def path(self) -> tuple[str, ...]:
        return ("parameters", self.original.name)

    @property
    def loosens(self) -> bool:
        return not tightens(self.original, self.entry["value"])

    @property
    def ended(self) -> bool:
        return "expires" in self.entry and self.today >= self._expires()

    def check(self) -> None:
        """PkiError POLICY-OVERLAY, with the line, for an entry that cannot be used."""
        problem = _misfit(self.original, self.entry["value"])
        if problem:
            found, expected = problem
            raise self.refused("the value does not fit the parameter", found, expected)
        if "expires" in self.entry:
            self._expires()
        missing = [field for field in OWED if field not in self.entry]
        if self.loosens and missing:
            raise self.refused(
                "an entry loosens the policy without saying why, who approves it and until when",
                f"{_words(self.entry['value'])} without {', '.join(missing)}",
                f"{_direction(self.original)}, or {', '.join(OWED)} beside the value",
            )

    def parameter(self) -> Parameter:
        if self.loosens and self.ended:
            return self.original
        by = str(self.source.place(*self.path))
        if self.loosens:
            by += f", until {self.entry['expires']}: {self.entry['reason']}"
            by += f" (approved by {self.entry['approver']})"
        return replace(self.original, value=self.entry["value"], set_by=by)

    def remarks(self) -> Iterator[Remark]:
        if not self.ended:
            return
        if self.loosens:
            message = f"the loosened {self.original.name} has expired; the document's value holds"
            step = "remove the entry, or have it approved again with a later date"
        else:
            message = f"the entry for {self.original.name} has expired; it tightens and still holds"
            step = "remove the entry, or its expires"
        yield Remark(
            finding=Finding(
                rule=RULE,
                clause="",
                level="must",
                refuses=False,
                outcome=Outcome.FAILED,
                message=message,
                found=f"{_words(self.entry['value'])} until {self.entry['expires']}",
                expected=f"{_words(self.original.value)}, as {self.original.clause} says",
                next_step=step,
            ),
            name=self.original.name,
            place=self.source.place(*self.path),
        )

    def refused(self, message: str, found: str, expected: str) -> PkiError:
        return _refused(self.source, self.path, f"{self.original.name}: {message}", found, expected)

    def _expires(self) -> date:
        try:
            return date.fromisoformat(self.entry["expires"])
        except ValueError:
            raise _refused(
                self.source,
                (*self.path, "expires"),
                f"{self.original.name}: the day on which the entry ends is none",
                self.entry["expires"],
                "a day of the calendar as YYYY-MM-DD",
            ) from None


def merged(policy: Policy, source: Source, today: date) -> Policy:
    """The policy with an overlay over it; its ``remarks`` say what has expired.

    ``source`` fits the definition ``overlay`` of ``policies/schema.json``.

    Raises:
        PkiError: POLICY-OVERLAY or POLICY-FILE, with file and line.
    """
    raw = source.marked.value
    changes = [
        _Change(source, _known(policy, source, name), entry, today)
        for name, entry in raw.get("parameters", {}).items()
    ]
    for change in changes:
        change.check()
    raised = dict(_raised(policy, source))
    own = once(_own(policy, source))
    return replace(
        policy,
        parameters=MappingProxyType(
            {**policy.parameters, **{one.original.name: one.parameter() for one in changes}}
        ),
        rules=(
            *(_with_effect(rule, raised.get(rule.id, "")) for rule in policy.rules),
            *own,
        ),
        remarks=(*policy.remarks, *(item for one in changes for item in one.remarks())),
    )


def tightens(original: Parameter, value: Any) -> bool:
    """Whether a value is at least as strict as the parameter's own."""
    if value == original.value:
        return True
    if original.order:
        return original.order.index(value) >= original.order.index(original.value)
    match original.stricter:
        case "higher":
            return bool(value >= original.value)
        case "lower":
            return bool(value <= original.value)
        case "subset":
            return _items(value) <= _items(original.value)
        case "superset":
            return _items(value) >= _items(original.value)
    return False


def _items(value: Any) -> set[Any]:
    return set(value.items()) if isinstance(value, Mapping) else set(value)


def _misfit(original: Parameter, value: Any) -> tuple[str, str] | None:
    """What is wrong with the type of a value, as found and expected; None when nothing is."""
    wanted = _type(original.value)
    if _type(value) != wanted:
        return f"{_type(value)}, {_words(value)}", f"{wanted}, as {_words(original.value)}"
    if original.order and value not in original.order:
        return _words(value), f"one of {', '.join(original.order)}"
    if isinstance(value, list) and len(set(value)) < len(value):
        return f"something twice in {_words(value)}", "each item once"
    if isinstance(value, str | bool | list | Mapping):
        return None
    # Written so that what is not a number at all does not fit either.
    if not -LARGEST <= value <= LARGEST or (value < 0 <= original.value):
        return _words(value), f"{original.unit or 'a number'} from 0 to {LARGEST}"
    return None


def _type(value: Any) -> str:
    """The type in words; of a list or map with the types of what is in it."""
    if isinstance(value, Mapping):
        return f"a map of {_inside(value.values())}"
    if isinstance(value, list):
        return f"a list of {_inside(value)}"
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number with a fraction",
        str: "text",
    }
    return names[type(value)]


def _inside(values: Any) -> str:
    return " and ".join(sorted({_type(item) for item in values}))


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _direction(original: Parameter) -> str:
    own = _words(original.value)
    if original.order:
        return f"nothing less strict than {own}"
    return {
        "higher": f"at least {own}",
        "lower": f"at most {own}",
        "subset": f"nothing but {own}",
        "superset": f"at least {own}",
        "fixed": own,
    }[original.stricter]


def _known(policy: Policy, source: Source, name: str) -> Parameter:
    if name in policy.parameters:
        return policy.parameters[name]
    raise _refused(
        source,
        ("parameters", name),
        f"policy {policy.name} has no parameter of this name",
        name,
        ", ".join(sorted(policy.parameters)) or "none: the policy has no parameters",
    )


def _with_effect(rule: Rule, effect: str) -> Rule:
    refuses = rule.refuses or effect == "refuse"
    return replace(rule, refuses=refuses, holds=not refuses and (rule.holds or effect == "hold"))


def _raised(policy: Policy, source: Source) -> Iterator[tuple[str, str]]:
    known = {rule.id for rule in policy.rules}
    refusing = {rule.id for rule in policy.rules if rule.refuses}
    for name, effect in source.marked.value.get("effects", {}).items():
        if name not in known:
            raise _refused(
                source, ("effects", name), "only a rule of the policy can be raised", name,
                f"a rule of {policy.name}",
            )  # fmt: skip
        if effect == "hold" and name in refusing:
            raise _refused(
                source, ("effects", name), "a rule that refuses cannot be made to hold only",
                effect, "refuse",
            )  # fmt: skip
        yield name, effect


def _own(policy: Policy, source: Source) -> Iterator[Rule]:
    shipped = {rule.id for rule in policy.rules}
    for kind in source.marked.value.get("rules", {}):
        for index, rule in enumerate(rules_at(source, ("rules", kind), kind)):
            if rule.id in shipped:
                raise _refused(
                    source,
                    ("rules", kind, index),
                    "an own rule has the id of a rule of the policy",
                    rule.id,
                    "an id of your own; what the policy demands cannot be replaced",
                )
            yield rule


def _refused(
    source: Source, path: tuple[str | int, ...], message: str, found: str, expected: str
) -> PkiError:
    return PkiError(
        f"the overlay cannot be used: {message}",
        rule=RULE,
        found=found,
        expected=expected,
        where=str(source.place(*path)),
        next_step="correct the overlay; nothing is judged or made with a broken one",
    )
