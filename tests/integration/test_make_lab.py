# SPDX-License-Identifier: GPL-3.0-or-later
"""The README's first command in a fresh clone, and everything that can happen to it after.

The tests share one clone and one lab and run in the order in which they stand here: each
leaves the lab as it found it, and says so by comparing digests.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from integration import digests
from integration.lab_fixture import DEPRECATION, REPOSITORY, Lab
from kept_payloads.session import kept_environment

pytestmark = [pytest.mark.integration, pytest.mark.lab]

RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.M)
ROWS = {
    "tls1.0-refused", "tls1.1-refused", "tls1.2-accepted", "tls1.3-accepted", "no-certificate",
    "foreign-ca", "sibling-ca", "wrong-environment", "expired", "revoked", "resumed-revoked",
    "good-client", "egress-good", "egress-wrong-name", "egress-revoked", "egress-expired",
    "good-client-after-refusals",
}  # fmt: skip
# What an empty environment still needs: where programs are, a proxy where there is one, and
# the ports that other test processes leave alone.
KEPT = re.compile(r"PATH|HOME|LANG|LAB_PORT_RANGE|.*_PROXY|.*_proxy")


@dataclass(frozen=True)
class Run:
    """A finished command."""

    code: int
    output: str

    @property
    def changed(self) -> int:
        """Changed tasks over every play recap of the output."""
        recaps = RECAP.findall(self.output)
        assert recaps, self.output[-3000:]
        return sum(int(recap[1]) for recap in recaps)


class Clone:
    """A fresh copy of what is (or would be) committed, with its own environment and lab."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / ".lab"
        self.lab = Lab(self.home)

    def make(self, *arguments: str, expected: int = 0) -> Run:
        return self.run("make", *arguments, expected=expected)

    def play(self, playbook: str, *arguments: str, expected: int = 0) -> Run:
        program = str(self.root / ".venv/bin/ansible-playbook")
        command = (program, "-i", "inventories/lab", f"playbooks/{playbook}.yml", *arguments)
        return self.run(*command, expected=expected)

    def run(self, *command: str, expected: int = 0) -> Run:
        environment = {k: v for k, v in os.environ.items() if KEPT.fullmatch(k)}
        environment["ANSIBLE_CONFIG"] = str(self.root / "ansible.cfg")
        if self.home.exists():  # the first command has nothing that newcomers lack
            environment |= kept_environment()
        done = subprocess.run(
            command,
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == expected, done.stdout[-8000:]
        assert DEPRECATION not in done.stdout, done.stdout
        return Run(done.returncode, done.stdout)

    def release(self) -> Path:
        return (self.home / "hosts/gw1/tls/dip-nonprod/current").resolve()

    def gateway(self) -> Path:
        return self.home / "hosts/gw1/gateway/dip-gateway"


def copy_of_the_repository(target: Path) -> Path:
    """Tracked files and new ones that are not ignored, as a clone would have them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source, place = REPOSITORY / name, target / name
        if source.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place)
    return target


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    fresh = Clone(copy_of_the_repository(tmp_path_factory.mktemp("clone")))
    try:
        yield fresh
    finally:
        if (fresh.root / ".venv/bin/ansible-playbook").exists():
            fresh.make("lab-down")


@pytest.fixture(scope="module")
def first(clone: Clone) -> Run:
    return clone.make("lab")


def test_make_lab_in_a_fresh_clone_ends_with_the_whole_matrix_and_the_table(
    clone: Clone, first: Run
) -> None:
    matrix = json.loads((clone.home / "matrix.json").read_text())
    assert {row["id"] for row in matrix["rows"]} == ROWS
    assert [row["id"] for row in matrix["rows"] if not row["passed"]] == []
    assert all(row["observed"] for row in matrix["rows"])
    table = first.output[first.output.rindex("certificate  state") :]
    assert re.search(r"dip-nonprod\s+deployed\s+energydip-nonprod\.example-energy\.co\.uk", table)


def test_the_first_run_of_the_main_job_ended_green_and_waiting(first: Run) -> None:
    before_the_human = first.output[: first.output.index("== 3/5")]
    assert "dip-nonprod  requested" in before_the_human
    assert "wait for a Certificate Admin and the CA" in before_the_human


def test_the_matrix_tells_what_was_observed(clone: Clone, first: Run) -> None:
    rows = {row["id"]: row for row in json.loads((clone.home / "matrix.json").read_text())["rows"]}
    assert rows["tls1.0-refused"]["observed"]["alert"] == 70
    assert rows["tls1.2-accepted"]["observed"]["protocol"] == "TLSv1.2"
    assert rows["no-certificate"]["observed"]["http_status"] == 403
    status = json.loads((clone.home / "status.json").read_text())["certificates"][0]
    assert rows["good-client"]["observed"]["peer_serial"] == status["serial"]
    assert status["served"] == {"gw1": status["serial"]}


def test_a_second_run_changes_nothing_in_files_or_vault(clone: Clone, first: Run) -> None:
    before = digests.files(clone.home), digests.vault(clone.lab)
    again = clone.make("lab")
    assert again.changed == 0, again.output
    assert (digests.files(clone.home), digests.vault(clone.lab)) == before
    assert any(name.endswith("key.pem") for name in before[0])
    assert before[1]["keys"]


def delete_a_release_file(clone: Clone) -> None:
    (clone.release() / "chain.pem").unlink()


def delete_the_key(clone: Clone) -> None:
    (clone.release() / "key.pem").unlink()


def edit_the_configuration(clone: Clone) -> None:
    path = clone.gateway() / "nginx.conf"
    path.write_text(path.read_text().replace("ssl_verify_client on", "ssl_verify_client off"))


def put_back_a_stale_crl(clone: Clone) -> None:
    """A CRL that the issuing CA really signed, whose nextUpdate has passed, names nobody."""
    with clone.lab.client("lab-ca") as authority:
        answer = authority.write(
            "pki-dca/issuer/default/sign-revocation-list",
            {"crl_number": 1, "next_update": "1s", "format": "pem", "revoked_certs": []},
        )
    stale = x509.load_pem_x509_crl(answer["crl"].encode())
    assert stale.next_update_utc is not None
    while stale.next_update_utc >= datetime.now(UTC):
        time.sleep(0.2)
    path = next((clone.home / "hosts/gw1/crl").glob("*/sets/*/crl.pem"))
    kept = [x509.load_pem_x509_crl(block.encode()) for block in pem_blocks(path.read_text())]
    (own,) = [crl for crl in kept if crl.issuer == stale.issuer]
    assert own.next_update_utc is not None
    assert own.next_update_utc > datetime.now(UTC)
    bundle = [stale if crl is own else crl for crl in kept]
    path.write_bytes(b"".join(crl.public_bytes(Encoding.PEM) for crl in bundle))


def drop_a_crl(clone: Clone) -> None:
    """The bundle without the CRL of one of its CAs."""
    path = next((clone.home / "hosts/gw1/crl").glob("*/sets/*/crl.pem"))
    first, *others = pem_blocks(path.read_text())
    assert others
    path.write_text(first)


def pem_blocks(text: str) -> list[str]:
    return re.findall(r"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----\n", text, re.S)


def widen_the_key(clone: Clone) -> None:
    (clone.release() / "key.pem").chmod(0o644)


def unlink_current(clone: Clone) -> None:
    (clone.release().parent.parent / "current").unlink()


DRIFTS: tuple[Callable[[Clone], None], ...] = (
    delete_a_release_file,
    delete_the_key,
    edit_the_configuration,
    put_back_a_stale_crl,
    drop_a_crl,
    widen_the_key,
    unlink_current,
)


@pytest.mark.parametrize("drift", DRIFTS, ids=lambda drift: drift.__name__)
def test_drift_made_by_hand_is_announced_and_repaired(
    clone: Clone, first: Run, drift: Callable[[Clone], None]
) -> None:
    good = digests.files(clone.home, without_processes=True)
    drift(clone)
    drifted = digests.files(clone.home, without_processes=True)
    assert drifted != good, "the drift changed nothing"
    announced = clone.play("site", "--check", "--diff")
    assert announced.changed > 0
    assert digests.files(clone.home, without_processes=True) == drifted, "check mode changed files"
    assert clone.play("site").changed > 0
    assert digests.files(clone.home, without_processes=True) == good
    assert (clone.release() / "key.pem").stat().st_mode & 0o777 == 0o600


def processes(clone: Clone) -> dict[int, str]:
    """Every process that runs out of the clone's lab, by what its command line says."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(clone.home) in line and int(entry.name) != os.getpid():
                found[int(entry.name)] = line
    return found


def test_sigkill_of_vault_and_gateway_is_healed_and_every_key_is_kept(
    clone: Clone, first: Run
) -> None:
    before = digests.files(clone.home, without_processes=True), digests.vault(clone.lab)
    doomed = processes(clone)
    assert any("bao" in line for line in doomed.values())
    assert any("nginx" in line for line in doomed.values())
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    healed = clone.make("lab")
    assert "deployed" in healed.output
    after = digests.files(clone.home, without_processes=True), digests.vault(clone.lab)
    assert after == before


def test_a_hand_written_record_with_a_wrong_certificate_is_refused_and_changes_nothing(
    clone: Clone, first: Run
) -> None:
    """``accepted.yml`` is a record and never a permission."""
    folder = clone.home / "certificates/dip-nonprod/1"
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    stranger = (clone.home / "peers/dip-client/certificate.pem").read_bytes()
    hosts = {k: v for k, v in digests.files(clone.home).items() if k.startswith("hosts")}
    try:
        (folder / "certificate.pem").write_bytes(stranger)
        refused = clone.play("site", expected=2)
        assert "DIP-6.1.2-SAME-HOST" in refused.output
        assert "refused  dip-nonprod: " in refused.output
        assert re.search(r"dip-nonprod\s+refused", refused.output)
    finally:
        for name, content in kept.items():
            (folder / name).write_bytes(content)
    now = {k: v for k, v in digests.files(clone.home).items() if k.startswith("hosts")}
    assert now == hosts
    assert clone.play("site").changed == 0


def test_a_committed_request_without_a_key_asks_a_person_and_its_gateway_stays_cared_for(
    clone: Clone, first: Run
) -> None:
    folder = clone.home / "certificates/dip-nonprod"
    good = digests.files(clone.home, without_processes=True)
    with_request = folder / "2"
    with_request.mkdir()
    try:
        for name in ("request.csr", "request.yml"):
            shutil.copy(folder / "1" / name, with_request / name)
        drop_a_crl(clone)
        assert "is not in its store any more" in clone.play("site").output
    finally:
        shutil.rmtree(with_request)
    assert digests.files(clone.home, without_processes=True) == good


def test_check_mode_with_an_empty_crl_cache_judges_with_what_it_fetched(
    clone: Clone, first: Run
) -> None:
    """A check on a fresh runner must not refuse what the run itself would accept."""
    cache, aside = clone.home / "cache", clone.home / "cache-aside"
    cache.rename(aside)
    try:
        clone.play("site", "--check", "--diff")
        assert not cache.exists()
    finally:
        aside.rename(cache)


def test_a_host_that_fails_is_named_after_the_table_and_keeps_serving(
    clone: Clone, first: Run
) -> None:
    good = digests.files(clone.home, without_processes=True)
    edit_the_configuration(clone)
    nowhere = json.dumps({"gateway_programs": {"nginx": "/nonexistent/nginx"}})
    failed = clone.play("site", "-e", nowhere, expected=2)
    after_the_table = failed.output[failed.output.index("certificate  state") :]
    assert re.search(r"dip-nonprod\s+deployed", after_the_table)
    assert "gw1: " in after_the_table
    assert "/nonexistent/nginx" in after_the_table
    assert clone.play("site").changed > 0
    assert digests.files(clone.home, without_processes=True) == good


def test_status_is_read_only_and_tells_the_same_to_machines(clone: Clone, first: Run) -> None:
    before = digests.files(clone.home), digests.vault(clone.lab)
    status = clone.make("status")
    assert status.changed == 0
    assert re.search(r"dip-nonprod\s+deployed", status.output)
    document = json.loads((clone.home / "status.json").read_text())
    assert document["schema"] == 1
    (entry,) = document["certificates"]
    for field in ("state", "since", "waits_for", "next_action", "served", "serial", "days_left"):
        assert field in entry
    assert (digests.files(clone.home), digests.vault(clone.lab)) == before


def test_a_bad_reply_to_a_renewal_is_refused_while_the_live_certificate_stays_cared_for(
    clone: Clone, first: Run
) -> None:
    """A broken reply must keep neither the live release nor its CRLs from being repaired."""
    hosts = digests.files(clone.home, without_processes=True)
    hosts = {path: value for path, value in hosts.items() if path.startswith("hosts")}
    with clone.lab.client("pipeline") as pipeline:
        pipeline.write("transit-nonprod-tls/keys/dip-nonprod/rotate")
    renewal = clone.home / "certificates/dip-nonprod/2"
    assert re.search(r"dip-nonprod\s+requested", clone.play("site").output)
    assert {path.name for path in renewal.iterdir()} == {
        "request.csr", "request.yml", "submission.txt",
    }  # fmt: skip
    (renewal / "reply.txt").write_bytes((renewal.parent / "1/reply.txt").read_bytes())
    drop_a_crl(clone)
    refused = clone.play("site", expected=2)
    assert "refused  dip-nonprod: " in refused.output
    assert "DIP-6.1.2-SAME-HOST" in refused.output
    assert not (renewal / "accepted.yml").exists()
    after = digests.files(clone.home, without_processes=True)
    assert {path: value for path, value in after.items() if path.startswith("hosts")} == hosts


def test_lab_down_stops_what_the_lab_started_and_nothing_else(clone: Clone, first: Run) -> None:
    bystander = subprocess.Popen(["sleep", "300"], cwd=clone.home)
    try:
        assert processes(clone)
        clone.make("lab-down")
        assert processes(clone) == {}
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert (clone.release() / "key.pem").exists()
