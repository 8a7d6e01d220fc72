# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory declares, read strictly: a typo is an error, never a default.

Pure. Every problem of every entry is collected and raised as one PkiError INVENTORY, so
that a person corrects a file once and not once per run. File names are the project's
law: ``group_vars/all/{organisations,certificates,trust}.yml``. Whether the document allows what
an entry asks for is the policy's to say: see :mod:`.declarations`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from . import days, names
from .errors import PkiError
from .policy import Policy

PLACEHOLDER = "FILL-IN"
PURPOSES = ("mtls", "signing")
STORES = ("transit",)
DELIVERIES = ("wrapped",)
ROLES = ("certificate_admin", "user_administrator")

_NAME = re.compile(r"[a-z0-9]+(?:[-.][a-z0-9]+)*")
_DIP_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_URL = re.compile(r"https?://[!-~]{1,2000}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_QUOTA_MAX = 1_000_000
_LONGEST_TEXT = 1000  # facts are bounded, and no name or path of sense is longer
_LONGEST_KEY = 200
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Person:
    """A named human of an organisation's roster.

    ``permanent``: a permanent employee of the organisation; ``left``: the ISO date on which the
    person left, empty for who is still there.
    """

    name: str
    email: str
    role: str
    permanent: bool = False
    left: str = ""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who is responsible for what uses a certificate, and the ISO date of accepting it (5.6.2)."""

    name: str
    accepted: str


@dataclass(frozen=True, slots=True)
class Organisation:
    """A vetted organisation; ``subject`` holds O, L, ST and C exactly as vetted.

    ``registered`` and ``vetted`` are ISO dates, empty when the inventory does not say; ``quota``
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

    @property
    def certificate_admins(self) -> tuple[Person, ...]:
        """Who may submit requests (Table 2); nobody is asked any more whose leaving is recorded."""
        return tuple(
            person
            for person in self.roster
            if person.role == "certificate_admin" and not person.left
        )


@dataclass(frozen=True, slots=True)
class CaFile:
    """A CA certificate as an input: path, pin (SHA-256 of its DER) and where its CRL is."""

    file: str
    sha256: str
    crl_urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrustSet:
    """The pinned anchors and allowed issuing CAs of one policy and environment class."""

    name: str
    policy: str
    environment_class: str
    anchors: tuple[CaFile, ...]
    issuers: tuple[CaFile, ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """One declared certificate with everything policy and organisation add to it."""

    name: str
    organisation: Organisation
    policy: str
    environment: str
    environment_class: str
    common_name: str
    subject: Mapping[str, str]
    purposes: frozenset[str]
    store: str
    delivery: str
    hosts: str
    trust: str
    domain: str = ""
    owner: Owner | None = None
    domain_txt: str = ""


@dataclass(frozen=True, slots=True)
class Declared:
    """The whole inventory, by name."""

    organisations: Mapping[str, Organisation]
    certificates: Mapping[str, Certificate]
    trust: Mapping[str, TrustSet]


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
) -> Declared:
    """The declared inventory; PkiError INVENTORY with one block per broken entry."""
    problems = [
        *_unfilled(organisations, "organisations.yml: organisations"),
        *_unfilled(certificates, "certificates.yml: certificates"),
        *_unfilled(trust, "trust.yml: trust"),
    ]
    raise_all(problems)
    organisation_map = _entries(organisations, "organisations.yml", "organisations", problems)
    known_organisations: dict[str, Organisation] = {}
    for key, raw in organisation_map.items():
        organisation = _try(problems, _organisation, key, raw, policies)
        if organisation is not None:
            known_organisations[key] = organisation
    known_trust: dict[str, TrustSet] = {}
    for key, raw in _entries(trust, "trust.yml", "trust", problems).items():
        trust_set = _try(problems, _trust, key, raw)
        if trust_set is not None:
            known_trust[key] = trust_set
    _one_trust_set_each(known_trust.values(), problems)
    raise_all(problems)  # certificates refer to both maps: their own errors would only repeat these
    known_certificates: dict[str, Certificate] = {}
    for index, raw in enumerate(_items(certificates, "certificates.yml", problems)):
        entry = _try(problems, _certificate, index, raw, known_organisations, known_trust, policies)
        if entry is None:
            continue
        if entry.name in known_certificates:
            where = f"{certificate_place(index, entry.name)}.name"
            wanted = "a name of its own"
            problems.append(_error(where, "two certificates have this name", entry.name, wanted))
        known_certificates[entry.name] = entry
    raise_all(problems)
    return Declared(known_organisations, known_certificates, known_trust)


def certificate_place(index: int, name: str = "") -> str:
    """How messages name an entry: ``index`` counts from 0, as in the file."""
    return f"certificates.yml: certificates[{index}]" + (f" ({name})" if name else "")


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
        problems.append(_error(where, "there is no such group or host", name, expected, hint))
    raise_all(problems)


def _unfilled(node: object, where: str) -> Iterator[PkiError]:
    """One error for each place of an example inventory that still has to be filled in."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _unfilled(value, f"{where}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _unfilled(value, f"{where}[{index}]")
    elif isinstance(node, str) and PLACEHOLDER in node:
        yield _error(where, "this place is not filled in yet", node, "your own value")


def _try(problems: list[PkiError], build: Callable[..., _T], *arguments: object) -> _T | None:
    try:
        return build(*arguments)
    except PkiError as exc:
        problems.append(exc)
        return None


class InventoryError(PkiError):
    """Several problems at once, each printed as the block it would be alone."""

    several_lines = True

    def __init__(self, problems: Sequence[PkiError]) -> None:
        first = problems[0]
        super().__init__(
            f"the inventory has {len(problems)} problems",
            rule=first.rule,
            found="\n".join(problem.found for problem in problems),
            expected="\n".join(problem.expected for problem in problems),
            where="\n".join(problem.where for problem in problems),
            next_step="correct them all and run again; nothing was changed",
        )
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n\n".join([self.message, *map(str, self.problems), f"next: {self.next_step}"])


def raise_all(problems: Sequence[PkiError]) -> None:
    """Raise what there is: nothing, the one problem, or all of them as one error."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise InventoryError(problems)


def _error(where: str, message: str, found: object, expected: str, next_step: str = "") -> PkiError:
    return PkiError(
        message,
        rule="INVENTORY",
        found=str(found),
        expected=expected,
        where=f"group_vars/all/{where}",
        next_step=next_step or "correct the inventory and run again; nothing was changed",
    )


def _entries(raw: object, file: str, what: str, problems: list[PkiError]) -> Mapping[str, Any]:
    if isinstance(raw, Mapping) and raw:
        return {str(key): value for key, value in raw.items()}
    problems.append(
        _error(file, f"{what} are missing", type(raw).__name__, "a map with at least one entry")
    )
    return {}


def _items(raw: object, file: str, problems: list[PkiError]) -> list[Any]:
    if isinstance(raw, list):
        return raw
    problems.append(_error(file, "certificates is not a list", type(raw).__name__, "a list"))
    return []


def _mapping(
    raw: object, where: str, known: Iterable[str], required: Iterable[str]
) -> Mapping[str, Any]:
    """``raw`` as a map with no key outside ``known`` and none of ``required`` missing."""
    if not isinstance(raw, Mapping):
        raise _error(where, f"{where} is not a map", type(raw).__name__, "a map")
    keys = {str(key) for key in raw}
    allowed = tuple(known)
    for key in sorted(keys - set(allowed)):
        close = difflib.get_close_matches(key, allowed, 1)
        hint = f"did you mean `{close[0]}`?" if close else "remove it"
        raise _error(where, f"unknown key `{key}`", key, ", ".join(allowed), hint)
    for key in required:
        if key not in keys:
            raise _error(where, f"`{key}` is missing", "nothing", key)
    return {str(key): value for key, value in raw.items()}


def _text(raw: Mapping[str, Any], key: str, where: str) -> str:
    value = raw[key]
    if not isinstance(value, str) or not value.strip() or value != value.strip():
        raise _error(
            f"{where}.{key}",
            f"`{key}` is not usable text",
            repr(value),
            "text without outer spaces",
        )
    if len(value) > _LONGEST_TEXT:
        raise _error(
            f"{where}.{key}",
            f"`{key}` is too long",
            f"{len(value)} characters",
            f"at most {_LONGEST_TEXT} characters",
        )
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise _error(
            f"{where}.{key}", f"`{key}` holds control characters", repr(value), "printable text"
        )
    return str(value)


def _choice(raw: Mapping[str, Any], key: str, where: str, choices: Iterable[str]) -> str:
    value = _text(raw, key, where)
    allowed = tuple(choices)
    if value not in allowed:
        raise _error(
            f"{where}.{key}", f"`{key}` is not one of the known values", value, ", ".join(allowed)
        )
    return value


_ORGANISATION_FIELDS = (
    "party", "subject", "roster",
    "dip_ids", "registered", "vetted", "quota", "owner", "dca_account",
)  # fmt: skip


def _organisation(key: str, raw: object, policies: Mapping[str, Policy]) -> Organisation:
    where = f"organisations.yml: organisations.{key}"
    if len(key) > _LONGEST_KEY or not key.isprintable():
        wanted = f"at most {_LONGEST_KEY} printable characters"
        raise _error(where, "the organisation's key is not usable", key, wanted)
    entry = _mapping(raw, where, _ORGANISATION_FIELDS, _ORGANISATION_FIELDS[:3])
    parties = sorted({party for policy in policies.values() for party in policy.parties})
    subject = _mapping(
        entry["subject"], f"{where}.subject", ("O", "L", "ST", "C"), ("O", "L", "ST", "C")
    )
    vetted = {attribute: _text(subject, attribute, f"{where}.subject") for attribute in subject}
    if not re.fullmatch(r"[A-Z]{2}", vetted["C"]):
        raise _error(
            f"{where}.subject.C",
            "the country is not a two letter code",
            vetted["C"],
            "for example GB",
        )
    return Organisation(
        key=key,
        party=_choice(entry, "party", where, parties),
        subject=vetted,
        roster=_roster(entry["roster"], where),
        dip_ids=_dip_ids(entry.get("dip_ids"), where),
        registered=_date(entry, "registered", where),
        vetted=_date(entry, "vetted", where),
        quota=_quota(entry, where),
        owner=_owner(entry, where),
        dca_certificate=_dca_certificate(entry, where),
    )


def _date(raw: Mapping[str, Any], key: str, where: str) -> str:
    """An optional day as ISO text; empty when it is not there."""
    if key not in raw:
        return ""
    try:
        return days.text(raw[key])
    except ValueError:
        raise _error(
            f"{where}.{key}", f"`{key}` is not a date", repr(raw[key]), "a day as YYYY-MM-DD"
        ) from None


def _quota(raw: Mapping[str, Any], where: str) -> int | None:
    if "quota" not in raw:
        return None
    value = raw["quota"]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _QUOTA_MAX:
        return int(value)
    raise _error(f"{where}.quota", "the quota is not a number", repr(value), "a whole number")


def _owner(raw: Mapping[str, Any], where: str) -> Owner | None:
    if "owner" not in raw:
        return None
    place = f"{where}.owner"
    entry = _mapping(raw["owner"], place, ("name", "accepted"), ("name", "accepted"))
    return Owner(_text(entry, "name", place), _date(entry, "accepted", place))


def _dca_certificate(raw: Mapping[str, Any], where: str) -> str:
    if "dca_account" not in raw:
        return ""
    place = f"{where}.dca_account"
    entry = _mapping(raw["dca_account"], place, ("certificate",), ("certificate",))
    return _text(entry, "certificate", place)


def _dip_ids(raw: object, where: str) -> tuple[str, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list) or not all(_DIP_ID.fullmatch(str(item)) for item in raw):
        raise _error(f"{where}.dip_ids", "the DIP ids are not usable", raw, "a list of ids")
    return tuple(str(item) for item in raw)


_PERSON_FIELDS = ("name", "email", "role", "permanent", "left")


def _yes_or_no(raw: Mapping[str, Any], key: str, where: str) -> bool:
    value = raw.get(key, False)
    if isinstance(value, bool):
        return value
    raise _error(f"{where}.{key}", f"`{key}` is not true or false", repr(value), "true or false")


def _roster(raw: object, where: str) -> tuple[Person, ...]:
    if not isinstance(raw, list) or not raw:
        raise _error(
            f"{where}.roster", "the roster is empty", raw, "at least one Certificate Admin"
        )
    people = []
    for index, person in enumerate(raw):
        place = f"{where}.roster[{index}]"
        entry = _mapping(person, place, _PERSON_FIELDS, _PERSON_FIELDS[:3])
        people.append(
            Person(
                name=_text(entry, "name", place),
                email=_text(entry, "email", place),
                role=_choice(entry, "role", place, ROLES),
                permanent=_yes_or_no(entry, "permanent", place),
                left=_date(entry, "left", place),
            )
        )
    if not any(person.role == "certificate_admin" for person in people):
        raise _error(
            f"{where}.roster",
            "nobody may submit requests",
            "no Certificate Admin",
            "one with role certificate_admin",
        )
    return tuple(people)


def _trust(key: str, raw: object) -> TrustSet:
    where = f"trust.yml: trust.{key}"
    fields = ("policy", "environment_class", "anchors", "issuers")
    entry = _mapping(raw, where, fields, fields)
    return TrustSet(
        name=key,
        policy=_text(entry, "policy", where),
        environment_class=_choice(entry, "environment_class", where, ("nonprod", "prod")),
        anchors=_ca_files(entry["anchors"], f"{where}.anchors"),
        issuers=_ca_files(entry["issuers"], f"{where}.issuers"),
    )


def _ca_files(raw: object, where: str) -> tuple[CaFile, ...]:
    if not isinstance(raw, list) or not raw:
        raise _error(where, "no CA is pinned", raw, "at least one {file, sha256, crl_urls}")
    result = []
    for index, item in enumerate(raw):
        place = f"{where}[{index}]"
        entry = _mapping(
            item, place, ("file", "sha256", "crl_urls"), ("file", "sha256", "crl_urls")
        )
        digest = _text(entry, "sha256", place).replace(":", "").lower()
        if not _SHA256.fullmatch(digest):
            raise _error(
                f"{place}.sha256",
                "the pin is not a SHA-256 digest",
                digest,
                "64 hexadecimal digits",
            )
        urls = entry["crl_urls"]
        if not isinstance(urls, list) or not all(_URL.fullmatch(str(url)) for url in urls):
            raise _error(
                f"{place}.crl_urls",
                "the CRL locations are not http URLs",
                urls,
                "a list of http or https URLs",
            )
        result.append(CaFile(_text(entry, "file", place), digest, tuple(str(url) for url in urls)))
    return tuple(result)


def _one_trust_set_each(sets: Iterable[TrustSet], problems: list[PkiError]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for item in sets:
        key = (item.policy, item.environment_class)
        if key in seen:
            problems.append(
                _error(
                    f"trust.yml: trust.{item.name}",
                    f"a second trust set for {item.policy} {item.environment_class}",
                    f"{seen[key]} and {item.name}",
                    "one trust set per policy and environment class",
                )
            )
        seen[key] = item.name


_REQUIRED = ("name", "policy", "environment", "domain", "purposes", "key", "hosts")
_FIELDS = (*_REQUIRED, "organisation", "owner", "domain_txt")


def _certificate(
    index: int,
    raw: object,
    organisations: Mapping[str, Organisation],
    trust: Mapping[str, TrustSet],
    policies: Mapping[str, Policy],
) -> Certificate:
    label = str(raw.get("name", "")) if isinstance(raw, Mapping) else ""
    where = certificate_place(index, label)
    entry = _mapping(raw, where, _FIELDS, _REQUIRED)
    name = _text(entry, "name", where)
    if not _NAME.fullmatch(name) or len(name) > 63:
        raise _error(
            f"{where}.name",
            "the name cannot be a directory and key name",
            name,
            "lower case letters, digits, - and .",
        )
    policy = policies[_choice(entry, "policy", where, sorted(policies))]
    environment = policy.environments[_choice(entry, "environment", where, policy.environments)]
    organisation = _organisation_of(entry, where, organisations)
    purposes = _purposes(entry["purposes"], where)
    domain = _text(entry, "domain", where)
    common_name = _common_name(environment.cn_prefix, domain, where)
    key = _mapping(entry["key"], f"{where}.key", ("store", "delivery"), ("store", "delivery"))
    return Certificate(
        name=name,
        organisation=organisation,
        policy=policy.name,
        environment=environment.name,
        environment_class=environment.environment_class,
        common_name=common_name,
        subject=organisation.subject,
        purposes=purposes,
        store=_choice(key, "store", f"{where}.key", STORES),
        delivery=_choice(key, "delivery", f"{where}.key", DELIVERIES),
        hosts=_text(entry, "hosts", where),
        trust=_trust_of(policy.name, environment.environment_class, where, trust),
        domain=domain,
        owner=_owner(entry, where) or organisation.owner,
        domain_txt=_text(entry, "domain_txt", where) if "domain_txt" in entry else "",
    )


def _common_name(prefix: str, domain: str, where: str) -> str:
    try:
        names.check_domain(domain, f"group_vars/all/{where}.domain")
        return names.common_name(prefix, domain)
    except PkiError as exc:
        raise PkiError(
            exc.message,
            rule="INVENTORY",
            found=exc.found,
            expected=exc.expected,
            where=f"group_vars/all/{where}.domain",
            next_step=exc.next_step,
        ) from exc


def _organisation_of(
    entry: Mapping[str, Any], where: str, organisations: Mapping[str, Organisation]
) -> Organisation:
    if "organisation" in entry:
        return organisations[_choice(entry, "organisation", where, sorted(organisations))]
    if len(organisations) == 1:
        return next(iter(organisations.values()))
    raise _error(
        f"{where}.organisation",
        "the certificate does not say whose it is",
        "nothing",
        "one of " + (", ".join(sorted(organisations)) or "the organisations in organisations.yml"),
    )


def _purposes(raw: object, where: str) -> frozenset[str]:
    if not isinstance(raw, list) or not raw or not all(item in PURPOSES for item in raw):
        raise _error(
            f"{where}.purposes",
            "the purposes are not usable",
            raw,
            "a list out of " + ", ".join(PURPOSES),
        )
    return frozenset(str(item) for item in raw)


def _trust_of(
    policy: str, environment_class: str, where: str, trust: Mapping[str, TrustSet]
) -> str:
    for name, item in trust.items():
        if (item.policy, item.environment_class) == (policy, environment_class):
            return name
    raise _error(
        "trust.yml: trust",
        f"no trust anchor is pinned for {policy} {environment_class}",
        ", ".join(
            f"{name} ({item.policy} {item.environment_class})" for name, item in trust.items()
        )
        or "nothing",
        f"a trust set with policy {policy} and environment_class {environment_class}",
        f"add the CA files with their SHA-256 to trust.yml; {where} needs them",
    )
