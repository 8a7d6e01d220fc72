# SPDX-License-Identifier: GPL-3.0-or-later
"""What accepting leaves on disk: nothing of a refusal, nothing twice, and old or new after a kill.

The module runs as a process of its own, over a whole inventory, and everything below that is
compared before and after: bytes, modes, times, and the directories themselves.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adversarial import accepting
from unit import pki_factory as factory
from unit.controller_world import (
    FOREIGN,
    NAME,
    OTHER,
    OTHER_CN,
    SIBLING,
    World,
    certificate_entry,
    key_of,
)
from unit.pki_factory import DAY, NOW, SECOND

FILES = {"certificate.pem", "chain.pem", "accepted.yml"}
Snapshot = dict[str, tuple[int, int, bytes]]


def snapshot(folder: Path) -> Snapshot:
    """Mode, time of change and content of everything below a folder, itself included."""
    found = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        kind = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(kind.st_mode) else b""
        found[str(path.relative_to(folder))] = (kind.st_mode, kind.st_mtime_ns, content)
    return found


def arguments(world: World, *versions: tuple[str, int], **options: Any) -> dict[str, Any]:
    actions = [
        {"kind": "accept", "certificate": name, "version": version} for name, version in versions
    ]
    options = {"actions": actions, "key_digests": {}, "fetch": False, **options}
    return {"now": NOW.isoformat(), "arguments": world.params(**options)}


def command(world: World, plan: dict[str, Any]) -> list[str]:
    path = world.base.parent / f"{world.base.name}-plan.json"
    path.write_text(json.dumps(plan))
    return [sys.executable, accepting.__file__, str(path)]


def run(world: World, plan: dict[str, Any]) -> dict[str, Any]:
    """The module's result; nothing else is on its standard output, and nothing on the other."""
    done = subprocess.run(command(world, plan), capture_output=True, text=True, check=False)
    assert done.stderr == ""
    result: dict[str, Any] = json.loads(done.stdout)
    assert not result.get("failed"), result
    return result


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two certificates, each with a request and a right reply, and fresh CRLs."""
    (tmp_path / "inventory").mkdir()
    made = World(tmp_path / "inventory")
    made.certificates.append(certificate_entry(OTHER))
    for name in (NAME, OTHER):
        made.request(1, name)
        made.reply(1, name)
    made.crls()
    return made


BOTH = ((NAME, 1), (OTHER, 1))


# --- a refused reply ------------------------------------------------------------------------


def another_key(version: int) -> Any:
    return factory.key(f"of nobody {version % 2}").public_key()


def private_key() -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return factory.key("leaf").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def foreign(world: World, version: int) -> None:
    world.reply(version, der=FOREIGN.leaf(public=factory.key(key_of(version)).public_key()))


def sibling(world: World, version: int) -> None:
    leaf = SIBLING.leaf(public=factory.key(key_of(version)).public_key())
    world.put(version, reply_txt=factory.pem(leaf) + SIBLING.pem)


REFUSED: dict[str, Callable[[World, int], object]] = {
    "of another key": lambda world, version: world.reply(version, public=another_key(version)),
    "of a foreign CA": foreign,
    "of a sibling CA": sibling,
    "expired": lambda world, version: world.reply(version, end=NOW - SECOND),
    "of another name": lambda world, version: world.reply(version, cn=OTHER_CN),
    "a CA's": lambda world, version: world.reply(version, ca=True),
    "empty": lambda world, version: world.put(version, reply_txt=b""),
    "noise": lambda world, version: world.put(version, reply_txt=bytes(range(256)) * 99),
    "with a private key": lambda world, version: world.put(version, reply_txt=private_key()),
}


def test_a_refused_reply_changes_not_one_byte_mode_or_time(world: World) -> None:
    for version, spoil in enumerate(REFUSED.values(), start=2):
        world.request(version)
        spoil(world, version)
        os.chmod(world.directory(version) / "reply.txt", 0o600 + version)
    os.chmod(world.directory(2), 0o700)
    before = snapshot(world.base)
    versions = [(NAME, version) for version in range(2, 2 + len(REFUSED))]
    result = run(world, arguments(world, *versions))
    assert [(one["certificate"], one["version"]) for one in result["refused"]] == versions
    assert (result["accepted"], result["changed"]) == ([], False)
    assert snapshot(world.base) == before


def test_a_refusal_of_what_was_kept_changes_nothing_either(world: World) -> None:
    world.keep()
    world.put(certificate_pem=factory.pem(FOREIGN.leaf()))
    before = snapshot(world.base)
    result = run(world, arguments(world, (NAME, 1)))
    assert [one["certificate"] for one in result["refused"]] == [NAME]
    assert snapshot(world.base) == before


# --- accepted, and again --------------------------------------------------------------------


def test_accepting_adds_three_files_and_accepting_again_changes_nothing(world: World) -> None:
    before = snapshot(world.base)
    assert run(world, arguments(world, *BOTH))["changed"]
    after = snapshot(world.base)
    added = {f"certificates/{name}/1/{file}" for name in (NAME, OTHER) for file in FILES}
    assert set(after) - set(before) == added
    assert all(stat.S_IMODE(after[path][0]) == 0o644 for path in added)
    changed = {path for path in before if after[path] != before[path]}
    assert changed == {f"certificates/{name}/1" for name in (NAME, OTHER)}, "directories only"
    later = {**arguments(world, *BOTH), "now": (NOW + SECOND * 3600).isoformat()}
    assert not run(world, later)["changed"]
    assert snapshot(world.base) == after


def test_check_mode_changes_nothing(world: World) -> None:
    before = snapshot(world.base)
    assert run(world, arguments(world, *BOTH, _ansible_check_mode=True))["changed"]
    assert snapshot(world.base) == before


# --- killed ---------------------------------------------------------------------------------


def test_a_worker_that_is_killed_changes_nothing_of_its_item_and_stops_no_other(
    world: World,
) -> None:
    world.request(2)
    world.reply(2)
    before = snapshot(world.directory(1, OTHER))
    plan = {**arguments(world, *BOTH, (NAME, 2)), "killed": OTHER}
    result = run(world, plan)
    assert [(one["certificate"], one["version"]) for one in result["accepted"]] == [
        (NAME, 1), (NAME, 2),
    ]  # fmt: skip
    (refused,) = result["refused"]
    assert (refused["certificate"], refused["error"]["rule"]) == (OTHER, "REPLY-OVERRUN")
    assert snapshot(world.directory(1, OTHER)) == before


def test_a_module_that_is_killed_while_it_judges_has_written_nothing_and_leaves_no_worker(
    world: World,
) -> None:
    before = snapshot(world.base)
    note = world.base.parent / "note"
    plan = {**arguments(world, *BOTH), "stuck": OTHER, "note": str(note)}
    with subprocess.Popen(command(world, plan), stdout=subprocess.DEVNULL) as module:
        waited_for(lambda: note.exists() and note.read_text())
        module.send_signal(signal.SIGKILL)
    worker = int(note.read_text())
    waited_for(lambda: not runs(worker))
    assert snapshot(world.base) == before


def test_a_kill_at_any_step_of_writing_leaves_each_file_old_or_new(world: World) -> None:
    """And the record never without what it is a record of; the next run completes the work."""
    world.keep()
    old = contents(world)
    (world.directory() / "accepted.yml").unlink()
    (world.directory() / "certificate.pem").unlink()
    world.put(reply_txt=factory.pem(renewed := world.reply(end=NOW + 300 * DAY)))
    kept = snapshot(world.kept)
    deaths = 0
    for step in range(200):
        back_to(world.kept, kept)
        ended = subprocess.run(
            command(world, {**arguments(world, (NAME, 1)), "die_at": step}),
            stdout=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        there = contents(world)
        world.keep()
        new = contents(world)
        assert set(new) >= FILES
        for name, content in there.items():
            assert content in (kept_of(kept, name), new[name]), f"{name} after step {step}"
        if "accepted.yml" in there:
            assert there["certificate.pem"] == factory.pem(renewed)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL
        deaths += 1
    assert deaths >= 8, "two files, each made, opened to all, synced and renamed"
    assert old["certificate.pem"] != new["certificate.pem"]


def contents(world: World) -> dict[str, bytes]:
    """The files of the version that anybody looks at."""
    return {
        path.name: path.read_bytes()
        for path in world.directory().iterdir()
        if not path.name.startswith(".")
    }


def kept_of(kept: Snapshot, name: str) -> bytes | None:
    found = kept.get(f"{NAME}/1/{name}")
    return None if found is None else found[2]


def back_to(folder: Path, kept: Snapshot) -> None:
    """The files of a snapshot and no others."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and str(path.relative_to(folder)) not in kept:
            path.unlink()
    for name, (mode, _, content) in kept.items():
        if stat.S_ISREG(mode):
            (folder / name).write_bytes(content)


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def waited_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end, "it did not come to pass within 20 seconds"
        time.sleep(0.02)
