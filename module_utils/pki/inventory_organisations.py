# SPDX-License-Identifier: GPL-3.0-or-later
"""The organisations of an inventory and their people, read strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import PkiError
from .inventory_fields import choice, day, error, mapping, text, yes_or_no
from .policy import Policy

ROLES = ("certificate_admin", "user_administrator")

_DIP_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_QUOTA_MAX = 1_000_000
_LONGEST_KEY = 200
_ORGANISATION_FIELDS = (
    "party", "subject", "roster",
    "dip_ids", "registered", "vetted", "domain_verified", "quota", "owner", "dca_account",
)  # fmt: skip
_PERSON_FIELDS = ("name", "email", "role", "permanent", "left", "employer")


@dataclass(frozen=True, slots=True)
class Person:
    """A named human of an organisation's roster.

    ``permanent``: a permanent employee of the organisation; ``left``: the ISO date on which the
    person left, empty for who is still there; ``employer``: the key of the organisation that
    employs the person where that is another one (DIP 4.1.2, 5.4.2.3), else empty.
    """

    name: str
    email: str
    role: str
    permanent: bool = False
    left: str = ""
    employer: str = ""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who is responsible for what uses a certificate, and the ISO date of accepting it (5.6.2)."""

    name: str
    accepted: str


@dataclass(frozen=True, slots=True)
class Organisation:
    """A vetted organisation; ``subject`` holds O, L, ST and C exactly as vetted.

    ``roster`` is empty only where it holds no certificate in this inventory.

    ``registered`` (with the CA), ``vetted`` and ``domain_verified`` (of the domains of entries that
    say no day of their own) are ISO dates, empty when the inventory does not say; ``quota``
    is the number of certificates the portal allows, None when the inventory does not say;
    ``owner`` answers for the certificates whose entries name nobody; ``dca_certificate`` is the
    file of the certificate that authenticates the organisation to the DCA, empty for none.
    """

    key: str
    party: str
    subject: Mapping[str, str]
    roster: tuple[Person, ...]
    dip_ids: tuple[str, ...]
    registered: str = ""
    vetted: str = ""
    quota: int | None = None
    owner: Owner | None = None
    dca_certificate: str = ""
    domain_verified: str = ""

    @property
    def certificate_admins(self) -> tuple[Person, ...]:
        """Who may submit requests (Table 2); nobody is asked any more whose leaving is recorded."""
        return tuple(
            person
            for person in self.roster
            if person.role == "certificate_admin" and not person.left
        )


def organisation(key: str, raw: object, policies: Mapping[str, Policy]) -> Organisation:
    """One entry of organisations.yml; PkiError INVENTORY names the field that is wrong."""
    where = f"organisations.yml: organisations.{key}"
    if len(key) > _LONGEST_KEY or not key.isprintable():
        wanted = f"at most {_LONGEST_KEY} printable characters"
        raise error(where, "the organisation's key is not usable", key, wanted)
    entry = mapping(raw, where, _ORGANISATION_FIELDS, _ORGANISATION_FIELDS[:2])
    parties = sorted({party for policy in policies.values() for party in policy.parties})
    subject = mapping(
        entry["subject"], f"{where}.subject", ("O", "L", "ST", "C"), ("O", "L", "ST", "C")
    )
    vetted = {attribute: text(subject, attribute, f"{where}.subject") for attribute in subject}
    if not re.fullmatch(r"[A-Z]{2}", vetted["C"]):
        raise error(
            f"{where}.subject.C",
            "the country is not a two letter code",
            vetted["C"],
            "for example GB",
        )
    return Organisation(
        key=key,
        party=choice(entry, "party", where, parties),
        subject=vetted,
        roster=_roster(entry["roster"], where) if "roster" in entry else (),
        dip_ids=_dip_ids(entry.get("dip_ids"), where),
        registered=day(entry, "registered", where),
        vetted=day(entry, "vetted", where),
        quota=_quota(entry, where),
        owner=owner(entry, where),
        dca_certificate=_dca_certificate(entry, where),
        domain_verified=day(entry, "domain_verified", where),
    )


def employers(organisations: Mapping[str, Organisation]) -> list[PkiError]:
    """What is wrong with the employers that rosters name: each is another organisation."""
    problems = []
    for key, one in organisations.items():
        others = sorted(set(organisations) - {key})
        for index, person in enumerate(one.roster):
            where = f"organisations.yml: organisations.{key}.roster[{index}].employer"
            if person.employer == key:
                message = "the employer is the organisation itself"
                wanted = "no employer for the organisation's own people"
                problems.append(error(where, message, key, wanted))
            elif person.employer and person.employer not in organisations:
                message = "there is no such organisation"
                wanted = ", ".join(others) or "another organisation of this file"
                problems.append(error(where, message, person.employer, wanted))
    return problems


def no_roster(holder: Organisation, certificate: str) -> PkiError:
    """The error for an organisation that holds a certificate and names no people."""
    return error(
        f"organisations.yml: organisations.{holder.key}.roster",
        "the organisation holds a certificate here and names nobody",
        "no roster",
        f"at least one Certificate Admin, as {certificate} is for it",
    )


def _quota(raw: Mapping[str, Any], where: str) -> int | None:
    if "quota" not in raw:
        return None
    value = raw["quota"]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _QUOTA_MAX:
        return int(value)
    raise error(f"{where}.quota", "the quota is not a number", repr(value), "a whole number")


def owner(raw: Mapping[str, Any], where: str) -> Owner | None:
    """The `owner` of an organisation or a certificate; None when nobody is named."""
    if "owner" not in raw:
        return None
    place = f"{where}.owner"
    entry = mapping(raw["owner"], place, ("name", "accepted"), ("name", "accepted"))
    return Owner(text(entry, "name", place), day(entry, "accepted", place))


def _dca_certificate(raw: Mapping[str, Any], where: str) -> str:
    if "dca_account" not in raw:
        return ""
    place = f"{where}.dca_account"
    entry = mapping(raw["dca_account"], place, ("certificate",), ("certificate",))
    return text(entry, "certificate", place)


def _dip_ids(raw: object, where: str) -> tuple[str, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list) or not all(_DIP_ID.fullmatch(str(item)) for item in raw):
        raise error(f"{where}.dip_ids", "the DIP ids are not usable", raw, "a list of ids")
    return tuple(str(item) for item in raw)


def _roster(raw: object, where: str) -> tuple[Person, ...]:
    if not isinstance(raw, list) or not raw:
        raise error(f"{where}.roster", "the roster is empty", raw, "at least one Certificate Admin")
    people = []
    for index, person in enumerate(raw):
        place = f"{where}.roster[{index}]"
        entry = mapping(person, place, _PERSON_FIELDS, _PERSON_FIELDS[:3])
        people.append(
            Person(
                name=text(entry, "name", place),
                email=text(entry, "email", place),
                role=choice(entry, "role", place, ROLES),
                permanent=yes_or_no(entry, "permanent", place),
                left=day(entry, "left", place),
                employer=text(entry, "employer", place) if "employer" in entry else "",
            )
        )
    if not any(person.role == "certificate_admin" for person in people):
        raise error(
            f"{where}.roster",
            "nobody may submit requests",
            "no Certificate Admin",
            "one with role certificate_admin",
        )
    return tuple(people)
