# SPDX-License-Identifier: GPL-3.0-or-later
"""A person's word about requests: the first one stands, and none is taken for granted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import unit.lab_imports  # noqa: F401 - lets ansible.module_utils.pki be found
import yaml
from pki import gather, outcomes, public_state
from pki.errors import PkiError
from pki.lifecycle import Asked, KeyVersion, Version
from pki.outcomes import Record, Word
from pki.plan import CertificatePlan
from unit.controller_world import (
    NAME,
    OTHER,
    World,
    certificate_entry,
    load_file,
    spki,
    tree,
    whole,
)
from unit.pki_factory import NOW

OUTCOME = load_file("library/pki_outcome.py")
RENEW = load_file("library/pki_renew.py")
WHY = "the portal was down"
ACCEPTED = {
    "schema": 1,
    "serial": "0a",
    "not_before": "2026-11-20T12:00:00Z",
    "not_after": "2027-12-23T12:00:00Z",
    "accepted_at": "2026-11-21T12:00:00Z",
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def put(world: World, version: int, name: str, **record: Any) -> None:
    content = public_state.dump({"schema": 1, **record})
    world.put(version, **{f"{name}_yml": content})


def accept(world: World, version: int = 1) -> None:
    world.request(version)
    world.put(version, certificate_pem=b"kept")
    put(world, version, "accepted", **ACCEPTED)


def decide(
    world: World, outcome: str = "rejected", reason: str = WHY, version: int = 0, by: str = ""
) -> Record:
    versions = public_state.scan(world.kept, NAME)
    return outcomes.decide(versions, Word(NAME, reason, by), outcome, version, NOW)


def refusal(call: Callable[[], object], rule: str) -> PkiError:
    # A module imports the domain under Ansible's name.
    with pytest.raises((PkiError, OUTCOME.outcomes.PkiError)) as caught:
        call()
    error: PkiError = whole(caught.value)
    assert error.rule == rule, str(error)
    return error


# --- outcomes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["rejected", "withdrawn"])
def test_the_outcome_of_the_open_request_is_recorded(world: World, outcome: str) -> None:
    world.request()
    record = decide(world, outcome, by="Ada Admin")
    record.save()
    assert yaml.safe_load((world.directory() / "outcome.yml").read_text()) == {
        "schema": 1,
        "certificate": NAME,
        "version": 1,
        "outcome": outcome,
        "date": "2026-11-21T12:00:00Z",
        "reason": WHY,
        "by": "Ada Admin",
    }
    (files,) = public_state.scan(world.kept, NAME)
    version = public_state.observed_version(files)
    assert (version.outcome, version.outcome_at, version.settled) == (outcome, NOW, True)


def test_who_says_so_need_not_be_told(world: World) -> None:
    world.request()
    assert b"by:" not in (decide(world).content or b"")


def test_the_first_record_stands_when_it_is_said_again(world: World) -> None:
    world.request()
    decide(world).save()
    before = tree(world.kept)
    again = decide(world, reason="another reason")
    again.save()
    assert not again.changed
    assert tree(world.kept) == before


def test_another_outcome_is_refused(world: World) -> None:
    world.request()
    decide(world, "withdrawn").save()
    error = refusal(lambda: decide(world, "rejected"), "OUTCOME")
    assert error.found == "withdrawn on 2026-11-21"


def test_a_request_with_a_reply_that_nobody_accepted_can_come_to_nothing(world: World) -> None:
    world.request()
    world.put(reply_txt=b"we are sorry")
    assert decide(world).changed


def test_an_accepted_certificate_is_no_open_request(world: World) -> None:
    accept(world)
    error = refusal(lambda: decide(world), "OUTCOME")
    assert "revoked" in error.next_step
    assert f"playbooks/renew.yml -e certificate={NAME}" in error.next_step


@pytest.mark.parametrize("half", ["certificate.pem", "accepted.yml"])
def test_half_an_acceptance_is_one(world: World, half: str) -> None:
    accept(world)
    (world.directory() / half).unlink()
    refusal(lambda: decide(world), "OUTCOME")


def test_without_a_version_the_newest_request_is_meant(world: World) -> None:
    accept(world)
    world.request(2)
    assert decide(world).version == 2


def test_a_version_that_is_only_asked_for_is_no_request(world: World) -> None:
    world.request()
    decide(world).save()
    put(world, 2, "asked", date="2026-11-20", reason=WHY)
    assert not decide(world).changed, "the newest request is v1, and it was rejected"
    error = refusal(lambda: decide(world, version=2), "OUTCOME")
    assert (error.found, error.expected) == ("requests v1", "a request v2")


@pytest.mark.parametrize("version", [0, 1, 7])
def test_a_request_there_is_not_has_no_outcome(world: World, version: int) -> None:
    error = refusal(lambda: decide(world, version=version), "OUTCOME")
    assert error.found == "no request"


@pytest.mark.parametrize("outcome", ["", "lost", "Rejected", "accepted"])
def test_an_outcome_is_one_of_two_words(world: World, outcome: str) -> None:
    world.request()
    assert "rejected or withdrawn" in refusal(lambda: decide(world, outcome), "OUTCOME").expected


BAD_REASONS = {
    "nothing": "",
    "blanks": "   ",
    "two lines": "one\ntwo",
    "an escape sequence": "\x1b[2J",
    "far too much": "x" * 501,
}


@pytest.mark.parametrize("kind", BAD_REASONS)
def test_a_reason_is_one_line_that_says_something(world: World, kind: str) -> None:
    world.request()
    error = refusal(lambda: decide(world, reason=BAD_REASONS[kind]), "OUTCOME")
    assert error.found.isprintable()
    assert not (world.directory() / "outcome.yml").exists()


def test_whoever_says_so_is_one_line_too(world: World) -> None:
    world.request()
    refusal(lambda: decide(world, by="Ada\nAdmin"), "OUTCOME")


# --- a new request ------------------------------------------------------------------------------


def plan(world: World, *keys: int) -> CertificatePlan:
    made = {number: KeyVersion(NOW, spki("leaf")) for number in keys}
    inputs = world.inputs()
    (one,) = gather.plans(inputs, gather.Keys({NAME: made}), {})
    return one


def ask(world: World, *keys: int, reason: str = WHY) -> Record:
    versions = public_state.scan(world.kept, NAME)
    return outcomes.ask(plan(world, *keys), versions, Word(NAME, reason), world.kept / NAME, NOW)


def test_after_an_outcome_a_word_is_recorded_in_the_next_version(world: World) -> None:
    world.request()
    decide(world).save()
    record = ask(world, 1)
    record.save()
    assert yaml.safe_load((world.directory(2) / "asked.yml").read_text()) == {
        "schema": 1,
        "certificate": NAME,
        "version": 2,
        "date": "2026-11-21T12:00:00Z",
        "reason": WHY,
    }
    assert plan(world, 1).reason == "asked_for"


def test_a_word_renews_early_beside_the_accepted_certificate(world: World) -> None:
    accept(world)
    ask(world, 1).save()
    planned = plan(world, 1)
    assert (planned.reason, planned.live) == ("asked_for", 1)


def test_a_word_said_again_changes_nothing_before_the_request_is_made(world: World) -> None:
    world.request()
    decide(world).save()
    ask(world, 1).save()
    assert not ask(world, 1, reason="another reason").changed


def test_the_same_word_said_again_changes_nothing_while_its_request_is_open(world: World) -> None:
    world.request()
    decide(world).save()
    ask(world, 1).save()
    assert not ask(world, 1, 2).changed, "only the key is made"
    world.request(2)
    assert not ask(world, 1, 2).changed


def test_another_word_is_refused_while_a_request_is_open(world: World) -> None:
    world.request()
    decide(world).save()
    ask(world, 1).save()
    world.request(2)
    error = refusal(lambda: ask(world, 1, 2, reason="I am impatient"), "RENEW")
    assert "request v2 is open" in error.message
    assert "playbooks/outcome.yml" in error.next_step


@pytest.mark.parametrize(
    "files", [True, False], ids=["a committed request", "a key whose files were never merged"]
)
def test_one_request_is_open_at_a_time(world: World, files: bool) -> None:
    accept(world)
    if files:
        world.request(2)
    error = refusal(lambda: ask(world, 1, 2), "RENEW")
    assert "request v2 is open" in error.message
    assert not (world.directory(2) / "asked.yml").exists()


def test_before_the_first_request_there_is_nothing_to_renew(world: World) -> None:
    assert "site.yml" in refusal(lambda: ask(world), "RENEW").next_step


@pytest.mark.parametrize("kind", BAD_REASONS)
def test_a_wish_has_a_reason_too(world: World, kind: str) -> None:
    accept(world)
    refusal(lambda: ask(world, 1, reason=BAD_REASONS[kind]), "RENEW")


# --- what check mode cannot read ------------------------------------------------------------------


def test_a_word_that_is_not_recorded_yet_is_planned_with_like_one_that_is(world: World) -> None:
    world.request()
    decide(world).save()
    inputs = world.inputs()
    keys = gather.Keys({NAME: {1: KeyVersion(NOW, spki("leaf"))}})
    (checked,) = gather.plans(inputs, keys, {}, {NAME: WHY})
    ask(world, 1).save()
    (real,) = gather.plans(inputs, keys, {})
    assert checked == real


@pytest.mark.parametrize(
    "there", [Version(2, asked=Asked("earlier", NOW)), Version(2, has_reply=True)]
)
def test_what_is_recorded_or_begun_is_not_asked_for_over_it(there: Version) -> None:
    ended = Version(1, outcome="rejected", outcome_at=NOW)
    assert gather.with_word((ended, there), WHY, NOW) == (ended, there)


def test_nobodys_word_changes_no_version() -> None:
    assert gather.with_word((), None, NOW) == ()


# --- the modules ----------------------------------------------------------------------------------


class Module:
    """What a handler uses of an Ansible module."""

    def __init__(self, params: Mapping[str, Any], check_mode: bool = False) -> None:
        self.params = dict(params)
        self.check_mode = check_mode


def entry(certificate: str = NAME, **changes: Any) -> dict[str, Any]:
    given = {"version": 0, "outcome": "rejected", "reason": WHY, "by": ""}
    return {"certificate": certificate, **given, **changes}


def run(world: World, *entries: Mapping[str, Any], check_mode: bool = False) -> dict[str, Any]:
    params = world.params(outcomes=list(entries))
    result: dict[str, Any] = OUTCOME.handler(Module(params, check_mode))
    return result


def test_the_module_says_what_it_recorded_and_what_to_commit(world: World) -> None:
    world.request()
    result = run(world, entry())
    assert result["changed"]
    assert result["sentences"] == [
        f"{NAME} v1: request v1 is recorded as rejected; commit {world.directory()}"
    ]
    assert "outcome: rejected" in result["diff"][0]["after"]
    again = run(world, entry())
    assert (again["changed"], again["diff"]) == (False, [])
    assert again["sentences"] == [f"{NAME} v1: request v1 is recorded as rejected; nothing to do"]


def test_check_mode_says_the_same_and_records_nothing(world: World) -> None:
    world.request()
    before = tree(world.kept)
    checked = run(world, entry(), check_mode=True)
    assert tree(world.kept) == before
    assert checked["changed"]
    assert checked["sentences"] == run(world, entry())["sentences"]


def test_nothing_of_a_batch_is_recorded_when_one_entry_is_wrong(world: World) -> None:
    world.certificates.append(certificate_entry(OTHER))
    world.request()
    before = tree(world.kept)
    refusal(lambda: run(world, entry(), entry(OTHER)), "OUTCOME")
    assert tree(world.kept) == before


@pytest.mark.parametrize(
    ("entries", "found"),
    [([entry("dip-nowhere")], "dip-nowhere"), ([entry(""), entry()], "nothing")],
)
def test_only_a_declared_certificate_has_requests(
    world: World, entries: list[dict[str, Any]], found: str
) -> None:
    world.request()
    error = refusal(lambda: run(world, *entries), "OUTCOME")
    assert (error.found, error.expected) == (found, NAME)


def test_a_certificate_is_named_once(world: World) -> None:
    world.request()
    error = refusal(lambda: run(world, entry(), entry(outcome="withdrawn")), "OUTCOME")
    assert "named twice" in error.message


def test_asking_for_nothing_asks_no_key_server(world: World) -> None:
    result = RENEW.handler(Module(world.params(asks=[], vault={})))
    assert (result["changed"], result["records"], result["asked"]) == (False, [], [])


def test_a_date_that_is_given_twice_is_still_the_first(world: World) -> None:
    world.request()
    decide(world).save()
    versions = public_state.scan(world.kept, NAME)
    later = outcomes.decide(versions, Word(NAME, WHY), "rejected", 0, NOW + timedelta(days=9))
    assert later.content is None
