# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose key it is, which version it becomes, what is written, and what no policy lets pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from pki import (
    csr,
    desk,
    import_stage,
    key_import,
    policy,
    public_state,
    request_facts,
    request_stage,
    supply_stage,
)
from pki.errors import PkiError
from pki.expectation import Expectation
from pki.key_hygiene import Limits
from pki.stores.base import KeyRecord, KeyVersion
from unit import pki_factory as factory
from unit import weak_keys
from unit.controller_world import ISSUING, NAME, OTHER, World, certificate_entry, tree, whole
from unit.pki_factory import CN, NOW, SUBJECT

Given = Mapping[str, Sequence[x509.Certificate]]
REQUEST = ("request.csr", "submission.txt", "request.yml")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def brought(key: rsa.RSAPrivateKey) -> key_import.Brought:
    plain = serialization.NoEncryption()
    return key_import.read(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, plain))


def own(bits: int = 4096) -> rsa.RSAPrivateKey:
    return factory.key("brought", bits)


def of(key: rsa.RSAPrivateKey, **changes: Any) -> x509.Certificate:
    return x509.load_der_x509_certificate(ISSUING.leaf(public=key.public_key(), **changes))


def receive(
    world: World, key: rsa.RSAPrivateKey, given: Given | None = None, **known: str
) -> import_stage.Arrival:
    place = desk.of(world.inputs(), NAME, "TEST")
    place = replace(place, known=replace(place.known, compromised=known))
    along = {"a file": [of(key), ISSUING.certificate]} if given is None else given
    return import_stage.receive(place, brought(key), along)


def refused(world: World, key: rsa.RSAPrivateKey, given: Given | None = None) -> PkiError:
    before = tree(world.base)
    with pytest.raises(PkiError) as caught:
        receive(world, key, given)
    assert tree(world.base) == before
    return whole(caught.value)


def digest(key: rsa.RSAPrivateKey) -> str:
    return csr.parse(csr.build(key, CN, SUBJECT)).spki_sha256


# --- whose -----------------------------------------------------------------------------------


def test_the_certificate_that_came_along_says_whose_the_key_is(world: World) -> None:
    arrival = receive(world, own())
    assert arrival.owner.sentence() == (
        f"the key belongs to {SUBJECT['O']}, {CN}, as the certificate in a file shows"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subject": {**SUBJECT, "O": "Somebody Else"}}, "the key belongs to another participant"),
        ({"subject": {"C": "GB"}}, "the key belongs to another participant"),
        ({"cn": "energydip.example-energy.co.uk"}, "the key belongs to another name"),
    ],
)
def test_another_holders_key_is_refused(
    world: World, changes: dict[str, Any], message: str
) -> None:
    error = refused(world, own(), {"a file": [of(own(), **changes)]})
    assert message in error.message
    assert error.rule == "KEY-OWNER"
    assert SUBJECT["O"] in error.expected


def test_a_certificate_of_another_key_is_refused_even_beside_a_committed_request(
    world: World,
) -> None:
    world.request()
    error = refused(world, factory.key("leaf"), {"a file": [of(factory.key("stranger"))]})
    assert error.rule == "KEY-MATCH"


def test_a_key_of_which_nothing_shows_whose_it_is_is_refused(world: World) -> None:
    error = refused(world, own(), {"the key file": []})
    assert error.rule == "KEY-OWNER"
    assert "-e certificate_file=FILE" in error.next_step


def test_a_committed_request_of_the_key_shows_it_too_and_stays_as_it_is(world: World) -> None:
    world.request()
    arrival = receive(world, factory.key("leaf"), {})
    assert (arrival.version, arrival.asked) == (1, True)
    assert arrival.owner.shown_by == "the request of version 1"
    assert arrival.contents(NOW) == {}


def test_a_reply_that_waits_shows_it_and_is_left_alone(world: World) -> None:
    world.request()
    world.reply()
    arrival = receive(world, factory.key("leaf"), {})
    assert arrival.owner.shown_by == "the certificate in the reply of version 1"
    assert arrival.contents(NOW) == {}


# --- which version, which files ---------------------------------------------------------------


def test_a_first_key_becomes_version_1_with_its_request_and_its_reply(world: World) -> None:
    arrival = receive(world, own())
    contents = arrival.contents(NOW)
    assert arrival.version == 1
    assert list(contents) == [*REQUEST, "reply.pem"]
    assert yaml.safe_load(contents["request.yml"])["key"]["imported"] is True
    assert contents["reply.pem"] == b"".join(
        one.public_bytes(Encoding.PEM) for one in (of_reply(contents), ISSUING.certificate)
    )


def of_reply(contents: Mapping[str, bytes]) -> x509.Certificate:
    return x509.load_pem_x509_certificates(contents["reply.pem"])[0]


def test_a_second_time_there_is_nothing_left_to_write(world: World) -> None:
    arrival = receive(world, own())
    public_state.write(arrival.directory, arrival.contents(NOW))
    again = receive(world, own())
    assert again.version == 1
    assert again.contents(NOW + timedelta(days=1)) == {}


@pytest.mark.parametrize("left", range(4))
def test_an_interrupted_import_is_completed(world: World, left: int) -> None:
    arrival = receive(world, own())
    contents = arrival.contents(NOW)
    some = dict(list(contents.items())[:left])
    if some:
        public_state.write(arrival.directory, some)
    public_state.write(arrival.directory, receive(world, own()).contents(NOW))
    for name, content in contents.items():
        if name != "reply.pem":
            assert (arrival.directory / name).read_bytes() == content
    assert (arrival.directory / "reply.pem").exists()


def test_the_request_has_the_bytes_that_the_store_would_sign(world: World) -> None:
    contents = receive(world, own()).contents(NOW)

    class Store:
        def signing_key(self, name: str, version: int) -> rsa.RSAPrivateKey:
            return own()

    record = KeyRecord(
        NAME,
        "rsa-4096",
        True,
        {1: KeyVersion(1, NOW, csr.spki_der(own().public_key()))},
        imported=True,
    )
    inputs = world.inputs()
    certificate, rules = inputs.declared.certificates[NAME], inputs.policy_of(NAME)
    store: Any = Store()
    built = request_stage.build(certificate, rules, store, record, 1, world.kept)
    assert {name: contents[name] for name in REQUEST} == dict(built.contents)


def test_an_ended_certificate_shows_whose_the_key_is_and_is_no_reply(world: World) -> None:
    leaf = of(own(), start=NOW - timedelta(days=400), end=NOW - timedelta(days=3))
    arrival = receive(world, own(), {"a file": [leaf]})
    assert list(arrival.contents(NOW)) == list(REQUEST)
    told = arrival.result(arrival.contents(NOW), moved=True, check=False)["sentences"]
    assert any("its certificate ended on 2026-11-18" in line for line in told)


def test_of_two_certificates_of_the_key_the_one_that_ends_last_is_the_reply(world: World) -> None:
    old = of(own(), end=NOW + timedelta(days=3))
    new = of(own(), end=NOW + timedelta(days=300))
    arrival = receive(world, own(), {"a file": [old, new]})
    assert x509.load_pem_x509_certificates(arrival.contents(NOW)["reply.pem"]) == [new]


def test_a_reply_that_a_person_committed_is_never_replaced(world: World) -> None:
    world.put(1, reply_txt=b"what a person pasted")
    assert list(receive(world, own()).contents(NOW)) == list(REQUEST)


def test_a_key_of_an_accepted_version_changes_nothing(world: World) -> None:
    world.request()
    world.reply()
    world.crls()
    world.keep()
    arrival = receive(world, factory.key("leaf"), {})
    assert arrival.version == 1
    assert arrival.contents(NOW) == {}


def test_while_another_request_is_open_no_key_is_taken_in(world: World) -> None:
    world.request()
    error = refused(world, own())
    assert "request v1 is open, with another key" in error.message
    assert "outcome=withdrawn" in error.next_step


def test_a_key_whose_request_came_to_nothing_is_never_offered_twice(world: World) -> None:
    world.request()
    record = {"schema": 1, "outcome": "rejected", "date": "2026-11-20T12:00:00Z"}
    world.put(1, outcome_yml=public_state.dump(record))
    error = refused(world, factory.key("leaf"))
    assert "the request with this key was rejected" in error.message


def test_a_key_of_another_entry_is_refused_with_the_place_it_is_in(world: World) -> None:
    world.certificates.append(certificate_entry(OTHER))
    world.request(1, OTHER, key_name="brought 4096")
    error = refused(world, factory.key("brought 4096"))
    assert error.rule == "REQUEST-KEY"
    assert f"{OTHER} v1" in error.found


# --- what the policy refuses -------------------------------------------------------------------

WEAK: dict[str, tuple[Callable[[], rsa.RSAPrivateKey], str]] = {
    "too small": (lambda: own(2048), "DIP-7.1.2-RSA4096"),
    "far too small": (lambda: own(1024), "DIP-7.1.2-RSA4096"),
    "close primes": (weak_keys.close_primes, "DIP-6.2-WEAK-KEY"),
    "a small factor": (lambda: weak_keys.small_factor(1009), "DIP-6.2-WEAK-KEY"),
    "ROCA": (weak_keys.roca, "DIP-6.2-WEAK-KEY"),
    "exponent 3": (weak_keys.cubic, "DIP-6.2-EXPONENT"),
}


@pytest.mark.parametrize("name", WEAK)
def test_a_key_that_is_not_sound_is_refused_before_it_goes_anywhere(
    world: World, name: str
) -> None:
    make, rule = WEAK[name]
    key = make()
    error = refused(world, key)
    # The first rule that refuses is named; the key's own fault is among all of them.
    assert error.rule in failing(world, csr.build(key, CN, SUBJECT))
    assert rule in failing(world, csr.build(key, CN, SUBJECT))


@pytest.mark.parametrize("name", WEAK)
def test_so_is_a_devices_request_with_such_a_key(world: World, name: str) -> None:
    make, rule = WEAK[name]
    world.certificates[0]["key"] = {"store": "external"}
    request = csr.build(make(), CN, SUBJECT)
    with pytest.raises(PkiError) as caught:
        supply_stage.take_in(desk.of(world.inputs(), NAME, "TEST"), request)
    assert caught.value.rule in failing(world, request)
    assert rule in failing(world, request)


def failing(world: World, request: bytes) -> set[str]:
    """Every rule that refuses a request."""
    rules = world.inputs().policy_of(NAME)
    certificate = world.inputs().declared.certificates[NAME]
    expectation = Expectation(CN, certificate.subject, certificate.purposes, "mhhs-dip", "nonprod")
    beside = request_facts.Beside(expectation, Limits.of(rules.parameter))
    findings = rules.judge("request", request_facts.document(request, beside))
    return {one.rule for one in policy.refused(findings)}


def test_a_compromised_key_is_refused_new_or_committed(world: World) -> None:
    with pytest.raises(PkiError) as caught:
        receive(world, own(), None, **{digest(own()): "it leaked"})
    assert caught.value.found == "it leaked"
    world.request()
    leaked = factory.key("leaf")
    with pytest.raises(PkiError) as caught:
        receive(world, leaked, None, **{digest(leaked): "it leaked"})
    assert whole(caught.value).rule == "KEY-COMPROMISED"
