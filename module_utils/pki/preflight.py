# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job needs of Vault, and what the login's policies grant, before anything is changed.

A key that was made and cannot be signed with is work for two people. Vault tells beforehand,
without side effects, which capabilities a token has on a path; it does not tell which parameters
a policy allows, how long a wrapping token may live, or whether a mount exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from . import key_place
from .api_keys import FOLDER, ApiKey
from .errors import PkiError
from .inventory import Certificate
from .stores.transit import mount_for

RULE = "VAULT-PREFLIGHT"
ASKED_AT = "sys/capabilities-self"
#: A token with this word may do everything.
EVERYTHING = "root"
NOTHING = ("deny",)
# How many names a sentence holds.
SHOWN_NAMES = 3


class VaultClient(Protocol):
    """What is needed of :class:`pki.vault.Client`."""

    def capabilities(self, paths: Iterable[str]) -> dict[str, tuple[str, ...]]: ...


@dataclass(frozen=True, slots=True)
class Mount:
    """A transit mount and the keys in it that a run is about.

    ``exportable``: whether keys of this mount are released to hosts.
    """

    path: str
    names: tuple[str, ...]
    exportable: bool


@dataclass(frozen=True, slots=True)
class Need:
    """One operation on one path.

    Attributes:
        job: one of :data:`JOBS`.
        doing: the operation in a word or two, to begin a sentence with.
        path: as a policy would name it, ``+`` for the key's name.
        name: what stands for ``+`` here; empty where the path has none.
        capabilities: all of these are needed.
    """

    job: str
    doing: str
    path: str
    capabilities: tuple[str, ...]
    name: str = ""

    @property
    def asked(self) -> str:
        """The path without a wildcard: a policy may know names."""
        return self.path.replace("+", self.name)


@dataclass(frozen=True, slots=True)
class Row:
    """A need and what the token has: for several keys at once where it is the same.

    ``names``: the keys concerned; empty where the path has none.
    """

    job: str
    doing: str
    path: str
    needed: tuple[str, ...]
    has: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def lacks(self) -> tuple[str, ...]:
        if EVERYTHING in self.has:
            return ()
        return tuple(word for word in self.needed if word not in self.has)

    def __str__(self) -> str:
        shown = ", ".join(self.names[:SHOWN_NAMES])
        more = f" and {len(self.names) - SHOWN_NAMES} more" if len(self.names) > SHOWN_NAMES else ""
        keys = f" ({shown}{more})" if self.names else ""
        needed, has = " and ".join(self.needed), ", ".join(self.has)
        return f"{self.doing} on {self.path}{keys}: needs {needed}, the token has {has}"


# -- what a job needs ------------------------------------------------------------------------


def mounts(certificates: Iterable[Certificate], job: str = "request") -> tuple[Mount, ...]:
    """The transit mounts in which these certificates' keys are, or will be, made.

    To release a key is nobody's job where hosts fetch it themselves.
    """
    names: dict[str, list[str]] = {}
    exportable: dict[str, bool] = {}
    for certificate in certificates:
        place = key_place.declared(certificate)
        fetched = job == "release" and certificate.delivery != "wrapped"
        if place.store == key_place.TRANSIT and not fetched:
            names.setdefault(place.mount, []).append(place.name)
            of_class = mount_for(certificate.environment_class, ("mtls",))
            exportable[place.mount] = place.mount == of_class
    return tuple(
        Mount(path, tuple(dict.fromkeys(found)), exportable[path])
        for path, found in sorted(names.items())
    )


def _plan(mount: Mount) -> list[Need]:
    return [
        Need("plan", "list keys", f"{mount.path}/keys", ("list",)),
        *_each("plan", "read a key", mount, "keys/+", "read"),
    ]


def _request(mount: Mount) -> list[Need]:
    return [
        # Transit cannot tell a new name from a known one: making a key is an update to Vault.
        *_each("request", "make and read a key", mount, "keys/+", "read", "update"),
        *_each("request", "rotate", mount, "keys/+/rotate", "update"),
        *_each("request", "sign", mount, "sign/+/sha2-256", "update"),
    ]


def _release(mount: Mount) -> list[Need]:
    if not mount.exportable:
        return []
    return _each("release", "release a key, wrapped", mount, "export/signing-key/+/1", "read")


def _export(mount: Mount) -> list[Need]:
    if not mount.exportable:
        return []
    return _each("export", "take a key out, wrapped", mount, "export/signing-key/+/1", "read")


def _retire(mount: Mount) -> list[Need]:
    return [
        *_each("retire", "read a key", mount, "keys/+", "read"),
        *_each("retire", "withdraw old versions", mount, "keys/+/config", "update"),
        *_each("retire", "destroy old versions", mount, "keys/+/trim", "update"),
    ]


def _import(mount: Mount) -> list[Need]:
    return [
        Need("import", "read the wrapping key", f"{mount.path}/wrapping_key", ("read",)),
        *_each("import", "read a key", mount, "keys/+", "read"),
        *_each("import", "import a key", mount, "keys/+/import", "update"),
        *_each("import", "import a version", mount, "keys/+/import_version", "update"),
        *_each("import", "sign", mount, "sign/+/sha2-256", "update"),
    ]


def _each(job: str, doing: str, mount: Mount, path: str, *capabilities: str) -> list[Need]:
    whole = f"{mount.path}/{path}"
    return [Need(job, doing, whole, capabilities, name) for name in mount.names]


_OF_MOUNT: Mapping[str, Callable[[Mount], list[Need]]] = {
    "plan": _plan,
    "request": _request,
    "release": _release,
    "retire": _retire,
    "import": _import,
    "export": _export,
}
#: ``ledger`` (mark a key as compromised) is about KV mounts, ``backup`` about the server, others
#: about transit.
JOBS = (*_OF_MOUNT, "ledger", "backup")
#: Every plan asks which keys are compromised, and so does whoever brings a key in or hands it out.
LOOK_AT_LEDGER = ("plan", "import", "export", "ledger")
#: Any digest: entries are made for keys that are not known yet.
_SOME_DIGEST = "0" * 64


def needs(job: str, mounts: Iterable[Mount], ledgers: Iterable[str] = ()) -> tuple[Need, ...]:
    """What a job needs.

    Args:
        job: one of :data:`JOBS`.
        mounts: the transit mounts and the keys in them.
        ledgers: KV mounts of the ledgers of compromised keys.
    """
    found: list[Need] = []
    if job in _OF_MOUNT:
        found += [need for mount in mounts for need in _OF_MOUNT[job](mount)]
    if job == "backup":
        found.append(Need(job, "take a snapshot", "sys/storage/raft/snapshot", ("read",)))
    for ledger in ledgers if job in LOOK_AT_LEDGER else ():
        found.append(Need(job, "list the ledger", f"{ledger}/metadata/compromised", ("list",)))
        found += _ENTRIES[job](ledger) if job in _ENTRIES else ()
    return tuple(found)


def of_api_keys(keys: Iterable[ApiKey]) -> tuple[Need, ...]:
    """What job ``release`` needs besides, for the API keys that gateways send."""
    found: list[Need] = []
    for key in keys:
        for doing, path in (
            ("look at an API key's version", f"{key.mount}/metadata/{FOLDER}/+"),
            ("release an API key, wrapped", f"{key.mount}/data/{FOLDER}/+"),
        ):
            found.append(Need("release", doing, path, ("read",), key.name))
    return tuple(found)


def _marks(mount: str) -> tuple[Need, ...]:
    path = f"{mount}/data/compromised/+"
    return (Need("ledger", "add to the ledger", path, ("create",), _SOME_DIGEST),)


def _handed_out(mount: str) -> tuple[Need, ...]:
    used, path = f"{mount}/data/passphrases/used/+", f"{mount}/data/exports/+"
    return (
        Need("export", "remember a passphrase", used, ("create",), _SOME_DIGEST),
        Need("export", "leave a passphrase", path, ("create",), _SOME_DIGEST),
    )


_ENTRIES: Mapping[str, Callable[[str], tuple[Need, ...]]] = {
    "ledger": _marks,
    "export": _handed_out,
}


# -- what the token has ----------------------------------------------------------------------


def compare(needed: Iterable[Need], held: Mapping[str, tuple[str, ...]]) -> tuple[Row, ...]:
    """Needs beside what the token has, in the order of the needs; equal ones are one row."""
    rows: dict[Row, list[str]] = {}
    for need in needed:
        has = tuple(sorted(held.get(need.asked) or NOTHING))
        row = Row(need.job, need.doing, need.path, need.capabilities, has, ())
        names = rows.setdefault(row, [])
        if need.name not in ("", _SOME_DIGEST, *names):
            names.append(need.name)
    return tuple(replace(row, names=tuple(names)) for row, names in rows.items())


def check(client: VaultClient, needed: Iterable[Need]) -> tuple[Row, ...]:
    """Ask Vault in one call what the token has; nothing is asked where nothing is needed.

    Raises:
        PkiError: VAULT-PREFLIGHT when the login may not even ask.
    """
    wanted = tuple(needed)
    if not wanted:
        return ()
    try:
        held = client.capabilities(dict.fromkeys(need.asked for need in wanted))
    except PkiError as error:
        if error.rule != "VAULT-DENIED":
            raise
        denied = error
    else:
        return compare(wanted, held)
    raise PkiError(
        "this login may not ask Vault what it may do",
        rule=RULE,
        found=denied.found,
        expected=f"capability update on {ASKED_AT}, which the policy default grants",
        where=denied.where,
        next_step="let the role have the policy default (token_no_default_policy=false), or "
        f"grant update on {ASKED_AT}; nothing was changed",
    )


def require(client: VaultClient, needed: Iterable[Need]) -> None:
    """Refuse to begin what the token cannot finish. One call to Vault.

    Raises:
        PkiError: VAULT-PREFLIGHT, naming path and capability; ``also`` has the further ones.
    """
    errors = [refusal(row) for row in check(client, needed) if row.lacks]
    if errors:
        first, *rest = errors
        first.also = tuple(rest)
        raise first


def lacking(client: VaultClient, mounts: Iterable[Mount]) -> dict[str, PkiError]:
    """By the key's name, why this login cannot make it and sign with it. One call to Vault.

    A login that fails, or may not ask, can make none of them.
    """
    needed = needs("request", mounts)
    try:
        rows = check(client, needed)
    except PkiError as error:
        return dict.fromkeys((need.name for need in needed), error)
    found: dict[str, list[PkiError]] = {}
    for row in rows:
        for name in row.names if row.lacks else ():
            found.setdefault(name, []).append(refusal(replace(row, names=(name,))))
    for first, *rest in found.values():
        first.also = tuple(rest)
    return {name: errors[0] for name, errors in found.items()}


def refusal(row: Row) -> PkiError:
    """A row with something missing, as an error."""
    granted = ", ".join(f'"{word}"' for word in row.needed)
    return PkiError(
        f"the Vault login lacks what job {row.job} needs",
        rule=RULE,
        found=str(row),
        expected=f"capability {' and '.join(row.lacks)} on {row.path}",
        where=row.path,
        next_step="add it to the policy of this login, "
        f'path "{row.path}" {{ capabilities = [{granted}] }}; nothing was changed',
    )


COLUMNS = ("login", "job", "path", "needed", "has", "ready")


def table(rows: Iterable[Mapping[str, object]]) -> str:
    """Results of several logins as lines of aligned columns."""
    lines = [COLUMNS, *(tuple(_cell(row[column]) for column in COLUMNS) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
