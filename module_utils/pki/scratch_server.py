# SPDX-License-Identifier: GPL-3.0-or-later
"""A Vault or OpenBao server for the time of one drill, cut off from everything else.

It runs in the network namespace of the process that starts it and sees its own directory as the
whole file system: a restored storage knows audit devices, databases and leases of the real
server, and must reach none of them. It dies with that process. Unseal keys are handed over in
requests or through a pipe; no file of the drill, argument or environment has one.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import isolation, scratch_tls
from .errors import PkiError
from .vault_settings import Settings
from .vault_snapshots import SnapshotClient

RULE_PROGRAM = "DRILL-PROGRAM"
RULE_SEAL = "DRILL-SEAL"
RULE_SERVER = "DRILL-SERVER"
STATIC, SHAMIR = "static", "shamir"
# Nobody else is in its network namespace.
PORT, CLUSTER_PORT = 8200, 8201
KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
START_SECONDS = 60.0
# The server waits five seconds of its own accord before it reads a restored storage (measured).
OPEN_SECONDS = 90.0
_PAUSE = 0.1
# How long a reader of the pipe with the seal's key may take to see its end.
_BETWEEN_READERS = 0.5
_STATUS_NOT_STARTED = 126
_LOG_BYTES = 65_536
_ERROR = re.compile(r"\[ERROR\]|^Error")
# What follows from the error that matters.
_NOISE = re.compile(r"checking health|unlocking HA lock|raft-net")


@dataclass(frozen=True, slots=True)
class Seal:
    """How the snapshot's server is unsealed.

    ``kind``: ``shamir`` (``keys`` are shares of the unseal key) or ``static`` (one key, with the
    name ``key_id`` that the server's configuration gives it).
    """

    kind: str
    keys: tuple[bytes, ...] = field(repr=False)
    key_id: str = ""


def open_program(name: str, path: str) -> int:
    """A descriptor of the server's program; ``name`` is a path, or found along ``path``.

    Raises:
        PkiError: DRILL-PROGRAM without one, or for a script.
    """
    wanted = (name,) if name else ("bao", "vault")
    found = [one for text in wanted for one in _along(text, path)]
    for one in found:
        descriptor = os.open(one, os.O_RDONLY | os.O_CLOEXEC)
        if os.pread(descriptor, 4, 0) == b"\x7fELF":
            return descriptor
        os.close(descriptor)
    raise PkiError(
        "there is no server to restore the snapshot into",
        rule=RULE_PROGRAM,
        found=f"{found[0]}, which is no program but a script" if found else "nothing",
        expected="OpenBao's or Vault's own program, as its project releases it",
        where=name or "bao or vault along PATH",
        next_step="install it, or name it with backup_program; nothing was changed",
    )


def _along(name: str, path: str) -> list[str]:
    folders = [""] if "/" in name else path.split(":")
    places = (os.path.join(folder, name) for folder in folders)
    return [one for one in places if os.path.isfile(one) and os.access(one, os.X_OK)]


class ScratchServer:
    """One server below ``home``, which is private to its owner and empty.

    Only for a process that has left the network (:mod:`.isolation`) and has no threads yet.
    """

    def __init__(self, home: Path, program: int, seal: Seal) -> None:
        self._home = home
        self._root = home / "root"
        self._program = program
        self._seal = seal
        self._pid = 0
        self._token = ""
        self._cluster = ""

    @property
    def options(self) -> dict[str, str]:
        """What of a login's options is another here."""
        return {"address": f"https://127.0.0.1:{PORT}", "ca_cert": str(self._home / "ca.pem")}

    def start(self) -> None:
        """Start it, empty, and set it up; PkiError DRILL-PROGRAM or DRILL-SERVER."""
        self._root.mkdir(mode=0o700)
        (self._root / "data").mkdir(mode=0o700)
        (self._root / "tmp").mkdir(mode=0o700)
        scratch_tls.make(
            self._home / "ca.pem", self._root / "server.pem", self._root / "server.key"
        )
        (self._root / "server.hcl").write_text(self._configuration(), encoding="ascii")
        if self._seal.kind == STATIC:
            os.mkfifo(self._root / "seal.key", 0o600)
        self._run()
        if self._seal.kind == STATIC:
            threading.Thread(target=self._hand_over, daemon=True).start()
        self._wait(lambda told: told.get("initialized") is False, START_SECONDS)
        self._set_up()

    def restore(self, snapshot: Path) -> Mapping[str, Any]:
        """Replace its storage by the snapshot's and open that; the server's health then.

        Raises:
            PkiError: DRILL-SEAL when the keys do not open it.
        """
        with self._client() as client, snapshot.open("rb") as source:
            client.upload(source)
        opened = self._opened
        told = self._wait(lambda told: bool(told.get("sealed")) or opened(told), OPEN_SECONDS)
        sealed = bool(told.get("sealed"))
        if sealed and self._seal.kind == STATIC:
            raise self._does_not_open("the server sealed itself")
        if sealed:
            # A server that was sealed by a restore still counts shares as it was set up here
            # (measured): started again it reads from the restored storage how many it takes.
            self.stop(signal.SIGTERM)
            self._run()
            self._wait(lambda told: told.get("sealed") is True, START_SECONDS)
            self._unseal()
            told = self._wait(opened, OPEN_SECONDS)
        return told

    def stop(self, by: signal.Signals = signal.SIGKILL) -> None:
        """End it, whatever it is doing."""
        if self._pid:
            os.kill(self._pid, by)
            os.waitpid(self._pid, 0)
            self._pid = 0

    # Steps

    def _run(self) -> None:
        log = os.open(self._home / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                isolation.die_with(parent)
                for target, source in enumerate((null, log, log)):
                    os.dup2(source, target)
                arguments = ["server", "server", "-config=/server.hcl"]
                isolation.become(self._program, arguments, self._root)
            finally:
                os._exit(_STATUS_NOT_STARTED)
        os.close(log)
        os.close(null)

    def _hand_over(self) -> None:
        """Write the seal's key to whoever opens the pipe: the server, at its start."""
        while True:
            with (self._root / "seal.key").open("wb", buffering=0) as pipe:
                pipe.write(self._seal.keys[0])
            time.sleep(_BETWEEN_READERS)

    def _set_up(self) -> None:
        kind = "recovery" if self._seal.kind == STATIC else "secret"
        with self._client() as client:
            made = client.initialise({f"{kind}_shares": 1, f"{kind}_threshold": 1})
            self._token = str(made["root_token"])
            if self._seal.kind == SHAMIR:
                client.unseal(str(made["keys"][0]))
        told = self._wait(lambda told: told.get("sealed") is False and _active(told), START_SECONDS)
        self._cluster = str(told.get("cluster_id", ""))

    def _opened(self, told: Mapping[str, Any]) -> bool:
        """Whether it serves, and as another cluster than the one that was set up here."""
        return _active(told) and told.get("cluster_id") not in (None, "", self._cluster)

    def _unseal(self) -> None:
        with self._client() as client:
            told: Mapping[str, Any] = {}
            for key in self._seal.keys:
                try:
                    told = client.unseal(key.decode("ascii", "replace").strip())
                except PkiError as exc:
                    raise self._does_not_open(exc.found) from None
                if told.get("sealed") is False:
                    return
        wanted = f"{told.get('progress', 0)} of {told.get('t', 'unknown')} shares"
        raise self._does_not_open(wanted)

    # Looking

    def _client(self) -> SnapshotClient:
        # A word instead of the token that there is not yet: what is asked before needs none.
        settings = Settings.resolve(self.options, {"BAO_TOKEN": self._token or "none"})
        return SnapshotClient(replace(settings, patience=0.0))

    def _wait(self, good: Callable[[Mapping[str, Any]], bool], seconds: float) -> Mapping[str, Any]:
        """The server's health as soon as it is ``good``."""
        deadline, told = time.monotonic() + seconds, {}
        with self._client() as client:
            while time.monotonic() < deadline:
                self._must_live()
                try:
                    told = client.health()
                except PkiError:
                    # Not listening yet, or between two storages.
                    told = {}
                if told and good(told):
                    return told
                time.sleep(_PAUSE)
        raise self._broken(f"no answer as wanted within {seconds:.0f} s; the last was {told}")

    def _must_live(self) -> None:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if not pid:
            return
        self._pid = 0
        code = os.waitstatus_to_exitcode(status)
        if code != _STATUS_NOT_STARTED:
            raise self._broken(f"it ended with status {code}")
        raise PkiError(
            "the server's program could not be started apart from this machine's files",
            rule=RULE_PROGRAM,
            found="it needs libraries, or is made for another machine",
            expected="a program that is linked statically, as the projects release it",
            where="backup_program",
            next_step="name such a program with backup_program; nothing was changed",
        )

    def _broken(self, found: str) -> PkiError:
        return PkiError(
            "the scratch server did not do what it was started for",
            rule=RULE_SERVER,
            found=f"{found}; {self._last_words()}",
            expected="a server that starts and serves",
            where="the scratch server",
            next_step="restore the snapshot by hand into a server of the version that it was taken "
            "of, to see whether it is the snapshot; the real server was not asked",
        )

    def _does_not_open(self, found: str) -> PkiError:
        return PkiError(
            "the snapshot does not open with these unseal keys",
            rule=RULE_SEAL,
            found=f"{found}; {self._last_words()}",
            expected="the keys, and for a static seal the key's name, of the server that it was "
            "taken of",
            where="backup_unseal_key_files",
            next_step="get the keys of that time from those who keep them: without them "
            "this snapshot is worth nothing",
        )

    def _last_words(self) -> str:
        """The last error in the server's log: it quotes names and numbers, never a key."""
        with (self._home / "server.log").open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _LOG_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
        errors = [one for one in lines if _ERROR.search(one) and not _NOISE.search(one)]
        return f"its log: {errors[-1][:300]}" if errors else "its log names no error"

    def _configuration(self) -> str:
        seal = ""
        if self._seal.kind == STATIC:
            seal = (
                f'seal "static" {{\n  current_key_id = "{self._seal.key_id}"\n'
                '  current_key = "file:///seal.key"\n}\n'
            )
        return f"""\
api_addr = "https://127.0.0.1:{PORT}"
cluster_addr = "https://127.0.0.1:{CLUSTER_PORT}"
disable_mlock = true
storage "raft" {{
  path = "/data"
  node_id = "restore-drill"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{PORT}"
  cluster_address = "127.0.0.1:{CLUSTER_PORT}"
  tls_cert_file = "/server.pem"
  tls_key_file = "/server.key"
}}
{seal}"""


def _active(told: Mapping[str, Any]) -> bool:
    return told.get("sealed") is False and told.get("standby") is False
