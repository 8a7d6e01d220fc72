# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run prints and what a machine reads: the table, the refusals, the status document."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from . import public_state
from .errors import render, shown
from .plan import Action, CertificatePlan
from .public_state import iso
from .windows import Timing

STATUS_SCHEMA = 1
COLUMNS = ("certificate", "state", "common name", "serial", "days left", "next action")
QUOTA_COLUMNS = ("organisation", "quota", "issued", "revoked", "asked for", "left")
GATEWAY_COLUMNS = ("gateway", "listener", "direction", "product", "CRLs at most", "beside them")
_COUNTED = ("quota", "issued", "revoked", "pending", "left")
SERIAL_SHOWN = 16


def table(document: Mapping[str, Any]) -> str:
    """One aligned line a certificate: name, state, CN, serial, days left, next action.

    ``document`` is a status document, so that a table can be printed again without a run.
    """
    rows: list[tuple[str, ...]] = [COLUMNS]
    for entry in document["certificates"]:
        rows += [_row(entry), *_retired(entry)]
    return aligned(rows)


def quota_table(quotas: Iterable[Mapping[str, Any]]) -> str:
    """One line an organisation: what the portal allows, what counts, and what is left.

    Empty without organisations. A dash is for what the inventory does not say.
    """
    rows = [
        (
            shown(one["organisation"]),
            *("-" if one[name] is None else str(one[name]) for name in _COUNTED),
        )
        for one in quotas
    ]
    return aligned([QUOTA_COLUMNS, *rows]) if rows else ""


def gateway_table(budget: Iterable[Mapping[str, Any]]) -> str:
    """One line a listener: how old its CRLs may get, and what else delays a revocation.

    Below it, what products do in another way than others, each sentence once. Empty without
    listeners. ``budget`` is what :mod:`.gateway.budget` computed.
    """
    told = list(budget)
    rows = [
        (
            shown(one["gateway"]),
            shown(one["listener"]),
            one["direction"],
            one["product"],
            f"{duration(one['crl_age_seconds'])} old",
            ", ".join(
                f"{bound['bound']} {duration(bound['seconds'])}"
                for bound in one["bounds"]
                if bound["seconds"]
            ),
        )
        for one in told
    ]
    notes = dict.fromkeys(note for one in told for note in one["notes"])
    return "\n".join([aligned([GATEWAY_COLUMNS, *rows]), *notes]) if rows else ""


def duration(seconds: int) -> str:
    """Seconds as a person reads them: ``22 h 59 min``, at most two units, rounded down."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    parts = []
    for name, size in units:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of as many cells each, in columns as wide as a terminal needs them."""
    widths = [max(columns(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(_line(row, widths) for row in rows)


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    wait = f"wait for {entry['waits_for']}: " if entry["waits_for"] else ""
    refused = entry["refused"]
    return (
        entry["name"],
        "refused" if refused else entry["state"],
        entry["common_name"],
        short(entry["serial"]) if entry["serial"] else "-",
        "-" if entry["days_left"] is None else str(entry["days_left"]),
        "see the refusal" if refused else f"{wait}{entry['next_action']}",
    )


def _retired(entry: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row for each retired version that still has a key; destroyed ones are history."""
    return [
        (f"{entry['name']} v{number}", "retired", "", "-", "-", f"its key is {key}")
        for number, key in entry.get("retired", {}).items()
        if key != "destroyed"
    ]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=False)]
    return "  ".join([*cells, row[-1]]).rstrip()


def columns(text: str) -> int:
    """Columns of a terminal that a text takes: two for wide characters, none for accents."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(character)
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


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
    """An action as JSON types, the only thing roles hand from module to module.

    Of a deployment that waits it has ``held_why`` and ``held_until``, of one that should wait
    and does not ``early_why``.
    """
    return {
        "kind": item.kind.value,
        "certificate": item.certificate,
        "version": item.version,
        "reason": item.reason.value,
        "hosts": item.hosts,
        **{key: value for key, value in _timing(item.timing).items() if value},
    }


def _timing(timing: Timing) -> dict[str, Any]:
    until = timing.held_until
    return {
        "held_until": iso(until) if until else None,
        "held_why": timing.held_why,
        "early_why": timing.early_why,
    }


def status(
    plans: Iterable[CertificatePlan],
    now: datetime,
    refused: Iterable[str] = (),
    budget: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The status document for machines; fields are only ever added within a schema version.

    ``budget`` says of each listener how old its CRLs may get; it becomes ``gateways``.
    """
    names = set(refused)
    return {
        "schema": STATUS_SCHEMA,
        "generated_at": iso(now),
        "certificates": [{**_status(plan), "refused": plan.name in names} for plan in plans],
        "gateways": [dict(one) for one in budget],
    }


def write(path: str, document: Mapping[str, Any]) -> None:
    """The status document as a file, replaced in one step."""
    target = Path(path)
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    public_state.write(target.parent, {target.name: text.encode()})


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
        "retired": {str(number): key for number, key in plan.retired.items()},
        "served": dict(plan.served),
        **_timing(plan.timing),
        "actions": [action(item) for item in plan.actions],
    }
