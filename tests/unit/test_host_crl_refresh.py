# SPDX-License-Identifier: GPL-3.0-or-later
"""One refresh of a host's CRLs: what replaces what, what is told of it, and what death leaves."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from pki_host import crl_refresh, crl_store, files
from unit import refreshed_host
from unit.broken_crl_server import HOUR, OLD, REVOKED, REVOKED_LATER, BrokenCrlServer, Pace
from unit.refreshed_host import TRUST, RefreshedHost, dying, host

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[BrokenCrlServer]:
    with BrokenCrlServer(refreshed_host.material(), Pace(hold_seconds=5)).running() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path, server: BrokenCrlServer) -> RefreshedHost:
    server.seen.clear()
    return host(tmp_path, server)


def first(status: dict[str, Any]) -> dict[str, Any]:
    """What is told of the CA whose CRL changes."""
    return dict(status["authorities"][0])


# -- the set -------------------------------------------------------------------------------


def test_the_first_refresh_fetches_every_ca_and_puts_one_set_into_service(
    world: RefreshedHost,
) -> None:
    status = world.refresh()
    assert status["outcome"] == "changed"
    assert [one["outcome"] for one in status["authorities"]] == ["new", "new"]
    make = world.material
    assert world.serving() == [world.server.content("old"), world.server.content("wrong_issuer")]
    facts = json.loads((world.place / "current/set.json").read_text())
    assert [one["authority"] for one in facts["crls"]] == [make.authority.sha256, make.other.sha256]
    assert first(status)["number"] == str(OLD)
    fetched = json.loads((world.place / "fetched.json").read_text())
    assert {one["source"] for one in fetched.values()} == {
        world.server.url("issuing"),
        world.server.url("root"),
    }
    assert all(one["boot"] and one["monotonic"] > 0 for one in fetched.values())


def test_the_set_is_named_by_its_bytes_and_its_bytes_are_the_controllers(
    world: RefreshedHost,
) -> None:
    world.refresh()
    brought = refreshed_host.bundle(
        world.server.content("old"), world.server.content("wrong_issuer")
    )
    assert (world.place / "current/crl.pem").read_text() == brought["pem"]
    assert os.readlink(world.place / "current") == f"sets/{brought['sha256'][:16]}"


def test_an_unchanged_crl_costs_one_conditional_request_and_no_switch(
    world: RefreshedHost,
) -> None:
    world.refresh()
    inode = (world.place / "current/crl.pem").stat().st_ino
    world.server.seen.clear()
    before = world.store.fetched_at(first(world.refresh(refreshed_host.later(0.1)))["crl_sha256"])
    status = world.refresh(refreshed_host.later(1))
    assert (status["outcome"], first(status)["outcome"]) == ("unchanged", "304")
    asked = [one for one in world.server.seen if one.path == "/issuing"]
    assert len(asked) == 2
    assert all("if-none-match" in one.headers for one in asked)
    assert (world.place / "current/crl.pem").stat().st_ino == inode
    assert first(status)["fetched_at"] > before
    assert not status["switched"]


def test_a_newer_crl_makes_another_set_and_says_what_it_changed(world: RefreshedHost) -> None:
    world.refresh()
    world.server.switch("issuing", "der")
    status = world.refresh()
    assert status["outcome"] == "changed"
    assert (first(status)["added"], first(status)["removed"]) == (1, 0)
    assert world.serving()[0] == world.server.content("der")
    again = world.refresh()
    assert (again["outcome"], first(again)["outcome"]) == ("unchanged", "same")
    assert first(again)["added"] == 0
    assert first(again)["added_total"] == 1


NOT_TAKEN = [
    "wrong_issuer", "bad_signature", "expired", "future", "no_end", "older", "older_number",
    "delta", "indirect", "other_partition", "other_scope", "unknown_critical", "html", "empty",
    "not_found", "truncated", "redirect_loop", "redirect_ftp", "gzip", "sha1",
]  # fmt: skip


@pytest.mark.parametrize("behaviour", NOT_TAKEN)
def test_nothing_worse_replaces_what_is_held_and_the_next_address_is_tried(
    tmp_path: Path, server: BrokenCrlServer, behaviour: str
) -> None:
    world = host(tmp_path, server, addresses=("issuing", "second"))
    server.switch("second", "der")
    world.refresh()
    server.switch("issuing", behaviour)
    status = world.refresh()
    assert (status["outcome"], first(status)["outcome"]) == ("changed", "new")
    failed, good = first(status)["tries"]
    assert (failed["outcome"], bool(failed["why"])) == ("failed", True)
    assert good == {"url": server.url("second"), "outcome": "new", "why": ""}
    assert world.serving()[0] == server.content("der")
    assert any(server.url("issuing") in line for line in world.lines(4))
    server.switch("second", behaviour)
    status = world.refresh()
    assert (status["outcome"], first(status)["outcome"]) == ("failed", "failed")
    assert world.serving()[0] == server.content("der")
    assert first(status)["number"] == "11"


def test_a_source_that_still_has_an_expired_crl_confirms_nothing(world: RefreshedHost) -> None:
    before = first(world.refresh())["fetched_at"]
    status = world.refresh(refreshed_host.later(23.5))
    assert status["outcome"] == "failed"
    assert "expired" in first(status)["tries"][0]["why"]
    assert first(status)["fetched_at"] == before


def test_no_set_is_made_before_every_ca_has_a_crl(world: RefreshedHost) -> None:
    world.server.switch("root", "not_found")
    status = world.refresh()
    assert status["outcome"] == "failed"
    assert not os.path.lexists(world.place / "current")
    world.server.switch("root", "wrong_issuer")
    assert world.refresh()["outcome"] == "changed"


def test_a_dead_source_of_one_trust_entry_leaves_the_others_fresh(
    world: RefreshedHost, tmp_path: Path
) -> None:
    watch = world.watch()
    trust = watch.trusts[TRUST]
    dead = replace(trust.authorities[0], urls=("http://127.0.0.1:9/dead",))
    both = {"aaa": replace(trust, name="aaa", authorities=(dead,)), TRUST: trust}
    files.write(f"{world.root}/watch.json", replace(watch, trusts=both).encode())
    outcome = crl_refresh.run(world.root)
    assert {name: one["outcome"] for name, one in outcome.trusts.items()} == {
        "aaa": "failed",
        TRUST: "changed",
    }
    assert not outcome.fresh


def test_a_kept_crl_that_somebody_changed_is_fetched_again(world: RefreshedHost) -> None:
    held = first(world.refresh())["crl_sha256"]
    path = Path(world.store.der(held))
    path.write_bytes(b"changed")
    (world.place / "current/crl.pem").write_text("changed")
    assert world.refresh()["outcome"] in ("changed", "unchanged")
    assert files.sha256(path.read_bytes()) == held
    assert world.serving()[0] == world.server.content("old")


def test_a_lost_file_lets_no_older_crl_in(world: RefreshedHost) -> None:
    world.server.switch("issuing", "der")
    held = first(world.refresh())["crl_sha256"]
    Path(world.store.der(held)).write_bytes(b"changed")
    for _ in range(2):
        world.server.switch("issuing", "old")
        assert first(world.refresh())["outcome"] == "failed"
        assert world.serving()[0] == world.server.content("der")
    world.server.switch("issuing", "der")
    assert world.refresh()["outcome"] == "unchanged"


def test_a_refresh_ends_a_refusal_at_once(world: RefreshedHost) -> None:
    world.refresh()
    for direction in ("ingress", "egress"):
        (world.place / direction).unlink()
        (world.place / direction).symlink_to("../refusal")
    assert world.refresh()["outcome"] == "changed"
    assert os.readlink(world.place / "ingress") == "current"


def test_old_sets_go_and_young_ones_stay_for_a_run_that_may_still_switch_to_them(
    world: RefreshedHost,
) -> None:
    world.refresh()
    stale = world.place / "sets/0123456789abcdef"
    young = world.place / "sets/fedcba9876543210"
    for folder in (stale, young):
        shutil.copytree(world.place / "current", folder)
    os.utime(stale, (0, 0))
    orphan = world.place / "crls" / f"{'0' * 64}.der"
    orphan.write_bytes(b"x")
    world.server.switch("issuing", "der")
    world.refresh()
    assert not stale.exists()
    assert young.exists()
    assert not orphan.exists()
    assert len(list((world.place / "sets").iterdir())) == 3


# -- what is told --------------------------------------------------------------------------


def test_a_certificate_of_ours_that_is_revoked_is_the_top_alarm_of_every_run(
    world: RefreshedHost,
) -> None:
    world.remember(REVOKED_LATER)
    world.watch()
    assert world.refresh()["revoked"] == []
    world.server.switch("issuing", "der")
    for _ in range(2):
        (found,) = world.refresh()["revoked"]
        assert (found["what"], found["serial"]) == ("our certificate dip", f"{REVOKED_LATER:x}")
        (line,) = world.lines(1)
        assert "REVOKED" in line
        assert "playbooks/renew.yml -e certificate=dip" in line
    assert world.outcome.fresh, "the new set is in service: what is revoked is refused"


def test_a_known_serial_that_disappears_is_an_alarm_until_it_is_listed_again(
    world: RefreshedHost,
) -> None:
    world.remember(REVOKED, "the far end's certificate", kind="peer")
    world.watch()
    world.refresh()
    world.server.switch("issuing", "serial_gone")
    status = world.refresh()
    assert first(status)["removed_known"] == ["the far end's certificate"]
    status = world.refresh()
    assert [one["serial"] for one in status["vanished"]] == [f"{REVOKED:x}"]
    assert any("is not in its CA's CRL any more" in line for line in world.lines(3))
    world.server.switch("issuing", "der")
    assert world.refresh()["vanished"] == []


def test_a_serial_of_which_nobody_knows_whether_it_expired_is_counted(
    world: RefreshedHost,
) -> None:
    world.refresh()
    world.server.switch("issuing", "serial_gone")
    status = world.refresh()
    assert first(status)["removed_uncertain"] == 1
    assert status["vanished"] == []


def test_polls_are_counted_by_what_they_came_to(world: RefreshedHost) -> None:
    world.refresh()
    world.refresh()
    world.server.switch("issuing", "not_found")
    status = world.refresh()
    assert first(status)["polls"] == {"new": 1, "304": 1, "failed": 1}
    assert (status["polls"], status["failures"]) == (3, 1)
    assert (status["recent_polls"], status["recent_failures"]) == (3, 1)


# -- the program ---------------------------------------------------------------------------


def program(world: RefreshedHost, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pki_host.crl_refresh", *arguments]
    return subprocess.run(
        command,
        env={"PYTHONPATH": str(REPO / "module_utils"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_program_says_by_its_exit_code_whether_all_is_fresh(world: RefreshedHost) -> None:
    done = program(world, "--root", world.root)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines()[-1].startswith("<6>dip-nonprod: changed")
    world.server.switch("issuing", "html")
    done = program(world, "--root", world.root)
    assert done.returncode == 1
    assert "<3>dip-nonprod: CRLs were not all refreshed" in done.stderr
    assert program(world).returncode == 2
    (world.base / "crl/watch.json").write_text("{")
    done = program(world, "--root", world.root)
    assert done.returncode == 1
    assert done.stderr.startswith("<3>the CRL refresh: what this host watches is not usable")
    assert "Traceback" not in done.stderr


# -- death ---------------------------------------------------------------------------------


def test_killed_at_any_change_of_a_file_the_old_or_the_new_set_is_there_and_the_next_run_heals(
    world: RefreshedHost,
) -> None:
    world.refresh()
    world.server.switch("issuing", "der")
    wanted = {world.server.content("old"), world.server.content("der")}
    copy = world.base / "before"
    shutil.copytree(world.root, copy, symlinks=True)
    count = 0
    for count in range(1, 200):
        died = dying(lambda: crl_refresh.run(world.root), count, after=count % 2 == 0)
        assert world.serving()[0] in wanted
        assert crl_store.Store(world.root, TRUST).problem(world.store.current().id) == ""
        world.refresh()
        assert world.serving()[0] == world.server.content("der")
        left = [str(one) for one in Path(world.root).rglob(".new-*") if one.is_dir()]
        assert left == []
        if not died:
            break
        shutil.rmtree(world.root)
        shutil.copytree(copy, world.root, symlinks=True)
    assert 10 < count < 199


# -- responders ----------------------------------------------------------------------------


class Responder(http.server.BaseHTTPRequestHandler):
    """Says of every certificate what it was told to say; None is no answer."""

    answer: ClassVar[list[bytes | None]] = [None]
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.asked.append(self.path)
        body = self.answer[0]
        self.send_response(200 if body else 503)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def responder() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Responder)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    Responder.asked.clear()
    yield f"http://127.0.0.1:{server.server_port}/ocsp"
    server.shutdown()
    server.server_close()


def test_responders_are_asked_once_a_period_and_again_while_they_do_not_answer(
    world: RefreshedHost, responder: str
) -> None:
    make = world.material
    span = {"start": make.now - HOUR, "end": make.now + 23 * HOUR}
    der = make.authority.leaf("ours", **span)
    certificate = x509.load_der_x509_certificate(der)
    pem = certificate.public_bytes(Encoding.PEM).decode()
    world.remember(certificate.serial_number, ocsp_urls=[responder], pem=pem)
    world.watch()
    Responder.answer[0] = None
    for count in (1, 2):
        assert [one["status"] for one in world.refresh()["ocsp"]] == ["none"]
        assert any("no OCSP answer" in line for line in world.lines(4))
        assert len(Responder.asked) == count
    Responder.answer[0] = make.authority.ocsp(der, **span)
    for _ in range(2):
        assert [one["status"] for one in world.refresh()["ocsp"]] == ["good"]
    assert len(Responder.asked) == 3
    revoked = ocsp.OCSPCertStatus.REVOKED
    Responder.answer[0] = make.authority.ocsp(der, revoked, **span)
    status = world.refresh(refreshed_host.later(24.1))
    assert len(Responder.asked) == 4
    assert [one["what"] for one in status["revoked"]] == ["our certificate dip"]
    assert f"says {responder}" in world.lines(1)[0].replace("OCSP ", "")
