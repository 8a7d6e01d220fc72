# SPDX-License-Identifier: GPL-3.0-or-later
"""What a certificate's entry asks for, as facts; and the stop when the policy refuses it.

Pure. The same rules report (``pki.check``) and refuse: a run that would change something ends
here, before it begins, with one error for each entry and rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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


def facts(certificate: Certificate, declared: Declared, policy: Policy, today: date) -> Facts:
    """The facts of one entry, as ``policies/facts/declaration.json`` describes them."""
    organisation = certificate.organisation
    environment = policy.environments.get(certificate.environment)
    return {
        "name": certificate.name,
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
        "hosts": certificate.hosts,
        "earlier_twins": [other.name for other in _earlier(certificate, declared)],
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
    for index, certificate in enumerate(declared.certificates.values()):
        policy = policies[certificate.policy]
        if not policy.of_kind(KIND):
            continue
        for finding in refused(policy.judge(KIND, facts(certificate, declared, policy, today))):
            yield _error(certificate, index, finding, policy)


def _error(certificate: Certificate, index: int, finding: Finding, policy: Policy) -> PkiError:
    place = inventory.certificate_place(index, certificate.name)
    return PkiError(
        f"{certificate.name}: {finding.message}",
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


def _earlier(certificate: Certificate, declared: Declared) -> Iterator[Certificate]:
    """Entries before this one that ask for what it asks for; the first of them is no twin."""
    for other in declared.certificates.values():
        if other.name == certificate.name:
            return
        if (
            other.organisation.key == certificate.organisation.key
            and other.policy == certificate.policy
            and other.environment_class == certificate.environment_class
            and other.common_name == certificate.common_name
            and other.hosts == certificate.hosts
            and other.purposes & certificate.purposes
        ):
            yield other
