# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan rests on: keys as stores tell them, files as they lie, CRLs that were verified."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pki import acceptance, gather, key_place, keystores, public_state, revocation
from pki.errors import PkiError
from pki.inventory import Certificate
from pki.lifecycle import KeyVersion, Reason, State
from pki.plan import CertificatePlan
from pki.stores.base import KeyRecord
from pki.stores.base import KeyVersion as StoredVersion
from unit import pki_factory as factory
from unit.controller_world import (
    FOREIGN,
    ISSUING,
    NAME,
    OTHER,
    ROOT,
    SIBLING,
    TRUST,
    World,
    certificate_entry,
    spki,
)
from unit.pki_factory import CN, DAY, NOW

KEYS = gather.Keys({NAME: {1: KeyVersion(NOW - 20 * DAY, spki("leaf"))}})
REVOKED = NOW - 3 * DAY


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An accepted certificate with its record, and fresh CRLs."""
    made = World(tmp_path)
    made.request()
    made.reply()
    made.crls()
    made.keep()
    return made


def serial(world: World) -> int:
    certificate = x509.load_pem_x509_certificate(
        (world.directory() / "certificate.pem").read_bytes()
    )
    return certificate.serial_number


def planned(world: World, **served: str | None) -> CertificatePlan:
    (found,) = gather.plans(world.inputs(), KEYS, {NAME: served})
    return found


def test_a_kept_certificate_that_is_served_is_deployed(world: World) -> None:
    found = planned(world, gw1=f"{serial(world):x}")
    assert (found.state, found.reason) == (State.DEPLOYED, Reason.IN_SERVICE)
    assert found.days_left == 397
    assert found.common_name == CN


def test_a_kept_certificate_that_its_ca_revoked_is_seen_revoked_since_that_day(
    world: World,
) -> None:
    world.crls(ISSUING.crl([serial(world)], number=2, revoked_at=REVOKED))
    found = planned(world)
    assert found.state is State.REVOKED
    assert found.since == REVOKED
    assert found.live is None
    assert found.versions == {1: State.REVOKED}


@pytest.mark.parametrize("who", [ROOT, SIBLING, FOREIGN], ids=["root", "sibling", "foreign"])
def test_another_cas_crl_revokes_nothing(world: World, who: factory.Authority) -> None:
    crl = who.crl([serial(world)], number=2, revoked_at=REVOKED)
    if who is ROOT:  # a pinned CA's CRL reaches the cache, the others' do not even do that
        world.crls(root=crl)
        assert planned(world).state is not State.REVOKED
    assert revoked_at(world, crl) is None
    assert revoked_at(world, ISSUING.crl([serial(world)], revoked_at=REVOKED)) == REVOKED


def test_a_crl_in_the_cas_name_but_of_another_key_revokes_nothing(world: World) -> None:
    thief = factory.key("thief")
    assert revoked_at(world, ISSUING.crl([serial(world)], signer=thief)) is None


def revoked_at(world: World, crl: bytes, *more: factory.Authority) -> object:
    """What the plan is told, given a CRL that came past the cache somehow.

    ``more`` are further issuing CAs of the trust set, named before its own.
    """
    (files,) = public_state.scan(world.kept, NAME)
    trust = world.inputs().trust[TRUST]
    before = tuple(
        replace(trust.issuers[0], der=ca.der, pem=ca.pem, sha256=ca.sha256) for ca in more
    )
    trust = replace(trust, issuers=(*before, *trust.issuers))
    return gather._revoked_at(files, trust, revocation.parse_crls(crl), NOW)


def test_a_revocation_by_any_of_several_issuing_cas_is_seen(world: World) -> None:
    crl = ISSUING.crl([serial(world)], revoked_at=REVOKED)
    assert revoked_at(world, crl, SIBLING) == REVOKED


def version_4(pem: bytes) -> bytes:
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    marker = bytes.fromhex("a003020102")
    assert der.count(marker) == 1
    body = base64.encodebytes(der.replace(marker, bytes.fromhex("a003020105")))
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("kind", ["text", "empty", "a version that does not exist"])
def test_a_kept_certificate_that_cannot_be_read_is_left_to_the_judge(
    world: World, kind: str
) -> None:
    kept = (world.directory() / "certificate.pem").read_bytes()
    content = {"text": b"hello", "empty": b"", "a version that does not exist": version_4(kept)}
    world.put(certificate_pem=content[kind])
    assert planned(world).state is State.ACCEPTED
    outcome = world.judge((NAME, 1))
    assert [refusal.certificate for refusal in outcome.refused] == [NAME]


def test_a_reply_is_not_yet_a_certificate_that_could_be_revoked(world: World) -> None:
    (world.directory() / "accepted.yml").unlink()
    world.crls(ISSUING.crl([serial(world)], number=2, revoked_at=REVOKED))
    assert planned(world).reason is Reason.REPLY_PRESENT
    assert revoked_at(world, ISSUING.crl([serial(world)], revoked_at=REVOKED)) is None


def test_a_damaged_record_stops_the_plan_by_name(world: World) -> None:
    world.put(accepted_yml=b"[")
    with pytest.raises(PkiError, match=r"accepted\.yml cannot be used"):
        planned(world)


def test_every_declared_certificate_is_planned_in_the_order_of_the_inventory(
    world: World,
) -> None:
    world.certificates.insert(0, certificate_entry(OTHER))
    plans = gather.plans(world.inputs(), KEYS, {})
    assert [(found.name, found.state) for found in plans] == [
        (OTHER, State.ABSENT),
        (NAME, State.ACCEPTED),
    ]
    assert {action.version for action in plans[0].actions} == {1}


def test_what_is_served_is_told_to_its_own_certificate_only(world: World) -> None:
    world.certificates.append(certificate_entry(OTHER))
    plans = gather.plans(world.inputs(), KEYS, {OTHER: {"gw1": "0a"}})
    assert [dict(found.served) for found in plans] == [{}, {"gw1": "0a"}]


def test_the_renewal_window_is_the_policys(world: World) -> None:
    limits = gather.limits(world.inputs(), NAME)
    assert (limits.renewal_window, limits.deploy_margin) == (timedelta(days=45), timedelta(days=7))


def test_what_is_wanted_is_the_declaration(world: World) -> None:
    inputs = world.inputs()
    found = gather.wanted(inputs, inputs.declared.certificates[NAME])
    assert (found.name, found.hosts) == (NAME, "gateways")
    assert found.intent.common_name == CN
    assert found.intent.purposes == {"mtls", "signing"}
    assert found.intent.policy == "mhhs-dip"
    assert (found.store, found.intent.store, found.intent.key_type) == (
        "transit", "transit", "rsa-4096",
    )  # fmt: skip


class Store:
    """A store with one key, that counts what it is asked."""

    def __init__(self, *names: str) -> None:
        self.asked: Counter[str] = Counter()
        self.known = frozenset(names)

    def names(self) -> frozenset[str]:
        self.asked["names"] += 1
        return self.known

    def describe(self, name: str) -> KeyRecord | None:
        self.asked[name] += 1
        spki_der = (
            factory.key("leaf")
            .public_key()
            .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
        versions = {number: StoredVersion(number, NOW, spki_der) for number in (1, 2)}
        return KeyRecord(name, "rsa-2048", True, versions)


class Stores:
    """The TLS mount with the keys named, and an empty signing mount."""

    def __init__(self, *names: str) -> None:
        self.tls, self.signing = Store(*names), Store()

    def at(self, certificate: Certificate, place: key_place.KeyPlace) -> Store:
        return self.tls if place.mount == "transit-nonprod-tls" else self.signing

    def known(self, certificate: Certificate, place: key_place.KeyPlace) -> bool:
        return True


def test_a_store_is_listed_once_and_only_keys_that_exist_are_read(world: World) -> None:
    world.certificates.append(certificate_entry(OTHER))
    world.certificates.append(
        certificate_entry("dip-sign", domain="sign.example", purposes=["signing"])
    )
    stores = Stores(NAME, "somebody-elses")
    found = gather.keys(world.inputs(), cast("Any", stores))
    assert list(found.versions) == [NAME]
    assert not found.silent
    assert found.versions[NAME][2] == KeyVersion(NOW, spki("leaf"))
    assert stores.tls.asked == {"names": 1, NAME: 1}
    assert stores.signing.asked == {"names": 1}


def test_a_version_keeps_its_place_when_the_purposes_are_edited(world: World) -> None:
    """The live key stays on the TLS mount; the next one is looked for on the signing mount."""
    world.certificates[0]["purposes"] = ["signing"]
    stores = Stores(NAME)
    stores.signing.known = frozenset({NAME})
    inputs = world.inputs()
    assert sorted(gather.keys(inputs, cast("Any", stores)).versions[NAME]) == [1, 2]
    assert stores.tls.asked[NAME] == stores.signing.asked[NAME] == 1
    (files,) = public_state.scan(inputs.certificates_dir, NAME)
    certificate = inputs.declared.certificates[NAME]
    assert key_place.of_version(certificate, files).mount == "transit-nonprod-tls"
    assert key_place.of_version(certificate, None).mount == "transit-nonprod-signing"


@pytest.mark.parametrize("mount", ["transit-prod-tls", "pki-root", "", "transit-nonprod-tls/../x"])
def test_a_record_cannot_point_a_certificate_at_another_mount(world: World, mount: str) -> None:
    """An entry moved to another class, or a committer with ideas: refused by name."""
    record = world.kept / NAME / "1" / "request.yml"
    record.write_text(record.read_text().replace("transit-nonprod-tls", mount))
    with pytest.raises(PkiError) as caught:
        gather.keys(world.inputs(), cast("Any", Stores(NAME)))
    assert caught.value.rule == "KEY-PLACE"
    assert "a name of its own" in caught.value.next_step


def test_the_digests_of_the_plan_are_those_that_acceptance_looks_up() -> None:
    assert acceptance.digests({NAME: {"1": spki("leaf")}}) == {(NAME, 1): spki("leaf")}


# --- keys that this side cannot see -------------------------------------------------------------


def told(world: World, on_hosts: dict[str, KeyRecord | None]) -> dict[str, CertificatePlan]:
    """The plans by name; nobody may ask a key server for anything."""
    inputs = world.inputs()
    stores = keystores.Stores(cast("Any", None), inputs.policies, on_hosts)
    plans = gather.plans(inputs, gather.keys(inputs, stores), {})
    return {found.name: found for found in plans}


def of_hosts(world: World, store: str = "host") -> None:
    world.certificates[0].update(key={"store": store}, per_host=store == "host")
    world.groups = {"gateways": ["gw1", "gw2", "gw3"]}


@pytest.fixture
def empty(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.crls()
    return made


def test_a_host_that_did_not_answer_is_not_one_without_a_key(empty: World) -> None:
    of_hosts(empty)
    record = Store(NAME).describe(NAME)
    found = told(empty, {f"{NAME}_gw1": None, f"{NAME}_gw2": record})
    reasons = {name.partition("/")[2]: plan.reason for name, plan in found.items()}
    assert reasons == {
        "gw1": Reason.NEVER_REQUESTED,
        "gw2": Reason.REQUEST_FILES_MISSING,
        "gw3": Reason.HOST_NOT_ASKED,
    }
    assert found[f"{NAME}/gw3"].waits_for == "gw3"
    assert not found[f"{NAME}/gw3"].actions


def test_a_device_is_never_asked_and_its_open_request_has_lost_nothing(empty: World) -> None:
    of_hosts(empty, "external")
    assert told(empty, {})[NAME].needs_person
    record = {"store": "external", "version": 1, "spki_sha256": spki("leaf")}
    empty.request(key=record)
    assert told(empty, {})[NAME].reason is Reason.WAITING_FOR_REPLY


def test_where_an_open_requests_key_is_decides_whether_it_is_known(empty: World) -> None:
    """The entry was moved to transit while the request of a host, which is away, is open."""
    of_hosts(empty)
    name, key = f"{NAME}/gw1", {"store": "host", "version": 1, "spki_sha256": spki("leaf")}
    empty.request(name=name, key=key, certificate=name)
    assert told(empty, {})[name].reason is Reason.WAITING_FOR_REPLY
    assert told(empty, {f"{NAME}_gw1": None})[name].reason is Reason.KEY_LOST
    empty.certificates[0]["key"] = {"store": "transit"}
    inputs = empty.inputs()
    looked = gather.Keys(silent={name: frozenset({"host"})})
    plans = {found.name: found for found in gather.plans(inputs, looked, {})}
    assert plans[name].reason is Reason.PENDING_EDITED
    assert plans[name].difference == ("key kept in host -> transit",)


def test_an_entrys_renewal_is_planned_with(world: World) -> None:
    world.certificates[0]["renewal"] = {"request_before": "33%"}
    assert planned(world, gw1=f"{serial(world):x}").next_action == "renew from 2027-08-14"


def test_a_record_of_before_is_compared_only_in_what_it_says(world: World) -> None:
    """Neither names nor the kind of key stood in it, and the entry says nothing of names."""
    record = world.directory() / "request.yml"
    assert "san" not in record.read_text()
    assert "type" not in record.read_text()
    assert planned(world).reason is not Reason.INVENTORY_CHANGED
    world.certificates[0]["san"] = "cn"
    assert planned(world).difference == (f"alternative names none -> {CN}",)
