#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make bench``: CPU seconds of what matters, each beside a peer in the same run.

Machines are shared and noisy: read the ratio, not the seconds. The last section needs a
running lab (``make lab``) and says so when there is none.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests")]

from pki import lifecycle, policy_files, reply, revocation
from pki import plan as planning
from unit import pki_factory as factory

PLANS = 10_000
REPLIES = 500
PROCESSES = 20
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


def replies() -> None:
    root = factory.authority("Bench Root")
    issuing = root.authority("Bench Issuing", path_length=0)
    request, leaf = factory.request(), issuing.leaf()
    crls = (issuing.crl(), root.crl())
    purposes = frozenset({"mtls", "signing"})
    options: dict[str, Any] = {
        "csr": request,
        "expectation": reply.Expectation(
            factory.CN, factory.SUBJECT, purposes, "mhhs-dip", "nonprod"
        ),
        "trust": reply.Trust([root.der], [issuing.der], [issuing.sha256]),
        "revocation": reply.Revocation(crls),
        "now": factory.NOW,
        "policy": policy_files.load_policies(ROOT / "policies", ["mhhs-dip"])["mhhs-dip"],
    }

    def ours() -> None:
        for _ in range(REPLIES):
            reply.accept([factory.pem(leaf)], **options)

    with tempfile.TemporaryDirectory() as folder:
        files = {
            "leaf": factory.pem(leaf),
            "issuing": issuing.pem,
            "root": root.pem,
            "crl": b"".join(revocation.to_pem(crl) for crl in crls),
        }
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        moment = str(int(factory.NOW.timestamp()))
        command = [
            "openssl", "verify", "-crl_check_all", "-attime", moment, "-CAfile", "root",
            "-CRLfile", "crl", "-untrusted", "issuing", "leaf",
        ]  # fmt: skip

        def theirs() -> None:
            for _ in range(PROCESSES):
                subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)

        each = 1000 * cpu(theirs, children=True) / PROCESSES
    mine = 1000 * cpu(ours) / REPLIES
    line("judge one reply, policy and CRLs included (ms)", mine, "openssl verify (ms)", each)


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
    ours = cpu(lambda: run("playbooks/site.yml"), children=True)
    line("site.yml, nothing to do", ours, f"{PINGS} times ansible.builtin.ping", theirs)


def main() -> None:
    title = f"CPU seconds, median of {ROUNDS}"
    print(f"  {title:<52} {'ours':>9}   {'peer':<40} {'theirs':>9}   {'ratio':>6}")
    plans()
    replies()
    main_job()


if __name__ == "__main__":
    main()
