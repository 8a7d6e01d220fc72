# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a real key server, restored into another one: the real playbooks."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from integration.backup_world import PROJECT, BackupDesk
from integration.canary import Scanner, explain
from integration.openbao_server import TLS_MOUNT, OpenBao, write_secret
from integration.test_renew import Ran
from pki.facts import evidence
from pki.facts.scene import Scene
from pki.policy import Outcome
from unit import controller_world

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    """A server of its own: its whole storage is what is looked at."""
    made = OpenBao(tmp_path_factory.mktemp("backup-server"))
    made.prepare()
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def site() -> Iterator[controller_world.Web]:
    with controller_world.web() as web:
        yield web


@pytest.fixture(scope="module")
def desk(
    tmp_path_factory: pytest.TempPathFactory, server: OpenBao, site: controller_world.Web
) -> BackupDesk:
    """The tests stand in the order of its life."""
    made = BackupDesk(tmp_path_factory.mktemp("backup"), server, site)
    made.make_key(made.name, 1)
    made.make_key(made.name, 2)
    made.make_key(made.signing, 1)
    made.host_key()
    made.mark()
    return made


def flat(run: Ran) -> str:
    return " ".join(run.output.split())


def secrets_of(desk: BackupDesk) -> Scanner:
    """Everything of this world that nobody may see."""
    scanner = Scanner()
    folder = desk.openbao.directory
    scanner.add_text("unseal key", (folder / "unseal.key").read_bytes())
    for role in ("pipeline", "backup"):
        for part in ("role_id", "secret_id"):
            scanner.add_text(f"{role} {part}", (folder / f"{role}.{part}").read_text().strip())
    with desk.openbao.client("operator") as client:
        told = client.read(f"{TLS_MOUNT}/export/signing-key/{desk.name}") or {}
    for version, key in told["keys"].items():
        scanner.add_key(f"key v{version}", key)
    return scanner


# -- backups -------------------------------------------------------------------------------------


def test_a_check_of_a_backup_says_what_would_be_done_and_does_nothing(desk: BackupDesk) -> None:
    before = desk.everything()
    told = desk.backup("--check", "--diff")
    assert told.changed == 1
    assert "a snapshot of the server's storage (version 2." in flat(told), told.output
    assert desk.everything() == before
    assert not desk.backups.exists()


def test_a_backup_is_a_private_file_named_by_class_time_and_digest_and_stands_in_the_record(
    desk: BackupDesk,
) -> None:
    done = desk.backup("--diff", by="Ada")
    assert done.changed == 1
    (path,) = desk.snapshots()
    (event,) = desk.events()
    digest = sha256(path.read_bytes()).hexdigest()
    stamp = f"{event.at:%Y%m%dT%H%M%SZ}"
    assert path.name == f"vault-nonprod-{stamp}-{digest[:16]}.snap"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(desk.backups.stat().st_mode) == 0o700
    assert event.kind == "backup"
    assert event.said["raft_index"] > 10
    assert event.said == {
        "file": path.name,
        "sha256": digest,
        "bytes": path.stat().st_size,
        "raft_index": event.said["raft_index"],
        "server_version": "2.7.2",
        "by": "Ada",
    }
    assert "worth nothing without the unseal keys" in flat(done)
    assert sorted(p.name for p in desk.backups.iterdir()) == ["lock", path.name]
    # The audit trail has it, with its digest and who wanted it.
    trail = "".join(one.read_text() for one in desk.base.glob(".trail/*.jsonl"))
    assert "backup made" in trail
    assert digest in trail


def test_a_directory_that_others_may_enter_is_refused(desk: BackupDesk, tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    refused = desk.backup(code=2, backup_directory=str(tmp_path))
    assert "PRIVATE-DIRECTORY" in refused.output
    assert "mode 0750" in refused.output
    assert list(tmp_path.iterdir()) == []


def test_a_login_that_may_not_back_up_is_told_what_it_lacks(desk: BackupDesk) -> None:
    other = desk.base / "other_login.yml"
    other.write_text(yaml.safe_dump({"backup_vault": desk.openbao.options("pipeline")}))
    try:
        refused = desk.backup("-e", f"@{other}", code=2)
    finally:
        other.unlink()
    assert "capability read on sys/storage/raft/snapshot" in flat(refused), refused.output
    assert len(desk.snapshots()) == 1
    assert len(desk.events()) == 1


def test_a_snapshot_beyond_the_limit_leaves_no_file(desk: BackupDesk) -> None:
    refused = desk.backup(code=2, backup_largest="1000")
    assert "BACKUP-SIZE" in refused.output
    assert len(desk.snapshots()) == 1
    assert sorted(path.suffix for path in desk.backups.iterdir()) == ["", ".snap"]


# -- drills --------------------------------------------------------------------------------------


def test_a_check_of_a_drill_starts_nothing(desk: BackupDesk) -> None:
    before = desk.everything()
    (path,) = desk.snapshots()
    told = desk.drill(path, "--check", "--diff")
    assert told.changed == 1
    assert "3 keys are looked for" in flat(told), told.output
    assert desk.everything() == before
    assert not desk.scratch.exists()


def test_every_key_is_found_in_a_restored_server_and_one_signs(desk: BackupDesk) -> None:
    (path,) = desk.snapshots()
    audited = desk.openbao.audit_log.read_bytes()
    done = desk.drill(path, "--diff", by="Ada")
    assert done.changed == 1
    assert "3 of 3 keys are in the snapshot" in flat(done), done.output
    assert f"signature made with {desk.name} v1 and verified" in flat(done)
    assert f"{desk.on_host}/gw1 v1: its key is kept by gw1" in flat(done)
    event = desk.events()[-1]
    assert event.kind == "drill"
    assert 0 < event.said["seconds"] < 120
    assert event.said == {
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "passed": True,
        "keys_expected": 3,
        "keys_found": 3,
        "problems": [],
        "signed_with": f"{desk.name} v1",
        "compromised": 1,
        "seal": "static",
        "server_version": "2.7.2",
        "seconds": event.said["seconds"],
        "by": "Ada",
    }
    # Nothing is left, and the real server and its audit log were not touched.
    assert [one.name for one in desk.scratch.iterdir()] == ["lock"]
    assert desk.openbao.audit_log.read_bytes() == audited


def test_a_drill_that_passed_is_the_evidence_until_it_is_too_old(desk: BackupDesk) -> None:
    late = timedelta(days=366)
    wanted = {timedelta(): Outcome.PASSED, late: Outcome.FAILED}
    for age, outcome in wanted.items():
        inputs = desk.inputs()
        inputs = replace(inputs, now=inputs.now + age)
        seen = evidence.collect(Scene(inputs=inputs, scope="offline", name="nonprod"))
        (document,) = [one for one in seen.documents if one.object == "DIP-6.2-BACKUP"]
        assert document.facts["owner"] == "Ada"
        (finding,) = inputs.policies["mhhs-dip"].evaluate(
            "evidence", document.facts, document.object
        )
        assert finding.outcome is outcome


def test_a_version_that_was_withdrawn_is_no_loss_and_is_named(desk: BackupDesk) -> None:
    bounds = {"min_decryption_version": 2, "min_encryption_version": 2}
    with desk.openbao.client("operator") as client:
        client.write(f"{TLS_MOUNT}/keys/{desk.name}/config", bounds)
    desk.backup()
    done = desk.drill(desk.snapshots()[-1])
    assert f"{desk.name} v1: withdrawn, so it cannot be looked at" in flat(done), done.output
    with desk.openbao.client("operator") as client:
        again = {"min_decryption_version": 1, "min_encryption_version": 0}
        client.write(f"{TLS_MOUNT}/keys/{desk.name}/config", again)


def test_a_key_that_is_not_in_the_snapshot_is_found_out_and_recorded(desk: BackupDesk) -> None:
    first = desk.snapshots()[0]
    late = f"{desk.signing} v2"
    desk.make_key(desk.signing, 2)
    failed = desk.drill(first, code=2)
    assert f"{late}: " in flat(failed), failed.output
    event = desk.events()[-1]
    assert not event.said["passed"]
    assert (event.said["keys_expected"], event.said["keys_found"]) == (4, 3)
    (problem,) = event.said["problems"]
    assert problem == f"{late}: made after this snapshot; take another backup"
    # A fresh backup has it.
    desk.backup()
    newest = max(desk.snapshots(), key=lambda path: path.stat().st_mtime_ns)
    assert "4 of 4 keys are in the snapshot" in flat(desk.drill(newest))


def test_a_key_that_somebody_deleted_before_the_backup_is_found_out(desk: BackupDesk) -> None:
    gone = f"{desk.name}-gone"
    desk.declare(gone)
    desk.make_key(gone)
    desk.delete(TLS_MOUNT, gone)
    desk.backup()
    newest = max(desk.snapshots(), key=lambda path: path.stat().st_mtime_ns)
    failed = desk.drill(newest, code=2)
    (problem,) = desk.events()[-1].said["problems"]
    assert problem == f"{gone} v1: not in the snapshot ({TLS_MOUNT}/keys/{gone})"
    assert problem in flat(failed), failed.output
    desk.forget(gone)


DAMAGED = {
    "cut off": (lambda data: data[:-100], "it ends in the middle"),
    "altered": (lambda data: data[:3000] + bytes([data[3000] ^ 1]) + data[3001:], "BACKUP-DAMAGED"),
    "no snapshot": (lambda data: b"hello\n" * 100, "no gzip, or damaged"),
    "with something behind it": (lambda data: data + b"x", "something behind its end"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_what_is_no_whole_snapshot_is_refused_before_anything_is_started(
    desk: BackupDesk, tmp_path: Path, damage: str
) -> None:
    change, words = DAMAGED[damage]
    path = tmp_path / "damaged.snap"
    path.write_bytes(change(desk.snapshots()[0].read_bytes()))
    before = desk.events()
    refused = desk.drill(path, code=2)
    assert words in flat(refused), refused.output
    assert "BACKUP-DAMAGED" in refused.output
    assert desk.events() == before


def test_a_wrong_unseal_key_is_told_and_recorded_as_a_drill_that_failed(
    desk: BackupDesk, tmp_path: Path
) -> None:
    other = tmp_path / "other.key"
    write_secret(other, os.urandom(32))
    values = tmp_path / "values.yml"
    values.write_text(yaml.safe_dump({"backup_unseal_key_files": [str(other)]}))
    failed = desk.drill(desk.snapshots()[0], "-e", f"@{values}", code=2)
    assert "DRILL-SEAL" in failed.output, failed.output
    assert "message authentication failed" in flat(failed)
    assert not desk.events()[-1].said["passed"]
    assert [one.name for one in desk.scratch.iterdir()] == ["lock"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"backup_program": "/bin/sh"}, "DRILL-PROGRAM"),
        ({"backup_program": str(Path(sys.executable).parent / "bao")}, "which is no program"),
        ({"backup_seal_key_id": 'x" }'}, "does not fit the seal"),
        ({"backup_unseal_key_files": []}, "does not fit the seal"),
        ({"backup_unseal_key_files": ["/nowhere/key"]}, "PRIVATE-FILE"),
    ],
    ids=["needs libraries", "a script", "a name that is none", "no key", "no file"],
)
def test_a_drill_that_does_not_reach_the_snapshot_is_refused_and_not_recorded(
    desk: BackupDesk, tmp_path: Path, given: dict[str, object], words: str
) -> None:
    values = tmp_path / "values.yml"
    values.write_text(yaml.safe_dump(given))
    before = desk.events()
    refused = desk.drill(desk.snapshots()[0], "-e", f"@{values}", code=2)
    assert words in flat(refused), refused.output
    assert desk.events() == before


# -- secrets, and being killed -------------------------------------------------------------------


def test_nothing_secret_is_printed_recorded_or_seen_of_the_scratch_server(
    desk: BackupDesk, tmp_path: Path
) -> None:
    scanner = secrets_of(desk)
    seen = Watcher(desk.scratch)
    loud = ("-vvvv", "--diff")
    other = tmp_path / "other.key"
    write_secret(other, os.urandom(32))
    scanner.add_text("another unseal key", other.read_bytes())
    values = tmp_path / "values.yml"
    values.write_text(yaml.safe_dump({"backup_unseal_key_files": [str(other)]}))
    stranger = tmp_path / "stranger.yml"
    stranger.write_text(yaml.safe_dump({"certificates_vault": desk.openbao.options("backup")}))
    with seen:
        runs = [
            desk.backup(*loud),
            desk.drill(desk.snapshots()[-1], *loud),
            desk.drill(desk.snapshots()[-1], *loud, "-e", f"@{values}", code=2),
            desk.drill(desk.snapshots()[-1], *loud, "-e", f"@{stranger}", code=2),
        ]
    assert "VAULT-DENIED" in runs[3].output
    assert seen.processes, "the scratch server was never seen"
    assert {"vault.db", "server.hcl", "server.log"} <= {path.name for path in seen.files}
    text = "".join(run.output for run in runs) + seen.processes
    found = [*scanner.scan_text(text)]
    found += [
        one for path, data in seen.files.items() for one in scanner.scan_text(data, str(path))
    ]
    found += [one for path in desk.base.rglob("*.jsonl") for one in scanner.scan_file(path)]
    # The backups themselves: encrypted.
    found += [one for path in desk.snapshots() for one in scanner.scan_file(path)]
    assert not found, explain(found)


class Watcher:
    """Looks at whatever runs below a directory, and at its files, as long as the block lasts."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.processes = ""
        self.files: dict[Path, bytes] = {}

    def __enter__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            for pid in scratch_servers(self.scratch):
                for name in ("cmdline", "environ"):
                    try:
                        self.processes += Path(f"/proc/{pid}/{name}").read_text(errors="replace")
                    except OSError:
                        continue
            for folder, _folders, names in os.walk(self.scratch):
                for path in (Path(folder, name) for name in names):
                    try:
                        if stat.S_ISREG(path.lstat().st_mode):
                            self.files[path] = path.read_bytes()
                    except OSError:
                        continue


def scratch_servers(scratch: Path) -> list[int]:
    """Processes that see a directory of a drill as their whole file system."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                root = os.readlink(entry / "root")
            except OSError:
                continue
            if root.startswith(f"{scratch}/"):
                found.append(int(entry.name))
    return found


def test_a_drill_that_is_killed_takes_its_server_along_and_the_next_one_tidies_up(
    desk: BackupDesk,
) -> None:
    snapshot = desk.snapshots()[-1]
    before = desk.events()
    run = subprocess.Popen(
        [
            str(Path(sys.executable).parent / "ansible-playbook"),
            *("-i", str(desk.base), "-e", f"snapshot={snapshot}"),
            str(PROJECT / "playbooks" / "restore_drill.yml"),
        ],
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "LC_ALL": "C.UTF-8"},
        cwd=desk.base,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        module = until(lambda: [parent_of(parent_of(one)) for one in scratch_servers(desk.scratch)])
        (left,) = desk.scratch.glob("drill-*")
        assert stat.S_IMODE(left.stat().st_mode) == 0o700
        os.kill(module[0], signal.SIGKILL)
        assert until(lambda: not scratch_servers(desk.scratch))
        assert run.wait(60) == 2
    finally:
        run.kill()
        run.wait()
    assert left.exists()
    assert desk.events() == before
    assert "keys are in the snapshot" in desk.drill(snapshot).output
    assert not left.exists()
    assert [one.name for one in desk.scratch.iterdir()] == ["lock"]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def until(look, seconds: float = 60.0):  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


# -- old backups ---------------------------------------------------------------------------------


def test_old_backups_go_and_neither_the_newest_nor_the_newest_proven_one_does(
    desk: BackupDesk,
) -> None:
    stranger = desk.backups / f"vault-nonprod-20200101T000000Z-{'0' * 16}.snap"
    shutil.copy(desk.snapshots()[0], stranger)
    proven = {one.said["sha256"] for one in desk.events() if one.kind == "drill"}
    done = desk.backup(backup_keep="1")
    assert "is in no record: a person decides about it" in flat(done), done.output
    left = [path for path in desk.snapshots() if path != stranger]
    assert stranger.exists()
    assert len(left) == 2
    digests = {sha256(path.read_bytes()).hexdigest() for path in left}
    assert len(digests & proven) == 1
    assert desk.events()[-1].kind == "removed"
    # There is one less than before, and the other is still held.
    again = desk.backup(backup_keep="1")
    assert again.changed == 1
    assert len([path for path in desk.snapshots() if path != stranger]) == 2
