# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a request names, for which host it is, and what its reader is told to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pki import csr, public_state, request_stage, submission
from pki.errors import PkiError
from pki.facts import certificates
from pki.facts.scene import Scene
from pki.policy import Outcome
from unit import pki_factory as factory
from unit.controller_world import NAME, World, certificate_entry
from unit.pki_factory import CN, SUBJECT
from unit.test_request_stage import CREATED, SoftwareStore

GROUPS = {"gateways": ["gw1", "gw2"]}
HOOK = "hook.example-energy.co.uk"
SEVERAL = [HOOK, CN, "second.example-energy.co.uk"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def of_entry(world: World, name: str = NAME) -> request_stage.Written:
    """The first request of a certificate, as the stage makes it with a key of the right size."""
    inputs = world.inputs()
    certificate, store = inputs.declared.certificates[name], SoftwareStore()
    record = store.ensure(certificate.key_name, 1)
    return request_stage.build(
        certificate, inputs.policy_of(name), store, record, 1, inputs.certificates_dir
    )


@pytest.mark.parametrize(
    ("wanted", "names"),
    [("none", ()), ("cn", (CN,)), (SEVERAL, tuple(SEVERAL))],
    ids=["none", "cn", "list"],
)
def test_a_request_has_the_names_that_its_entry_wants_and_tells_the_reader_of_them(
    world: World, wanted: object, names: tuple[str, ...]
) -> None:
    world.certificates[0]["san"] = wanted
    contents = of_entry(world).contents
    assert csr.parse(contents["request.csr"]).san == names
    assert yaml.safe_load(contents["request.yml"]).get("san", []) == list(names)
    text = contents["submission.txt"].decode()
    assert ("alternative names" in text) is bool(names)
    told = submission.read(contents["submission.txt"])
    assert (told.san, told.common_name, told.subject) == (names, CN, SUBJECT)


def test_what_is_committed_with_names_passes_every_rule(world: World) -> None:
    world.certificates[0]["san"] = SEVERAL
    written = of_entry(world)
    public_state.write(written.directory, written.contents)
    (document,) = certificates.collect(Scene(world.inputs(), "offline", "nonprod")).documents
    findings = world.inputs().policies[document.policy].evaluate("request", document.facts)
    assert {one.rule: one.outcome for one in findings if not one.passed} == {}


def test_an_edit_of_the_names_is_a_finding_as_long_as_the_request_is_open(world: World) -> None:
    written = of_entry(world)
    public_state.write(written.directory, written.contents)
    world.certificates[0]["san"] = "cn"
    (document,) = certificates.collect(Scene(world.inputs(), "offline", "nonprod")).documents
    findings = world.inputs().policies[document.policy].evaluate("request", document.facts)
    assert {one.rule for one in findings if one.outcome is Outcome.FAILED} == {"DIP-8.6-SAN"}


def test_a_text_that_names_another_host_than_the_request_is_found(world: World) -> None:
    world.certificates[0]["san"] = SEVERAL
    written = of_entry(world)
    text = written.contents["submission.txt"].replace(HOOK.encode(), b"hook.example.org")
    public_state.write(written.directory, {**written.contents, "submission.txt": text})
    (document,) = certificates.collect(Scene(world.inputs(), "offline", "nonprod")).documents
    findings = world.inputs().policies[document.policy].evaluate("request", document.facts)
    assert {one.rule for one in findings if one.outcome is Outcome.FAILED} == {"DIP-12.2-11-NAME"}


@pytest.mark.parametrize(
    ("days", "found"), [(0, False), (14, False), (15, True)], ids=["new", "14 days", "15 days"]
)
def test_a_request_that_waits_for_longer_than_the_policy_says_is_a_finding(
    world: World, days: int, found: bool
) -> None:
    written = of_entry(world)
    public_state.write(written.directory, written.contents)
    inputs = replace(world.inputs(), now=CREATED + timedelta(days=days, hours=1))
    (document,) = certificates.collect(Scene(inputs, "offline", "nonprod")).documents
    assert document.facts["age_days"] == days
    findings = inputs.policies[document.policy].evaluate("request", document.facts)
    failed = {one.rule for one in findings if one.outcome is Outcome.FAILED}
    assert failed == ({"DIP-6.1.2-AGE"} if found else set())
    withdrawn = {"schema": 1, "outcome": "withdrawn", "date": "2026-11-16T00:00:00Z"}
    public_state.write(written.directory, {"outcome.yml": public_state.dump(withdrawn)})
    (document,) = certificates.collect(Scene(inputs, "offline", "nonprod")).documents
    findings = inputs.policies[document.policy].evaluate("request", document.facts)
    assert "DIP-6.1.2-AGE" not in {one.rule for one in findings if one.outcome is Outcome.FAILED}


def test_a_host_of_its_own_has_a_request_a_directory_and_a_text_of_its_own(world: World) -> None:
    world.certificates[0]["per_host"] = True
    world.groups = GROUPS
    written = of_entry(world, f"{NAME}/gw1")
    assert written.directory == world.kept / NAME / "gw1" / "1"
    record = yaml.safe_load(written.contents["request.yml"])
    assert record["certificate"] == f"{NAME}/gw1"
    assert record["key"]["name"] == f"{NAME}_gw1"
    text = written.contents["submission.txt"].decode()
    assert text.startswith(f"Certificate request for {NAME}/gw1, version 1\n")
    assert f"For    host gw1 alone; every other host of {NAME} has a request of its own\n" in text
    assert f"     {NAME}/gw1/1/reply.txt\n" in text


def test_the_text_of_a_request_that_hosts_share_names_no_host_and_no_device(world: World) -> None:
    text = of_entry(world).contents["submission.txt"].decode()
    assert "alone" not in text
    assert "device" not in text
    assert "\n\n1. Sign in" in text


def test_the_text_of_a_devices_request_says_what_to_do_with_the_reply(world: World) -> None:
    world.certificates[0]["key"] = {"store": "external"}
    inputs = world.inputs()
    written = request_stage.take_in(
        inputs.declared.certificates[NAME],
        inputs.policy_of(NAME),
        csr.build(factory.key("store 1", 4096), CN, SUBJECT),
        1,
        CREATED,
        inputs.certificates_dir,
    )
    text = written.contents["submission.txt"].decode()
    assert "From   the device that made key and request; the key stays in it\n" in text
    assert f"upload certificate.pem and chain.pem from\n\n     {NAME}/1/\n" in text
    assert submission.read(text.encode()).submitters == ("Ada Admin",)


def test_the_same_entry_and_key_give_the_same_text_wherever_it_is_written(
    world: World, tmp_path: Path
) -> None:
    world.certificates[0] |= {"san": SEVERAL, "per_host": True}
    world.groups = GROUPS
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = World(elsewhere, certificates=world.certificates, groups=GROUPS)
    name = f"{NAME}/gw2"
    assert of_entry(world, name).contents == of_entry(other, name).contents


# --- whatever the entry says -----------------------------------------------------------------

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True).filter(
    lambda label: label[2:4] != "--"
)
HOST = st.lists(LABEL, min_size=2, max_size=5).map(".".join)
LETTERS = st.characters(codec="utf-8", exclude_categories=("C", "Z"))
WORDS = st.lists(st.text(LETTERS, min_size=1, max_size=15), min_size=1, max_size=3).map(" ".join)


def is_valid(world: World) -> bool:
    """Whether the inventory can be used at all; why it cannot is another test's matter."""
    try:
        world.inputs()
    except PkiError:
        return False
    return True


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    domain=HOST,
    san=st.one_of(st.just("none"), st.just("cn"), st.lists(HOST, min_size=1, max_size=8)),
    organisation=WORDS,
    locality=WORDS,
    per_host=st.booleans(),
)
def test_the_request_of_a_valid_entry_holds_the_wanted_names_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory,
    domain: str,
    san: str | list[str],
    organisation: str,
    locality: str,
    per_host: bool,
) -> None:
    subject = {"O": organisation, "L": locality, "ST": "London", "C": "GB"}
    entry = certificate_entry(domain=domain, san=san, per_host=per_host)
    world = World(tmp_path_factory.mktemp("world"), certificates=[entry], groups=GROUPS)
    world.organisation["subject"] = subject
    assume(is_valid(world))
    name = f"{NAME}/gw1" if per_host else NAME
    written = of_entry(world, name)
    common_name = f"energydip-nonprod.{domain}"
    wanted = {"none": [], "cn": [common_name]}.get(san) if isinstance(san, str) else san
    # The library, and not our own reader: nothing that it sees may be more than was wanted.
    request = x509.load_pem_x509_csr(written.contents["request.csr"])
    assert request.is_signature_valid
    assert [
        (attribute.rfc4514_attribute_name, str(attribute.value)) for attribute in request.subject
    ] == [("C", "GB"), ("ST", "London"), ("L", locality), ("O", organisation), ("CN", common_name)]
    assert all(len(list(part)) == 1 for part in request.subject.rdns)
    extensions = list(request.extensions)
    assert [one.oid._name for one in extensions] == (["subjectAltName"] if wanted else [])
    assert len(list(request.attributes)) == len(extensions)
    for one in extensions:
        assert isinstance(one.value, x509.SubjectAlternativeName)
        assert [type(name) for name in one.value] == [x509.DNSName] * len(wanted or ())
        assert [name.value for name in one.value] == wanted
    told = submission.read(written.contents["submission.txt"])
    assert (told.common_name, told.subject) == (common_name, subject)
    assert list(told.san) == wanted


# --- what comes back -------------------------------------------------------------------------

SECOND = "second.example-energy.co.uk"
REPLIES: dict[str, tuple[object, list[str], bool]] = {
    "none asked, none given": ("none", [], True),
    "none asked, the common name given": ("none", [CN], True),
    "none asked, a host given": ("none", [HOOK], False),
    "none asked, a host given beside the common name": ("none", [CN, HOOK], False),
    "the common name asked and given": ("cn", [CN], True),
    "the common name asked, no alternative names given": ("cn", [], True),
    "the common name asked, a host given in its place": ("cn", [HOOK], False),
    "a list asked and given": ([HOOK, SECOND], [HOOK, SECOND], True),
    "a list asked and given in another order": ([HOOK, SECOND], [SECOND, HOOK], True),
    "a list asked, given with the common name": ([HOOK, SECOND], [CN, HOOK, SECOND], True),
    "a list asked, one is missing": ([HOOK, SECOND], [HOOK], False),
    "a list asked, one more is given": ([HOOK], [HOOK, SECOND], False),
    "a list asked, none given": ([HOOK], [], False),
    "a list with the common name asked, given without it": ([CN, HOOK], [HOOK], False),
}


@pytest.mark.parametrize("case", REPLIES)
def test_a_reply_has_the_names_that_were_asked_for(world: World, case: str) -> None:
    san, given_names, right = REPLIES[case]
    world.certificates[0]["san"] = san
    world.crls()
    written = of_entry(world)
    public_state.write(written.directory, written.contents)
    public = factory.key("store 1", 4096).public_key()
    world.reply(public=public, san=given_names)
    outcome = world.judge((NAME, 1))
    assert [one.error.rule for one in outcome.refused] == ([] if right else ["DIP-8.6-SAN"])
