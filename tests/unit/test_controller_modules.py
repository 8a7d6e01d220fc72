# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller's modules return: nothing hidden, JSON only, no change in check mode."""

from __future__ import annotations

import functools
import json
import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import unit.lab_imports  # noqa: F401 - lets ansible.module_utils.pki be found
from unit import pki_factory as factory
from unit.controller_world import (
    FOREIGN,
    ISSUING,
    NAME,
    OTHER,
    OTHER_CN,
    REPOSITORY,
    ROOT,
    TRUST,
    Web,
    World,
    certificate_entry,
    content,
    key_of,
    load_file,
    spki,
    tree,
    web,
)
from unit.pki_factory import NOW

CRL_FETCH = load_file("library/pki_crl_fetch.py")
ACCEPT = load_file("library/pki_accept.py")
PLAN = load_file("library/pki_plan.py")
RELEASE = load_file("action_plugins/pki_release.py")


class Module:
    """What a handler uses of an Ansible module."""

    def __init__(self, params: dict[str, Any], check_mode: bool = False) -> None:
        self.params = params
        self.check_mode = check_mode
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(autouse=True)
def _the_clock_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (CRL_FETCH, ACCEPT):
        load = functools.partial(module.session.load, now=NOW)
        monkeypatch.setattr(module.session, "load", load)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    with web() as site:
        yield site


@pytest.fixture
def world(tmp_path: Path, server: Web) -> World:
    server.serve("/issuing", content(ISSUING.crl()))
    server.serve("/root", content(ROOT.crl()))
    urls = {"issuing": [server.url("/issuing")], "root": [server.url("/root")]}
    return World(tmp_path, crl_urls=urls)


def run(program: Any, module: Module, **params: Any) -> dict[str, Any]:
    module.params.update(params)
    for name, option in program.SPEC.items() if hasattr(program, "SPEC") else ():
        module.params.setdefault(name, option.get("default"))
    result: dict[str, Any] = program.handler(module)
    assert json.loads(json.dumps(result)) == result
    return result


# --- pki_crl_fetch --------------------------------------------------------------------------


def test_fetching_returns_each_trust_sets_bundle_and_says_what_changed(world: World) -> None:
    result = run(CRL_FETCH, Module(world.params()))
    assert result["changed"]
    assert result["problems"] == []
    (found,) = result["sets"]
    assert found["trust"] == TRUST
    assert found["complete"]
    assert found["pem"].count("BEGIN X509 CRL") == 2
    assert found["fetched_at"] == "2026-11-21T12:00:00Z"
    assert found["next_update"] == "2026-11-22T11:00:00Z"
    again = run(CRL_FETCH, Module(world.params()))
    assert not again["changed"]
    assert again["sets"] == result["sets"]


def test_fetching_in_check_mode_returns_the_same_and_keeps_nothing(world: World) -> None:
    checked = run(CRL_FETCH, Module(world.params(), check_mode=True))
    assert not world.cache.exists()
    real = run(CRL_FETCH, Module(world.params()))
    assert (checked.pop("trail"), bool(real.pop("trail"))) == ([], True)
    assert checked == real


def test_a_failed_poll_with_a_fresh_copy_is_a_warning(world: World, server: Web) -> None:
    run(CRL_FETCH, Module(world.params()))
    server.serve("/issuing", content(b"", 404))
    module = Module(world.params())
    result = run(CRL_FETCH, module)
    assert result["sets"][0]["complete"]
    assert result["problems"] == []
    assert module.warnings == [
        "Example Issuing: the CRL could not be fetched: HTTP 404, after 1 attempt "
        "(the CRL at hand still serves)"
    ]


def test_a_ca_without_a_crl_is_a_problem_as_text_and_its_set_is_not_complete(
    world: World, server: Web
) -> None:
    server.serve("/issuing", content(FOREIGN.crl()))
    module = Module(world.params())
    result = run(CRL_FETCH, module)
    assert module.warnings == []
    assert not result["sets"][0]["complete"]
    (problem,) = result["problems"]
    assert problem.startswith("refused  ")
    assert server.url("/issuing") in problem


def test_a_set_without_any_crl_has_no_dates(world: World, server: Web) -> None:
    server.serve("/issuing", content(b"", 404))
    server.serve("/root", content(b"", 404))
    (found,) = run(CRL_FETCH, Module(world.params()))["sets"]
    assert found["fetched_at"] is found["next_update"] is None
    assert found["pem"] == ""


def test_a_trust_set_that_no_certificate_uses_is_not_polled(world: World, server: Web) -> None:
    params = world.params()
    params["trust"]["mesh"] = {**params["trust"][TRUST], "policy": "nhs-mesh"}
    server.asked.clear()
    assert [found["trust"] for found in run(CRL_FETCH, Module(params))["sets"]] == [TRUST]
    assert server.asked == ["/issuing", "/root"]


def test_either_policy_says_how_long_a_poll_waits_and_serves() -> None:
    for name in ("mhhs-dip", "nhs-mesh"):
        policy = CRL_FETCH.session.policy_files.load_policies(REPOSITORY / "policies", [name])[name]
        assert CRL_FETCH.download.Patience.of(policy).waits
        assert CRL_FETCH.session.crl_max_age(policy) == timedelta(hours=24)


def test_files_put_there_by_hand_serve_and_what_is_not_used_is_a_warning(
    world: World, server: Web
) -> None:
    server.serve("/issuing", content(b"", 404))
    (world.base / "crls").mkdir()
    names = {"good.crl": ISSUING.crl(), "foreign.crl": FOREIGN.crl(), "page.crl": b"<html>"}
    names["forged.crl"] = ISSUING.crl(number=9, signer=factory.key("thief"))
    for name, data in names.items():
        (world.base / "crls" / name).write_bytes(data)
        os.utime(world.base / "crls" / name, (NOW.timestamp(), NOW.timestamp()))
    module = Module(world.params())
    result = run(CRL_FETCH, module)
    assert result["sets"][0]["complete"]
    assert result["problems"] == []
    assert [text.split(": ")[0] for text in module.warnings] == [
        "Example Issuing",
        "crls/page.crl is not used",
        "crls/foreign.crl is not used",
        "crls/forged.crl is not used",
    ]


# --- pki_accept -----------------------------------------------------------------------------


def accept(world: World, *, check_mode: bool = False, **params: Any) -> dict[str, Any]:
    actions = [
        {"kind": kind, "certificate": name, "version": 1}
        for name in (NAME, OTHER)
        for kind in ("accept", "deploy", "write_request")
        if any(entry["name"] == name for entry in world.certificates)
    ]
    options = {"actions": actions, "key_digests": {NAME: {"1": spki("leaf")}}, "fetch": True}
    return run(ACCEPT, Module(world.params(), check_mode), **{**options, **params})


def test_a_good_reply_is_kept_once_and_named_for_a_person_to_commit(world: World) -> None:
    world.request()
    world.reply()
    world.crls()
    result = accept(world)
    assert result["changed"]
    assert [found["certificate"] for found in result["accepted"]] == [NAME]
    assert (result["refused"], result["refusals"]) == ([], [])
    assert len(result["sentences"]) == len(result["diff"]) == 1
    again = accept(world)
    assert not again["changed"]
    assert (again["sentences"], again["diff"]) == ([], [])
    assert again["accepted"][0]["uncommitted"] == []


def test_accepting_in_check_mode_says_the_same_and_writes_nothing(world: World) -> None:
    world.request()
    world.reply()
    world.crls()
    before = tree(world.base)
    checked = accept(world, check_mode=True)
    assert tree(world.base) == before
    real = accept(world)
    assert (checked.pop("trail"), bool(real.pop("trail"))) == ([], True)
    assert checked == real


def test_a_wrong_reply_is_returned_with_its_reason_and_the_others_go_on(world: World) -> None:
    world.certificates.append(certificate_entry(OTHER))
    for name in (NAME, OTHER):
        world.request(1, name)
        world.reply(1, name)
    world.reply(der=FOREIGN.leaf())
    world.crls()
    before = tree(world.directory())
    result = accept(world)
    assert [found["certificate"] for found in result["accepted"]] == [OTHER]
    (refused,) = result["refused"]
    assert (refused["certificate"], refused["version"]) == (NAME, 1)
    assert refused["error"]["rule"] == "DIP-3.5.1-CHAIN"
    assert result["refusals"][0].startswith(f"refused  {NAME}: ")
    assert tree(world.directory()) == before


def test_a_request_of_another_key_than_the_plan_saw_is_refused(world: World) -> None:
    world.request()
    world.reply()
    world.crls()
    result = accept(world, key_digests={NAME: {"1": spki("other")}})
    assert not result["changed"]
    assert result["refused"][0]["error"]["expected"] == f"public key {spki('other')}"
    assert not (world.directory() / "certificate.pem").exists()


# --- answers that a certificate itself promises ---------------------------------------------

ELSEWHERE = "/elsewhere.crl"


@pytest.fixture
def unanswered(world: World, server: Web) -> World:
    """Two good replies whose CA has no CRL at hand, but one at the address they name."""
    server.serve("/issuing", content(b"", 404))
    world.crls(FOREIGN.crl())
    world.certificates.append(certificate_entry(OTHER))
    for name in (NAME, OTHER):
        world.request(1, name)
        world.reply(1, name, cdp=server.serve(ELSEWHERE, content(ISSUING.crl())))
    server.asked.clear()
    return world


def accepted(result: dict[str, Any]) -> list[str]:
    return [found["certificate"] for found in result["accepted"]]


def test_an_address_is_asked_once_for_all_who_name_it(unanswered: World, server: Web) -> None:
    result = accept(unanswered)
    assert accepted(result) == [NAME, OTHER]
    assert server.asked == [ELSEWHERE]
    assert result["answers"] == {}


def test_what_was_fetched_serves_every_later_judgement(unanswered: World, server: Web) -> None:
    accept(unanswered)
    server.asked.clear()
    assert accepted(accept(unanswered, fetch=False)) == [NAME, OTHER]
    assert unanswered.judge((NAME, 1), (OTHER, 1)).refused == ()
    assert server.asked == []


def test_nobody_is_asked_when_fetching_is_off(unanswered: World, server: Web) -> None:
    result = accept(unanswered, fetch=False)
    assert accepted(result) == []
    assert [one["error"]["rule"] for one in result["refused"]] == ["DIP-3.5.2.5-RP-CHECK"] * 2
    assert server.asked == []


def test_check_mode_hands_on_what_it_fetched_and_does_not_keep(
    unanswered: World, server: Web
) -> None:
    before = tree(unanswered.base)
    result = accept(unanswered, check_mode=True)
    assert accepted(result) == [NAME, OTHER]
    assert tree(unanswered.base) == before
    given = RELEASE.Fetched.of_result(result["answers"])
    actions = {(NAME, 1): {"kind": "deploy", "certificate": NAME, "version": 1}}
    bundles, refused = RELEASE.judged(unanswered.inputs(), actions, given)
    assert ([one["certificate"] for one in bundles.values()], refused) == ([NAME], [])
    bundles, refused = RELEASE.judged(unanswered.inputs(), actions, RELEASE.Fetched())
    assert (bundles, [one["certificate"] for one in refused]) == ({}, [NAME])


def test_an_answer_that_was_fetched_may_revoke(unanswered: World, server: Web) -> None:
    serial = factory.serial(unanswered.reply(cdp=server.url(ELSEWHERE)))
    server.serve(ELSEWHERE, content(ISSUING.crl([serial])))
    result = accept(unanswered)
    assert accepted(result) == [OTHER]
    assert "is revoked" in result["refused"][0]["error"]["message"]


def test_a_certificate_without_a_verified_path_makes_nobody_be_asked(
    unanswered: World, server: Web
) -> None:
    for name in (NAME, OTHER):
        public = factory.key(key_of(1, name)).public_key()
        cn = factory.CN if name == NAME else OTHER_CN
        unanswered.reply(1, name, FOREIGN.leaf(cn, public=public, cdp=server.url(ELSEWHERE)))
    result = accept(unanswered)
    assert [one["error"]["rule"] for one in result["refused"]] == ["DIP-3.5.1-CHAIN"] * 2
    assert server.asked == []


def test_an_address_without_an_answer_is_a_warning_and_the_reply_stays_refused(
    unanswered: World, server: Web
) -> None:
    server.serve(ELSEWHERE, content(FOREIGN.crl()))
    module = Module(unanswered.params())
    action = {"kind": "accept", "certificate": NAME, "version": 1}
    result = run(ACCEPT, module, actions=[action], key_digests={}, fetch=True)
    assert [one["error"]["rule"] for one in result["refused"]] == ["DIP-3.5.2.5-RP-CHECK"]
    assert len(module.warnings) == 1
    assert server.url(ELSEWHERE) in module.warnings[0]


# --- pki_plan -------------------------------------------------------------------------------


def test_a_listener_that_does_not_answer_is_told_as_nothing_and_not_left_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    endpoint = {
        "certificate": NAME,
        "host": "gw1",
        "address": "127.0.0.1",
        "port": port,
        "server_name": "dip.example",
    }
    assert PLAN.probe.serials([endpoint, {**endpoint, "host": "gw2"}]) == {
        NAME: {"gw1": None, "gw2": None}
    }


def test_nothing_that_was_not_asked_is_told() -> None:
    assert PLAN.probe.serials([]) == {}


def test_the_results_of_a_run_hold_no_private_key(world: World) -> None:
    world.request()
    world.put(reply_txt=factory.pem(ISSUING.leaf()) + key_pem())
    world.crls()
    result = json.dumps(accept(world))
    assert "REPLY-PRIVATE-KEY" in result
    secret = key_pem().decode().splitlines()[1:-1]
    assert not any(line in result for line in secret)


def key_pem() -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return factory.key("leaf").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
