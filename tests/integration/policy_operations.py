# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything a token could try on a key server of ours, and who of our roles may.

``{key}`` is a key that is there, with two versions, ``{new}`` a name that is free, ``{entry}`` an
entry of the KV engine, ``{spare}`` a key that nothing else needs, with one version withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from integration.policy_world import CLASSES

WRAPPED = {"X-Vault-Wrap-TTL": "60s"}
TOO_LONG = {"X-Vault-Wrap-TTL": "121s"}


@dataclass(frozen=True)
class Operation:
    """One request; ``may`` names the roles whose policy grants it."""

    name: str
    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] | None = None
    may: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.name}: {self.path}"


def op(
    name: str,
    method: str,
    path: str,
    body: Any = None,
    *may: str,
    headers: Mapping[str, str] | None = None,
) -> Operation:
    return Operation(name, method, path, body, headers, frozenset(may))


def config(name: str, **settings: Any) -> Operation:
    return op(f"set {name}", "POST", "{mount}/keys/{key}/config", settings)


EVERYBODY_WHO_LOOKS = ("pipeline", "retire", "import", "auditor")
MESSAGE = {"input": "aGVsbG8="}


def of_a_transit_mount(kind: str) -> Iterator[Operation]:
    """``kind``: ``tls`` or ``signing``."""
    right = kind == "tls"
    yield op("list keys", "LIST", "{mount}/keys", None, *EVERYBODY_WHO_LOOKS)
    yield op("read a key", "GET", "{mount}/keys/{key}", None, *EVERYBODY_WHO_LOOKS)
    new = {"type": "rsa-2048", "exportable": right}
    yield op("make a key", "POST", "{mount}/keys/{new}", new, "pipeline")
    for value in (not right, str(not right).lower(), int(not right), [not right]):
        body = {"type": "rsa-2048", "exportable": value}
        yield op(f"make a key, exportable {value!r}", "POST", "{mount}/keys/{new}", body)
    for other in ("ed25519", "aes256-gcm96", "ecdsa-p256", "rsa-3072", "hmac"):
        body = {"type": other, "exportable": right}
        yield op(f"make a key of type {other}", "POST", "{mount}/keys/{new}", body)
    for extra in (
        {"allow_plaintext_backup": True},
        {"auto_rotate_period": "24h"},
        {"derived": True},
        {"convergent_encryption": True},
    ):
        (name,) = extra
        yield op(f"make a key with {name}", "POST", "{mount}/keys/{new}", {**new, **extra})
    yield op("rotate", "POST", "{mount}/keys/{spare}/rotate", None, "pipeline")
    yield op("delete a key", "DELETE", "{mount}/keys/{key}")
    yield op("soft-delete a key", "DELETE", "{mount}/keys/{key}/soft-delete")
    yield op("restore a soft-deleted key", "POST", "{mount}/keys/{key}/soft-delete-restore")

    bounds = {"min_decryption_version": 1, "min_encryption_version": 0}
    yield replace(config("the bounds", **bounds), may=frozenset({"retire"}))
    yield config("exportable", exportable=True)
    yield config("exportable as text", exportable="true")
    yield config("exportable beside a bound", min_decryption_version=1, exportable=True)
    yield config("plaintext backup", allow_plaintext_backup=True)
    yield config("deletion", deletion_allowed=True)
    yield config("automatic rotation", auto_rotate_period="24h")
    trimmed = {"min_available_version": 2}
    yield op("trim", "POST", "{mount}/keys/{spare}/trim", trimmed, "retire")

    yield op("have a CSR made", "POST", "{mount}/keys/{key}/csr", {})
    chain = {"certificate_chain": "x"}
    yield op("set a certificate", "POST", "{mount}/keys/{key}/set-certificate", chain)
    yield op("read the wrapping key", "GET", "{mount}/wrapping_key", None, "import")
    yield op("import a key", "POST", "{mount}/keys/{new}/import", "import", "import")
    wrong = {"exportable": not right}
    yield op("import, other exportability", "POST", "{mount}/keys/{new}/import", ("import", wrong))
    backup = {"allow_plaintext_backup": True}
    yield op("import for plaintext", "POST", "{mount}/keys/{new}/import", ("import", backup))
    public = {"type": "rsa-2048", "public_key": "x"}
    yield op("import a public key", "POST", "{mount}/keys/{new}/import", public)

    for what in ("signing-key", "encryption-key", "hmac-key", "public-key", "certificate-chain"):
        for version in ("/1", "/latest", ""):
            path = f"{{mount}}/export/{what}/{{key}}{version}"
            yield op(f"export {what}", "GET", path)
            # Without a version in the path it is every version of the key.
            granted = right and what == "signing-key" and bool(version)
            who = ("release", "export") if granted else ()
            yield op(f"export {what} wrapped", "GET", path, None, *who, headers=WRAPPED)
            yield op(f"export {what} for longer", "GET", path, headers=TOO_LONG)
    yield op("export to another key", "GET", "{mount}/byok-export/{key}/{key}")
    yield op("back up", "GET", "{mount}/backup/{key}")
    yield op("restore", "POST", "{mount}/restore/{new}", {"backup": "eA=="})

    sign = ("pipeline", "import")
    yield op("sign", "POST", "{mount}/sign/{key}/sha2-256", MESSAGE, *sign)
    yield op("sign without a hash's name", "POST", "{mount}/sign/{key}", MESSAGE)
    yield op("verify", "POST", "{mount}/verify/{key}/sha2-256", {**MESSAGE, "signature": "x"})
    for name, path in (
        ("encrypt", "encrypt/{key}"),
        ("decrypt", "decrypt/{key}"),
        ("rewrap", "rewrap/{key}"),
        ("make a data key", "datakey/plaintext/{key}"),
        ("make a wrapped data key", "datakey/wrapped/{key}"),
        ("hmac", "hmac/{key}/sha2-256"),
        ("random bytes", "random/32"),
        ("hash", "hash/sha2-256"),
        ("set the cache", "cache-config"),
        ("set how keys behave", "config/keys"),
    ):
        body = {**MESSAGE, "plaintext": "eA==", "ciphertext": "x", "size": 10}
        yield op(name, "POST", "{mount}/" + path, body)
    yield op("read the cache", "GET", "{mount}/cache-config")


def of_a_kv_mount() -> Iterator[Operation]:
    entry = {"data": {"passphrase": "x"}}
    ledger = ("pipeline", "import", "auditor", "export")
    yield op("list folders", "LIST", "{mount}/metadata", None, "auditor")
    yield op("list the ledger", "LIST", "{mount}/metadata/compromised", None, *ledger)
    yield op("read an entry", "GET", "{mount}/data/compromised/{entry}", None, "pipeline")
    yield op("add an entry", "POST", "{mount}/data/compromised/{new}", entry, "pipeline")
    yield op("list passphrases", "LIST", "{mount}/metadata/passphrases", None, "pipeline")
    yield op("add a passphrase", "POST", "{mount}/data/passphrases/{new}", entry, "pipeline")
    secret = "{mount}/data/passphrases/{entry}"
    yield op("read a passphrase", "GET", secret)
    yield op("read a passphrase wrapped", "GET", secret, None, "release", headers=WRAPPED)
    yield op("read a passphrase for longer", "GET", secret, headers=TOO_LONG)
    secret = "{mount}/data/api-keys/{entry}"
    yield op("list API keys", "LIST", "{mount}/metadata/api-keys")
    yield op("read an API key", "GET", secret)
    yield op("read an API key wrapped", "GET", secret, None, "release", headers=WRAPPED)
    yield op("read an API key for longer", "GET", secret, headers=TOO_LONG)
    yield op("add an API key", "POST", "{mount}/data/api-keys/{new}", entry)
    for name, folder in (("exports", "exports"), ("used passphrases", "passphrases/used")):
        yield op(f"list {name}", "LIST", f"{{mount}}/metadata/{folder}", None, "export")
        path = f"{{mount}}/data/{folder}"
        yield op(f"add to {name}", "POST", path + "/{new}", entry, "export")
        yield op(f"read one of {name}", "GET", path + "/{entry}")
        yield op(f"read one of {name} wrapped", "GET", path + "/{entry}", headers=WRAPPED)
    salt = "{mount}/data/passphrases/used/salt"
    yield op("read the salt", "GET", salt, None, "export")
    yield op("change the salt", "POST", salt, {"data": {"hex": "ab"}})
    yield op("delete the salt", "DELETE", salt)
    for folder in ("compromised", "passphrases", "exports", "passphrases/used", "api-keys"):
        path = f"{folder}/{{entry}}"
        yield op(f"change {folder}", "POST", "{mount}/data/" + path, entry)
        patch = {"Content-Type": "application/merge-patch+json"}
        yield op(f"patch {folder}", "PATCH", "{mount}/data/" + path, entry, headers=patch)
        yield op(f"delete {folder}", "DELETE", "{mount}/data/" + path)
        who = ("release",) if folder == "api-keys" else ()
        yield op(f"read about {folder}", "GET", "{mount}/metadata/" + path, None, *who)
        yield op(f"change about {folder}", "POST", "{mount}/metadata/" + path, {"max_versions": 1})
        yield op(f"remove {folder}", "DELETE", "{mount}/metadata/" + path)
        for verb in ("delete", "undelete", "destroy"):
            body = {"versions": [1]}
            yield op(f"{verb} a version of {folder}", "POST", f"{{mount}}/{verb}/" + path, body)
    yield op("add something else", "POST", "{mount}/data/others/{new}", entry)
    yield op("read settings", "GET", "{mount}/config")
    yield op("change settings", "POST", "{mount}/config", {"max_versions": 1})


OF_THE_SERVER = (
    op("read mounts", "GET", "sys/mounts", None, "auditor"),
    op("mount", "POST", "sys/mounts/acl-more", {"type": "transit"}),
    op("mount a file's backend", "POST", "sys/mounts/acl-kv", {"type": "kv"}),
    op(
        "tune a mount",
        "POST",
        "sys/mounts/transit-nonprod-tls/tune",
        {"audit_non_hmac_response_keys": ["keys"]},
    ),
    op("unmount", "DELETE", "sys/mounts/transit-nonprod-signing"),
    op("move a mount", "POST", "sys/remount", {"from": "kv-prod", "to": "kv-more"}),
    op("list policies", "LIST", "sys/policies/acl", None, "auditor"),
    op("read a policy", "GET", "sys/policies/acl/release", None, "auditor"),
    op("write a policy", "POST", "sys/policies/acl/{role}", {"policy": 'path "*" {}'}),
    op("write a policy the old way", "POST", "sys/policy/{role}", {"policy": 'path "*" {}'}),
    op("remove a policy", "DELETE", "sys/policies/acl/release"),
    op("write a password policy", "POST", "sys/policies/password/x", {"policy": "length=20"}),
    op("read logins", "GET", "sys/auth", None, "auditor"),
    op("add a login", "POST", "sys/auth/acl-more", {"type": "userpass"}),
    op("remove a login", "DELETE", "sys/auth/approle"),
    op("read audit devices", "GET", "sys/audit", None, "auditor"),
    op("add an audit device", "POST", "sys/audit/acl-more", {"type": "file"}),
    op("hash for the audit log", "POST", "sys/audit-hash/tests", {"input": "x"}),
    op("read raw storage", "GET", "sys/raw/core/mounts"),
    op("list raw storage", "LIST", "sys/raw/core"),
    op("take a snapshot", "GET", "sys/storage/raft/snapshot", None, "backup"),
    op("restore a snapshot", "POST", "sys/storage/raft/snapshot", {}),
    op("restore a foreign snapshot", "POST", "sys/storage/raft/snapshot-force", {}),
    op("read the cluster", "GET", "sys/storage/raft/configuration"),
    op("remove a node", "POST", "sys/storage/raft/remove-peer", {"server_id": "none"}),
    op("seal", "POST", "sys/seal"),
    op("step down", "POST", "sys/step-down"),
    op("rotate the storage key", "POST", "sys/rotate"),
    op("list leases", "LIST", "sys/leases/lookup/auth/approle/login"),
    op("revoke leases", "POST", "sys/leases/revoke-prefix/auth/approle/login"),
    op("force leases", "POST", "sys/leases/revoke-force/auth/approle/login"),
    op("others' capabilities", "POST", "sys/capabilities", {"token": "x", "paths": ["x"]}),
    op(
        "capabilities by accessor",
        "POST",
        "sys/capabilities-accessor",
        {"accessor": "x", "paths": ["x"]},
    ),
    op("add a plugin", "POST", "sys/plugins/catalog/secret/x", {"sha256": "x", "command": "x"}),
    op("read plugins", "GET", "sys/plugins/catalog"),
    op("add a quota", "POST", "sys/quotas/rate-limit/x", {"rate": 1}),
    op("add a namespace", "POST", "sys/namespaces/acl-more"),
    op("show headers in the log", "POST", "sys/config/auditing/request-headers/x-vault-token"),
    op("allow other origins", "POST", "sys/config/cors", {"allowed_origins": "*"}),
    op("random bytes", "POST", "sys/tools/random/32"),
    op("read the host", "GET", "sys/host-info"),
    op("read counters", "GET", "sys/internal/counters/tokens"),
    op("profile", "GET", "sys/pprof/goroutine"),
    op("read loggers", "GET", "sys/loggers"),
)

CHILD = {"policies": ["release"]}
ENTITY = {"name": "acl-other", "metadata": {"mtls_key_nonprod_1": "acl-key"}}
OF_IDENTITIES = (
    op("make a child token", "POST", "auth/token/create", CHILD),
    op("make a child like itself", "POST", "auth/token/create", {}),
    op("make an orphan", "POST", "auth/token/create-orphan", CHILD),
    op("make a token by a role", "POST", "auth/token/create/x", CHILD),
    op("make a token role", "POST", "auth/token/roles/x", {"allowed_policies": "release"}),
    op("list tokens", "LIST", "auth/token/accessors"),
    op("look at a token", "POST", "auth/token/lookup", {"token": "x"}),
    op("look at an accessor", "POST", "auth/token/lookup-accessor", {"accessor": "x"}),
    op("revoke by accessor", "POST", "auth/token/revoke-accessor", {"accessor": "x"}),
    op("revoke a token", "POST", "auth/token/revoke", {"token": "x"}),
    op("tidy tokens", "POST", "auth/token/tidy"),
    op("list AppRoles", "LIST", "auth/approle/role", None, "auditor"),
    op("read an AppRole", "GET", "auth/approle/role/release", None, "auditor"),
    op("make an AppRole", "POST", "auth/approle/role/x", {"token_policies": "release"}),
    op(
        "change its AppRole",
        "POST",
        "auth/approle/role/{role}",
        {"token_policies": ["release", "operator"]},
    ),
    op(
        "change its AppRole's policies",
        "POST",
        "auth/approle/role/{role}/policies",
        {"token_policies": ["release"]},
    ),
    op("delete an AppRole", "DELETE", "auth/approle/role/release"),
    op("read a role id", "GET", "auth/approle/role/release/role-id"),
    op("set a role id", "POST", "auth/approle/role/release/role-id", {"role_id": "x"}),
    op("make a secret id", "POST", "auth/approle/role/release/secret-id", {}),
    op(
        "choose a secret id",
        "POST",
        "auth/approle/role/release/custom-secret-id",
        {"secret_id": "acl-chosen"},
    ),
    op("list secret ids", "LIST", "auth/approle/role/release/secret-id"),
    op(
        "look at a secret id",
        "POST",
        "auth/approle/role/release/secret-id/lookup",
        {"secret_id": "x"},
    ),
    op("list entities", "LIST", "identity/entity/name", None, "auditor"),
    op("read an entity", "GET", "identity/entity/name/acl-other", None, "auditor"),
    op("make an entity", "POST", "identity/entity", ENTITY),
    op("map another key to a host", "POST", "identity/entity/name/acl-host", ENTITY),
    op("delete an entity", "DELETE", "identity/entity/name/acl-host"),
    op("list entities by id", "LIST", "identity/entity/id"),
    op(
        "merge entities",
        "POST",
        "identity/entity/merge",
        {"from_entity_ids": [], "to_entity_id": ""},
    ),
    op("take an alias", "POST", "identity/entity-alias", {"name": "x", "mount_accessor": "x"}),
    op("list aliases", "LIST", "identity/entity-alias/id"),
    op("make a group", "POST", "identity/group", {"name": "x", "policies": ["release"]}),
    op("find an entity", "POST", "identity/lookup/entity", {"name": "acl-other"}),
    op("make an OIDC key", "POST", "identity/oidc/key/x", {}),
)


def everything() -> Iterator[tuple[str, Operation]]:
    """Every operation on every mount of both classes, with the mount."""
    for environment_class in CLASSES:
        ours = environment_class == CLASSES[0]
        for kind in ("tls", "signing"):
            for one in of_a_transit_mount(kind):
                yield f"transit-{environment_class}-{kind}", one if ours else nobody(one)
        for one in of_a_kv_mount():
            yield f"kv-{environment_class}", one if ours else nobody(one)
    for one in (*OF_THE_SERVER, *OF_IDENTITIES):
        yield "", one


def nobody(one: Operation) -> Operation:
    """The same on the mount of a class that the policies do not speak of."""
    return replace(one, name=f"{one.name} in another class", may=frozenset())
