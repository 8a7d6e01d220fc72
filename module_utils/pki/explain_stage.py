# SPDX-License-Identifier: GPL-3.0-or-later
"""Gathers what an explanation of a certificate is made of: files beside the inventory, the cached
CRLs, the trail, and what the plan and the hosts told in this run. Asks no server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import (
    explaining,
    gather,
    host_status,
    key_place,
    public_state,
    session,
    story,
    story_files,
)
from .errors import PkiError, shown
from .explaining import Known, KnownVersion
from .inventory import Certificate
from .lifecycle import Version

RULE = "EXPLAIN"
LINES = 12


@dataclass(frozen=True, slots=True)
class Told:
    """What this run asked others.

    ``status`` is the status document of the plan, empty when none could be made, and ``no_plan``
    why. ``hosts`` are the results of ``pki_host_status`` by host, ``gateways`` the inventory's
    gateways, ``budget`` what the plan says of their listeners.
    """

    status: Mapping[str, Any]
    no_plan: str
    hosts: Mapping[str, Any]
    gateways: Sequence[Mapping[str, Any]]
    budget: Sequence[Mapping[str, Any]]
    groups: Mapping[str, Sequence[str]]


def explain(inputs: session.Inputs, name: str, told: Told, trail_dir: Path) -> list[str]:
    """The explanation of a certificate, or of every certificate of an entry with ``per_host``.

    Raises:
        PkiError: EXPLAIN for a name that nothing is declared as.
    """
    mine = [
        one
        for one in inputs.declared.certificates.values()
        if name and name in (one.name, one.entry)
    ]
    if not mine:
        raise PkiError(
            "no such certificate is declared",
            rule=RULE,
            found=name or "no name",
            expected=", ".join(inputs.declared.certificates) or "a declared certificate",
            where="option certificate",
            next_step="correct the name; what became of one that is not declared any more is told "
            "by playbooks/history.yml",
        )
    texts = [explaining.explain(_known(inputs, one, told, trail_dir)) for one in mine]
    return [line for text in texts for line in ([*text, ""] if text is not texts[-1] else text)]


def _known(inputs: session.Inputs, certificate: Certificate, told: Told, trail_dir: Path) -> Known:
    entries = {str(one["name"]): one for one in told.status.get("certificates", ())}
    status = entries.get(certificate.name, {})
    versions = _versions(inputs, certificate)
    hosts = _hosts(certificate, told)
    return Known(
        certificate=certificate,
        organisation=certificate.organisation.key,
        versions=versions,
        status=status,
        no_plan=shown(" ".join((told.no_plan or "nobody planned").split())),
        ask_from=_ask_from(inputs, certificate, versions, status),
        hosts=host_status.document(hosts, inputs.now),
        listeners=_listeners(certificate, told),
        crls=_crls(inputs, certificate.trust),
        story=_story(inputs, certificate.name, trail_dir),
        now=inputs.now,
    )


def _versions(inputs: session.Inputs, certificate: Certificate) -> tuple[KnownVersion, ...]:
    found = []
    for files in public_state.scan(inputs.certificates_dir, certificate.name):
        version = gather.marked(public_state.observed_version(files), inputs.compromised)
        place = str(key_place.of_version(certificate, files))
        found.append(KnownVersion(version, place, tuple(name for name, _ in files.replies)))
    return tuple(found)


def _ask_from(
    inputs: session.Inputs,
    certificate: Certificate,
    versions: Sequence[KnownVersion],
    status: Mapping[str, Any],
) -> Any:
    """When the one after the live one is asked for; None where one is being asked for already."""
    accepted = [one.version for one in versions if one.version.accepted and not _ended(one.version)]
    if not accepted or status.get("pending_version"):
        return None
    last = accepted[-1].accepted
    if last is None:
        return None
    usual = gather.limits(inputs, certificate.name).renewal_window
    return certificate.renewal.request_point(last.not_before, last.not_after, usual)


def _ended(version: Version) -> bool:
    return bool(version.retired or version.compromised or version.outcome)


def _hosts(certificate: Certificate, told: Told) -> dict[str, Any]:
    """What the hosts told that use it: those of its group, or the one it is of."""
    names = told.groups.get(certificate.hosts, [certificate.hosts])
    wanted = [certificate.host] if certificate.host else list(names)
    return {host: told.hosts.get(host, {}) for host in wanted if host in told.hosts or told.hosts}


def _listeners(certificate: Certificate, told: Told) -> list[dict[str, Any]]:
    budget = {(str(one["gateway"]), str(one["listener"])): one for one in told.budget}
    found = []
    for gateway in told.gateways:
        for direction in ("ingress", "egress"):
            for one in gateway.get(direction) or ():
                if one.get("certificate") != certificate.entry:
                    continue
                key = (str(gateway.get("name")), str(one.get("name")))
                found.append(
                    {
                        "gateway": key[0],
                        "listener": key[1],
                        "hosts": str(gateway.get("hosts")),
                        "direction": direction,
                        "listens": str(one.get("listen")),
                        "product": str(gateway.get("product")),
                        "crl_age_seconds": budget.get(key, {}).get("crl_age_seconds"),
                        "notes": list(budget.get(key, {}).get("notes") or ()),
                    }
                )
    return found


def _crls(inputs: session.Inputs, trust: str) -> list[str]:
    """How old the controller's CRLs are, and which CA has none."""
    crls = session.cached_crls(inputs, [trust])[trust]
    words = {
        "trust": trust,
        "fetched_at": crls.fetched_at,
        "age_seconds": (inputs.now - crls.fetched_at).total_seconds() if crls.fetched_at else None,
        "next_update": crls.next_update.isoformat() if crls.next_update else None,
        "expired": bool(crls.next_update and crls.next_update < inputs.now),
        **host_status.watched({}),
    }
    return [
        f"on the controller: {host_status.crl_words(words)}",
        *(f"{one.message}; {one.next_step}" for one in crls.problems),
    ]


def _story(inputs: session.Inputs, name: str, trail_dir: Path) -> list[str]:
    try:
        found = story_files.tell(
            name,
            trail_dir=trail_dir,
            certificates_dir=inputs.certificates_dir,
            base_dir=inputs.base_dir,
        )
    except PkiError as error:
        return [shown(error.message)]
    last = story.ordered(found.told)[-LINES:]
    faults = [f"THE TRAIL WAS CHANGED: {one}" for one in found.faults]
    return [*faults, *story.lines(last)]
