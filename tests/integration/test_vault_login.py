# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in to a real OpenBao: by id token, by certificate, by AppRole, and what refusals say."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from integration import vault_access
from integration.loopback import Answer, scripted
from integration.openbao_server import TLS_MOUNT, OpenBao, write_secret
from integration.vault_access import ClientCa, Forge
from pki.errors import PkiError
from pki.vault import Client, Settings

pytestmark = pytest.mark.integration

REFUSED = "VAULT-LOGIN"


def who(options: dict[str, Any], environ: dict[str, str] | None = None) -> dict[str, Any]:
    """What the server knows of the token that a login by these options brings."""
    with Client(Settings.resolve(options, environ or {})) as client:
        return client.read("auth/token/lookup-self") or {}


def refused(
    options: dict[str, Any], rule: str = REFUSED, environ: dict[str, str] | None = None
) -> PkiError:
    with pytest.raises(PkiError) as caught:
        who(options, environ)
    error = caught.value
    assert error.rule == rule, str(error)
    assert all(error.as_result().values()), str(error)
    return error


# -- id tokens --------------------------------------------------------------------------------

# What each forge says of a run, and what a role binds of it: the same as in docs/vault.md.
SAID = {
    "github": {
        "sub": "repo:example-energy/certificates:ref:refs/heads/main",
        "repository": "example-energy/certificates",
        "repository_id": "123456789",
        "ref": "refs/heads/main",
        "environment": "nonprod",
        "event_name": "schedule",
    },
    "gitlab": {
        "sub": "project_path:example-energy/certificates:ref_type:branch:ref:main",
        "project_id": "42",
        "project_path": "example-energy/certificates",
        "ref": "main",
        "ref_type": "branch",
        "ref_protected": "true",
    },
    "azure": {
        "sub": "p://example-energy/certificates/nightly",
        "org_id": "8b1d5c0e-0000-4000-8000-000000000001",
        "prj_id": "8b1d5c0e-0000-4000-8000-000000000002",
        "def_id": "17",
        "rpo_ref": "refs/heads/main",
    },
}
BOUND = {
    "github": ("repository_id", "ref", "environment"),
    "gitlab": ("project_id", "ref", "ref_type", "ref_protected"),
    "azure": ("prj_id", "def_id", "rpo_ref"),
}


@pytest.fixture(scope="module")
def forge(openbao: OpenBao) -> Forge:
    forge = Forge()
    with openbao.client("operator") as operator:
        forge.trust(operator, "unbound", token_policies=["pipeline"])
        for name, bound in BOUND.items():
            claims = {claim: SAID[name][claim] for claim in bound}
            forge.role(operator, name, bound_claims=claims, token_policies=["pipeline"])
    return forge


@dataclass
class Run:
    """A pipeline's run: where its id token lies, and the options that name the place."""

    openbao: OpenBao
    forge: Forge
    folder: Path

    def options(self, role: str, claims: dict[str, Any], forge: Forge | None = None) -> Any:
        path = self.folder / f"id-token-{secrets.token_hex(4)}"
        write_secret(path, (forge or self.forge).id_token(claims).encode())
        return {
            "address": self.openbao.address,
            "ca_cert": str(self.openbao.ca_cert),
            "auth_method": "jwt",
            "auth_mount": self.forge.mount,
            "auth_role": role,
            "jwt_file": str(path),
        }

    def says(self, role: str, **changes: Any) -> Any:
        claims = vault_access.claims(time.time(), **{**SAID.get(role, SAID["github"]), **changes})
        return self.options(role, claims)


@pytest.fixture
def run(openbao: OpenBao, forge: Forge, tmp_path: Path) -> Run:
    return Run(openbao, forge, tmp_path)


@pytest.mark.parametrize("name", SAID)
def test_the_run_that_a_role_is_for_gets_in(run: Run, name: str) -> None:
    found = who(run.says(name))
    assert found["policies"] == ["default", "pipeline"]
    assert found["display_name"] == f"{run.forge.mount}-{SAID[name]['sub']}"


@pytest.mark.parametrize(
    ("name", "claim"), [(name, claim) for name, bound in BOUND.items() for claim in bound]
)
@pytest.mark.parametrize("value", ["another", None])
def test_each_bound_claim_alone_keeps_another_run_out(
    run: Run, name: str, claim: str, value: str | None
) -> None:
    error = refused(run.says(name, **{claim: value}))
    assert f'"{claim}"' in error.found
    assert "bound_claims" in error.next_step


NOW = time.time()
DAY = 86_400  # the tests may run much later than this was read
REFUSALS = [
    # what is wrong with the id token, found, next step
    ({"aud": "https://elsewhere.example"}, "audience", "with that audience"),
    ({"aud": None}, "audience", "with that audience"),
    ({"iss": "https://other-forge.example"}, "issuer", "auth_mount"),
    ({"exp": NOW - 600, "nbf": NOW - 900, "iat": NOW - 900}, "expired", "directly before the run"),
    ({"nbf": NOW + DAY, "iat": NOW + DAY}, "not yet valid", "clocks"),
    ({"iat": NOW + DAY}, "in the future", "clocks"),
    ({"sub": None}, "not found in token", "user_claim"),
]


@pytest.mark.parametrize(("changes", "found", "next_step"), REFUSALS)
def test_an_id_token_that_is_not_right_is_refused_with_the_next_step(
    run: Run, changes: dict[str, Any], found: str, next_step: str
) -> None:
    error = refused(run.says("unbound", **changes))
    assert found in error.found
    assert next_step in error.next_step


def test_clocks_that_differ_by_half_a_minute_keep_nobody_out(run: Run) -> None:
    late, early = {"nbf": time.time() + 30}, {"exp": time.time() - 30, "nbf": None}
    for changes in (late, early):
        assert who(run.says("unbound", **changes))["policies"]


def test_an_id_token_of_another_signer_is_refused(run: Run) -> None:
    claims = vault_access.claims(time.time(), **SAID["github"])
    error = refused(run.options("unbound", claims, forge=Forge()))
    assert "signature" in error.found
    assert "whole and unchanged" in error.next_step


def test_what_is_no_id_token_is_refused_without_being_shown(run: Run) -> None:
    options = run.says("unbound")
    canary = f"canary-{secrets.token_urlsafe(30)}"
    Path(options["jwt_file"]).write_text(canary)
    assert canary not in str(refused(options))


@pytest.mark.parametrize(
    ("changes", "next_step"),
    [
        ({"auth_role": "no-such-role"}, "correct auth_role"),
        ({"auth_role": None}, "give auth_role"),
        ({"auth_mount": "no-such-mount"}, "check auth_mount"),
        ({"auth_mount": None}, "check auth_mount"),
    ],
)
def test_a_wrong_role_or_mount_is_told(run: Run, changes: dict[str, Any], next_step: str) -> None:
    error = refused({**run.says("unbound"), **changes})
    assert next_step in error.next_step


def test_an_id_token_in_a_variable_is_as_good_as_in_a_file(run: Run) -> None:
    options = run.says("unbound")
    token = Path(options.pop("jwt_file")).read_text()
    options["jwt_env"] = "VAULT_ID_TOKEN"
    assert who(options, {"VAULT_ID_TOKEN": token})["policies"]
    assert "no jwt_env" in refused(options, "VAULT-SETTINGS").found


def test_a_login_by_id_token_is_repeated_when_its_token_dies(run: Run) -> None:
    with Client(Settings.resolve(run.says("unbound"), {})) as client:
        first = client.read("auth/token/lookup-self") or {}
        with run.openbao.client("operator") as operator:
            operator.write("auth/token/revoke-accessor", {"accessor": first["accessor"]})
        client.list(f"{TLS_MOUNT}/keys")
        second = client.read("auth/token/lookup-self") or {}
    assert first["accessor"] != second["accessor"]


def test_when_the_id_token_died_meanwhile_the_second_login_says_so(run: Run) -> None:
    options = run.says("unbound")
    with Client(Settings.resolve(options, {})) as client:
        own = client.read("auth/token/lookup-self") or {}
        with run.openbao.client("operator") as operator:
            operator.write("auth/token/revoke-accessor", {"accessor": own["accessor"]})
        past = run.says("unbound", exp=NOW - 600, nbf=NOW - 900, iat=NOW - 900)
        Path(options["jwt_file"]).write_text(Path(past["jwt_file"]).read_text())
        with pytest.raises(PkiError) as caught:
            client.list(f"{TLS_MOUNT}/keys")
    assert caught.value.rule == REFUSED
    assert "token_ttl" in caught.value.next_step


def test_no_part_of_an_id_token_is_ever_told(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    for changes in [changes for changes, _found, _next in REFUSALS] + [{}]:
        options = run.says("unbound", **changes)
        token = Path(options["jwt_file"]).read_text()
        settings = Settings.resolve({**options, "jwt_file": None, "jwt_env": "T"}, {"T": token})
        shown = repr(settings) + repr(Client(settings))
        with Client(settings) as client:
            try:
                client.read("auth/token/lookup-self")
            except PkiError as error:
                shown += str(error) + repr(error.__context__)
        for part in token.split("."):
            assert part not in shown + caplog.text


def test_a_server_that_quotes_the_id_token_does_not_make_us_print_it(tmp_path: Path) -> None:
    """A short one: what is long and encoded is hidden anyway."""
    token = "a.short.id-token"
    body = b'{"errors": ["bad token ' + token.encode() + b'"]}'
    with scripted(Answer(400, body)) as peer:
        options = {"address": peer.address, "jwt_env": "T", "auth_role": "unbound"}
        error = refused(options, environ={"T": token})
    assert token not in str(error)
    assert "bad token" in error.found


# -- client certificates ----------------------------------------------------------------------


@dataclass
class Door:
    openbao: OpenBao
    ca: ClientCa
    mount: str

    def options(self, subject: str = "pipeline.example", **changes: Any) -> dict[str, Any]:
        return {
            "address": self.openbao.address,
            "ca_cert": str(self.openbao.ca_cert),
            "auth_method": "cert",
            "auth_mount": self.mount,
            **self.ca.issue(subject),
            **changes,
        }


@pytest.fixture(scope="module")
def door(openbao: OpenBao, tmp_path_factory: pytest.TempPathFactory) -> Door:
    ca = ClientCa(tmp_path_factory.mktemp("clients"))
    mount = f"cert-{secrets.token_hex(4)}"
    with openbao.client("operator") as operator:
        settings = {"allowed_common_names": ["pipeline.example"], "token_policies": ["pipeline"]}
        ca.trust(operator, mount, "pipelines", **settings)
    return Door(openbao, ca, mount)


@pytest.mark.parametrize("role", ["pipelines", None])
def test_a_certificate_gets_in_with_or_without_the_name_of_a_role(
    door: Door, role: str | None
) -> None:
    found = who(door.options(auth_role=role))
    assert found["policies"] == ["default", "pipeline"]
    assert found["meta"]["common_name"] == "pipeline.example"


def test_a_certificate_of_another_name_is_refused(door: Door) -> None:
    error = refused(door.options("stranger.example"))
    assert "names that the role allows" in error.expected
    assert "-subject" in error.next_step


def test_a_certificate_of_another_ca_is_refused(door: Door, tmp_path: Path) -> None:
    """One with the right names, and an issuer of the same name with another key."""
    for name in (door.ca.name, "Another CA"):
        stranger = ClientCa(tmp_path, name=name)
        error = refused(door.options() | stranger.issue("pipeline.example"))
        assert "CA that the role trusts" in error.expected


@pytest.mark.parametrize("days", [(-2, -1), (1, 2)])
def test_a_certificate_that_is_not_valid_now_is_refused(
    door: Door, days: tuple[float, float]
) -> None:
    error = refused(door.options() | door.ca.issue("pipeline.example", days))
    assert "valid now" in error.expected
    assert "-dates" in error.next_step


@pytest.mark.parametrize(
    ("changes", "next_step"),
    [
        ({"auth_role": "no-such-role"}, "is auth_role a role of this mount"),
        ({"auth_mount": "no-such-mount"}, "check auth_mount"),
        ({"auth_mount": None}, "check auth_mount"),
    ],
)
def test_a_wrong_role_or_mount_of_certificates_is_told(
    door: Door, changes: dict[str, Any], next_step: str
) -> None:
    assert next_step in refused(door.options(**changes)).next_step


def test_a_connection_that_loses_the_certificate_is_told(tmp_path: Path) -> None:
    """What the server answered when a proxy in between had ended TLS."""
    body = b'{"errors": ["no client certificate found"]}'
    with scripted(Answer(400, body)) as peer:
        pair = ClientCa(tmp_path).issue("pipeline.example")
        error = refused({"address": peer.address, "auth_method": "cert", **pair})
    assert "a proxy that ends TLS" in error.next_step


def test_the_real_server_without_the_certificate_says_what_that_peer_said(door: Door) -> None:
    settings = Settings.resolve(door.options(), {})
    hidden = dataclasses.replace(settings, client_cert=None, client_key=None)
    with Client(hidden) as client, pytest.raises(PkiError) as caught:
        client.read("auth/token/lookup-self")
    assert caught.value.rule == REFUSED
    assert "no client certificate found" in caught.value.found


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda own, other: own | {"client_key": other["client_key"]}, "another key"),
        (lambda own, other: own | {"client_cert": "/nonexistent.pem"}, "No such file"),
        (lambda own, other: own | {"client_key": "/nonexistent.key"}, "No such file"),
        (lambda own, other: own | {"client_cert": own["client_key"]}, "no certificate"),
    ],
)
def test_a_pair_of_files_that_cannot_be_shown_is_refused_before_anything_is_sent(
    door: Door, spoil: Any, found: str
) -> None:
    own, other = door.ca.issue("pipeline.example"), door.ca.issue("pipeline.example")
    with scripted(Answer(200, b"{}")) as peer:
        options = {**door.options(), **spoil(own, other), "address": peer.address}
        error = refused(options, "VAULT-CREDENTIALS")
        assert peer.seen == []
    assert found in error.found
    assert "client_" in error.where


def test_a_key_that_others_can_read_is_refused(door: Door) -> None:
    options = door.options()
    Path(options["client_key"]).chmod(0o640)
    assert refused(options, "VAULT-CREDENTIALS").found == "mode 0640"


def test_a_token_of_a_certificate_is_replaced_when_it_dies(door: Door) -> None:
    with Client(Settings.resolve(door.options(), {})) as client:
        first = client.read("auth/token/lookup-self") or {}
        with door.openbao.client("operator") as operator:
            operator.write("auth/token/revoke-accessor", {"accessor": first["accessor"]})
        client.list(f"{TLS_MOUNT}/keys")
        assert (client.read("auth/token/lookup-self") or {})["accessor"] != first["accessor"]


# -- AppRole with limits ----------------------------------------------------------------------

READ_KEYS = f'path "{TLS_MOUNT}/keys" {{ capabilities = ["list"] }}'


def test_an_approle_of_another_mount_is_found_there_and_nowhere_else(
    openbao: OpenBao, tmp_path: Path
) -> None:
    mount = f"approle-{secrets.token_hex(4)}"
    with openbao.client("operator") as operator:
        operator.write(f"sys/auth/{mount}", {"type": "approle"})
        operator.write(f"auth/{mount}/role/a", {"token_policies": ["pipeline"]})
        role_id = (operator.read(f"auth/{mount}/role/a/role-id") or {})["role_id"]
        secret_id = operator.write(f"auth/{mount}/role/a/secret-id")["secret_id"]
    write_secret(tmp_path / "role", role_id.encode())
    write_secret(tmp_path / "secret", secret_id.encode())
    options = openbao.options("pipeline") | {
        "role_id_file": str(tmp_path / "role"),
        "secret_id_file": str(tmp_path / "secret"),
    }
    assert who({**options, "auth_mount": mount})["policies"] == ["default", "pipeline"]
    assert "secret id" in refused(options).expected
    assert "check auth_mount" in refused({**options, "auth_mount": "no-such-mount"}).next_step


def test_a_secret_id_with_one_use_serves_one_login_and_says_so_at_the_second(
    openbao: OpenBao, tmp_path: Path
) -> None:
    """Each module of a run logs in: a secret id with one use does not last for one run."""
    once = {"num_uses": 1}
    options = vault_access.approle(openbao, tmp_path, READ_KEYS, secret=once)
    assert who(options)["policies"]
    assert "used up" in refused(options).next_step


def test_a_secret_id_past_its_time_is_refused(openbao: OpenBao, tmp_path: Path) -> None:
    options = vault_access.approle(openbao, tmp_path, READ_KEYS, secret={"ttl": "1s"})
    assert who(options)["policies"]
    time.sleep(1.5)
    assert "expired" in refused(options).next_step


def test_a_login_bound_to_other_addresses_is_refused(openbao: OpenBao, tmp_path: Path) -> None:
    elsewhere = {"cidr_list": ["192.0.2.0/24"]}
    options = vault_access.approle(openbao, tmp_path, READ_KEYS, secret=elsewhere)
    error = refused(options)
    assert "another address" in error.next_step or "bound_cidrs" in error.next_step


def test_a_run_longer_than_its_token_logs_in_again(openbao: OpenBao, tmp_path: Path) -> None:
    limits = {"token_ttl": "1s", "token_max_ttl": "1s"}
    options = vault_access.approle(openbao, tmp_path, READ_KEYS, **limits)
    with Client(Settings.resolve(options, {})) as client:
        first = (client.read("auth/token/lookup-self") or {})["accessor"]
        time.sleep(2)
        client.list(f"{TLS_MOUNT}/keys")
        assert (client.read("auth/token/lookup-self") or {})["accessor"] != first


def test_a_token_with_few_uses_is_replaced_when_they_are_gone(
    openbao: OpenBao, tmp_path: Path
) -> None:
    options = vault_access.approle(openbao, tmp_path, READ_KEYS, token_num_uses=2)
    with Client(Settings.resolve(options, {})) as client:
        for _ in range(6):
            client.list(f"{TLS_MOUNT}/keys")


@pytest.mark.parametrize("kind", ["batch", "service"])
def test_batch_and_periodic_tokens_do_the_work_and_the_end_is_silent(
    openbao: OpenBao, tmp_path: Path, kind: str
) -> None:
    """A batch token cannot be revoked; it ends by itself. A periodic one is revoked like any."""
    limits = {"token_type": kind} if kind == "batch" else {"token_period": "10m"}
    options = vault_access.approle(openbao, tmp_path, READ_KEYS, **limits)
    with Client(Settings.resolve(options, {})) as client:
        client.list(f"{TLS_MOUNT}/keys")
        own = client.read("auth/token/lookup-self") or {}
    assert own["type"] == kind
    assert bool(own.get("accessor")) is (kind == "service")


def test_a_batch_token_past_its_time_is_replaced(openbao: OpenBao, tmp_path: Path) -> None:
    limits = {"token_type": "batch", "token_ttl": "1s", "token_max_ttl": "1s"}
    options = vault_access.approle(openbao, tmp_path, READ_KEYS, **limits)
    with Client(Settings.resolve(options, {})) as client:
        client.list(f"{TLS_MOUNT}/keys")
        time.sleep(2)
        client.list(f"{TLS_MOUNT}/keys")


def test_a_handed_over_token_near_its_end_is_not_replaced_but_named(
    openbao: OpenBao, tmp_path: Path
) -> None:
    limits = {"token_ttl": "3s", "token_max_ttl": "3s"}
    owner = vault_access.approle(openbao, tmp_path, READ_KEYS, **limits)
    with Client(Settings.resolve(owner, {})) as client:
        token = (client.read("auth/token/lookup-self") or {})["id"]
        write_secret(tmp_path / "token", token.encode())
        options = {
            "address": openbao.address,
            "ca_cert": str(openbao.ca_cert),
            "token_file": str(tmp_path / "token"),
        }
        assert who(options)["policies"]
        time.sleep(3.5)
        error = refused(options, "VAULT-TOKEN")
    assert "expired" in error.next_step
    assert token not in str(error)


def test_a_role_without_the_policy_default_is_told_from_a_dead_token(
    openbao: OpenBao, tmp_path: Path
) -> None:
    """Such a token may not look at itself; as it is a moment old, it is not dead."""
    limits = {"token_no_default_policy": True}
    options = vault_access.approle(openbao, tmp_path, READ_KEYS, **limits)
    with Client(Settings.resolve(options, {})) as client:
        client.list(f"{TLS_MOUNT}/keys")
        with pytest.raises(PkiError) as caught:
            client.read(f"{TLS_MOUNT}/keys/a")
    assert caught.value.rule == "VAULT-DENIED"
    assert f"capability read on {TLS_MOUNT}/keys/a" in caught.value.expected
    assert "policy default" in caught.value.next_step


# -- a listener that insists on client certificates -------------------------------------------


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OpenBao, ClientCa]]:
    server = OpenBao(tmp_path_factory.mktemp("strict"))
    server.prepare()
    ca = ClientCa(server.directory)
    (server.directory / "clients.pem").write_bytes(ca.pem)
    wanted = f'tls_client_ca_file = "{server.directory}/clients.pem"\n'
    wanted += "  tls_require_and_verify_client_cert = true\n  tls_key_file"
    file = server.directory / "openbao.hcl"
    file.write_text(file.read_text().replace("tls_key_file", wanted, 1))
    try:
        server.start(wait=False)
        pair = ca.issue("anybody")
        wait_for_login(server.options("pipeline") | pair)
        yield server, ca
    finally:
        server.kill()


def wait_for_login(options: dict[str, str]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            who(options)
            return
        except PkiError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def test_a_certificate_may_be_for_tls_alone_beside_any_login(
    strict: tuple[OpenBao, ClientCa],
) -> None:
    server, ca = strict
    found = who(server.options("pipeline") | ca.issue("anybody"))
    assert found["policies"] == ["default", "pipeline"]
    named = ca.issue("anybody")
    variables = {
        "BAO_CLIENT_CERT": named["client_cert"],
        "BAO_CLIENT_KEY": named["client_key"],
    }
    assert who(server.options("pipeline"), variables)["policies"]


def test_a_listener_that_wants_a_certificate_says_so(strict: tuple[OpenBao, ClientCa]) -> None:
    server, _ca = strict
    error = refused(server.options("pipeline"), "VAULT-TLS")
    assert "client certificate" in error.message
    assert "client_cert" in error.next_step


def test_a_listener_that_does_not_trust_our_certificate_says_so(
    strict: tuple[OpenBao, ClientCa], tmp_path: Path
) -> None:
    server, _ca = strict
    stranger = ClientCa(tmp_path).issue("anybody")
    error = refused(server.options("pipeline") | stranger, "VAULT-TLS")
    assert "client certificate" in error.message
