# SPDX-License-Identifier: GPL-3.0-or-later
"""What is planned for a certificate whose key is compromised: never that it serves again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki import out_of_service
from pki.lifecycle import Kind, Observed, Reason, Retired, Version
from pki.plan import CertificatePlan, plan
from unit.test_plan_rows import (
    DAY,
    DEVICE,
    LIMITS,
    NOW,
    WANTED,
    accepted,
    ended,
    key,
    requested,
)

LEAKED = "compromised.yml: a laptop was stolen"


def leaked(number: int, ends: datetime = NOW + 300 * DAY, **changes: object) -> Version:
    return replace(accepted(number, ends, **changes), compromised=LEAKED)


def planned(*versions: Version, served: Mapping[str, str | None] | None = None) -> CertificatePlan:
    observed = Observed({v.number: key(v.number) for v in versions}, versions, served or {})
    return plan(WANTED, observed, LIMITS, NOW)


def deployed(result: CertificatePlan) -> list[int]:
    return [one.version for one in result.actions if one.kind is Kind.DEPLOY]


def steps(result: CertificatePlan) -> list[tuple[str, int]]:
    return [(one.kind.value, one.version) for one in result.actions]


NEW = [("create_key", 2), ("write_request", 2)]
STAND_IN = [("accept", 1), ("deploy", 1), ("create_key", 3), ("write_request", 3)]
#: Versions, the actions, and whether the newest accepted one is out of service.
SITUATIONS: dict[str, tuple[tuple[Version, ...], list[tuple[str, int]], bool]] = {
    "the only certificate": ((leaked(1),), NEW, True),
    "a newer one, while the older is good": ((accepted(1), leaked(2)), STAND_IN, True),
    "both": ((leaked(1), leaked(2)), [("create_key", 3), ("write_request", 3)], True),
    "an older one that has ended": (
        (accepted(1, NOW - DAY), leaked(2)),
        [("create_key", 3), ("write_request", 3)],
        True,
    ),
    "an older one that is retired": (
        (replace(accepted(1), retired=Retired(NOW - DAY, "withdrawn")), leaked(2)),
        [("create_key", 3), ("write_request", 3)],
        True,
    ),
    "an older one that is revoked": (
        (accepted(1, revoked_at=NOW - DAY), leaked(2)),
        [("create_key", 3), ("write_request", 3)],
        True,
    ),
    "the replacement asked for": ((leaked(1), requested(2)), [], True),
    "the replacement's reply is there": (
        (leaked(1), replace(requested(2), has_reply=True)),
        [("accept", 2), ("deploy", 2)],
        True,
    ),
    "the replacement rejected": ((leaked(1), ended(2, "rejected")), [], True),
    "replaced": ((leaked(1), accepted(2)), [("accept", 2), ("deploy", 2)], False),
    "revoked meanwhile": ((leaked(1, revoked_at=NOW - DAY),), NEW, True),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_compromised_version_is_not_deployed_and_the_rest_goes_on(situation: str) -> None:
    versions, expected, out = SITUATIONS[situation]
    result = planned(*versions)
    assert steps(result) == expected
    assert result.out_of_service is out
    assert result.compromised == {v.number: f"spki-{v.number}" for v in versions if v.compromised}


def test_the_one_that_stands_in_waits_for_no_window_and_is_named() -> None:
    result = planned(accepted(0), accepted(1), leaked(2))
    (deploy,) = [one for one in result.actions if one.kind is Kind.DEPLOY]
    assert (deploy.version, deploy.timing.held_why) == (1, "")
    assert result.reason is Reason.KEY_COMPROMISED
    assert "v1 with another key serves instead of v2" in result.message
    assert result.needs_person


def test_a_person_who_waits_for_the_replacement_reads_that_the_listeners_are_closed() -> None:
    result = planned(leaked(1), requested(2))
    assert "v1 is out of service and its listeners are closed" in result.message


def test_nobody_is_asked_to_bring_back_a_compromised_key_that_its_host_removed() -> None:
    leaked_request = replace(requested(1), compromised=LEAKED)
    result = plan(WANTED, Observed(versions=(leaked_request,)), LIMITS, NOW)
    assert result.reason is Reason.KEY_COMPROMISED
    assert "backup" not in result.next_action


def test_of_a_key_that_no_gateway_has_nothing_is_said_of_listeners() -> None:
    versions = (leaked(1),)
    observed = Observed({}, versions, {}, keys_known=False)
    result = plan(replace(WANTED, intent=DEVICE, store="external"), observed, LIMITS, NOW)
    assert deployed(result) == []
    assert "listeners" in planned(*versions).message
    version = replace(versions[0], requested=replace(requested(1, DEVICE).requested or 0))
    told = plan(WANTED, Observed({1: key(1)}, (version,), {}), LIMITS, NOW)
    assert "listeners" not in told.message


@given(
    kinds=st.lists(
        st.sampled_from(["good", "leaked", "expired", "revoked", "retired", "rejected"]),
        max_size=6,
    ),
    reply=st.booleans(),
)
def test_whatever_came_before_no_compromised_key_is_deployed_or_kept(
    kinds: list[str], reply: bool
) -> None:
    made = {
        "good": accepted,
        "leaked": leaked,
        "expired": lambda number: accepted(number, NOW - DAY),
        "revoked": lambda number: accepted(number, revoked_at=NOW - DAY),
        "retired": lambda number: replace(accepted(number), retired=Retired(NOW, "withdrawn")),
        "rejected": lambda number: ended(number, "rejected"),
    }
    versions = [made[kind](number) for number, kind in enumerate(kinds, 1)]
    if reply:
        versions.append(replace(requested(len(versions) + 1), has_reply=True))
    result = planned(*versions)
    bad = {version.number for version in versions if version.compromised}
    kept = (Kind.ACCEPT, Kind.DEPLOY, Kind.KEEP)
    assert not bad & {one.version for one in result.actions if one.kind in kept}


def test_hosts_are_told_every_listed_key_under_its_entry_or_under_the_ledger() -> None:
    one, two = planned(leaked(1), leaked(2)), replace(planned(leaked(3)), name="mesh/gw1")
    clean = replace(planned(accepted(1)), name="clean")
    entry_of = {"dip-nonprod": "dip-nonprod", "mesh/gw1": "mesh", "clean": "clean"}
    told = out_of_service.keys([one, two, clean], entry_of, ["spki-1", "spki-9"])
    assert told == [
        {"certificate": "dip-nonprod", "spki_sha256": ["spki-1", "spki-2"]},
        {"certificate": "ledger", "spki_sha256": ["spki-9"]},
        {"certificate": "mesh", "spki_sha256": ["spki-3"]},
    ]
    assert out_of_service.entries([one, two, clean], entry_of) == ["dip-nonprod", "mesh"]
    assert out_of_service.keys([clean], entry_of, []) == []
