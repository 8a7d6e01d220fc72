# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory with forty participants of three providers: what is told, and what it costs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from benchmarks import parties as measured
from pki import parties
from unit import many_parties

#: Twice as many participants; more than that in cost would be work for each pair of them.
RATIO = 2.6


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measured.issued(tmp_path_factory.mktemp("forty") / "parties", measured.PARTICIPANTS)


@pytest.fixture(scope="module")
def told(forty: Path) -> dict[str, Any]:
    return measured.planned(forty)


def test_forty_participants_and_three_providers_plan_without_a_finding(
    told: dict[str, Any],
) -> None:
    assert told["findings"] == []
    # Three for mTLS, one for each participant, and another for every tenth, who has two providers.
    assert Counter(told["states"].values()) == {"accepted": 3, "deployed": 43, "requested": 1}


def test_the_quota_of_each_organisation_is_told(told: dict[str, Any]) -> None:
    """The last certificate of participant 40 has a second request that is still open."""
    wanted = {
        **{f"provider-{number}": (1, 0) for number in range(1, 4)},
        **{f"participant-{number}": (1, 0) for number in range(1, 41)},
        **{f"participant-{number}": (2, 0) for number in (10, 20, 30)},
        "participant-40": (2, 1),
    }
    assert {row["organisation"]: row for row in told["quotas"]} == {
        key: {
            "organisation": key,
            "quota": many_parties.QUOTA,
            "issued": issued,
            "revoked": 0,
            "pending": pending,
            "left": many_parties.QUOTA - issued - pending,
        }
        for key, (issued, pending) in wanted.items()
    }


def test_each_organisation_has_what_table_3_wants_of_it(forty: Path) -> None:
    needs = parties.review(many_parties.load(forty)).needs
    assert Counter((one.purpose, len(one.entries)) for one in needs) == {
        ("mtls", 1): 3,
        ("signing", 1): 44,
    }
    assert {one.provider for one in needs if one.purpose == "signing"} == {
        f"provider-{number}" for number in range(1, 4)
    }


def test_twice_as_many_participants_cost_less_than_for_each_pair_of_them(
    forty: Path, tmp_path: Path
) -> None:
    twice = measured.issued(tmp_path / "eighty", 2 * measured.PARTICIPANTS)
    assert measured.cost(twice, "plan") < RATIO * measured.cost(forty, "plan")
