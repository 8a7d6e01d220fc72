#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A long run of changed inputs against everything that judges certificates (``make fuzz``).

A worker process takes the inputs; the one that starts it watches its time and starts another
when it dies or overruns. Everything is counted: doors and outcomes, the slowest input, the peak
of memory. What raises anything but a PkiError, accepts what nobody signed, overruns or dies is a
finding: the input is kept, and the run ends with status 1. State is kept after every portion,
so that a run can be stopped and goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import platform
import resource
import signal
import struct
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests")]

from adversarial import fuzz_world  # noqa: E402
from pki.errors import PkiError  # noqa: E402

PORTION = 1000
SECONDS = 5.0  # CPU, for one input of at most a megabyte
PATIENCE = 60.0  # seconds without a next input before the worker is killed
MEMORY_MB = 2048
_PACKAGES = ("cryptography", "cryptography_vectors")


@dataclass
class State:
    """How far a run is and what it saw; kept as JSON."""

    seed: int
    done: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    slowest: dict[str, Any] = field(default_factory=lambda: {"seconds": 0.0})
    cpu_seconds: float = 0.0
    peak_mb: int = 0
    octets: int = 0
    findings: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: dict[str, Any]) -> None:
        for name in ("outcomes", "kinds", "warnings"):
            total = Counter(getattr(self, name))
            total.update(other[name])
            setattr(self, name, dict(sorted(total.items())))
        if other["slowest"]["seconds"] > self.slowest["seconds"]:
            self.slowest = other["slowest"]
        self.cpu_seconds += other["cpu_seconds"]
        self.peak_mb = max(self.peak_mb, other["peak_mb"])
        self.octets += other["octets"]
        self.findings += other["findings"]


def portion(world: fuzz_world.World, seed: int, start: int, end: int, progress: mmap.mmap) -> Any:
    """Judge the inputs ``start`` to ``end`` and tell what happened, as plain values."""
    seen = State(seed)
    outcomes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(start, end):
            progress[:8] = struct.pack("<q", number)
            attempt = world.attempt(seed, number)
            kinds[attempt.how.split(", then")[0]] += 1
            seen.octets += sum(map(len, attempt.data))
            before = time.process_time()
            outcome, trace = _outcome(world, attempt)
            seconds = time.process_time() - before
            seen.cpu_seconds += seconds
            outcomes[f"{attempt.door}: {outcome}"] += 1
            if seconds > seen.slowest["seconds"]:
                sizes = [len(one) for one in attempt.data]
                seen.slowest = {
                    "number": number, "seconds": round(seconds, 3), "how": attempt.how,
                    "octets": sum(sizes), "outcome": f"{attempt.door}: {outcome}",
                }  # fmt: skip
            if trace or seconds > SECONDS:
                seen.findings.append(
                    {"number": number, "what": outcome, "seconds": round(seconds, 3), "how":
                     attempt.how, "trace": trace}
                )  # fmt: skip
    seen.outcomes, seen.kinds = dict(outcomes), dict(kinds)
    seen.warnings = dict(Counter(str(one.message).split("(")[0][:80] for one in caught))
    seen.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return asdict(seen)


def _outcome(world: fuzz_world.World, attempt: fuzz_world.Attempt) -> tuple[str, str]:
    try:
        return world.knock(attempt), ""
    except PkiError as exc:
        told = exc.as_result()
        if not (exc.message and exc.rule and exc.next_step):
            return "a refusal without words", str(exc)
        if not all(line.isprintable() for text in told.values() for line in text.split("\n")):
            return "a refusal that does not print", repr(told)
        return exc.rule, ""
    except fuzz_world.Unsound as exc:
        return f"UNSOUND {exc}", str(exc)
    except BaseException as exc:
        return f"RAISED {type(exc).__name__}", traceback.format_exc()


def run(state: State, place: Path, inputs: int) -> None:
    fuzz_world.keys_in(place)
    world = fuzz_world.World()
    progress = mmap.mmap(-1, 8)
    while state.done < inputs:
        end = min(state.done + PORTION, inputs)
        told = _in_a_worker(world, state, end, progress)
        if told is None:
            at = struct.unpack("<q", progress[:8])[0]
            state.findings.append({"number": at, "what": "the worker died or overran"})
            # What came before it in this portion is judged again, for its counts.
            for start, stop in ((state.done, at), (at + 1, end)):
                part = State(state.seed, start)
                again = _in_a_worker(world, part, stop, progress) if stop > start else None
                if again is not None:
                    state.add(again)
        else:
            state.add(told)
        state.done = end
        for finding in state.findings:
            _keep(world, state.seed, finding, place)
        (place / "state.json").write_text(json.dumps(asdict(state), indent=1))
        print(f"{state.done} inputs, {len(state.findings)} findings", flush=True)


def _in_a_worker(
    world: fuzz_world.World, state: State, end: int, progress: mmap.mmap
) -> dict[str, Any] | None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        told = portion(world, state.seed, state.done, end, progress)
        with os.fdopen(writing, "w") as stream:
            json.dump(told, stream)
        os._exit(0)
    os.close(writing)
    last, since = -1, time.monotonic()
    with os.fdopen(reading) as stream:
        os.set_blocking(stream.fileno(), False)
        told_text = ""
        while True:
            with contextlib.suppress(BlockingIOError, TypeError):
                told_text += stream.read() or ""
            gone, status = os.waitpid(child, os.WNOHANG)
            if gone:
                with contextlib.suppress(BlockingIOError, TypeError):
                    told_text += stream.read() or ""
                return json.loads(told_text) if status == 0 else None
            at = struct.unpack("<q", progress[:8])[0]
            if at != last:
                last, since = at, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return None
            time.sleep(0.1)


def _keep(world: fuzz_world.World, seed: int, finding: dict[str, Any], place: Path) -> None:
    """The input of a finding, file by file, beside the state."""
    folder = place / f"finding-{finding['number']}"
    if folder.exists():
        return
    folder.mkdir()
    for at, data in enumerate(world.attempt(seed, finding["number"]).data):
        (folder / f"{at}.bin").write_bytes(data)
    (folder / "what.json").write_text(json.dumps(finding, indent=1))


def record(state: State) -> str:
    """The run in words, for the file that is committed."""
    each = 1000 * state.cpu_seconds / max(1, state.done)
    lines = [
        f"date             {datetime.now(UTC):%Y-%m-%d}",
        f"python           {platform.python_version()}",
        *(f"{name:<16} {version(name)}" for name in _PACKAGES),
        f"seed             {state.seed}",
        f"inputs           {state.done} ({state.octets / 1e6:.0f} MB)",
        f"CPU              {state.cpu_seconds:.0f} s, {each:.1f} ms an input",
        f"slowest          {state.slowest}",
        f"peak memory      {state.peak_mb} MB",
        f"findings         {len(state.findings)}",
        "",
        "outcomes",
        *(f"{count:>8}  {name}" for name, count in sorted(state.outcomes.items())),
        "",
        "inputs",
        *(f"{count:>8}  {name}" for name, count in sorted(state.kinds.items())),
        "",
        "warnings of libraries",
        *(f"{count:>8}  {name}" for name, count in sorted(state.warnings.items())),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=200_000, help="how many in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state", type=Path, default=ROOT / ".cache/fuzz")
    parser.add_argument("--record", type=Path, help="write the figures there as well")
    options = parser.parse_args()
    place = options.state / str(options.seed)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)  # the run's keys are in it
    kept = place / "state.json"
    state = State(**json.loads(kept.read_text())) if kept.exists() else State(options.seed)
    run(state, place, options.inputs)
    text = record(state)
    print(text)
    if options.record:
        options.record.write_text(text)
    bad = state.peak_mb > MEMORY_MB or bool(state.findings)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
