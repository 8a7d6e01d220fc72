#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callers of a gateway that count what becomes of every request, in a process of their own.

``load.py`` reads its settings as one JSON line from stdin and starts; ``count`` answers with the
number of new connections so far, ``stop`` with all outcomes. New connections are whole mTLS
handshakes, each with one request, TLS 1.2 and 1.3 in turn. Kept connections ask every few
milliseconds on one connection, and again on another when the gateway has ended it. What is lost
is a request that was sent and not answered.
"""

from __future__ import annotations

import http.client
import itertools
import json
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

OK = "ok"
# Together the callers stay below what a listener takes from one address, however fast it is.
PAUSE_SECONDS = 0.02
PERIOD_SECONDS = 0.04


@dataclass(frozen=True)
class Settings:
    """Whom to call, as whom; ``new`` and ``kept`` are numbers of callers at a time.

    ``timeout``: seconds that a caller waits for anything.
    """

    port: int
    root_ca: str
    client: str
    new: int
    kept: int
    timeout: float = 20.0


@dataclass(frozen=True)
class New:
    """One connection of its own: when it began (``time.time``), and what became of it."""

    began: float
    outcome: str
    leaf: str


@dataclass(frozen=True)
class Lost:
    """A request on a kept connection that got no answer; ``again`` is what its repetition got."""

    at: float
    identity: str
    outcome: str
    received: int
    again: str


@dataclass(frozen=True)
class Kept:
    """What the callers on kept connections saw."""

    answered: int
    connections: int
    lost: tuple[Lost, ...]
    failed: tuple[str, ...]


# -- one request -------------------------------------------------------------------------


def outcome_of(exc: Exception) -> str:
    """The failure as a caller tells it apart: each leads to something else."""
    if isinstance(exc, ConnectionRefusedError):
        return "refused"
    # Before SSLError, whose subclasses they are.
    if isinstance(exc, TimeoutError):
        return "timeout"
    if isinstance(exc, ssl.SSLEOFError | ssl.SSLZeroReturnError | http.client.RemoteDisconnected):
        return "closed"
    if isinstance(exc, ssl.SSLError):
        return f"alert {exc.reason}" if "ALERT" in str(exc.reason) else f"tls {exc.reason}"
    if isinstance(exc, ConnectionResetError | BrokenPipeError):
        return "reset"
    if isinstance(exc, http.client.IncompleteRead | http.client.BadStatusLine):
        return "cut off"
    return f"{type(exc).__name__}: {exc}"


def contexts(settings: Settings) -> list[ssl.SSLContext]:
    """One that speaks TLS 1.2 only, one that speaks TLS 1.3 only; neither resumes."""
    made = []
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context(cafile=settings.root_ca)
        context.check_hostname = False
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.load_cert_chain(settings.client)
        context.minimum_version = context.maximum_version = version
        made.append(context)
    return made


class Caller:
    """One connection to the gateway."""

    def __init__(self, settings: Settings, context: ssl.SSLContext) -> None:
        self._connection = http.client.HTTPSConnection(
            "127.0.0.1", settings.port, context=context, timeout=settings.timeout
        )
        self.leaf = ""

    def connect(self) -> None:
        self._connection.connect()
        der = self._connection.sock.getpeercert(binary_form=True)
        self.leaf = sha256(der or b"").hexdigest()

    def ask(self, identity: str, **headers: str) -> tuple[str, bool]:
        """The outcome, and whether the gateway keeps the connection."""
        self._connection.request("GET", "/", headers={"X-Request-Id": identity, **headers})
        # ssl takes a reset for an end without a word; the bare socket below it tells them apart.
        socket.socket.recv(self._connection.sock, 1, socket.MSG_PEEK)
        answer = self._connection.getresponse()
        answer.read()
        outcome = OK if answer.status == 200 else f"status {answer.status}"
        return outcome, not answer.will_close

    @property
    def was_ended(self) -> bool:
        """Whether the gateway has ended the kept connection. Nothing was asked, nothing is lost."""
        readable, _, _ = select.select([self._connection.sock], [], [], 0)
        return bool(readable)

    def close(self) -> None:
        self._connection.close()


# -- many --------------------------------------------------------------------------------


class Load:
    """All callers, from the start to :meth:`stop`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._contexts = contexts(settings)
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._guard = threading.Lock()
        self._new: list[New] = []
        self._answered = 0
        self.connections = 0
        self.lost: list[Lost] = []
        self.failed: list[str] = []
        targets = [self._call_anew] * settings.new + [self._keep_calling] * settings.kept
        self._threads = [threading.Thread(target=one, daemon=True) for one in targets]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def count(self) -> int:
        return len(self._new)

    def stop(self) -> dict[str, Any]:
        self._over.set()
        for thread in self._threads:
            thread.join(4 * self._settings.timeout)
        stuck = sum(thread.is_alive() for thread in self._threads)
        failed = [*self.failed, *["never came back"] * stuck]
        kept = Kept(self._answered, self.connections, tuple(self.lost), tuple(failed))
        return {"new": [asdict(one) for one in self._new], "kept": asdict(kept)}

    def _next(self) -> tuple[str, ssl.SSLContext]:
        with self._guard:
            number = next(self._numbers)
        return str(number), self._contexts[number % 2]

    def _call_anew(self) -> None:
        while not self._over.is_set():
            identity, context = self._next()
            began = time.time()
            caller = Caller(self._settings, context)
            try:
                caller.connect()
                outcome, _ = caller.ask(identity, Connection="close")
            except Exception as exc:
                outcome = outcome_of(exc)
            caller.close()
            self._new.append(New(began, outcome, caller.leaf))
            time.sleep(max(0.0, began + PERIOD_SECONDS - time.time()))

    def _keep_calling(self) -> None:
        while not self._over.is_set():
            _, context = self._next()
            caller = Caller(self._settings, context)
            try:
                caller.connect()
                self.connections += 1
                self._until_it_ends(caller)
            except Exception as exc:
                self.failed.append(outcome_of(exc))
                time.sleep(PAUSE_SECONDS)
            caller.close()

    def _until_it_ends(self, caller: Caller) -> None:
        first, kept = True, True
        while kept and not self._over.wait(PAUSE_SECONDS):
            if not first and caller.was_ended:
                return
            identity, context = self._next()
            try:
                outcome, kept = caller.ask(identity)
            except Exception as exc:
                if first:  # nothing was kept yet: this is a new connection that failed
                    raise
                # An answer that broke off says so; every other failure came before its first byte.
                received = int(isinstance(exc, http.client.IncompleteRead))
                again = self._once_more(identity, context)
                self.lost.append(Lost(time.time(), identity, outcome_of(exc), received, again))
                return
            first = False
            if outcome == OK:
                self._answered += 1
            else:
                self.failed.append(outcome)

    def _once_more(self, identity: str, context: ssl.SSLContext) -> str:
        caller = Caller(self._settings, context)
        try:
            caller.connect()
            return caller.ask(f"{identity} again", Connection="close")[0]
        except Exception as exc:
            return outcome_of(exc)
        finally:
            caller.close()


# -- the process, and who starts it ----------------------------------------------------------


@dataclass(frozen=True)
class Counted:
    """Everything that was seen."""

    new: tuple[New, ...]
    kept: Kept

    @property
    def failures(self) -> Counter[str]:
        return Counter(one.outcome for one in self.new if one.outcome != OK)

    @staticmethod
    def of(raw: Mapping[str, Any]) -> Counted:
        kept = raw["kept"]
        lost = tuple(Lost(**one) for one in kept["lost"])
        return Counted(
            tuple(New(**one) for one in raw["new"]),
            Kept(kept["answered"], kept["connections"], lost, tuple(kept["failed"])),
        )


class Callers:
    """The load as a child process; a context manager, so that none is left behind."""

    def __init__(self, settings: Settings) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._say(json.dumps(asdict(settings)))

    def __enter__(self) -> Callers:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.communicate()

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")

    def _ask(self, word: str) -> Any:
        assert self._process.stdout is not None
        self._say(word)
        return json.loads(self._process.stdout.readline())

    def wait_for(self, connections: int, seconds: float = 120) -> None:
        """Return when so many new connections are over."""
        deadline = time.monotonic() + seconds
        while self._ask("count") < connections:
            assert time.monotonic() < deadline, f"no {connections} connections in {seconds} s"
            time.sleep(0.05)

    def stop(self) -> Counted:
        return Counted.of(self._ask("stop"))


def main() -> None:
    load = Load(Settings(**json.loads(sys.stdin.readline())))
    load.start()
    for line in sys.stdin:
        stopped = line.strip() == "stop"
        print(json.dumps(load.stop() if stopped else load.count), flush=True)
        if stopped:
            return


if __name__ == "__main__":
    main()
