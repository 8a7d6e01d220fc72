# SPDX-License-Identifier: GPL-3.0-or-later
"""Every certificate is judged from its files, every time; a refusal stops nobody else."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pki import acceptance, public_state, reply
from pki.errors import PkiError
from pki.lifecycle import Kind
from unit import pki_factory as factory
from unit.controller_world import (
    FOREIGN,
    ISSUING,
    NAME,
    OTHER,
    OTHER_CN,
    SIBLING,
    TRUST,
    World,
    certificate_entry,
    key_of,
    policies,
    spki,
    whole,
)
from unit.pki_factory import CN, DAY, NOW, SECOND, SUBJECT

ONE = (NAME, 1)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A request with a good reply, and fresh CRLs."""
    made = World(tmp_path)
    made.request()
    made.reply()
    made.crls()
    return made


def refused(world: World, *, keys: dict[acceptance.Key, str] | None = None) -> acceptance.Refusal:
    outcome = world.judge(ONE, keys=keys)
    assert outcome.accepted == {}
    (refusal,) = outcome.refused
    assert (refusal.certificate, refusal.version) == ONE
    assert refusal.error.message.startswith(f"{NAME}: ")
    assert refusal.error.message.count(f"{NAME}: ") == 1
    whole(refusal.error)
    return refusal


def test_a_good_reply_is_accepted_and_its_files_are_handed_on(world: World) -> None:
    leaf = world.reply()
    outcome = world.judge(ONE)
    assert outcome.refused == ()
    assert outcome.accepted[ONE].chain == (leaf, ISSUING.der)
    assert outcome.files[ONE].path == world.directory()


def key_pem() -> bytes:
    return factory.key("leaf").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def siblings(world: World) -> None:
    """A sibling's certificate, sent with its CA: the chain alone would be right."""
    world.put(reply_txt=factory.pem(SIBLING.leaf()) + SIBLING.pem)
    world.crls()


def revoke(world: World) -> None:
    world.crls(ISSUING.crl([factory.serial(world.reply())], number=2))


BAD: dict[str, tuple[str, Callable[[World], object]]] = {
    "of another key": (
        "DIP-6.1.2-SAME-HOST",
        lambda world: world.reply(public=factory.key("other").public_key()),
    ),
    "of a sibling CA": ("DIP-4.1-DCA-ONLY", siblings),
    "of a foreign CA": ("DIP-3.5.1-CHAIN", lambda world: world.reply(der=FOREIGN.leaf())),
    "expired": ("DIP-3.5.1-EXPIRY", lambda world: world.reply(end=NOW - SECOND)),
    "not valid yet": ("DIP-3.5.1-EXPIRY", lambda world: world.reply(start=NOW + SECOND)),
    "of another name": ("DIP-6.1.2-CN", lambda world: world.reply(cn=OTHER_CN)),
    "of another organisation": (
        "DIP-6.1.2-ORG",
        lambda world: world.reply(subject={**SUBJECT, "O": "Example Energy Limited"}),
    ),
    "without TLS usages": ("DIP-3.4.2-KU-TLS", lambda world: world.reply(eku=())),
    "a CA's": ("DIP-3.4.2-PURPOSE", lambda world: world.reply(ca=True)),
    "revoked": ("DIP-3.5.2.5-RP-CHECK", revoke),
    "without a fresh CRL": (
        "DIP-3.5.2.5-RP-CHECK",
        lambda world: (world.cache / TRUST / "poll.json").unlink(),
    ),
    "sent with a private key": (
        "REPLY-PRIVATE-KEY",
        lambda world: world.put(reply_txt=key_pem() + factory.pem(ISSUING.leaf())),
    ),
    "empty": ("DIP-12.2-16-CER", lambda world: world.put(reply_txt=b"")),
    "missing": (
        "DIP-12.2-16-CER",
        lambda world: (world.directory() / "reply.txt").unlink(),
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_reply_is_refused_by_its_rule_and_with_its_name(world: World, kind: str) -> None:
    rule, spoil = BAD[kind]
    spoil(world)
    assert refused(world).error.rule == rule


DAMAGED: dict[str, tuple[str, Callable[[World], object]]] = {
    "no request": (
        "DIP-6.1.2-SAME-HOST",
        lambda world: (world.directory() / "request.csr").unlink(),
    ),
    "no record of the request": (
        "DIP-6.1.2-SAME-HOST",
        lambda world: (world.directory() / "request.yml").unlink(),
    ),
    "a record that is not YAML": ("STATE-FILE", lambda world: world.put(request_yml=b"[")),
    "a record without subject": ("STATE-FILE", lambda world: world.request(subject=None)),
    "a record without purposes": ("STATE-FILE", lambda world: world.request(purposes=...)),
    "a record without key": ("STATE-FILE", lambda world: world.request(key=None)),
    "a record of another policy": (
        "POLICY-UNKNOWN",
        lambda world: world.request(policy="nhs-mesh"),
    ),
    "no request in the request": (
        "DIP-6.1.1-PKCS10",
        lambda world: world.put(request_csr=b"-----BEGIN CERTIFICATE REQUEST-----\n"),
    ),
    "a stray file": (
        "STATE-LAYOUT",
        lambda world: (world.kept / NAME / "notes").write_text("call Ada"),
    ),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_request_is_refused_by_name_and_not_a_fault_of_ours(
    world: World, kind: str
) -> None:
    rule, spoil = DAMAGED[kind]
    spoil(world)
    refusal = refused(world, keys={ONE: spki("leaf")})
    assert refusal.error.rule == rule
    assert str(world.kept / NAME) in refusal.error.where or rule == "DIP-6.1.1-PKCS10"


def test_a_version_without_directory_is_refused(world: World) -> None:
    outcome = world.judge((NAME, 2))
    assert outcome.refused[0].error.rule == "STATE-LAYOUT"
    assert outcome.refused[0].error.expected == f"{NAME}/2/"


# --- each on its own ------------------------------------------------------------------------


# Without a CRL there is no answer for anybody under the same CA.
ALONE = {kind: spoil for kind, (_, spoil) in {**BAD, **DAMAGED}.items() if "CRL" not in kind}


@pytest.mark.parametrize("kind", ALONE)
def test_one_refusal_does_not_stop_the_others(world: World, kind: str) -> None:
    world.certificates.append(certificate_entry(OTHER))
    world.request(1, OTHER)
    world.reply(1, OTHER)
    ALONE[kind](world)
    outcome = world.judge(
        ONE, (OTHER, 1), keys={ONE: spki("leaf"), (OTHER, 1): spki(key_of(1, OTHER))}
    )
    assert list(outcome.accepted) == [(OTHER, 1)]
    assert [refusal.certificate for refusal in outcome.refused] == [NAME]


def test_versions_are_judged_oldest_first_as_numbers_and_once(world: World) -> None:
    for version in range(2, 12):
        world.request(version)
        world.reply(version)
    asked = [(NAME, version) for version in (11, 9, 1, 10, 2, 9)]
    assert list(world.judge(*asked).accepted) == [(NAME, v) for v in (1, 2, 9, 10, 11)]
    world.certificates.append(certificate_entry(OTHER))
    missing = world.judge((OTHER, 1), (NAME, 13), (NAME, 12))
    assert [(r.certificate, r.version) for r in missing.refused] == [
        (NAME, 12), (NAME, 13), (OTHER, 1),
    ]  # fmt: skip


# --- what a record is worth -----------------------------------------------------------------


def record(leaf: bytes) -> bytes:
    return public_state.dump(
        {
            "schema": 1,
            "serial": f"{factory.serial(leaf):x}",
            "not_before": "2026-11-20T12:00:00Z",
            "not_after": "2027-12-23T12:00:00Z",
            "accepted_at": "2026-11-21T12:00:00Z",
        }
    )


def test_a_record_of_acceptance_alone_grants_nothing(world: World) -> None:
    leaf = world.reply()
    world.put(accepted_yml=record(leaf))
    (world.directory() / "reply.txt").unlink()
    assert refused(world).error.rule == "DIP-12.2-16-CER"


@pytest.mark.parametrize("place", ["reply", "certificate"])
def test_a_record_of_acceptance_does_not_excuse_a_bad_certificate(world: World, place: str) -> None:
    leaf = FOREIGN.leaf()
    world.put(accepted_yml=record(leaf))
    if place == "reply":
        world.reply(der=leaf)
    else:
        world.put(certificate_pem=factory.pem(leaf))
    assert refused(world).error.rule == "DIP-3.5.1-CHAIN"


def test_an_accepted_certificate_that_was_revoked_since_is_refused(world: World) -> None:
    leaf = world.reply()
    world.put(certificate_pem=factory.pem(leaf), accepted_yml=record(leaf))
    assert world.judge(ONE).refused == ()
    world.crls(ISSUING.crl([factory.serial(leaf)], number=2))
    assert "revoked" in refused(world).error.message


def test_the_kept_certificate_is_judged_and_not_a_reply_that_came_later(world: World) -> None:
    kept = world.reply()
    world.put(certificate_pem=factory.pem(kept), chain_pem=ISSUING.pem)
    world.reply(der=FOREIGN.leaf())
    assert world.judge(ONE).accepted[ONE].chain[0] == kept


# --- what it is compared with ---------------------------------------------------------------


def test_a_certificate_is_compared_with_its_request_and_not_with_todays_inventory(
    world: World,
) -> None:
    world.certificates[0]["domain"] = "renamed.example"
    world.certificates[0]["purposes"] = ["signing"]
    world.organisation["subject"]["O"] = "Renamed Energy Ltd"
    world.organisation["party"] = "market_participant_non_active"
    assert world.inputs().declared.certificates[NAME].common_name != CN
    assert world.judge(ONE).refused == ()


def test_a_certificate_of_todays_inventory_is_refused_when_its_request_asked_for_another(
    world: World,
) -> None:
    world.certificates[0]["domain"] = "other.example"
    world.reply(cn=OTHER_CN)
    assert refused(world).error.rule == "DIP-6.1.2-CN"


def test_the_purposes_that_were_requested_decide_which_usages_are_needed(world: World) -> None:
    world.request(purposes=["signing"])
    world.reply(eku=())
    assert world.judge(ONE).refused == ()


# --- the key --------------------------------------------------------------------------------


def test_a_request_of_another_key_than_the_stores_is_refused_with_both_digests(
    world: World,
) -> None:
    error = refused(world, keys={ONE: spki("other")}).error
    assert error.rule == "DIP-6.1.2-SAME-HOST"
    assert error.found == f"public key {spki('leaf')}"
    assert error.expected == f"public key {spki('other')}"
    assert error.where == str(world.directory() / "request.yml")


@pytest.mark.parametrize(
    "keys", [{}, {ONE: spki("leaf")}, {(NAME, 2): spki("other"), (OTHER, 1): spki("other")}]
)
def test_the_key_is_compared_where_the_store_could_be_asked_for_this_very_version(
    world: World, keys: dict[acceptance.Key, str]
) -> None:
    assert world.judge(ONE, keys=keys).refused == ()


def test_the_certificate_must_have_the_requests_key_whatever_the_record_says(
    world: World,
) -> None:
    other = factory.key("other").public_key()
    world.request(key={"spki_sha256": spki("other")})
    world.reply(public=other)
    assert refused(world, keys={ONE: spki("other")}).error.rule == "DIP-6.1.2-SAME-HOST"


# --- what the run is told -------------------------------------------------------------------


def action(kind: str, certificate: str = NAME, version: object = 1) -> dict[str, object]:
    return {"kind": kind, "certificate": certificate, "version": version}


def test_certificates_to_accept_or_deploy_are_judged_once_each_in_order() -> None:
    actions = [
        action("deploy", OTHER),
        action("accept", NAME, "2"),
        action("accept", OTHER),
        action("deploy", NAME, 2),
    ]
    assert acceptance.wanted(actions) == [(OTHER, 1), (NAME, 2)]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in (Kind.ACCEPT, Kind.DEPLOY)])
def test_nothing_is_judged_for_another_kind_of_action(kind: Kind) -> None:
    assert acceptance.wanted([action(kind.value)]) == []


def test_the_plans_digests_are_looked_up_by_certificate_and_number() -> None:
    assert acceptance.digests({NAME: {"1": "aa", "10": "bb"}, OTHER: {}}) == {
        (NAME, 1): "aa",
        (NAME, 10): "bb",
    }


def test_a_run_judges_with_the_crls_of_the_cache(world: World) -> None:
    evidence = acceptance.evidence(world.inputs(), {})
    assert list(evidence.crls) == [TRUST]
    assert len(evidence.crls[TRUST]) == 2
    assert evidence.now == NOW
    stale = acceptance.evidence(world.inputs(NOW + 2 * DAY), {})
    assert stale.crls == {TRUST: ()}


# --- the worker -----------------------------------------------------------------------------


def named(name: str, files: public_state.VersionFiles, accepted: reply.Accepted) -> str:
    """A plain value of an Accepted; some names are trouble."""
    assert type(accepted) is reply.Accepted
    if name == OTHER and files.replies[0][1].startswith(b"hang"):
        time.sleep(60)
    return f"{name} v{files.number}"


def two(world: World) -> tuple[acceptance.Key, acceptance.Key]:
    world.certificates.append(certificate_entry(OTHER))
    world.request(1, OTHER)
    world.reply(1, OTHER)
    return ONE, (OTHER, 1)


def test_replies_are_judged_in_a_process_of_their_own(world: World) -> None:
    accepted = world.judge(*two(world)).accepted.values()
    (worker,) = {one.worker for one in accepted}
    assert worker != os.getpid()


def test_what_a_caller_makes_of_an_accepted_reply_comes_back_and_the_reply_does_not(
    world: World,
) -> None:
    assert world.made(named, ONE).accepted == {ONE: f"{NAME} v1"}
    (refusal,) = world.made(lambda name, files, accepted: accepted, ONE).refused
    assert refusal.error.rule == "REPLY-FAULT"
    assert "TypeError" in refusal.error.found


def test_what_cannot_be_made_of_an_accepted_reply_refuses_it(world: World) -> None:
    def make(name: str, files: public_state.VersionFiles, accepted: reply.Accepted) -> str:
        raise PkiError("no", rule="KEY-PLACE", found="f", expected="e", next_step="n")

    (refusal,) = world.made(make, ONE).refused
    assert refusal.error.rule == "KEY-PLACE"
    assert refusal.error.message == f"{NAME}: no"


def test_nothing_is_made_of_a_refused_reply(world: World) -> None:
    world.reply(der=FOREIGN.leaf())
    made = world.made(lambda *_: pytest.fail("it was asked for"), ONE)
    assert [refusal.error.rule for refusal in made.refused] == ["DIP-3.5.1-CHAIN"]


def test_a_judgement_that_never_ends_is_refused_and_the_rest_goes_on(world: World) -> None:
    wanted = two(world)
    world.put(1, OTHER, reply_txt=b"hang\n" + factory.pem(ISSUING.leaf(
        OTHER_CN, public=factory.key(key_of(1, OTHER)).public_key())))  # fmt: skip
    world.request(2)
    world.reply(2)
    inputs = world.inputs()
    evidence = dataclasses.replace(acceptance.evidence(inputs, {}), seconds=0.5)
    outcome = acceptance.run(
        inputs.declared, [*wanted, (NAME, 2)], inputs.certificates_dir, evidence, named
    )
    assert list(outcome.accepted) == [ONE, (NAME, 2)]
    (refusal,) = outcome.refused
    assert (refusal.certificate, refusal.error.rule) == (OTHER, "REPLY-OVERRUN")
    assert refusal.error.message.startswith(f"{OTHER}: the judgement took too long")
    assert refusal.error.where == str(world.kept / OTHER / "1" / "reply.txt")


def test_a_judgement_waits_as_long_as_the_policy_says(world: World) -> None:
    evidence = acceptance.evidence(world.inputs(), {})
    assert evidence.seconds == policies()["mhhs-dip"].parameter("judgement_seconds")


def test_every_directory_is_read_once_however_many_versions_are_judged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = two(world)
    read: list[str] = []
    scan = public_state.scan

    def counted(directory: Path, name: str) -> tuple[public_state.VersionFiles, ...]:
        read.append(name)
        return scan(directory, name)

    monkeypatch.setattr(public_state, "scan", counted)
    world.request(2)
    world.reply(2)
    assert len(world.judge(*wanted, (NAME, 2)).accepted) == 3
    assert sorted(read) == [NAME, OTHER]


# --- what was before ------------------------------------------------------------------------


def test_a_key_of_an_earlier_request_is_refused_whatever_certificate_it_is_in(
    world: World,
) -> None:
    world.request(2, key_name="leaf")
    world.reply(2, public=factory.key("leaf").public_key())
    (refusal, *_) = world.judge((NAME, 2)).refused
    assert refusal.error.rule == "DIP-6.1.6-REKEY"
    assert f"{NAME} v1" in refusal.error.found


def test_a_key_in_the_ledger_is_refused_also_in_a_certificate_that_was_kept(world: World) -> None:
    world.keep()
    inputs = world.inputs()
    evidence = dataclasses.replace(
        acceptance.evidence(inputs, {}), compromised={spki("leaf"): "compromised.yml: stolen"}
    )
    outcome = acceptance.run(inputs.declared, [ONE], inputs.certificates_dir, evidence, named)
    (refusal,) = outcome.refused
    assert "compromised.yml: stolen" in refusal.error.found


@pytest.mark.parametrize("kept", [True, False])
def test_only_what_was_accepted_may_lie_inside_its_renewal_window(world: World, kept: bool) -> None:
    """A release must go on until the last day; a reply that is due on arrival is an old one."""
    world.reply(end=NOW + 46 * DAY)
    if kept:
        world.keep()
    inputs = world.inputs()
    later = dataclasses.replace(acceptance.evidence(inputs, {}), now=NOW + SECOND)
    outcome = acceptance.run(inputs.declared, [ONE], inputs.certificates_dir, later, named)
    assert (outcome.refused == ()) is kept
    assert [one.error.rule for one in outcome.refused] == ([] if kept else ["DIP-6.1.4-WINDOW"])


WHERE = {
    "a key in the only file": ({"reply_txt": key_pem()}, "reply.txt"),
    "a key in one of two": (
        {"reply_cer": factory.pem(ISSUING.leaf()), "reply_txt": key_pem()},
        "reply.txt",
    ),
    "several files that do not fit": (
        {"reply_cer": SIBLING.pem, "reply_txt": factory.pem(SIBLING.leaf())},
        "",
    ),
}


@pytest.mark.parametrize("kind", WHERE)
def test_a_refusal_names_the_file_it_is_about(world: World, kind: str) -> None:
    contents, file = WHERE[kind]
    world.put(**contents)
    assert refused(world).error.where.endswith(str(world.directory() / file))
