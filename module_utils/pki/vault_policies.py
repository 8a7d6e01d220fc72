# SPDX-License-Identifier: GPL-3.0-or-later
"""The ACL policies that are shipped: what their templates are filled with, and keeping them.

The templates are the role's; which mounts there are and which kinds of keys is known here, from
the very functions that the stores and the ledger use. Nothing is ever deleted, and a policy that
somebody else wrote under the same name is left alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from . import ledger, trail, vault_ids
from .errors import PkiError
from .keystores import key_type
from .policy import Policy
from .stores.transit import mount_for

RULE = "VAULT-POLICIES"
#: The first line of every policy of ours, by which it is told from another of the same name.
OWNED = "# Owned by the role vault_policies:"
NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9])?")


class VaultClient(Protocol):
    """What is needed of :class:`pki.vault.Client`."""

    def read(self, path: str) -> dict[str, Any] | None: ...
    def list(self, path: str) -> list[str]: ...
    def write(
        self, path: str, data: Mapping[str, Any] | None = None, idempotent: bool = False
    ) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Mount:
    """A secrets engine: ``version`` is that of the KV engine, empty for others."""

    path: str
    type: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.type}{f', version {self.version}' if self.version else ''}"

    def body(self) -> dict[str, Any]:
        """What the server is asked for."""
        return {
            "type": self.type,
            **({"options": {"version": self.version}} if self.version else {}),
        }


@dataclass(frozen=True, slots=True)
class Step:
    """One write: where, what is there now (None: nothing), and what will be."""

    path: str
    before: str | None
    after: str
    body: Mapping[str, Any]

    @property
    def sentence(self) -> str:
        return f"{'make' if self.before is None else 'change'} {self.path}"

    def as_event(self, ids: Sequence[str] = ()) -> dict[str, Any]:
        """That it was written, for the audit trail."""
        digest = hashlib.sha256(self.after.encode()).hexdigest()
        return trail.event("Vault's setup written", artefacts={self.path: digest}, vault=ids)

    def diff(self) -> dict[str, str]:
        """For Ansible; policies and mounts are public."""
        return {
            "before_header": self.path,
            "after_header": self.path,
            "before": self.before or "",
            "after": self.after,
        }


# --- what the templates are filled with -----------------------------------------------------


def places(environment_classes: Iterable[str]) -> list[dict[str, str]]:
    """The mounts of each environment class: ``class``, ``tls``, ``signing`` and ``kv``."""
    return [
        {
            "class": name,
            "tls": mount_for(name, ("mtls",)),
            "signing": mount_for(name, ("signing",)),
            "kv": ledger.mount_of(name),
        }
        for name in map(str, environment_classes)
    ]


def mounts(environment_classes: Iterable[str]) -> list[dict[str, str]]:
    """The same mounts as ``path``, ``type`` and ``version``."""
    return [
        {"path": path, "type": kind, "version": version}
        for place in places(environment_classes)
        for path, kind, version in (
            (place["tls"], "transit", ""),
            (place["signing"], "transit", ""),
            (place["kv"], "kv", "2"),
        )
    ]


def key_types(policies: Mapping[str, Policy]) -> list[str]:
    """The kinds of keys that any of the policies wants made, each once."""
    return sorted({key_type(policy) for policy in policies.values()})


def variables(
    environment_classes: Iterable[str], kinds: Iterable[str], pull_keys: int
) -> dict[str, Any]:
    """What the templates are filled with."""
    return {
        "places": places(environment_classes),
        "key_types": [str(kind) for kind in kinds],
        "pull_keys": int(pull_keys),
    }


# --- what a server lacks ----------------------------------------------------------------------


def steps(
    client: VaultClient,
    policies: Mapping[str, str],
    wanted_mounts: Iterable[Mount] = (),
    *,
    adopt: bool = False,
) -> tuple[Step, ...]:
    """What has to be written so that the server has these mounts and policies; reads only.

    ``adopt``: take over policies of these names that somebody else wrote.

    Raises:
        PkiError: VAULT-POLICIES for a name that cannot be used, a text that is not ours to
            keep, somebody else's policy, or a mount of another kind.
    """
    for name, text in policies.items():
        _check(name, text)
    found = [*_mount_steps(client, tuple(wanted_mounts))]
    there = set(client.list("sys/policies/acl"))
    for name, text in policies.items():
        path = f"sys/policies/acl/{name}"
        before = _text(client.read(path)) if name in there else None
        if before == text:
            continue
        if before is not None and not before.startswith(OWNED) and not adopt:
            raise _foreign(path, before)
        found.append(Step(path, before, text, {"policy": text}))
    return tuple(found)


def carry_out(client: VaultClient, wanted: Iterable[Step], happened: list[dict[str, Any]]) -> None:
    """Write what :func:`steps` found; each step may be repeated. ``happened`` gets its events."""
    for step in wanted:
        with vault_ids.noted() as ids:
            client.write(step.path, step.body, idempotent=step.path.startswith("sys/policies/"))
        happened.append(step.as_event(ids))


def files(directory: Path, policies: Mapping[str, str]) -> tuple[Step, ...]:
    """The same for files of a directory, ``<name>.hcl`` each: what differs there."""
    found = []
    for name, text in policies.items():
        _check(name, text)
        path = directory / f"{name}.hcl"
        before = path.read_text(encoding="utf-8") if path.is_file() else None
        if before != text:
            found.append(Step(str(path), before, text, {}))
    return tuple(found)


def _mount_steps(client: VaultClient, wanted: tuple[Mount, ...]) -> Iterable[Step]:
    there = client.read("sys/mounts") or {} if wanted else {}
    for mount in wanted:
        path, found = f"sys/mounts/{mount.path}", there.get(f"{mount.path}/")
        if found is None:
            yield Step(path, None, f"{mount}\n", mount.body())
        elif _kind(found) != (mount.type, mount.version):
            raise PkiError(
                "another secrets engine is mounted there",
                rule=RULE,
                found="type {}, version {}".format(*(word or "none" for word in _kind(found))),
                expected=str(mount),
                where=path,
                next_step="move what is there elsewhere; nothing was changed",
            )


def _kind(found: Mapping[str, Any]) -> tuple[str, str]:
    options = found.get("options")
    version = options.get("version") if isinstance(options, Mapping) else None
    kind = str(found.get("type"))
    # An engine of another type may have options of its own: only KV has versions.
    return kind, str(version or "1") if kind == "kv" else ""


def _text(answer: Mapping[str, Any] | None) -> str:
    return str((answer or {}).get("policy", ""))


def _check(name: str, text: str) -> None:
    if not NAME.fullmatch(name):
        raise PkiError(
            "a policy cannot have this name",
            rule=RULE,
            found=repr(name),
            expected="lower-case letters, digits and - _ . inside",
            where="policies",
            next_step="correct vault_policies_prefix; nothing was changed",
        )
    if not text.startswith(OWNED):
        raise PkiError(
            f"the policy {name} does not say whose it is",
            rule=RULE,
            found=text.partition("\n")[0],
            expected=f"a first line that begins with {OWNED}",
            where="policies",
            next_step="use the templates of the role vault_policies; nothing was changed",
        )


def _foreign(path: str, before: str) -> PkiError:
    return PkiError(
        "somebody else wrote a policy of this name",
        rule=RULE,
        found=before.partition("\n")[0],
        expected=f"no such policy, or one that begins with {OWNED}",
        where=path,
        next_step="choose another vault_policies_prefix, or set vault_policies_adopt to replace "
        "it; nothing was changed",
    )
