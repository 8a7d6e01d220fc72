# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusals as a person reads them, in full: what is wrong, found, expected, where, and next.

One of each kind, in refusals.txt. Whoever changes the words changes them there too, and sees
the whole block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from pki import path, reply, revocation, shipped
from pki.errors import PkiError
from pki.policy import Finding
from unit import hostile_x509 as hostile
from unit import pki_factory as factory
from unit.pki_factory import CN, DAY, NOW, SECOND, SUBJECT

ROOT = factory.authority("Example Root", serial=0xA)
ISSUING = ROOT.authority("Example Issuing", path_length=0, serial=0xB)
SIBLING = ROOT.authority("Sibling Issuing", path_length=0)
FOREIGN = factory.authority("Foreign Root")
LEAF = ISSUING.leaf(serial=0xC)
CHAIN = [LEAF, ISSUING.der, ROOT.der]
OTHER = factory.key("other").public_key()
SHIPPED = shipped.policy("mhhs-dip")


class Judge:
    """Everything is right, or nothing can be judged."""

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken

    def judge(self, kind: str, facts: Mapping[str, Any]) -> tuple[Finding, ...]:
        if self.broken:
            raise ZeroDivisionError
        return ()

    def parameter(self, name: str) -> Any:
        return SHIPPED.parameter(name)


def accept(*files: bytes, **changes: Any) -> object:
    options: dict[str, Any] = {
        "csr": factory.request(),
        "expectation": reply.Expectation(
            CN, SUBJECT, frozenset({"mtls", "signing"}), "mhhs-dip", "nonprod"
        ),
        "trust": reply.Trust(
            [ROOT.der], [ISSUING.der, SIBLING.der], [ISSUING.sha256, FOREIGN.sha256]
        ),
        "revocation": reply.Revocation([ISSUING.crl(), ROOT.crl()]),
        "now": NOW,
        "policy": Judge(),
    }
    return reply.accept(files, **{**options, **changes})


def validate(leaf: bytes, *above: bytes, anchors: list[bytes] | None = None) -> object:
    pinned = [ROOT.der] if anchors is None else anchors
    return path.validate(leaf, above, pinned, now=NOW)


def for_clients(leaf: bytes) -> object:
    return path.validate(leaf, [ISSUING.der], [ROOT.der], purpose="clientAuth", now=NOW)


def answers(*crls: bytes) -> None:
    revocation.require_good(revocation.check(CHAIN, crls, NOW))


def strangers(count: int) -> list[bytes]:
    return [ISSUING.leaf(f"stranger-{n}.example", {}, public=OTHER) for n in range(count)]


def revoked_without_a_date() -> None:
    status = revocation.check(CHAIN, [ISSUING.crl([0xC])], NOW)[0]
    fields = {name: getattr(status, name) for name in status.__slots__}
    revocation.require_good([revocation.Status(**{**fields, "when": None})])


REFUSALS: dict[str, Callable[[], object]] = {
    "no anchor": lambda: validate(LEAF, ISSUING.der, anchors=[]),
    "a foreign root": lambda: validate(
        FOREIGN.leaf(), FOREIGN.der, anchors=[ROOT.der, SIBLING.der]
    ),
    "a missing CA": lambda: validate(LEAF),
    "an end": lambda: validate(ISSUING.leaf(end=NOW - SECOND), ISSUING.der),
    "a beginning": lambda: validate(ISSUING.leaf(start=NOW + SECOND), ISSUING.der),
    "too many CAs": lambda: validate(
        LEAF, *(ROOT.authority("Example Issuing", serial=n + 1).der for n in range(9))
    ),
    "an anchor for a leaf": lambda: validate(ROOT.der, anchors=[ROOT.der]),
    "no certificate": lambda: validate(factory.pem(LEAF) + ISSUING.pem),
    "a weak key": lambda: validate(
        ISSUING.leaf(public=factory.key("weak", 1024).public_key()), ISSUING.der
    ),
    "flags that disagree": lambda: validate(
        ISSUING.leaf(ca=True, key_usage=["digital_signature"]), ISSUING.der
    ),
    "no name": lambda: validate(hostile.certificate(ISSUING, subject=hostile.name()), ISSUING.der),
    "a name that is none": lambda: validate(ISSUING.leaf(san=["-.example"]), ISSUING.der),
    "a CA for a purpose": lambda: for_clients(ROOT.authority("Another", serial=3).der),
    "a use for another purpose": lambda: for_clients(ISSUING.leaf(key_usage=["key_encipherment"])),
    "another key": lambda: accept(ISSUING.leaf(public=OTHER)),
    "five other keys": lambda: accept(*strangers(5)),
    "four other keys": lambda: accept(*strangers(4)),
    "a CA that may not issue": lambda: accept(SIBLING.leaf()),
    "a CA certificate": lambda: accept(ISSUING.leaf(ca=True)),
    "a policy that breaks": lambda: accept(LEAF, policy=Judge(broken=True)),
    "a revoked certificate": lambda: answers(
        ISSUING.crl([0xC], reason=x509.ReasonFlags.key_compromise)
    ),
    "revoked, nobody knows when": revoked_without_a_date,
    "no answer at all": answers,
    "answers that say nothing": lambda: answers(
        ISSUING.crl(end=NOW - SECOND),
        ISSUING.crl(number=None, start=NOW + DAY, end=NOW + 2 * DAY),
        b"junk",
        b"\x30\x00",
    ),
    "a CRL that is none": lambda: revocation.verify_crl(b"junk", ISSUING.der, NOW),
    "a CRL that is too large": lambda: revocation.verify_crl(
        b"x" * (64 * 1024 * 1024 + 1), ISSUING.der, NOW
    ),
    "a CRL of another CA": lambda: revocation.verify_crl(SIBLING.crl(), ISSUING.der, NOW),
    "a CRL for a damaged CA": lambda: revocation.verify_crl(ISSUING.crl(), b"junk", NOW),
    "a stale CRL": lambda: revocation.verify_crl(
        ISSUING.crl(number=7, end=NOW - SECOND), ISSUING.der, NOW
    ),
}


def printed() -> dict[str, str]:
    """The blocks of refusals.txt by their title."""
    sections = Path(__file__).with_name("refusals.txt").read_text().split("== ")[1:]
    return {
        title: block.strip()
        for title, _, block in (section.partition("\n") for section in sections)
    }


@pytest.mark.parametrize("name", REFUSALS)
def test_the_whole_refusal_reads(name: str) -> None:
    with pytest.raises(PkiError) as caught:
        REFUSALS[name]()
    assert neutral(str(caught.value)) == printed()[name]


def neutral(block: str) -> str:
    """Without what differs from run to run (keys, so digests) or from release to release."""
    block = re.sub(r"[0-9a-f]{4}…[0-9a-f]{2}", "3f9a…c1", block)
    return re.sub(r"error parsing asn1 value.*?(\)?)$", r"…\1", block, flags=re.MULTILINE)


def test_every_block_is_a_refusal_that_happens() -> None:
    assert list(printed()) == list(REFUSALS)


def test_a_reason_in_a_refusal_is_the_verifiers_own() -> None:
    """Its words differ from release to release; that they arrive does not."""
    deep = ISSUING.authority("Below")
    with pytest.raises(PkiError) as caught:
        validate(deep.leaf(), ISSUING.der, deep.der)
    error = caught.value
    assert "path" in error.found or "chain" in error.found
    assert error.expected == (
        "a path that satisfies RFC 5280: CA flags, path lengths, key usages, constraints"
    )


def test_a_purpose_that_is_left_out_is_told_as_such() -> None:
    leaf = ISSUING.leaf(eku=[x509.ExtendedKeyUsageOID.SERVER_AUTH])
    with pytest.raises(PkiError) as caught:
        path.validate(leaf, [ISSUING.der], [ROOT.der], purpose="clientAuth", now=NOW)
    assert "extended key usage does not allow the purpose" in caught.value.found
