# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person compares before committing a certificate: every field, and never a trick."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import unit.lab_imports  # noqa: F401 - lets ansible.module_utils.pki be found
from hypothesis import given
from hypothesis import strategies as st
from pki import review
from unit import pki_factory as factory
from unit.controller_world import (
    ISSUING,
    NAME,
    OTHER,
    World,
    certificate_entry,
    load_file,
    policies,
    tree,
)
from unit.pki_factory import CN, NOW, SUBJECT

ACCEPT = load_file("library/pki_accept.py")
USAGES = {"mtls": ("clientAuth", "serverAuth"), "signing": ("digitalSignature",)}
SPKI = "ab" * 32


def asked(**changes: Any) -> dict[str, Any]:
    key = {"algorithm": "RSA", "bits": 4096, "spki_sha256": SPKI}
    facts = {"common_name": CN, "subject": dict(SUBJECT), "key": key, "san": []}
    return {**facts, **changes}


def issued(**changes: Any) -> dict[str, Any]:
    facts = {
        **asked(),
        "key_usage": ["digitalSignature", "keyEncipherment"],
        "extended_key_usage": ["clientAuth", "serverAuth"],
        "purposes": ["mtls", "signing"],
        "issuer_name": "CN=Example Issuing",
        "serial": "1f",
        "not_before_epoch": 1_763_726_400,
        "not_after_epoch": 1_798_113_600,
    }
    return {**facts, **changes}


def marks(request: Mapping[str, Any], certificate: Mapping[str, Any]) -> dict[str, str]:
    return {row.field: row.mark for row in review.rows(request, certificate, USAGES)}


def differing(**changes: Any) -> set[str]:
    found = marks(asked(), issued(**changes))
    return {field for field, mark in found.items() if mark == review.DIFFERS}


def key(**changes: Any) -> dict[str, Any]:
    return {"algorithm": "RSA", "bits": 4096, "spki_sha256": SPKI, **changes}


def test_every_field_of_the_request_is_compared_and_what_the_ca_chose_is_told() -> None:
    assert marks(asked(), issued()) == {
        "common name": "=",
        "organisation": "=",
        "city": "=",
        "state or province": "=",
        "country": "=",
        "key": "=",
        "public key, SHA-256": "=",
        "usages for mtls": "=",
        "usages for signing": "=",
        "issuer": "added by the CA",
        "serial number": "added by the CA",
        "valid from": "added by the CA",
        "valid until": "added by the CA",
    }


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"common_name": CN.upper()}, {"common name"}),
        ({"common_name": ""}, {"common name"}),
        ({"subject": {**SUBJECT, "O": "Example Energy Limited"}}, {"organisation"}),
        ({"subject": {k: v for k, v in SUBJECT.items() if k != "L"}}, {"city"}),
        ({"key": key(bits=2048)}, {"key"}),
        ({"key": key(algorithm="EC")}, {"key"}),
        ({"key": key(spki_sha256="cd" * 32)}, {"public key, SHA-256"}),
        ({"key": key(spki_sha256="")}, {"public key, SHA-256"}),
        ({"extended_key_usage": ["serverAuth"]}, {"usages for mtls"}),
        ({"key_usage": ["keyEncipherment"]}, {"usages for signing"}),
        ({"key_usage": [], "extended_key_usage": []}, {"usages for mtls"}),
    ],
    ids=str,
)
def test_what_is_not_as_it_was_asked_for_differs(changes: dict[str, Any], fields: set[str]) -> None:
    assert differing(**changes) == fields


def test_two_digests_that_are_alike_only_at_their_ends_differ() -> None:
    """What is shown is shortened; what is compared is not."""
    twin = SPKI[:10] + "00" + SPKI[12:]
    assert differing(key=key(spki_sha256=twin)) == {"public key, SHA-256"}


def test_names_are_compared_one_by_one() -> None:
    def dns(*names: str) -> list[dict[str, str]]:
        return [{"type": "dns", "value": name} for name in names]

    request, certificate = asked(san=dns("a.example", "b.example")), issued(san=dns("b.example"))
    certificate["san"] += [*dns("c.example"), {"type": "ip", "value": "192.0.2.1"}]
    names = [
        (row.asked, row.found, row.mark)
        for row in review.rows(request, certificate, USAGES)
        if row.field == "alternative name"
    ]
    assert names == [
        ("dns a.example", "", "differs"),
        ("dns b.example", "dns b.example", "="),
        ("", "dns c.example", "added by the CA"),
        ("", "ip 192.0.2.1", "added by the CA"),
    ]


def test_an_attribute_that_nobody_asked_for_is_the_cas_addition() -> None:
    found = marks(asked(), issued(subject={**SUBJECT, "OU": "Domain Control Validated"}))
    assert found["subject OU"] == "added by the CA"


def test_a_purpose_that_the_policy_says_nothing_about_is_shown_with_what_there_is() -> None:
    found = review.rows(asked(), issued(purposes=["mtls"]), {})
    (row,) = [row for row in found if row.field == "usages for mtls"]
    assert (row.asked, row.mark) == ("", "=")
    assert "clientAuth" in row.found


def test_the_table_is_aligned_under_what_it_is_about() -> None:
    text = review.text("dip-nonprod v2", asked(), issued(), USAGES)
    title, head, *lines = text.splitlines()
    assert title == "dip-nonprod v2: nothing differs"
    assert head.split() == ["field", "asked", "for", "certificate"]
    column = head.index("certificate")
    assert all(line[column - 2 : column] == "  " and line[column] != " " for line in lines)
    changed = review.text("x", asked(), issued(common_name="other.example"), USAGES)
    assert changed.splitlines()[0] == "x: 1 field differs"
    assert any(line.endswith("differs") for line in changed.splitlines())


def test_what_is_long_is_cut_and_told() -> None:
    names = [{"type": "dns", "value": f"{number}.example"} for number in range(500)]
    text = review.text("x", asked(), issued(san=names), USAGES)
    assert len(text.splitlines()) == review.MOST_ROWS + 3
    assert text.endswith(" more")
    long = review.text("x", asked(), issued(common_name="a" * 5000), USAGES)
    assert max(map(len, long.splitlines())) < 400


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_name_steers_a_terminal_forges_a_line_or_opens_a_template(cn: str, o: str) -> None:
    text = review.text("x", asked(), issued(common_name=cn, subject={**SUBJECT, "O": o}), USAGES)
    plain = review.text("x", asked(), issued(), USAGES)
    assert len(text.splitlines()) == len(text.split("\n")) == len(plain.split("\n"))
    assert not [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs")]
    assert "{{" not in text
    assert "{%" not in text


# --- in a batch -----------------------------------------------------------------------------------


class Module:
    """What a handler uses of an Ansible module."""

    def __init__(self, params: Mapping[str, Any], check_mode: bool = False) -> None:
        self.params = dict(params)
        self.check_mode = check_mode

    def warn(self, text: str) -> None:
        raise AssertionError(text)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    world.request()
    world.crls()
    load = ACCEPT.session.load
    monkeypatch.setattr(ACCEPT.session, "load", lambda params: load(params, now=NOW))
    return world


def accept(world: World, *keys: tuple[str, int], check_mode: bool = False) -> dict[str, Any]:
    actions = [{"kind": "accept", "certificate": name, "version": number} for name, number in keys]
    params = world.params(actions=actions, key_digests={}, fetch=False, compromised={})
    result: dict[str, Any] = ACCEPT.handler(Module(params, check_mode))
    return result


def test_a_newly_accepted_certificate_is_shown_once(world: World) -> None:
    world.reply()
    checked = accept(world, (NAME, 1), check_mode=True)["reviews"]
    (told,) = accept(world, (NAME, 1))["reviews"]
    assert checked == [told]
    assert told.startswith(f"{NAME} v1: nothing differs\n")
    assert "CN=Example Issuing" in told
    before = tree(world.kept)
    assert accept(world, (NAME, 1))["reviews"] == []
    assert tree(world.kept) == before


def test_a_refused_reply_is_shown_with_what_differs(world: World) -> None:
    world.reply(cn="energydip-nonprod.somebody-else.example")
    result = accept(world, (NAME, 1))
    assert len(result["refused"]) == 1
    (told,) = result["reviews"]
    assert told.startswith(f"{NAME} v1: 1 field differs\n")
    assert "energydip-nonprod.somebody-else.example" in told


def test_a_reply_of_another_key_is_shown_beside_the_request(world: World) -> None:
    world.reply(public=factory.key("somebody else").public_key())
    (told,) = accept(world, (NAME, 1))["reviews"]
    (line,) = [line for line in told.splitlines() if "public key" in line]
    assert line.endswith("differs")


@pytest.mark.parametrize("reply", [b"see the attachment", ISSUING.pem, b""])
def test_a_reply_without_a_certificate_of_ours_stops_no_review(world: World, reply: bytes) -> None:
    world.certificates.append(certificate_entry(OTHER))
    world.request(name=OTHER)
    world.reply(name=OTHER)
    world.put(reply_txt=reply)
    result = accept(world, (NAME, 1), (OTHER, 1))
    assert len(result["refused"]) == 1
    assert any(one.startswith(f"{OTHER} v1: nothing differs") for one in result["reviews"])


def test_a_private_key_in_a_reply_is_in_no_review(world: World) -> None:
    from cryptography.hazmat.primitives import serialization

    secret = factory.key("leaf").private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    leaf = world.reply()
    world.put(reply_txt=factory.pem(leaf) + secret)
    result = accept(world, (NAME, 1))
    assert result["reviews"] == []
    assert len(result["refused"]) == 1


def test_a_kept_certificate_that_is_refused_now_was_compared_when_it_came(world: World) -> None:
    leaf = world.reply()
    accept(world, (NAME, 1))
    world.crls(ISSUING.crl([factory.serial(leaf)], number=2))
    result = accept(world, (NAME, 1))
    assert (len(result["refused"]), result["reviews"]) == (1, [])


def test_the_usages_of_a_purpose_are_the_policys() -> None:
    from pki import reviewing

    found = reviewing.usages(policies()["mhhs-dip"])
    assert set(found["mtls"]) == {"clientAuth", "serverAuth"}
    assert found["signing"] == ("digitalSignature",)
