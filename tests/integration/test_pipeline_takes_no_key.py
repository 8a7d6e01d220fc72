# SPDX-License-Identifier: GPL-3.0-or-later
"""The pipeline's login alone cannot obtain a private key, in any way we could think of.

Each attempt is a sentence and the requests somebody would make who holds that login. Whatever the
server answers, no answer may hold a part of a private key, and the attempt has to fail where it
says it fails. What the login can do with keys (sign anything with them) is shown, too.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from integration.canary import Scanner
from integration.policy_operations import TOO_LONG, WRAPPED
from integration.policy_world import KEY, PolicyWorld, Said

pytestmark = pytest.mark.integration

TLS, SIGNING = "transit-nonprod-tls", "transit-nonprod-signing"
MOUNTS = (TLS, SIGNING)
EXPORT = f"{TLS}/export/signing-key/{KEY}/1"


class Thief:
    """Somebody with the pipeline's login, and nothing else."""

    def __init__(self, world: PolicyWorld) -> None:
        self.world = world

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Said:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.world.ask("pipeline", method, path, body, named)

    def denied(self, method: str, path: str, body: object = None, **headers: str) -> None:
        said = self.ask(method, path, body, **headers)
        assert said.denied, f"{method} {path}: {said.status} {said.text[:300]}"

    def fails(self, method: str, path: str, body: object = None, **headers: str) -> None:
        """Refused one way or another: not every refusal is a policy's."""
        said = self.ask(method, path, body, **headers)
        assert said.status >= 300, f"{method} {path}: {said.status} {said.text[:300]}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicyWorld]:
    made = PolicyWorld(tmp_path_factory.mktemp("thief"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def scanner(world: PolicyWorld) -> Scanner:
    """Knows every private key that may be exported at all. A signing key nobody can know."""
    known = Scanner()
    for pem in world.private_keys(TLS, KEY):
        known.add_key(KEY, pem)
    return known


ATTEMPTS: dict[str, Callable[[Thief], None]] = {}


def attempt(sentence: str) -> Callable[[Callable[[Thief], None]], Callable[[Thief], None]]:
    def register(function: Callable[[Thief], None]) -> Callable[[Thief], None]:
        ATTEMPTS[sentence] = function
        return function

    return register


# -- asking for it ---------------------------------------------------------------------------


@attempt("it exports a key: any type, any version, in the open, wrapped or wrapped for long")
def _(thief: Thief) -> None:
    for mount in MOUNTS:
        for kind in ("signing-key", "encryption-key", "hmac-key"):
            for version in ("", "/1", "/2", "/latest", "/0", "/-1"):
                path = f"{mount}/export/{kind}/{KEY}{version}"
                thief.denied("GET", path)
                thief.denied("GET", f"{path}?format=der")
                for ttl in (WRAPPED, TOO_LONG, {"X-Vault-Wrap-TTL": "0"}):
                    thief.denied("GET", path, **{"X_Vault_Wrap_TTL": ttl["X-Vault-Wrap-TTL"]})


@attempt("it exports a key with another verb, or says the verb in a header")
def _(thief: Thief) -> None:
    for verb in ("POST", "PUT", "PATCH", "LIST", "SCAN", "DELETE", "OPTIONS", "HEAD"):
        thief.fails(verb, EXPORT, {})
    thief.denied("GET", f"{EXPORT}?list=true")
    for header in ("X_HTTP_Method_Override", "X_Method_Override", "X_Vault_Operation"):
        said = thief.ask("POST", f"{TLS}/sign/{KEY}/sha2-256", {"input": "eA=="}, **{header: "GET"})
        assert "keys" not in said.document.get("data", {})


@attempt("it backs a key up, or exports it encrypted to a key of its own")
def _(thief: Thief) -> None:
    own = {"type": "rsa-2048", "exportable": True}
    assert thief.ask("POST", f"{TLS}/keys/acl-mine", own).done
    for mount in MOUNTS:
        thief.denied("GET", f"{mount}/backup/{KEY}")
        thief.denied("GET", f"{mount}/byok-export/acl-mine/{KEY}")
        thief.denied("GET", f"{mount}/byok-export/acl-mine/{KEY}/1")


@attempt("it loosens a key's settings first, one by one and hidden among those of a retirement")
def _(thief: Thief) -> None:
    for setting in ("exportable", "allow_plaintext_backup", "deletion_allowed"):
        for value in (True, "true", 1, "1", [True], None):
            for mount in MOUNTS:
                body = {setting: value, "min_decryption_version": 1}
                thief.denied("POST", f"{mount}/keys/{KEY}/config", body)
                thief.denied("POST", f"{mount}/keys/{KEY}", {setting: value, "type": "ed25519"})


# -- a key that is weaker from the start -----------------------------------------------------


@attempt("it makes a signing key that is exportable, in every spelling of true")
def _(thief: Thief) -> None:
    spellings = (True, "true", "True", "TRUE", "t", 1, "1", 1.0, [True], ["true"], {"a": True})
    for number, value in enumerate(spellings):
        for field in ("exportable", "Exportable", "EXPORTABLE"):
            path = f"{SIGNING}/keys/acl-bent-{number}-{field}"
            thief.fails("POST", path, {"type": "rsa-2048", field: value})
            thief.fails("POST", f"{path}?{field}=true", {"type": "rsa-2048", "exportable": value})
            assert thief.ask("GET", path).status == 404


@attempt("it makes an existing signing key again, as an exportable one")
def _(thief: Thief) -> None:
    path = f"{SIGNING}/keys/{KEY}"
    before = thief.ask("GET", path).document["data"]
    thief.denied("POST", path, {"type": "rsa-2048", "exportable": True})
    # What it may say to a key that is there changes nothing.
    assert thief.ask("POST", path, {"type": "rsa-4096", "exportable": False}).done
    assert thief.ask("POST", path, {}).done
    after = thief.ask("GET", path).document["data"]
    assert after == before
    assert after["exportable"] is False


@attempt("it makes a key of a type whose secret the engine would tell it")
def _(thief: Thief) -> None:
    for kind in ("aes256-gcm96", "hmac", "ed25519", "ecdsa-p256", "chacha20-poly1305", "rsa-3072"):
        body = {"type": kind, "exportable": True, "key_size": 32}
        thief.denied("POST", f"{TLS}/keys/acl-kind", body)
    # Without a type it is the engine's default, a cipher's key: made, and good for nothing.
    assert thief.ask("POST", f"{TLS}/keys/acl-default", {"exportable": True}).done
    assert "aes" in thief.ask("GET", f"{TLS}/keys/acl-default").document["data"]["type"]
    thief.denied("GET", f"{TLS}/export/encryption-key/acl-default/1")
    thief.denied("POST", f"{TLS}/datakey/plaintext/acl-default", {})


@attempt("it imports a key that it knows over one that is in use, or as its next version")
def _(thief: Thief) -> None:
    for mount in MOUNTS:
        body = thief.world.wrapped_import(mount)
        thief.denied("GET", f"{mount}/wrapping_key")
        thief.denied("POST", f"{mount}/keys/{KEY}/import", body)
        thief.denied("POST", f"{mount}/keys/{KEY}/import_version", body)
        thief.denied("POST", f"{mount}/restore/{KEY}", {"backup": "eA==", "force": True})


# -- using a key as an oracle ----------------------------------------------------------------


@attempt("it has something decrypted, re-encrypted, keyed or derived with the key")
def _(thief: Thief) -> None:
    body = {"plaintext": "eA==", "ciphertext": "vault:v1:eA==", "input": "eA=="}
    for mount in MOUNTS:
        verbs = ("encrypt", "decrypt", "rewrap", "hmac", "datakey/plaintext", "datakey/wrapped")
        for verb in verbs:
            thief.denied("POST", f"{mount}/{verb}/{KEY}", body)
        thief.denied("POST", f"{mount}/random/512", {})


@attempt("it signs a batch whose items ask for more than a signature")
def _(thief: Thief) -> None:
    for extra in ({}, {"reference": EXPORT}, {"export": True}, {"path": EXPORT}):
        items = [{"input": "eA==", **extra}]
        said = thief.ask("POST", f"{TLS}/sign/{KEY}/sha2-256", {"batch_input": items})
        # The engine may stumble over a field it does not know.
        results = said.document.get("data", {}).get("batch_results", [{}])
        assert {name for one in results for name in one} <= {
            "signature",
            "key_version",
            "reference",
        }
        assert said.done or extra


@attempt("it reads what is public, rotates, and looks for the private half in the answers")
def _(thief: Thief) -> None:
    for mount in MOUNTS:
        said = thief.ask("GET", f"{mount}/keys/{KEY}")
        assert said.done
        assert "BEGIN PUBLIC KEY" in said.text
        assert thief.ask("POST", f"{mount}/keys/{KEY}", {}).done
        assert thief.ask("POST", f"{mount}/keys/acl-mine-{mount[-3:]}/rotate").status >= 400


# -- becoming somebody else ------------------------------------------------------------------


@attempt("it makes a child token, an orphan or a token of another role, with more policies")
def _(thief: Thief) -> None:
    for policies in (["release"], ["operator"], ["root"], ["pipeline"], []):
        for path in ("create", "create-orphan", "create/release"):
            thief.denied("POST", f"auth/token/{path}", {"policies": policies, "no_parent": True})


@attempt("it logs in as release, whose role id it may have seen, with secrets of its own")
def _(thief: Thief) -> None:
    role_id = thief.world.credentials("release")["role_id"]
    own = thief.world.credentials("pipeline")["secret_id"]
    for secret in (own, "", "0" * 48, None):
        thief.fails("POST", "auth/approle/login", {"role_id": role_id, "secret_id": secret})
    thief.fails("POST", "auth/approle/login", {"role_id": role_id})


@attempt("it reads, chooses or makes credentials of release")
def _(thief: Thief) -> None:
    role = "auth/approle/role/release"
    thief.denied("GET", f"{role}/role-id")
    thief.denied("LIST", f"{role}/secret-id")
    thief.denied("POST", f"{role}/secret-id", {}, X_Vault_Wrap_TTL="60s")
    thief.denied("POST", f"{role}/custom-secret-id", {"secret_id": "acl-chosen-by-a-thief"})
    thief.denied("POST", f"{role}/bind-secret-id", {"bind_secret_id": False})
    thief.denied("POST", "auth/approle/role/mine", {"token_policies": ["release"]})
    thief.denied("POST", "auth/approle/role/pipeline/policies", {"token_policies": ["release"]})


@attempt("it writes a policy: its own, that of everybody, a new one")
def _(thief: Thief) -> None:
    for name in ("pipeline", "default", "acl-new"):
        for path in (f"sys/policies/acl/{name}", f"sys/policy/{name}"):
            for verb in ("POST", "PUT", "DELETE"):
                thief.denied(verb, path, {"policy": 'path "*" { capabilities = ["read"] }'})


@attempt("it gives itself an entity, an alias, a group or a host's key by metadata")
def _(thief: Thief) -> None:
    mapping = {"metadata": {"mtls_key_nonprod_1": KEY}, "policies": ["pull", "release"]}
    for path in ("identity/entity", "identity/entity/name/acl-host", "identity/group"):
        thief.denied("POST", path, {"name": "acl-thief", **mapping})
    own = thief.ask("GET", "auth/token/lookup-self").document["data"]["entity_id"]
    thief.denied("POST", f"identity/entity/id/{own}", mapping)
    thief.denied("POST", "identity/entity-alias", {"name": "x", "canonical_id": own})
    thief.denied("POST", "identity/entity/merge", {"to_entity_id": own, "from_entity_ids": [own]})


@attempt("it starts a root token's generation, an unsealing or a rekeying without any login")
def _(thief: Thief) -> None:
    for path in ("generate-root/attempt", "rekey/init", "rekey-recovery-key/init"):
        said = thief.world.ask(
            "", "POST", f"sys/{path}", {"secret_shares": 1, "secret_threshold": 1}
        )
        # Whoever starts one gets nothing without the keys of those who hold them.
        assert "token" not in said.document.get("data", {})
        assert not said.document.get("encoded_token")
    thief.world.ask("operator", "DELETE", "sys/generate-root/attempt")
    thief.fails("POST", "sys/generate-root/update", {"key": "x", "nonce": "x"})


# -- what others leave lying about -----------------------------------------------------------


@attempt("it wraps answers of its own and opens what it finds, by token and by accessor")
def _(thief: Thief) -> None:
    own = thief.ask("GET", f"{TLS}/keys/{KEY}", X_Vault_Wrap_TTL="60s").document["wrap_info"]
    opened = thief.ask("POST", "sys/wrapping/unwrap", {"token": own["token"]})
    assert opened.done
    released = thief.world.ask("release", "GET", EXPORT, None, WRAPPED).document["wrap_info"]
    for guess in (released["accessor"], released["creation_path"], own["token"], ""):
        thief.fails("POST", "sys/wrapping/lookup", {"token": guess})
        thief.fails("POST", "sys/wrapping/rewrap", {"token": guess})
    thief.fails("POST", "sys/wrapping/unwrap", {"token": released["accessor"]})
    thief.denied("POST", "auth/token/lookup-accessor", {"accessor": released["accessor"]})
    thief.denied("LIST", "auth/token/accessors")
    thief.fails("GET", "cubbyhole/../sys/raw/core")


@attempt("it reads a host's passphrase, which it may make and not read")
def _(thief: Thief) -> None:
    path = "kv-nonprod/data/passphrases/" + "ab" * 32
    thief.denied("GET", path)
    thief.denied("GET", path, X_Vault_Wrap_TTL="60s")
    thief.denied("POST", path, {"data": {"passphrase": "known"}, "options": {"cas": 1}})
    thief.denied("GET", path.replace("data", "metadata"))
    thief.denied("GET", path.replace("data", "subkeys"))


# -- the server itself -----------------------------------------------------------------------


@attempt("it has the audit log or another device write answers in the clear")
def _(thief: Thief) -> None:
    device = {"type": "socket", "options": {"address": "127.0.0.1:9", "log_raw": "true"}}
    thief.denied("POST", "sys/audit/acl", device)
    for mount in MOUNTS:
        clear = {"audit_non_hmac_response_keys": ["keys"]}
        thief.denied("POST", f"sys/mounts/{mount}/tune", clear)
        thief.denied("GET", f"sys/mounts/{mount}/tune")


@attempt("it moves or mounts an engine to where its policy grants more")
def _(thief: Thief) -> None:
    thief.denied("POST", "sys/remount", {"from": "transit-prod-tls", "to": TLS + "-more"})
    thief.denied("DELETE", f"sys/mounts/{SIGNING}")
    thief.denied("POST", f"sys/mounts/{SIGNING}-more", {"type": "transit"})
    thief.denied("POST", "sys/plugins/catalog/secret/acl", {"command": "x", "sha256": "x"})
    thief.denied("POST", "sys/namespaces/acl", {})


@attempt("it reads the storage: raw, as a snapshot, by a profile, by the cluster's own paths")
def _(thief: Thief) -> None:
    for path in ("raw/core/mounts", "storage/raft/snapshot", "pprof/heap", "host-info"):
        thief.denied("GET", f"sys/{path}")
    thief.denied("GET", "sys/storage/raft/configuration")


@attempt("it takes a key of the other environment class")
def _(thief: Thief) -> None:
    for mount in ("transit-prod-tls", "transit-prod-signing"):
        thief.denied("LIST", f"{mount}/keys")
        thief.denied("GET", f"{mount}/keys/{KEY}")
        thief.denied("POST", f"{mount}/sign/{KEY}/sha2-256", {"input": "eA=="})
        thief.denied("GET", f"{mount}/export/signing-key/{KEY}/1", X_Vault_Wrap_TTL="60s")


# -- spelling --------------------------------------------------------------------------------

SPELLINGS = (
    f"/v1/{TLS}//export/signing-key/{KEY}/1",
    f"/v1/{TLS}/export//signing-key/{KEY}/1",
    f"/v1/{TLS}/export/signing-key/{KEY}/1/",
    f"/v1/{TLS}/export/signing-key/{KEY}//1",
    f"/v1//{TLS}/export/signing-key/{KEY}/1",
    f"//v1/{TLS}/export/signing-key/{KEY}/1",
    f"/v1/./{TLS}/export/signing-key/{KEY}/1",
    f"/v1/{TLS}/./export/signing-key/{KEY}/1",
    f"/v1/{TLS}/keys/../export/signing-key/{KEY}/1",
    f"/v1/{TLS}/keys/{KEY}/../../export/signing-key/{KEY}/1",
    f"/v1/{TLS}/sign/{KEY}/sha2-256/../../../export/signing-key/{KEY}/1",
    f"/v1/{TLS}/keys/..%2fexport%2fsigning-key%2f{KEY}%2f1",
    f"/v1/{TLS}/keys/%2e%2e/export/signing-key/{KEY}/1",
    f"/v1/{TLS}/keys/{KEY}%2f..%2f..%2fexport%2fsigning-key%2f{KEY}%2f1",
    f"/v1/{TLS}/keys/%252e%252e%252fexport%252fsigning-key%252f{KEY}%252f1",
    f"/v1/{TLS}%2fexport%2fsigning-key%2f{KEY}%2f1",
    f"/v1/{TLS}/export/signing-key/{KEY}%2f1",
    f"/v1/{TLS}/%65xport/signing-key/{KEY}/1",
    f"/v1/{TLS}/keys/{KEY}%00/../../export/signing-key/{KEY}/1",
    f"/v1/{TLS}/keys\\..\\export\\signing-key\\{KEY}\\1",
    f"/v1/{TLS}/export;/signing-key/{KEY}/1",
    f"/v1/{TLS}/keys/{KEY};/../../export/signing-key/{KEY}/1",
    f"/v1/{TLS}/EXPORT/SIGNING-KEY/{KEY}/1",
    f"/v1/{TLS.upper()}/export/signing-key/{KEY}/1",
    f"/V1/{TLS}/export/signing-key/{KEY}/1",
    f"/v1/{TLS}/export/signing-key/{KEY}/1?x=/sign/a/b",
    f"/v1/{TLS}/export/signing-key/{KEY}/1#/sign/a/b",
    f"/v1/{TLS}/sign/{KEY}/sha2-256/../../export/signing-key/{KEY}/1",
    f"/v1/root/{TLS}/export/signing-key/{KEY}/1",
    f"/v1/sys/../{TLS}/export/signing-key/{KEY}/1",
    f"/v1/cubbyhole/../{TLS}/export/signing-key/{KEY}/1",
    f"/ui/../v1/{TLS}/export/signing-key/{KEY}/1",
)


@attempt("it spells the path of an export so that the policy sees another one")
def _(thief: Thief) -> None:
    for path in SPELLINGS:
        for verb in ("GET", "POST", "LIST"):
            body = {} if verb == "POST" else None
            said = thief.ask(verb, path, body)
            assert "PRIVATE KEY" not in said.text, path
            assert not said.document.get("data"), f"{verb} {path}: {said.text[:200]}"
            wrapped = thief.ask(verb, path, body, X_Vault_Wrap_TTL="60s")
            assert not wrapped.document.get("wrap_info"), f"{verb} {path}"


@attempt("it says in a header who it is, where it is, or that policies do not apply")
def _(thief: Thief) -> None:
    for header, value in {
        "X_Vault_Policy_Override": "true",
        "X_Vault_Namespace": "root",
        "X_Vault_Forward": "active-node",
        "X_Vault_No_Request_Forwarding": "1",
        "X_Vault_MFA": "x:y",
        "X_Forwarded_For": "127.0.0.1",
        "X_Original_URL": f"/v1/{TLS}/keys/{KEY}",
        "X_Rewrite_URL": f"/v1/{TLS}/keys/{KEY}",
        "Authorization": f"Bearer {thief.world.token('pipeline')}",
    }.items():
        thief.fails("GET", EXPORT, **{header: value})


# -- the tests -------------------------------------------------------------------------------


@pytest.mark.parametrize("sentence", ATTEMPTS)
def test_no_key_comes_out_when(world: PolicyWorld, scanner: Scanner, sentence: str) -> None:
    world.heard.clear()
    ATTEMPTS[sentence](Thief(world))
    heard = "\n".join(world.heard)
    assert heard
    assert "PRIVATE KEY" not in heard
    assert scanner.scan_text(heard) == ()


def test_the_scanner_would_have_seen_the_key(world: PolicyWorld, scanner: Scanner) -> None:
    said = world.ask("operator", "GET", EXPORT)
    assert "PRIVATE KEY" in said.text
    assert scanner.scan_text(said.text)


@pytest.mark.parametrize("mount", MOUNTS)
def test_what_the_pipeline_can_do_is_sign_whatever_it_likes_with_every_key_of_its_class(
    world: PolicyWorld, mount: str
) -> None:
    """A request, a message, a forged message: who holds this login speaks for the organisation
    as long as it holds it, and no longer. The audit log has every signature's path."""
    document = world.ask("pipeline", "GET", f"{mount}/keys/{KEY}").document["data"]
    public = serialization.load_pem_public_key(document["keys"]["1"]["public_key"].encode())
    assert isinstance(public, rsa.RSAPublicKey)
    message = b"anything at all"
    body = {
        "input": base64.b64encode(message).decode(),
        "signature_algorithm": "pkcs1v15",
        "key_version": 1,
    }
    said = world.ask("pipeline", "POST", f"{mount}/sign/{KEY}/sha2-256", body)
    signature = base64.b64decode(said.document["data"]["signature"].split(":")[2])
    public.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
