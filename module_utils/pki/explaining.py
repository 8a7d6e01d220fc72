# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that is known of one certificate, and what happens next and why. Pure.

Made from what the plan says, what is committed, what hosts told, and the story's last lines.
Whatever could not be asked is named in its place, so that the rest is still told at 2 a.m.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import commands, host_status
from .errors import shown
from .inventory import Certificate
from .lifecycle import Version
from .report import aligned, short

Section = tuple[str, list[str]]


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """One version as committed: ``place`` is where its key is, ``replies`` the reply's files."""

    version: Version
    place: str
    replies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """All there is to tell of one certificate.

    ``status`` is its entry of the status document, empty when no plan could be made; then
    ``no_plan`` says why. ``ask_from`` is when the next one is asked for. ``hosts`` is
    :func:`host_status.document`, of the hosts that use it. ``listeners`` are those of the
    inventory's gateways with what the budget says of each. ``crls`` are the controller's.
    """

    certificate: Certificate
    organisation: str
    versions: tuple[KnownVersion, ...]
    status: Mapping[str, Any]
    no_plan: str
    ask_from: datetime | None
    hosts: Mapping[str, Any]
    listeners: Sequence[Mapping[str, Any]]
    crls: Sequence[str]
    story: Sequence[str]
    now: datetime
    findings: Sequence[str] = field(default=())


def explain(known: Known) -> list[str]:
    """The whole explanation, line by line; it ends in sentences that begin with ``next:``."""
    sections: Iterable[Section] = (
        ("declared", _declared(known)),
        ("versions", _versions(known)),
        ("state", _state(known)),
        ("hosts", _hosts(known)),
        ("listeners", _listeners(known)),
        ("CRLs", list(known.crls)),
        ("lately", list(known.story)),
    )
    lines = [known.certificate.name]
    for title, told in sections:
        lines += [title, *(f"  {line}" for line in told or ["nothing"])]
    return lines + [f"next: {one}" for one in next_steps(known)]


def _declared(known: Known) -> list[str]:
    one = known.certificate
    names = f", {', '.join(one.san)}" if one.san else ""
    renewal = one.renewal
    before = "the policy's days before its end"
    if renewal.request_days is not None:
        before = f"{renewal.request_days} days before its end"
    elif renewal.request_percent is not None:
        before = f"{renewal.request_percent} % of its life before its end"
    limits = [f"{len(renewal.windows)} deployment windows"] if renewal.windows else []
    limits += [f"{len(renewal.freezes)} freezes"] if renewal.freezes else []
    return [
        f"policy {one.policy}, environment {one.environment} (class {one.environment_class}), "
        f"trust {one.trust}",
        f"organisation {known.organisation}",
        f"name {one.common_name}{names}; for {', '.join(sorted(one.purposes))}",
        f"key in {one.store}{f', delivery {one.delivery}' if one.delivery else ''}",
        f"used by {one.hosts}",
        f"a new one is asked for {before}; replaced {' and '.join(limits) or 'at any time'}",
    ]


def _versions(known: Known) -> list[str]:
    states = known.status.get("versions", {})
    rows = [
        (
            f"v{one.version.number}",
            str(states.get(str(one.version.number), "")) or _committed(one.version),
            "; ".join(_of_version(one, known)),
        )
        for one in known.versions
    ]
    return aligned(rows).splitlines() if rows else []


def _committed(version: Version) -> str:
    if version.outcome:
        return version.outcome
    if version.accepted:
        return "accepted"
    return "requested" if version.requested else "asked for"


def _of_version(one: KnownVersion, known: Known) -> list[str]:
    version, told = one.version, []
    if version.asked:
        told.append(f"asked for by a person on {version.asked.at:%Y-%m-%d}: {version.asked.reason}")
    if version.requested:
        told.append(f"key of {version.requested.created:%Y-%m-%d %H:%M}Z at {one.place}")
    if one.replies and not version.accepted:
        told.append(f"reply {', '.join(one.replies)} not accepted yet")
    if version.accepted:
        ends = version.accepted.not_after
        days = (ends - known.now).days
        when = f"{days} days left" if ends > known.now else "EXPIRED"
        told.append(
            f"serial {short(version.accepted.serial)}, accepted "
            f"{version.accepted.accepted_at:%Y-%m-%d}, valid until {ends:%Y-%m-%d} ({when})"
        )
    if version.outcome and version.outcome_at:
        told.append(f"{version.outcome} on {version.outcome_at:%Y-%m-%d}")
    if version.retired:
        told.append(f"retired on {version.retired.at:%Y-%m-%d}, its key {version.retired.key}")
    if version.compromised:
        told.append(f"ITS KEY IS COMPROMISED ({version.compromised})")
    if version.revocation:
        done = "REVOKED" if version.revocation.revoked else "revocation prepared"
        told.append(f"{done} ({version.revocation.cause})")
    return [shown(text) for text in told]


def _state(known: Known) -> list[str]:
    status = known.status
    if not status:
        return [f"not planned: {known.no_plan}"]
    lines = [f"{status['state']} ({status['reason']}): {status['message']}"]
    if status.get("since"):
        lines.append(f"since {status['since']}")
    if status["waits_for"]:
        lines.append(f"waits for {status['waits_for']}")
    lines += [f"differs in {one}" for one in status["difference"]]
    if status.get("held_why"):
        lines.append(f"not deployed yet: {status['held_why']}")
    return [*lines, *known.findings]


def _hosts(known: Known) -> list[str]:
    rows = []
    for host, told in known.hosts.items():
        if not told["answers"]:
            rows.append((host, host_status.NO_ANSWER, told["why"], ""))
            continue
        mine = _mine(known, told)
        if mine is None:
            rows.append((host, "nothing delivered", "", ""))
            continue
        kept = ", ".join(one.partition("-")[0] for one in mine["kept"])
        rows.append(
            (
                host,
                f"{mine['release'] or 'nothing'} in service",
                f"kept: {kept or 'none'}",
                host_status.held_words(mine),
            )
        )
    return aligned(rows).splitlines() if rows else []


def _mine(known: Known, told: Mapping[str, Any]) -> Mapping[str, Any] | None:
    entry = known.certificate.entry
    return next((one for one in told["certificates"] if one["certificate"] == entry), None)


def _listeners(known: Known) -> list[str]:
    rows = []
    for one in known.listeners:
        age = one.get("crl_age_seconds")
        hours = f"CRLs may be {int(age) // 3600} h old" if age is not None else ""
        place = f"{one['gateway']}/{one['listener']} on {one['hosts']}"
        rows.append((place, f"{one['direction']} {one['listens']}", one["product"], hours))
    lines = aligned(rows).splitlines() if rows else []
    return lines + [
        f"{one['listener']}: {note}" for one in known.listeners for note in one["notes"]
    ]


# --- what happens next ----------------------------------------------------------------------------


def next_steps(known: Known) -> list[str]:
    """What happens next and who does it, the pressing first; never empty."""
    steps = []
    if known.status:
        wait = known.status["waits_for"]
        steps.append(f"{f'wait for {wait}: ' if wait else ''}{known.status['next_action']}")
    else:
        steps.append("bring back what is named under state, and ask again: then the plan is told")
    for host, told in known.hosts.items():
        steps += _of_host(known, host, told)
    if known.ask_from is not None and known.ask_from > known.now:
        steps.append(f"the nightly run asks for a new one from {known.ask_from:%Y-%m-%d} on")
    return list(dict.fromkeys(steps))


def _of_host(known: Known, host: str, told: Mapping[str, Any]) -> list[str]:
    entry = known.certificate.entry
    if not told["answers"]:
        return [f"{host} did not answer: bring it back, and run {commands.deploy()}"]
    steps = []
    mine = _mine(known, told)
    live = known.status.get("live_version")
    if mine and mine["held"]:
        steps.append(
            f"{host} keeps {mine['held']['release']} until it is released: "
            f"{commands.let_go(entry, host)}"
        )
    elif mine and live and mine["version"] != live and not known.status.get("held_why"):
        version = f"v{mine['version']}" if mine["version"] else "nothing"
        steps.append(f"{host} has {version} in service, not v{live}: {commands.deploy()}")
    link = f"/{entry}/current"
    for gateway in told["gateways"]:
        state = host_status.gateway_state(gateway)
        uses = any(one.endswith(link) for one in gateway["uses"])
        if uses and state not in host_status.CALM:
            steps.append(f"{gateway['gateway']} on {host}: {state}: {commands.deploy()}")
    return [*_of_crls(known, host, told), *steps]


def _of_crls(known: Known, host: str, told: Mapping[str, Any]) -> Iterable[str]:
    """What is wrong with the CRLs that its peers are checked with, the worst first."""
    trust, name = known.certificate.trust, known.certificate.name
    for one in told["crl_sets"]:
        if one["trust"] != trust:
            continue
        for revoked in one["revoked"]:
            if revoked["certificate"] in ("", name):
                yield (
                    f"{revoked['what']} is REVOKED, as {revoked['source']} says on {host}: "
                    f"{commands.renew(name)}"
                )
        if one["refuses"]:
            yield (
                f"{host} refuses {' and '.join(one['refuses'])} of {trust}, as its CRLs are too "
                f"old: open its way to them, or grant a grace: {commands.grace(trust, host)}"
            )
        elif one["alarm_percent"]:
            yield (
                f"{host} has used up {one['alarm_percent']} % of the age that CRLs of {trust} may "
                f"reach: {commands.refresh(host)}"
            )
