# SPDX-License-Identifier: GPL-3.0-or-later
"""How a path is looked for among what is offered, and how far the search for words goes."""

from __future__ import annotations

import itertools

import pytest
from cryptography import x509
from pki import path
from pki.errors import PkiError
from unit import pki_factory as factory
from unit.pki_factory import DAY, NOW, SECOND

ROOT = factory.authority("Example Root")
ISSUING = ROOT.authority("Example Issuing", path_length=0)
FOREIGN = factory.authority("Foreign Root")
LEAF = ISSUING.leaf()


def refusal(*arguments: object, **options: object) -> PkiError:
    with pytest.raises(PkiError) as caught:
        path.validate(*arguments, **{"now": NOW, **options})  # type: ignore[arg-type]
    return caught.value


def parsed(*certificates: bytes) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(one) for one in certificates]


def test_an_anchor_may_issue_the_certificate_itself() -> None:
    leaf = ROOT.leaf()
    assert path.validate(leaf, [], [ROOT.der], now=NOW) == [leaf, ROOT.der]


def crossed() -> tuple[factory.Authority, factory.Authority, list[bytes]]:
    """Two CAs of one name and key, each under a CA of another root, and all that is offered."""
    ours, theirs = ROOT.authority("Middle A"), FOREIGN.authority("Middle B")
    both = [ca.authority("Crossed", key_name="crossed") for ca in (ours, theirs)]
    return both[0], both[1], [ca.der for ca in (*both, ours, theirs, ROOT, FOREIGN)]


@pytest.mark.parametrize("anchor", [ROOT, FOREIGN], ids=["ours", "theirs"])
def test_a_ca_with_two_issuers_leads_to_whichever_is_pinned(anchor: factory.Authority) -> None:
    one, other, offered = crossed()
    leaf = one.leaf()
    wanted = one if anchor is ROOT else other
    for order in (offered, offered[::-1], offered[2:] + offered[:2]):
        chain = path.validate(leaf, order, [anchor.der], now=NOW)
        assert (chain[1], chain[-1], len(chain)) == (wanted.der, anchor.der, 4)


def test_both_ways_up_are_looked_at_for_the_words_of_a_refusal() -> None:
    one, _, offered = crossed()
    leaf = one.leaf(end=NOW - SECOND)
    for anchor, order in itertools.product((ROOT, FOREIGN), (offered, offered[::-1])):
        assert refusal(leaf, order, [anchor.der]).rule == path.RULE_EXPIRY


def test_eight_look_alike_issuers_are_not_too_many() -> None:
    twins = [ROOT.authority("Example Issuing", key_name=f"twin{n % 2}").der for n in range(7)]
    chain = path.validate(LEAF, [*twins, ISSUING.der], [ROOT.der], now=NOW)
    assert chain == [LEAF, ISSUING.der, ROOT.der]


def test_anchors_of_one_name_are_all_tried() -> None:
    twin = factory.authority("Example Root", key_name="another root")
    expired = ISSUING.leaf(end=NOW - SECOND)
    for anchors in ([twin.der, ROOT.der], [ROOT.der, twin.der]):
        assert path.validate(LEAF, [ISSUING.der], anchors, now=NOW)[-1] == ROOT.der
        assert refusal(expired, [ISSUING.der], anchors).rule == path.RULE_EXPIRY


def test_answers_by_ocsp_count_beside_those_of_crls() -> None:
    answers = {"crls": [ROOT.crl()], "ocsp": [ISSUING.ocsp(LEAF)]}
    assert path.validate(LEAF, [ISSUING.der], [ROOT.der], now=NOW, **answers)  # type: ignore[arg-type]


# --- which of two faults is told ----------------------------------------------------------


@pytest.mark.parametrize("dates", [{"end": NOW}, {"start": NOW}], ids=["last", "first"])
def test_a_fault_of_the_path_is_not_blamed_on_a_certificates_last_or_first_second(
    dates: dict[str, object],
) -> None:
    mute = ROOT.authority("Mute", key_usage=("crl_sign",))
    assert refusal(mute.leaf(**dates), [mute.der], [ROOT.der]).rule == path.RULE_CHAIN


def test_one_path_in_date_makes_its_fault_the_reason() -> None:
    """An expired way up beside one that is in date and wrong: dates are not what is wrong."""
    mute = ROOT.authority("Twice", key_usage=("crl_sign",), key_name="twice")
    old = ROOT.authority("Twice", key_name="twice", end=NOW - DAY)
    assert refusal(mute.leaf(), [mute.der, old.der], [ROOT.der]).rule == path.RULE_CHAIN
    assert refusal(mute.leaf(), [old.der], [ROOT.der]).rule == path.RULE_EXPIRY


def deep(levels: int) -> tuple[list[bytes], factory.Authority]:
    above, cas = ROOT, []
    for level in range(levels):
        above = above.authority(f"Level {level}", key_name="level")
        cas.append(above.der)
    return cas, above


@pytest.mark.parametrize(("levels", "rule"), [(6, path.RULE_EXPIRY), (7, path.RULE_CHAIN)])
def test_the_words_are_looked_for_as_deep_as_a_path_may_be(levels: int, rule: str) -> None:
    cas, lowest = deep(levels)
    assert refusal(lowest.leaf(end=NOW - SECOND), cas, [ROOT.der]).rule == rule


def test_at_most_sixty_four_signatures_are_checked_for_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eight self-issued CAs of one name and key: each leads to each other."""
    loop = [factory.authority("Loop", serial=number + 1) for number in range(8)]
    checked: list[object] = []
    sound = path.issued_by

    def counted(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        checked.append(issuer)
        return sound(certificate, issuer)

    monkeypatch.setattr(path, "issued_by", counted)
    found = path.dateless(
        *parsed(loop[0].leaf()), parsed(*(ca.der for ca in loop)), parsed(ROOT.der)
    )
    assert len(found) == 1
    assert len(checked) == 64


# --- the path that is looked at after a refusal -------------------------------------------


def test_an_expired_path_can_be_looked_at_and_a_missing_one_is_the_leaf_alone() -> None:
    leaf = ISSUING.leaf(end=NOW - SECOND)
    whole = tuple(parsed(leaf, ISSUING.der, ROOT.der))
    assert path.dateless(whole[0], [whole[1]], [whole[2]]) == whole
    assert path.dateless(whole[0], [], [whole[2]]) == whole[:1]
    assert path.dateless(whole[0], [whole[1]], parsed(FOREIGN.der)) == whole[:1]


def test_the_shortest_of_several_paths_is_looked_at() -> None:
    middle = ROOT.authority("Middle")
    short, long = (ca.authority("Twice", key_name="twice") for ca in (ROOT, middle))
    leaf = short.leaf()
    found = path.dateless(*parsed(leaf), parsed(long.der, short.der, middle.der), parsed(ROOT.der))
    assert found == tuple(parsed(leaf, short.der, ROOT.der))


# --- files --------------------------------------------------------------------------------


def test_a_file_for_the_leaf_holds_one_certificate() -> None:
    error = refusal(ISSUING.pem + factory.pem(LEAF), [ISSUING.der], [ROOT.der])
    assert error.message == "the leaf given for a path is not a certificate"
    assert error.found == "2 certificates"
    assert "leaf" in refusal(b"", [ISSUING.der], [ROOT.der]).message


def test_a_file_of_cas_may_hold_several() -> None:
    middle = ROOT.authority("Middle")
    low = middle.authority("Low")
    chain = path.validate(low.leaf(), [low.pem + middle.pem], [FOREIGN.pem + ROOT.pem], now=NOW)
    assert chain[1:] == [low.der, middle.der, ROOT.der]


def test_files_are_counted_from_one() -> None:
    error = refusal(LEAF, [ISSUING.der, b"junk"], [ROOT.der])
    assert error.message == "the intermediate 2 given for a path is not a certificate"
