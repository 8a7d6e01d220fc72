# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of ``certificates.yml``, and the certificates each of them stands for. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import names
from .errors import PkiError
from .inventory_fields import choice, day, error, mapping, text, yes_or_no
from .inventory_organisations import Organisation, Owner
from .inventory_organisations import owner as owner_of
from .inventory_renewal import renewal
from .inventory_trust import TrustSet
from .policy import Policy
from .windows import Renewal

PURPOSES = ("mtls", "signing")
#: Where a certificate's key is made and kept, and how a key of each store reaches a gateway.
DELIVERIES: Mapping[str, tuple[str, ...]] = {
    "transit": ("wrapped", "pull"),
    "host": ("local",),
    "external": ("upload",),
}
STORES = tuple(DELIVERIES)
SAN_MODES = ("none", "cn", "list")

#: Facts are bounded; no portal takes more.
_MOST_NAMES = 100
_NAME = re.compile(r"[a-z0-9]+(?:[-.][a-z0-9]+)*")
# A host that has a certificate of its own: its name is a directory and the end of a key's name,
# and must not look like the directory of a version.
_HOST = re.compile(r"(?![0-9]+\Z)[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate with everything policy and organisation add to its entry.

    An entry with ``per_host`` stands for as many certificates as hosts. ``name`` tells them
    apart and is the directory of their versions (``<entry>/<host>``); ``entry`` is the name
    that was declared, by which gateways and directories on hosts go; ``host`` is empty for a
    certificate that all hosts share. ``hosts`` is the group or host that uses the certificate,
    ``group`` what an entry with ``per_host`` says there, empty for every other. ``san`` are the
    DNS names the request asks for. ``provider`` is the key of the organisation that signs with it
    for its holder (DIP 4.1.2), empty for one that the holder uses itself. ``domain_verified`` is
    the ISO date on which the CA verified the domain (DIP 5.4.4.1), empty when not recorded.
    ``handover``: the key is to be handed to the provider (4.1.2), so it is made where it can be
    taken out.
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
    group: str = ""
    san: tuple[str, ...] = ()
    encrypted: bool = False
    renewal: Renewal = field(default_factory=Renewal)
    provider: str = ""
    domain_verified: str = ""
    handover: bool = False

    @property
    def entry(self) -> str:
        """The declared name, whatever the host."""
        return self.name.partition("/")[0]

    @property
    def key_name(self) -> str:
        """The key's name in a store: no entry has an underscore, so the first one parts it."""
        return f"{self.entry}_{self.host}" if self.host else self.entry


def certificate_place(index: int, name: str = "") -> str:
    """How messages name an entry: ``index`` counts from 0, as in the file."""
    return f"certificates.yml: certificates[{index}]" + (f" ({name})" if name else "")


_REQUIRED = ("name", "policy", "environment", "domain", "purposes", "key", "hosts")
_FIELDS = (
    *_REQUIRED, "organisation", "owner", "domain_txt", "domain_verified", "san", "per_host",
    "provider", "renewal",
)  # fmt: skip


def certificate(
    index: int,
    raw: object,
    organisations: Mapping[str, Organisation],
    trust: Mapping[str, TrustSet],
    policies: Mapping[str, Policy],
) -> Certificate:
    """One entry, read strictly: the certificate that its hosts share; PkiError INVENTORY."""
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
    store, delivery, encrypted, handover = _key(entry["key"], f"{where}.key")
    if handover:
        _handed_over(entry, purposes, f"{where}.key.handover")
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
        renewal=renewal(entry, where),
        provider=_provider(entry, where, organisation, organisations),
        domain_verified=day(entry, "domain_verified", where) or organisation.domain_verified,
        handover=handover,
    )


def _key(raw: object, where: str) -> tuple[str, str, bool, bool]:
    """Store, delivery, whether the key is kept encrypted until it is deployed, and whether it is
    to be handed over."""
    entry = mapping(raw, where, ("store", "delivery", "encrypted", "handover"), ("store",))
    store = choice(entry, "store", where, STORES)
    ways = DELIVERIES[store]
    delivery = choice({"delivery": ways[0], **entry}, "delivery", where, ways)
    encrypted = yes_or_no(entry, "encrypted", where)
    if encrypted and store != "host":
        found, wanted = f"true, with store {store}", "store host, or no such option"
        message = "only keys that hosts keep are encrypted here"
        raise error(f"{where}.encrypted", message, found, wanted)
    handover = yes_or_no(entry, "handover", where)
    if handover and store != "transit":
        found, wanted = f"true, with store {store}", "store transit, or no such option"
        message = "only a key in Vault can be made to be handed over"
        raise error(f"{where}.handover", message, found, wanted)
    return store, delivery, encrypted, handover


def _handed_over(entry: Mapping[str, Any], purposes: frozenset[str], where: str) -> None:
    """Only a signing key, and only to one party that is named, is handed over (4.1.2)."""
    if "mtls" in purposes:
        message = "a key that serves TLS is not handed over; each party has one of its own"
        raise error(where, message, ", ".join(sorted(purposes)), "purposes: [signing]")
    if "provider" not in entry:
        wanted = "provider: the organisation that gets it"
        raise error(where, "it is not said who the key is handed to", "no provider", wanted)


def _san(raw: object, common_name: str, where: str) -> tuple[str, ...]:
    """The names a request asks for: ``none``, ``cn``, or a list of host names."""
    if raw == "none":
        return ()
    if raw == "cn":
        return (_dns_name(common_name, where),)
    if not isinstance(raw, list) or not raw:
        wanted = "none, cn, or a list of host names"
        raise error(where, "the alternative names are not usable", repr(raw), wanted)
    found = tuple(_dns_name(item, f"{where}[{at}]") for at, item in enumerate(raw))
    for at, name in enumerate(found):
        if name in found[:at]:
            raise error(f"{where}[{at}]", "the name is there twice", name, "each name once")
    if len(found) > _MOST_NAMES:
        wanted = f"at most {_MOST_NAMES} names"
        raise error(where, "there are too many alternative names", str(len(found)), wanted)
    return found


def _dns_name(name: object, where: str) -> str:
    if not isinstance(name, str):
        raise error(where, "the name is no text", repr(name), "a host name")
    try:
        return names.check_domain(str(name), where)
    except PkiError as exc:
        raise error(where, exc.message, exc.found, exc.expected, exc.next_step) from exc


def of_hosts(
    index: int,
    raw: Mapping[str, Any],
    entry: Certificate,
    groups: Mapping[str, Iterable[str]] | None,
) -> tuple[Certificate, ...]:
    """The certificates an entry stands for: itself, or one for each of its hosts.

    ``groups`` are the hosts of each group; PkiError INVENTORY where nobody knows them.
    """
    where = certificate_place(index, entry.name)
    if not yes_or_no(raw, "per_host", where):
        if entry.store == "host":
            found = "one certificate for all hosts"
            wanted = "per_host: true, as each host makes a key that never leaves it"
            raise error(f"{where}.per_host", "hosts cannot share a key of their own", found, wanted)
        return (entry,)
    hosts = _hosts(entry.hosts, groups or {}, f"{where}.hosts")
    return tuple(
        replace(entry, name=f"{entry.name}/{host}", hosts=host, host=host, group=entry.hosts)
        for host in hosts
    )


def _hosts(named: str, groups: Mapping[str, Iterable[str]], where: str) -> list[str]:
    """The hosts of a group, or the host itself, in the order of their names."""
    known = {str(group): {str(host) for host in hosts} for group, hosts in groups.items()}
    every = set().union(*known.values())
    hosts = known.get(named) or ({named} & every)
    if not hosts:
        close = difflib.get_close_matches(named, ({*known} | every) - {named}, 1)
        raise error(
            where,
            "it is not known which hosts these are",
            f"{named}, a group without hosts" if named in known else named,
            "a group with hosts, or a host: each of them gets a certificate of its own",
            f"did you mean `{close[0]}`?" if close else "write group and hosts into hosts.yml",
        )
    odd = sorted(host for host in hosts if not _HOST.fullmatch(host))
    if odd:
        raise error(
            where,
            "a host's name cannot be a directory and the end of a key's name",
            ", ".join(odd),
            "letters, digits, _, - and .: a letter or digit first, neither - nor . last, "
            "not digits alone",
            "give the host another name in the inventory, and its address as ansible_host",
        )
    return sorted(hosts)


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


def _provider(
    entry: Mapping[str, Any],
    where: str,
    holder: Organisation,
    organisations: Mapping[str, Organisation],
) -> str:
    """Who signs with it for its holder; whether that party may is the policy's to say."""
    if "provider" not in entry:
        return ""
    key = choice(entry, "provider", where, sorted(organisations))
    if key == holder.key:
        raise error(
            f"{where}.provider",
            "the provider is the organisation that the certificate is for",
            key,
            "another organisation, or no provider for a certificate that its holder uses",
        )
    return key


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
