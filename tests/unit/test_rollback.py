# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person's words mean on a host in trouble, and what is said of the releases it keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki import rollback
from pki.errors import PkiError
from pki.rollback import Release, Wish

HOST = "gw1"


def release(version: int, entry: str = "dip", **changes: Any) -> Release:
    digest = f"{version:x}" * 64
    one = Release(
        certificate=entry,
        entry=entry,
        id=f"v{version}-{digest[:16]}",
        version=version,
        certificate_sha256=digest[:64],
        common_name=f"{entry}.example",
        serial=f"{version:x}",
        not_after="2027-03-02",
        days_left=100,
    )
    return replace(one, **changes)


V1, V2 = release(1), release(2)
V3 = release(3, current=True)
HOLD = {"release": V2.id, "by": "Ada", "reason": "refused", "since": "2026-11-22T02:10:00Z"}
BAD = "it expired on 2026-11-01"
THREE = [V1, V2, V3]


def chosen(releases: list[Release], **words: str) -> int:
    return rollback.choose(releases, Wish(HOST, **words)).release.version


CASES: dict[str, tuple[list[Release], dict[str, str], int]] = {
    "the newest good one before what is in service": (THREE, {}, 2),
    "the same by its word": (THREE, {"release": "previous"}, 2),
    "not one that is bad": ([V1, replace(V2, refused=BAD), V3], {}, 1),
    "not one that is newer": ([V1, replace(V2, current=True), release(3)], {}, 1),
    "one by its version": (THREE, {"release": "1"}, 1),
    "one by its version as it is written": (THREE, {"release": "v1"}, 1),
    "the one in service by its version": (THREE, {"release": "3"}, 3),
    "the only one there is by its version": ([V3], {"release": "3"}, 3),
    "one by its id": (THREE, {"release": V1.id}, 1),
    "a newer one by its version": (
        [V1, replace(V2, current=True), release(3)],
        {"release": "3"},
        3,
    ),
    "with nothing in service the newest good one": ([V1, V2], {}, 2),
    "of several certificates the only one with a way back": (
        [*THREE, release(7, "other", current=True)],
        {},
        2,
    ),
    "of several certificates the one that is named": (
        [*THREE, release(7, "other"), release(8, "other", current=True)],
        {"certificate": "other"},
        7,
    ),
    "a host's own certificate by its name": (
        [replace(one, certificate="dip/gw1") for one in THREE],
        {"certificate": "dip/gw1"},
        2,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_choice(name: str) -> None:
    releases, words, version = CASES[name]
    assert chosen(releases, **words) == version


def test_the_same_words_again_do_not_go_back_further() -> None:
    held = [V1, replace(V2, current=True, held=True), release(3)]
    again = rollback.choose(held, Wish(HOST))
    assert (again.release.version, again.done) == (2, True)
    further = rollback.choose(held, Wish(HOST, release="1"))
    assert (further.release.version, further.done) == (1, False)


def test_what_a_killed_run_wanted_is_what_the_next_one_does() -> None:
    held = [V1, replace(V2, held=True), V3]
    choice = rollback.choose(held, Wish(HOST))
    assert (choice.release.version, choice.done, choice.before) == (2, False, V3)


REFUSED: dict[str, tuple[list[Release], dict[str, str], str, str]] = {
    "a bad one by name": ([V1, replace(V2, refused=BAD), V3], {"release": "2"}, "REFUSED", BAD),
    "no older one": ([V3], {"certificate": "dip"}, "REFUSED", "no older release"),
    "only bad ones": ([replace(V2, refused=BAD), V3], {"certificate": "dip"}, "REFUSED", BAD),
    "nothing anywhere": ([V3], {}, "REFUSED", "no older release"),
    "only bad ones, of whatever": ([replace(V2, refused=BAD), V3], {}, "REFUSED", BAD),
    "two certificates": (
        [*THREE, release(7, "other"), release(8, "other", current=True)],
        {},
        "",
        "dip, other",
    ),
    "a certificate that is not there": (THREE, {"certificate": "nothing"}, "", "nothing"),
    "a release that is not there": (THREE, {"release": "9"}, "", "9"),
    "a version that is there twice": (
        [V1, replace(V1, id="v1-ffffffffffffffff"), V3],
        {"release": "1"},
        "",
        "v1-ffffffffffffffff",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_names_nothing_good_is_refused_and_says_what_to_do(name: str) -> None:
    releases, words, rule, found = REFUSED[name]
    with pytest.raises(PkiError) as caught:
        chosen(releases, **words)
    error = caught.value
    assert error.rule == ("ROLLBACK-REFUSED" if rule else "ROLLBACK")
    assert found in error.found
    assert "ansible-playbook" in error.next_step
    assert error.message.startswith("gw1: ")


states = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=6)  # good, current


@given(states, st.sampled_from(["", "previous", "1", "2", "v3", "9"]))
def test_nothing_that_is_refused_is_ever_chosen(told: list[tuple[bool, bool]], wanted: str) -> None:
    newest = max((at for at, (_, current) in enumerate(told, 1) if current), default=0)
    releases = [
        release(at, refused="" if good else BAD, current=at == newest)
        for at, (good, _) in enumerate(told, 1)
    ]
    try:
        choice = rollback.choose(releases, Wish(HOST, "dip", wanted))
    except PkiError:
        return
    assert choice.release.refused == ""
    if wanted in ("", "previous"):
        assert not newest or choice.release.version < newest


def test_the_listing_has_a_line_for_each_release_and_then_the_commands() -> None:
    held = replace(V2, current=True, held=True)
    lines = rollback.listing(HOST, [replace(V1, refused=BAD), held, release(3)], {"dip": HOLD})
    assert lines[0] == "gw1 keeps:"
    assert [line.split()[:2] for line in lines[2:5]] == [
        ["dip", one.id] for one in (release(3), V2, V1)
    ]
    assert lines[2].endswith("good")
    assert lines[3].endswith("in service, held by Ada since 2026-11-22T02:10:00Z: refused")
    assert lines[4].endswith(f"refused: {BAD}")
    assert lines[5:] == [
        "next: to release: ansible-playbook -i INVENTORY playbooks/rollback.yml "
        "-e certificate=dip -l gw1 -e rollback_state=released"
    ]
    (back,) = rollback.listing(HOST, [V2, V3], {})[4:]
    assert back.endswith("-e certificate=dip -l gw1 -e release=v2 -e \"reason='...'\"")


def test_a_host_without_a_way_back_is_told_what_to_do_instead() -> None:
    assert "renew.yml" in rollback.listing(HOST, [V3], {})[-1]
    assert "site.yml" in rollback.listing(HOST, [], {})[-1]
