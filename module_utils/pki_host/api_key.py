# SPDX-License-Identifier: GPL-3.0-or-later
"""API keys on the host that sends them: one root-only file per gateway product and version.

Layout below the release root, one directory per API key::

    api-keys/<name>/releases/v<version>-<16 hex>/
        <the product's file> ...  delivered.json     (all 0600; the directory above them 0700)
    api-keys/<name>/current -> releases/<id>         (switched by the gateway's transaction)

The 16 digits say where and when Vault's version was written, and nothing of the value. The value
comes by a token for this host only, and is never returned, compared by others, or shown: what is
there is compared with the digests in ``delivered.json``, which are as private as the key.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import files
from .errors import HostError
from .gateways import adapter
from .trail import API_KEYS
from .unwrap import unwrap_entry
from .vault_http import VaultAddress

RECORD = "delivered.json"
RULE_MALFORMED = "API-KEY-MALFORMED"
RULE_NONE = "API-KEY-NONE"
RULE_VALUE = "API-KEY-VALUE"
RULE_VERSION = "API-KEY-VERSION"
SHORTEST, LONGEST = 8, 512
#: Printable ASCII without blanks, and without what some product's file could take for syntax.
VALUE = re.compile(r"[!#%%&(-\[\]-~]{%d,%d}" % (SHORTEST, LONGEST))
_PRIVATE_DIRECTORY = 0o700
_SCHEMA = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TAKEN = ("releases", "current", "keys")  # names that directories of certificates hold
_HEADER = re.compile(r"[A-Za-z0-9-]{1,100}")
_ID = re.compile(r"v[1-9][0-9]{0,8}-[0-9a-f]{16}")


@dataclass(frozen=True)
class Wanted:
    """One API key of this host, and the version it should have.

    ``path`` is ``<kv mount>/data/api-keys/<name>``, ``created`` Vault's date of the version as it
    was told, ``value_field`` the field with the value. ``version`` is 0 when nobody knows which
    is the newest: then what is in service stays.
    """

    name: str
    header: str
    products: tuple[str, ...]
    path: str = ""
    version: int = 0
    created: str = ""
    id: str = ""
    value_field: str = "key"

    @staticmethod
    def of(raw: Mapping[str, Any]) -> Wanted:
        """From module parameters; refuses names that would leave the root."""
        wanted = Wanted(
            name=str(raw["name"]),
            header=str(raw["header"]),
            products=tuple(sorted(str(one) for one in raw["products"])),
            path=str(raw.get("path") or ""),
            version=int(raw.get("version") or 0),
            created=str(raw.get("created") or ""),
            id=str(raw.get("id") or ""),
            value_field=str(raw.get("field") or "key"),
        )
        if not _NAME.fullmatch(wanted.name) or wanted.name in _TAKEN:
            raise _malformed(wanted, "a name with other characters, or one that is taken")
        if not _HEADER.fullmatch(wanted.header) or not wanted.products:
            raise _malformed(wanted, "no name of a header, or no product")
        if wanted.version and not (_ID.fullmatch(wanted.id) and wanted.id == wanted.right_id):
            raise _malformed(wanted, "an id of another version")
        return wanted

    @property
    def right_id(self) -> str:
        """The id as the controller makes it, too."""
        written = f"{self.path}\n{self.version}\n{self.created}"
        return f"v{self.version}-{hashlib.sha256(written.encode()).hexdigest()[:16]}"

    @property
    def relative(self) -> str:
        """The target of ``current``: relative, so that the root can be moved."""
        return f"releases/{self.id}"

    @property
    def file_names(self) -> dict[str, str]:
        """The products' files by product."""
        return {product: adapter(product).secret_file for product in self.products}

    def contents(self, value: str) -> dict[str, bytes]:
        """The files by name. HostError for a value that a product cannot send as it is."""
        return {
            name: adapter(product).secret_text(self.header, value)
            for product, name in self.file_names.items()
        }

    def base(self, root: str) -> str:
        return os.path.join(root, API_KEYS, self.name)

    def current(self, root: str) -> str:
        return os.path.join(self.base(root), "current")


@dataclass
class State:
    """What one directory lacks, found without changing it.

    ``target`` is what the link should say; empty where there is nothing to link to.
    """

    wanted: Wanted
    target: str = ""
    needs_value: bool = False
    modes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_result(self, root: str) -> dict[str, Any]:
        """For the module's result; nothing of the value."""
        link = self.wanted.current(root)
        return {
            "name": self.wanted.name,
            "version": int(self.target.split("/v")[1].split("-")[0]) if self.target else 0,
            "id": self.target.rpartition("/")[2],
            "needs_value": self.needs_value,
            "problems": list(self.problems),
            "changed": bool(self.problems),
            "link": {"path": link, "target": self.target},
            "current": files.link_target(link) or "",
        }


def inspect(root: str, wanted: Wanted) -> State:
    """Compare the directory of the wanted version with what was delivered there. Reads only.

    Where the newest version is not known, the one in service is looked at; it is never found
    wanting a value that nobody could bring.
    """
    files.require_own(root, API_KEYS, wanted.name, "releases")
    target = wanted.relative if wanted.version else _in_service(root, wanted)
    state = State(wanted, target)
    if not target:
        return state
    directory = os.path.join(wanted.base(root), target)
    files.require_own(root, API_KEYS, wanted.name, *target.split("/"))
    _compare(state, directory)
    if not wanted.version and state.needs_value:
        # Not fit for service, and nothing better is to be had: as if it were not there.
        return State(wanted)
    return state


def present(root: str, wanted: Wanted, vault: VaultAddress | None, token: str | None) -> State:
    """Make the directory right and return what was wrong before. Under the root's lock.

    Raises HostError API-KEY-NONE without a token where one is needed, API-KEY-VERSION for another
    version than the wanted one, API-KEY-VALUE for a value that is none, and everything that
    :func:`~.unwrap.unwrap_entry` raises. Nothing is written then.
    """
    state = inspect(root, wanted)
    if not state.target:
        return state
    directory = os.path.join(wanted.base(root), state.target)
    files.sweep(directory)
    if state.needs_value:
        contents = wanted.contents(_delivered(wanted, vault, token))
        files.make_directory(os.path.join(root, API_KEYS), _PRIVATE_DIRECTORY)
        files.make_directory(directory, _PRIVATE_DIRECTORY)
        for name, data in contents.items():
            files.write(os.path.join(directory, name), data, files.PRIVATE)
        # Last: a directory without it is one that a killed run left.
        files.write(os.path.join(directory, RECORD), _record(wanted, contents), files.PRIVATE)
        return state
    for name in state.modes:
        files.set_mode(os.path.join(directory, name), files.PRIVATE)
    return state


def kept(root: str, wanted: Wanted) -> State:
    """What is in service of an API key whose wanted version is not to be had."""
    return inspect(root, replace(wanted, version=0, created="", id=""))


def _compare(state: State, directory: str) -> None:
    names = sorted({*state.wanted.file_names.values()})
    delivered = _delivered_before(directory, state.wanted)
    for name in names:
        data = files.read(os.path.join(directory, name))
        if data is None:
            state.problems.append(f"{name} is missing")
        elif delivered.get(name) != files.sha256(data):
            state.problems.append(f"{name} is not what was delivered")
    state.needs_value = bool(state.problems)
    for name in (*names, RECORD):
        path = os.path.join(directory, name)
        mode = files.mode_of(path)
        if mode is None or mode == files.PRIVATE:
            continue
        state.modes.append(name)
        state.problems.append(f"{name} has mode {mode:04o}, not {files.PRIVATE:04o}")
        if mode & 0o077:
            state.warnings.append(
                f"{path} had mode {mode:04o}: others on this host could read the API key "
                f"{state.wanted.name}. The mode is put right, but who read it meanwhile is not "
                "known: consider having the key generated again."
            )


def _delivered_before(directory: str, wanted: Wanted) -> dict[str, str]:
    """Digests of the files as they were written; none where that is not told, or for others."""
    try:
        told = json.loads(files.read(os.path.join(directory, RECORD)) or b"{}")
        same = (told["schema"], told["header"]) == (_SCHEMA, wanted.header)
        return dict(told["files"]) if same else {}
    except (ValueError, KeyError, TypeError):
        return {}


def _record(wanted: Wanted, contents: Mapping[str, bytes]) -> bytes:
    told = {
        "schema": _SCHEMA,
        "path": wanted.path,
        "version": wanted.version,
        "created_time": wanted.created,
        "header": wanted.header,
        "files": {name: files.sha256(data) for name, data in contents.items()},
    }
    return json.dumps(told, indent=2, sort_keys=True).encode() + b"\n"


def _in_service(root: str, wanted: Wanted) -> str:
    target = files.link_target(wanted.current(root)) or ""
    folder, _, name = target.partition("/")
    return target if folder == "releases" and _ID.fullmatch(name) else ""


def _delivered(wanted: Wanted, vault: VaultAddress | None, token: str | None) -> str:
    if vault is None or not token:
        raise HostError(
            f"the API key {wanted.name} is not on this host and none was delivered",
            rule=RULE_NONE,
            found="no wrap token for it",
            expected="a token wrapped for this host in this task, and release_host_vault",
            where=wanted.path,
            next_step="run the release role; the module alone cannot make a token",
        )
    try:
        fields, written = unwrap_entry(vault, token, wanted.path)
    except HostError as exc:
        if exc.rule == "VAULT-WRAP-USED":
            exc.message = f"the wrapped API key {wanted.name} was already taken, or came too late"
            exc.next_step = (
                "have the server's audit log looked at: ansible-playbook -i INVENTORY "
                'playbooks/verify.yml -e \'{"verify_audit_log": ["FILE"]}\'. A use from another '
                "address means that somebody else has the key: have it generated again in the "
                "portal and put it into Vault; none means that the token expired on its way, so "
                "run again"
            )
        raise
    if written != f"{wanted.version} {wanted.created}":
        raise HostError(
            f"the API key {wanted.name} changed while it was delivered",
            rule=RULE_VERSION,
            found=f"version {written}",
            expected=f"version {wanted.version} {wanted.created}",
            where=wanted.path,
            next_step="run again; nothing was written",
        )
    return _checked(wanted, fields)


def _checked(wanted: Wanted, fields: Mapping[str, Any]) -> str:
    value = fields.get(wanted.value_field)
    if isinstance(value, str) and VALUE.fullmatch(value):
        return value
    raise HostError(
        f"what Vault has as the API key {wanted.name} is none",
        rule=RULE_VALUE,
        found="no such field" if value is None else _how_wrong(value),
        expected=f"one text of {SHORTEST} to {LONGEST} printable ASCII characters in the field "
        f"`{wanted.value_field}`, without blanks, quotes, backslash and $",
        where=wanted.path,
        next_step="put it there again as it stands in the portal, without the end of a line; "
        "nothing was written",
    )


def _how_wrong(value: object) -> str:
    """In general words: of a secret not even a character is shown."""
    if not isinstance(value, str):
        return "no text"
    if not SHORTEST <= len(value) <= LONGEST:
        return "a text that is too short" if len(value) < SHORTEST else "a text that is too long"
    return "white space" if any(c.isspace() for c in value) else "other characters"


def _malformed(wanted: Wanted, found: str) -> HostError:
    return HostError(
        "the API key handed to this host is malformed",
        rule=RULE_MALFORMED,
        found=found,
        expected="a plain name, a header, products, and the id of its version",
        where=f"{wanted.name} {wanted.id}",
        next_step="use the release role; it asks Vault which version is the newest",
    )
