# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch of work on foreign bytes, in one forked worker that may be killed.

Parsers of hostile files can run for minutes, fill the memory or crash the interpreter, and
most of them hold the interpreter's lock meanwhile: no thread can stop them. A process can.
The worker goes through the items in order and sends each result back over a pipe. What runs
over its limits is killed, that item alone is refused, and a fresh worker takes up the rest.

The worker is a fork: it has everything its parent has, and is no sandbox. It guards against
what takes too long or too much, not against an attacker who runs code in it. Nothing crosses
but results, and they have to be plain values that can be pickled.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import resource
import select
import signal
import struct
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from .errors import PkiError

RULE_OVERRUN = "REPLY-OVERRUN"
RULE_FAULT = "REPLY-FAULT"
GRACE_SECONDS = 2.0  # for a worker that does not even hear its own alarm
_CHUNK = 1 << 20
_LENGTH = struct.Struct("!Q")
_PR_SET_PDEATHSIG = 1

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one item may use: ``seconds`` of wall clock, and ``memory`` in bytes.

    Memory is what the worker may take beyond what it begins with. It holds for a worker's
    whole life, so what earlier items left behind counts; a fresh worker begins anew.
    """

    seconds: float
    memory: int


@dataclass(frozen=True, slots=True)
class _Said:
    """One message of a worker: a result or a refusal, and whether it takes the next item."""

    value: Any
    error: PkiError | None
    goes_on: bool = True


def run(
    items: Sequence[Item], work: Callable[[Item], Result], limits: Limits
) -> list[Result | PkiError]:
    """``work(item)`` for each item, in order; a PkiError stands for what has no result.

    A PkiError that ``work`` raises is the item's. Whoever calls has no child and no open pipe
    left afterwards, whatever happens, and the worker dies when its parent does.

    Raises:
        PkiError: rule REPLY-OVERRUN; no worker could be started.
    """
    results: list[Result | PkiError] = []
    while len(results) < len(items):
        results += _worker_over(items[len(results) :], work, limits)
    return results


def _worker_over(
    items: Sequence[Item], work: Callable[[Item], Result], limits: Limits
) -> list[Result | PkiError]:
    """What one worker makes of the items before it ends; at least one answer."""
    reader, pid = _start(items, work, limits)
    said: list[_Said] = []
    ended: int | None = None
    try:
        stream = _Stream(reader)
        while len(said) < len(items) and (not said or said[-1].goes_on):
            message = stream.next(limits.seconds + GRACE_SECONDS)
            if message is None:
                ended = _end(pid, killed=stream.open)
                message = _Said(None, _overrun(stream.late, ended, limits), goes_on=False)
            said.append(message)
        return [one.value if one.error is None else one.error for one in said]
    finally:
        os.close(reader)
        if ended is None:
            _end(pid, killed=True)


def _start(
    items: Sequence[Item], work: Callable[[Item], Result], limits: Limits
) -> tuple[int, int]:
    """The pipe's reading end and the worker's process id."""
    parent = os.getpid()
    try:
        reader, writer = os.pipe()
    except OSError as exc:
        raise _no_worker(exc) from None
    try:
        with warnings.catch_warnings():
            # Python warns when a process with threads forks. Here the child goes into code of
            # ours that takes no lock of another thread, and leaves by _exit.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
    except OSError as exc:
        os.close(reader)
        os.close(writer)
        raise _no_worker(exc) from None
    if pid == 0:
        _be_worker(parent, reader, writer, items, work, limits)
    os.close(writer)
    return reader, pid


def _end(pid: int, *, killed: bool) -> int:
    """Reap the worker, and the wait status it ended with; 0 if somebody else has reaped it."""
    if killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return 0


class _Stream:
    """A worker's messages. ``late`` says that one did not come in time; ``open``, that the
    worker still holds its end."""

    def __init__(self, reader: int) -> None:
        self._reader = reader
        self._buffer = bytearray()
        self._poll = select.poll()
        self._poll.register(reader, select.POLLIN)
        self.late = False
        self.open = True

    def next(self, seconds: float) -> _Said | None:
        """The next message; None when the worker has ended, is late or speaks nonsense."""
        deadline = time.monotonic() + seconds
        if not self._filled(_LENGTH.size, deadline):
            return None
        (size,) = _LENGTH.unpack_from(self._buffer)
        if not self._filled(_LENGTH.size + size, deadline):
            return None
        message = bytes(self._buffer[_LENGTH.size : _LENGTH.size + size])
        del self._buffer[: _LENGTH.size + size]
        try:
            said = pickle.loads(message)  # what our own fork wrote
        except Exception:
            return None
        return said if isinstance(said, _Said) else None

    def _filled(self, wanted: int, deadline: float) -> bool:
        while len(self._buffer) < wanted:
            left = deadline - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                self.late = True
                return False
            found = os.read(self._reader, _CHUNK)
            if not found:
                self.open = False
                return False
            self._buffer += found
        return True


# --- the worker -------------------------------------------------------------------------


def _be_worker(
    parent: int,
    reader: int,
    writer: int,
    items: Sequence[Item],
    work: Callable[[Item], Result],
    limits: Limits,
) -> NoReturn:
    """The whole life of a worker. It never comes back: above it stands its parent's code."""
    try:
        os.close(reader)
        _settle(parent, limits)
        for item in items:
            if not _one(item, work, writer, limits):
                break
        os._exit(0)
    except BaseException:
        os._exit(1)
    finally:
        os._exit(1)


def _settle(parent: int, limits: Limits) -> None:
    """Mute, bounded, deaf to what its parent's handlers were for, and dead with its parent."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    # A crash is told by the parent; a trace of the interpreter's would go to its parent's stderr.
    faulthandler.disable()
    # An interrupt reaches the whole process group; the parent ends the worker then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    _die_with(parent)
    _bound(resource.RLIMIT_CORE, 0)
    used = _address_space()
    if used:
        _bound(resource.RLIMIT_AS, used + limits.memory)


def _die_with(parent: int) -> None:
    """Ask the kernel to kill the worker when its parent is gone.

    Where it cannot be asked, the alarm of the item and a pipe that nobody reads end it.
    """
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _bound(what: int, limit: int) -> None:
    """Lower a limit of this process; one that is lower already stays."""
    with contextlib.suppress(ValueError, OSError):
        soft, hard = resource.getrlimit(what)
        lower = [one for one in (soft, hard) if one != resource.RLIM_INFINITY]
        resource.setrlimit(what, (min([limit, *lower]), hard))


def _address_space() -> int:
    """Bytes of address space in use; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as stream:
            return int(stream.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def _one(item: Item, work: Callable[[Item], Result], writer: int, limits: Limits) -> bool:
    """Do one item and send what came of it; whether the worker is fit for another."""
    # The default action of the alarm kills at once, also inside native code.
    signal.setitimer(signal.ITIMER_REAL, limits.seconds)
    said, message = _done(item, work, limits)
    signal.setitimer(signal.ITIMER_REAL, 0)
    _send(writer, message)
    return said.goes_on


def _done(item: Item, work: Callable[[Item], Result], limits: Limits) -> tuple[_Said, bytes]:
    try:
        said = _Said(work(item), None)
        return said, _packed(said)
    except PkiError as exc:
        said = _Said(None, exc)
    except MemoryError:
        # What is left of the memory is anybody's guess: the next item gets a fresh worker.
        said = _Said(None, _too_much(limits), goes_on=False)
    except BaseException as exc:
        # Also what is no Exception, such as a panic in a native library.
        said = _Said(None, _fault(exc), goes_on=isinstance(exc, Exception))
    return said, _packed(said)


def _packed(said: _Said) -> bytes:
    return pickle.dumps(said, protocol=pickle.HIGHEST_PROTOCOL)


def _send(writer: int, message: bytes) -> None:
    rest = memoryview(_LENGTH.pack(len(message)) + message)
    while rest:
        rest = rest[os.write(writer, rest) :]


# --- words ------------------------------------------------------------------------------


def _overrun(late: bool, status: int, limits: Limits) -> PkiError:
    """Why the worker ended in the middle of an item."""
    signalled = os.WIFSIGNALED(status)
    if late or (signalled and os.WTERMSIG(status) == signal.SIGALRM):
        return PkiError(
            "the judgement took too long and was stopped",
            rule=RULE_OVERRUN,
            found=f"no verdict after {limits.seconds:g} seconds",
            expected=f"a verdict within {limits.seconds:g} seconds",
            next_step="look at the reply: an ordinary one takes milliseconds; ask the CA for the "
            "certificate as a plain PEM file; nothing was changed",
        )
    end = f"signal {_signal_name(os.WTERMSIG(status))}" if signalled else "an exit of its own"
    return PkiError(
        "the judgement ended the process that did it",
        rule=RULE_OVERRUN,
        found=f"the process ended by {end}",
        expected="a verdict",
        next_step="look at the reply, and whether this machine has memory left; ask the CA for "
        "the certificate as a plain PEM file; nothing was changed",
    )


def _too_much(limits: Limits) -> PkiError:
    megabytes = limits.memory // (1 << 20)
    return PkiError(
        "the judgement needed too much memory and was stopped",
        rule=RULE_OVERRUN,
        found=f"more than {megabytes} MB",
        expected=f"at most {megabytes} MB",
        next_step="look at the reply: an ordinary one has a few kilobytes; ask the CA for the "
        "certificate as a plain PEM file; nothing was changed",
    )


def _fault(exc: BaseException) -> PkiError:
    """An exception that nobody meant: its type and place, never its text."""
    trace, place = exc.__traceback__, "nowhere"
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{os.path.basename(code.co_filename)} line {trace.tb_lineno} ({code.co_name})"
        trace = trace.tb_next
    return PkiError(
        "the judgement failed by a fault of this program",
        rule=RULE_FAULT,
        found=f"{type(exc).__name__} in {place}",
        expected="a verdict",
        next_step="report this place with the reply, if it may be shown; nothing was changed",
    )


def _no_worker(exc: OSError) -> PkiError:
    return PkiError(
        "no process could be started to judge the replies in",
        rule=RULE_OVERRUN,
        found=exc.strerror or type(exc).__name__,
        expected="one more process on this machine",
        next_step="free memory, or allow more processes, and run again; nothing was changed",
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
