# SPDX-License-Identifier: GPL-3.0-or-later
"""Of thousands of replies that are wrong in one thing none is accepted."""

from __future__ import annotations

import warnings
from functools import cache

import pytest
from adversarial import reply_mutations as corpus
from adversarial.reply_mutations import Mutant
from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from pki import reply, shipped
from pki.certs import DECODE_ERRORS
from pki.errors import PkiError

JUDGE = shipped.policy("mhhs-dip")
ALL = tuple(corpus.every())


def accepted(mutant: Mutant) -> reply.Accepted | None:
    """What came of a reply; anything but an acceptance or a PkiError fails the test."""
    with warnings.catch_warnings():
        # The library says so of serials that are not positive; the policy says it better.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        try:
            return reply.accept(
                mutant.files,
                csr=mutant.csr,
                expectation=corpus.EXPECTATION,
                trust=corpus.TRUST,
                revocation=reply.Revocation(corpus.CRLS),
                now=corpus.NOW,
                policy=JUDGE,
            )
        except PkiError as exc:
            if not (exc.message and exc.rule and exc.next_step):
                raise AssertionError(f"{mutant.name}: a refusal without words") from None
            return None


def test_what_all_of_them_are_made_of_is_accepted() -> None:
    good = accepted(Mutant("good", (corpus.LEAF,)))
    assert good is not None
    assert good.chain == corpus.GOOD


def test_there_are_enough_and_enough_of_them_are_der_outside() -> None:
    whole = sum(all(map(corpus.is_der, mutant.files)) for mutant in ALL)
    assert len(ALL) >= 2000
    assert whole >= len(ALL) // 5
    assert len({mutant.name for mutant in ALL}) == len(ALL)
    assert sum(mutant.signed for mutant in ALL) >= 100


def test_none_is_accepted_but_with_exactly_the_good_certificate() -> None:
    wrong = []
    same = 0
    for mutant in ALL:
        found = accepted(mutant)
        if found is None:
            continue
        if found.chain != corpus.GOOD or mutant.signed:
            wrong.append(mutant.name)
        same += 1
    assert wrong == []
    # Changes of the text around a certificate leave it whole; there must be few of these.
    assert same < len(ALL) // 10


@cache
def facts(data: bytes) -> dict[str, object]:
    certificate = x509.load_der_x509_certificate(data)
    extensions = {one.oid.dotted_string: one.value for one in certificate.extensions}
    return {
        "key": corpus.spki(data),
        "subject": {(item.oid, item.value) for item in certificate.subject},
        "constraints": extensions.get("2.5.29.19"),
        "signs": extensions["2.5.29.15"].digital_signature,  # type: ignore[attr-defined]
        "client": "1.3.6.1.5.5.7.3.2" in {usage.dotted_string for usage in extensions["2.5.29.37"]},
    }


def test_what_the_ca_signs_after_a_change_is_accepted_only_with_the_same_key_and_name() -> None:
    """Serials, dates within the rules and addresses may differ; nothing that identifies may."""
    different = []
    count = 0
    for mutant in corpus.resigned(7):
        count += 1
        found = accepted(mutant)
        if found is None:
            continue
        ours, theirs = facts(corpus.LEAF), facts(found.chain[0])
        if ours != theirs or not found.not_before <= corpus.NOW <= found.not_after:
            different.append(mutant.name)
    assert count > 500
    assert different == []


@pytest.mark.parametrize("kind", ["NAMES", "CONTENT"])
def test_the_certificates_that_only_a_policy_can_refuse_do_parse(kind: str) -> None:
    """Most of the signed ones are whole certificates: what refuses them is their content."""
    read = 0
    table = getattr(corpus, kind)
    for data in table.values():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                _ = x509.load_der_x509_certificate(data).extensions
            except DECODE_ERRORS:
                continue
        read += 1
    assert read > len(table) * 2 // 3
