# SPDX-License-Identifier: GPL-3.0-or-later
"""What a new CRL costs the gateway itself: CPU seconds and memory of the reload it causes.

A list of a million entries (30 MB) beside one of none, in the same running gateway. Memory is the
most that master and workers, old and new, have at once; pages that they share count once.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests")]

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from gateways.products import PRODUCTS
from integration import gateway_world
from integration.gateway_world import World
from pki_host import files, processes, transaction
from unit import large_crl
from unit.pki_factory import Authority

ENTRIES = 1_000_000
SETTLED = 2.0  # seconds; a worker that leaves goes on for a moment
SAMPLE = 0.05
TICKS = os.sysconf("SC_CLK_TCK")

Line = Callable[[str, float, str, float], None]


@dataclass(frozen=True)
class Cost:
    seconds: float
    megabytes: float


def family(master: int) -> list[int]:
    """The master and its workers."""
    return [master, *(one.pid for one in processes.processes() if one.parent == master)]


def spent(master: int) -> float:
    """CPU seconds of a master, of its workers, and of those that are gone."""
    total = 0
    for pid in family(master):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        own, ended = fields[11:13], fields[13:15]
        total += sum(map(int, own + (ended if pid == master else [])))
    return total / TICKS


def memory(master: int) -> float:
    """MB of a master and its workers now."""
    total = 0
    for pid in family(master):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it ended just now
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024 / 1e6


class Watch(threading.Thread):
    """The most memory of a gateway until it is told to stop."""

    def __init__(self, master: int) -> None:
        super().__init__(daemon=True)
        self.master, self.most, self.over = master, 0.0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(SAMPLE):
            self.most = max(self.most, memory(self.master))


def reload(world: World, text: str) -> Cost:
    """Of one reload with this file in force."""
    link = world.stage_crl_text(text)["link"]
    files.link(link["path"], link["target"])
    master = world.daemon().master()
    assert master is not None
    watch, before = Watch(master.pid), spent(master.pid)
    watch.start()
    world.daemon().reload()
    time.sleep(SETTLED)
    watch.over.set()
    watch.join()
    return Cost(spent(master.pid) - before, watch.most)


def long_list(world: World) -> str:
    """The same two CAs, the issuing one's list with a million entries."""
    issuing = Authority(world.authorities.issuing, gateway_world.key("issuing"))
    start = gateway_world.NOW.replace(tzinfo=None) - timedelta(hours=1)
    none = large_crl.crl(issuing, [], start=start)
    assert x509.load_der_x509_crl(none).is_signature_valid(issuing.private.public_key())
    entries = [large_crl.entry(large_crl.serial(number)) for number in range(ENTRIES)]
    made = x509.load_der_x509_crl(large_crl.crl(issuing, entries, start=start))
    return made.public_bytes(Encoding.PEM).decode() + world.authorities.crl("root")


def report(line: Line) -> None:
    for product in PRODUCTS:
        if product.missing:
            print(f"  not run: {product} - {product.missing}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            world = World(Path(folder), product)
            try:
                transaction.run(world.desired(), check=False)
                small = reload(
                    world, world.authorities.crl("issuing") + world.authorities.crl("root")
                )
                large = reload(world, long_list(world))
            finally:
                world.stop()
        line(f"{product}: reload with {ENTRIES:,} entries (s)", large.seconds,
             "with none", small.seconds)  # fmt: skip
        line("the same, most memory (MB)", large.megabytes, "with none (MB)", small.megabytes)


if __name__ == "__main__":
    report(lambda what, ours, peer, theirs: print(f"{what} {ours:.3f} {peer} {theirs:.3f}"))
