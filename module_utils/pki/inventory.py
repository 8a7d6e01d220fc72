# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory declares, read strictly: a typo is an error, never a default.

Pure. Every problem of every entry is collected and raised as one PkiError INVENTORY, so
that a person corrects a file once and not once per run. File names are the project's
law: ``group_vars/all/{organisations,certificates,trust}.yml``. Whether the document allows what
an entry asks for is the policy's to say: see :mod:`.declarations`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .errors import PkiError
from .inventory_certificates import Certificate as Certificate
from .inventory_certificates import certificate as read_certificate
from .inventory_certificates import certificate_place as certificate_place
from .inventory_certificates import of_hosts
from .inventory_fields import PLACEHOLDER as PLACEHOLDER
from .inventory_fields import InventoryError as InventoryError
from .inventory_fields import entries, error, unfilled
from .inventory_fields import raise_all as raise_all
from .inventory_organisations import Organisation as Organisation
from .inventory_organisations import Owner as Owner
from .inventory_organisations import Person as Person
from .inventory_organisations import employers, no_roster
from .inventory_organisations import organisation as read_organisation
from .inventory_trust import CaFile as CaFile
from .inventory_trust import TrustSet as TrustSet
from .inventory_trust import one_each
from .inventory_trust import trust_set as read_trust_set
from .policy import Policy

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Declared:
    """The whole inventory, by name.

    ``entries`` are the certificates of each declared entry, in their order: one, or one a host.
    Gateways, releases and directories on hosts go by an entry's name.
    """

    organisations: Mapping[str, Organisation]
    certificates: Mapping[str, Certificate]
    trust: Mapping[str, TrustSet]
    entries: Mapping[str, tuple[Certificate, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[str, list[Certificate]] = {}
        for certificate in self.certificates.values():
            found.setdefault(certificate.entry, []).append(certificate)
        object.__setattr__(self, "entries", {entry: tuple(own) for entry, own in found.items()})

    def of_host(self, entry: str, host: str) -> Certificate | None:
        """The certificate of an entry that a host has: its own, or the one that all share."""
        return self.certificates.get(f"{entry}/{host}") or self.certificates.get(entry)

    def like(self, name: str) -> Certificate:
        """A certificate by its name or its entry's, for what its hosts have in common.

        Policy, class, trust and owner are the entry's; KeyError when nothing is declared so.
        """
        return self.certificates.get(name) or self.entries[name][0]


def policy_names(certificates: object) -> set[str]:
    """The policies that raw certificate entries name, for whoever loads the files."""
    entries = certificates if isinstance(certificates, list) else []
    return {str(e["policy"]) for e in entries if isinstance(e, Mapping) and "policy" in e}


def load(
    *,
    organisations: object,
    certificates: object,
    trust: object,
    policies: Mapping[str, Policy],
    groups: Mapping[str, Iterable[str]] | None = None,
) -> Declared:
    """The declared inventory; PkiError INVENTORY with one block per broken entry.

    ``groups`` are the hosts of each group, for entries with ``per_host``.
    """
    problems = [
        *unfilled(organisations, "organisations.yml: organisations"),
        *unfilled(certificates, "certificates.yml: certificates"),
        *unfilled(trust, "trust.yml: trust"),
    ]
    raise_all(problems)
    organisation_map = entries(organisations, "organisations.yml", "organisations", problems)
    known_organisations: dict[str, Organisation] = {}
    for key, raw in organisation_map.items():
        organisation = _try(problems, read_organisation, key, raw, policies)
        if organisation is not None:
            known_organisations[key] = organisation
    problems += employers(known_organisations) if not problems else []
    known_trust: dict[str, TrustSet] = {}
    for key, raw in entries(trust, "trust.yml", "trust", problems).items():
        trust_set = _try(problems, read_trust_set, key, raw)
        if trust_set is not None:
            known_trust[key] = trust_set
    one_each(known_trust.values(), problems)
    raise_all(problems)  # certificates refer to both maps: their own errors would only repeat these
    known_certificates: dict[str, Certificate] = {}
    names_taken: set[str] = set()
    for index, raw in enumerate(_items(certificates, "certificates.yml", problems)):
        entry = _try(
            problems, read_certificate, index, raw, known_organisations, known_trust, policies
        )
        if entry is None:
            continue
        if entry.name in names_taken:
            where = f"{certificate_place(index, entry.name)}.name"
            wanted = "a name of its own"
            problems.append(error(where, "two certificates have this name", entry.name, wanted))
        names_taken.add(entry.name)
        if not entry.organisation.roster:
            problems.append(no_roster(entry.organisation, certificate_place(index, entry.name)))
        for certificate in _try(problems, of_hosts, index, raw, entry, groups) or ():
            known_certificates[certificate.name] = certificate
    raise_all(problems)
    return Declared(known_organisations, known_certificates, known_trust)


def require_hosts(wanted: Iterable[tuple[str, str]], known: Iterable[str]) -> None:
    """Refuse a ``hosts`` that is neither group nor host: nothing would ever be deployed there.

    ``wanted``: place in the inventory and what stands there; ``known``: every group and host.
    """
    names_known = {str(name) for name in known}
    problems = []
    for where, name in wanted:
        if name in names_known:
            continue
        close = difflib.get_close_matches(name, names_known, 1)
        hint = f"did you mean `{close[0]}`?" if close else "add the group to hosts.yml"
        expected = ", ".join(sorted(names_known)[:20])
        problems.append(error(where, "there is no such group or host", name, expected, hint))
    raise_all(problems)


def _try(problems: list[PkiError], build: Callable[..., _T], *arguments: object) -> _T | None:
    try:
        return build(*arguments)
    except PkiError as exc:
        problems.append(exc)
        return None


def _items(raw: object, file: str, problems: list[PkiError]) -> list[Any]:
    if isinstance(raw, list):
        return raw
    problems.append(error(file, "certificates is not a list", type(raw).__name__, "a list"))
    return []
