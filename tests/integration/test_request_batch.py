# SPDX-License-Identifier: GPL-3.0-or-later
"""Many keys and requests in one run: side by side, each standing alone, killed and gone on with."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration.many_certificates import PROJECT, Office, Ran, entry
from integration.openbao_server import TLS_MOUNT, OpenBao
from integration.vault_tap import Exchange, Tap
from pki import csr
from pki.vault import Client

pytestmark = pytest.mark.integration
LINE = re.compile(r"^(\S+): (key made|refused \(\S+\)), (\d+) of (\d+), \d+ s$", re.MULTILINE)
Make = Callable[..., Office]


@pytest.fixture
def names() -> list[str]:
    run = secrets.token_hex(3)
    return [f"c{number}-{run}" for number in range(6)]


@pytest.fixture
def office(tmp_path: Path, openbao: OpenBao) -> Make:
    def make(names: list[str], vault: dict[str, Any] | None = None, **changes: Any) -> Office:
        entries = [entry(name, **changes) for name in names]
        return Office(tmp_path / "inventory", vault or openbao.options("pipeline"), entries)

    return make


@pytest.fixture
def operator(openbao: OpenBao) -> Iterator[Client]:
    with openbao.client("operator") as client:
        yield client


@pytest.fixture
def tap(openbao: OpenBao, tmp_path: Path) -> Iterator[Tap]:
    tap = Tap(tmp_path / "tap", (openbao.port, openbao.ca_cert)).start()
    yield tap
    tap.stop()


def tapped(openbao: OpenBao, tap: Tap) -> dict[str, str]:
    return {
        **openbao.options("pipeline"),
        "address": tap.address,
        "ca_cert": str(tap.ca_cert),
    }


def versions(operator: Client, names: list[str]) -> dict[str, int]:
    """The newest version of each key; 0 for no key."""
    read = {name: operator.read(f"{TLS_MOUNT}/keys/{name}") or {} for name in names}
    return {name: int(key.get("latest_version", 0)) for name, key in read.items()}


def lines(output: str) -> list[tuple[str, str, int, int]]:
    return [
        (name, what, int(number), int(whole)) for name, what, number, whole in LINE.findall(output)
    ]


def complete(office: Office, names: list[str], version: int = 1) -> None:
    """Each request is whole and carries the key that its record names."""
    for name in names:
        folder = office.base / "certificates" / name / str(version)
        request = csr.parse((folder / "request.csr").read_bytes())
        record = yaml.safe_load((folder / "request.yml").read_bytes())
        assert request.signature_valid
        assert record["key"]["spki_sha256"] == request.spki_sha256
        assert record["key"]["version"] == version
        assert (folder / "submission.txt").read_bytes()


def test_a_run_makes_every_key_and_request_and_the_next_one_changes_nothing(
    office: Make, names: list[str], operator: Client
) -> None:
    made = office(names)
    first = made.play()
    complete(made, names)
    assert versions(operator, names) == dict.fromkeys(names, 1)
    assert first.changed == 1
    before = made.files()
    second = made.play()
    assert second.changed == 0
    assert lines(second.output) == []
    assert made.files() == before


@pytest.mark.parametrize("verbose", [(), ("-v",), ("-vvv", "--diff")], ids=["plain", "v", "vvv"])
def test_a_line_is_shown_for_every_key_while_the_run_lasts(
    office: Make, names: list[str], verbose: tuple[str, ...]
) -> None:
    made = office(names)
    told = lines(made.play(*verbose).output)
    assert sorted(name for name, _, _, _ in told) == sorted(names)
    assert {what for _, what, _, _ in told} == {"key made"}
    assert [(number, whole) for _, _, number, whole in told] == [
        (number, len(names)) for number in range(1, len(names) + 1)
    ]


def test_the_lines_come_before_the_module_ends(
    office: Make, names: list[str], openbao: OpenBao, tmp_path: Path
) -> None:
    """The last key is held back until its neighbours' lines were seen."""
    seen: list[str] = []

    def wait_for_lines(exchange: Exchange) -> None:
        if exchange.method == "POST" and exchange.path.endswith(f"/keys/{names[-1]}"):
            deadline = time.monotonic() + 60
            while len(seen) < len(names) - 1 and time.monotonic() < deadline:
                time.sleep(0.05)
            held.append(len(seen))

    held: list[int] = []
    tap = Tap(tmp_path / "tap", (openbao.port, openbao.ca_cert), wait_for_lines).start()
    try:
        made = office(names, tapped(openbao, tap))
        with subprocess.Popen(
            made.command("request"),
            env=made.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as play:
            assert play.stderr is not None
            for line in play.stderr:
                if LINE.match(line):
                    seen.append(line)
    finally:
        tap.stop()
    assert play.returncode == 0
    assert held == [len(names) - 1]
    assert len(seen) == len(names)


def test_one_certificate_that_fails_stops_no_other_and_the_summary_fails(
    office: Make, names: list[str], operator: Client
) -> None:
    bad, good = names[2], [name for name in names if name != names[2]]
    operator.write(f"{TLS_MOUNT}/keys/{bad}", {"type": "aes256-gcm96", "exportable": True})
    made = office(names)
    assert "KEY-TYPE" in made.play("--check", playbook="whole", code=2).output
    assert made.files() == {}
    run = made.play(playbook="whole", code=2)
    complete(made, good)
    assert not (made.base / "certificates" / bad).exists()
    refusal = run.output[run.output.rindex(f"refused  {bad}") :]
    assert "KEY-TYPE" in refusal
    assert re.search(rf"{bad} +refused", run.output)
    assert all(re.search(rf"{name} +requested", run.output) for name in good)
    # The module itself went well: only the last task is red.
    assert "failed=1" in run.output
    told = {name: what for name, what, _, _ in lines(run.output)}
    assert told[bad] == "refused (KEY-TYPE)"
    again = made.play(playbook="whole", code=2)
    assert again.changed == 0


def test_a_check_says_which_keys_would_be_made_and_makes_none(
    office: Make, names: list[str], operator: Client
) -> None:
    made = office(names)
    run = made.play("--check", "--diff")
    assert run.changed == 1
    assert lines(run.output) == []
    for name in names:
        assert f"+a new key, and for {name} v1:" in run.output
    assert versions(operator, names) == dict.fromkeys(names, 0)
    assert made.files() == {}


def test_a_check_shows_the_files_that_would_be_rebuilt_beside_what_is_there(
    office: Make, names: list[str]
) -> None:
    made = office(names[:1])
    made.play()
    before = made.files()
    folder = made.base / "certificates" / names[0] / "1"
    (folder / "request.yml").unlink()
    (folder / "submission.txt").write_text("something else\n")
    run = made.play("--check", "--diff")
    assert run.changed == 1
    assert "-something else" in run.output
    assert f"+certificate: {names[0]}" in run.output
    assert "BEGIN CERTIFICATE REQUEST" not in re.sub(r"(?m)^\+.*-----BEGIN.*$", "", run.output)
    assert not (folder / "request.yml").exists()
    assert made.play("--diff").changed == 1
    assert made.files() == before


def test_a_run_that_is_killed_loses_nothing_and_the_next_one_heals(
    office: Make, openbao: OpenBao, tap: Tap, operator: Client
) -> None:
    run = secrets.token_hex(3)
    many = [f"k{number}-{run}" for number in range(30)]
    made = office(many, tapped(openbao, tap))
    with subprocess.Popen(
        made.command("request"),
        env=made.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as play:
        deadline = time.monotonic() + 120
        while not any("request.yml" in path for path in made.files()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        kill_tree(play.pid)
    # Nothing is in flight any more once the server answers for every key.
    time.sleep(2)
    kept = versions(operator, many)
    whole = made.files()
    assert 0 < sum(kept.values()) < len(many), "it was to be killed in the middle"
    after = made.play()
    assert after.changed == 1
    assert versions(operator, many) == dict.fromkeys(many, 1)
    complete(made, many)
    finished = {path: content for path, content in whole.items() if "/." not in path}
    assert finished.items() <= made.files().items()
    assert made.play().changed == 0


def kill_tree(top: int) -> None:
    """A process and all that came of it, at once; workers have sessions of their own."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                after_name = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(after_name[1])
    doomed = [top]
    for process in doomed:
        doomed += [child for child, parent in parents.items() if parent == process]
    for process in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def test_two_runs_at_once_never_make_two_keys(
    office: Make, names: list[str], openbao: OpenBao, tmp_path: Path, operator: Client
) -> None:
    made = office(names)
    with ThreadPoolExecutor(2) as pool:
        mine, theirs = tmp_path / "mine", tmp_path / "theirs"
        where = [("-e", f"certificates_dir={folder}") for folder in (mine, theirs)]
        runs = list(pool.map(lambda given: made.play(*given), where))
    assert [run.code for run in runs] == [0, 0]
    assert versions(operator, names) == dict.fromkeys(names, 1)
    contents = [
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}
        for folder in (mine, theirs)
    ]
    assert len(contents[0]) == 3 * len(names)
    assert contents[0] == contents[1]


DIRECT = """\
- hosts: localhost
  gather_facts: false
  tasks:
    - pki_request:
        organisations: "{{ organisations }}"
        certificates: "{{ certificates }}"
        trust: "{{ trust }}"
        policy_dir: "{{ policies }}"
        base_dir: "{{ inventory_dir }}"
        certificates_dir: "{{ inventory_dir }}/certificates"
        crl_cache_dir: "{{ inventory_dir }}/crls"
        vault: "{{ certificates_vault }}"
        concurrency: "{{ concurrency | default(4) }}"
        actions:
          - {kind: create_key, certificate: NAME, version: 1}
          - {kind: write_request, certificate: NAME, version: 1}
          - {kind: deploy, certificate: NAME, version: 1}
      async: "{{ seconds | default(0) }}"
      poll: 1
"""


def direct(office: Office, name: str, *given: str, code: int = 0) -> Ran:
    """The module alone in a play."""
    (office.plays / "direct.yml").write_text(DIRECT.replace("NAME", name))
    return office.play("-e", f"policies={PROJECT}/policies", *given, playbook="direct", code=code)


def test_keys_of_other_stores_are_passed_over(
    office: Make, names: list[str], openbao: OpenBao, tap: Tap
) -> None:
    made = office(names[:1], tapped(openbao, tap), key={"store": "external"})
    assert direct(made, names[0]).changed == 0
    assert tap.seen == []
    assert made.files() == {}


def test_the_module_alone_makes_keys_also_in_the_background(
    office: Make, names: list[str], operator: Client
) -> None:
    made = office(names[:2])
    shown = direct(made, names[0])
    assert lines(shown.output) == [(names[0], "key made", 1, 1)]
    background = direct(made, names[1], "-e", '{"seconds": 300}')
    assert background.changed == 1
    assert lines(background.output) == []
    assert versions(operator, names[:2]) == dict.fromkeys(names[:2], 1)
    complete(made, names[:2])


@pytest.mark.parametrize("number", ["0", "-1", "65"])
def test_a_number_of_calls_that_no_server_could_bear_is_refused(
    office: Make, names: list[str], tap: Tap, openbao: OpenBao, number: str
) -> None:
    made = office(names[:1], tapped(openbao, tap))
    run = direct(made, names[0], "-e", f"concurrency={number}", code=2)
    assert "option concurrency" in run.output
    assert tap.seen == []
