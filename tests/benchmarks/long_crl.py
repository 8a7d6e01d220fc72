# SPDX-License-Identifier: GPL-3.0-or-later
"""A CRL of a million entries, loaded, verified and searched: ours, OpenSSL's and pyHanko's way.

Each in a process of its own, so that its memory is told, too. ``python long_crl.py ours FOLDER``
is such a process; the others use the same files.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests")]

ENTRIES = 1_000_000
GOAL_SECONDS, GOAL_MEGABYTES = 3, 400
FILES = ("crl", "ca", "leaf", "listed")


@dataclass(frozen=True)
class Cost:
    """CPU seconds and the most memory (MB) of a finished process."""

    seconds: float
    megabytes: float


def cost(command: Sequence[str | Path], folder: Path) -> Cost:
    """Of one process that must succeed.

    A small process starts it: Linux counts the memory of whoever starts a program as its own.
    """
    launcher = [sys.executable, "-S", "-E", __file__, "launch", *command]
    done = subprocess.run(launcher, cwd=folder, check=True, stdout=subprocess.PIPE)
    seconds, kibibytes = done.stdout.split()[-2:]
    return Cost(float(seconds), int(kibibytes) * 1024 / 1e6)


def launch(command: Sequence[str]) -> None:
    """Run it and print its CPU seconds and the most memory it had, in KiB."""
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, used = os.wait4(pid, 0)
    if status:
        sys.exit(os.waitstatus_to_exitcode(status))
    print(used.ru_utime + used.ru_stime, used.ru_maxrss)


def files(folder: Path, entries: int) -> None:
    """A CRL of that many entries, its CA, and a certificate that is not and one that is on it."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
    from unit import large_crl
    from unit import pki_factory as factory

    ca = factory.authority("Long CA")
    content = {
        "crl": large_crl.large(ca, entries),
        "ca": ca.der,
        "leaf": ca.leaf(),
        "listed": ca.leaf(serial=large_crl.serial(entries - 1)),
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)
    (folder / "crl.pem").write_bytes(
        x509.load_der_x509_crl(content["crl"]).public_bytes(Encoding.PEM)
    )
    for name in ("ca", "leaf"):
        (folder / f"{name}.pem").write_bytes(factory.pem(content[name]))


def ours(folder: Path) -> None:
    """Load, verify, and ask for both certificates."""
    from pki import revocation
    from unit.pki_factory import NOW

    crl, ca, leaf, listed = ((folder / name).read_bytes() for name in FILES)
    parsed = revocation.Crl.parse(crl)
    found = [revocation.check([one, ca], [parsed], NOW)[0].verdict for one in (leaf, listed)]
    assert found == ["good", "revoked"], found


def pyhanko(folder: Path) -> None:
    """One path with the CRL, as the oracle of the suites asks."""
    from interop import oracles
    from unit.pki_factory import NOW

    crl, ca, leaf, _ = ((folder / name).read_bytes() for name in FILES)
    refusal = oracles.pyhanko(oracles.Question(leaf, (), ca, [crl], NOW))
    assert refusal == "", refusal


def report(line: Callable[[str, float, str, float], None], entries: int = ENTRIES) -> None:
    """Lines of the table: seconds and memory, beside both peers."""
    from unit.pki_factory import NOW

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files(folder, entries)
        own = [sys.executable, __file__]
        mine = cost([*own, "ours", folder], folder)
        openssl = ["openssl", "verify", "-crl_check", "-attime", str(int(NOW.timestamp()))]
        peers = {
            "openssl verify": cost(
                [*openssl, "-CAfile", "ca.pem", "-CRLfile", "crl.pem", "leaf.pem"], folder
            ),
            "pyhanko-certvalidator": cost([*own, "pyhanko", folder], folder),
        }
    for peer, theirs in peers.items():
        what = f"CRL of {entries} entries, start to verdict"
        line(f"{what} (s, goal {GOAL_SECONDS})", mine.seconds, peer, theirs.seconds)
        line(f"the same, most memory (MB, goal {GOAL_MEGABYTES})", mine.megabytes,
             f"{peer} (MB)", theirs.megabytes)  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1] == "launch":
        launch(sys.argv[2:])
    else:
        {"ours": ours, "pyhanko": pyhanko}[sys.argv[1]](Path(sys.argv[2]))
