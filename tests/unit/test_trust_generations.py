# SPDX-License-Identifier: GPL-3.0-or-later
"""A retired CA goes when nothing depends on it any more, and not before."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from pki import names, trust_generations
from pki.trust_files import LoadedTrust
from pki.trust_generations import Decision, Own
from unit import pki_factory as factory
from unit.pki_factory import DAY, NOW
from unit.test_trust_moments import NEW, NEW_ROOT, OLD, OLD_ROOT, ca, overlap
from unit.test_trust_moments import names as common_names

RETIRED = (NOW - DAY).date().isoformat()
MONTH = timedelta(days=30)
BOTH = ["Old Issuing", "New Issuing", "Old Root", "New Root"]
NEW_ONLY = ["New Issuing", "New Root"]
QUIET: dict[str, Any] = {"peers": [], "far_ends": [], "unread": []}


def decide(*own: Own, trust: LoadedTrust | None = None, **hosts: Any) -> Decision:
    return trust_generations.decide(trust or overlap(old=RETIRED), NOW, own, hosts, MONTH)


def ours(authority: factory.Authority, *chain: factory.Authority) -> Own:
    leaf = x509.load_der_x509_certificate(authority.leaf())
    return Own("dip", 3, leaf, tuple(one.certificate for one in chain), NOW - 9 * DAY)


def peer(authority: factory.Authority, days: float, **changes: str) -> dict[str, Any]:
    seen = {
        "gateway": "edge",
        "issuer": names.rfc2253(authority.certificate.subject),
        "subject": "CN=peer.example",
        "serial": "0A",
        "time": (NOW - days * DAY).isoformat(),
        **changes,
    }
    return {**QUIET, "peers": [seen]}


def far_end(*chain: bytes, problem: str = "") -> dict[str, Any]:
    encoded = [base64.b64encode(one).decode() for one in chain]
    end = {"gateway": "edge", "listener": "api", "chain": encoded, "problem": problem}
    return {**QUIET, "far_ends": [end]}


def told(decision: Decision) -> list[str]:
    return [f"{one.ca.common_name}: {one.what}" for one in decision.dependents]


def test_a_ca_that_nothing_depends_on_goes_after_its_last_day() -> None:
    decision = decide(ours(NEW, NEW), gw1=QUIET, gw2=peer(NEW, 0))
    assert common_names(decision.trust) == NEW_ONLY
    assert decision.findings == ()


def test_while_no_ca_is_retired_nobody_is_named() -> None:
    decision = decide(ours(OLD), trust=overlap(old=NOW.date().isoformat()), gw1=None)
    assert common_names(decision.trust) == BOTH
    assert decision.findings == ()


def test_a_certificate_of_ours_keeps_every_ca_above_it() -> None:
    decision = decide(ours(OLD, OLD), gw1=QUIET)
    assert common_names(decision.trust) == BOTH
    words = "our certificate dip v3 chains to it, since 2026-11-12 12:00:00Z"
    assert told(decision) == [f"Old Issuing: {words}", f"Old Root: {words}"]
    (finding, _) = decision.findings
    assert finding.rule == "TRUST-RETIRE"
    assert finding.message == f"Old Issuing stays trusted after {RETIRED}: {words}"
    assert "playbooks/renew.yml -e certificate=dip" in finding.next_step
    assert finding.next_step.endswith("it ends by itself on 2026-12-21 12:00:00Z")


def test_a_leaf_without_its_chain_keeps_the_root_of_its_issuer_too() -> None:
    assert common_names(decide(ours(OLD), gw1=QUIET).trust) == BOTH


@pytest.mark.parametrize(("days", "stays"), [(0, True), (30, True), (30.1, False)])
def test_a_peer_counts_as_live_for_some_days(days: float, stays: bool) -> None:
    decision = decide(gw1=QUIET, gw2=peer(OLD, days))
    assert common_names(decision.trust) == (BOTH if stays else NEW_ONLY)


def test_a_live_peer_is_named_with_its_host_and_the_last_time_it_came() -> None:
    decision = decide(gw1=peer(OLD, 2))
    assert told(decision)[0] == (
        "Old Issuing: CN=peer.example came to gw1 (edge) with a certificate of CN=Old Issuing, "
        "last on 2026-11-19T12:00:00+00:00"
    )


def test_a_time_that_cannot_be_read_is_now() -> None:
    assert decide(gw1=peer(OLD, 0, time="yesterday")).findings


def test_peers_of_a_new_generation_with_the_old_name_count_for_both() -> None:
    again = NEW_ROOT.authority("Old Issuing", key_name="second")
    trust = LoadedTrust(
        "dip", (ca(OLD_ROOT), ca(NEW_ROOT)), (ca(OLD, retire_after=RETIRED), ca(again))
    )
    assert decide(trust=trust, gw1=peer(again, 1)).findings


@pytest.mark.parametrize(
    ("chain", "problem", "stays"),
    [
        ((OLD.leaf(), OLD.der), "", True),
        ((OLD.leaf(),), "", True),
        ((NEW.leaf(), NEW.der), "", False),
        ((), "timed out", True),
        ((b"no certificate",), "", True),
    ],
    ids=["the old chain", "its leaf alone", "the new chain", "no answer", "no certificate"],
)
def test_a_far_end_keeps_the_ca_of_its_chain_and_so_does_one_that_shows_none(
    chain: tuple[bytes, ...], problem: str, stays: bool
) -> None:
    decision = decide(gw1=far_end(*chain, problem=problem))
    assert common_names(decision.trust) == (BOTH if stays else NEW_ONLY)


UNKNOWN = {
    "a host that did not answer": (None, "gw1 did not say whether peers still come"),
    "a log that was not read far enough": (
        {**QUIET, "unread": ["edge: its log was read back to 10:00 only"]},
        "gw1 cannot say who came with certificates of it: edge: its log was read back",
    ),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_could_not_be_asked_counts_as_depending_on_it(kind: str) -> None:
    answer, words = UNKNOWN[kind]
    decision = decide(gw1=answer)
    assert common_names(decision.trust) == BOTH
    assert words in told(decision)[0]


def test_nothing_keeps_a_ca_after_its_own_end() -> None:
    late = NOW + 41 * DAY
    decision = trust_generations.decide(
        overlap(old=RETIRED), late, [ours(OLD, OLD)], {"gw1": None}, MONTH
    )
    assert common_names(decision.trust) == NEW_ONLY
    assert decision.findings == ()


def test_a_ca_that_ends_soon_is_named_by_its_own_date_or_the_inventorys() -> None:
    sentences = list(trust_generations.ending(overlap(), NOW, 35 * DAY))
    assert len(sentences) == 1
    assert sentences[0].startswith("dip: the CA Old Issuing ends on 2026-12-21 12:00:00Z")
    last = (NOW + 5 * DAY).date().isoformat()
    sentences = list(trust_generations.ending(overlap(old=last), NOW, 7 * DAY))
    assert [one.split(";")[0] for one in sentences] == [
        f"dip: {last} is the last day of the CA Old Issuing",
        f"dip: {last} is the last day of the CA Old Root",
    ]
