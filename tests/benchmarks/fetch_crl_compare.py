#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's fetch-crl and our refresh, both as programs, against one server that breaks on demand.

Both first install a good CRL (number 10); then the server does what the row says, where a right
answer would be a newer CRL (number 11), and both run once more. ``docs/crl_compared.md`` has the
table (``--write``); a test makes it again and compares all but the seconds. ``--long``: what a CRL
of a million entries costs them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests")]

from benchmarks.long_crl import cost
from cryptography import x509
from pki_host import crl_refresh
from pki_host.crl_watch import Authority, Direction, Known, Limits, Timer, TrustWatch, Watch
from unit import large_crl
from unit.broken_crl_server import OLD, REVOKED, BrokenCrlServer, Material, Pace

FETCH_CRL = "fetch-crl"
PAGE = ROOT / "docs" / "crl_compared.md"
TRUST = "dip"
#: What both may wait in all, for one address; seconds.
TOTAL = 3
LONG_TOTAL = 120
LIMITS = Limits(
    attempts=2,
    first_wait_seconds=0.2,
    wait_factor=2,
    longest_wait_seconds=1,
    timeout_seconds=2,
    total_seconds=TOTAL,
    largest_bytes=1_000_000,
    proxy="",
)


@dataclass(frozen=True)
class Row:
    """One thing that happens: what it is called, and the behaviour of each address in turn."""

    title: str
    behaviours: tuple[str, ...]


def row(title: str, *behaviours: str) -> Row:
    return Row(title, behaviours)


CLOSED = "closed port"
ROWS = (
    row("a newer CRL as DER", "der"),
    row("a newer CRL as PEM", "pem"),
    row("unchanged since the last poll", "conditional"),
    row("port closed", CLOSED),
    row("connection closed without an answer", "closes"),
    row("no byte after the connection", "stall_header"),
    row("half the CRL, then silence", "stall"),
    row("five bytes a second", "drip"),
    row("404", "not_found"),
    row("500, and then a good answer", "fails_then_good"),
    row("429 with Retry-After, then a good answer", "busy_then_good"),
    row("an HTML page with 200", "html"),
    row("an empty answer with 200", "empty"),
    row("cut short, Content-Length says so", "truncated"),
    row("Content-Length half of what is sent", "short_length"),
    row("Content-Length of 10 GB", "huge_length"),
    row("a body that never ends", "endless"),
    row("sent with gzip, unasked", "gzip"),
    row("one redirect", "redirect"),
    row("a redirect loop", "redirect_loop"),
    row("a redirect to ftp:", "redirect_ftp"),
    row("a redirect to file:", "redirect_file"),
    row("304, unasked", "not_modified"),
    row("another CA's CRL", "wrong_issuer"),
    row("signed with another key", "bad_signature"),
    row("signed with SHA-1", "sha1"),
    row("expired", "expired"),
    row("from the future", "future"),
    row("without nextUpdate", "no_end"),
    row("older thisUpdate and number", "older"),
    row("newer thisUpdate, older number", "older_number"),
    row("a delta CRL", "delta"),
    row("an indirect CRL", "indirect"),
    row("another partition (IDP)", "other_partition"),
    row("for CA certificates only (IDP)", "other_scope"),
    row("an unknown critical extension", "unknown_critical"),
    row("a serial left out again", "serial_gone"),
    row("first address closed, second one good", CLOSED, "der"),
    row("first address wrongly signed, second one good", "bad_signature", "der"),
)


@dataclass(frozen=True)
class Done:
    """How one run ended: the number in use, the exit code, and what it says (may be nothing)."""

    number: int
    before: int
    exit_code: int
    seconds: float
    why: str

    @property
    def cell(self) -> str:
        what = "installed" if self.number != self.before else "kept the old one"
        return f"{what}, exit {self.exit_code}" + (f": {self.why}" if self.why else "")


def number_of(path: Path) -> int:
    crl = x509.load_pem_x509_crl(path.read_bytes())
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def run(command: Sequence[str | Path]) -> tuple[int, float, str]:
    """Exit code, seconds and what was printed."""
    started = time.monotonic()
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, "LC_ALL": "C"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, time.monotonic() - started, done.stdout


class FetchCrl:
    """Debian's program with its own defaults but for the time limit."""

    def __init__(self, folder: Path, material: Material) -> None:
        self._folder = folder
        for name in ("info", "out", "state", "more"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "conf").write_text("")
        (folder / "info" / f"{TRUST}.pem").write_bytes(material.authority.pem)
        self._installed = folder / "out" / f"{TRUST}.0.crl.pem"

    def poll(self, urls: Sequence[str]) -> Done:
        before = number_of(self._installed) if self._installed.exists() else 0
        self.point_to(urls)
        code, seconds, text = run(self.command())
        return Done(number_of(self._installed), before, code, seconds, self._why(text))

    def point_to(self, urls: Sequence[str], _limits: Limits = LIMITS) -> None:
        text = "".join(f"{url}\n" for url in urls)
        (self._folder / "info" / f"{TRUST}.crl_url").write_text(text)

    def command(self, longest: int = TOTAL) -> list[str | Path]:
        folder = self._folder
        places = ["-l", folder / "info", "-s", folder / "state", "-o", folder / "out"]
        files = [FETCH_CRL, "-c", folder / "conf", "--cfgdir", folder / "more", *places]
        return [*files, "--format", "pem", "-T", str(longest)]

    @staticmethod
    def _why(text: str) -> str:
        """The line that says most: what failed to come, or what was wrong with it."""
        telling = r"Download error http\S+ |/0: (?!0$)|WARN (?=.* not recognised)|(?=OSSL::)"
        said = [re.split(telling, line, maxsplit=1)[1:] for line in text.splitlines()]
        plain = [line[0].replace(f" for {TRUST}/0", "").rstrip(",") for line in said if line]
        # Within its tolerance a failure to fetch is a warning.
        later = ["a warning for 24 h"] if "retry later" in text else []
        return "; ".join([*plain[:1], *later])


class Ours:
    """The program of the timer, on a host without a gateway."""

    def __init__(self, folder: Path, material: Material) -> None:
        self._root = folder / "pki-crl"
        self._root.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._material = material

    def poll(self, urls: Sequence[str]) -> Done:
        installed = self._root / TRUST / "current" / "crl.pem"
        before = number_of(installed) if installed.exists() else 0
        self.point_to(urls)
        code, seconds, text = self._run()
        assert installed.exists(), text
        return Done(number_of(installed), before, code, seconds, self._why())

    def point_to(self, urls: Sequence[str], limits: Limits = LIMITS) -> None:
        (self._root / "watch.json").write_bytes(self._watch(urls, limits).encode())

    def command(self, _longest: int = TOTAL) -> list[str | Path]:
        path = f"PYTHONPATH={ROOT / 'module_utils'}"
        program = [sys.executable, "-m", "pki_host.crl_refresh", "--root", self._root]
        return ["env", path, *program]

    def _run(self) -> tuple[int, float, str]:
        return run(self.command())

    def _why(self) -> str:
        status = json.loads((self._root / TRUST / "status.json").read_text())
        (authority,) = status["authorities"]
        said = [self._short(entry["why"]) for entry in authority["tries"] if entry["why"]]
        return "; ".join(said + [f"alarm: {one['what']} is gone" for one in status["vanished"]])

    @staticmethod
    def _short(why: str) -> str:
        """What was found, without what every such sentence begins and ends with."""
        wanted = r" \((?:[^()]|\([^()]*\))* is wanted\)$"
        why = re.sub(rf"^the CRL could not be fetched: |{wanted}", "", why)
        return why.replace("the CRL of Broken CA", "the CRL")

    def _watch(self, urls: Sequence[str], limits: Limits) -> Watch:
        ca = self._material.authority
        authority = Authority("Broken CA", ca.sha256, ca.pem.decode(), tuple(urls), "user")
        # A certificate whose serial the old CRL lists.
        after = (self._material.now + timedelta(days=200)).strftime("%Y-%m-%dT%H:%M:%SZ")
        listed = Known("a peer", "", "peer", REVOKED, ca.sha256, after, (), "")
        directions = {"ingress": Direction("refuse", 82740)}
        return Watch(
            trusts={TRUST: TrustWatch(TRUST, (authority,), directions, (listed,), 398)},
            fetch=limits,
            alarm_percents=(25, 50, 75),
            clock_tolerance_seconds=300,
            refresh=Timer(3600, 300, 60),
            guard_period_seconds=60,
            ocsp_period_seconds=86400,
            grace_longest_seconds=86400,
            gateway_root=str(self._folder / "gateway"),
            metrics_dir=str(self._folder / "metrics"),
        )


class OursHere(Ours):
    """The same without a process of its own: for a test that does not time it."""

    def _run(self) -> tuple[int, float, str]:
        return crl_refresh.main(["--root", str(self._root)]), 0.0, ""


@dataclass(frozen=True)
class Compared:
    """A row of the table."""

    row: Row
    theirs: Done
    ours: Done

    @property
    def cells(self) -> tuple[str, str, str]:
        return self.row.title, self.theirs.cell, self.ours.cell

    @property
    def line(self) -> str:
        title, theirs, ours = self.cells
        return (
            f"| {title} | {theirs} | {self.theirs.seconds:.1f} | {ours} | {self.ours.seconds:.1f} |"
        )


def version() -> str:
    """The version of the fetch-crl that is installed."""
    return run([FETCH_CRL, "--version"])[2].split()[-1]


def compare(ours: type[Ours] = Ours, workers: int = 6) -> list[Compared]:
    """Every row, a few at a time, each in directories of its own."""
    material = Material.made()
    with ThreadPoolExecutor(workers) as pool:
        theirs, mine = (_column(kind, material, pool) for kind in (FetchCrl, ours))
        return [Compared(*one) for one in zip(ROWS, theirs, mine, strict=True)]


def _column(
    kind: type[FetchCrl | Ours], material: Material, pool: ThreadPoolExecutor
) -> list[Done]:
    """What one program does in every row, beginning where it has installed the old CRL."""
    pace = Pace(endless_bytes_per_second=2_000_000)
    with (
        tempfile.TemporaryDirectory() as folder,
        BrokenCrlServer(material, pace).running() as server,
        _ftp() as (server.elsewhere, came),
    ):
        begun = Path(folder, "begun")
        first = kind(begun, material).poll([server.url("conditional")])
        assert (first.number, first.exit_code) == (OLD, 0), (kind, first)

        def once(number: int, row: Row) -> Done:
            place = Path(folder, str(number))
            shutil.copytree(begun, place, symlinks=True)
            urls = [_address(server, name) for name in row.behaviours]
            done = kind(place, material).poll(urls)
            ftp = ["it asked the ftp server"] if "redirect_ftp" in row.behaviours and came() else []
            words = [_the_same_each_time(done.why), *ftp] if done.why else ftp
            return replace(done, why="; ".join(words))

        return list(pool.map(once, range(len(ROWS)), ROWS))


def _address(server: BrokenCrlServer, behaviour: str) -> str:
    return "http://127.0.0.1:1/x.crl" if behaviour == CLOSED else server.url(behaviour)


@contextmanager
def _ftp() -> Iterator[tuple[str, Callable[[], bool]]]:
    """A port where an ftp server might be, and whether somebody has come."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)

        def came() -> bool:
            try:
                listener.accept()[0].close()
            except BlockingIOError:
                return False
            return True

        yield f"127.0.0.1:{listener.getsockname()[1]}", came


def _the_same_each_time(text: str) -> str:
    """Without ports and moments, and fit for a cell of a table."""
    text = re.sub(r"https?://127\.0\.0\.1:\d+", "", text)
    text = re.sub(r"127\.0\.0\.1(:| port )(?!1\b)\d+", "127.0.0.1", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+(Z|\+00:00)", "...", text)
    return text.replace("|", "/")


def table(compared: Sequence[Compared]) -> list[str]:
    head = f"| the server | fetch-crl {version()} | s | ours | s |"
    return [head, "| --- | --- | --- | --- | --- |", *(one.line for one in compared)]


def without_seconds(lines: Iterable[str]) -> list[str]:
    """Lines of the table without the two columns that differ from run to run."""
    return [" | ".join(line.split(" | ")[:2] + line.split(" | ")[3:4]) for line in lines]


def long() -> list[str]:
    """CPU seconds and memory of both for a CRL of a million entries: its first poll, and the next.

    Of the program with all the programs it starts; memory is that of the largest of them.
    """
    material = Material.made()
    lines = ["| a CRL of 1,000,000 entries | fetch-crl: CPU s | MB | ours: CPU s | MB |"]
    lines.append("| --- | --- | --- | --- | --- |")
    limits = replace(LIMITS, total_seconds=LONG_TOTAL, timeout_seconds=20, largest_bytes=1 << 27)
    with (
        tempfile.TemporaryDirectory() as folder,
        BrokenCrlServer(material).running() as server,
    ):
        when = material.now - timedelta(hours=2)
        entries = [large_crl.entry(large_crl.serial(n), when=when) for n in range(1_000_000)]
        server.publish("old", large_crl.crl(material.authority, entries, start=when, number=OLD))
        programs = [kind(Path(folder, kind.__name__), material) for kind in (FetchCrl, Ours)]
        for program in programs:
            program.point_to([server.url("conditional")], limits)
        for title in ("first poll", "next poll, unchanged"):
            costs = [cost(one.command(LONG_TOTAL), Path(folder)) for one in programs]
            cells = [f"{one.seconds:.1f} | {one.megabytes:.0f}" for one in costs]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def in_page() -> tuple[list[str], int, int]:
    """The lines of the page, and from where to where its table goes."""
    lines = PAGE.read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| the server |"))
    end = next(n for n, line in enumerate(lines) if n > start and not line.startswith("|"))
    return lines, start, end


def write(rows: Sequence[str]) -> None:
    lines, start, end = in_page()
    PAGE.write_text("\n".join([*lines[:start], *rows, *lines[end:]]) + "\n")


def main() -> int:
    if not shutil.which(FETCH_CRL):
        print(f"{FETCH_CRL} is not installed; next: apt-get install fetch-crl")
        return 1
    # One at a time, so that the seconds are those of the program.
    rows = long() if "--long" in sys.argv else table(compare(workers=1))
    if "--write" in sys.argv:
        write(rows)
    else:
        print("\n".join(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
