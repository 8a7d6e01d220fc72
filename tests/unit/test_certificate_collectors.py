# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen of committed requests and certificates, and of keys in stores and on hosts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.ocsp import OCSPCertStatus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pki import csr, download, ocsp_query, policy_files, public_state, shipped
from pki.documents import Collected, Validators
from pki.facts import certificates, keys
from pki.facts.scene import Scene
from pki.policy import Outcome
from unit import hostile_x509 as hostile
from unit import pki_factory as factory
from unit.controller_world import (
    FOREIGN,
    ISSUING,
    NAME,
    OTHER,
    ROOT,
    SIBLING,
    World,
    certificate_entry,
    policies,
    spki,
)
from unit.pki_factory import CN, DAY, NOW, SECOND

VALIDATORS = Validators(policy_files.load_fact_schemas(shipped.DIRECTORY))
LATER = NOW + 400 * DAY


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def scene(world: World, scope: str = "offline", now: datetime = NOW, **more: Any) -> Scene:
    return Scene(inputs=world.inputs(now), scope=scope, name="nonprod", **more)  # type: ignore[arg-type]


def documents(collected: Collected) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Facts by kind and object, once each fits its schema and its declaration."""
    for one in collected.documents:
        assert VALIDATORS.fault(one.kind, one.facts) == "", one.object
    assert {d.key for d in collected.documents} <= {d.key for d in collected.declarations}
    return {(one.kind, one.object): one.facts for one in collected.documents}


def seen(world: World, **options: Any) -> dict[tuple[str, str], Mapping[str, Any]]:
    return documents(certificates.collect(scene(world, **options)))


def failed(kind: str, facts: Mapping[str, Any]) -> set[str]:
    findings = policies()["mhhs-dip"].evaluate(kind, facts)
    assert all(one.outcome is not Outcome.NOT_EVALUATED for one in findings)
    return {one.rule for one in findings if one.outcome is Outcome.FAILED}


def keep(world: World, version: int = 1, key_name: str = "leaf", **options: Any) -> bytes:
    """A version that was accepted, as the acceptance stage leaves it."""
    leaf = world.reply(version, public=factory.key(key_name).public_key(), **options)
    parsed = hostile.parsed(leaf)
    record = {
        "schema": 1,
        "serial": f"{parsed.serial_number:x}",
        "certificate_sha256": parsed.fingerprint(hashes.SHA256()).hex(),
        "not_before": public_state.iso(parsed.not_valid_before_utc),
        "not_after": public_state.iso(parsed.not_valid_after_utc),
        "accepted_at": public_state.iso(NOW - DAY),
    }
    world.put(
        version,
        certificate_pem=factory.pem(leaf),
        chain_pem=ISSUING.pem,
        accepted_yml=public_state.dump(record),
    )
    return leaf


# --- which objects there are -------------------------------------------------------------------


def test_a_declared_certificate_without_files_has_no_object(world: World) -> None:
    assert seen(world) == {}


def test_each_version_has_its_request_and_once_answered_its_certificate_and_path(
    world: World,
) -> None:
    world.request()
    assert list(seen(world)) == [("request", f"{NAME} v1")]
    world.reply()
    world.request(2, key_name="second")
    assert set(seen(world)) == {
        ("request", f"{NAME} v1"),
        ("certificate", f"{NAME} v1"),
        ("chain", f"{NAME} v1"),
        ("request", f"{NAME} v2"),
    }


def test_every_document_names_the_file_it_is_about(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.request()
    world.reply()
    monkeypatch.chdir(world.base)
    places = {d.kind: str(d.place) for d in certificates.collect(scene(world)).declarations}
    assert places == {
        "request": f"certificates/{NAME}/1/request.csr:1",
        "certificate": f"certificates/{NAME}/1/reply.txt:1",
        "chain": f"certificates/{NAME}/1/reply.txt:1",
    }
    keep(world)
    places = {d.kind: str(d.place) for d in certificates.collect(scene(world)).declarations}
    assert places["certificate"] == f"certificates/{NAME}/1/certificate.pem:1"


def test_a_directory_that_cannot_be_read_is_a_problem_and_hides_no_other(world: World) -> None:
    world.certificates.append(certificate_entry(OTHER))
    world.request(1, OTHER)
    world.request(2)
    collected = certificates.collect(scene(world))
    assert [one.object for one in collected.documents] == [f"{OTHER} v1"]
    assert [problem["rule"] for problem in collected.problems] == ["STATE-LAYOUT"]


def test_a_record_that_cannot_be_used_is_a_problem_and_the_rest_is_seen(world: World) -> None:
    world.request(created="yesterday")
    world.reply()
    collected = certificates.collect(scene(world))
    assert {one.kind for one in collected.documents} == {"request", "certificate", "chain"}
    assert "yesterday" in collected.problems[0]["found"]


# --- states ----------------------------------------------------------------------------------


def states(world: World, kind: str = "certificate") -> list[str]:
    return [facts["state"] for (of, _), facts in seen(world).items() if of == kind]


def test_a_reply_is_presented_until_it_is_accepted(world: World) -> None:
    world.request()
    world.reply()
    assert states(world) == ["presented"]
    assert states(world, "request") == ["open"]
    keep(world)
    assert states(world) == ["current"]
    assert states(world, "request") == ["settled"]


def test_the_newest_accepted_version_is_current_and_those_before_are_superseded(
    world: World,
) -> None:
    for version, key_name in enumerate(("leaf", "second", "third"), start=1):
        world.request(version, key_name=key_name)
    keep(world, 1)
    keep(world, 2, "second")
    world.reply(3, public=factory.key("third").public_key())
    assert states(world) == ["superseded", "current", "presented"]
    facts = seen(world)[("certificate", f"{NAME} v1")]
    assert facts["successor"] == {"requested": True, "accepted": True, "accepted_days": 1}
    assert seen(world)[("certificate", f"{NAME} v2")]["predecessor"]["exists"] is True


@pytest.mark.parametrize("outcome", ["rejected", "withdrawn"])
def test_a_request_that_was_given_up_is_settled_and_what_was_replied_is_not_judged(
    world: World, outcome: str
) -> None:
    world.request()
    world.reply(cn="energydip-prod.wrong.example")
    record = {"schema": 1, "outcome": outcome, "date": "2026-11-20"}
    world.put(outcome_yml=public_state.dump(record))
    assert states(world) == [outcome]
    assert failed("certificate", seen(world)[("certificate", f"{NAME} v1")]) == set()


def test_an_expired_superseded_certificate_does_not_fail_for_ever(world: World) -> None:
    world.request()
    keep(world)
    world.request(2, key_name="second")
    keep(world, 2, "second", end=NOW + 800 * DAY)
    facts = seen(world, now=LATER)
    assert failed("certificate", facts[("certificate", f"{NAME} v1")]) == set()
    assert failed("chain", facts[("chain", f"{NAME} v1")]) == set()


def test_an_expired_current_certificate_fails(world: World) -> None:
    world.request()
    keep(world)
    facts = seen(world, now=LATER)
    assert {"DIP-3.5.1-EXPIRY", "DIP-5.4.2.1-NO-CERT", "DIP-6.1.4-RENEW"} <= failed(
        "certificate", facts[("certificate", f"{NAME} v1")]
    )


# --- what is in the files -----------------------------------------------------------------------


def test_the_certificate_of_the_requests_key_is_picked_from_all_that_came(world: World) -> None:
    world.request()
    own = ISSUING.leaf()
    stranger = SIBLING.leaf(public=factory.key("stranger").public_key())
    world.put(reply_txt=ISSUING.pem + factory.pem(stranger) + factory.pem(own))
    facts = seen(world)[("certificate", f"{NAME} v1")]
    assert facts["key"]["matches_request"] is True
    assert facts["serial"] == f"{factory.serial(own):x}"


def test_without_one_of_its_key_the_first_end_entity_is_looked_at_and_fails(world: World) -> None:
    world.request()
    stranger = ISSUING.leaf(public=factory.key("stranger").public_key())
    world.put(reply_txt=ISSUING.pem + factory.pem(stranger))
    facts = seen(world)[("certificate", f"{NAME} v1")]
    assert facts["serial"] == f"{factory.serial(stranger):x}"
    assert "DIP-6.1.2-SAME-HOST" in failed("certificate", facts)


@pytest.mark.parametrize(
    ("reply", "said"),
    [(b"see attachment", "no certificate"), (b"", "no certificate"), (b"\x30\x03\x02", "")],
)
def test_a_reply_that_cannot_be_read_is_an_object_with_one_finding(
    world: World, reply: bytes, said: str
) -> None:
    world.request()
    world.put(reply_txt=reply)
    facts = seen(world)
    certificate = facts[("certificate", f"{NAME} v1")]
    assert certificate["state"] == "unreadable"
    assert said in certificate["problem"]
    assert failed("certificate", certificate) == {"DIP-12.2-16-CER"}
    assert failed("chain", facts[("chain", f"{NAME} v1")]) == set()


def test_an_open_request_is_compared_with_todays_entry_and_a_settled_one_with_its_record(
    world: World,
) -> None:
    world.request()
    world.certificates[0]["domain"] = "example-energy.org"
    facts = seen(world)[("request", f"{NAME} v1")]
    assert facts["expected"]["common_name"] == "energydip-nonprod.example-energy.org"
    assert "DIP-6.1.2-CN" in failed("request", facts)
    keep(world)
    facts = seen(world)
    assert facts[("request", f"{NAME} v1")]["expected"]["common_name"] == CN
    assert "DIP-6.1.2-CN" not in failed("certificate", facts[("certificate", f"{NAME} v1")])


def test_a_committed_request_that_somebody_edited_is_not_what_its_record_says(
    world: World,
) -> None:
    world.request()
    assert "DIP-5.6.2-TRUE" not in failed("request", seen(world)[("request", f"{NAME} v1")])
    world.put(request_csr=factory.request(CN, "another"))
    assert "DIP-5.6.2-TRUE" in failed("request", seen(world)[("request", f"{NAME} v1")])


def test_a_record_without_its_request_is_an_object_that_fails(world: World) -> None:
    world.request()
    (world.directory() / "request.csr").unlink()
    facts = seen(world)[("request", f"{NAME} v1")]
    assert failed("request", facts) == {"DIP-6.1.1-PKCS10"}
    assert facts["problem"] == "there is no request.csr"


def test_todays_vetted_data_are_beside_the_certificate(world: World) -> None:
    world.request()
    keep(world)
    name = ("certificate", f"{NAME} v1")
    assert "DIP-3.5.2.2-INACCURATE" not in failed("certificate", seen(world)[name])
    world.organisation["subject"]["O"] = "Renamed Energy Ltd"
    assert "DIP-3.5.2.2-INACCURATE" in failed("certificate", seen(world)[name])


def test_a_kept_certificate_of_which_no_record_speaks_was_not_reviewed(world: World) -> None:
    world.request()
    keep(world)
    name = ("certificate", f"{NAME} v1")
    assert "DIP-5.6.1-REVIEW" not in failed("certificate", seen(world)[name])
    world.put(certificate_pem=factory.pem(ISSUING.leaf()))
    assert "DIP-5.6.1-REVIEW" in failed("certificate", seen(world)[name])


def test_who_else_has_the_key_or_the_serial_number_is_told(world: World) -> None:
    world.request()
    world.reply(serial=77)
    world.request(2, key_name="leaf")
    world.reply(2, serial=77)
    facts = seen(world)[("certificate", f"{NAME} v1")]
    assert facts["key"]["also_in"] == [f"{NAME} v2"]
    assert facts["serial_seen_in"] == [f"{NAME} v2"]
    assert {"DIP-6.1.6-REKEY", "DIP-8.7-SERIAL"} <= failed("certificate", facts)


def test_who_says_that_a_key_is_compromised_is_told_of_requests_and_certificates(
    world: World,
) -> None:
    world.request()
    keep(world)
    world.request(2, key_name="second")
    digest = spki("leaf")
    live = scene(world)
    known = replace(live, inputs=replace(live.inputs, compromised={digest: "a ledger, line 3"}))
    facts = documents(certificates.collect(known))
    for kind in ("request", "certificate"):
        assert facts[(kind, f"{NAME} v1")]["key"]["compromised_in"] == ["a ledger, line 3"]
    assert facts[("request", f"{NAME} v2")]["key"]["compromised_in"] == []
    failing = failed("certificate", facts[("certificate", f"{NAME} v1")])
    assert "DIP-3.5.2.1-REVOKE-COMPROMISE" in failing


def test_the_certificate_in_service_pasted_again_is_told_from_a_new_one(world: World) -> None:
    world.request()
    old = keep(world)
    world.request(2, key_name="second")
    world.put(2, reply_txt=factory.pem(old))
    facts = seen(world)
    assert not facts[("certificate", f"{NAME} v1")]["deployed"]
    again = facts[("certificate", f"{NAME} v2")]
    assert again["deployed"]
    assert "DIP-6.1.4-NOT-NEW" in failed("certificate", again)
    world.reply(2, public=factory.key("second").public_key())
    fresh = seen(world)[("certificate", f"{NAME} v2")]
    assert not fresh["deployed"]
    assert "DIP-6.1.4-NOT-NEW" not in failed("certificate", fresh)


@pytest.mark.parametrize("kept", [False, True])
def test_only_a_certificate_that_is_not_accepted_yet_must_outlast_the_renewal_window(
    world: World, kept: bool
) -> None:
    world.request()
    if kept:
        keep(world, end=NOW + 40 * DAY)
    else:
        world.reply(end=NOW + 40 * DAY)
    facts = seen(world)[("certificate", f"{NAME} v1")]
    assert ("DIP-6.1.4-WINDOW" in failed("certificate", facts)) is not kept


def test_names_are_compared_with_those_of_the_committed_request(world: World) -> None:
    world.request()
    world.reply(san=["hook.example"])
    name = ("certificate", f"{NAME} v1")
    assert "DIP-8.6-SAN" in failed("certificate", seen(world)[name])
    asked = csr.build(factory.key("leaf"), CN, factory.SUBJECT, ["hook.example"])
    (world.directory() / "request.csr").write_bytes(asked)
    facts = seen(world)[name]
    assert facts["requested_names"] == ["hook.example"]
    assert "DIP-8.6-SAN" not in failed("certificate", facts)


def test_host_names_of_the_listeners_that_serve_it_are_told(world: World) -> None:
    gateways = [
        {"ingress": [{"certificate": NAME, "server_name": "hook.example"}, "nonsense"]},
        {"ingress": None},
        "nonsense",
    ]
    world.request()
    world.reply()
    name = ("certificate", f"{NAME} v1")
    facts = documents(certificates.collect(scene(world, gateways=gateways)))[name]
    assert facts["listener_names"] == ["hook.example"]
    assert "DIP-12.3-NAME" in failed("certificate", facts)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_no_damaged_reply_keeps_the_collectors_from_their_work(
    world: World, data: st.DataObject
) -> None:
    der = bytearray(ISSUING.leaf(serial=77))
    for _ in range(data.draw(st.integers(1, 3))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    world.request()
    world.put(reply_txt=bytes(der))
    for scope in ("offline", "live"):
        facts = seen(world, scope=scope)
        assert ("certificate", f"{NAME} v1") in facts
        assert ("chain", f"{NAME} v1") in facts
    documents(keys.collect(key_scene(world, v1=stored())))


# --- paths and revocation -------------------------------------------------------------------------


def verdicts(facts: Mapping[str, Any]) -> list[str]:
    return [one["revocation"]["verdict"] for one in facts["certificates"]]


def test_offline_revocation_is_pending_even_with_crls_in_the_cache(world: World) -> None:
    world.request()
    leaf = world.reply()
    world.crls(ISSUING.crl([factory.serial(leaf)]))
    facts = seen(world)
    assert verdicts(facts[("chain", f"{NAME} v1")]) == ["pending", "pending", "none"]
    assert facts[("certificate", f"{NAME} v1")]["revocation"]["verdict"] == "pending"
    assert facts[("chain", f"{NAME} v1")]["revocation_at_hand"] is False


def test_live_revocation_comes_from_the_cached_crls(world: World) -> None:
    world.request()
    leaf = world.reply()
    world.crls()
    assert verdicts(seen(world, scope="live")[("chain", f"{NAME} v1")]) == ["good", "good", "none"]
    world.crls(ISSUING.crl([factory.serial(leaf)], number=2))
    facts = seen(world, scope="live")
    assert facts[("certificate", f"{NAME} v1")]["revocation"]["verdict"] == "revoked"
    assert "DIP-3.5.2.5-RP-CHECK" in failed("chain", facts[("chain", f"{NAME} v1")])


def test_live_without_a_crl_nothing_is_known_and_that_is_told(world: World) -> None:
    world.request()
    world.reply()
    chain = seen(world, scope="live")[("chain", f"{NAME} v1")]
    assert verdicts(chain) == ["unknown", "unknown", "none"]
    assert "DIP-5.7.2-POSTPONE" in failed("chain", chain)


OCSP = "http://ocsp.example/"


class Asked:
    """The responders of the network; ``answers`` are by address, and the others are silent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, bytes]) -> None:
        self.urls: list[str] = []
        self.answers = answers
        monkeypatch.setattr(ocsp_query, "download", self.download)

    def download(self, url: str, _wait: download.Patience, **_options: Any) -> bytes:
        self.urls.append(url)
        if url not in self.answers:
            raise download._fetch_error(url, TimeoutError("timed out"), 1, True)
        return self.answers[url]


def naming(*urls: str) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """The authority information access of a certificate with these responders."""
    method = x509.AuthorityInformationAccessOID.OCSP
    places = [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for url in urls]
    return ((x509.AuthorityInformationAccess(places), False),)


def told(facts: Mapping[tuple[str, str], Mapping[str, Any]], version: int = 1) -> dict[str, Any]:
    return dict(facts[("certificate", f"{NAME} v{version}")]["ocsp"])


@pytest.mark.parametrize(
    ("status", "rules"),
    [
        (OCSPCertStatus.GOOD, set()),
        (OCSPCertStatus.REVOKED, {"DIP-3.6.1-OCSP", "DIP-5.4.2.1-NO-CERT"}),
        (OCSPCertStatus.UNKNOWN, {"DIP-3.6.1-OCSP"}),
    ],
)
def test_the_responder_of_an_accepted_certificate_is_asked_and_its_answer_judged(
    world: World, monkeypatch: pytest.MonkeyPatch, status: OCSPCertStatus, rules: set[str]
) -> None:
    world.request()
    leaf = keep(world, extra=naming("http://dead.example/", OCSP))
    network = Asked(monkeypatch, {OCSP: ISSUING.ocsp(leaf, status)})
    facts = seen(world, scope="live")
    assert network.urls == ["http://dead.example/", OCSP]
    assert (told(facts)["asked"], told(facts)["responder"]) == (True, OCSP)
    found = failed("certificate", facts[("certificate", f"{NAME} v1")])
    assert found & {"DIP-3.6.1-OCSP", "DIP-5.4.2.1-NO-CERT"} == rules


def test_an_answer_about_another_certificate_is_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.request()
    keep(world, extra=naming(OCSP))
    Asked(monkeypatch, {OCSP: ISSUING.ocsp(ISSUING.leaf())})
    assert told(seen(world, scope="live"))["status"] == "unknown"


def test_no_responder_is_asked_offline_or_about_what_was_not_accepted_or_has_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Asked(monkeypatch, {})
    world.request()
    world.reply(extra=naming(OCSP))
    nobody = {"asked": False, "status": "none", "responder": "", "why": ""}
    assert told(seen(world, scope="live")) == nobody
    keep(world, extra=naming(OCSP))
    assert told(seen(world)) == nobody
    assert told(seen(world, scope="live", now=NOW + 400 * DAY)) == nobody
    assert network.urls == []


def test_a_responder_that_is_silent_is_waited_for_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Asked(monkeypatch, {})
    for version in (1, 2):
        world.request(version)
        keep(world, version, extra=naming(OCSP))
    facts = seen(world, scope="live")
    assert network.urls == [OCSP]
    assert {told(facts, version)["status"] for version in (1, 2)} == {"unknown"}


def test_a_superseded_certificate_is_to_be_revoked_after_the_overlap(world: World) -> None:
    world.request()
    leaf = keep(world)
    world.request(2, key_name="second")
    keep(world, 2, "second")
    name = ("certificate", f"{NAME} v1")

    def outcome(at: datetime, *revoked: int) -> bool:
        start, end = at - timedelta(hours=1), at + timedelta(hours=9)
        world.crls(
            ISSUING.crl(revoked, start=start, end=end),
            ROOT.crl(start=start, end=end),
            at=at,
        )
        return "DIP-6.1.3-SUPERSEDED" in failed(
            "certificate", seen(world, scope="live", now=at)[name]
        )

    assert not outcome(NOW + 29 * DAY)
    assert outcome(NOW + 30 * DAY)
    assert not outcome(NOW + 31 * DAY, factory.serial(leaf))


def test_a_certificate_of_a_foreign_ca_has_no_path_and_the_rest_is_seen(world: World) -> None:
    world.request()
    world.put(reply_txt=factory.pem(FOREIGN.leaf()) + FOREIGN.pem)
    world.crls()
    facts = seen(world, scope="live")
    assert facts[("chain", f"{NAME} v1")]["verified"] is False
    assert facts[("certificate", f"{NAME} v1")]["revocation"]["verdict"] == "none"
    assert "DIP-3.5.1-CHAIN" in failed("chain", facts[("chain", f"{NAME} v1")])


# --- keys ----------------------------------------------------------------------------------------


def stored(key_name: str = "leaf", **changes: Any) -> dict[str, Any]:
    return {
        "store": "transit",
        "mount": "transit-nonprod-tls",
        "algorithm": "RSA",
        "bits": 4096,
        "exportable": True,
        "imported": False,
        "created": "2026-11-01T08:00:00Z",
        "spki_sha256": spki(key_name),
        **changes,
    }


def release(
    key_name: str = "leaf", name: str = "v1-0123456789abcdef", **key: Any
) -> dict[str, Any]:
    protection = {"mode": "0600", "owner": "root", "group": "root", "directory_mode": "0755"}
    return {
        "certificate": NAME,
        "release": name,
        "in_service": True,
        "key": {**protection, "links": 1, **key},
        "spki_sha256": spki(key_name) if key_name else "",
    }


def key_scene(world: World, *releases: Any, now: datetime = NOW, **versions: Any) -> Scene:
    return scene(
        world,
        "live",
        now,
        keys={NAME: {int(number[1:]): fact for number, fact in versions.items()}},
        hosts={"gw1": {"releases": list(releases)}},
    )


def test_a_key_is_told_with_its_store_and_its_files(world: World) -> None:
    world.request()
    world.organisation["registered"] = "2026-10-01"
    found = documents(keys.collect(key_scene(world, release(), v1=stored())))
    facts = found[("key", f"{NAME} v1")]
    assert (facts["state"], facts["store"], facts["bits"]) == ("open", "transit", 4096)
    assert facts["spki_sha256"] == facts["request_spki_sha256"] == spki("leaf")
    assert [(one["host"], one["mode"]) for one in facts["files"]] == [("gw1", "0600")]
    assert failed("key", facts) == set()


@pytest.mark.parametrize(
    ("registered", "fails"), [("2026-11-01", False), ("2026-11-02", True), ("", False)]
)
def test_a_key_must_not_be_older_than_the_registration(
    world: World, registered: str, fails: bool
) -> None:
    world.request()
    if registered:
        world.organisation["registered"] = registered
    facts = documents(keys.collect(key_scene(world, v1=stored())))[("key", f"{NAME} v1")]
    assert ("DIP-7.1.2-AFTER-REG" in failed("key", facts)) is fails


def test_a_key_on_a_host_that_no_request_names_is_an_object_of_its_own(world: World) -> None:
    world.request()
    found = documents(keys.collect(key_scene(world, release("stranger"), v1=stored())))
    (unknown,) = [name for _, name in found if "unknown" in name]
    assert spki("stranger")[:16] in unknown
    assert "DIP-3.6.1-PEP" in failed("key", found[("key", unknown)])
    assert found[("key", f"{NAME} v1")]["files"] == []


def test_a_key_file_that_could_not_be_read_belongs_to_the_version_its_release_names(
    world: World,
) -> None:
    world.request()
    found = documents(keys.collect(key_scene(world, release("", mode="0644"), v1=stored())))
    assert failed("key", found[("key", f"{NAME} v1")]) == {"DIP-5.6.2-SECRETS"}


def test_a_release_without_a_key_file_holds_no_key(world: World) -> None:
    world.request()
    found = documents(keys.collect(key_scene(world, release("", mode=""), v1=stored())))
    assert found[("key", f"{NAME} v1")]["files"] == []


def test_a_key_that_no_store_has_is_told_and_one_nobody_asked_for_is_not_judged(
    world: World,
) -> None:
    world.request()
    asked = keys.collect(scene(world, "live", keys={NAME: {}}))
    assert "DIP-3.6.1-PEP" in failed("key", documents(asked)[("key", f"{NAME} v1")])
    unasked = keys.collect(scene(world, "live"))
    assert [one.object for one in unasked.declarations] == [f"{NAME} v1"]
    assert unasked.documents == ()


def test_a_key_of_a_dead_certificate_in_plain_text_is_found(world: World) -> None:
    world.request()
    leaf = keep(world)
    name = ("key", f"{NAME} v1")
    world.crls()
    assert documents(keys.collect(key_scene(world, v1=stored())))[name]["certificate_dead"] is False
    world.crls(ISSUING.crl([factory.serial(leaf)], number=2))
    facts = documents(keys.collect(key_scene(world, release(), v1=stored())))[name]
    assert "DIP-6.2-NO-PLAINTEXT" in failed("key", facts)
    ended = documents(keys.collect(key_scene(world, v1=stored(), now=NOW + 397 * DAY + SECOND)))
    assert ended[name]["certificate_dead"] is True


def test_a_superseded_key_still_on_a_host_after_the_overlap_is_found(world: World) -> None:
    world.request()
    keep(world)
    world.request(2, key_name="second")
    keep(world, 2, "second")
    both = {"v1": stored(), "v2": stored("second")}
    name = ("key", f"{NAME} v1")
    soon = documents(keys.collect(key_scene(world, release(), now=NOW + 29 * DAY, **both)))[name]
    late = documents(keys.collect(key_scene(world, release(), now=NOW + 30 * DAY, **both)))[name]
    assert (soon["retired_days"], late["retired_days"]) == (30, 31)
    assert "DIP-5.6.2-DESTROY" not in failed("key", soon)
    assert "DIP-5.6.2-DESTROY" in failed("key", late)


def test_a_key_that_only_signs_must_stay_in_its_store(world: World) -> None:
    world.certificates[0]["purposes"] = ["signing"]
    world.request(purposes=["signing"])
    facts = documents(keys.collect(key_scene(world, release(), v1=stored(exportable=False))))
    assert "DIP-6.2-NO-TRANSMIT" in failed("key", facts[("key", f"{NAME} v1")])
