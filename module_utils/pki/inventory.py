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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from . import names
from .errors import PkiError
from .inventory_fields import PLACEHOLDER as PLACEHOLDER
from .inventory_fields import InventoryError as InventoryError
from .inventory_fields import choice, entries, error, mapping, text, unfilled
from .inventory_fields import raise_all as raise_all
from .inventory_organisations import Organisation as Organisation
from .inventory_organisations import Owner as Owner
from .inventory_organisations import Person as Person
from .inventory_organisations import organisation as read_organisation
from .inventory_organisations import owner as owner_of
from .policy import Policy

PURPOSES = ("mtls", "signing")
#: Where a certificate's key is made and kept, and how a key of each store reaches a gateway.
DELIVERIES: Mapping[str, tuple[str, ...]] = {
    "transit": ("wrapped", "pull"),
    "host": ("local",),
    "external": ("upload",),
}
STORES = tuple(DELIVERIES)
SAN_MODES = ("none", "cn", "list")

_NAME = re.compile(r"[a-z0-9]+(?:[-.][a-z0-9]+)*")
# A host that has a certificate of its own: its name is a directory and part of a key's name.
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
_URL = re.compile(r"https?://[!-~]{1,2000}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_T = TypeVar("_T")


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
    """One certificate with everything policy and organisation add to its entry.

    An entry with ``per_host`` stands for as many certificates as hosts. ``name`` tells them
    apart and is the directory of their versions (``<entry>/<host>``); ``entry`` is the name
    that was declared, by which gateways and directories on hosts go; ``host`` is empty for a
    certificate that all hosts share. ``san`` are the DNS names the request asks for.
    """

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
    host: str = ""
    san: tuple[str, ...] = ()
    encrypted: bool = False

    @property
    def entry(self) -> str:
        """The declared name, whatever the host."""
        return self.name.partition("/")[0]

    @property
    def key_name(self) -> str:
        """The key's name in a store: no entry has an underscore, so the first one parts it."""
        return f"{self.entry}_{self.host}" if self.host else self.entry


@dataclass(frozen=True, slots=True)
class Declared:
    """The whole inventory, by name."""

    organisations: Mapping[str, Organisation]
    certificates: Mapping[str, Certificate]
    trust: Mapping[str, TrustSet]

    @property
    def entries(self) -> Mapping[str, tuple[Certificate, ...]]:
        """The certificates of each declared entry: one, or one a host."""
        found: dict[str, list[Certificate]] = {}
        for certificate in self.certificates.values():
            found.setdefault(certificate.entry, []).append(certificate)
        return {entry: tuple(each) for entry, each in found.items()}

    def of_host(self, entry: str, host: str) -> Certificate | None:
        """The certificate of an entry that a host has: its own, or the one that all share."""
        return self.certificates.get(f"{entry}/{host}") or self.certificates.get(entry)


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
    known_trust: dict[str, TrustSet] = {}
    for key, raw in entries(trust, "trust.yml", "trust", problems).items():
        trust_set = _try(problems, _trust, key, raw)
        if trust_set is not None:
            known_trust[key] = trust_set
    _one_trust_set_each(known_trust.values(), problems)
    raise_all(problems)  # certificates refer to both maps: their own errors would only repeat these
    known_certificates: dict[str, Certificate] = {}
    names_taken: set[str] = set()
    for index, raw in enumerate(_items(certificates, "certificates.yml", problems)):
        entry = _try(problems, _certificate, index, raw, known_organisations, known_trust, policies)
        if entry is None:
            continue
        if entry.name in names_taken:
            where = f"{certificate_place(index, entry.name)}.name"
            wanted = "a name of its own"
            problems.append(error(where, "two certificates have this name", entry.name, wanted))
        names_taken.add(entry.name)
        for certificate in _try(problems, _of_hosts, index, raw, entry, groups) or ():
            known_certificates[certificate.name] = certificate
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


def _trust(key: str, raw: object) -> TrustSet:
    where = f"trust.yml: trust.{key}"
    fields = ("policy", "environment_class", "anchors", "issuers")
    entry = mapping(raw, where, fields, fields)
    return TrustSet(
        name=key,
        policy=text(entry, "policy", where),
        environment_class=choice(entry, "environment_class", where, ("nonprod", "prod")),
        anchors=_ca_files(entry["anchors"], f"{where}.anchors"),
        issuers=_ca_files(entry["issuers"], f"{where}.issuers"),
    )


def _ca_files(raw: object, where: str) -> tuple[CaFile, ...]:
    if not isinstance(raw, list) or not raw:
        raise error(where, "no CA is pinned", raw, "at least one {file, sha256, crl_urls}")
    result = []
    for index, item in enumerate(raw):
        place = f"{where}[{index}]"
        entry = mapping(item, place, ("file", "sha256", "crl_urls"), ("file", "sha256", "crl_urls"))
        digest = text(entry, "sha256", place).replace(":", "").lower()
        if not _SHA256.fullmatch(digest):
            raise error(
                f"{place}.sha256",
                "the pin is not a SHA-256 digest",
                digest,
                "64 hexadecimal digits",
            )
        urls = entry["crl_urls"]
        if not isinstance(urls, list) or not all(_URL.fullmatch(str(url)) for url in urls):
            raise error(
                f"{place}.crl_urls",
                "the CRL locations are not http URLs",
                urls,
                "a list of http or https URLs",
            )
        result.append(CaFile(text(entry, "file", place), digest, tuple(str(url) for url in urls)))
    return tuple(result)


def _one_trust_set_each(sets: Iterable[TrustSet], problems: list[PkiError]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for item in sets:
        key = (item.policy, item.environment_class)
        if key in seen:
            problems.append(
                error(
                    f"trust.yml: trust.{item.name}",
                    f"a second trust set for {item.policy} {item.environment_class}",
                    f"{seen[key]} and {item.name}",
                    "one trust set per policy and environment class",
                )
            )
        seen[key] = item.name


_REQUIRED = ("name", "policy", "environment", "domain", "purposes", "key", "hosts")
_FIELDS = (*_REQUIRED, "organisation", "owner", "domain_txt", "san", "per_host")


def _certificate(
    index: int,
    raw: object,
    organisations: Mapping[str, Organisation],
    trust: Mapping[str, TrustSet],
    policies: Mapping[str, Policy],
) -> Certificate:
    label = str(raw.get("name", "")) if isinstance(raw, Mapping) else ""
    where = certificate_place(index, label)
    entry = mapping(raw, where, _FIELDS, _REQUIRED)
    name = text(entry, "name", where)
    if not _NAME.fullmatch(name) or len(name) > 63:
        raise error(
            f"{where}.name",
            "the name cannot be a directory and key name",
            name,
            "lower case letters, digits, - and .",
        )
    policy = policies[choice(entry, "policy", where, sorted(policies))]
    environment = policy.environments[choice(entry, "environment", where, policy.environments)]
    organisation = _organisation_of(entry, where, organisations)
    purposes = _purposes(entry["purposes"], where)
    domain = text(entry, "domain", where)
    common_name = _common_name(environment.cn_prefix, domain, where)
    store, delivery, encrypted = _key(entry["key"], f"{where}.key")
    return Certificate(
        name=name,
        organisation=organisation,
        policy=policy.name,
        environment=environment.name,
        environment_class=environment.environment_class,
        common_name=common_name,
        subject=organisation.subject,
        purposes=purposes,
        store=store,
        delivery=delivery,
        hosts=text(entry, "hosts", where),
        trust=_trust_of(policy.name, environment.environment_class, where, trust),
        domain=domain,
        owner=owner_of(entry, where) or organisation.owner,
        domain_txt=text(entry, "domain_txt", where) if "domain_txt" in entry else "",
        san=_san(entry.get("san", "none"), common_name, f"{where}.san"),
        encrypted=encrypted,
    )


def _key(raw: object, where: str) -> tuple[str, str, bool]:
    """Store, delivery, and whether the key is kept encrypted until it is deployed."""
    entry = mapping(raw, where, ("store", "delivery", "encrypted"), ("store",))
    store = choice(entry, "store", where, STORES)
    ways = DELIVERIES[store]
    delivery = choice({"delivery": ways[0], **entry}, "delivery", where, ways)
    encrypted = entry.get("encrypted", False)
    if not isinstance(encrypted, bool) or (encrypted and store != "host"):
        wanted = "true or false, and true for keys of hosts only"
        raise error(f"{where}.encrypted", "the option is not usable", encrypted, wanted)
    return store, delivery, encrypted


def _san(raw: object, common_name: str, where: str) -> tuple[str, ...]:
    """The names a request asks for: ``none``, ``cn``, or a list of host names."""
    if raw == "none":
        return ()
    if raw == "cn":
        return (common_name,)
    if not isinstance(raw, list) or not raw or len(set(map(str, raw))) != len(raw):
        raise error(where, "the names are not usable", raw, "none, cn, or a list of host names")
    return tuple(_dns_name(str(item), f"{where}[{at}]") for at, item in enumerate(raw))


def _dns_name(name: str, where: str) -> str:
    try:
        return names.check_domain(name, f"group_vars/all/{where}")
    except PkiError as exc:
        raise error(where, exc.message, exc.found, exc.expected, exc.next_step) from exc


def _of_hosts(
    index: int,
    raw: Mapping[str, Any],
    entry: Certificate,
    groups: Mapping[str, Iterable[str]] | None,
) -> tuple[Certificate, ...]:
    """The certificates an entry stands for: itself, or one for each of its hosts."""
    where, per_host = certificate_place(index, entry.name), raw.get("per_host", False)
    if not isinstance(per_host, bool):
        raise error(f"{where}.per_host", "the option is not usable", per_host, "true or false")
    if not per_host:
        if entry.store == "host":
            found = "one certificate for all hosts"
            wanted = "per_host: true, as each host makes a key that never leaves it"
            raise error(f"{where}.per_host", "hosts cannot share a key of their own", found, wanted)
        return (entry,)
    known = groups or {}
    hosts = [str(host) for host in known.get(entry.hosts, ())] or (
        [entry.hosts] if entry.hosts in {str(h) for g in known.values() for h in g} else []
    )
    odd = [host for host in hosts if not _HOST.fullmatch(host) or host.isdecimal()]
    if odd or not hosts:
        raise error(
            f"{where}.hosts",
            "it is not known which hosts these are" if not hosts else "a host's name is unusable",
            entry.hosts if not hosts else ", ".join(odd),
            "a group of hosts, each named by letters, digits, _ - and ., and not by digits alone",
        )
    return tuple(
        replace(entry, name=f"{entry.name}/{host}", hosts=host, host=host)
        for host in sorted(set(hosts))
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
        return organisations[choice(entry, "organisation", where, sorted(organisations))]
    if len(organisations) == 1:
        return next(iter(organisations.values()))
    raise error(
        f"{where}.organisation",
        "the certificate does not say whose it is",
        "nothing",
        "one of " + (", ".join(sorted(organisations)) or "the organisations in organisations.yml"),
    )


def _purposes(raw: object, where: str) -> frozenset[str]:
    if not isinstance(raw, list) or not raw or not all(item in PURPOSES for item in raw):
        raise error(
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
    raise error(
        "trust.yml: trust",
        f"no trust anchor is pinned for {policy} {environment_class}",
        ", ".join(
            f"{name} ({item.policy} {item.environment_class})" for name, item in trust.items()
        )
        or "nothing",
        f"a trust set with policy {policy} and environment_class {environment_class}",
        f"add the CA files with their SHA-256 to trust.yml; {where} needs them",
    )
