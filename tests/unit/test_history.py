# SPDX-License-Identifier: GPL-3.0-or-later
"""What was before a reply: keys and serial numbers of all other versions, and the ledgers."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from pki import names, public_state
from pki.expectation import History, Seen
from pki.history import Committed
from pki.public_state import VersionFiles
from unit import pki_factory as factory
from unit.controller_world import ISSUING, NAME, OTHER, World, spki

ISSUER = names.rfc2253(ISSUING.certificate.subject)


def version(number: int, **given: Any) -> VersionFiles:
    nothing = {field.name: None for field in dataclasses.fields(VersionFiles)}
    place = {"path": Path(f"certificates/x/{number}"), "number": number, "replies": ()}
    return VersionFiles(**{**nothing, **place, **given})


def accepted(number: int, der: bytes, key_name: str = "leaf") -> VersionFiles:
    return version(
        number,
        request=factory.request(key_name=key_name),
        certificate=factory.pem(der),
        accepted_record={"schema": 1, "certificate_sha256": digest(der)},
    )


def digest(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def committed(
    compromised: Mapping[str, str] | None = None, **by_name: list[VersionFiles]
) -> Committed:
    return Committed.of(by_name, compromised or {})


def serial(der: bytes) -> str:
    return f"{x509.load_der_x509_certificate(der).serial_number:x}"


def test_without_neighbours_nothing_was_before() -> None:
    history = committed(mine=[version(1)]).before("mine", 1)
    assert (list(history.serials), dict(history.keys)) == ([], {})
    assert (history.deployed, history.accepted, dict(history.compromised)) == ("", "", {})


def test_the_serial_of_an_accepted_certificate_is_known_to_all_versions_but_its_own() -> None:
    der = ISSUING.leaf()
    known = committed(mine=[accepted(1, der), version(2)], other=[version(1)])
    seen = Seen(serial(der), ISSUER, "mine v1")
    assert list(known.before("other", 1).serials) == [seen]
    assert list(known.before("mine", 2).serials) == [seen]
    assert list(known.before("mine", 1).serials) == []


def test_a_serial_is_one_only_under_its_issuer() -> None:
    der = ISSUING.leaf()
    history = committed(mine=[accepted(1, der)], other=[version(1)]).before("other", 1)
    assert history.seen(serial(der), ISSUER) == ["mine v1"]
    assert history.seen(serial(der), "CN=Another CA") == []
    assert history.seen("1", ISSUER) == []


def test_a_plain_list_of_serials_answers_like_the_looked_through_versions() -> None:
    history = History(serials=[Seen("a", ISSUER, "here"), Seen("a", "", "anywhere")])
    assert history.seen("a", ISSUER) == ["here", "anywhere"]
    assert history.seen("a", "CN=Another CA") == ["anywhere"]
    assert history.seen("b", ISSUER) == []


def test_what_was_only_pasted_is_no_accepted_certificate() -> None:
    reply = (("reply.txt", factory.pem(ISSUING.leaf())),)
    known = committed(mine=[version(1, replies=reply)], other=[version(1)])
    assert list(known.before("other", 1).serials) == []


def test_a_certificate_without_its_record_was_accepted_all_the_same() -> None:
    der = ISSUING.leaf()
    known = committed(mine=[version(1, certificate=factory.pem(der)), version(2)])
    history = known.before("mine", 2)
    assert history.seen(serial(der), ISSUER) == ["mine v1"]
    assert history.deployed == digest(der)


def test_the_key_of_every_other_request_is_known_whatever_became_of_it() -> None:
    outcome = {"schema": 1, "outcome": "rejected"}
    known = committed(
        mine=[version(1, request=factory.request(), outcome_record=outcome), version(2)]
    )
    assert dict(known.before("mine", 2).keys) == {spki("leaf"): "mine v1"}
    assert dict(known.before("mine", 1).keys) == {}


def test_a_key_in_several_requests_names_them_all_but_the_one_in_question() -> None:
    request = factory.request()
    known = committed(a=[version(1, request=request)], b=[version(1, request=request), version(2)])
    assert known.before("b", 2).keys[spki("leaf")] == "a v1, b v1"
    assert known.before("b", 1).keys[spki("leaf")] == "a v1"


def test_a_record_and_a_certificate_tell_of_their_key_when_the_request_is_gone() -> None:
    record = {"schema": 1, "key": {"spki_sha256": spki("second")}}
    der = ISSUING.leaf()
    known = committed(
        mine=[version(1, request_record=record, certificate=factory.pem(der))], other=[version(1)]
    )
    assert set(known.before("other", 1).keys) == {spki("second"), spki("leaf")}


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        pytest.param(1, None, id="nothing before the first"),
        pytest.param(2, 1, id="the one before"),
        pytest.param(4, 2, id="the newest accepted before, not the rejected one between"),
    ],
)
def test_deployed_is_the_newest_accepted_version_before(asked: int, wanted: int | None) -> None:
    ders = {1: ISSUING.leaf(), 2: ISSUING.leaf(), 4: ISSUING.leaf()}
    rejected = version(3, outcome_record={"schema": 1, "outcome": "rejected"})
    versions = [accepted(4, ders[4]), accepted(1, ders[1]), rejected, accepted(2, ders[2])]
    history = committed(mine=versions, other=[accepted(1, ISSUING.leaf())]).before("mine", asked)
    assert history.deployed == (digest(ders[wanted]) if wanted else "")


def test_accepted_is_what_the_versions_own_record_names() -> None:
    der = ISSUING.leaf()
    known = committed(mine=[accepted(1, der), version(2)])
    assert known.before("mine", 1).accepted == digest(der)
    assert known.before("mine", 2).accepted == ""


def test_the_ledger_is_handed_on_as_it_is() -> None:
    history = committed({"ab": "compromised.yml"}, mine=[version(1)]).before("mine", 1)
    assert dict(history.compromised) == {"ab": "compromised.yml"}


GARBAGE = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    "damaged",
    [
        {"request": b"\x30\x03\x02\x01"},
        {"certificate": GARBAGE},
        {"certificate": b"\xff"},
        {"request_record": {"key": "text"}},
        {"request_record": {"key": {"spki_sha256": None}}},
        {"accepted_record": {"certificate_sha256": None}},
    ],
)
def test_a_damaged_neighbour_hides_no_other(damaged: Mapping[str, Any]) -> None:
    known = committed(
        broken=[version(1, **damaged)], good=[version(1, request=factory.request())], z=[version(1)]
    )
    assert dict(known.before("z", 1).keys) == {spki("leaf"): "good v1"}


def test_a_damaged_part_of_a_version_hides_none_of_its_other_parts() -> None:
    damaged = version(1, request=factory.request(), certificate=GARBAGE)
    assert set(committed(a=[damaged], b=[version(1)]).before("b", 1).keys) == {spki("leaf")}


def test_a_history_may_cross_to_a_worker() -> None:
    der = ISSUING.leaf()
    history = committed(mine=[accepted(1, der)], other=[version(1)]).before("other", 1)
    again = pickle.loads(pickle.dumps(history))
    assert again.seen(serial(der), ISSUER) == ["mine v1"]
    assert dict(again.keys) == dict(history.keys)


def test_ten_thousand_versions_are_looked_through_once_and_asked_without_a_walk() -> None:
    count = 10_000
    by_name = {
        f"c{number}": [version(1, request_record={"key": {"spki_sha256": f"{number:064x}"}})]
        for number in range(count)
    }
    begun = time.process_time()
    known = Committed.of(by_name, {})
    for number in range(count):
        history = known.before(f"c{number}", 1)
        assert f"{number:064x}" not in history.keys
        assert f"{(number + 1) % count:064x}" in history.keys
        assert history.seen("1", ISSUER) == []
    assert time.process_time() - begun < 2


# --- from the directories -------------------------------------------------------------------


def test_every_certificate_on_disk_is_looked_at_declared_or_not(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.request()
    world.request(name="forgotten", key_name="second")
    found = public_state.scan_every(world.kept)
    assert {name: [one.number for one in versions] for name, versions in found.items()} == {
        NAME: [1],
        "forgotten": [1],
    }
    assert dict(Committed.of(found, {}).before(NAME, 1).keys) == {spki("second"): "forgotten v1"}


def test_a_directory_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.request()
    world.put(name=OTHER, request_yml=b"schema: 9\n")
    (world.kept / "a file").write_text("nothing")
    assert set(public_state.scan_every(world.kept)) == {NAME}


def test_no_directory_at_all_is_no_certificates(tmp_path: Path) -> None:
    assert public_state.scan_every(tmp_path / "absent") == {}
