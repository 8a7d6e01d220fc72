# SPDX-License-Identifier: GPL-3.0-or-later
"""What the proofs with faults look and kill with must itself find and kill."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from scenarios import faults_processes as processes
from scenarios.faults_controller import changed
from scenarios.faults_watch import memory_needles
from scenarios.faults_world import Pair
from scenarios.scenario import Done

# A program with a child that leads a session of its own, as Ansible's workers do.
FAMILY = """
import os, subprocess, sys, time
held = bytes.fromhex(sys.stdin.readline().strip())
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                         start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def family() -> Iterator[tuple[subprocess.Popen[str], int, bytes]]:
    """A process that holds 32 bytes in memory, and its child in another session."""
    secret = secrets.token_bytes(32)
    parent = subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    parent.stdin.write(secret.hex() + "\n")
    parent.stdin.flush()
    child = int(parent.stdout.readline())
    try:
        yield parent, child, secret
    finally:
        processes.kill_tree(parent.pid)
        parent.communicate()


def test_a_tree_holds_a_child_that_leads_another_session(
    family: tuple[subprocess.Popen[str], int, bytes],
) -> None:
    parent, child, _ = family
    assert os.getsid(child) != os.getsid(parent.pid)
    assert set(processes.tree(parent.pid)) == {parent.pid, child}


def test_killing_a_tree_ends_all_of_it(family: tuple[subprocess.Popen[str], int, bytes]) -> None:
    parent, child, _ = family
    assert processes.kill_tree(parent.pid) == 2
    assert parent.wait(10) == -9
    deadline = time.monotonic() + 10
    while _lives(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    """A zombie that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_memory_is_searched_for_what_is_there_and_finds_nothing_else(
    family: tuple[subprocess.Popen[str], int, bytes],
) -> None:
    parent, child, secret = family
    other = secrets.token_bytes(32)
    assert processes.memory_has(parent.pid, {secret, other}) == {secret}
    assert processes.memory_has(child, {secret, other}) == set()


@pytest.mark.parametrize("layout", ["PKCS8", "TraditionalOpenSSL"])
def test_needles_of_a_key_are_what_its_holder_has_and_its_certificate_has_not(layout: str) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = _pem(key, layout)
    der = b"".join(line.encode() for line in pem.splitlines() if not line.startswith("-"))
    needles = memory_needles(pem)
    lines = [needle for needle, name in needles.items() if name.startswith("line")]
    assert len(lines) == 6
    assert all(line in der for line in lines)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert not any(line in public for line in lines)
    modulus = key.public_key().public_numbers().n
    for number in (modulus.to_bytes(256, "big"), modulus.to_bytes(256, "little")):
        assert not any(needle in number for needle in needles)


def _pem(key: rsa.RSAPrivateKey, layout: str) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        getattr(serialization.PrivateFormat, layout),
        serialization.NoEncryption(),
    ).decode()


def test_a_recap_is_read_host_by_host() -> None:
    recap = (
        "gateway      : ok=9    changed=2    unreachable=0    failed=0    skipped=3\n"
        "gateway-old  : ok=9    changed=0    unreachable=0    failed=0    skipped=3\n"
    )
    assert changed(Done(0, recap)) == {"gateway": 2, "gateway-old": 0}
    with pytest.raises(AssertionError):
        changed(Done(1, "no recap at all"))


@pytest.mark.parametrize(
    ("key", "certificate", "mixed", "whole"),
    [
        ("aa", "aa", False, True),
        ("aa", "bb", True, False),
        ("-", "aa", False, False),
        ("aa", "-", False, False),
        ("-", "-", False, False),
    ],
)
def test_a_pair_is_mixed_only_if_both_halves_are_there_and_differ(
    key: str, certificate: str, mixed: bool, whole: bool
) -> None:
    pair = Pair("releases/v2-0123456789abcdef", "v2-0123456789abcdef", key, certificate)
    assert (pair.mixed, pair.whole, pair.version) == (mixed, whole, 2)
