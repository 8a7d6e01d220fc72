# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab comes up, stays as it is, heals, signs, and goes down; with real processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from integration.lab_fixture import Lab, running_lab

pytestmark = [pytest.mark.integration, pytest.mark.lab]
pytest_plugins = ("integration.lab_plugin",)

# What a run may change although nothing changed: logs, pid files, the server's own database.
LIVING = ("log/", "run/", "vault/log/", "vault/data/", "farend/temp/")
SUBJECT = {
    NameOID.COUNTRY_NAME: "GB",
    NameOID.STATE_OR_PROVINCE_NAME: "London",
    NameOID.LOCALITY_NAME: "London",
    NameOID.ORGANIZATION_NAME: "Example Energy Ltd",
    NameOID.COMMON_NAME: "energydip-nonprod.example-energy.co.uk",
}


def digests(lab: Lab) -> dict[str, str]:
    """Mode and digest of every file that must stay, and of every CRL as it is served."""
    found = {}
    for path in sorted(lab.home.rglob("*")):
        name = str(path.relative_to(lab.home))
        if path.is_file() and not name.startswith(LIVING):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = f"{path.stat().st_mode:o} {content}"
    for mount in ("pki-root", "pki-dca", "pki-sibling", "pki-foreign", "pki-proof"):
        found[mount] = hashlib.sha256(lab.http(f"/v1/{mount}/crl").body).hexdigest()
    return found


def alive(pid: int) -> bool:
    """True if the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
    return found


def wait(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for a condition, or fail."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.01)


def kill(pid: int) -> None:
    """SIGKILL, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait(lambda: not alive(pid))


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A program that is none of the lab's business, listening on a port it prints."""
    code = (
        "import socket, time; s = socket.create_server(('127.0.0.1', 0)); "
        "print(s.getsockname()[1], flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def port_of(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout
    return int(process.stdout.readline())


# --- up --------------------------------------------------------------------------------


def test_a_second_up_reports_no_change_and_changes_no_file_and_no_crl(lab: Lab) -> None:
    before, pids = digests(lab), (lab.pid("openbao"), lab.pid("farend"))
    again = lab.play("up")
    assert again.changed == 0
    assert digests(lab) == before
    assert (lab.pid("openbao"), lab.pid("farend")) == pids


def test_the_check_of_a_running_lab_reports_no_change(lab: Lab) -> None:
    assert lab.play("up", "--check", "--diff").changed == 0


def test_the_check_of_a_lab_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "virgin")
    assert lab.play("up", "--check", "--diff").changed > 0
    assert list(tmp_path.iterdir()) == []


def test_a_deleted_peer_a_wrong_mode_and_a_lost_crl_are_repaired(lab: Lab) -> None:
    before = digests(lab)
    (lab.home / "peers/dip-client/certificate.pem").unlink()
    (lab.home / "peers/dip-server/key.pem").chmod(0o644)
    (lab.home / "ca/root.pem").write_text("not a certificate")
    (lab.home / "farend/published/root.crl").unlink()
    assert lab.play("up").changed > 0
    after = digests(lab)
    assert lab.play("up").changed == 0
    renewed = {name for name in before if before[name] != after[name]}
    # The certificate is gone for good, so the peer has a new one, for the key it had.
    assert renewed == {
        "peers/dip-client/certificate.pem",
        "peers/dip-client/fullchain.pem",
        "farend/published/root.crl",
    }


def test_killed_servers_come_back_with_their_keys_and_without_orphans(lab: Lab) -> None:
    name = f"transit-nonprod-tls/keys/test-{uuid.uuid4().hex}"
    with lab.client("pipeline") as client:
        client.write(name, {"type": "rsa-2048", "exportable": True})
        made = client.read(name)
    before, openbao, master = digests(lab), lab.pid("openbao"), lab.pid("farend")
    workers = children(master)
    assert workers
    kill(openbao)
    kill(master)
    assert all(alive(pid) for pid in workers), "orphans that hold the ports are the point"
    assert lab.play("up").changed > 0
    assert not any(alive(pid) for pid in workers)
    assert lab.pid("openbao") != openbao
    assert digests(lab) == before
    with lab.client("pipeline") as client:
        assert client.read(name) == made
    assert lab.play("up").changed == 0


def test_a_first_start_that_was_killed_half_way_is_done_again(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "home")
    run = subprocess.Popen(
        lab.command("up"),
        cwd=Path(__file__).resolve().parents[2],
        env=lab.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait((lab.home / "run/openbao.json").exists, 60)
        first = lab.pid("openbao")
        wait((lab.home / "vault/data/raft/raft.db").exists, 60)
        kill(first)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    assert not (lab.home / "vault/initialised").exists()
    with running_lab(lab.home), lab.client("lab-ca") as client:
        assert client.read("auth/token/lookup-self")


# --- what it needs ---------------------------------------------------------------------


def test_a_missing_program_is_named_before_anything_is_made(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "virgin")
    wish = json.dumps({"lab_programs": {"nginx": "no-such-program"}})
    failed = lab.play("up", "-e", wish, expected=2)
    assert "LAB-PROGRAM" in failed.output
    assert "lab_programs.nginx" in failed.output
    assert list(tmp_path.iterdir()) == []


def test_a_wished_port_that_is_taken_is_named_with_its_holder(
    tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    port = port_of(stranger)
    lab = Lab(tmp_path / "virgin")
    failed = lab.play("up", "-e", json.dumps({"lab_ports": {"app": port}}), expected=2)
    assert f"port {port}, which the lab uses for app" in failed.output
    assert f"pid {stranger.pid} (" in failed.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wish", [{"nonsense": 8000}, {"app": "high"}, {"app": 70000}])
def test_an_impossible_wish_for_a_port_names_what_is_possible(
    tmp_path: Path, wish: dict[str, object]
) -> None:
    lab = Lab(tmp_path / "virgin")
    failed = lab.play("up", "-e", json.dumps({"lab_ports": wish}), expected=2)
    assert f"lab_ports.{next(iter(wish))}" in failed.output
    assert list(tmp_path.iterdir()) == []


# --- the human and the CA --------------------------------------------------------------


def write_request(lab: Lab, name: str, subject: dict[x509.ObjectIdentifier, str]) -> Path:
    """A version directory with a request, as the product leaves it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=4096)
    names = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject.items()])
    request = x509.CertificateSigningRequestBuilder(names).sign(key, hashes.SHA256())
    directory = lab.home / "certificates" / name / "v1"
    directory.mkdir(parents=True)
    path = directory / "request.csr"
    path.write_bytes(request.public_bytes(serialization.Encoding.PEM))
    return directory


def test_an_open_request_is_answered_once_as_a_person_pastes_a_reply(lab: Lab) -> None:
    directory = write_request(lab, f"test-{uuid.uuid4().hex}", SUBJECT)
    assert lab.play("sign").changed == 1
    reply = (directory / "reply.txt").read_bytes()
    assert lab.play("sign").changed == 0
    assert (directory / "reply.txt").read_bytes() == reply
    assert reply.count(b"\n") == reply.count(b"\r\n") > 0
    assert not reply.startswith(b"-----BEGIN")
    leaf, issuer = x509.load_pem_x509_certificates(reply)
    request = x509.load_pem_x509_csr((directory / "request.csr").read_bytes())
    assert leaf.public_key() == request.public_key()
    assert {one.oid: one.value for one in leaf.subject} == SUBJECT
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=398)
    leaf.verify_directly_issued_by(issuer)
    assert issuer == x509.load_pem_x509_certificate((lab.home / "ca/dca.pem").read_bytes())


def test_the_ca_refuses_a_subject_it_has_not_vetted(lab: Lab) -> None:
    subject = {**SUBJECT, NameOID.ORGANIZATION_NAME: "Somebody Else Ltd"}
    directory = write_request(lab, f"test-{uuid.uuid4().hex}", subject)
    try:
        failed = lab.play("sign", expected=2)
        assert "LAB-SIGN" in failed.output
        assert "Somebody Else Ltd" in failed.output
        assert not (directory / "reply.txt").exists()
    finally:
        (directory / "request.csr").unlink()


@pytest.mark.parametrize("name", ["accepted.yml", "outcome.yml", "reply.cer"])
def test_a_request_that_has_an_end_is_left_alone(lab: Lab, name: str) -> None:
    directory = write_request(lab, f"test-{uuid.uuid4().hex}", SUBJECT)
    (directory / name).write_text("there")
    assert lab.play("sign").changed == 0
    assert {path.name for path in directory.iterdir()} == {"request.csr", name}


# --- the peers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "issuer", "common_name"),
    [
        ("dip-client", "dca", "energydip-nonprod.dip.example"),
        ("wrong-prefix", "dca", "energydip-prod.dip.example"),
        ("expired", "dca", "energydip-nonprod.dip.example"),
        ("revoked", "dca", "energydip-nonprod.dip.example"),
        ("sibling", "sibling", "energydip-nonprod.dip.example"),
        ("foreign", "foreign", "energydip-nonprod.dip.example"),
        ("dip-server", "dca", "api.nonprod.dip.example"),
        ("dip-wrong-name", "dca", "api.other.dip.example"),
        ("dip-revoked", "dca", "api.nonprod.dip.example"),
        ("dip-expired", "dca", "api.nonprod.dip.example"),
    ],
)
def test_each_peer_is_wrong_in_exactly_the_way_its_name_says(
    lab: Lab, peer: str, issuer: str, common_name: str
) -> None:
    home = lab.home / "peers" / peer
    leaf = x509.load_pem_x509_certificate((home / "certificate.pem").read_bytes())
    authority = x509.load_pem_x509_certificate((lab.home / f"ca/{issuer}.pem").read_bytes())
    crl = x509.load_der_x509_crl(lab.http(f"/v1/pki-{issuer}/crl").body)
    key = serialization.load_pem_private_key((home / "key.pem").read_bytes(), None)
    leaf.verify_directly_issued_by(authority)
    assert key.public_key() == leaf.public_key()
    name = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    assert name == common_name
    assert (leaf.not_valid_after_utc < datetime.now(UTC)) == peer.endswith("expired")
    revoked = crl.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None
    assert revoked == peer.endswith("revoked")


# --- down ------------------------------------------------------------------------------


def test_down_stops_what_the_lab_started_keeps_its_state_and_spares_everybody_else(
    tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    with running_lab(tmp_path / "home") as lab:
        # Looks at a file of the lab without being one of its servers.
        with (lab.home / "lab.json").open() as held:
            reader = subprocess.Popen(
                [sys.executable, "-c", "import time; time.sleep(600)"], stdin=held
            )
        # A gateway that the product would have started: the lab's program, files below it.
        gateway = lab.home / "hosts/gw1/gateway"
        gateway.mkdir()
        settings = gateway / "nginx.conf"
        settings.write_text(
            f"pid {gateway}/pid; error_log {gateway}/error.log; events {{}} daemon on;"
        )
        program = lab.record()["programs"]["nginx"]
        subprocess.run([program, "-p", str(gateway), "-c", str(settings)], check=True)
        pid_file = gateway / "pid"  # written a moment after the daemon's parent has returned
        wait(lambda: pid_file.exists() and bool(pid_file.read_text().strip()))
        started = [lab.pid("openbao"), lab.pid("farend"), int(pid_file.read_text())]
        before = {path for path in lab.home.rglob("*") if path.is_file()}
        try:
            assert lab.play("down").changed == 1
            assert not any(alive(pid) for pid in started)
            assert alive(stranger.pid)
            assert alive(reader.pid)
            gone = before - {path for path in lab.home.rglob("*") if path.is_file()}
            assert {path.suffix or path.name for path in gone} <= {".json", ".pid", "pid"}
            assert all(path.parent in (lab.home / "run", gateway) for path in gone)
            assert lab.play("down").changed == 0
        finally:
            reader.kill()
            reader.wait()
        # Its kept port is taken meanwhile: the next start names who has it.
        with socket.create_server(("127.0.0.1", lab.port("dip"))):
            failed = lab.play("up", expected=2)
            assert f"port {lab.port('dip')}, which the lab uses for dip" in failed.output
            assert f"pid {os.getpid()} (" in failed.output
        assert lab.play("up").changed > 0
