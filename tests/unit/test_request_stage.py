# SPDX-License-Identifier: GPL-3.0-or-later
"""A request is a function of key and inventory, and is judged before anyone sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pki import csr, public_state, request_stage
from pki.errors import PkiError
from pki.expectation import History
from pki.facts import certificates
from pki.facts.scene import Scene
from pki.history import Committed
from pki.policy import Outcome
from pki.stores.base import KeyRecord, KeyVersion
from unit import pki_factory as factory
from unit.controller_world import NAME, OTHER, World, tree, whole
from unit.pki_factory import CN, SUBJECT

CREATED = datetime(2026, 11, 15, 8, 30, 15, 999_999, tzinfo=UTC)


class SoftwareStore:
    """Keys in this process: real ones, of the size asked for."""

    def __init__(self, bits: int = 4096) -> None:
        self.bits = bits
        self.made: dict[str, dict[int, rsa.RSAPrivateKey]] = {}

    def names(self) -> frozenset[str]:
        return frozenset(self.made)

    def describe(self, name: str) -> KeyRecord | None:
        if name not in self.made:
            return None
        versions = {
            number: KeyVersion(
                number,
                CREATED,
                key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            )
            for number, key in self.made[name].items()
        }
        return KeyRecord(name, f"rsa-{self.bits}", True, versions)

    def ensure(self, name: str, version: int) -> KeyRecord:
        keys = self.made.setdefault(name, {})
        for number in range(len(keys) + 1, version + 1):
            keys[number] = factory.key(f"store {number}", self.bits)
        record = self.describe(name)
        assert record is not None
        return record

    def signing_key(self, name: str, version: int) -> rsa.RSAPrivateKey:
        return self.made[name][version]

    def release_path(self, name: str, version: int) -> str:
        raise self.never_leaves(name)

    def wrap(self, name: str, version: int, ttl: int) -> Any:
        raise self.never_leaves(name)

    def never_leaves(self, name: str) -> PkiError:
        return PkiError(f"{name}: keys of this store never leave it", rule="KEY-OPERATION")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def build(
    world: World, store: SoftwareStore, version: int = 1, history: History = request_stage.NOTHING
) -> request_stage.Written:
    inputs = world.inputs()
    return request_stage.build(
        inputs.declared.certificates[NAME],
        inputs.policy_of(NAME),
        store,
        store.ensure(NAME, version),
        version,
        inputs.certificates_dir,
        history,
    )


def test_a_request_carries_the_declared_name_and_the_vetted_subject(world: World) -> None:
    written = build(world, SoftwareStore())
    request = csr.parse(written.contents["request.csr"])
    assert request.common_name == CN
    assert {key: request.subject[key] for key in SUBJECT} == SUBJECT
    assert request.signature_valid
    assert (request.algorithm, request.bits) == ("RSA", 4096)
    assert (request.san, request.attributes) == ((), ())


def test_the_record_says_what_was_asked_for_with_which_key_and_when(world: World) -> None:
    store = SoftwareStore()
    written = build(world, store)
    spki = store.ensure(NAME, 1).versions[1].spki_der
    assert yaml.safe_load(written.contents["request.yml"]) == {
        "schema": 1,
        "certificate": NAME,
        "version": 1,
        "organisation": "example-energy",
        "policy": "mhhs-dip",
        "environment": "nonprod",
        "common_name": CN,
        "subject": SUBJECT,
        "purposes": ["mtls", "signing"],
        "key": {
            "store": "transit",
            "mount": "transit-nonprod-tls",
            "name": NAME,
            "version": 1,
            "type": "rsa-4096",
            "spki_sha256": hashlib.sha256(spki).hexdigest(),
        },
        "created": "2026-11-15T08:30:15Z",
        "request_sha256": hashlib.sha256(written.contents["request.csr"]).hexdigest(),
    }


def test_the_record_is_what_the_plan_and_the_judge_read_back(world: World) -> None:
    written = build(world, SoftwareStore())
    public_state.write(written.directory, written.contents)
    (files,) = public_state.scan(world.kept, NAME)
    requested = public_state.observed_version(files).requested
    assert requested is not None
    declared = world.inputs().declared.certificates[NAME]
    assert requested.intent.common_name == declared.common_name
    assert requested.intent.subject == declared.subject
    assert requested.intent.purposes == declared.purposes
    assert requested.spki_sha256 == csr.parse(written.contents["request.csr"]).spki_sha256


def test_two_runs_write_the_same_bytes_and_the_second_has_nothing_to_do(world: World) -> None:
    store = SoftwareStore()
    first = build(world, store)
    assert first.missing == ("request.csr", "submission.txt", "request.yml")
    public_state.write(first.directory, first.contents)
    second = build(world, store)
    assert second.contents == first.contents
    assert second.missing == ()


def test_a_run_elsewhere_with_roster_and_subject_in_another_order_writes_the_same_bytes(
    world: World, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = World(elsewhere)
    other.organisation["subject"] = dict(reversed(SUBJECT.items()))
    other.certificates[0]["purposes"] = ["signing", "mtls"]
    store = SoftwareStore()
    assert build(other, store).contents == build(world, store).contents


class Backwards(frozenset[str]):
    """A set that another process happens to walk the other way round."""

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(super().__iter__(), reverse=True))


def test_the_order_in_which_a_process_walks_its_sets_changes_no_byte(world: World) -> None:
    store, inputs = SoftwareStore(), world.inputs()
    declared = inputs.declared.certificates[NAME]
    backwards = replace(declared, purposes=Backwards(declared.purposes))
    assert list(backwards.purposes) == ["signing", "mtls"]
    again = request_stage.build(
        backwards, inputs.policy_of(NAME), store, store.ensure(NAME, 1), 1, world.kept
    )
    assert again.contents == build(world, store).contents


def test_the_record_is_written_last_so_that_who_finds_it_finds_the_rest(world: World) -> None:
    assert list(build(world, SoftwareStore()).contents)[-1] == "request.yml"


def test_a_file_that_somebody_edited_is_named_as_differing(world: World) -> None:
    store = SoftwareStore()
    written = build(world, store)
    public_state.write(written.directory, {**written.contents, "submission.txt": b"edited"})
    assert build(world, store).missing == ("submission.txt",)


def test_building_a_request_writes_nothing(world: World) -> None:
    before = tree(world.base)
    build(world, SoftwareStore())
    assert tree(world.base) == before


# --- what the policy refuses ----------------------------------------------------------------


def test_a_request_that_the_policy_refuses_is_named_with_its_clause(world: World) -> None:
    with pytest.raises(PkiError) as caught:
        build(world, SoftwareStore(bits=2048))
    error = whole(caught.value)
    assert error.rule == "DIP-7.1.2-RSA4096"
    assert error.message.startswith(f"{NAME}: ")
    assert error.found == "RSA 2048"
    assert error.where.endswith("7.1.2, 8.6")
    assert "Code of Connection" in error.where


def test_a_subject_that_does_not_arrive_in_the_request_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes that were made are judged, not the wish they were made from."""
    vetted = world.inputs().declared.certificates[NAME].subject
    faulty = csr.build

    def build_wrongly(key: Any, cn: str, subject: Any, san: Any) -> bytes:
        assert subject == vetted
        return faulty(key, cn, {**subject, "O": "Example Energy"}, san)

    monkeypatch.setattr(csr, "build", build_wrongly)
    with pytest.raises(PkiError) as caught:
        build(world, SoftwareStore())
    assert caught.value.rule == "DIP-6.1.2-ORG"


def test_what_the_stage_wrote_passes_every_rule_once_it_is_committed(world: World) -> None:
    written = build(world, SoftwareStore())
    public_state.write(written.directory, written.contents)
    (document,) = certificates.collect(Scene(world.inputs(), "offline", "nonprod")).documents
    findings = world.inputs().policies[document.policy].evaluate("request", document.facts)
    assert {one.rule: one.outcome for one in findings if not one.passed} == {}
    assert document.facts["submission"]["submitters"] == ["Ada Admin"]


@pytest.mark.parametrize(
    ("edit", "rule"),
    [
        (lambda text: text.replace(b"Ada Admin", b"Eve Else"), "DIP-5.4.3-ROLES"),
        (lambda text: text.replace(b"Example Energy Ltd", b"Else Ltd"), "DIP-12.2-11-NAME"),
        (lambda text: text.replace(b"-----BEGIN", b"> -----BEGIN"), "DIP-6.1.2-PORTAL-ONLY"),
    ],
)
def test_a_submission_text_that_somebody_edited_is_found(
    world: World, edit: Callable[[bytes], bytes], rule: str
) -> None:
    written = build(world, SoftwareStore())
    text = edit(written.contents["submission.txt"])
    public_state.write(written.directory, {**written.contents, "submission.txt": text})
    (document,) = certificates.collect(Scene(world.inputs(), "offline", "nonprod")).documents
    findings = world.inputs().policies[document.policy].evaluate("request", document.facts)
    assert rule in {one.rule for one in findings if one.outcome is Outcome.FAILED}


# --- what was before ------------------------------------------------------------------------


def known(world: World, compromised: dict[str, str] | None = None) -> Committed:
    return Committed.of(public_state.scan_every(world.kept), compromised or {})


@pytest.mark.parametrize("name", [NAME, OTHER], ids=["before", "elsewhere"])
@pytest.mark.parametrize("outcome", ["", "rejected", "withdrawn"])
def test_a_key_that_stood_in_another_request_is_never_offered_again(
    world: World, name: str, outcome: str
) -> None:
    store = SoftwareStore()
    store.made[NAME] = {number: factory.key("twice") for number in (1, 2)}
    world.request(1, name, key_name="twice")
    if outcome:
        record = {"schema": 1, "outcome": outcome, "date": "2026-11-20"}
        world.put(1, name, outcome_yml=public_state.dump(record))
    before = tree(world.kept)
    with pytest.raises(PkiError) as caught:
        build(world, store, 2, known(world).before(NAME, 2))
    error = whole(caught.value)
    assert error.rule == "REQUEST-KEY"
    assert f"in {name} v1" in error.found
    assert tree(world.kept) == before


def test_a_request_may_be_written_again_with_its_own_key(world: World) -> None:
    store = SoftwareStore()
    written = build(world, store)
    public_state.write(written.directory, written.contents)
    again = build(world, store, 1, known(world).before(NAME, 1))
    assert again.missing == ()


def test_a_compromised_key_gets_no_request(world: World) -> None:
    store = SoftwareStore()
    spki = hashlib.sha256(store.ensure(NAME, 1).versions[1].spki_der).hexdigest()
    history = known(world, {spki: "Vault kv-nonprod/compromised"}).before(NAME, 1)
    with pytest.raises(PkiError) as caught:
        build(world, store, 1, history)
    assert "Vault kv-nonprod/compromised" in str(caught.value)


# --- what the human reads -------------------------------------------------------------------


def submission(world: World) -> str:
    return build(world, SoftwareStore()).contents["submission.txt"].decode()


def test_the_text_to_submit_holds_every_value_that_the_portal_must_show(world: World) -> None:
    written = build(world, SoftwareStore())
    text = written.contents["submission.txt"].decode()
    record = yaml.safe_load(written.contents["request.yml"])
    assert written.contents["request.csr"].decode() in text
    for value in (CN, *SUBJECT.values(), record["key"]["spki_sha256"], "rsa-4096"):
        assert value in text
    lines = text.splitlines()
    assert lines[0] == f"Certificate request for {NAME}, version 1"
    assert lines[1] == "=" * len(lines[0])
    assert f"     {NAME}/1/reply.txt" in lines


def test_only_certificate_admins_are_named_as_who_may_submit(world: World) -> None:
    world.organisation["roster"].append(
        {"name": "Ben Admin", "email": "ben@example.com", "role": "certificate_admin"}
    )
    text = submission(world)
    assert "Who    Ada Admin or Ben Admin (Certificate Admin)\n" in text
    assert "Uma User" not in text


def test_a_nominated_admin_is_told_with_the_employer_and_who_answers(world: World) -> None:
    world.organisation["roster"].append(
        {
            "name": "Xena {Admin}",
            "email": "xena@example.com",
            "role": "certificate_admin",
            "employer": "provider-x",
        }
    )
    world.others["provider-x"] = {"party": "dip_connection_provider", "subject": dict(SUBJECT)}
    world.certificates[0]["organisation"] = "example-energy"
    text = submission(world)
    assert "Who    Ada Admin or Xena {Admin} (Certificate Admin)\n" in text
    nominated = "       Xena {Admin} is nominated and works for provider-x; "
    assert f"{nominated}{SUBJECT['O']} answers for it (5.4.2.3)\n" in text
    assert "Ada Admin is nominated" not in text


def test_a_request_says_which_provider_will_sign_with_it(world: World) -> None:
    assert "provider-x" not in submission(world)
    world.others["provider-x"] = {"party": "dip_connection_provider", "subject": dict(SUBJECT)}
    world.certificates[0]["organisation"] = "example-energy"
    world.certificates[0] |= {"provider": "provider-x", "purposes": ["signing"]}
    world.organisation["party"] = "market_participant_non_active"
    written = build(world, SoftwareStore())
    assert yaml.safe_load(written.contents["request.yml"])["provider"] == "provider-x"
    text = written.contents["submission.txt"].decode()
    assert f"For    provider-x, which signs with it for {SUBJECT['O']}, and nobody else" in text


def test_braces_and_other_letters_in_a_vetted_name_stay_as_they_are(world: World) -> None:
    world.organisation["subject"]["O"] = "Énergie {name} Ltd"
    assert "organisation         Énergie {name} Ltd\n" in submission(world)


def test_a_later_version_has_a_directory_and_a_text_of_its_own(world: World) -> None:
    store = SoftwareStore()
    store.made[NAME] = {1: factory.key("older"), 2: factory.key("store 1", 4096)}
    written = build(world, store, 2)
    assert written.directory == world.directory(2)
    assert f"{NAME}/2/reply.txt" in written.contents["submission.txt"].decode()
    other = replace(world.inputs().declared.certificates[NAME], purposes=frozenset({"signing"}))
    record = request_stage.build(
        other, world.inputs().policy_of(NAME), store, store.ensure(NAME, 2), 2, world.kept
    ).contents["request.yml"]
    assert yaml.safe_load(record)["key"]["mount"] == "transit-nonprod-signing"
