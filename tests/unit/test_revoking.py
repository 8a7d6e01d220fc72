# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may have what revoked for which cause, which versions are meant, and what follows."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pki import ledger, public_state, revoke_stage
from pki.errors import PkiError
from pki.revocation_cause import CAUSES
from unit.controller_world import NAME, OTHER, World, certificate_entry, spki, tree, whole
from unit.pki_factory import DAY
from unit.revoke_world import ADMIN, WHY, accepted, decided, moment, record_of, said, saved

PORTAL = sorted(name for name, one in CAUSES.items() if not one.final)
MANAGERS = sorted(name for name, one in CAUSES.items() if one.final)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two certificates of one organisation, the first with two accepted versions."""
    made = World(tmp_path, certificates=[certificate_entry(), certificate_entry(OTHER)])
    made.crls()
    accepted(made, 1, 2)
    accepted(made, 1, name=OTHER)
    return made


def refused(world: World, word: dict[str, Any], **options: Any) -> PkiError:
    before = tree(world.base)
    with pytest.raises(PkiError) as caught:
        decided(world, word, **options)
    assert tree(world.base) == before
    return whole(caught.value)


# --- who may --------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", PORTAL)
def test_a_certificate_admin_may_ask_for_it(world: World, cause: str) -> None:
    (one,) = decided(world, said(cause, by="ada  ADMIN"))
    record = record_of(one)
    assert (record.by, record.role) == (ADMIN, "certificate_admin")
    assert (record.cause, record.reason) == (cause, CAUSES[cause].reason)
    assert record.contact == "bsc.change@elexon.co.uk"


@pytest.mark.parametrize("cause", PORTAL)
@pytest.mark.parametrize("by", ["Uma User", "Mallory", "", "Ada"])
def test_nobody_else_may(world: World, cause: str, by: str) -> None:
    error = refused(world, said(cause, by=by))
    assert error.rule == "DIP-5.4.3-ROLES"
    assert ADMIN in error.expected


@pytest.mark.parametrize("cause", PORTAL)
def test_nor_may_the_dip_manager_in_our_name(world: World, cause: str) -> None:
    error = refused(world, said(cause, by="Dora", by_role="dip_manager"))
    assert error.rule == "DIP-5.4.3-ROLES"


@pytest.mark.parametrize("cause", MANAGERS)
@pytest.mark.parametrize("by", [ADMIN, "Uma User", "Mallory", ""])
def test_only_the_dip_manager_may_and_the_letter_is_there(
    world: World, cause: str, by: str
) -> None:
    error = refused(world, said(cause, by=by))
    assert error.rule == "DIP-6.1.3-CESSATION"
    serial = yaml.safe_load((world.directory(2) / "accepted.yml").read_text())["serial"]
    assert serial in error.next_step
    assert "Please revoke" in error.next_step
    assert "bsc.change@elexon.co.uk" in error.expected


@pytest.mark.parametrize("cause", MANAGERS)
def test_the_dip_managers_word_is_recorded(world: World, cause: str) -> None:
    (one,) = decided(world, said(cause, by="Dora", by_role="dip_manager"))
    assert (record_of(one).by, record_of(one).role) == ("Dora", "dip_manager")
    assert one.asked is None


def test_an_admin_who_has_left_is_asked_no_more_and_one_who_will_leave_still_is(
    world: World,
) -> None:
    world.organisation["roster"][0]["left"] = moment(timedelta())[:10]
    world.organisation["roster"].append(
        {"name": "Ben", "email": "b@example.com", "role": "certificate_admin", "left": "2099-01-01"}
    )
    error = refused(world, said())
    assert error.rule == "DIP-5.4.3-ROLES"
    assert error.expected.endswith("Ben")
    assert record_of(decided(world, said(by="Ben"))[0]).by == "Ben"


# --- which versions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "versions"),
    [
        (said(), [2]),
        (said(version=1), [1]),
        (said("superseded"), [1]),
        (said("inaccurate"), [2]),
        (said("leaver"), [2]),
    ],
)
def test_a_cause_is_about_the_version_it_fits(
    world: World, word: dict[str, Any], versions: list[int]
) -> None:
    assert [one.target.version for one in decided(world, word)] == versions


def test_the_same_word_is_about_the_same_version_once_another_is_in_service(world: World) -> None:
    saved(decided(world, said()))
    accepted(world, 3)
    (one,) = decided(world, said(), after=2 * DAY)
    assert one.target.version == 2
    assert one.contents()
    assert not public_state.differing(one.files.path, one.contents())
    (other,) = decided(world, said(reason="another laptop"), after=2 * DAY)
    assert other.target.version == 3


def test_off_boarding_is_about_every_certificate_in_force(world: World) -> None:
    found = decided(
        world, said("ineligible", organisation="example-energy", by="D", by_role="dip_manager")
    )
    assert [str(one.target) for one in found] == [f"{NAME} v1", f"{NAME} v2", f"{OTHER} v1"]
    assert all(one.asked is None and one.cause.final for one in found)


def test_a_host_in_other_hands_is_about_every_key_that_it_holds(tmp_path: Path) -> None:
    entries = [
        certificate_entry(),
        certificate_entry(OTHER, hosts="elsewhere"),
        certificate_entry("sign", purposes=["signing"], domain="sign.example"),
    ]
    world = World(tmp_path, certificates=entries)
    world.crls()
    accepted(world, 1)
    accepted(world, 1, name=OTHER)
    groups = {"gateways": ["gw1", "gw2"], "elsewhere": ["gw3"]}
    (one,) = decided(world, said("media_compromise", host="gw1"), groups=groups)
    assert str(one.target) == f"{NAME} v1"
    assert record_of(one).medium == "gw1"
    both = decided(
        world, said("media_compromise", host="gw1"), groups={**groups, "elsewhere": ["gw1"]}
    )
    assert [record_of(each).beside for each in both] == [(f"{OTHER} v1",), (f"{NAME} v1",)]
    assert "there is no such host" in refused(world, said(host="gw9"), groups=groups).message


def test_somebody_who_left_is_named_in_what_they_owned_and_submitted(world: World) -> None:
    word = said("leaver", leaver="uma user")
    assert "no date of leaving" in refused(world, word).found
    assert "nobody of that name" in refused(world, said("leaver", leaver="Bob")).found
    world.organisation["roster"][1]["left"] = "2026-11-01"
    assert "no certificate in force is meant" in refused(world, word).message
    world.certificates[1]["owner"] = {"name": "Uma User", "accepted": "2026-01-01"}
    text = b"Who    Uma User or Ada Admin (Certificate Admin)\n"
    world.put(1, submission_txt=text)
    found = decided(world, word)
    assert [str(one.target) for one in found] == [f"{NAME} v1", f"{OTHER} v1"]
    assert {record_of(one).reason for one in found} == {"affiliation_changes"}
    # Without a name: of everybody who left.
    nobody = {**said("leaver"), "certificate": ""}
    assert [one.target for one in decided(world, nobody)] == [one.target for one in found]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        (said(certificate="nothing"), "there is no such certificate"),
        (said(version=9), "not clear which version"),
        (said(organisation="nobody"), "there is no such organisation"),
        ({**said(), "certificate": ""}, "not clear which certificates"),
        (said(host="gw1", organisation="example-energy"), "not clear which certificates"),
        (said(reason=""), "there is no reason"),
        (said(reason="two\nlines"), "not one line"),
        (said(noticed="yesterday"), "noticed is not a moment"),
        (said(noticed="2026-11-21T10:00:00"), "noticed is not a moment"),
        (said(noticed="2099-01-01T00:00:00Z"), "noticed is still to come"),
        (said(submitted="2099-01-01T00:00:00Z"), "submitted is still to come"),
        (said(submitted="2020-01-01T00:00:00Z"), "before anybody noticed"),
        ({"certificate": NAME, "submitted": "now"}, "not clear which version"),
        ({"certificate": NAME, "version": 2, "submitted": "now"}, "nothing was prepared"),
        (said("superseded", version=2, by_role="dip_manager"), "only a Certificate Admin"),
    ],
)
def test_a_word_that_is_not_clear_is_refused(world: World, word: dict[str, Any], says: str) -> None:
    assert says in refused(world, word).message


def test_a_certificate_that_has_ended_is_nothing_to_revoke(world: World) -> None:
    error = refused(world, said("inaccurate"), after=500 * DAY)
    assert "there is no certificate to revoke" in error.message
    # Its key may still be used for something, so it is marked all the same.
    (one,) = decided(world, said(), after=500 * DAY)
    assert one.record is None
    assert one.entry["reason"] == WHY


# --- said again -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [{"cause": "leaver"}, {"reason": "it was lent"}, {"noticed": "2026-11-01T00:00:00Z"}],
)
def test_said_differently_it_is_refused(world: World, other: dict[str, Any]) -> None:
    saved(decided(world, said(version=2)))
    error = refused(world, said(version=2, **other) if "cause" not in other else
                    {**said(version=2), **other})  # fmt: skip
    assert "prepared differently" in error.message


def test_worse_news_takes_the_place_of_a_harmless_word(world: World) -> None:
    saved(decided(world, said("superseded")))
    (one,) = decided(world, said("key_compromise", version=1), after=2 * DAY)
    assert record_of(one).cause == "key_compromise"
    saved([one])
    assert "prepared differently" in refused(world, said("superseded", version=1)).message


def test_a_key_that_was_lost_may_turn_out_to_be_known_to_others(world: World) -> None:
    saved(decided(world, said("key_lost")))
    (one,) = decided(world, said("media_compromise", version=2), after=2 * DAY)
    assert set(one.contents()) > {"incident.txt", "authority.txt"}


def test_steps_are_added_once_and_never_taken_back(world: World) -> None:
    saved(decided(world, said(noticed=moment(timedelta()))))
    steps = {"submitted": "now", "incident": "INC1", "authority": moment(DAY / 24)}
    word = {"certificate": NAME, **steps}
    (one,) = decided(world, word)
    saved([one])
    record = record_of(one)
    assert (record.minutes("authority"), record.reference) == (60, "INC1")
    assert record.minutes("submitted") == 24 * 60
    (again,) = decided(world, word, after=3 * DAY)
    assert again.record == record
    assert "recorded already" in refused(world, {**word, "incident": "INC2"}).message
    later = {**word, "authority": moment(DAY / 12)}
    assert "recorded already" in refused(world, later).message


# --- what follows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", PORTAL)
def test_another_key_is_asked_for_where_the_cause_wants_one(world: World, cause: str) -> None:
    (one,) = decided(world, said(cause, version=2))
    assert (one.asked is not None) is CAUSES[cause].replaced
    assert bool(one.entry) is CAUSES[cause].leaked
    keys = [{"certificate": NAME, "spki_sha256": [one.spki_sha256]}]
    assert revoke_stage.out_of_service([one]) == (keys if CAUSES[cause].leaked else [])


def test_an_open_request_of_the_key_is_withdrawn_and_a_certificate_that_came_is_revoked(
    world: World,
) -> None:
    world.request(3)
    (one,) = decided(world, said(version=3))
    assert (one.ended is not None, one.record) == (True, None)
    world.reply(3)
    (one,) = decided(world, said(version=3))
    assert one.ended is not None
    assert record_of(one).spki_sha256 == spki(f"{NAME} v3")


def test_another_that_is_on_its_way_or_in_service_stays(world: World) -> None:
    (old,) = decided(world, said(version=1))
    assert (old.asked, "version 2 is in service" in old.stands) == (None, True)
    world.request(3)
    (live,) = decided(world, said(version=2))
    assert (live.asked, "request v3" in live.stands) == (None, True)


def test_a_person_is_told_what_to_do_and_by_when_until_it_is_recorded(world: World) -> None:
    word = said(noticed=moment(timedelta()))
    (one,) = decided(world, word)
    saved([one])
    incident, authority, portal, record = one.next_steps()
    serial = record_of(one).serial
    assert f"naming serial {serial} within 240 minutes of {moment(timedelta())}" in incident
    assert "within 60 minutes" in authority
    assert f"have serial {serial} revoked for key compromise within 60 minutes" in portal
    assert "revocation.txt" in portal
    assert "-e version=2 -e cause=key_compromise -e submitted=now" in record
    done = {"certificate": NAME, "submitted": "now", "incident": "I", "authority": "now"}
    (then,) = decided(world, done)
    assert [line.split(": ")[1] for line in then.next_steps()] == ["once it is revoked"]
    (over,) = decided(world, {**done, "revoked": "now"})
    assert over.next_steps() == []


# --- the ledger beside the inventory -----------------------------------------------------------


ENTRY = {"certificate": NAME, "since": "2026-11-22", "reason": "ünusual: 'quoted' # no comment"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "---\n# ours\ncompromised: []\n",
        "---\ncompromised:\n  # why\n  - spki_sha256: " + "a" * 64
        + "\n    certificate: x\n    since: '2026-01-01'\n    reason: y\n",
        "compromised:\n- {spki_sha256: " + "b" * 64 + ", certificate: x, since: a, reason: y}",
    ],
)  # fmt: skip
def test_the_ledger_keeps_what_is_there_and_gains_one_entry(text: str) -> None:
    before = (yaml.safe_load(text) or {}).get("compromised", []) if text else []
    after = ledger.extended(text, "c" * 64, ENTRY)
    assert yaml.safe_load(after) == {"compromised": [*before, {"spki_sha256": "c" * 64, **ENTRY}]}
    if before:
        assert after.startswith(text)
