# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run prints and what a machine reads: the table, the refusals, the status document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from .errors import render
from .plan import Action, CertificatePlan
from .public_state import iso

STATUS_SCHEMA = 1
COLUMNS = ("certificate", "state", "common name", "serial", "days left", "next action")
SERIAL_SHOWN = 16


def table(plans: Sequence[CertificatePlan], refused: Iterable[str] = ()) -> str:
    """One aligned line a certificate: name, state, CN, serial, days left, next action."""
    names = set(refused)
    rows = [COLUMNS, *(_row(plan, plan.name in names) for plan in plans)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS) - 1)]
    return "\n".join(_line(row, widths) for row in rows)


def _row(plan: CertificatePlan, refused: bool) -> tuple[str, ...]:
    wait = f"wait for {plan.waits_for}: " if plan.waits_for else ""
    return (
        plan.name,
        "refused" if refused else plan.state.value,
        plan.common_name,
        short(plan.serial) if plan.serial else "-",
        "-" if plan.days_left is None else str(plan.days_left),
        "see the refusal above" if refused else f"{wait}{plan.next_action}",
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
    return "  ".join([*cells, row[-1]]).rstrip()


def short(serial: str) -> str:
    """A serial as a person compares it: whole when short, else both ends."""
    if len(serial) <= SERIAL_SHOWN:
        return serial
    return f"{serial[:8]}…{serial[-6:]}"


def sentences(plans: Iterable[CertificatePlan]) -> list[str]:
    """What the plan found and will do, one sentence (or a few) a certificate."""
    lines = []
    for plan in plans:
        lines.append(f"{plan.name}: {plan.message}; {plan.next_action}")
        lines += [f"{plan.name}: differs in {difference}" for difference in plan.difference]
    return lines


def refusal(error: Mapping[str, str]) -> str:
    """A refusal as design section 7 prints it."""
    return "refused  " + render(error)


def action(item: Action) -> dict[str, Any]:
    """An action as JSON types, the only thing roles hand from module to module."""
    return {
        "kind": item.kind.value,
        "certificate": item.certificate,
        "version": item.version,
        "reason": item.reason.value,
        "hosts": item.hosts,
    }


def status(plans: Iterable[CertificatePlan], now: datetime) -> dict[str, Any]:
    """The status document for machines; fields are only ever added within a schema version."""
    return {
        "schema": STATUS_SCHEMA,
        "generated_at": iso(now),
        "certificates": [_status(plan) for plan in plans],
    }


def _status(plan: CertificatePlan) -> dict[str, Any]:
    return {
        "name": plan.name,
        "state": plan.state.value,
        "reason": plan.reason.value,
        "message": plan.message,
        "since": iso(plan.since) if plan.since else None,
        "waits_for": plan.waits_for,
        "needs_person": plan.needs_person,
        "next_action": plan.next_action,
        "common_name": plan.common_name,
        "hosts": plan.hosts,
        "live_version": plan.live,
        "pending_version": plan.pending,
        "serial": plan.serial,
        "not_after": iso(plan.not_after) if plan.not_after else None,
        "days_left": plan.days_left,
        "difference": list(plan.difference),
        "versions": {str(number): state.value for number, state in plan.versions.items()},
        "served": dict(plan.served),
        "actions": [action(item) for item in plan.actions],
    }
