# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker that foreign bytes are judged in: killed alone, mute, and never left behind."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pki import supervised
from pki.errors import PkiError
from pki.supervised import Limits

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1 << 20
LIMITS = Limits(seconds=20, memory=512 * MEGABYTE)
HASTY = Limits(seconds=0.4, memory=512 * MEGABYTE)


class MoreError(PkiError):
    """A refusal that carries something besides its words."""

    def __init__(self, message: str, extra: tuple[bytes, ...]) -> None:
        super().__init__(message, rule="MORE")
        self.extra = extra


def refusal() -> PkiError:
    return PkiError(
        "it is wrong",
        rule="RULE",
        found="f",
        expected="e",
        where="w",
        next_step="n",
        also=[PkiError("that, too", rule="OTHER")],
    )


def raising(error: BaseException) -> Callable[[], object]:
    def work() -> object:
        raise error

    return work


def hang_in_native_code() -> object:
    """Hours, and the interpreter's lock is held all the time."""
    return re.match("(a+)+$", "a" * 60 + "b")


def fill_the_memory() -> object:
    return sum(len(block) for block in [bytes(64 * MEGABYTE) for _ in range(64)])


def call(work: Callable[[], object]) -> object:
    return work()


def answers(*items: Callable[[], object], limits: Limits = LIMITS) -> list[object]:
    return supervised.run(items, call, limits)


def refused(answer: object) -> PkiError:
    assert isinstance(answer, PkiError)
    return answer


# --- what comes back --------------------------------------------------------------------


def test_results_come_back_in_order_from_one_other_process() -> None:
    found = supervised.run(range(100), lambda number: (number, os.getpid()), LIMITS)
    assert [one[0] for one in found if isinstance(one, tuple)] == list(range(100))
    (worker,) = {one[1] for one in found if isinstance(one, tuple)}
    assert worker != os.getpid()


def test_nothing_to_do_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", raising(AssertionError()))
    assert supervised.run([], str, LIMITS) == []


def test_a_refusal_comes_back_whole_and_the_rest_goes_on() -> None:
    first, error, last = answers(lambda: 1, raising(refusal()), lambda: 3)
    assert (first, last) == (1, 3)
    assert refused(error).as_result() == refusal().as_result()
    assert refused(error).also[0].rule == "OTHER"


def test_a_refusal_of_a_kind_of_its_own_keeps_kind_and_what_it_carries() -> None:
    (error,) = answers(raising(MoreError("more", (b"a", b"b"))))
    assert isinstance(error, MoreError)
    assert (error.message, error.extra) == ("more", (b"a", b"b"))


def test_a_result_of_many_megabytes_passes() -> None:
    large = bytes(range(256)) * (40 * 4096)
    assert answers(lambda: large, lambda: 2) == [large, 2]


def test_what_cannot_be_sent_is_refused_and_the_rest_goes_on() -> None:
    error, last = answers(threading.Lock, lambda: 2)
    assert refused(error).rule == "REPLY-FAULT"
    assert last == 2


# --- what is stopped --------------------------------------------------------------------

STOPPED: dict[str, tuple[Callable[[], object], str]] = {
    "it waits": (lambda: time.sleep(600), "no verdict after 0.4 seconds"),
    "it computes in native code": (hang_in_native_code, "no verdict after 0.4 seconds"),
    "it is killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), "signal SIGKILL"),
    "it crashes": (lambda: ctypes.string_at(0), "signal SIGSEGV"),
    "it aborts": (os.abort, "signal SIGABRT"),
    "it leaves": (lambda: os._exit(0), "an exit of its own"),
    "it fills the memory": (fill_the_memory, "more than 512 MB"),
}


@pytest.mark.parametrize("name", STOPPED)
def test_a_judgement_that_ends_its_worker_is_refused_alone(name: str) -> None:
    work, found = STOPPED[name]
    first, error, *rest = answers(os.getpid, work, os.getpid, os.getpid, limits=HASTY)
    assert refused(error).rule == "REPLY-OVERRUN"
    assert found in refused(error).found
    assert all(refused(error).as_result()[part] for part in ("message", "expected", "next_step"))
    assert rest[0] == rest[1] != first, "the rest is one fresh worker's"


def test_every_item_may_be_stopped() -> None:
    found = answers(*[STOPPED["it is killed"][0]] * 5)
    assert [refused(one).rule for one in found] == ["REPLY-OVERRUN"] * 5


def test_the_limit_is_each_items_and_not_the_batchs() -> None:
    found = supervised.run(range(6), lambda number: time.sleep(0.15) or number, HASTY)
    assert found == list(range(6))


def test_a_worker_that_does_not_hear_its_alarm_is_killed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervised, "GRACE_SECONDS", 0.2)
    error, last = answers(lambda: os.kill(os.getpid(), signal.SIGSTOP), lambda: 2, limits=HASTY)
    assert refused(error).found == "no verdict after 0.4 seconds"
    assert last == 2


@pytest.mark.parametrize(
    "error", [ValueError("canary"), SystemExit("canary"), KeyboardInterrupt("canary")]
)
def test_an_exception_nobody_meant_is_told_by_type_and_place_and_not_by_its_text(
    error: BaseException,
) -> None:
    found, last = answers(raising(error), lambda: 2)
    assert last == 2
    assert refused(found).rule == "REPLY-FAULT"
    assert re.fullmatch(
        rf"{type(error).__name__} in test_supervised.py line \d+ \(work\)", refused(found).found
    )
    assert "canary" not in str(found)


def test_nonsense_on_the_pipe_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "_packed", lambda _: b"nonsense")
    found = answers(lambda: 1, lambda: 2)
    assert [refused(one).rule for one in found] == ["REPLY-OVERRUN"] * 2


def test_a_machine_that_starts_no_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fork", raising(BlockingIOError(11, "Resource unavailable")))
    before = open_files()
    with pytest.raises(PkiError) as caught:
        answers(lambda: 1)
    assert caught.value.found == "Resource unavailable"
    assert open_files() == before


# --- what is left behind ----------------------------------------------------------------


def open_files() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def test_nothing_is_left_of_a_worker_however_it_ended() -> None:
    before = open_files()
    for work, _ in STOPPED.values():
        answers(lambda: 1, work, limits=HASTY)
    answers(lambda: 1)
    assert open_files() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_an_interrupt_of_the_parent_ends_the_worker() -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupted)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            answers(lambda: time.sleep(600))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


PROGRAM = """
import os, signal, sys, threading, time
from pki import supervised

def hang():
    print(os.getpid(), file=worker, flush=True)
    time.sleep(600)

def shout():
    print("noise"); print("noise", file=sys.stderr)
    os.write(1, b"noise"); os.write(2, b"noise")
    return sys.stdin.fileno() == 0 and os.read(0, 10)

# Whoever starts the tests in the background may have them ignore interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
worker = open(sys.argv[1], "w")
print("before")
"""


def program(body: str, *arguments: str) -> list[str]:
    text = PROGRAM + textwrap.dedent(body)
    return [sys.executable, "-W", "error::DeprecationWarning", "-c", text, *arguments]


ENVIRONMENT = {"PYTHONPATH": str(ROOT / "module_utils"), "PATH": os.environ["PATH"]}


def test_a_worker_says_nothing_and_reads_nothing_of_its_parents(tmp_path: Path) -> None:
    body = """
    found = supervised.run([1], lambda _: shout(), supervised.Limits(20, 1 << 29))
    print(sys.stdin.read())
    sys.exit(found != [b""])
    """
    command = program(body, str(tmp_path / "worker"))
    done = subprocess.run(
        command, input="input", capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "before\ninput\n", "")


def test_threads_of_the_parent_make_no_warning_and_no_trouble(tmp_path: Path) -> None:
    body = """
    threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
    found = supervised.run([1, 2], str, supervised.Limits(20, 1 << 29))
    print(found)
    """
    command = program(body, str(tmp_path / "worker"))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert (done.stdout, done.stderr) == ("before\n['1', '2']\n", "")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_worker_dies_with_its_parent(tmp_path: Path, end: signal.Signals) -> None:
    note = tmp_path / "worker"
    body = "supervised.run([1], lambda _: hang(), supervised.Limits(600, 1 << 29))"
    with subprocess.Popen(
        program(body, str(note)), env=ENVIRONMENT, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as parent:  # fmt: skip
        try:
            worker = int(waited_for(lambda: note.exists() and note.read_text()))
            assert alive(worker)
            parent.send_signal(end)
            parent.wait(10)
        finally:
            parent.kill()
    waited_for(lambda: not alive(worker))


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped by its new parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def waited_for(what: Callable[[], object]) -> str:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        found = what()
        if found:
            return str(found)
        time.sleep(0.02)
    raise AssertionError("it did not come to pass within 10 seconds")


def test_a_worker_without_the_kernels_help_ends_at_its_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing tells a worker of its parent's death, no item lives longer than its limit."""
    note = tmp_path / "worker"
    body = """
    supervised._die_with = lambda parent: None
    supervised.run([1], lambda _: hang(), supervised.Limits(1, 1 << 29))
    """
    with subprocess.Popen(
        program(body, str(note)), env=ENVIRONMENT, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as parent:  # fmt: skip
        worker = int(waited_for(lambda: note.exists() and note.read_text()))
        parent.kill()
    waited_for(lambda: not alive(worker))


def test_handlers_of_the_parent_do_not_run_in_the_worker(tmp_path: Path) -> None:
    """A controller's handler kills its process group; in a worker it would run a second time."""
    heard: list[int] = []
    old = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        (error,) = answers(lambda: os.kill(os.getpid(), signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, old)
    assert "signal SIGTERM" in refused(error).found
    assert heard == []


def test_the_memory_of_a_worker_is_bounded_and_its_parents_is_not() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    (inside,) = answers(lambda: resource.getrlimit(resource.RLIMIT_AS))
    assert isinstance(inside, tuple)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    assert used < inside[0] < used + 2 * LIMITS.memory
