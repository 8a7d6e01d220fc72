# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings that somebody answers for until a date: ``<inventory>/waivers.yml``.

Pure. A waiver names one rule and one object, both exactly. What it waives is still evaluated and
shown. One that has expired, or that nothing needs, is a finding; a rule that could not be
evaluated is never waived, because nobody knows what it would have said.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from .errors import PkiError
from .policy import Finding, Outcome, Place, Remark
from .policy_load import Schema, read

RULE = "POLICY-WAIVER"


@dataclass(frozen=True, slots=True)
class Waiver:
    """One entry of the file. It holds while today is before ``expires``."""

    rule: str
    object: str
    reason: str
    approver: str
    expires: date
    place: Place

    @property
    def key(self) -> tuple[str, str]:
        """What it is for: rule and object."""
        return self.rule, self.object

    def __str__(self) -> str:
        return f"until {self.expires}: {self.reason} (approved by {self.approver})"


@dataclass(frozen=True, slots=True)
class Waived:
    """Verdicts after the waivers, in the order given.

    Attributes:
        verdicts: the finding of each verdict, and the waiver that waived it if one did.
        remarks: what is wrong with the waivers themselves.
    """

    verdicts: tuple[tuple[Finding, Waiver | None], ...]
    remarks: tuple[Remark, ...]


def load(file: str, text: str, schema: Schema) -> tuple[Waiver, ...]:
    """The waivers of a file.

    Raises:
        PkiError: POLICY-FILE or POLICY-WAIVER, with file and line.
    """
    source = read(file, text, schema, "waivers")
    found: dict[tuple[str, str], Waiver] = {}
    for index, entry in enumerate(source.marked.value["waivers"]):
        place = source.place("waivers", index)
        try:
            expires = date.fromisoformat(entry["expires"])
        except ValueError:
            raise _refused(
                source.place("waivers", index, "expires"),
                "the day on which a waiver ends is none",
                entry["expires"],
                "a day of the calendar as YYYY-MM-DD",
            ) from None
        waiver = Waiver(**{**entry, "expires": expires}, place=place)
        if waiver.key in found:
            raise _refused(
                place,
                f"{waiver.rule} is waived twice for {waiver.object}",
                f"also in {found[waiver.key].place}",
                "one waiver for a rule and an object",
            )
        found[waiver.key] = waiver
    return tuple(found.values())


def apply(
    waivers: Iterable[Waiver],
    verdicts: Sequence[tuple[str, Finding]],
    today: date,
    elsewhere: Container[str] = (),
) -> Waived:
    """Waive failed findings.

    Args:
        waivers: at most one for each rule and object.
        verdicts: objects and findings about them.
        today: in UTC.
        elsewhere: rules over kinds of facts that this run does not judge: whether their waivers
            are needed shows in another run.
    """
    known = {waiver.key: waiver for waiver in waivers}
    holding = {key: waiver for key, waiver in known.items() if today < waiver.expires}
    outcomes: dict[tuple[str, str], set[Outcome]] = {}
    for name, finding in verdicts:
        outcomes.setdefault((finding.rule, name), set()).add(finding.outcome)
    remarks = (
        _remark(waiver, holding, outcomes.get(waiver.key, set()), elsewhere)
        for waiver in known.values()
    )
    return Waived(
        verdicts=tuple(_waived(holding, name, finding) for name, finding in verdicts),
        remarks=tuple(remark for remark in remarks if remark is not None),
    )


def _waived(
    holding: Mapping[tuple[str, str], Waiver], name: str, finding: Finding
) -> tuple[Finding, Waiver | None]:
    waiver = holding.get((finding.rule, name))
    if waiver is None or finding.outcome is not Outcome.FAILED:
        return finding, None
    return replace(finding, outcome=Outcome.WAIVED), waiver


def _remark(
    waiver: Waiver,
    holding: Mapping[tuple[str, str], Waiver],
    outcomes: set[Outcome],
    elsewhere: Container[str],
) -> Remark | None:
    what = f"{waiver.rule} for {waiver.object}"
    if waiver.key not in holding:
        return _finding(
            waiver,
            f"the waiver of {what} has expired",
            str(waiver),
            "a waiver that still holds, or none",
            "correct what it waived and remove it, or have it approved again with a later date",
        )
    if outcomes & {Outcome.FAILED, Outcome.NOT_EVALUATED}:
        return None
    if not outcomes and waiver.rule in elsewhere:
        return None
    ended = " and ".join(sorted(outcome.replace("_", " ") for outcome in outcomes))
    return _finding(
        waiver,
        f"nothing needs the waiver of {what}",
        f"the rule ends as {ended}" if ended else "no such rule was judged for such an object",
        "a waiver only for what fails",
        "remove the waiver, or correct its rule and object: both are compared letter by letter",
    )


def _finding(waiver: Waiver, message: str, found: str, expected: str, step: str) -> Remark:
    return Remark(
        finding=Finding(
            rule=RULE,
            clause="",
            level="must",
            refuses=False,
            outcome=Outcome.FAILED,
            message=message,
            found=found,
            expected=expected,
            next_step=step,
        ),
        name=f"{waiver.rule} for {waiver.object}",
        place=waiver.place,
    )


def _refused(place: Place, message: str, found: str, expected: str) -> PkiError:
    return PkiError(
        f"the waivers cannot be used: {message}",
        rule=RULE,
        found=found,
        expected=expected,
        where=str(place),
        next_step="correct the file; nothing is waived with a broken one",
    )
