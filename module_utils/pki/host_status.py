# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts told of what they have in service, as a document and as tables. Pure.

What a host says is shown, never believed: nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from .errors import shown
from .report import aligned, short
from .rollback import held_by

RELEASES = ("host", "certificate", "in service", "serial", "days left", "kept", "held")
GATEWAYS = ("host", "gateway", "state", "listeners", "CRLs in service")
NO_ANSWER = "no answer"
RUNNING, STOPPED = "running", "stopped: out of service"
#: States of a gateway that ask for nothing.
CALM = (RUNNING, STOPPED)


def document(told: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Every host by name, as JSON types.

    Args:
        told: the result of ``pki_host_status`` by host; one without ``certificates`` did not
            answer, and ``msg`` says why where that is known.
        now: aware UTC; days and hours are counted from it.
    """
    return {str(host): _host(result, now) for host, result in sorted(told.items())}


def _host(raw: object, now: datetime) -> dict[str, Any]:
    result = raw if isinstance(raw, Mapping) else {}
    if not isinstance(result.get("certificates"), list):
        why = shown(" ".join(str(result.get("msg") or "it could not be reached").split()))
        return {"answers": False, "why": why, "certificates": [], "gateways": [], "crl_sets": []}
    return {
        "answers": True,
        "why": "",
        "certificates": [_certificate(one, now) for one in _maps(result["certificates"])],
        "gateways": [_gateway(one) for one in _maps(result.get("gateways"))],
        "crl_sets": [_crl_set(one, now) for one in _maps(result.get("crl_sets"))],
    }


def _certificate(raw: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    releases = _maps(raw.get("releases"))
    current = next((one for one in releases if one.get("id") == raw.get("current")), None)
    ends = _moment(current.get("not_after")) if current else None
    hold = raw.get("held")
    return {
        "certificate": shown(str(raw.get("certificate"))),
        "release": shown(str(raw.get("current") or "")),
        "version": current.get("version") if current else None,
        "serial": shown(str(current.get("serial") or "")) if current else "",
        "not_after": ends.isoformat() if ends else None,
        "days_left": (ends - now).days if ends else None,
        "kept": [shown(str(one.get("id"))) for one in releases if one is not current],
        "held": {
            name: shown(str(hold.get(name, ""))) for name in ("release", "by", "reason", "since")
        }
        if isinstance(hold, Mapping)
        else None,
    }


def _gateway(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "gateway": shown(str(raw.get("name"))),
        "product": shown(str(raw.get("product") or "")),
        "running": raw.get("running"),
        "as_recorded": bool(raw.get("as_recorded")),
        "interrupted": bool(raw.get("interrupted")),
        "problem": shown(str(raw.get("problem") or "")),
        "listeners": [
            {
                "name": shown(str(one.get("name"))),
                "kind": shown(str(one.get("kind"))),
                "listens": shown(f"{one.get('address')}:{one.get('port')}"),
            }
            for one in _maps(raw.get("listeners"))
        ],
        "out_of_service": _texts(raw.get("out_of_service")),
        "uses": _texts(raw.get("uses")),
    }


def _crl_set(raw: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    fetched, ends = _moment(raw.get("fetched_at")), _moment(raw.get("next_update"))
    return {
        "trust": shown(str(raw.get("trust"))),
        "set": shown(str(raw.get("target") or "").rpartition("/")[2]),
        "fetched_at": fetched.isoformat() if fetched else None,
        "age_seconds": int((now - fetched).total_seconds()) if fetched else None,
        "next_update": ends.isoformat() if ends else None,
        "expired": bool(ends and ends < now),
        **watched(raw),
    }


def watched(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What the host's own polls and its guard noted of a set.

    Of an empty ``raw``, which is that of the controller's own, nothing.
    """
    status, guard, grace = (_map(raw.get(name)) for name in ("refresh", "guard", "grace"))
    directions = _map(guard.get("directions"))
    alarm = guard.get("alarm_percent")
    return {
        "refuses": [
            name
            for name in ("ingress", "egress")
            if _map(directions.get(name)).get("in_force") == "refusal"
        ],
        "alarm_percent": alarm if isinstance(alarm, int) else 0,
        "clock_jumped": guard.get("clock") == "jumped",
        "grace": f"{shown(str(grace.get('by')))} until {shown(str(grace.get('until')))}: "
        f"{shown(str(grace.get('reason')))}"
        if grace
        else "",
        "poll": shown(str(status.get("outcome") or "")),
        "poll_why": shown(str(status.get("why") or "")),
        "revoked": [
            {name: shown(str(one.get(name) or "")) for name in ("what", "certificate", "source")}
            for one in _maps(status.get("revoked"))
        ],
    }


# --- tables -------------------------------------------------------------------------------------


def release_table(hosts: Mapping[str, Any]) -> str:
    """One line a host and certificate; a host that did not answer has one of its own."""
    rows: list[Sequence[str]] = []
    for host, told in hosts.items():
        if not told["answers"]:
            rows.append((host, NO_ANSWER, "-", "-", "-", "-", told["why"]))
        elif not told["certificates"]:
            rows.append((host, "-", "-", "-", "-", "-", "nothing was ever delivered"))
        rows += [_release_row(host, one) for one in told["certificates"]]
    return aligned([RELEASES, *rows]) if rows else ""


def _release_row(host: str, one: Mapping[str, Any]) -> Sequence[str]:
    return (
        host,
        one["certificate"],
        one["release"] or "nothing",
        short(one["serial"]) if one["serial"] else "-",
        "-" if one["days_left"] is None else str(one["days_left"]),
        ", ".join(name.partition("-")[0] for name in one["kept"]) or "-",
        held_words(one) or "-",
    )


def held_words(one: Mapping[str, Any]) -> str:
    """Who holds which release and why; empty when nobody does."""
    hold = one["held"]
    if not hold:
        return ""
    # A run that was killed before the switch leaves the intent.
    other = "" if hold["release"] == one["release"] else f"{hold['release']} is to come back; "
    return f"{other}{held_by(hold)}"


def gateway_table(hosts: Mapping[str, Any]) -> str:
    """One line a gateway: how it runs, where it listens, how old what it checks with is."""
    rows = [
        _gateway_row(host, one, told["crl_sets"])
        for host, told in hosts.items()
        for one in told["gateways"]
    ]
    return aligned([GATEWAYS, *rows]) if rows else ""


def _gateway_row(
    host: str, one: Mapping[str, Any], sets: Sequence[Mapping[str, Any]]
) -> Sequence[str]:
    listeners = [f"{entry['name']} {entry['listens']}" for entry in one["listeners"]]
    listeners += [f"{name} OUT OF SERVICE" for name in one["out_of_service"]]
    used = [entry for entry in sets if _uses(one, entry)]
    return (
        host,
        one["gateway"],
        gateway_state(one),
        ", ".join(listeners) or "-",
        ", ".join(map(crl_words, used)) or "-",
    )


def _uses(gateway: Mapping[str, Any], crl_set: Mapping[str, Any]) -> bool:
    """Whether one of its links is that of the set, or what is in force of it for a direction."""
    return any(
        str(link).endswith(f"/{crl_set['trust']}/{name}")
        for link in gateway["uses"]
        for name in ("current", "ingress", "egress")
    )


def gateway_state(one: Mapping[str, Any]) -> str:
    """How a gateway runs, in a few words; what is wrong in capitals."""
    if one["interrupted"]:
        return "A CHANGE WAS INTERRUPTED: run site.yml"
    if one["problem"]:
        return f"NOT KNOWN: {one['problem']}"
    if one["out_of_service"] and not one["listeners"]:
        return STOPPED if not one["running"] else "RUNS, AND IS OUT OF SERVICE"
    if not one["running"]:
        return "NOT RUNNING"
    return RUNNING if one["as_recorded"] else "RUNS, BUT NOT AS IT WAS LEFT"


def crl_words(one: Mapping[str, Any]) -> str:
    """A CRL set's age and end, and what its guard does about it; what is wrong in capitals."""
    return f"{one['trust']}: {', '.join([*_age_words(one), *_watch_words(one)])}"


def _age_words(one: Mapping[str, Any]) -> list[str]:
    if one["fetched_at"] is None:
        return ["nobody knows how old"]
    words = [f"{int(one['age_seconds']) // 3600} h old"]
    if one["expired"]:
        words.append("EXPIRED")
    elif one["next_update"]:
        words.append(f"until {one['next_update'][:16]}Z")
    return words


def _watch_words(one: Mapping[str, Any]) -> list[str]:
    words = [f"REVOKED: {known['what']}" for known in one["revoked"]]
    if one["refuses"]:
        words.append(f"TOO OLD: REFUSES {' AND '.join(one['refuses']).upper()}")
    elif one["alarm_percent"]:
        words.append(f"OVER {one['alarm_percent']} % OF ITS AGE")
    words += ["THE CLOCK JUMPED"] if one["clock_jumped"] else []
    words += [f"POLL FAILED: {one['poll_why']}"] if one["poll"] == "failed" else []
    return [*words, *([f"grace by {one['grace']}"] if one["grace"] else [])]


def _maps(raw: object) -> list[Mapping[str, Any]]:
    entries: Iterable[object] = raw if isinstance(raw, list) else ()
    return [one for one in entries if isinstance(one, Mapping)]


def _map(raw: object) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}


def _texts(raw: object) -> list[str]:
    entries: Iterable[object] = raw if isinstance(raw, list) else ()
    return [shown(str(one)) for one in entries]


def _moment(raw: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(raw or "").replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else None
