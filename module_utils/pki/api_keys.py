# SPDX-License-Identifier: GPL-3.0-or-later
"""API keys of DIP IDs: which ones a host needs, where Vault keeps them, which version is newest.

A person puts a key into Vault's KV engine; nobody reads it but the host that sends it (Code of
Connection 2.3 and 8.8). What is here knows names, places and versions, never a value. The entry
holds one field for now; a second slot of the same DIP ID would be another field beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from . import ledger
from .errors import PkiError
from .inventory import Certificate

FOLDER = "api-keys"
FIELD = "key"
RULE = "API-KEY"
RULE_MISSING = "API-KEY-MISSING"
RULE_DELETED = "API-KEY-DELETED"


class VaultClient(Protocol):
    """What is needed of :class:`pki.vault.Client`."""

    def read(self, path: str) -> dict[str, Any] | None: ...


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One API key that a host sends.

    Attributes:
        name: as the inventory names it, and the entry in Vault.
        mount: the KV mount of the environment class.
        header: the request header it is sent in.
        products: the gateway products on the host that add it, each once.
        listeners: ``gateway/listener`` of each egress listener that sends it.
    """

    name: str
    mount: str
    header: str
    products: tuple[str, ...]
    listeners: tuple[str, ...]

    @property
    def path(self) -> str:
        """Where the value is read, wrapped: what a token for it must have been made on."""
        return f"{self.mount}/data/{FOLDER}/{self.name}"

    @property
    def about(self) -> str:
        """Where versions and dates are read; the value is not there."""
        return f"{self.mount}/metadata/{FOLDER}/{self.name}"

    def as_json(self) -> dict[str, Any]:
        """For tasks: what :meth:`of` reads back."""
        return {
            "name": self.name,
            "mount": self.mount,
            "header": self.header,
            "products": list(self.products),
            "listeners": list(self.listeners),
        }

    @staticmethod
    def of(raw: Mapping[str, Any]) -> ApiKey:
        """From :meth:`as_json`, with plain texts: Ansible's own kinds stay outside."""
        return ApiKey(
            str(raw["name"]),
            str(raw["mount"]),
            str(raw["header"]),
            tuple(map(str, raw["products"])),
            tuple(map(str, raw["listeners"])),
        )


@dataclass(frozen=True, slots=True)
class Version:
    """The newest version of an entry: its number from 1, and when it was written, as Vault says."""

    number: int
    created: str


def declared(
    models: Iterable[Mapping[str, Any]], entries: Mapping[str, Iterable[Certificate]]
) -> tuple[ApiKey, ...]:
    """The API keys that these gateways' egress listeners send, in the order of their names.

    Args:
        models: gateways as :mod:`.gateway` makes them.
        entries: the declared certificates by entry; an API key is of the same environment class
            as the certificate that is shown on the same connection.

    Raises:
        PkiError: API-KEY for one name that is used in two environment classes.
    """
    found: dict[str, _Uses] = {}
    for model in models:
        for listener in model["egress"]:
            wanted = listener.get("api_key")
            if not wanted:
                continue
            certificate = next(iter(entries[str(listener["certificate"])]))
            uses = found.setdefault(str(wanted["name"]), _Uses())
            uses.mounts.append(ledger.mount_of(certificate.environment_class))
            uses.headers.append(str(wanted["header"]))
            uses.products.append(str(model["product"]))
            uses.listeners.append(f"{model['name']}/{listener['name']}")
    return tuple(found[name].key(name) for name in sorted(found))


@dataclass(slots=True)
class _Uses:
    """What several listeners say of one API key, in their order."""

    mounts: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    products: list[str] = field(default_factory=list)
    listeners: list[str] = field(default_factory=list)

    def key(self, name: str) -> ApiKey:
        for values in (self.mounts, self.headers):
            if len(set(values)) > 1:
                raise PkiError(
                    f"the API key {name} is sent by listeners that do not go together",
                    rule=RULE,
                    found=" and ".join(sorted(set(values))),
                    expected="listeners of one environment class, and one header",
                    where=f"group_vars/all/gateways.yml: {', '.join(self.listeners)}",
                    next_step="give each environment class an API key of its own",
                )
        products = tuple(sorted(set(self.products)))
        return ApiKey(name, self.mounts[0], self.headers[0], products, tuple(self.listeners))


def newest(client: VaultClient, key: ApiKey) -> Version:
    """The version that hosts should have. One read of metadata; the value stays where it is.

    Raises:
        PkiError: API-KEY-MISSING for an entry that nobody made; API-KEY-DELETED for one whose
            newest version was deleted or destroyed: whether an older one is still good is for a
            person to say. And whatever the client raises.
    """
    answer = client.read(key.about)
    if answer is None:
        raise _absent(key, RULE_MISSING, "no entry", "put it there")
    try:
        number = int(answer["current_version"])
        told = answer["versions"][str(number)] if number else {}
    except (KeyError, TypeError, ValueError):
        raise _absent(key, RULE, "an answer of another shape", "look at the entry") from None
    if not number:
        raise _absent(key, RULE_MISSING, "an entry without a version", "put it there")
    if told.get("destroyed") or told.get("deletion_time"):
        how = "destroyed" if told.get("destroyed") else f"deleted at {told['deletion_time']}"
        raise _absent(key, RULE_DELETED, f"version {number}, {how}", "put the right one there")
    return Version(number, str(told.get("created_time", "")))


def release_id(path: str, version: Version) -> str:
    """The name of a version's directory on hosts.

    Made of where and when it was written: an entry that was removed and made again has a version 1
    again, which is another key. Nothing of the value goes into it, as names are no secret.
    """
    written = f"{path}\n{version.number}\n{version.created}"
    return f"v{version.number}-{hashlib.sha256(written.encode()).hexdigest()[:16]}"


def _absent(key: ApiKey, rule: str, found: str, remedy: str) -> PkiError:
    return PkiError(
        f"the API key {key.name} is not in Vault",
        rule=rule,
        found=found,
        expected=f"the field `{FIELD}` in the newest version of the entry",
        where=f"{key.mount}, entry {FOLDER}/{key.name}, sent by {', '.join(key.listeners)}",
        next_step=f"{remedy} with a login of your own, as docs/api_keys.md says, and run again; "
        "a host that has the key of an earlier version goes on with it",
    )
