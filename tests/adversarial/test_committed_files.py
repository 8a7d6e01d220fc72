# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a committer leaves beside the inventory is accepted, or refused in a sentence.

Each case starts from right files, spoils one of them, and asks the two that read them: the
real ``pki_accept`` and the gathering of the plan. Neither may fault, hang, fill the memory, or
show what a planted link leads to.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from adversarial.hostile_world import NAME, ODD, HostileWorld, changed, fault_of, places, ran
from pki import acceptance, accepted_record, gather, session
from pki.errors import PkiError
from pki.lifecycle import KeyVersion

SECONDS = 20
MEMORY = 1 << 30  # bytes more than now
SECRET = "fourty-two-secret-letters-nobody-may-see"
ODD_MOMENTS = {
    "before the calendar": "0001-01-01T00:00:00+14:00",
    "after the calendar": "9999-12-31T23:59:59-14:00",
    "no moment": "2026-13-45T99:99:99Z",
    "a week": "2026-W01-1",
    "a time": "12:00",
}
#: The rest of the odd values is text like any other in a record.
ALIKE = ("yes", "zero", "negative", "fraction", "space", "device", "percent", "Jinja comment")
ODD_IN_RECORDS = {**{k: v for k, v in ODD.items() if k not in ALIKE}, **ODD_MOMENTS}
#: Whole texts of a record; the words before the colon name the trick.
TEXTS: dict[str, bytes] = {
    "empty": b"",
    "comment": b"# nothing\n",
    "text": b"hello",
    "number": b"1",
    "list": b"- 1\n",
    "other schema": b"schema: 2\n",
    "schema only": b"schema: 1\n",
    "two documents": b"---\nschema: 1\n---\nschema: 1\n",
    "aliases of aliases": b"schema: 1\n"
    + b"".join(
        b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1) if i else b"x"] * 9))
        for i in range(12)
    )
    + b"common_name: *a11\nserial: *a11\noutcome: *a11\ndate: *a11\nkey: *a11\n",
    "merged merges": b"schema: 1\nm0: &m0 {a: 1}\n"
    + b"".join(
        b"m%d: &m%d {<<: [%s]}\n" % (i, i, b",".join([b"*m%d" % (i - 1)] * 9)) for i in range(1, 12)
    ),
    "itself": b"schema: 1\nkey: &k {spki_sha256: *k}\n",
    "brackets": b"schema: 1\na: " + b"[" * 20_000,
    "braces": b"{" * 20_000,
    "lists of lists": b"- " * 30_000 + b"a",
    "indents": b"schema: 1\n" + b"".join(b" " * i + b"a:\n" for i in range(300)),
    "python object": b"schema: !!python/object/apply:os.system ['id']\n",
    "python name": b"schema: 1\nserial: !!python/name:os.system\n",
    "tagged moment": b"schema: 1\ncreated: !!timestamp x\n",
    "tagged number": b"schema: !!int x\n",
    "tagged bytes": b"schema: 1\nserial: !!binary '*'\n",
    "tagged set": b"schema: 1\nsubject: !!set {a, b}\n",
    "unknown tag": b"schema: 1\nserial: !secret x\n",
    "long number": b"schema: 1\nserial: " + b"9" * 9000 + b"\n",
    "sexagesimal": b"schema: 1\nserial: 1" + b":59" * 9000 + b"\n",
    "impossible date": b"schema: 1\ncreated: 2026-02-31\n",
    "map as key": b"schema: 1\n? {a: 1}\n: b\n",
    "UTF-16": "schema: 1\n".encode("utf-16"),
    "not UTF-8": b"schema: 1\nserial: \xff\xfe\n",
    "NUL": b"schema: 1\nserial: a\0b\n",
    "escapes": b'schema: 1\ncommon_name: "\\x1b[2J"\ncreated: "\\x1b]0;x\\a"\n',
    "large": b"schema: 1\nx: " + b"a" * 900_000 + b"\n",
    "many lines": b"schema: 1\n" + b"".join(b"k%d: [1, {a: b}]\n" % i for i in range(40_000)),
    "too large": b"#" * 3_000_000,
}


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> HostileWorld:
    return HostileWorld(tmp_path_factory.mktemp("committed"))


@pytest.fixture
def world(right: HostileWorld) -> Iterator[HostileWorld]:
    """The right files, accepted once, so that every kind of record is there to be spoilt."""
    certificates = right.base / "certificates"
    shutil.rmtree(certificates, ignore_errors=True)
    right.directory.mkdir(parents=True)
    for name, content in right.contents.items():
        (right.directory / name).write_bytes(content)
    assert ran("pki_accept", judging(right), check=False)["accepted"]
    yield right
    # No case may have written through a link, or anywhere else outside.
    assert {entry.name for entry in right.base.iterdir()} <= {"ca", "cache", "certificates"}


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """A trap that fills the memory or never ends is a failure here, not of the machine."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS * 6)
    yield
    signal.alarm(0)
    resource.setrlimit(resource.RLIMIT_AS, before)


class TooLongError(BaseException):
    """Not an OSError and not an Exception: nothing under test may take it for its own."""


def too_long(*_: object) -> None:
    raise TooLongError


def judging(world: HostileWorld) -> dict[str, Any]:
    action = {"kind": "accept", "certificate": NAME, "version": 1, "reason": "", "hosts": "all"}
    return {**world.parameters(), "actions": [action], "key_digests": {}}


def planned(inputs: session.Inputs) -> dict[str, Any]:
    """The plan's own reading; its keys are values here, since no file can spoil them."""
    key = {1: KeyVersion(datetime(2026, 1, 1, tzinfo=UTC), "0" * 64)}
    try:
        return {"plans": repr(gather.plans(inputs, gather.Keys({NAME: key}), {}))}
    except PkiError as exc:
        return {"failed": True, "msg": str(exc), "error": exc.as_result()}


def judged(inputs: session.Inputs) -> dict[str, Any]:
    """What the module does between its parameters and its result."""
    outcome = acceptance.run(
        inputs.declared,
        [(NAME, 1)],
        inputs.certificates_dir,
        acceptance.evidence(inputs, {}),
        functools.partial(accepted_record.of, inputs),
    )
    kept = list(outcome.accepted.values())
    refused = [{"error": refusal.error.as_result()} for refusal in outcome.refused]
    return {"kept": [item.diff() for item in kept], "refused": refused}


def faults(world: HostileWorld) -> list[str]:
    """What is wrong with the answers of plan and judgement to the files as they are now."""
    signal.alarm(SECONDS)
    answers = ran("pki_accept", judging(world), check=False), planned(inputs_of(world))
    return wrong_with(*answers)


def inputs_of(world: HostileWorld) -> session.Inputs:
    return session.load(world.parameters())


def wrong_with(judged: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    signal.alarm(SECONDS * 6)
    found = []
    errors = [judged.get("error"), plan.get("error")]
    errors += [entry["error"] for entry in judged.get("refused", ())]
    for error in errors:
        if error and (problem := fault_of(error)):
            found.append(f"{problem}: {error['where']}")
    shown = json.dumps([judged, plan])
    if SECRET in shown:
        found.append("the secret is shown")
    if len(shown) > 100_000:
        found.append(f"{len(shown)} characters of answer")
    return found


RECORDS = ("request.yml", "accepted.yml", "outcome.yml", "asked.yml")


@pytest.mark.parametrize("name", RECORDS)
def test_no_text_of_a_record_makes_a_fault(world: HostileWorld, name: str) -> None:
    found = []
    for label, text in TEXTS.items():
        (world.directory / name).write_bytes(text)
        found += [f"{label}: {problem}" for problem in faults(world)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", RECORDS)
def test_no_value_of_a_record_makes_a_fault(world: HostileWorld, name: str) -> None:
    path = world.directory / name
    said = {"schema": 1, "date": "2026-01-01T00:00:00Z", "reason": "a person's word"}
    outcome = {**said, "outcome": "rejected"}
    inputs = inputs_of(world)
    record = yaml.safe_load(path.read_text()) if path.exists() else outcome
    found = []
    for place in places(record):
        for label, value in ODD_IN_RECORDS.items():
            try:
                text = yaml.safe_dump(changed(record, place, value), allow_unicode=True).encode()
            except (yaml.YAMLError, UnicodeError):
                continue
            path.write_bytes(text)
            shown = ".".join(map(str, place))
            problems = wrong_with(judged(inputs), planned(inputs))
            found += [f"{shown} is {label}: {problem}" for problem in problems]
    assert not found, "\n".join(found)


def link_to(target: str) -> Callable[[Path], None]:
    def plant(path: Path) -> None:
        path.symlink_to(target)

    return plant


#: What can stand where a file belongs.
PLANTED: dict[str, Callable[[Path], None]] = {
    "a directory": Path.mkdir,
    "a pipe nobody writes to": os.mkfifo,
    "a link to nothing": link_to("/nonexistent/file"),
    "a link to itself": link_to("."),
    "a link to a device without end": link_to("/dev/zero"),
    "a link to standard input": link_to("/dev/stdin"),
    "a link to a terminal": link_to("/dev/tty"),
    "a link to what processes keep": link_to("/proc/self/environ"),
    "an unreadable file": lambda path: path.touch(0o000),
}
FILES = ("request.csr", "request.yml", "reply.pem", "certificate.pem", "chain.pem", "accepted.yml")


@pytest.mark.parametrize("name", [*FILES, "reply.d", "outcome.yml", "asked.yml"])
def test_nothing_that_stands_for_a_file_makes_a_fault(world: HostileWorld, name: str) -> None:
    path, found = world.directory / name, []
    for label, plant in PLANTED.items():
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        plant(path)
        found += [f"{label}: {problem}" for problem in faults(world)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", [*FILES, "outcome.yml", "asked.yml", "reply.key"])
@pytest.mark.parametrize(
    "content",
    [
        SECRET,
        f"schema: 1\nserial: {SECRET}\ncommon_name: {SECRET}\noutcome: {SECRET}\n",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n",
        f"-----BEGIN {SECRET.upper()}-----\n{SECRET}\n-----END CERTIFICATE-----\n",
    ],
    ids=["text", "record", "key", "block"],
)
def test_what_a_planted_link_leads_to_is_never_shown(
    world: HostileWorld, tmp_path: Path, name: str, content: str
) -> None:
    outside = tmp_path / "secret"
    outside.write_text(content)
    path = world.directory / name
    path.unlink(missing_ok=True)
    path.symlink_to(outside)
    assert not faults(world)
    assert outside.read_text() == content, "and nothing was written through the link"


def test_a_linked_directory_is_refused_and_nothing_is_written_through_it(
    world: HostileWorld, tmp_path: Path
) -> None:
    for linked in (world.directory, world.directory.parent):
        outside = tmp_path / linked.name
        shutil.copytree(linked, outside)
        for record in outside.rglob("accepted.yml"):
            record.unlink()
        shutil.rmtree(linked)
        linked.symlink_to(outside)
        assert not faults(world)
        assert not list(outside.rglob("accepted.yml")), "it was written through the link"
        linked.unlink()
        shutil.copytree(outside, linked)


@pytest.mark.parametrize("name", ["0", "01", "-1", "3", "100000", "9" * 200, "x", "1 ", "\u0661"])
def test_a_version_out_of_the_blue_asks_for_no_keys(world: HostileWorld, name: str) -> None:
    folder = world.directory.parent / name
    folder.mkdir()
    (folder / "outcome.yml").write_text(
        "schema: 1\noutcome: withdrawn\ndate: '2026-01-01T00:00:00Z'\n"
    )
    assert not faults(world)
    assert planned(inputs_of(world))["error"]["rule"] == "STATE-LAYOUT"
