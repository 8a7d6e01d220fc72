# SPDX-License-Identifier: GPL-3.0-or-later
"""A grace: who may have one, for how long, what it excuses, and that it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pki_host import crl_age, crl_grace, files
from pki_host.crl_granting import Desk, Wish, table
from pki_host.errors import HostError
from unit.guarded_host import DAY, HOUR, TRUST, GuardedHost, fresh

SET = {"ingress": "current", "egress": "current"}
REFUSED = {"ingress": "../refusal", "egress": "../refusal"}


@pytest.fixture
def host(tmp_path: Path) -> GuardedHost:
    """A host whose CRLs are too old by an hour, and refused."""
    made = fresh(tmp_path)
    made.confirm(ago=DAY + HOUR)
    Desk(made.root, made.now).take_effect()
    assert made.in_force() == REFUSED
    return made


def wish(**other: Any) -> Wish:
    words = {"trust": TRUST, "state": "present", "by": "Ada Admin", "reason": "the CA moves"}
    return Wish(**{**words, "until": "", "hours": 0.0, **other})


def desk(host: GuardedHost, seconds: float = 0) -> Desk:
    return Desk(host.root, host.now + seconds)


def grant(host: GuardedHost, seconds: float = 0, **other: Any) -> tuple[bool, str]:
    """Grant it and let it take effect; whether it changed anything, and what was told."""
    one = desk(host, seconds)
    granted = one.do(wish(**other), check=False)
    told = granted.sentences + (one.take_effect() if granted.changed else ())
    return granted.changed, "\n".join(told)


def test_it_takes_effect_at_once_is_told_and_ends_by_itself(host: GuardedHost) -> None:
    changed, told = grant(host, hours=4)
    assert changed
    assert f"{TRUST}: a grace until {crl_age.iso(int(host.now) + 4 * HOUR)} is granted" in told
    assert f"{TRUST}: ingress uses its CRLs again" in told
    assert host.in_force() == SET
    desk(host, 4 * HOUR - 1).take_effect()
    assert host.in_force() == SET
    desk(host, 4 * HOUR + 1).take_effect()
    assert host.in_force() == REFUSED


def test_the_record_says_who_why_and_until_when_to_anybody(host: GuardedHost) -> None:
    grant(host, until=crl_age.iso(host.now + HOUR))
    raw = json.loads((host.place / "grace.json").read_text())
    assert (raw["by"], raw["reason"]) == ("Ada Admin", "the CA moves")
    assert raw["until"] == crl_age.iso(host.now + HOUR)
    assert raw["granted_at"] == crl_age.iso(host.now)
    assert files.mode_of(str(host.place / "grace.json")) == files.PUBLIC


@pytest.mark.parametrize("same", [{"hours": 4.0}, {"until": "2100"}])
def test_the_same_words_twice_are_one_grace_and_others_are_another(
    host: GuardedHost, same: dict[str, Any]
) -> None:
    if "until" in same:
        same = {"until": crl_age.iso(host.now + 4 * HOUR)}
    assert grant(host, **same)[0]
    assert grant(host, 60, **same) == (False, grant(host, 60, **same)[1])
    assert "is already granted" in grant(host, 60, **same)[1]
    assert grant(host, 60, **{**same, "reason": "another"})[0]
    assert grant(host, 60, hours=5)[0]
    # One that has ended is none: the same words grant another.
    if "hours" in same:
        assert grant(host, 6 * HOUR, **same)[0]


def test_it_is_taken_away_before_its_time_once(host: GuardedHost) -> None:
    grant(host, hours=4)
    assert grant(host, 60, state="absent")[0]
    assert host.in_force() == REFUSED
    assert grant(host, 60, state="absent") == (False, f"{TRUST}: no grace was there")


def test_check_mode_says_the_same_and_changes_nothing(host: GuardedHost) -> None:
    granted = desk(host).do(wish(hours=4.0), check=True)
    assert granted.changed
    assert "would be granted" in granted.sentences[0]
    assert json.loads(granted.after)["by"] == "Ada Admin"
    assert not (host.place / "grace.json").exists()
    grant(host, hours=4)
    before = (host.place / "grace.json").read_text()
    withdrawn = desk(host).do(wish(state="absent"), check=True)
    assert (withdrawn.changed, withdrawn.before) == (True, before)
    assert (host.place / "grace.json").exists()


@pytest.mark.parametrize(
    ("asked", "left", "found"),
    [
        pytest.param({"hours": 4.0, "by": ""}, 7 * DAY, "no by", id="nobody grants it"),
        pytest.param({"hours": 4.0, "reason": " "}, 7 * DAY, "no reason", id="no reason"),
        pytest.param({"hours": 25.0}, 7 * DAY, "90000 s", id="longer than the policy allows"),
        pytest.param({"hours": 4.0}, 3 * HOUR, "past its next update", id="past a next update"),
        pytest.param({"hours": 4.0}, -1, "issuing: expired", id="expired already"),
        pytest.param({"hours": -1.0}, 7 * DAY, "hours=-1", id="before now"),
        pytest.param({"hours": float("nan")}, 7 * DAY, "hours=nan", id="no number"),
        pytest.param({"until": "2020-01-01T00:00:00Z"}, 7 * DAY, "in the past", id="long ago"),
        pytest.param({"until": "noon"}, 7 * DAY, "until='noon'", id="no time"),
        pytest.param({"until": "2099", "hours": 4.0}, 7 * DAY, "hours=4", id="two ends"),
        pytest.param({"hours": 4.0, "trust": "mesh"}, 7 * DAY, "mesh", id="no such trust"),
        pytest.param({"hours": 4.0, "trust": ""}, 7 * DAY, "no trust", id="no trust named"),
    ],
)
def test_what_nobody_may_have_is_refused_with_what_to_do(
    host: GuardedHost, asked: dict[str, Any], left: float, found: str
) -> None:
    host.stage(left=left)
    with pytest.raises(HostError) as caught:
        grant(host, **asked)
    assert caught.value.rule == "CRL-GRACE"
    assert found in caught.value.found
    assert "nothing was changed" in caught.value.next_step
    assert not (host.place / "grace.json").exists()
    assert host.in_force() == REFUSED


def unknown_set(host: GuardedHost) -> None:
    (host.place / "current/set.json").write_text("{}")


def unconfirmed(host: GuardedHost) -> None:
    (host.place / "fetched.json").write_text("{}")


def test_a_set_of_unknown_age_can_be_excused_and_one_of_unknown_content_cannot(
    host: GuardedHost,
) -> None:
    unconfirmed(host)
    assert grant(host, hours=4)[0]
    assert host.in_force() == SET
    unknown_set(host)
    desk(host).take_effect()
    assert host.in_force() == REFUSED
    with pytest.raises(HostError):
        grant(host, hours=5)


def set_back(grace: dict[str, Any]) -> None:
    """The wall clock was set back by a day since; the boot is the same."""
    grace["monotonic"] -= DAY


def longer(grace: dict[str, Any]) -> None:
    grace["until"] = "2099-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("edit", "seconds"),
    [
        pytest.param(set_back, 60, id="a clock that is set back makes it no longer"),
        pytest.param(longer, DAY + 60, id="an edited end counts for what the policy allows"),
    ],
)
def test_nothing_makes_it_longer(
    host: GuardedHost, edit: Callable[[dict[str, Any]], None], seconds: float
) -> None:
    grant(host, hours=4)
    path = host.place / "grace.json"
    raw = json.loads(path.read_text())
    edit(raw)
    path.write_text(json.dumps(raw))
    desk(host, seconds).take_effect()
    assert host.in_force() == REFUSED


def test_the_list_says_what_is_in_force_and_why(host: GuardedHost) -> None:
    (entry,) = desk(host).listed()
    assert entry["in_force"] == {"ingress": "refusal", "egress": "refusal"}
    assert entry["age_seconds"] == DAY + HOUR
    (line,) = table([entry])
    assert line.startswith(f"{TRUST}: 25.0 h old, 168.0 h to the next update; ")
    assert "ingress: refusal" in line
    assert "are allowed" in line
    grant(host, hours=4)
    (line,) = table(desk(host).listed())
    assert "by Ada Admin: the CA moves" in line
    assert "does not count" in table(desk(host, 5 * HOUR).listed())[0]
    assert wish().lists
    assert not wish(hours=4.0).lists
    assert not wish(state="absent").lists


def test_where_nothing_is_watched_there_is_nothing_to_excuse(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no CRL is watched"):
        Desk(str(tmp_path))


def test_a_grace_through_which_somebody_else_decides_is_not_written(host: GuardedHost) -> None:
    host.place.chmod(0o777)
    with pytest.raises(HostError, match="open to others"):
        grant(host, hours=4)
    host.place.chmod(0o755)
    (host.place / "grace.json").symlink_to("/etc/hostname")
    assert crl_grace.read(host.root, TRUST) is None
    assert grant(host, hours=4)[0]
    assert not (host.place / "grace.json").is_symlink()
