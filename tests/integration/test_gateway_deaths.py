# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of two gateways that share a certificate dies anywhere: what is served is whole.

Killed at its operations, cut off from power, out of room, on a file system that cannot be
written: the old pair or the new one is served, key and certificate below ``current`` belong
together, and the next run brings both gateways to what is wanted.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from gateways.products import HAPROXY, NGINX, Product
from integration.dying import Death, die
from integration.gateway_pair import Pair
from pki_host import files, processes, transaction
from pki_host.errors import HostError
from pki_host.transaction import Desired

pytestmark = pytest.mark.integration

# How many operations of a change are died at, of each product; 50 or more together. A few more
# are tried, as a run may have an operation less than the one that was counted.
DEATHS = {NGINX: 38, HAPROXY: 12}
MORE = 2
CUTS = {NGINX: 8, HAPROXY: 4}
_NEW_NAMESPACE = 0x00020000


class Renewing(Pair):
    """Goes back and forth between two releases, so that each change is a renewal."""

    def __init__(self, base: Path, product: Product) -> None:
        super().__init__(base, product)
        first = (self.release, self.certificate)
        self.renew(2)
        self._pairs = [first, (self.release, self.certificate)]
        self._turn = 0
        self.release, self.certificate = first

    def turn(self) -> list[Desired]:
        """What is wanted next: the other release."""
        self._turn = 1 - self._turn
        self.release, self.certificate = self._pairs[self._turn]
        return self.wanted()

    def all_arguments(self) -> list[dict[str, Any]]:
        entries = super().all_arguments()
        for entry in entries:
            # Asking a far end that is away takes seconds, and is not what dies here.
            entry["probes"] = [one for one in entry["probes"] if one["kind"] == "ingress"]
        return entries

    @property
    def leaves(self) -> set[str]:
        """Fingerprints of the old and the new leaf."""
        return {str(release["certificate_sha256"]) for release, _ in self._pairs}

    @property
    def wanted_leaf(self) -> str:
        return str(self.release["certificate_sha256"])

    def served(self) -> list[str]:
        """The leaf that each gateway proves to have the key of, in a handshake just made."""
        return [handshake(port) for port in (self.ingress, self.second)]

    def require_whole_pair(self) -> None:
        """Key and certificate in service belong together."""
        current = self.base / "tls/dip-nonprod/current"
        chain = x509.load_pem_x509_certificates((current / "fullchain.pem").read_bytes())
        key = serialization.load_pem_private_key((current / "key.pem").read_bytes(), None)
        assert chain[0].public_key() == key.public_key()

    def require_healed(self) -> None:
        """One more run brings both to what is wanted, and the one after has nothing to do."""
        self.apply()
        again = self.apply()
        assert again["changed"] is False, again["msg"]
        assert self.served() == [self.wanted_leaf] * 2
        self.require_whole_pair()
        left = [path for path in self.base.rglob("*") if path.name.startswith((".new-", ".link-"))]
        assert left == []


def handshake(port: int) -> str:
    """Raises OSError when the server does not prove that the key is its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain) as tls,
    ):
        return hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()


@contextlib.contextmanager
def asking(world: Renewing) -> Iterator[None]:
    """A client that connects to both gateways all the time; each must answer with a whole pair."""
    over = threading.Event()
    faults: list[str] = []
    seen: set[str] = set()

    def ask() -> None:
        while not over.is_set():
            for port in (world.ingress, world.second):
                try:
                    seen.add(handshake(port))
                except OSError as exc:
                    faults.append(f"{port}: {exc}")
            time.sleep(0.05)

    client = threading.Thread(target=ask)
    client.start()
    try:
        yield
    finally:
        over.set()
        client.join()
    assert faults == []
    assert seen <= world.leaves


@pytest.fixture(scope="module", params=[NGINX, HAPROXY], ids=str)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Renewing]:
    product: Product = request.param
    if product.missing and os.environ.get("CI") != "true":
        pytest.skip(f"not run: {product.name} - {product.missing}")
    world = Renewing(tmp_path_factory.mktemp("deaths"), product)
    try:
        world.apply()
        yield world
    finally:
        world.stop()


def change(wanted: list[Desired]) -> Callable[[], object]:
    return lambda: transaction.run_all(wanted, check=False)


def spread(total: int, count: int) -> list[int]:
    """So many numbers from 1 to ``total``, evenly."""
    return sorted({1 + index * (total - 1) // (count - 1) for index in range(count)})


def test_a_kill_at_any_operation_leaves_a_whole_pair_in_service_and_is_made_good(
    world: Renewing,
) -> None:
    for wanted in (world.turn(), world.turn()):
        # Here, so that children know both releases already and all do the same.
        transaction.run_all(wanted, check=False)
    operations = die(change(world.turn())).operations
    assert world.apply()["changed"] is False
    died = 0
    with asking(world):
        for at in spread(len(operations), DEATHS[world.product] + MORE):
            wanted = world.turn()
            death = die(change(wanted), at)
            died += death.killed
            links = {path: os.readlink(path) for one in wanted for path in one.links}
            assert len(links) == 3
            assert {*world.served()} <= world.leaves
            world.require_whole_pair()
            world.require_healed()
    assert died >= DEATHS[world.product], f"of {len(operations)} operations: {operations}"


def test_at_least_fifty_places_are_died_at() -> None:
    assert sum(DEATHS.values()) >= 50


def cut_power(world: Renewing, death: Death) -> None:
    """Every process of the gateways ends, and whatever was not on the disk is gone."""
    roots = [str(world.base / "gateway" / name) for name in ("dip", "second")]
    for process in processes.processes():
        opened = processes.open_files(process.pid) if process.pid != os.getpid() else []
        if any(path.startswith(f"{root}/") for path in opened for root in roots):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(processes.listening_inodes("127.0.0.1", port) for port in (world.ingress,)):
        assert time.monotonic() < deadline, "the gateway outlived the power cut"
        time.sleep(0.02)
    death.lose_what_was_not_synced()


def test_after_a_power_cut_a_boot_serves_a_whole_pair_and_the_next_run_heals(
    world: Renewing,
) -> None:
    below = f"{world.base}/"
    operations = die(change(world.turn()), below=below).operations
    # Just before something is synced most is at stake.
    syncs = [number for number, name in enumerate(operations, 1) if name == "fsync"]
    lost = 0
    for index in spread(len(syncs), CUTS[world.product]):
        death = die(change(world.turn()), syncs[index - 1], below)
        assert death.killed
        lost += len(death.pending)
        cut_power(world, death)
        world.require_whole_pair()
        for daemon in world.daemons():
            daemon.start()
        assert {*world.served()} <= world.leaves
        world.require_healed()
    assert lost > 0, "nothing was ever at stake, so nothing was shown"


# -- file systems that refuse ------------------------------------------------------------------


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def apart(work: Callable[[], None]) -> None:
    """Run ``work`` in a process with mounts of its own; its failure is the test's."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = ""
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NAMESPACE) != 0:
                said = "not permitted"
            else:
                mount("--make-rprivate", "/")
                work()
        except BaseException:
            said = traceback.format_exc()
        finally:
            os.write(writing, said[-60000:].encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        said = told.read().decode()
    os.waitpid(child, 0)
    if said == "not permitted" and os.environ.get("CI") != "true":
        pytest.skip("not run: this user may not have mounts of its own")
    assert not said, said


@pytest.fixture(params=[NGINX, HAPROXY], ids=str)
def product(request: pytest.FixtureRequest) -> Product:
    row: Product = request.param
    if row.missing and os.environ.get("CI") != "true":
        pytest.skip(f"not run: {row.name} - {row.missing}")
    return row


@contextlib.contextmanager
def on_a_file_system_of_its_own(base: Path, product: Product) -> Iterator[Renewing]:
    """Logs and process files are elsewhere, as they often are: they stay writable."""
    mount("-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", str(base))
    for name in ("dip", "second"):
        for own in ("log", "run"):
            files.make_directory(str(base / "gateway" / name / own))
            mount(
                "-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", str(base / "gateway" / name / own)
            )
    world = Renewing(base, product)
    try:
        world.apply()
        yield world
    finally:
        world.stop()


def eat(path: Path, leaving: int) -> None:
    """Fill the file system up to so many bytes."""
    free = os.statvfs(path.parent)
    with path.open("wb") as handle, contextlib.suppress(OSError):
        handle.write(bytes(max(free.f_bavail * free.f_bsize - leaving, 0)))


def refusal(world: Renewing) -> HostError | None:
    """What the change says when it fails, with the old pair still in service."""
    before = world.served()
    try:
        transaction.run_all(world.turn(), check=False)
    except HostError as exc:
        assert world.served() == before
        world.require_whole_pair()
        return exc
    return None


def test_a_full_disk_changes_nothing_and_is_named(tmp_path: Path, product: Product) -> None:
    def work() -> None:
        with on_a_file_system_of_its_own(tmp_path, product) as world:
            steps = []
            for pages in (0, 3, 6, 10, 15, 22, 40):
                eat(tmp_path / "eaten", pages * 4096)
                error = refusal(world)
                if error is None:
                    break
                steps.append(error.message)
                assert "No space left on device" in error.found, str(error)
                assert "make room" in error.next_step, str(error)
                assert "could not be brought back" not in error.message, str(error)
                (tmp_path / "eaten").unlink()
                world.require_healed()
            assert steps, "there was room for all of it from the beginning"
            assert error is None, "the change never fits"

    apart(work)


def test_a_file_system_that_cannot_be_written_is_named(tmp_path: Path, product: Product) -> None:
    def work() -> None:
        with on_a_file_system_of_its_own(tmp_path, product) as world:
            mount("-o", "remount,ro", str(tmp_path))
            error = refusal(world)
            assert error is not None
            assert "Read-only file system" in error.found, str(error)
            assert "writable" in error.next_step, str(error)
            mount("-o", "remount,rw", str(tmp_path))
            world.require_healed()

    apart(work)
