# SPDX-License-Identifier: GPL-3.0-or-later
"""Many keys and requests in one run: made side by side, each standing alone.

The server makes a key in seconds and does little else meanwhile, so a few calls are kept in
flight. What a certificate needs is done in one thread from its key to its files: whoever kills
the run loses nothing that was made, and one certificate's failure is its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from . import key_place, plain_files, public_state, request_stage, trail, vault_ids
from .errors import PkiError
from .history import Committed
from .keystores import Stores
from .lifecycle import Kind
from .request_stage import Written
from .session import Inputs
from .stores.base import KeyRecord

#: The connections that a client keeps; more threads would only wait for the server.
MOST_THREADS = 64
#: Failures that are the server's, not a certificate's.
SERVER_FAULTS = frozenset(
    {
        "VAULT-CREDENTIALS",
        "VAULT-LOGIN",
        "VAULT-NO-LEADER",
        "VAULT-SEALED",
        "VAULT-TIMEOUT",
        "VAULT-TLS",
        "VAULT-TOKEN",
        "VAULT-UNAVAILABLE",
        "VAULT-UNINITIALISED",
        "VAULT-UNREACHABLE",
    }
)
FILES = ("request.csr", "submission.txt", "request.yml")
MADE, PRESENT, FORESEEN = "made", "present", "would be made"

Tell = Callable[[str], None]


def silent(_line: str) -> None:
    """Nobody is told."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A version whose request is wanted. ``new``: the plan saw no key for it."""

    certificate: str
    version: int
    new: bool


@dataclass(frozen=True, slots=True)
class Done:
    """A request that was, or in check mode would be, written.

    Attributes:
        key: what is with its key: ``made``, ``present`` or ``would be made``.
        files: those that were missing or different, in the order they are written.
        before, after: their bytes. ``after`` is empty where there is no key yet to sign with.
    """

    certificate: str
    version: int
    directory: Path
    key: str
    files: tuple[str, ...]
    before: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    after: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def changed(self) -> bool:
        return bool(self.files) or self.key != PRESENT

    def as_result(self) -> dict[str, Any]:
        return {
            "certificate": self.certificate,
            "version": self.version,
            "directory": str(self.directory),
            "key": self.key,
            "files": list(self.files),
        }

    def sentence(self) -> str:
        text = f"{self.certificate} v{self.version}: key {self.key}"
        if self.files:
            return f"{text}; commit {self.directory} and submit the request"
        return f"{text}; request unchanged"

    def diff(self) -> dict[str, str]:
        """The public files; what a new key would sign cannot be shown before there is one."""
        header = f"{self.certificate} v{self.version}"
        if self.key == FORESEEN:
            after = "\n".join((f"a new key, and for {header}:", *self.files, ""))
        else:
            after = "".join(self.after[name].decode() for name in self.files)
        before = "".join(self.before[name].decode(errors="replace") for name in self.before)
        return {"before_header": header, "after_header": header, "before": before, "after": after}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A certificate that got no request, and why."""

    certificate: str
    version: int
    error: PkiError

    def as_result(self) -> dict[str, Any]:
        return {
            "certificate": self.certificate,
            "version": self.version,
            "error": self.error.as_result(),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of every wish, in the order of the wishes."""

    done: tuple[Done, ...]
    refused: tuple[Refusal, ...]
    #: What was made and written, for the audit trail; of refused ones, too.
    trail: tuple[dict[str, Any], ...] = ()


def wishes(
    inputs: Inputs, actions: Iterable[Mapping[str, Any]], host: str = ""
) -> tuple[Wish, ...]:
    """The plan's actions that are done here, each version once: those of keys in transit, or with
    ``host`` those of keys that this host makes and keeps.

    Those of devices are never done by us.
    """
    mine = (key_place.HOST, host) if host else (key_place.TRANSIT, "")
    kinds = (Kind.CREATE_KEY.value, Kind.WRITE_REQUEST.value)
    found: dict[tuple[str, int], bool] = {}
    for action in actions:
        name, version = str(action["certificate"]), int(action["version"])
        if action["kind"] in kinds and _place(inputs, name) == mine:
            new = action["kind"] == Kind.CREATE_KEY.value
            found[name, version] = found.get((name, version), False) or new
    return tuple(Wish(name, version, new) for (name, version), new in found.items())


def _place(inputs: Inputs, name: str) -> tuple[str, str]:
    """Where a certificate's key is made: the store, and the host if it is one's own."""
    certificate = inputs.declared.certificates.get(name)
    if certificate is not None:
        at = certificate.host if certificate.store == key_place.HOST else ""
        return certificate.store, at
    raise PkiError(
        f"{name}: an action names a certificate that is not declared",
        rule="OPTION",
        found=name,
        expected="actions of a plan of this inventory",
        where="option actions",
        next_step="plan again and hand its actions on as they are",
    )


def threads_wanted(number: int) -> int:
    """The option as a number of threads; PkiError OPTION when it is none."""
    if 1 <= number <= MOST_THREADS:
        return number
    raise PkiError(
        "the number of calls in flight is not usable",
        rule="OPTION",
        found=str(number),
        expected=f"1 to {MOST_THREADS}; at most twice the cores of the server",
        where="option concurrency",
        next_step="correct the option and run again; nothing was changed",
    )


class Batch:
    """The work on all wishes of a run.

    Args:
        known: what was committed before, for keys that must not come back.
        check: foresee everything and change nothing.
        tell: gets a line for every key that was to be made, as soon as it is there.
    """

    def __init__(
        self,
        inputs: Inputs,
        stores: Stores,
        known: Committed,
        *,
        check: bool = False,
        tell: Tell = silent,
    ) -> None:
        self._inputs = inputs
        self._stores = stores
        self._known = known
        self._check = check
        self._tell = tell
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._told = 0
        self._failed_in_a_row = 0
        self._fault: PkiError | None = None
        self._happened: dict[Wish, list[dict[str, Any]]] = {}

    def run(self, wanted: Sequence[Wish], threads: int) -> Outcome:
        """Everything that is wanted, ``threads`` at a time.

        An exception that is no PkiError is a fault of ours: it is raised when all others
        are done.
        """
        self._begun = time.monotonic()
        keys = sum(wish.new for wish in wanted)

        def one(wish: Wish) -> Done | Refusal:
            result = self._attempt(wish, threads)
            self._count(wish, result, keys)
            return result

        for wish in wanted:  # stores are made here: threads only look them up
            self._stores.of(self._inputs.declared.certificates[wish.certificate])
        if threads == 1:  # an action's task runs on a host, and cannot do so from a thread
            return self._outcome(wanted, [one(wish) for wish in wanted])
        pool = ThreadPoolExecutor(max_workers=threads)
        futures = [pool.submit(one, wish) for wish in wanted]
        try:
            results = [future.result() for future in futures]
        except Exception:
            pool.shutdown(wait=True)
            raise
        except BaseException:  # somebody wants to stop: begin nothing more
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
        return self._outcome(wanted, results)

    def _outcome(self, wanted: Sequence[Wish], results: Sequence[Done | Refusal]) -> Outcome:
        return Outcome(
            done=tuple(one for one in results if isinstance(one, Done)),
            refused=tuple(one for one in results if isinstance(one, Refusal)),
            trail=tuple(told for wish in wanted for told in self._happened.get(wish, ())),
        )

    def _attempt(self, wish: Wish, threads: int) -> Done | Refusal:
        if self._fault is not None:
            return Refusal(wish.certificate, wish.version, _not_tried(wish, self._fault))
        try:
            done = self._carry_out(wish)
        except PkiError as error:
            self._note(error, threads)
            return Refusal(wish.certificate, wish.version, error)
        self._note(None, threads)
        return done

    def _note(self, error: PkiError | None, threads: int) -> None:
        """Begin nothing more when the server failed every thread: each would wait in vain."""
        with self._lock:
            if error is None or error.rule not in SERVER_FAULTS:
                self._failed_in_a_row = 0
                return
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= max(threads, 2):
                self._fault = error

    def _count(self, wish: Wish, result: Done | Refusal, keys: int) -> None:
        if not wish.new:
            return
        if isinstance(result, Refusal):
            what = f"refused ({result.error.rule})"
        else:
            what = f"key {result.key}"
        with self._lock:
            self._told += 1
            seconds = time.monotonic() - self._begun
            self._tell(f"{wish.certificate}: {what}, {self._told} of {keys}, {seconds:.0f} s")

    def _carry_out(self, wish: Wish) -> Done:
        certificate = self._inputs.declared.certificates[wish.certificate]
        store = self._stores.of(certificate)
        record = store.foresee(certificate.key_name, wish.version)
        made = record is None
        if record is None and self._check:
            folder = self._inputs.certificates_dir / wish.certificate / str(wish.version)
            return Done(wish.certificate, wish.version, folder, FORESEEN, FILES)
        happened = self._happened.setdefault(wish, [])
        if record is None:
            with vault_ids.noted() as ids:
                record = store.ensure(certificate.key_name, wish.version)
            happened.append(_key_made(wish, record, ids))
        with vault_ids.noted() as ids:
            written = request_stage.build(
                certificate,
                self._inputs.policy_of(wish.certificate),
                store,
                record,
                wish.version,
                self._inputs.certificates_dir,
                self._known.before(wish.certificate, wish.version),
            )
        before = _there(written)
        if written.missing and not self._check:
            public_state.write(written.directory, written.contents)
            happened.append(written.as_event("request written", ids))
        return Done(
            wish.certificate,
            wish.version,
            written.directory,
            MADE if made else PRESENT,
            tuple(written.missing),
            before,
            {name: written.contents[name] for name in written.missing},
        )


def _key_made(wish: Wish, record: KeyRecord, ids: Sequence[str]) -> dict[str, Any]:
    digest = sha256(record.versions[wish.version].spki_der).hexdigest()
    artefacts = {"public key": digest}
    return trail.event("key made", wish.certificate, wish.version, artefacts, vault=ids)


def _there(written: Written) -> dict[str, bytes]:
    """The files that are about to be replaced, as they are."""
    found = {}
    for name in written.missing:
        try:
            found[name] = plain_files.read(written.directory / name, public_state.MAXIMUM_BYTES)
        except OSError:
            continue
    return found


def _not_tried(wish: Wish, fault: PkiError) -> PkiError:
    return PkiError(
        f"{wish.certificate}: not tried, as the key server failed the certificates before it",
        rule=fault.rule,
        found=f"{fault.message}: {fault.found}",
        expected=fault.expected,
        where=fault.where,
        next_step=fault.next_step,
    )
