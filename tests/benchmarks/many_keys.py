# SPDX-License-Identifier: GPL-3.0-or-later
"""Many keys on a real key server: a first run that makes them all, and one with nothing to do.

Calls are looked at by a tap in front of the server, so that a figure is what crossed the wire.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from integration.many_certificates import Office, entry
from integration.openbao_server import OpenBao
from integration.vault_tap import Exchange, Tap

MADE = 100
DECLARED = 1_000
PEERS = 20
IDLE_SHARE = 0.15
CPU_SECONDS = 10.0
CREATE = re.compile(r"/v1/transit-[a-z]+-[a-z]+/keys/[^/]+")
CRYPTO = """\
- hosts: localhost
  gather_facts: false
  tasks:
    - community.crypto.openssl_privatekey:
        path: "{{ folder }}/{{ item }}.key"
        size: 2048
      loop: "{{ range(count | int) | list }}"
    - community.crypto.openssl_csr:
        path: "{{ folder }}/{{ item }}.csr"
        privatekey_path: "{{ folder }}/{{ item }}.key"
        common_name: "energydip-nonprod.c{{ item }}.example.co.uk"
        organization_name: Example Energy Ltd
        country_name: GB
      loop: "{{ range(count | int) | list }}"
"""


@dataclass(frozen=True)
class Cost:
    """What a play took: wall seconds, and CPU seconds of it and all it started."""

    began: float
    ended: float
    cpu: float

    @property
    def wall(self) -> float:
        return self.ended - self.began


def report(made: int = MADE, declared: int = DECLARED) -> None:
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as openbao:
        making(Path(folder, "making"), openbao, made)
        nothing_to_do(Path(folder, "nothing"), openbao, declared)


@contextmanager
def server(folder: Path) -> Iterator[OpenBao]:
    home = folder / "openbao"
    home.mkdir()
    openbao = OpenBao(home)
    openbao.prepare()
    openbao.start()
    try:
        yield openbao
    finally:
        openbao.stop()


@contextmanager
def tapped(folder: Path, openbao: OpenBao) -> Iterator[Tap]:
    tap = Tap(folder / "tap", (openbao.port, openbao.ca_cert)).start()
    try:
        yield tap
    finally:
        tap.stop()


def through(tap: Tap, openbao: OpenBao) -> dict[str, str]:
    here = {"address": tap.address, "ca_cert": str(tap.ca_cert)}
    return {**openbao.options("pipeline"), **here}


def play(office: Office, playbook: str, extra: Mapping[str, object]) -> Cost:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        office.command(playbook, "-e", json.dumps(extra)),
        env=office.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    ended, after = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{playbook} failed:\n{done.stdout}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(began, ended, cpu)


def making(folder: Path, openbao: OpenBao, count: int) -> None:
    """RSA-4096 keys and their requests, in one play; none may fail."""
    folder.mkdir()
    entries = [entry(f"m{number}") for number in range(count)]
    with tapped(folder, openbao) as tap:
        office = Office(folder / "inventory", through(tap, openbao), entries, small=False)
        cost = play(office, "request", {})
        seen = list(tap.seen)
    creations = [one for one in seen if one.method == "POST" and CREATE.fullmatch(one.path)]
    requests = len(list((folder / "inventory" / "certificates").rglob("request.yml")))
    failed = [one for one in seen if one.status >= 400 and one.status != 404]
    if (len(creations), requests, failed) != (count, count, []):
        sys.exit(f"{len(creations)} creations, {requests} requests, {len(failed)} failed calls")
    idle = 1 - busy(creations) / cost.wall
    print(
        f"  {count} RSA-4096 keys and requests in one play: {cost.wall:.0f} s, no failure; "
        f"no creation in flight {idle:.1%} of them (goal {IDLE_SHARE:.0%}); "
        f"controller {cost.cpu:.1f} CPU s"
    )


def busy(calls: Iterable[Exchange]) -> float:
    """Seconds in which at least one of the calls was in flight."""
    total, until = 0.0, 0.0
    for one in sorted(calls, key=lambda call: call.began):
        total += max(0.0, one.ended - max(one.began, until))
        until = max(until, one.ended)
    return total


def nothing_to_do(folder: Path, openbao: OpenBao, count: int) -> None:
    """Declared certificates whose keys are there and whose requests are committed."""
    folder.mkdir()
    entries = [entry(f"n{number}") for number in range(count)]
    office = Office(folder / "inventory", openbao.options("pipeline"), entries)
    play(office, "request", {})
    before = office.files()
    # Timed without the tap, which answers much slower than the server: Ansible looks at a task that
    # it waits for, and would be charged for the waiting.
    cost = play(office, "request", {})
    with tapped(folder, openbao) as tap:
        play(office, "request", {"certificates_vault": through(tap, openbao)})
        calls, connections = calls_of(tap.seen), tap.connections
    if office.files() != before or len(before) != 3 * count:
        sys.exit("a run with nothing to do changed files")
    theirs = crypto(office, folder)
    print(
        f"  {count} declared, nothing to do: {cost.cpu:.1f} CPU s (goal {CPU_SECONDS:.0f}) in "
        f"{cost.wall:.0f} s; {calls} over {connections} connections "
        "(goal: a list a mount, at most a read a key, and the ledger's list)"
    )
    print(
        f"    beside it: community.crypto's openssl_privatekey and openssl_csr for {PEERS} "
        f"certificates with nothing to do: {theirs.cpu:.1f} CPU s"
    )


def calls_of(seen: Iterable[Exchange]) -> str:
    """How often what was asked: login, lists, reads, and what else there was."""
    counted = Counter(
        "login and logout"
        if "/auth/" in one.path
        else "lists"
        if one.method == "LIST"
        else "reads"
        if one.method == "GET" and CREATE.fullmatch(one.path)
        else f"{one.method} {one.path}"
        for one in seen
    )
    return ", ".join(f"{number} {what}" for what, number in sorted(counted.items()))


def crypto(office: Office, folder: Path) -> Cost:
    (office.plays / "crypto.yml").write_text(CRYPTO)
    (folder / "crypto").mkdir()
    given = {"folder": str(folder / "crypto"), "count": PEERS}
    play(office, "crypto", given)
    return play(office, "crypto", given)
