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
_ENTRY = ("organisation", "environment", "domain", "purposes", "owner", "provider")
_READ = re.compile(rf"\b{KIND}\.({'|'.join(_ENTRY)})\b")


class Entries:
    """What the facts of an entry say of the other entries and of the organisations."""

    def __init__(self, declared: Declared) -> None:
        self._twins = earlier_twins(declared)
        self._for_provider = earlier_for_provider(declared)
        self._organisations = declared.organisations

    def facts(self, entry: Sequence[Certificate], policy: Policy, today: date) -> Facts:
        """The facts of one entry, as ``policies/facts/declaration.json`` describes them.

        ``entry`` are the certificates it stands for, which differ in their hosts alone.
        """
        name = entry[0].entry
        connecting = [
            one.key for one in self._organisations.values() if _connects(policy, one.party)
        ]
        return {
            **_own_facts(entry[0], policy, today),
            "provider": self._provider(entry[0], policy),
            "providers": connecting,
            "earlier_twins": list(self._twins.get(name, ())),
            "earlier_for_provider": list(self._for_provider.get(name, ())),
        }

    def _provider(self, certificate: Certificate, policy: Policy) -> Facts:
        provider = self._organisations.get(certificate.provider)
        return {
            "organisation": certificate.provider,
            "party": _party(policy, provider.party if provider else ""),
        }


def _own_facts(certificate: Certificate, policy: Policy, today: date) -> Facts:
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
        "registered": _day(organisation.registered, today),
        "vetted": _day(organisation.vetted, today),
        "domain_verified": _day(certificate.domain_verified, today),
        "store": certificate.store,
        "delivery": certificate.delivery,
        "hosts": certificate.group or certificate.hosts,
    }


def _day(day: str, today: date) -> Facts:
    return {"date": day, "age_days": days.since(day, today)}


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
    entries = Entries(declared)
    for index, (name, entry) in enumerate(declared.entries.items()):
        policy = policies[entry[0].policy]
        if not policy.of_kind(KIND):
            continue
        found = entries.facts(entry, policy, today)
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
        "connects_for_others": _connects(policy, name),
    }


def _connects(policy: Policy, party: str) -> bool:
    """Whether a party connects, and signs, for others; not for one the document does not know."""
    return party in policy.parties and policy.parties[party].connects_for_others


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


def earlier_for_provider(declared: Declared) -> dict[str, list[str]]:
    """By entry, those before it with which the same provider signs for the same organisation.

    Of the same policy and class of environments. The document wants a certificate of its own for
    each provider; a second one for the same is a mistake, or a provider that was not corrected.
    """
    found: dict[str, list[str]] = {}
    seen: dict[tuple[str, ...], list[str]] = {}
    for name, (one, *_) in declared.entries.items():
        if not one.provider:
            continue
        key = (one.organisation.key, one.provider, one.policy, one.environment_class)
        before = seen.setdefault(key, [])
        if before:
            found[name] = list(before)
        before.append(name)
    return found


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
