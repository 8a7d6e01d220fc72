# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation that runs: the README's ten minutes, to the letter, and every command it names."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from integration.lab_fixture import REPOSITORY, Lab
from integration.test_make_lab import Clone, copy_of_the_repository

pytestmark = [pytest.mark.integration, pytest.mark.lab]
pytest_plugins = ("integration.lab_plugin",)

DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
RUNBOOK = REPOSITORY / "docs/runbook.md"
TEN_MINUTES = "## Your first real certificate in ten minutes"


def blocks(text: str) -> list[list[str]]:
    """The command lines of every ``sh`` block, in order."""
    found = re.findall(r"^( *)```sh\n(.*?)^\1```", text, re.M | re.S)
    whole = (body.replace("\\\n", " ") for _, body in found)
    return [[line.strip() for line in body.splitlines() if line.strip()] for body in whole]


def section(text: str, title: str) -> str:
    start = text.index(title)
    end = text.find("\n## ", start + 1)
    return text[start : end if end > 0 else None]


def commands() -> list[str]:
    return sorted({c for path in DOCUMENTS for block in blocks(path.read_text()) for c in block})


@pytest.mark.parametrize("command", commands())
def test_every_command_in_the_documentation_names_things_that_exist(command: str) -> None:
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        rules = (REPOSITORY / "Makefile").read_text()
        for target in (word for word in words[1:] if "=" not in word):
            name = target.replace(".venv/", "$(VENV)/")
            assert re.search(rf"^{re.escape(name)}:", rules, re.M), f"make has no target {target}"
        return
    if words[0] == "tools/molecule":
        options = dict(itertools.pairwise(words))
        name = words[2] if words[1] == "--in" else options.get("-s", "default")
        assert (REPOSITORY / "molecule" / name / "molecule.yml").exists(), command
        return
    known = (".venv/bin/ansible-playbook", "git", "apt-get", "openssl", "mkdir", "cp")
    assert words[0] in known, command
    for word in words[1:]:
        made = word.rstrip("/").endswith(("certificates", "crls"))
        if word.startswith(("playbooks/", "inventories/")) and not made:
            assert (REPOSITORY / word).exists(), f"{word} does not exist"


def fill_in(runner: Clone, lab: Lab) -> None:
    """What a person writes over the FILL-INs, with the lab as Vault, CA and far end."""
    record = lab.record()
    everywhere = runner.root / "inventories/nonprod"
    pins = {
        "anchors": record["trust"]["anchors"][0],
        "issuers": record["trust"]["issuers"][0],
    }
    trust = everywhere / "group_vars/all/trust.yml"
    text = trust.read_text()
    for kind, file in (("anchors", "trust/root.pem"), ("issuers", "trust/issuing.pem")):
        pin = pins[kind]
        (everywhere / file).write_bytes(Path(pin["file"]).read_bytes())
        text = text.replace("sha256: FILL-IN", f"sha256: {pin['sha256']}", 1)
        text = text.replace("[FILL-IN]", json.dumps(pin["crl_urls"]), 1)
    trust.write_text(text)
    replace(everywhere / "group_vars/all/organisations.yml", [
        ("O: FILL-IN", "O: Example Energy Ltd"), ("L: FILL-IN", "L: London"),
        ("ST: FILL-IN", "ST: London"), ("C: FILL-IN", "C: GB"),
        ("name: FILL-IN", "name: Alex Example"), ("email: FILL-IN", "email: alex@example.co.uk"),
        ("registered: FILL-IN", "registered: 2026-01-02"),
        ("vetted: FILL-IN", "vetted: 2026-01-03"), ("accepted: FILL-IN", "accepted: 2026-01-05"),
    ])  # fmt: skip
    replace(everywhere / "evidence.yml", [
        ("date: FILL-IN", "date: 2026-01-05"), ("owner: FILL-IN", "owner: Alex Example"),
        ("reference: FILL-IN", "reference: DOC-1"),
    ])  # fmt: skip
    replace(
        everywhere / "group_vars/all/certificates.yml",
        [
            ("domain: FILL-IN", "domain: first.example-energy.co.uk"),
            ("domain_verified: FILL-IN", "domain_verified: 2026-01-04"),
        ],
    )
    ports = record["ports"]
    replace(everywhere / "group_vars/all/gateways.yml", [
        ("0.0.0.0:443", f"127.0.0.1:{ports['ingress']}"),
        ("127.0.0.1:8443", f"127.0.0.1:{ports['egress']}"),
        ("server_name: FILL-IN", "server_name: energydip-nonprod.first.example-energy.co.uk"),
        ("CN: FILL-IN", "CN: energydip-nonprod.dip.example"),
        ("127.0.0.1:8080", f"127.0.0.1:{ports['app']}"),
        ("host: FILL-IN", "host: api.nonprod.dip.example"),
        ("address: FILL-IN", "address: 127.0.0.1"), ("port: 443", f"port: {ports['dip']}"),
    ])  # fmt: skip
    replace(everywhere / "group_vars/all/vault.yml", [
        ("https://vault.FILL-IN.example:8200", record["vault"]["address"]),
        ("{{ inventory_dir }}/trust/vault-ca.pem", record["vault"]["ca_cert"]),
        ("/run/secrets/", f"{lab.home}/secrets/"),
    ])  # fmt: skip
    replace(everywhere / "group_vars/all/firewall.yml", [
        ("FILL-IN/24", "192.0.2.0/24"), ("vault.FILL-IN.example", "vault.example"),
        ("  FILL-IN:", "  api.nonprod.dip.example:"), ("- FILL-IN", "- 192.0.2.1"),
    ])  # fmt: skip
    host = runner.root / "host"
    (everywhere / "hosts.yml").write_text(
        (everywhere / "hosts.yml")
        .read_text()
        .replace("gateway-1.FILL-IN.example", "gateway-1")
        .replace(
            "ansible_become: true",
            "ansible_connection: local\n          ansible_python_interpreter: "
            + json.dumps(sys.executable)
            + f"\n          release_root: {host}/tls\n          crl_cache_root: {host}/crl"
            + f"\n          gateway_root: {host}/gateway"
            # This machine is nobody's host: no service manager, no packet filter, no root.
            + "\n          gateway_service: daemon"
            + "\n          firewall_manage: false"
            + f"\n          gateway_programs: {{nginx: {record['programs']['nginx']}}}",
        )
    )
    assert not any("FILL-IN" in path.read_text() for path in everywhere.rglob("*.yml"))


def replace(path: Path, pairs: list[tuple[str, str]]) -> None:
    text = path.read_text()
    for old, new in pairs:
        assert old in text, f"{path.name} has no {old}"
        text = text.replace(old, new)
    path.write_text(text)


@pytest.fixture
def runner(tmp_path: Path) -> Clone:
    fresh = Clone(copy_of_the_repository(tmp_path / "clone"))
    (fresh.root / ".venv").symlink_to(sys.prefix)
    fresh.run("git", "init", "-q")
    return fresh


def test_the_examples_name_every_place_that_is_not_filled_in(runner: Clone) -> None:
    said = runner.run(
        ".venv/bin/ansible-playbook", "-i", "inventories/nonprod", "playbooks/site.yml", "--check",
        expected=2,
    ).output  # fmt: skip
    for place in (
        "organisations.example-energy.subject.O",
        "certificates[0].domain",
        "trust.dip-nonprod",
    ):
        assert place in said
    assert "nothing was changed" in said


def test_the_ten_minutes_of_the_readme_end_with_a_certificate_in_service(
    lab: Lab, runner: Clone
) -> None:
    fill_in(runner, lab)
    mine = runner.root / "inventories/nonprod/certificates"
    first, second, third, last = blocks(
        section((REPOSITORY / "README.md").read_text(), TEN_MINUTES)
    )
    said = [runner.run(*shlex.split(line)) for line in first]
    assert not mine.exists(), "check mode wrote something"
    assert "key would be made" in said[-1].output
    said = [runner.run(*shlex.split(line)) for line in second]
    assert "wait for a Certificate Admin and the CA" in said[0].output
    assert (mine / "dip-nonprod/1/submission.txt").exists()
    lab.play("sign", "-e", json.dumps({"lab_certificates_dir": str(mine)}))
    try:
        said = [runner.run(*shlex.split(line)) for line in third]
        assert re.search(r"dip-nonprod\s+deployed", said[0].output)
        assert runner.run(*shlex.split(third[0])).changed == 0
        said = [runner.run(*shlex.split(line)) for line in last]
        assert re.search(r"dip-nonprod\s+deployed", said[0].output)
        prove_every_clause(runner)
        carry_crls_over(runner)
        ask_again(runner)
    finally:
        stop_gateway(runner.root / "host/gateway/dip-gateway/run/nginx.pid")


def prove_every_clause(runner: Clone) -> None:
    """One person, one set of certificates, no archive: findings, and not a single fault."""
    ((policy, verify, explain),) = blocks(
        section((REPOSITORY / "README.md").read_text(), "## Every clause, proved")
    )
    for command, reports in (
        (policy, runner.root / ".reports/policy"),
        (verify, runner.root / "inventories/nonprod/.reports"),
    ):
        run = runner.run(*shlex.split(command), expected=2)
        result = json.loads((reports / "result.json").read_text())
        assert (result["status"], result["faults"]) == ("findings", []), run.output[-4000:]
        unmet = {one["rule"] for one in result["verdicts"] if one["outcome"] == "failed"}
        assert "DIP-5.5-TWO-SETS" in unmet
        assert unmet <= {
            *("DIP-5.4.1-TWO-USER-ADMINS", "DIP-5.4.2.1-COVER", "DIP-5.5-TWO-SETS"),
            # Of this machine, not of what was filled in.
            *("DIP-2.3-TIME", "DIP-2.3-LOG-RETENTION", "DIP-3.5.2.6-TIMERS"),
        }
    assert "24 hours" in runner.run(*shlex.split(explain)).output


def carry_crls_over(runner: Clone) -> None:
    """The runbook's way for a CA without an address: its CRL comes in by hand."""
    (lines,) = blocks(section(RUNBOOK.read_text(), "## Without a way to the CA"))
    inventory = runner.root / "inventories/nonprod"
    trust = inventory / "group_vars/all/trust.yml"
    head, issuers = trust.read_text().split("    issuers:")
    trust.write_text(f"{head}    issuers:" + re.sub(r"crl_urls: .*", "crl_urls: []", issuers))
    issuing = (inventory / "trust/issuing.pem").read_bytes()
    pin = x509.load_pem_x509_certificate(issuing).fingerprint(hashes.SHA256()).hex()
    cached = inventory / f".crl-cache/dip-nonprod/{pin[:16]}.crl"
    cached.rename(runner.root / "issuing.crl")
    alone = runner.run(*shlex.split(lines[-1]), expected=2)
    assert "CRL" in alone.output
    said = [runner.run(*shlex.split(line)) for line in lines]
    assert "issuer=" in said[0].output
    assert re.search(r"dip-nonprod\s+deployed", said[-1].output)


def ask_again(runner: Clone) -> None:
    """The runbook's words for a request that came to nothing, on a request that is open."""
    ended, renewed = blocks(section(RUNBOOK.read_text(), "## A request came to nothing"))
    kept = runner.root / "inventories/nonprod/certificates/dip-nonprod"
    runner.run(*shlex.split(renewed[0]))
    assert re.search(r"dip-nonprod\s+rejected", runner.run(*shlex.split(ended[0])).output)
    assert runner.run(*shlex.split(ended[0])).changed == 0
    assert re.search(r"dip-nonprod\s+requested", runner.run(*shlex.split(renewed[0])).output)
    assert (kept / "2/outcome.yml").exists()
    assert (kept / "2/request.csr").read_bytes() != (kept / "3/request.csr").read_bytes()


def stop_gateway(pid_file: Path) -> None:
    import os
    import signal

    if pid_file.exists():
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
