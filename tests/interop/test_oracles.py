# SPDX-License-Identifier: GPL-3.0-or-later
"""Two other validators asked the same as ours: what we accept, they accept, on NIST's cases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from interop import oracles, pkits

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")
# How often an oracle may differ from NIST itself, either way: old DSA keys, one indirect CRL.
FEW = 4


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openssl")


@pytest.fixture(params=["openssl", "pyhanko"])
def oracle(request: pytest.FixtureRequest, workspace: Path) -> Callable[[oracles.Question], bool]:
    """Whether the other validator accepts; a crash of it accepts nothing."""
    if request.param == "openssl":
        return lambda question: oracles.openssl(question, workspace, strict=False) == ""
    return lambda question: oracles.pyhanko(question) == ""


def test_what_we_accept_of_nists_cases_another_validator_accepts(
    oracle: Callable[[oracles.Question], bool],
) -> None:
    differing, alone = [], []
    for case in pkits.CASES:
        question = oracles.Question(
            case.leaf_der(), case.intermediates(), pkits.anchor(), case.crls(), pkits.NOW
        )
        accepts = oracle(question)
        if accepts is not case.good:
            differing.append(case.number)
        if oracles.ours(question) is None and not accepts:
            alone.append(case.number)
    assert alone == []
    assert len(differing) <= FEW, differing
