# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that must never be used again: who says so, and since when.

Two ledgers, and either one refuses: ``compromised.yml`` beside the inventory, which a person
commits, and entries in Vault's KV engine that this software can make and nobody's run can take
back. The key of an entry is the SHA-256 of the public key (SPKI).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from . import plain_files, policy_files
from .errors import PkiError
from .policy_load import Source, read
from .vault_kv import Folder, VaultClient

FILE = "compromised.yml"
FOLDER = "compromised"
RULE_FILE = "LEDGER-FILE"
RULE_VAULT = "LEDGER-VAULT"
MAXIMUM_BYTES = 1_048_576
_DIGEST = re.compile(r"[0-9a-f]{64}")
_WANTED = (
    "compromised: a list of entries with spki_sha256 (64 lower-case hexadecimal digits), "
    "certificate, since (YYYY-MM-DD) and reason"
)
#: What is told by the engine when the mount or the right to look at it is missing.
_NOT_SET_UP = ("VAULT-NO-MOUNT", "VAULT-DENIED", "VAULT-NOT-FOUND", "VAULT-KV-VERSION")


# --- beside the inventory -------------------------------------------------------------------


def committed(base_dir: Path, policy_dir: Path) -> dict[str, str]:
    """What ``compromised.yml`` says: by SPKI digest, in words; nothing without such a file.

    Raises:
        PkiError: LEDGER-FILE, with the line; with a damaged ledger nothing is judged.
    """
    path = base_dir / FILE
    try:
        text = plain_files.read(path, MAXIMUM_BYTES).decode("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        problem = getattr(exc, "strerror", None) or "not UTF-8"
        raise _damaged(problem, "a plain text file", str(path)) from exc
    try:
        source = read(str(path), text, policy_files.load_schema(policy_dir), "compromised")
    except PkiError as exc:
        raise _damaged(exc.found, _WANTED, exc.where) from exc
    found: dict[str, str] = {}
    for index, entry in enumerate(source.marked.value["compromised"]):
        digest, since = _checked(source, index, entry)
        said = f"{FILE}: {entry['certificate']}, since {since}: {entry['reason']}"
        _add(found, digest, said)
    return found


def _checked(source: Source, index: int, entry: Mapping[str, str]) -> tuple[str, date]:
    digest = entry["spki_sha256"]
    if not _DIGEST.fullmatch(digest):
        where = str(source.place("compromised", index, "spki_sha256"))
        raise _damaged(digest, "64 lower-case hexadecimal digits", where)
    try:
        return digest, date.fromisoformat(entry["since"])
    except ValueError:
        where = str(source.place("compromised", index, "since"))
        raise _damaged(entry["since"], "a day as YYYY-MM-DD", where) from None


def _damaged(found: str, expected: str, where: str) -> PkiError:
    return PkiError(
        "the ledger of compromised keys cannot be used",
        rule=RULE_FILE,
        found=found,
        expected=expected,
        where=where,
        next_step="correct the file; nothing is judged without it, and nothing was changed",
    )


def extended(text: str, spki_sha256: str, entry: Mapping[str, str]) -> str:
    """The ledger beside the inventory with one more entry.

    What is there stays as it is written, comments included, wherever an entry can be put below
    it; else the list is written anew. ``text`` is empty for a file that is not there yet.
    """
    new: dict[str, Any] = {"spki_sha256": spki_sha256, **entry}
    before: list[Any] = (yaml.safe_load(text) or {}).get(FOLDER, []) if text else []
    wanted = {FOLDER: [*before, new]}
    block = yaml.safe_dump([new], sort_keys=False, allow_unicode=True, width=1000)
    base = text if text.endswith("\n") else f"{text}\n"
    for indent in ("  ", "") if text else ():
        longer = base + "".join(f"{indent}{line}\n" for line in block.splitlines())
        if _value(longer) == wanted:
            return longer
    return "---\n" + yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True, width=1000)


def _value(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


# --- in Vault ---------------------------------------------------------------------------------


def mount_of(environment_class: str) -> str:
    """The KV mount of an environment class."""
    return f"kv-{environment_class}"


def stored(client: VaultClient, classes: Iterable[str]) -> dict[str, str]:
    """What Vault's ledgers say: by SPKI digest, in words. One LIST for each environment class.

    Raises:
        PkiError: LEDGER-VAULT for a ledger that is not set up or has an entry that names no
            key: without it nobody knows which keys are compromised.
    """
    found: dict[str, str] = {}
    for environment_class in sorted(set(classes)):
        mount = mount_of(environment_class)
        for name in _names(client, mount):
            if not _DIGEST.fullmatch(name):
                raise _no_key(mount, name)
            _add(found, name, f"Vault {mount}/{FOLDER}")
    return found


def _names(client: VaultClient, mount: str) -> list[str]:
    try:
        return Folder(client, mount, FOLDER).names()
    except PkiError as exc:
        if exc.rule not in _NOT_SET_UP:
            raise
        missing = exc
    raise PkiError(
        "the ledger of compromised keys in Vault cannot be read",
        rule=RULE_VAULT,
        found=f"{missing.message}: {missing.found}",
        expected=f"a KV engine of version 2 at {mount}, whose {mount}/metadata/{FOLDER} this "
        "identity may list",
        where=missing.where,
        next_step=f"make it (bao secrets enable -path={mount} -version=2 kv) and give the "
        "pipeline's policy the paths of docs/vault.md; nothing was changed",
    )


def _no_key(mount: str, name: str) -> PkiError:
    return PkiError(
        "the ledger of compromised keys in Vault has an entry that names no key",
        rule=RULE_VAULT,
        found=name,
        expected="64 lower-case hexadecimal digits, the SHA-256 of a public key",
        where=f"{mount}/metadata/{FOLDER}/{name}",
        next_step="find out which key was meant, mark that one, and have an operator remove "
        "this entry; nothing was changed",
    )


def mark(
    client: VaultClient, environment_class: str, spki_sha256: str, entry: Mapping[str, Any]
) -> bool:
    """Record a key as compromised, once and for good; False when that was done before.

    ``entry`` says what a person wants to know of it: certificate, since, reason; no secret.
    """
    if not _DIGEST.fullmatch(spki_sha256):
        raise _no_key(mount_of(environment_class), spki_sha256)
    return Folder(client, mount_of(environment_class), FOLDER).create(spki_sha256, entry)


# --- both -------------------------------------------------------------------------------------


def merged(*ledgers: Mapping[str, str]) -> dict[str, str]:
    """Several ledgers as one: each of them is enough."""
    found: dict[str, str] = {}
    for ledger in ledgers:
        for digest, said in ledger.items():
            _add(found, str(digest), str(said))
    return found


def _add(found: dict[str, str], digest: str, said: str) -> None:
    before = found.get(digest)
    found[digest] = said if before in (None, said) else f"{before}; {said}"
