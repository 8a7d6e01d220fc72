# SPDX-License-Identifier: GPL-3.0-or-later
"""What judging costs: a path, a reply with a key never seen and one seen before, and a batch.

The certificates of a batch are all different; the keys are few, which changes nothing but the
key's hygiene, and that is told apart.
"""

from __future__ import annotations

import functools
import itertools
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests")]

from cryptography.hazmat.primitives.asymmetric import rsa
from interop import oracles
from pki import (
    acceptance,
    accepted_record,
    csr,
    key_hygiene,
    path,
    policy_files,
    public_state,
    reply,
    revocation,
)
from unit import pki_factory as factory
from unit.controller_world import ISSUING, World, certificate_entry, request_record

PATHS = 10_000
REPLIES = 500
BATCH = 1_000
PEERS = 20
KEYS = 8
GOAL_PATH = 1.5  # milliseconds, median

Line = Callable[[str, float, str, float], None]
CpuOf = Callable[..., float]


def each(work: Callable[[Any], object], items: Iterable[Any]) -> float:
    """Median CPU milliseconds of ``work`` over the items, of this process."""
    times = []
    for item in items:
        before = time.process_time()
        work(item)
        times.append(time.process_time() - before)
    return 1000 * median(times)


def key(number: int) -> str:
    return f"bench {number % KEYS}"


def report(line: Line, cpu: CpuOf) -> None:
    root = factory.authority("Bench Root")
    issuing = root.authority("Bench Issuing", path_length=0)
    crls = [issuing.crl(), root.crl()]
    public = [factory.key(key(number)).public_key() for number in range(KEYS)]
    leaves = [issuing.leaf(public=public[number % KEYS]) for number in range(PATHS)]
    question = oracles.Question(leaves[0], [issuing.der], root.der, crls, factory.NOW)

    def validate(leaf: bytes) -> None:
        path.validate(leaf, [issuing.der], [root.der], crls=crls, now=factory.NOW)

    with tempfile.TemporaryDirectory() as folder:
        peers = {
            "openssl verify (ms)": 1000 * cpu(openssl(question, folder), children=True) / PEERS,
            "pyhanko-certvalidator (ms)": each(oracles.pyhanko, [question] * PEERS),
        }
    mine = each(validate, leaves)
    for peer, theirs in peers.items():
        line(f"path and two CRLs, median of {PATHS} (ms, goal {GOAL_PATH})", mine, peer, theirs)
    judged = replies(leaves, root, issuing, crls)
    for what, milliseconds in judged.items():
        peer = "openssl verify (ms)"
        line(f"judge one reply, {what} (ms)", milliseconds, peer, peers[peer])
    line(f"a batch of {BATCH}, files to results, each (ms)", batch(), peer, peers[peer])


def openssl(question: oracles.Question, folder: str) -> Callable[[], None]:
    """Many processes of its own, as a script would start them."""
    refusal = oracles.openssl(question, Path(folder), strict=False)
    assert refusal == "", refusal
    moment = str(int(question.now.timestamp()))
    command = [
        "openssl", "verify", "-attime", moment, "-crl_check_all", "-CAfile", "anchor.pem",
        "-untrusted", "above.pem", "-CRLfile", "crls.pem", "leaf.pem",
    ]  # fmt: skip

    def work() -> None:
        for _ in range(PEERS):
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    return work


def replies(
    leaves: list[bytes], root: factory.Authority, issuing: factory.Authority, crls: list[bytes]
) -> dict[str, float]:
    """Milliseconds of a whole judgement, policy and CRLs included."""
    policy = policy_files.load_policies(ROOT / "policies", ["mhhs-dip"])["mhhs-dip"]
    requests = [factory.request(key_name=key(number)) for number in range(KEYS)]
    purposes = frozenset({"mtls", "signing"})
    expectation = reply.Expectation(factory.CN, factory.SUBJECT, purposes, "mhhs-dip", "nonprod")
    options: dict[str, Any] = {
        "expectation": expectation,
        "trust": reply.Trust([root.der], [issuing.der], [issuing.sha256]),
        "revocation": reply.Revocation([revocation.Crl.parse(crl) for crl in crls]),
        "now": factory.NOW,
        "policy": policy,
    }
    pasted = [factory.pem(leaf) for leaf in leaves[:REPLIES]]

    def judge(number: int) -> None:
        reply.accept([pasted[number]], csr=requests[number % KEYS], **options)

    def judge_new(number: int) -> None:
        key_hygiene.of_key.cache_clear()
        judge(number)

    judge(0)  # what a policy computes once is no reply's
    return {
        "a key never seen before": each(judge_new, range(REPLIES)),
        "a key seen before": each(judge, range(REPLIES)),
    }


def batch() -> float:
    """Milliseconds a reply when a whole inventory is judged in one call, worker included."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        names = inventory(world, BATCH)
        inputs = world.inputs()

        before = used()
        outcome = acceptance.run(
            inputs.declared,
            [(name, 1) for name in names],
            inputs.certificates_dir,
            acceptance.evidence(inputs, {}),
            functools.partial(accepted_record.of, inputs),
        )
        assert len(outcome.accepted) == BATCH, outcome.refused[0].error
        return 1000 * (used() - before) / BATCH


def used() -> float:
    """CPU seconds of this process and of the children it has waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(one.ru_utime + one.ru_stime for one in map(resource.getrusage, kinds))


def inventory(world: World, size: int) -> list[str]:
    """Certificates with names, requests and replies, each of a key of its own."""
    world.certificates = []
    keys = itertools.islice(many_keys(size), size)
    for number, private in enumerate(keys):
        name, domain = f"c{number}", f"c{number}.example"
        cn = f"energydip-nonprod.{domain}"
        world.certificates.append(certificate_entry(name, domain=domain))
        request = csr.build(private, cn, factory.SUBJECT)
        record = request_record(name, 1, cn, "leaf", request)
        record["key"]["spki_sha256"] = csr.parse(request).spki_sha256
        leaf = ISSUING.leaf(cn, public=private.public_key())
        folder = world.directory(1, name)
        folder.mkdir(parents=True)
        (folder / "request.csr").write_bytes(request)
        (folder / "request.yml").write_bytes(public_state.dump(record))
        (folder / "reply.txt").write_bytes(factory.pem(leaf))
    world.crls()
    return [str(entry["name"]) for entry in world.certificates]


def many_keys(size: int) -> Iterator[rsa.RSAPrivateKey]:
    """Keys of few primes, in no time: worthless, each a different one, and no rule can tell."""
    primes: list[int] = []
    while len(primes) * (len(primes) - 1) < 2 * size:
        numbers = rsa.generate_private_key(65537, 2048).private_numbers()
        primes += [numbers.p, numbers.q]
    for p, q in itertools.combinations(primes, 2):
        d = pow(65537, -1, (p - 1) * (q - 1))
        numbers = rsa.RSAPrivateNumbers(
            p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q),
            rsa.RSAPublicNumbers(65537, p * q),
        )  # fmt: skip
        yield numbers.private_key(unsafe_skip_rsa_key_validation=True)
