# SPDX-License-Identifier: GPL-3.0-or-later
"""What a certificate's entry asks for, as facts; and the stop when the policy refuses it.

Pure. The same rules report (``pki.check``) and refuse: a run that would change something ends
here, before it begins, with one error for each entry and rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from . import days, inventory
from .errors import PkiError
from .inventory import Certificate, Declared
from .policy import Finding, Policy, refused

Facts = dict[str, Any]

KIND = "declaration"
#: What an inventory says of a certificate, and facts repeat under the same name.
_ENTRY = ("organisation", "environment", "domain", "purposes", "owner")
_READ = re.compile(rf"\b{KIND}\.({'|'.join(_ENTRY)})\b")


def facts(entry: Sequence[Certificate], twins: Sequence[str], policy: Policy, today: date) -> Facts:
    """The facts of one entry, as ``policies/facts/declaration.json`` describes them.

    ``entry`` are the certificates it stands for, which differ in their hosts alone; ``twins``
    what :func:`earlier_twins` says of it.
    """
    certificate = entry[0]
    organisation = certificate.organisation
    environment = policy.environments.get(certificate.environment)
    return {
        "name": certificate.entry,
        "organisation": organisation.key,
        "party": _party(policy, organisation.party),
        "purposes": sorted(certificate.purposes),
        "environment": certificate.environment,
        "environment_class": certificate.environment_class,
        "domain": certificate.domain,
        "common_name": certificate.common_name,
        "prefix": environment.cn_prefix if environment else "",
        "prefixes": sorted({one.cn_prefix for one in policy.environments.values()} - {""}),
        "owner": _owner(certificate, today),
        "vetted": {"date": organisation.vetted, "age_days": days.since(organisation.vetted, today)},
        "store": certificate.store,
        "delivery": certificate.delivery,
        "hosts": certificate.group or certificate.hosts,
        "earlier_twins": list(twins),
    }


def refuse(declared: Declared, policies: Mapping[str, Policy], today: date) -> None:
    """Stop when a policy refuses an entry.

    Raises:
        PkiError: the rule's id, what was found and expected, and the entry's place; several
            as one :class:`~.inventory.InventoryError`.
    """
    inventory.raise_all(list(_refusals(declared, policies, today)))


def _refusals(
    declared: Declared, policies: Mapping[str, Policy], today: date
) -> Iterator[PkiError]:
    twins = earlier_twins(declared)
    for index, (name, entry) in enumerate(declared.entries.items()):
        policy = policies[entry[0].policy]
        if not policy.of_kind(KIND):
            continue
        found = facts(entry, twins.get(name, ()), policy, today)
        for finding in refused(policy.judge(KIND, found)):
            yield _error(name, index, finding, policy)


def _error(name: str, index: int, finding: Finding, policy: Policy) -> PkiError:
    place = inventory.certificate_place(index, name)
    return PkiError(
        f"{name}: {finding.message}",
        rule=finding.rule,
        found=finding.found,
        expected=finding.expected,
        where=f"group_vars/all/{place}{_field(finding, policy)}",
        next_step=finding.next_step,
    )


def _field(finding: Finding, policy: Policy) -> str:
    """The key to correct: the first of the entry's own values that the requirement reads."""
    for rule in policy.of_kind(KIND):
        read = _READ.search(rule.require.source) if rule.id == finding.rule else None
        if read:
            return f".{read.group(1)}"
    return ""


def _party(policy: Policy, name: str) -> Facts:
    """What the document's table of parties says of the organisation's party."""
    party = policy.parties.get(name)
    return {
        "name": name,
        "title": party.title if party else name,
        "purposes": sorted(party.purposes) if party else [],
        "dual": party.dual if party else False,
    }


def _owner(certificate: Certificate, today: date) -> Facts:
    owner = certificate.owner
    accepted = owner.accepted if owner else ""
    return {
        "name": owner.name if owner else "",
        "accepted": accepted,
        "age_days": days.since(accepted, today),
    }


def earlier_twins(declared: Declared) -> dict[str, list[str]]:
    """By entry, the ones before it that ask for what it asks for; the first of them has none.

    The same are organisation, policy, class and common name, who signs with it, a group or host,
    and a purpose.
    """
    twins: dict[str, list[str]] = {}
    seen: dict[tuple[str, ...], list[Sequence[Certificate]]] = {}
    for name, entry in declared.entries.items():
        one = entry[0]
        holder = (one.organisation.key, one.provider)
        asks = (*holder, one.policy, one.environment_class, one.common_name)
        before = seen.setdefault(asks, [])
        for other in before:
            if one.purposes & other[0].purposes and _places(entry) & _places(other):
                twins.setdefault(name, []).append(other[0].entry)
        before.append(entry)
    return twins


def _places(entry: Sequence[Certificate]) -> set[str]:
    """The groups and hosts that an entry names or stands for."""
    return {place for one in entry for place in (one.hosts, one.group) if place}


def quotas(declared: Declared) -> list[str]:
    """How much of its organisation's quota an entry with a certificate for each host takes.

    One sentence an entry, and none where the inventory records no quota (DIP 6.1.2): whoever
    adds a host to a group asks for a certificate without touching certificates.yml.
    """
    return [
        f"{name}: one certificate for each of {len(entry)} hosts of {entry[0].group}, "
        f"of the {entry[0].organisation.quota} that {entry[0].organisation.key} may have"
        for name, entry in declared.entries.items()
        if entry[0].host and entry[0].organisation.quota is not None
    ]
