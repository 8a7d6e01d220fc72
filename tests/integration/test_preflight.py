# SPDX-License-Identifier: GPL-3.0-or-later
"""What the logins may do is asked before anything is made: the real playbook, a real key server."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration import vault_access
from integration.canary import Scanner, explain
from integration.openbao_server import KV_MOUNT, SIGNING_MOUNT, TLS_MOUNT, OpenBao, write_secret
from integration.test_renew import Desk
from integration.vault_access import Forge
from integration.vault_tap import Tap
from pki import preflight
from pki.errors import PkiError
from pki.preflight import Mount
from pki.vault import Client, Settings
from unit import controller_world

pytestmark = pytest.mark.integration

EVERY_MOUNT = (Mount(TLS_MOUNT, ("a", "b"), True), Mount(SIGNING_MOUNT, ("s",), False))
JOBS_OF = {
    "pipeline": ("plan", "request", "ledger"),
    "release": ("release",),
    "retire": ("retire",),
    "import": ("import",),
    "export": ("export",),
    "backup": ("backup",),
}
#: The import looks at keys as a plan does, and an export takes one out as a release does.
ENOUGH = (("import", "plan"), ("export", "release"))
#: A pipeline that may make keys, and neither rotate them nor sign with them.
HALF = f"""
path "{TLS_MOUNT}/keys"   {{ capabilities = ["list"] }}
path "{TLS_MOUNT}/keys/+" {{ capabilities = ["create", "update", "read"] }}
path "{KV_MOUNT}/metadata/compromised" {{ capabilities = ["list"] }}
path "{KV_MOUNT}/data/compromised/+"   {{ capabilities = ["create"] }}
"""


# -- the shipped policies are what the jobs need, and no job of another login's ----------------


@pytest.mark.parametrize(("login", "job"), [(one, job) for one in JOBS_OF for job in JOBS_OF[one]])
def test_each_shipped_policy_grants_what_its_jobs_need(
    openbao: OpenBao, login: str, job: str
) -> None:
    with openbao.client(login) as client:
        preflight.require(client, preflight.needs(job, EVERY_MOUNT, [KV_MOUNT]))


@pytest.mark.parametrize(
    ("login", "job"),
    [
        (login, job)
        for login, own in JOBS_OF.items()
        for job in preflight.JOBS
        if job not in own and (login, job) not in ENOUGH
    ],
)
def test_no_shipped_policy_is_enough_for_another_logins_job(
    openbao: OpenBao, login: str, job: str
) -> None:
    with openbao.client(login) as client, pytest.raises(PkiError) as caught:
        preflight.require(client, preflight.needs(job, EVERY_MOUNT, [KV_MOUNT]))
    assert caught.value.rule == "VAULT-PREFLIGHT"


def test_what_is_granted_by_name_is_asked_by_name(openbao: OpenBao, tmp_path: Path) -> None:
    rules = f'path "{TLS_MOUNT}/sign/a/+" {{ capabilities = ["update"] }}'
    options = vault_access.approle(openbao, tmp_path, rules)
    with Client(Settings.resolve(options, {})) as client:
        rows = preflight.check(client, preflight.needs("request", EVERY_MOUNT[:1]))
    assert [(row.path, row.names) for row in rows if not row.lacks] == [
        (f"{TLS_MOUNT}/sign/+/sha2-256", ("a",))
    ]


def test_making_a_key_is_an_update_so_create_alone_does_not_help(
    openbao: OpenBao, tmp_path: Path
) -> None:
    """What the preflight asks for is what the server asks for."""
    path = f"{TLS_MOUNT}/keys/made-{secrets.token_hex(4)}"
    body = {"type": "rsa-2048", "exportable": True}
    for capability, allowed in (("create", False), ("update", True)):
        rules = f'path "{TLS_MOUNT}/keys/+" {{ capabilities = ["{capability}"] }}'
        options = vault_access.approle(openbao, tmp_path, rules)
        with Client(Settings.resolve(options, {})) as client:
            held = client.capabilities([path])[path]
            if allowed:
                client.write(path, body, idempotent=True)
            else:
                with pytest.raises(PkiError) as caught:
                    client.write(path, body, idempotent=True)
                assert "capability update" in caught.value.expected
        assert held == (capability,)


def test_a_login_without_the_policy_default_is_told_to_have_it(
    openbao: OpenBao, tmp_path: Path
) -> None:
    options = vault_access.approle(openbao, tmp_path, HALF, token_no_default_policy=True)
    with Client(Settings.resolve(options, {})) as client, pytest.raises(PkiError) as caught:
        preflight.require(client, preflight.needs("plan", EVERY_MOUNT))
    assert caught.value.rule == "VAULT-PREFLIGHT"
    assert "policy default" in caught.value.next_step
    assert "sys/capabilities-self" in caught.value.expected


# -- the playbook ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def web() -> Iterator[controller_world.Web]:
    with controller_world.web() as site:
        yield site


@dataclass
class Office:
    """An inventory and its logins."""

    desk: Desk

    def logins(self, **vaults: Any) -> None:
        folder = self.desk.base / "group_vars" / "all"
        for name, vault in vaults.items():
            (folder / f"{name}.yml").write_text(yaml.safe_dump({name: vault}))

    def key_exists(self) -> bool:
        with self.desk.openbao.client("operator") as client:
            return self.desk.name in client.list(f"{TLS_MOUNT}/keys")


@pytest.fixture
def office(tmp_path: Path, openbao: OpenBao, web: controller_world.Web) -> Office:
    base = tmp_path / "inventory"
    base.mkdir()
    office = Office(Desk(base, openbao, web))
    office.logins(
        certificates_vault=openbao.options("pipeline"),
        release_vault=openbao.options("release"),
    )
    return office


def flat(output: str) -> str:
    """What was printed, however its lines were folded."""
    return " ".join(output.replace("\\n", " ").replace('\\"', '"').split())


def table(output: str) -> list[list[str]]:
    """The rows of the printed table, its columns apart."""
    lines = (re.split(r" {2,}", line.strip()) for line in output.splitlines())
    return [line for line in lines if len(line) == 6 and line[0] in JOBS_OF]


def test_with_the_shipped_policies_everything_is_ready_and_nothing_was_made(
    office: Office, openbao: OpenBao
) -> None:
    office.logins(
        retire_vault=openbao.options("retire"),
        certificates_import_vault=openbao.options("import"),
        export_vault=openbao.options("export"),
        backup_vault=openbao.options("backup"),
    )
    ran = office.desk.play("preflight")
    rows = table(ran.output)
    assert {row[0] for row in rows} == set(JOBS_OF)
    assert {row[5] for row in rows} == {"yes"}
    assert ["pipeline", "request", f"{TLS_MOUNT}/keys/+/rotate", "update", "update", "yes"] in rows
    assert ran.changed == 0
    assert not office.key_exists()


@pytest.mark.parametrize("mode", [(), ("--check", "--diff")])
def test_what_a_login_lacks_is_named_by_path_and_capability_and_the_play_fails(
    office: Office, openbao: OpenBao, tmp_path: Path, mode: tuple[str, ...]
) -> None:
    office.logins(certificates_vault=vault_access.approle(openbao, tmp_path, HALF))
    ran = office.desk.play("preflight", *mode, code=2)
    lacking = [row[2] for row in table(ran.output) if row[5] == "NO"]
    assert lacking == [f"{TLS_MOUNT}/keys/+/rotate", f"{TLS_MOUNT}/sign/+/sha2-256"]
    told = flat(ran.output)
    assert (
        f"rotate on {TLS_MOUNT}/keys/+/rotate ({office.desk.name}): needs update, "
        "the token has deny" in told
    )
    assert f'path "{TLS_MOUNT}/keys/+/rotate"' in told


def test_a_login_that_is_refused_stands_beside_the_others(office: Office, tmp_path: Path) -> None:
    write_secret(tmp_path / "wrong", secrets.token_hex(24).encode())
    options = office.desk.openbao.options("release") | {"secret_id_file": str(tmp_path / "wrong")}
    office.logins(release_vault=options)
    ran = office.desk.play("preflight", code=2)
    assert {row[0] for row in table(ran.output)} == {"pipeline"}
    assert "VAULT-LOGIN" in ran.output
    assert "release: Vault refused the login" in ran.output


def test_where_nobody_releases_keys_no_release_login_is_needed(office: Office) -> None:
    """The hosts fetch their keys themselves: the release login is not even configured."""
    office.logins(release_vault={})
    file = office.desk.base / "group_vars" / "all" / "certificates.yml"
    declared = yaml.safe_load(file.read_text())
    declared["certificates"][0]["key"]["delivery"] = "pull"
    file.write_text(yaml.safe_dump(declared))
    assert {row[0] for row in table(office.desk.play("preflight").output)} == {"pipeline"}


def test_an_api_key_is_there_or_it_is_said_what_to_do(office: Office, openbao: OpenBao) -> None:
    there, absent, value = (f"dip-{secrets.token_hex(8)}" for _ in range(3))
    with openbao.client("operator") as operator:
        operator.write(f"{KV_MOUNT}/data/api-keys/{there}", {"data": {"key": value}})
    listener = {
        "certificate": office.desk.name,
        "trust": "dip-nonprod",
        "upstream": {"host": "api.dip.example", "address": "192.0.2.1", "port": 443},
    }
    egress = [
        {
            **listener,
            "name": f"api-{number}",
            "listen": f"127.0.0.1:{18080 + number}",
            "dip_id": f"100{number}",
            "api_key": name,
        }
        for number, name in enumerate((there, absent))
    ]
    gateway = {"name": "dip", "product": "nginx", "hosts": "gateways", "egress": egress}
    office.logins(gateways=[gateway])
    ran = office.desk.play("preflight", code=2)
    told = flat(ran.output)
    assert f"API key {there} is there: version 1, of 20" in told
    assert f"release: the API key {absent} is not in Vault" in told
    assert "docs/api_keys.md" in told
    assert ["release", "release", f"{KV_MOUNT}/data/api-keys/+", "read", "read", "yes"] in table(
        ran.output
    )
    assert value not in ran.output


# -- before the first key ----------------------------------------------------------------------


def test_no_key_is_made_by_who_could_not_sign_with_it(
    office: Office, openbao: OpenBao, tmp_path: Path
) -> None:
    office.logins(certificates_vault=vault_access.approle(openbao, tmp_path, HALF))
    ran = office.desk.play("site", code=2)
    assert "VAULT-PREFLIGHT" in ran.output
    assert f"{TLS_MOUNT}/sign/+/sha2-256" in ran.output
    assert not office.key_exists()


# -- nothing secret is printed -----------------------------------------------------------------


def test_nothing_secret_is_printed_whatever_the_logins_are(
    office: Office, openbao: OpenBao, tmp_path: Path
) -> None:
    """At the loudest: a good login, one that lacks everything, a wrong one, and a bad id token."""
    tap = Tap(tmp_path / "tap", (openbao.port, openbao.ca_cert)).start()
    try:
        ran, hidden = loudest(office, tap, tmp_path)
    finally:
        tap.stop()
    scanner = Scanner()
    assert len(tap.tokens) >= 2
    for number, secret in enumerate([*hidden, *sorted(tap.tokens)]):
        scanner.add_text(f"secret {number}", secret)
    # Each login came as far as it was meant to.
    for words in ("NO", "invalid role or secret ID", "token is expired"):
        assert words in ran.output
    found = scanner.scan_text(ran.output, "the output")
    assert not found, explain(found)


def loudest(office: Office, tap: Tap, tmp_path: Path) -> tuple[Any, list[str]]:
    """One run with four logins, and every credential that it used."""
    openbao = office.desk.openbao
    forge = Forge()
    with openbao.client("operator") as operator:
        forge.trust(operator, "nightly", token_policies=["pipeline"])
    there = {"address": tap.address, "ca_cert": str(tap.ca_cert)}
    token = forge.id_token(vault_access.claims(0.0, sub="repo:a/b"))
    write_secret(tmp_path / "id-token", token.encode())
    by_id_token = {"auth_mount": forge.mount, "auth_role": "nightly"}
    write_secret(tmp_path / "wrong", secrets.token_hex(24).encode())
    logins = {
        "certificates_vault": openbao.options("pipeline"),
        "release_vault": vault_access.approle(openbao, tmp_path, HALF),
        "certificates_retire_vault": openbao.options("retire")
        | {"secret_id_file": str(tmp_path / "wrong")},
        "certificates_import_vault": {**by_id_token, "jwt_file": str(tmp_path / "id-token")},
    }
    office.logins(**{name: {**options, **there} for name, options in logins.items()})
    ran = office.desk.play("preflight", "-vvvv", "--diff", code=2)
    files = [options[name] for options in logins.values() for name in options if "_id_file" in name]
    return ran, [Path(file).read_text().strip() for file in files] + token.split(".")[1:]
