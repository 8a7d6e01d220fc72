# SPDX-License-Identifier: GPL-3.0-or-later
"""The role vault_policies on a real OpenBao: what it writes, what it leaves, what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration import shipped_policies
from integration.openbao_server import OpenBao
from integration.release_world import PROJECT, Ran
from kept_payloads.session import kept_environment
from pki.vault import Client

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """A server of its own: the role makes mounts, and they stay."""
    made = OpenBao(tmp_path_factory.mktemp("role"))
    made.prepare()
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def operator(server: OpenBao) -> Iterator[Client]:
    with server.client("operator") as client:
        yield client


def play(folder: Path, *arguments: str, **options: Any) -> Ran:
    values = {f"vault_policies_{name}": value for name, value in options.items()}
    (folder / "values.json").write_text(json.dumps(values))
    play = [{"hosts": "localhost", "gather_facts": False, "roles": ["vault_policies"]}]
    (folder / "play.yml").write_text(json.dumps(play))
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            *("-i", "localhost,", "-c", "local", "-e", f"@{folder / 'values.json'}"),
            *("-e", f"ansible_python_interpreter={sys.executable}"),
            *arguments,
            str(folder / "play.yml"),
        ],
        env={
            **kept_environment("PATH", "HOME"),
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        },
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return Ran(done.returncode, done.stdout)


def text_of(operator: Client, name: str) -> str:
    return str((operator.read(f"sys/policies/acl/{name}") or {}).get("policy", ""))


def test_it_writes_every_policy_once_and_shows_before_what_it_would_do(
    server: OpenBao, operator: Client, tmp_path: Path
) -> None:
    options = {"vault": server.options("operator"), "prefix": "once-", "classes": ["nonprod"]}
    checked = play(tmp_path, "--check", "--diff", **options)
    assert (checked.code, checked.changed) == (0, True), checked.output
    assert '+path "transit-nonprod-tls/keys/+/rotate"' in checked.output
    assert not [name for name in operator.list("sys/policies/acl") if name.startswith("once-")]

    assert play(tmp_path, **options).changed
    for role in shipped_policies.ROLES:
        wanted = shipped_policies.rendered(role, ("nonprod",))
        assert text_of(operator, f"once-{role}") == wanted
    again = play(tmp_path, "--diff", **options)
    assert (again.code, again.changed) == (0, False), again.output


def test_what_somebody_changed_in_a_policy_is_shown_and_put_right(
    server: OpenBao, operator: Client, tmp_path: Path
) -> None:
    options = {"vault": server.options("operator"), "prefix": "drift-", "roles": ["release"]}
    assert play(tmp_path, **options).changed
    right = text_of(operator, "drift-release")
    loose = right.replace('max_wrapping_ttl = "120s"', 'max_wrapping_ttl = "24h"')
    operator.write("sys/policies/acl/drift-release", {"policy": loose})
    ran = play(tmp_path, "--diff", **options)
    assert ran.changed
    assert '-  max_wrapping_ttl = "24h"' in ran.output
    assert text_of(operator, "drift-release") == right


def test_a_policy_that_somebody_else_wrote_stands_until_it_is_adopted(
    server: OpenBao, operator: Client, tmp_path: Path
) -> None:
    options = {"vault": server.options("operator"), "prefix": "theirs-"}
    operator.write("sys/policies/acl/theirs-retire", {"policy": "# another team's\n"})
    ran = play(tmp_path, **options)
    assert ran.code != 0
    assert "VAULT-POLICIES" in ran.output
    assert "vault_policies_prefix" in ran.output
    # Nothing was written, not even what comes before it.
    assert [n for n in operator.list("sys/policies/acl") if n.startswith("theirs-")] == [
        "theirs-retire"
    ]
    assert play(tmp_path, **options, adopt=True).changed
    assert text_of(operator, "theirs-retire") == shipped_policies.rendered("retire")


def test_missing_mounts_are_made_and_one_of_another_kind_is_left_alone(
    server: OpenBao, operator: Client, tmp_path: Path
) -> None:
    options = {
        "vault": server.options("operator"),
        "prefix": "mounts-",
        "classes": ["prod"],
        "mounts": True,
    }
    operator.write("sys/mounts/kv-prod", {"type": "kv", "options": {"version": "1"}})
    ran = play(tmp_path, **options)
    assert ran.code != 0
    assert "type kv, version 1" in " ".join(ran.output.split())
    assert "transit-prod-tls/" not in (operator.read("sys/mounts") or {})

    operator.write("sys/remount", {"from": "kv-prod", "to": "kv-prod-old"})
    ran = play(tmp_path, "--diff", **options)
    assert (ran.code, ran.changed) == (0, True), ran.output
    there = operator.read("sys/mounts") or {}
    assert there["transit-prod-tls/"]["type"] == there["transit-prod-signing/"]["type"] == "transit"
    assert there["kv-prod/"]["options"] == {"version": "2"}
    assert not play(tmp_path, **options).changed


def test_files_for_an_operator_need_no_server(tmp_path: Path) -> None:
    options = {"directory": str(tmp_path / "hcl")}
    assert play(tmp_path, "--check", **options).changed
    assert not (tmp_path / "hcl").exists()
    assert play(tmp_path, **options).changed
    for role in shipped_policies.ROLES:
        written = (tmp_path / "hcl" / f"mtls-{role}.hcl").read_text()
        assert written == shipped_policies.rendered(role)
    assert not play(tmp_path, **options).changed


def test_a_login_that_may_not_write_policies_ends_with_the_path_it_lacks(
    server: OpenBao, tmp_path: Path
) -> None:
    ran = play(tmp_path, vault=server.options("pipeline"), prefix="denied-")
    assert ran.code != 0
    assert "VAULT-DENIED" in ran.output
    assert "sys/policies/acl" in ran.output


def test_the_defaults_are_those_that_the_policies_are_tested_with() -> None:
    import yaml

    defaults = yaml.safe_load((PROJECT / "roles/vault_policies/defaults/main.yml").read_text())
    assert defaults["vault_policies_pull_keys"] == shipped_policies.PULL_KEYS
    assert set(defaults["vault_policies_roles"]) == set(shipped_policies.ROLES)
