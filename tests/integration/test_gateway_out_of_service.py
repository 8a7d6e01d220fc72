# SPDX-License-Identifier: GPL-3.0-or-later
"""A compromised key leaves a real gateway for good, and the other listeners serve on."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from integration import gateway_world as gw
from integration.gateway_world import World
from integration.own_ports import free_ports
from pki_host import compromised, openssl, out_of_service, probe, transaction
from pki_host.compromised import Listed
from pki_host.errors import HostError
from pki_host.gateway_change import Change
from pki_host.transaction import Transaction

pytestmark = pytest.mark.integration

OTHER, OTHER_DOMAIN = "other-nonprod", "other-energy.co.uk"
OTHER_NAME = f"energydip-nonprod.{OTHER_DOMAIN}"
SINCE = "2026-11-22T02:10:00Z"


class TwoCertificates(World):
    """One gateway with two ingress listeners and an egress; ``dip-nonprod`` has two of them."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        (self.second,) = free_ports(1)
        self.other = self.authorities.leaf(OTHER_NAME, "other")
        self.other_release = self.stage_release(1, self.other, "other", OTHER)
        self.with_release = True

    def inventory(self) -> dict[str, Any]:
        values = super().inventory()
        first = values["certificates"][0]
        values["certificates"].append({**first, "name": OTHER, "domain": OTHER_DOMAIN})
        return values

    def gateways(self) -> list[dict[str, Any]]:
        gateways = super().gateways()
        first = gateways[0]["ingress"][0]
        gateways[0]["ingress"].append(
            {
                **first,
                "name": "second",
                "listen": f"127.0.0.1:{self.second}",
                "certificate": OTHER,
                "server_name": OTHER_NAME,
            }
        )
        return gateways

    def releases(self) -> list[dict[str, Any]]:
        return [self.other_release, *([self.release] if self.with_release else [])]

    # -- the night ---------------------------------------------------------------------------

    @property
    def tls(self) -> str:
        return str(self.base / "tls")

    @property
    def gateway_root(self) -> str:
        return str(self.base / "gateway")

    def leak(self, certificate: x509.Certificate, entry: str = "dip-nonprod") -> Listed:
        """The key is known to others: from now on it is on the host's list."""
        public = openssl.public_key_of_certificate(gw.pem(certificate).encode())
        listed = Listed(openssl.spki_sha256(public), entry, SINCE)
        out_of_service.listing(self.tls, [listed], check=False)
        self.with_release = False
        self.out_of_service = [entry]
        return listed

    def forget_all(self) -> None:
        """Both certificates are out of service."""
        self.leak(self.certificate)
        self.leak(self.other, OTHER)
        self.out_of_service = ["dip-nonprod", OTHER]
        self.other_release = {**self.other_release, "certificate": "nothing"}

    def renew(self) -> None:
        """A replacement with another key has arrived."""
        self.certificate = self.authorities.leaf(gw.OURS, "ours-2")
        self.release = self.stage_release(2, self.certificate, "ours-2")
        self.with_release = True

    def remove_keys(self) -> out_of_service.Outcome:
        return out_of_service.run(self.tls, self.gateway_root, [], check=False)

    def keys(self) -> list[str]:
        found = Path(self.tls).rglob("key.pem")
        return sorted(str(path.relative_to(self.tls)).split("/")[0] for path in found)

    def applied(self) -> dict[str, Any]:
        return dict(json.loads((self.root / "applied.json").read_text()))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[TwoCertificates]:
    world = TwoCertificates(tmp_path)
    try:
        yield world
    finally:
        world.stop()


@pytest.fixture
def running(world: TwoCertificates) -> TwoCertificates:
    apply(world)
    return world


def apply(world: World) -> list[str]:
    result = transaction.run(world.desired(), check=False)
    again = transaction.run(world.desired(), check=False)
    assert again["changed"] is False, again["reasons"]
    return list(result["steps"])


def is_open(port: int) -> bool:
    with contextlib.closing(socket.socket()) as plain:
        plain.settimeout(3)
        return plain.connect_ex(("127.0.0.1", port)) == 0


def nothing_listens(world: TwoCertificates) -> None:
    assert [is_open(port) for port in (world.ingress, world.egress, world.second)] == [False] * 3
    assert world.daemon().master() is None


@contextlib.contextmanager
def asking(world: TwoCertificates, client: Path) -> Iterator[list[int]]:
    """A good client that never stops asking the other listener; its answers."""
    answers: list[int] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                answers.append(world.get(client, port=world.second).status)
            except OSError:
                answers.append(0)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        done.set()
        thread.join()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PATIENCE", 1.0)


# --- listeners out, others undisturbed ------------------------------------------------------


def test_its_listeners_close_its_keys_go_and_a_good_client_elsewhere_notices_nothing(
    running: TwoCertificates,
) -> None:
    client = running.client(running.authorities.leaf(gw.PEER, "peer"), "peer")
    master = running.daemon().master()
    with gw.echo_app(running.app), asking(running, client) as answers:
        while len(answers) < 5:
            time.sleep(0.01)
        running.leak(running.certificate)
        steps = apply(running)
        outcome = running.remove_keys()
        enough = len(answers) + 5
        while len(answers) < enough:
            time.sleep(0.01)
    assert set(answers) == {200}
    assert [one for one in steps if one in ("reload", "drain", "probe")] == [
        "reload",
        "drain",
        "probe",
    ]
    assert running.daemon().master() == master
    assert not is_open(running.ingress)
    assert not is_open(running.egress)
    assert running.keys() == [OTHER]
    assert [one.as_result()["in_service"] for one in outcome.removed] == [True]
    assert outcome.stopped == []
    assert not os.path.lexists(running.release["link"]["path"])
    assert [one["name"] for one in running.applied()["out_of_service"]] == ["webhook", "api"]
    # A second night has nothing to do.
    assert running.remove_keys().changed is False
    assert transaction.run(running.desired(), check=False)["changed"] is False


def test_a_session_made_with_the_key_is_ended_after_the_drain(running: TwoCertificates) -> None:
    client = running.client(running.authorities.leaf(gw.PEER, "peer"), "peer")
    context = gw.ssl.create_default_context(cadata=gw.pem(running.authorities.root))
    context.check_hostname = False
    context.verify_flags &= ~gw.ssl.VERIFY_X509_STRICT
    context.load_cert_chain(client)
    with (
        socket.create_connection(("127.0.0.1", running.ingress)) as plain,
        context.wrap_socket(plain) as session,
    ):
        # A request that never ends keeps its worker.
        session.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
        running.leak(running.certificate)
        began = time.monotonic()
        apply(running)
        assert time.monotonic() - began < 20
        session.settimeout(3)
        with contextlib.suppress(OSError):
            assert session.recv(1) == b""
    workers = {p.title for p in transaction_processes(running)}
    assert not [title for title in workers if "shutting down" in title]


def transaction_processes(world: World) -> list[Any]:
    from pki_host import processes

    master = world.daemon().master()
    return [p for p in processes.processes() if master is not None and p.parent == master.pid]


def present(world: World) -> list[tuple[Path, int]]:
    """Everything of the host with its age; not the inventory, which the tests write again."""
    found = [path for path in world.base.rglob("*") if not {"log", "ca"} & {*path.parts}]
    return sorted((path, path.lstat().st_mtime_ns) for path in found)


def test_a_check_says_what_goes_and_changes_nothing(running: TwoCertificates) -> None:
    running.leak(running.certificate)
    before = present(running)
    said = transaction.run(running.desired(), check=True)
    assert "webhook still listens" in said["reasons"]
    outcome = out_of_service.run(running.tls, running.gateway_root, [], check=True)
    assert [one.place for one in outcome.removed] == [running.release["link"]["target"]]
    assert [one.name for one in outcome.stopped] == ["dip"]
    assert present(running) == before


# --- nothing left ---------------------------------------------------------------------------


def test_without_any_listener_left_it_is_stopped_and_says_so_and_no_file_could_start_it(
    running: TwoCertificates,
) -> None:
    running.forget_all()
    steps = apply(running)
    assert "stop" in steps
    nothing_listens(running)
    assert not (running.root / "nginx.conf").exists()
    names = {one["name"] for one in running.applied()["out_of_service"]}
    assert names == {"webhook", "second", "api"}
    running.remove_keys()
    assert running.keys() == []


def test_a_stopped_gateway_that_somebody_starts_again_is_found(running: TwoCertificates) -> None:
    config = (running.root / "nginx.conf").read_bytes()
    trust = (running.root / "trust/dip-nonprod.pem").read_bytes()
    running.forget_all()
    apply(running)
    (running.root / "nginx.conf").write_bytes(config)
    (running.root / "trust").mkdir(exist_ok=True)
    (running.root / "trust/dip-nonprod.pem").write_bytes(trust)
    running.daemon().start()
    reasons = transaction.run(running.desired(), check=True)["reasons"]
    assert "the gateway still runs" in reasons
    assert "webhook still listens" in reasons
    apply(running)
    nothing_listens(running)


def test_a_replacement_brings_it_back(running: TwoCertificates) -> None:
    running.forget_all()
    apply(running)
    running.remove_keys()
    running.renew()
    running.other_release = running.stage_release(
        2, running.authorities.leaf(OTHER_NAME, "other-2"), "other-2", OTHER
    )
    assert "start" in apply(running)
    assert running.get(None).leaf == running.release["certificate_sha256"]
    assert is_open(running.second)
    assert is_open(running.egress)
    assert running.applied()["out_of_service"] == []


def test_a_replacement_in_the_same_run_takes_the_place_without_a_pause(
    running: TwoCertificates,
) -> None:
    running.leak(running.certificate)
    running.renew()
    assert "drain" in apply(running)
    assert running.get(None).leaf == running.release["certificate_sha256"]
    assert running.remove_keys().stopped == []
    assert running.keys() == sorted(["dip-nonprod", OTHER])


# --- no way back ----------------------------------------------------------------------------


BROKEN = {
    "test": ("ssl_verify_client on;", "ssl_verify_client perhaps;"),
    "probe": ("ssl_verify_client on;", "ssl_verify_client optional_no_ca;"),
}


def broken(world: TwoCertificates, step: str) -> transaction.Desired:
    """The wanted state, with a fault that this step finds."""
    desired = world.desired()
    text = desired.config["nginx.conf"].decode().replace(*BROKEN[step])
    if step == "probe":
        text, guards = re.subn(r"if \(\$allowed_1 [^)]*\)", "if ($allowed_1 = 7)", text)
        assert guards == 1
    return replace(desired, config={**desired.config, "nginx.conf": text.encode()})


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("step", sorted(BROKEN))
@pytest.mark.parametrize("replaced", [False, True], ids=["without", "with a replacement"])
def test_a_change_that_fails_is_not_taken_back_to_a_listed_key_but_stopped(
    running: TwoCertificates, step: str, replaced: bool
) -> None:
    old = running.release["link"]["target"]
    running.leak(running.certificate)
    if replaced:
        running.renew()
    with pytest.raises(HostError) as caught:
        transaction.run(broken(running, step), check=False)
    assert f"the step '{step}' failed" in caught.value.message
    assert "the gateway is stopped" in caught.value.message
    nothing_listens(running)
    assert not (running.root / "nginx.conf").exists()
    assert not (running.root.parent / ".transaction").exists()
    assert running.applied()["out_of_service"]
    running.remove_keys()
    assert not (Path(running.tls) / "dip-nonprod" / old / "key.pem").exists()
    # The next good run brings back what may serve.
    apply(running)
    assert is_open(running.second)
    assert is_open(running.ingress) is replaced


@pytest.mark.usefixtures("hurried")
def test_an_old_controller_that_wants_the_key_back_is_refused_and_changes_nothing(
    running: TwoCertificates,
) -> None:
    old = running.desired()
    running.leak(running.certificate)
    apply(running)
    with pytest.raises(HostError) as caught:
        transaction.run(old, check=False)
    assert caught.value.rule == "HOST-COMPROMISED"
    assert is_open(running.second)
    assert not is_open(running.ingress)
    assert transaction.run(running.desired(), check=False)["changed"] is False


def test_an_old_run_between_list_and_switch_stops_what_it_would_have_kept(
    running: TwoCertificates,
) -> None:
    old = running.desired()
    running.leak(running.certificate)
    with pytest.raises(HostError) as caught:
        transaction.run(old, check=False)
    assert caught.value.rule == "HOST-COMPROMISED"
    nothing_listens(running)
    apply(running)
    assert is_open(running.second)


def test_a_rollback_of_another_certificate_keeps_the_closed_listeners_closed(
    running: TwoCertificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.leak(running.certificate)
    apply(running)
    running.remove_keys()
    monkeypatch.setattr(probe, "PATIENCE", 1.0)
    with pytest.raises(HostError, match="the previous configuration is back in place"):
        transaction.run(broken(running, "probe"), check=False)
    assert is_open(running.second)
    assert not is_open(running.ingress)
    assert transaction.run(running.desired(), check=False)["changed"] is False


def test_a_port_that_a_stranger_took_does_not_keep_the_key_in_service(
    running: TwoCertificates,
) -> None:
    running.leak(running.certificate)
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        desired = running.desired()
        taken = replace(desired.probes[0], port=port)
        with pytest.raises(HostError, match="the gateway is stopped") as caught:
            transaction.run(replace(desired, probes=(taken,)), check=False)
    assert caught.value.rule == "PORT-IN-USE"
    nothing_listens(running)


def test_a_gateway_that_no_run_could_change_is_stopped_before_its_key_goes(
    running: TwoCertificates,
) -> None:
    running.leak(running.certificate)
    outcome = running.remove_keys()
    assert [one.name for one in outcome.stopped] == ["dip"]
    nothing_listens(running)
    assert running.keys() == [OTHER]
    apply(running)
    assert is_open(running.second)


def test_a_damaged_undo_record_does_not_keep_the_key_in_service(running: TwoCertificates) -> None:
    running.leak(running.certificate)
    run_killed(running.desired(), "test")
    (running.root.parent / ".transaction/transaction.json").write_text("{}")
    with pytest.raises(HostError, match="its process was ended"):
        transaction.run(running.desired(), check=False)
    assert not is_open(running.ingress)


# --- killed -----------------------------------------------------------------------------------


class KilledAt(Transaction):
    def __init__(self, desired: transaction.Desired, step: str) -> None:
        super().__init__([desired])
        self._killed_at = step

    def _step(self, name: str, *changes: Change) -> None:
        super()._step(name, *changes)
        if name == self._killed_at:
            os.kill(os.getpid(), signal.SIGKILL)


def forked(work: Callable[[], object]) -> bool:
    """The work in a process of its own; whether a signal ended it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def run_killed(desired: transaction.Desired, step: str) -> None:
    def work() -> None:
        change = KilledAt(desired, step)
        change.compare()
        change.apply()

    assert forked(work), f"no step {step}"


@pytest.mark.parametrize("everything", [False, True], ids=["one listener out", "all out"])
def test_a_kill_at_any_step_is_made_good_and_never_brings_the_key_back(
    running: TwoCertificates, everything: bool
) -> None:
    steps = ["register undo", "write files", "switch links", "probe", "record", "close"]
    steps += ["stop"] if everything else ["test", "reload", "drain"]
    good, release = running.desired(), running.other_release
    for step in steps:
        running.other_release, running.with_release = release, True
        running.out_of_service = []
        Path(compromised.path(running.tls)).unlink(missing_ok=True)  # only a test may do that
        transaction.run(good, check=False)
        running.forget_all() if everything else running.leak(running.certificate)
        run_killed(running.desired(), step)
        apply(running)
        assert not is_open(running.ingress), step
        assert is_open(running.second) is not everything, step
    running.remove_keys()
    assert running.keys() == ([] if everything else [OTHER])


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("step", ["write files", "reload", "probe", "record"])
def test_a_failure_after_a_kill_does_not_go_back_to_the_key_either(
    running: TwoCertificates, step: str
) -> None:
    running.leak(running.certificate)
    run_killed(running.desired(), step)
    with pytest.raises(HostError, match="the gateway is stopped"):
        transaction.run(broken(running, "test"), check=False)
    nothing_listens(running)


def test_a_kill_between_any_two_file_changes_of_the_removal_is_made_good(
    running: TwoCertificates,
) -> None:
    """List, stop, keys, links: killed before each rename and unlink there is, one after another."""
    for number in range(1, 60):
        listed = running.leak(running.certificate)
        path = Path(compromised.path(running.tls))
        path.unlink()  # only a test may do that
        if not forked(lambda: removal(running, listed, number)):  # noqa: B023 - runs at once
            break
        if number % 5 == 0:
            # Whatever was killed: what is on the list serves nowhere once a run ends.
            out_of_service.run(running.tls, running.gateway_root, [listed], check=False)
            assert running.keys() == [OTHER]
            assert not is_open(running.ingress)
            running.stage_release(1, running.certificate)
            path.unlink()
            running.with_release, running.out_of_service = True, []
            apply(running)
    assert number > 8
    assert running.keys() == [OTHER]
    nothing_listens(running)


def removal(world: TwoCertificates, listed: Listed, number: int) -> None:
    left = number

    def fatal(real: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object, **options: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            real(*arguments, **options)

        return call

    os.rename, os.unlink = fatal(os.rename), fatal(os.unlink)  # type: ignore[assignment]
    out_of_service.run(world.tls, world.gateway_root, [listed], check=False)
