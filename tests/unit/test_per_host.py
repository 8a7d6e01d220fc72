# SPDX-License-Identifier: GPL-3.0-or-later
"""A certificate for each host: what is declared, committed, served and kept is seen host by host.

Gateways, releases and directories on hosts go by the entry's name; requests, certificates and
keys by ``<entry>/<host>``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pki import check, declarations, history, public_state, session
from pki.documents import Collected, Validators
from pki.errors import PkiError
from pki.facts import (
    certificates,
    dns,
    endpoints,
    gateways,
    hosts,
    inventories,
    keys,
    rosters,
)
from pki.facts import declarations as entries
from pki.facts.scene import Scene
from pki.inventory import InventoryError
from pki.policy import Outcome, Place
from pki.policy_files import load_fact_schemas
from unit import clean_inventory as clean
from unit import inventory_on_disk
from unit import pki_factory as factory
from unit.controller_world import (
    ISSUING,
    NAME,
    OTHER,
    REPOSITORY,
    World,
    certificate_entry,
    key_of,
    policies,
    spki,
)
from unit.pki_factory import NOW
from unit.test_certificate_collectors import release, stored
from unit.test_facts_live import GATEWAYS, chain, raw

VALIDATORS = Validators(load_fact_schemas(REPOSITORY / "policies"))
ONE, TWO = f"{NAME}/gw1", f"{NAME}/gw2"
GROUPS = {"all": ["gw1", "gw2", "gw3"], "gateways": ["gw1", "gw2"], "others": ["gw3"]}


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "nonprod").mkdir()
    made = World(
        tmp_path / "nonprod", certificates=[certificate_entry(per_host=True)], groups=GROUPS
    )
    made.crls()
    return made


def scene(world: World, scope: str = "offline", **more: Any) -> Scene:
    return Scene(inputs=world.inputs(), scope=scope, name="nonprod", **more)  # type: ignore[arg-type]


def documents(collected: Collected) -> dict[str, Mapping[str, Any]]:
    """Facts by object, once each fits its schema and was declared."""
    for one in collected.documents:
        assert VALIDATORS.fault(one.kind, one.facts) == "", one.object
    assert {d.key for d in collected.documents} <= {d.key for d in collected.declarations}
    assert not collected.problems
    return {one.object: one.facts for one in collected.documents}


def failed(kind: str, facts: Mapping[str, Any]) -> set[str]:
    findings = policies()["mhhs-dip"].evaluate(kind, facts)
    return {one.rule for one in findings if one.outcome is Outcome.FAILED}


def accept(world: World, name: str, until: str = "2027-11-01T00:00:00Z") -> bytes:
    """A version with a request of its own and a certificate that was accepted."""
    world.request(1, name)
    leaf = world.reply(1, name)
    record = {
        "schema": 1,
        "serial": f"{factory.serial(leaf):x}",
        "certificate_sha256": hashlib.sha256(leaf).hexdigest(),
        "not_before": "2026-11-20T00:00:00Z",
        "not_after": until,
        "accepted_at": "2026-11-20T13:00:00Z",
    }
    world.put(1, name, certificate_pem=factory.pem(leaf), accepted_yml=public_state.dump(record))
    return leaf


# --- what is declared ---------------------------------------------------------------------------


def test_an_entry_is_declared_once_however_many_hosts_it_has(world: World) -> None:
    (found,) = documents(entries.collect(scene(world))).items()
    assert found[0] == found[1]["name"] == NAME
    assert found[1]["hosts"] == "gateways"


def test_an_entry_and_what_belongs_to_one_of_its_hosts_stand_where_the_entry_is(
    world: World,
) -> None:
    place = Place("group_vars/all/certificates.yml", 7)
    seen = scene(world, places={("certificates", NAME): place})
    assert seen.place("certificates", NAME) == seen.place("certificates", ONE) == place


def test_what_the_policy_refuses_of_an_entry_is_told_once_and_at_its_place(world: World) -> None:
    world.organisation["party"] = "market_participant_non_active"
    world.certificates.append(certificate_entry(OTHER))
    with pytest.raises(InventoryError) as caught:
        session.load(world.params(groups=GROUPS), NOW)
    places = [problem.where for problem in caught.value.problems if "TABLE3" in problem.rule]
    assert [place.rpartition(": ")[2] for place in places] == [
        f"certificates[0] ({NAME}).purposes",
        f"certificates[1] ({OTHER}).purposes",
    ]


TWINS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "each host of the same group has one": ({"per_host": True}, [NAME]),
    "all hosts of the group share one": ({}, [NAME]),
    "one of the hosts has one": ({"hosts": "gw2"}, [NAME]),
    "another host has one": ({"hosts": "gw3"}, []),
    "each host of another group has one": ({"hosts": "others", "per_host": True}, []),
    "it is another name": ({"domain": "else.example", "per_host": True}, []),
}


@pytest.mark.parametrize("case", TWINS)
def test_an_entry_asks_for_what_a_host_has_already_when(world: World, case: str) -> None:
    change, twins = TWINS[case]
    world.certificates.append(
        certificate_entry("dip-again", **{"domain": "example-energy.co.uk", **change})
    )
    assert declarations.earlier_twins(world.inputs().declared).get("dip-again", []) == twins


def test_of_three_that_ask_for_the_same_the_last_names_both_before_it(world: World) -> None:
    again = {"domain": "example-energy.co.uk"}
    world.certificates += [certificate_entry("b", **again), certificate_entry("c", **again)]
    twins = declarations.earlier_twins(world.inputs().declared)
    assert twins == {"b": [NAME], "c": [NAME, "b"]}


def test_the_plan_says_how_much_of_the_quota_hosts_take(world: World) -> None:
    assert declarations.quotas(world.inputs().declared) == []
    world.organisation["quota"] = 5
    world.certificates.append(certificate_entry(OTHER))
    assert declarations.quotas(world.inputs().declared) == [
        f"{NAME}: one certificate for each of 2 hosts of gateways, "
        "of the 5 that example-energy may have"
    ]


def test_the_owner_of_an_entry_is_named_once_and_submitters_with_each_request(
    world: World,
) -> None:
    world.certificates[0]["owner"] = {"name": "Ada Admin", "accepted": "2026-11-01"}
    for name in (ONE, TWO):
        world.request(1, name)
        world.put(1, name, submission_txt=b"Who    Ada Admin (Certificate Admin)\n")
    (facts,) = documents(rosters.collect(scene(world))).values()
    (ada,) = [one for one in facts["people"] if one["name"] == "Ada Admin"]
    assert ada["named_in"] == [NAME, f"{ONE} v1", f"{TWO} v1"]


def test_a_domain_is_looked_up_once(world: World) -> None:
    world.certificates[0]["domain_txt"] = "a-value"
    stand_in = {"dns": {"reason": "a test", "records": {"example-energy.co.uk": ["a-value"]}}}
    assert list(documents(dns.collect(scene(world, "live", stand_ins=stand_in)))) == [NAME]


# --- what is committed ---------------------------------------------------------------------------


def test_requests_and_certificates_are_objects_of_their_host(world: World) -> None:
    accept(world, ONE)
    world.request(1, TWO)
    seen = [(one.kind, one.object) for one in certificates.collect(scene(world)).documents]
    assert seen == [
        ("request", f"{ONE} v1"),
        ("certificate", f"{ONE} v1"),
        ("chain", f"{ONE} v1"),
        ("request", f"{TWO} v1"),
    ]


def test_a_hosts_certificate_is_compared_with_the_names_of_the_entrys_listeners(
    world: World,
) -> None:
    accept(world, ONE)
    found = certificates.collect(scene(world, gateways=GATEWAYS)).documents
    (facts,) = [one.facts for one in found if one.kind == "certificate"]
    assert facts["listener_names"] == [GATEWAYS[0]["ingress"][0]["server_name"]]  # type: ignore[index]


def test_a_key_that_two_hosts_share_is_found(world: World) -> None:
    for name in (ONE, TWO):
        world.request(1, name, key_name="shared")
    (facts,) = documents(inventories.collect(scene(world))).values()
    shared = [one for one in facts["identities"] if one["value"] == spki("shared")]
    assert [one["certificates"] for one in shared] == [[ONE, TWO]]
    committed = history.Committed.of(public_state.scan_every(world.kept), {})
    assert committed.before(TWO, 1).keys[spki("shared")] == f"{ONE} v1"


def test_the_quota_counts_the_certificates_of_all_hosts_also_of_one_that_left(
    world: World,
) -> None:
    world.organisation["quota"] = 3
    accept(world, ONE)
    accept(world, f"{NAME}/gw9")
    world.request(1, TWO)
    (facts,) = documents(inventories.collect(scene(world))).values()
    assert facts["quotas"] == [
        {"organisation": "example-energy", "quota": 3, "issued": 2, "revoked": 0, "pending": 1}
    ]
    assert facts["pending"] == [{"certificate": TWO, "versions": [1]}]
    assert failed("inventory", facts) & {"DIP-6.1.2-QUOTA"} == set()
    world.organisation["quota"] = 2
    (facts,) = documents(inventories.collect(scene(world))).values()
    assert failed("inventory", facts) & {"DIP-6.1.2-QUOTA"}


def test_the_directories_of_hosts_are_listed_and_one_that_is_shut_hides_no_other(
    world: World,
) -> None:
    for name in (ONE, TWO, OTHER):
        world.request(1, name)
    (world.kept / "a-link").symlink_to(world.kept / NAME)
    (world.kept / "a-file").write_text("")
    assert public_state.names(world.kept) == ["a-file", "a-link", NAME, OTHER, ONE, TWO]
    assert public_state.names(world.kept / "nowhere") == []


def test_an_entrys_directory_that_is_a_link_is_not_followed_to_its_hosts(world: World) -> None:
    world.request(1, f"{OTHER}/gw1")
    (world.kept / NAME).symlink_to(world.kept / OTHER)
    with pytest.raises(PkiError) as caught:
        public_state.scan(world.kept, ONE)
    assert caught.value.rule == "STATE-FILE"


# --- what hosts serve and keep ---


def live(world: World, told: Mapping[str, Mapping[str, Any]], **more: Any) -> Scene:
    seen = {host: {"groups": ["gateways"], **what} for host, what in told.items()}
    return scene(world, "live", gateways=GATEWAYS, hosts=seen, **more)


def test_each_host_is_expected_to_serve_its_own_certificate(world: World) -> None:
    leaves = {"gw1": accept(world, ONE), "gw2": accept(world, TWO)}
    shown = {host: {"endpoints": [raw("webhook", chain())]} for host in (*leaves, "gw3")}
    found = documents(endpoints.collect(live(world, shown)))
    for host, leaf in leaves.items():
        wanted = found[f"{host}/edge/webhook"]["expected_sha256"]
        assert wanted == hashlib.sha256(leaf).hexdigest()
    # A host of the gateway that the entry does not have: nothing it serves can be right.
    assert found["gw3/edge/webhook"]["expected_sha256"] == ""


def test_gateways_and_hosts_follow_the_policy_of_the_entry_they_name(world: World) -> None:
    found = documents(gateways.collect(scene(world, gateways=[])))
    assert found == {}
    seen = live(world, {"gw1": {}, "gw2": {}})
    assert [one.object for one in gateways.collect(seen).declarations] == ["gw1/edge", "gw2/edge"]
    assert [one.object for one in hosts.collect(seen).declarations] == ["gw1", "gw2"]
    purposes = gateways._purposes(seen, gateways.gateway.ANYWHERE)
    assert purposes == {f"/releases/{NAME}/current/fullchain.pem": ["mtls", "signing"]}


def test_a_key_file_belongs_to_the_certificate_of_the_host_it_is_on(world: World) -> None:
    for name in (ONE, TWO):
        world.request(1, name)
    own = {ONE: {1: stored(key_of(1, ONE))}, TWO: {1: stored(key_of(1, TWO))}}
    told = {
        "gw1": {"releases": [release(key_of(1, ONE))]},
        "gw2": {"releases": [release(key_of(1, TWO)), release(key_of(1, ONE))]},
        "gw3": {"releases": [release(key_of(1, TWO))]},
    }
    found = documents(keys.collect(live(world, told, keys=own)))
    assert {name: [one["host"] for one in facts["files"]] for name, facts in found.items()} == {
        f"{ONE} v1": ["gw1"],
        f"{TWO} v1": ["gw2"],
        # The key of one host has no business on another one, whether that has its own or not.
        f"{TWO} unknown {spki(key_of(1, ONE))[:16]}": ["gw2"],
        f"{ONE} unknown {spki(key_of(1, TWO))[:16]}": ["gw3"],
    }
    for name, facts in found.items():
        assert ("DIP-3.6.1-PEP" in failed("key", facts)) is ("unknown" in name)


# --- without Ansible ------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = clean.world(tmp_path / "disk")
    monkeypatch.chdir(tmp_path / "disk")
    made.certificates[0]["per_host"] = True
    made.groups = {"gateways": ["gw1", "gw2"]}
    inventory_on_disk.write(made)
    (made.base / "certificates" / NAME).rename(made.base / "old")
    clean.write_request(made, entry=made.inputs().declared.certificates[ONE])
    return made


def checked(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = check.main(["--inventory", "inventories/nonprod"], NOW)
    return code, capsys.readouterr().out


def test_a_check_of_the_files_reads_the_hosts_from_hosts_yml(
    written: World, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts_file = {"all": {"children": {"gateways": {"hosts": {"gw1": None, "gw2": None}}}}}
    (written.base / "hosts.yml").write_text(yaml.safe_dump(hosts_file))
    code, text = checked(capsys)
    assert code == 0, text
    assert f"request {ONE} v1" in text


def test_a_check_of_the_files_says_that_it_needs_the_hosts(
    written: World, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = checked(capsys)
    assert code == 2
    assert "inventories/nonprod/hosts.yml" in text
    (written.base / "hosts.yml").write_text("all: {children: {gateway: {hosts: {gw1: }}}}\n")
    code, text = checked(capsys)
    assert code == 2
    assert "did you mean `gateway`?" in text


def test_a_reply_for_one_host_is_no_reply_for_the_other(world: World) -> None:
    """Same name and subject, another key: pasted into the wrong directory it is refused."""
    for name in (ONE, TWO):
        world.request(1, name)
    leaf = ISSUING.leaf(public=factory.key(key_of(1, ONE)).public_key())
    for name in (ONE, TWO):
        world.put(1, name, reply_txt=factory.pem(leaf))
    outcome = world.judge((ONE, 1), (TWO, 1))
    assert set(outcome.accepted) == {(ONE, 1)}
    (refusal,) = outcome.refused
    assert (refusal.certificate, refusal.error.rule) == (TWO, "DIP-6.1.2-SAME-HOST")
