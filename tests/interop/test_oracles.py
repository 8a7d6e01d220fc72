# SPDX-License-Identifier: GPL-3.0-or-later
"""Two other validators asked the same as ours: what we accept, they accept, on NIST's cases."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from interop import chains, oracles, pkits
from interop.chains import Drawn, Link, List
from unit.pki_factory import NOW

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")
# How often an oracle may differ from NIST itself, either way: old DSA keys, one indirect CRL.
FEW = 4
EXAMPLES = 400


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


# --- generated chains -----------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """Where OpenSSL alone refuses: its error, why that is no fault of ours, and in what chains."""

    error: int
    reason: str
    applies: Callable[[Drawn], bool]


def links(drawn: Drawn) -> Iterator[Link]:
    yield from (*drawn.authorities, drawn.leaf)


def lists(drawn: Drawn) -> Iterator[List]:
    yield from itertools.chain.from_iterable(drawn.lists or ())


DIFFERENCES = (
    Difference(
        10,
        "a certificate is valid in its last second, too (RFC 5280, 4.1.2.5)",
        lambda drawn: any(link.end == NOW for link in links(drawn)),
    ),
    Difference(
        12,
        "so is a CRL (RFC 5280, 5.1.2.5)",
        lambda drawn: any(one.end == NOW for one in lists(drawn)),
    ),
    Difference(
        44,
        "OpenSSL wants an answer for the anchor itself, which is pinned here",
        lambda drawn: any(one.idp for one in (drawn.lists or ((),))[0]),
    ),
    Difference(
        8,
        "a forged CRL beside a good one takes nothing from the good one",
        lambda drawn: any(one.signer for one in lists(drawn)),
    ),
    Difference(
        85,
        "a CA without key identifiers is found by name and key all the same (RFC 5280, 6.1)",
        lambda drawn: not all(link.identifiers for link in drawn.authorities),
    ),
    Difference(86, "the same", lambda drawn: not all(link.identifiers for link in links(drawn))),
    Difference(
        26,
        "a CA for any purpose may issue for this one (RFC 5280, 4.2.1.12)",
        lambda drawn: any(chains.ANY in link.eku for link in drawn.authorities),
    ),
)
ERROR = re.compile(r"^error (\d+) at", re.MULTILINE)


def unexplained(drawn: Drawn, words: str) -> list[str]:
    """OpenSSL's errors that no listed difference explains for this chain."""
    errors = ERROR.findall(words) or [words]
    explained = {str(one.error) for one in DIFFERENCES if one.applies(drawn)}
    return [error for error in errors if error not in explained]


def test_what_we_accept_of_generated_chains_two_others_accept(workspace: Path) -> None:
    """Depth, path lengths, CA flags, key usages, purposes, dates, and CRLs of every scope."""
    seen: Counter[str] = Counter()

    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None)
    @given(chains.chains())
    def ask(drawn: Drawn) -> None:
        question = drawn.question()
        refused = oracles.ours(question) is not None
        seen["refused" if refused else "accepted"] += 1
        if refused:
            return
        other = oracles.pyhanko(question)
        seen["no verdict of pyHanko"] += other is None
        assert not other
        words = oracles.openssl(question, workspace, strict=True)
        seen["OpenSSL differs"] += bool(words)
        assert not words or unexplained(drawn, words) == []

    ask()
    total = seen["accepted"] + seen["refused"]
    assert total >= EXAMPLES
    # Both verdicts are common, and the oracles' silence and differences are not.
    assert 0.2 < seen["accepted"] / total < 0.8
    assert seen["no verdict of pyHanko"] <= total // 100
    assert seen["OpenSSL differs"] <= total // 10
