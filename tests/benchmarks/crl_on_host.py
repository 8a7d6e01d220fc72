# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs as a host reads them: a million entries (30 MB), and a worst-case public shard of 70 MB.

Ours is all that a poll costs: read, index, verify, compare with the former list, name what is
gone, write PEM. The peer, ``openssl crl -noout``, parses the same file and does nothing with it.
``python crl_on_host.py ours FOLDER`` is the process that is measured; what it starts counts, too.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests")]

GOAL_SECONDS, GOAL_MEGABYTES = 5, 150
LONGEST_DAYS = 398
MORE = 1000  # entries that only the former list, and only the new one, has


@dataclass(frozen=True)
class Size:
    """A list of that many entries; every one with a reason or none."""

    name: str
    entries: int
    reasons: bool
    goal_seconds: int | None


SIZES = (
    Size("1,000,000 entries", 1_000_000, False, GOAL_SECONDS),
    Size("a shard of 70 MB", 1_666_000, True, None),
)


def files(folder: Path, size: Size) -> None:
    """The new list, the former one with its index, and the CA."""
    from pki_host import crl_der
    from unit import large_crl
    from unit import pki_factory as factory

    ca = factory.authority("Long CA")
    more = large_crl.reason(1) if size.reasons else b""
    entries = [large_crl.entry(large_crl.serial(one), more) for one in range(size.entries + MORE)]
    (folder / "old.der").write_bytes(large_crl.crl(ca, entries[:-MORE], number=1))
    (folder / "new.der").write_bytes(large_crl.crl(ca, entries[MORE:], number=2))
    (folder / "ca.pem").write_bytes(ca.pem)
    crl_der.read(str(folder / "old.der"), str(folder / "old.index"))


def ours(folder: Path) -> None:
    """One poll of a host, without the transfer."""
    from pki_host import crl_der, crl_index, crl_judge, crl_pem, crl_watch

    old, new = str(folder / "old.der"), str(folder / "new.der")
    pem = (folder / "ca.pem").read_text()
    crl_pem.to_der(new, str(folder / "taken.der"), 2**30)
    facts = crl_der.read(new, str(folder / "new.index"))
    authority = crl_watch.Authority("Long CA", "", pem, (), "user")
    now = facts.this_update + 1.0
    crl_judge.judge(new, facts, authority, source="controller", now=now, previous=None)
    difference = crl_index.difference(str(folder / "old.index"), str(folder / "new.index"))
    gone = crl_index.classify(old, difference, (), "", LONGEST_DAYS, now)
    assert (difference.added, difference.removed, gone.uncertain) == (MORE, MORE, MORE)
    with open(folder / "crl.pem", "wb") as out:
        crl_pem.append_pem(new, out)


def report(line: Callable[[str, float, str, float], None]) -> None:
    """Lines of the table: seconds and memory for each size, beside the peer."""
    from benchmarks.long_crl import cost

    own = [sys.executable, __file__, "ours"]
    peer = "openssl crl -noout"
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            files(folder, size)
            theirs = cost([*peer.split(), "-inform", "DER", "-in", "new.der"], folder)
            mine = cost([*own, folder], folder)
        goal = f", goal {size.goal_seconds}" if size.goal_seconds else ""
        line(f"host: CRL, {size.name}, one poll (s{goal})", mine.seconds, peer, theirs.seconds)
        line(f"the same, most memory (MB, goal {GOAL_MEGABYTES})", mine.megabytes,
             f"{peer} (MB)", theirs.megabytes)  # fmt: skip


if __name__ == "__main__":
    ours(Path(sys.argv[2]))
