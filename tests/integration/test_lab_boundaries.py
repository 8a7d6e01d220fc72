# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be reached and done in the lab's Vault, and by whom. Asked of the real server."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from integration.lab_fixture import Lab
from pki import ledger
from pki.errors import PkiError
from pki.vault import Client

pytestmark = [pytest.mark.integration, pytest.mark.lab]
pytest_plugins = ("integration.lab_plugin",)

CLASSES = ("nonprod", "prod")
TLS_MOUNTS = tuple(f"transit-{name}-tls" for name in CLASSES)
SIGNING_MOUNTS = tuple(f"transit-{name}-signing" for name in CLASSES)
# A token of OpenBao or Vault, as it would lie in a file.
TOKEN = re.compile(rb"\b(?:s|hvs|b|hvb)\.[A-Za-z0-9]{24,}\b")


@pytest.fixture
def pipeline(lab: Lab) -> Iterator[Client]:
    with lab.client("pipeline") as client:
        yield client


@pytest.fixture
def release(lab: Lab) -> Iterator[Client]:
    with lab.client("release") as client:
        yield client


@pytest.fixture
def key(pipeline: Client) -> str:
    """A TLS key that may be exported, if somebody has the right to."""
    name = f"test-{uuid.uuid4().hex}"
    parameters = {"type": "rsa-2048", "exportable": True}
    pipeline.write(f"transit-nonprod-tls/keys/{name}", parameters)
    return name


def denied(call: Any, *arguments: Any) -> None:
    """The call is refused by policy, and by nothing else."""
    with pytest.raises(PkiError) as caught:
        call(*arguments)
    assert caught.value.rule == "VAULT-DENIED", str(caught.value)


def audit_entries(lab: Lab) -> list[dict[str, Any]]:
    """Everything OpenBao was asked since it exists."""
    text = (lab.home / "vault/log/audit.log").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


# --- the proxy in front of the PKI -----------------------------------------------------


@pytest.mark.parametrize(
    "mount", ["pki-root", "pki-dca", "pki-sibling", "pki-foreign", "pki-proof"]
)
def test_the_proxy_serves_each_ca_s_crl_signed_by_the_certificate_it_serves(
    lab: Lab, mount: str
) -> None:
    crl = x509.load_der_x509_crl(lab.http(f"/v1/{mount}/crl").body)
    issuer = x509.load_der_x509_certificate(lab.http(f"/v1/{mount}/issuer/default/der").body)
    assert crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    assert crl.issuer == issuer.subject


@pytest.mark.parametrize(
    ("peer", "status"),
    [
        ("dip-client", ocsp.OCSPCertStatus.GOOD),
        ("revoked", ocsp.OCSPCertStatus.REVOKED),
    ],
)
def test_the_proxy_passes_ocsp_requests_by_post(
    lab: Lab, peer: str, status: ocsp.OCSPCertStatus
) -> None:
    leaf = x509.load_pem_x509_certificate((lab.home / f"peers/{peer}/certificate.pem").read_bytes())
    issuer = x509.load_pem_x509_certificate((lab.home / "ca/dca.pem").read_bytes())
    request = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA1()).build()
    answer = lab.http(
        "/v1/pki-dca/ocsp",
        method="POST",
        body=request.public_bytes(serialization.Encoding.DER),
        headers={"Content-Type": "application/ocsp-request"},
    )
    assert ocsp.load_der_ocsp_response(answer.body).certificate_status == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/sys/health"),
        ("GET", "/v1/sys/seal-status"),
        ("POST", "/v1/auth/approle/login"),
        ("GET", "/v1/auth/token/lookup-self"),
        ("GET", "/v1/transit-nonprod-tls/keys/x"),
        ("GET", "/v1/pki-dca/certs"),
        ("GET", "/v1/pki-dca/ca/pem"),
        ("GET", "/v1/pki-dca/roles/peer"),
        ("POST", "/v1/pki-dca/sign/peer"),
        ("GET", "/v1/pki-dca/crlx"),
        ("PUT", "/v1/pki-dca/crl"),
        ("DELETE", "/v1/pki-dca/issuer/default"),
        ("LIST", "/v1/pki-dca/issuer"),
        ("GET", "/v1/pki-dca/crl/../../sys/health"),
        ("GET", "/v1/pki-dca/crl/%2e%2e/%2e%2e/sys/health"),
        ("GET", "/v1/pki-dca/crl/..%2f..%2fsys/health"),
        ("GET", "/v1/sys/../pki-dca/crl"),
        ("GET", "/v1/sys/..%2fpki-dca/crl"),
        ("GET", "//v1/pki-dca/crl"),
        ("GET", "/v1/PKI-dca/crl"),
        ("GET", "/ui/"),
        ("GET", "/"),
    ],
)
def test_the_proxy_refuses_everything_else_and_openbao_never_hears_of_it(
    lab: Lab, method: str, path: str
) -> None:
    before = len(audit_entries(lab))
    answer = lab.http(path, method=method, body=b"{}" if method == "POST" else None)
    assert answer.status == 403
    assert b"only revocation lists" in answer.body
    assert len(audit_entries(lab)) == before


def test_the_proxy_takes_the_credential_off_what_it_passes(lab: Lab) -> None:
    with lab.client("lab-ca") as client:
        crl = lab.http("/v1/pki-proof/crl").body
        client.read("auth/token/lookup-self")
        token = client._token
        assert token
        answer = lab.http("/v1/pki-proof/crl/rotate", headers={"X-Vault-Token": token})
    assert answer.status == 403
    assert lab.http("/v1/pki-proof/crl").body == crl


@pytest.mark.parametrize("name", ["root", "dca"])
def test_the_published_crl_says_the_same_and_names_its_own_address(lab: Lab, name: str) -> None:
    uri = next(one for one in lab.record()["published"] if one.endswith(f"/{name}.crl"))
    published = x509.load_der_x509_crl(lab.http(f"/published/{name}.crl").body)
    issuer = x509.load_pem_x509_certificate((lab.home / f"ca/{name}.pem").read_bytes())
    engine = x509.load_der_x509_crl(lab.http(f"/v1/pki-{name}/crl").body)
    point = published.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    assert point.critical
    assert [one.value for one in point.value.full_name or ()] == [uri]
    assert published.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    assert {one.serial_number for one in published} == {one.serial_number for one in engine}
    assert not any(
        isinstance(extension.value, x509.IssuingDistributionPoint)
        for extension in engine.extensions
    )


# --- the pipeline ----------------------------------------------------------------------


def test_the_pipeline_lists_reads_rotates_and_signs_with_keys_it_makes(
    pipeline: Client, key: str
) -> None:
    path = f"transit-nonprod-tls/keys/{key}"
    assert key in pipeline.list("transit-nonprod-tls/keys")
    pipeline.write(f"{path}/rotate")
    read = pipeline.read(path)
    assert read
    assert read["latest_version"] == 2
    signed = pipeline.write(
        f"transit-nonprod-tls/sign/{key}/sha2-256",
        {"input": "aGVsbG8=", "signature_algorithm": "pkcs1v15"},
    )
    assert signed["signature"].startswith("vault:v2:")


@pytest.mark.parametrize(
    "path", ["export/signing-key/{}/1", "export/signing-key/{}/latest", "backup/{}"]
)
def test_the_pipeline_cannot_take_a_key_out_even_wrapped(
    pipeline: Client, key: str, path: str
) -> None:
    denied(pipeline.read, f"transit-nonprod-tls/{path.format(key)}")
    denied(pipeline.wrap, f"transit-nonprod-tls/{path.format(key)}", 60)


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("keys/{}/config", {"exportable": True}),
        ("keys/{}/config", {"deletion_allowed": True}),
        ("keys/{}/config", {"min_decryption_version": 1}),
        ("keys/{}/trim", {"min_available_version": 1}),
        ("keys/{}/import_version", {"ciphertext": "eA=="}),
        ("keys/{}/csr", {}),
        ("keys/other/import", {"ciphertext": "eA==", "type": "rsa-2048"}),
    ],
)
def test_the_pipeline_cannot_change_import_or_trim_keys(
    pipeline: Client, key: str, path: str, parameters: dict[str, Any]
) -> None:
    denied(pipeline.write, f"transit-nonprod-tls/{path.format(key)}", parameters)


@pytest.mark.parametrize("mount", SIGNING_MOUNTS)
@pytest.mark.parametrize("exportable", [True, "true", 1, "1"])
def test_the_pipeline_cannot_make_an_exportable_key_on_a_signing_mount(
    pipeline: Client, mount: str, exportable: object
) -> None:
    name = f"{mount}/keys/test-{uuid.uuid4().hex}"
    denied(pipeline.write, name, {"type": "rsa-2048", "exportable": exportable})
    assert pipeline.read(name) is None


@pytest.mark.parametrize("mount", TLS_MOUNTS)
@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "rsa-2048", "exportable": False},
        {"type": "ed25519", "exportable": True},
        {"type": "rsa-2048", "exportable": True, "allow_plaintext_backup": True},
    ],
)
def test_the_pipeline_cannot_make_a_key_of_another_kind_on_a_tls_mount(
    pipeline: Client, mount: str, parameters: dict[str, Any]
) -> None:
    name = f"{mount}/keys/test-{uuid.uuid4().hex}"
    denied(pipeline.write, name, parameters)
    assert pipeline.read(name) is None


def test_a_key_on_a_signing_mount_cannot_be_exported_by_anybody(
    lab: Lab, pipeline: Client, release: Client
) -> None:
    name = f"test-{uuid.uuid4().hex}"
    pipeline.write(
        f"transit-nonprod-signing/keys/{name}", {"type": "rsa-2048", "exportable": False}
    )
    path = f"transit-nonprod-signing/export/signing-key/{name}/1"
    with lab.client("auditor") as auditor, lab.client("lab-ca") as authority:
        for client in (pipeline, release, auditor, authority):
            denied(client.read, path)
            denied(client.wrap, path, 60)


@pytest.mark.parametrize(
    "path", ["sys/mounts", "sys/policies/acl", "pki-dca/roles/peer", "auth/approle/role/release"]
)
def test_the_pipeline_sees_nothing_but_its_keys_and_the_ledger(pipeline: Client, path: str) -> None:
    denied(pipeline.read, path)


@pytest.mark.parametrize("environment_class", CLASSES)
def test_the_pipeline_adds_to_the_ledger_and_takes_nothing_back(
    pipeline: Client, environment_class: str
) -> None:
    spki = uuid.uuid4().hex * 2
    mount = ledger.mount_of(environment_class)
    entry = {"certificate": "test", "since": "2026-11-20", "reason": "a test of this"}
    assert ledger.mark(pipeline, environment_class, spki, entry) is True
    assert ledger.mark(pipeline, environment_class, spki, {**entry, "reason": "no"}) is False
    denied(pipeline.write, f"{mount}/data/compromised/{spki}", {"data": {}})
    denied(pipeline.write, f"{mount}/delete/compromised/{spki}", {"versions": [1]})
    denied(pipeline.write, f"{mount}/destroy/compromised/{spki}", {"versions": [1]})
    denied(pipeline.write, f"{mount}/metadata/compromised/{spki}", {"max_versions": 1})
    assert spki in ledger.stored(pipeline, [environment_class])


def test_whoever_delivers_has_no_business_with_the_ledger(release: Client) -> None:
    denied(release.list, "kv-nonprod/metadata/compromised")


# --- release ---------------------------------------------------------------------------


def test_release_exports_a_tls_key_wrapped_and_the_wrapping_opens_once(
    release: Client, key: str
) -> None:
    path = f"transit-nonprod-tls/export/signing-key/{key}/1"
    info = release.wrap(path, 60)
    assert (info.creation_path, info.ttl) == (path, 60)


@pytest.mark.parametrize("seconds", [121, 300, 3600])
def test_release_cannot_wrap_for_longer_than_two_minutes(
    release: Client, key: str, seconds: int
) -> None:
    denied(release.wrap, f"transit-nonprod-tls/export/signing-key/{key}/1", seconds)


def test_release_cannot_read_a_key_in_the_open(release: Client, key: str) -> None:
    denied(release.read, f"transit-nonprod-tls/export/signing-key/{key}/1")


def test_release_can_do_nothing_else(release: Client, key: str) -> None:
    keys = "transit-nonprod-tls/keys"
    denied(release.list, keys)
    denied(release.read, f"{keys}/{key}")
    denied(release.write, f"{keys}/{key}/rotate")
    denied(release.write, f"{keys}/{key}/config", {"deletion_allowed": True})
    denied(release.write, f"{keys}/test-new", {"type": "rsa-2048", "exportable": True})
    denied(release.write, f"transit-nonprod-tls/sign/{key}/sha2-256", {"input": "eA=="})
    denied(release.wrap, f"transit-nonprod-tls/export/encryption-key/{key}/1", 60)
    denied(release.read, "sys/mounts")
    denied(release.write, "pki-dca/sign/peer", {"csr": "x"})


# --- root, auditor ---------------------------------------------------------------------


def test_root_acts_only_before_the_first_login_and_never_again(lab: Lab) -> None:
    entries = audit_entries(lab)
    by_root = [
        number
        for number, entry in enumerate(entries)
        if "root" in ((entry.get("auth") or {}).get("policies") or ())
    ]
    logins = [
        number
        for number, entry in enumerate(entries)
        if entry["request"].get("path") == "auth/approle/login"
        and not entry.get("error")
        and entry["type"] == "response"
    ]
    assert by_root, "the first start itself must be visible, or this test sees nothing"
    assert logins
    assert max(by_root) < min(logins)
    assert "revoked lease: lease_id=auth/token/root/" in (lab.home / "log/openbao.log").read_text()


def test_no_token_lies_in_any_file_of_the_lab(lab: Lab) -> None:
    files = [path for path in lab.home.rglob("*") if path.is_file()]
    assert len(files) > 40
    assert [str(path) for path in files if TOKEN.search(path.read_bytes())] == []


def test_no_credential_is_in_a_log_a_configuration_a_command_line_or_an_environment(
    lab: Lab,
) -> None:
    secrets = [path.read_bytes() for path in (lab.home / "secrets").iterdir()]
    assert len(secrets) == 12
    process = f"/proc/{lab.pid('openbao')}"
    places = [f"{process}/cmdline", f"{process}/environ"]
    places += [
        str(path)
        for folder in ("log", "vault/log", "vault/config", "run", "farend")
        for path in (lab.home / folder).rglob("*")
        if path.is_file()
    ]
    for place in places:
        with open(place, "rb") as stream:
            content = stream.read()
        assert not any(secret in content for secret in secrets), place


def test_credentials_and_keys_are_for_their_owner_only(lab: Lab) -> None:
    private = [*(lab.home / "secrets").iterdir(), *lab.home.glob("peers/*/key.pem")]
    private += [lab.home / "vault/unseal.key", lab.home / "vault/tls/server.key"]
    assert len(private) == 12 + 10 + 2
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in private} == {
        path.name: "0o600" for path in private
    }


def test_the_auditor_sees_names_and_public_keys_and_changes_nothing(lab: Lab, key: str) -> None:
    with lab.client("auditor") as auditor:
        assert key in auditor.list("transit-nonprod-tls/keys")
        assert "transit-prod-signing/" in (auditor.read("sys/mounts") or {})
        assert {"pipeline", "release", "auditor", "lab-ca"} <= set(auditor.list("sys/policies/acl"))
        denied(auditor.write, f"transit-nonprod-tls/keys/{key}/rotate")
        denied(auditor.write, f"transit-nonprod-tls/sign/{key}/sha2-256", {"input": "eA=="})
        denied(auditor.wrap, f"transit-nonprod-tls/export/signing-key/{key}/1", 60)
