#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make bench``: CPU seconds of what matters, each beside a peer in the same run.

Machines are shared and noisy: read the ratio, not the seconds. The last section needs a
running lab (``make lab``) and says so when there is none.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests")]

import jsonschema
from benchmarks import (
    crl_on_host,
    crl_reload,
    gateway_handshakes,
    judging,
    long_crl,
    many_keys,
    parties,
)
from cryptography import x509
from pki import (
    certificate_facts,
    checking,
    csr,
    key_hygiene,
    lifecycle,
    policy_files,
    reply,
)
from pki import plan as planning
from pki.documents import Collected, Declaration, Document, Validators
from unit import clean_inventory
from unit import pki_factory as factory

PLANS = 10_000
JUDGED = 10_000
CHECKED = 200
ROUNDS = 3
PINGS = 7


def cpu(work: Callable[[], object], *, children: bool = False) -> float:
    """Median CPU seconds of ``work`` over the rounds, of this process or of its children."""
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    times = []
    for _ in range(ROUNDS):
        before = resource.getrusage(who)
        work()
        after = resource.getrusage(who)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return median(times)


def line(what: str, ours: float, peer: str, theirs: float) -> None:
    ratio = f"{ours / theirs:.2f}" if theirs else "-"
    print(f"  {what:<52} {ours:9.3f}   {peer:<40} {theirs:9.3f}   {ratio:>6}")


def plans() -> None:
    intent = lifecycle.Intent("cn", {"O": "o"}, frozenset({"mtls"}), "mhhs-dip")
    accepted = lifecycle.Accepted("1", factory.NOW, factory.NOW + timedelta(days=300), factory.NOW)
    version = lifecycle.Version(1, lifecycle.Requested(intent, "k", factory.NOW), True, accepted)
    key = lifecycle.KeyVersion(factory.NOW, "k")
    observed = lifecycle.Observed({1: key}, (version,), {"gw": "1"})
    limits = lifecycle.Limits(timedelta(days=45))

    def work() -> None:
        for number in range(PLANS):
            wanted = lifecycle.Wanted(str(number), intent, "gateways")
            planning.plan(wanted, observed, limits, factory.NOW)

    line(f"plan {PLANS} certificates in service", cpu(work), "-", 0.0)


def rules() -> None:
    """Facts of certificates from their bytes, their schema, and every rule over them."""
    kind = "certificate"
    policy = policy_files.load_policies(ROOT / "policies", ["mhhs-dip"])["mhhs-dip"]
    schemas = policy_files.load_fact_schemas(ROOT / "policies")
    issuing = factory.authority("Bench Issuing")
    request, leaf = csr.parse(factory.request()), issuing.leaf()
    purposes = frozenset({"mtls", "signing"})
    around = certificate_facts.Around(
        expectation=reply.Expectation(
            factory.CN, factory.SUBJECT, purposes, policy.name, "nonprod"
        ),
        now=factory.NOW,
        limits=key_hygiene.Limits.of(policy.parameter),
        request=request,
        vetted=factory.SUBJECT,
    )
    one = certificate_facts.document(x509.load_der_x509_certificate(leaf), around)
    full = jsonschema.Draft202012Validator(schemas[kind])

    def ours() -> None:
        validators = Validators(schemas)
        names = [f"c{number}" for number in range(JUDGED)]
        seen = Collected(
            "",
            "offline",
            tuple(Declaration(kind, name, policy.name) for name in names),
            tuple(
                Document(
                    kind,
                    name,
                    policy.name,
                    certificate_facts.document(x509.load_der_x509_certificate(leaf), around),
                )
                for name in names
            ),
        )
        result = checking.check(
            {policy.name: policy},
            seen,
            validators=validators,
            scopes={kind: frozenset({"offline"})},
            today=factory.NOW.date(),
        )
        assert not result.faults
        assert len(result.verdicts) == JUDGED * len(policy.of_kind(kind))

    def theirs() -> None:
        for _ in range(JUDGED):
            full.is_valid(one)

    count = len(policy.of_kind(kind))
    what = f"{JUDGED} certificates, facts and all {count} rules (goal 20)"
    line(what, cpu(ours), "jsonschema over the same facts", cpu(theirs))


def policy_check() -> None:
    """The check of a pull request, as a person starts it; wall seconds."""
    with tempfile.TemporaryDirectory() as folder:
        clean_inventory.many(Path(folder), CHECKED)
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "module_utils")}

        def run(*arguments: str) -> float:
            times = []
            for _ in range(ROUNDS):
                before = time.monotonic()
                command = [sys.executable, *arguments]
                # Findings are its exit code 1; what went wrong otherwise shows in result.json.
                subprocess.run(
                    command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=False
                )
                times.append(time.monotonic() - before)
            return median(times)

        check = ("-m", "pki.check", "--inventory", "inventories/nonprod", "--report-dir", "out")
        ours = run(*check)
        status = json.loads(Path(folder, "out", "result.json").read_text())["status"]
        assert status in ("clean", "findings"), status
        peer = "import cryptography.x509, jsonschema, yaml"
        line(f"make policy, {CHECKED} certificates (wall, goal 5)", ours, peer, run("-c", peer))


def main_job() -> None:
    home = Path(os.environ.get("LAB_DIR", ROOT / ".lab"))
    if not (home / "status.json").exists():
        print("  not run: the no-change main job needs a running lab; next: make lab, make bench")
        return
    play = [Path(sys.executable).parent / "ansible-playbook", "-i", "inventories/lab"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}

    def run(playbook: str | Path) -> None:
        subprocess.run(
            [*play, playbook], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL
        )

    with tempfile.TemporaryDirectory() as folder:
        pings = Path(folder, "pings.yml")
        tasks = "".join("    - ansible.builtin.ping:\n" for _ in range(PINGS))
        pings.write_text(f"- hosts: localhost\n  gather_facts: false\n  tasks:\n{tasks}")
        theirs = cpu(lambda: run(pings), children=True)
    try:
        ours = cpu(lambda: run("playbooks/site.yml"), children=True)
    except subprocess.CalledProcessError:
        print(
            "  not run: site.yml failed on this lab; next: make lab, and if that fails make clean"
        )
        return
    line("site.yml, nothing to do", ours, f"{PINGS} times ansible.builtin.ping", theirs)


def main() -> None:
    title = f"CPU seconds, median of {ROUNDS}"
    print(f"  {title:<52} {'ours':>9}   {'peer':<40} {'theirs':>9}   {'ratio':>6}")
    plans()
    parties.report(line)
    judging.report(line, cpu)
    rules()
    long_crl.report(line)
    crl_on_host.report(line)
    crl_reload.report(line)
    policy_check()
    gateway_handshakes.report(line)
    main_job()
    many_keys.report()


if __name__ == "__main__":
    main()
