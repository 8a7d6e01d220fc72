# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths to pinned anchors, and the words for why there is none."""

from __future__ import annotations

import itertools
import random
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
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
    error = caught.value
    assert error.message
    assert error.found
    assert error.expected
    assert error.next_step
    return error


def test_a_path_runs_from_the_leaf_to_the_pinned_anchor() -> None:
    chain = path.validate(LEAF, [ISSUING.der], [ROOT.der], now=NOW)
    assert chain == [LEAF, ISSUING.der, ROOT.der]


def test_pem_is_as_good_as_der() -> None:
    pem = [factory.pem(LEAF), [ISSUING.pem], [ROOT.pem]]
    assert path.validate(*pem, now=NOW) == [LEAF, ISSUING.der, ROOT.der]  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(6))
def test_order_repeats_and_strangers_do_not_change_the_path(seed: int) -> None:
    strangers = [FOREIGN.authority(f"Stranger {n}").der for n in range(12)]
    offered = [ISSUING.der, ISSUING.der, ROOT.der, FOREIGN.der, LEAF, *strangers]
    random.Random(seed).shuffle(offered)
    assert path.validate(LEAF, offered, [ROOT.der], now=NOW) == [LEAF, ISSUING.der, ROOT.der]


def test_a_root_that_comes_with_the_reply_is_never_an_anchor() -> None:
    leaf = FOREIGN.leaf()
    error = refusal(leaf, [FOREIGN.der, ISSUING.der], [ROOT.der])
    assert error.rule == "DIP-3.5.1-CHAIN"
    assert "ends at Foreign Root" in error.found
    assert "Example Root" in error.expected


def test_a_missing_intermediate_is_named() -> None:
    error = refusal(LEAF, [], [ROOT.der])
    assert error.rule == "DIP-3.5.1-CHAIN"
    assert "issued by Example Issuing" in error.found


def test_a_ca_of_the_same_name_with_another_key_is_no_issuer() -> None:
    twin = ROOT.authority("Example Issuing", key_name="twin")
    error = refusal(LEAF, [twin.der], [ROOT.der])
    assert error.rule == "DIP-3.5.1-CHAIN"
    assert "not with this key" in error.found


def test_without_anchors_nothing_is_accepted() -> None:
    assert refusal(LEAF, [ISSUING.der], []).found == "no trust anchor is configured"


def test_a_self_signed_leaf_is_not_its_own_anchor() -> None:
    lone = factory.authority("Lone")
    assert refusal(lone.der, [lone.der], [ROOT.der]).rule == "DIP-3.5.1-CHAIN"
    assert refusal(lone.der, [], [lone.der]).rule == "DIP-3.5.1-CHAIN"


def test_an_expired_leaf_is_said_to_have_expired_and_when() -> None:
    error = refusal(ISSUING.leaf(end=NOW - SECOND), [ISSUING.der], [ROOT.der])
    assert error.rule == "DIP-3.5.1-EXPIRY"
    assert "has expired" in error.message
    assert f"{factory.CN} ended on 2026-11-21 11:59:59Z" in error.found


def test_a_leaf_that_is_not_valid_yet_says_so() -> None:
    error = refusal(ISSUING.leaf(start=NOW + SECOND), [ISSUING.der], [ROOT.der])
    assert error.rule == "DIP-3.5.1-EXPIRY"
    assert "begins on 2026-11-21 12:00:01Z" in error.found


def test_an_expired_intermediate_is_named_and_not_called_a_broken_chain() -> None:
    old = ROOT.authority("Example Issuing", path_length=0, end=NOW - DAY)
    error = refusal(LEAF, [old.der], [ROOT.der])
    assert (error.rule, "Example Issuing ended" in error.found) == ("DIP-3.5.1-EXPIRY", True)


def test_an_expired_anchor_is_named() -> None:
    old = factory.authority("Example Root", end=NOW - DAY)
    error = refusal(LEAF, [ISSUING.der], [old.der])
    assert (error.rule, "Example Root ended" in error.found) == ("DIP-3.5.1-EXPIRY", True)


def test_an_expired_twin_of_the_issuing_ca_does_no_harm() -> None:
    old = ROOT.authority("Example Issuing", path_length=0, end=NOW - DAY)
    for offered in itertools.permutations([old.der, ISSUING.der]):
        assert path.validate(LEAF, offered, [ROOT.der], now=NOW)[1] == ISSUING.der


def test_an_expired_certificate_of_a_foreign_ca_is_foreign_first() -> None:
    assert refusal(FOREIGN.leaf(end=NOW - DAY), [ISSUING.der], [ROOT.der]).rule == "DIP-3.5.1-CHAIN"


@pytest.mark.parametrize(
    ("moment", "good"),
    [
        (NOW - DAY - SECOND, False),
        (NOW - DAY, True),
        (NOW + 397 * DAY, True),
        (NOW + 397 * DAY + timedelta(milliseconds=900), True),
        (NOW + 397 * DAY + SECOND, False),
    ],
)
def test_validity_is_exact_to_the_second_in_any_zone(moment: datetime, good: bool) -> None:
    for zone in (UTC, timezone(timedelta(hours=-11)), timezone(timedelta(hours=13))):
        local = moment.astimezone(zone)
        if good:
            assert path.validate(LEAF, [ISSUING.der], [ROOT.der], now=local)
        else:
            error = refusal(LEAF, [ISSUING.der], [ROOT.der], now=local)
            assert error.rule == "DIP-3.5.1-EXPIRY"


def test_a_naive_clock_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="aware"):
        path.validate(LEAF, [ISSUING.der], [ROOT.der], now=NOW.replace(tzinfo=None))


def test_a_path_length_constraint_is_kept() -> None:
    below = ISSUING.authority("Below")
    error = refusal(below.leaf(), [ISSUING.der, below.der], [ROOT.der])
    assert error.rule == "DIP-3.5.1-CHAIN"


def test_an_intermediate_that_is_no_ca_issues_nothing() -> None:
    not_a_ca = x509.load_der_x509_certificate(
        ISSUING.leaf("Not A CA", {}, public=factory.key("impostor").public_key())
    )
    impostor = factory.Authority(not_a_ca, factory.key("impostor"))
    assert refusal(impostor.leaf(), [impostor.der, ISSUING.der], [ROOT.der]).rule == (
        "DIP-3.5.1-CHAIN"
    )


def test_a_ca_without_key_cert_sign_issues_nothing() -> None:
    mute = ROOT.authority("Mute", key_usage=("crl_sign",))
    assert refusal(mute.leaf(), [mute.der], [ROOT.der]).rule == "DIP-3.5.1-CHAIN"


def test_a_ca_certificate_is_a_leaf_only_where_no_purpose_is_named() -> None:
    below = ISSUING.leaf(ca=True, key_usage=("key_cert_sign",))
    assert path.validate(below, [ISSUING.der], [ROOT.der], now=NOW) == [
        below,
        ISSUING.der,
        ROOT.der,
    ]
    error = refusal(below, [ISSUING.der], [ROOT.der], purpose="clientAuth")
    assert (error.rule, error.found) == ("DIP-3.5.1-CHAIN", "a CA certificate")


def test_an_unknown_critical_extension_is_refused() -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
    leaf = ISSUING.leaf(extra=[(unknown, True)])
    assert refusal(leaf, [ISSUING.der], [ROOT.der]).rule == "DIP-3.5.1-CHAIN"
    assert path.validate(ISSUING.leaf(extra=[(unknown, False)]), [ISSUING.der], [ROOT.der], now=NOW)


def test_a_changed_certificate_has_no_path() -> None:
    changed = bytearray(LEAF)
    changed[-1] ^= 1
    assert refusal(bytes(changed), [ISSUING.der], [ROOT.der]).rule == "DIP-3.5.1-CHAIN"


def test_a_certificate_without_san_is_accepted_and_one_with_san_too() -> None:
    for san in ((), ("hook.example",)):
        assert path.validate(ISSUING.leaf(san=san), [ISSUING.der], [ROOT.der], now=NOW)


CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


@pytest.mark.parametrize(
    ("eku", "purpose", "good"),
    [
        ((CLIENT, SERVER), "clientAuth", True),
        ((CLIENT, SERVER), "serverAuth", True),
        ((CLIENT,), "serverAuth", False),
        ((SERVER,), "clientAuth", False),
        ((SERVER,), "server", True),
        ((ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), "clientAuth", False),
        ((ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, CLIENT), "clientAuth", True),
        ((), "clientAuth", True),
        ((ExtendedKeyUsageOID.CODE_SIGNING,), None, True),
        ((CLIENT,), "1.3.6.1.5.5.7.3.2", True),
    ],
)
def test_extended_key_usage_decides_only_when_a_purpose_is_named(
    eku: tuple[x509.ObjectIdentifier, ...], purpose: str | None, good: bool
) -> None:
    leaf = ISSUING.leaf(eku=eku)
    if good:
        assert path.validate(leaf, [ISSUING.der], [ROOT.der], purpose=purpose, now=NOW)
    else:
        assert refusal(leaf, [ISSUING.der], [ROOT.der], purpose=purpose).rule == "DIP-3.5.1-CHAIN"


def test_an_issuing_ca_for_any_purpose_may_issue_for_this_one() -> None:
    broad = ROOT.authority("Broad", eku=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
    assert path.validate(broad.leaf(), [broad.der], [ROOT.der], purpose="clientAuth", now=NOW)


def test_a_purpose_that_the_issuing_ca_lacks_is_refused() -> None:
    narrow = ROOT.authority("Narrow", eku=[SERVER])
    leaf = narrow.leaf()
    assert path.validate(leaf, [narrow.der], [ROOT.der], purpose="serverAuth", now=NOW)
    assert refusal(leaf, [narrow.der], [ROOT.der], purpose="clientAuth").rule == "DIP-3.5.1-CHAIN"


def deep(levels: int) -> tuple[list[bytes], bytes]:
    above, cas = ROOT, []
    for level in range(levels):
        above = above.authority(f"Level {level}", key_name="level")
        cas.append(above.der)
    return cas, above.leaf()


def test_a_path_has_at_most_eight_certificates() -> None:
    cas, leaf = deep(6)
    assert len(path.validate(leaf, cas, [ROOT.der], now=NOW)) == 8
    cas, leaf = deep(7)
    assert refusal(leaf, cas, [ROOT.der]).rule == "DIP-3.5.1-CHAIN"


def test_more_look_alike_issuers_than_a_path_can_have_are_refused() -> None:
    twins = [ROOT.authority("Example Issuing", key_name=f"twin{n % 2}").der for n in range(9)]
    error = refusal(LEAF, [*twins, ISSUING.der], [ROOT.der])
    assert "10 CA certificates" in error.found


def test_loops_end() -> None:
    one = factory.authority("Loop A")
    two = factory.authority("Loop B")
    crossed_two = one.authority("Loop B", key_name="Loop B")
    crossed_one = two.authority("Loop A", key_name="Loop A")
    error = refusal(one.leaf(), [crossed_one.der, crossed_two.der], [ROOT.der])
    assert error.rule == "DIP-3.5.1-CHAIN"


def test_what_is_no_certificate_is_refused_by_its_role() -> None:
    assert "leaf" in refusal(b"junk", [ISSUING.der], [ROOT.der]).message
    assert "intermediate 1" in refusal(LEAF, [b"\x30\x03junk"], [ROOT.der]).message
    assert "anchor 1" in refusal(LEAF, [ISSUING.der], [b""]).message


def test_names_in_a_refusal_carry_no_control_characters() -> None:
    hostile = factory.authority("Evil\x1b[2J\nCA\u202e {{ lookup('pipe','id') }}")
    error = refusal(hostile.leaf("leaf\x07", {}), [hostile.der], [ROOT.der])
    for text in error.as_result().values():
        assert text.isprintable()
        assert "{{" not in text


def test_without_crls_revocation_is_not_checked_and_with_an_empty_list_it_fails() -> None:
    assert path.validate(LEAF, [ISSUING.der], [ROOT.der], now=NOW)
    for options in ({"crls": []}, {"ocsp": []}):
        assert refusal(LEAF, [ISSUING.der], [ROOT.der], **options).rule == ("DIP-3.5.2.5-RP-CHECK")
    crls = [ISSUING.crl(), ROOT.crl()]
    assert path.validate(LEAF, [ISSUING.der], [ROOT.der], crls=crls, now=NOW)


def test_whatever_is_accepted_here_openssl_accepts_too(tmp_path: Path) -> None:
    """And the other way round, for these: a second opinion on the same certificates."""
    narrow = ROOT.authority("Narrow", eku=[SERVER])
    old = ROOT.authority("Example Issuing", path_length=0, end=NOW - DAY)
    cases = [
        (LEAF, [ISSUING], True),
        (LEAF, [], False),
        (LEAF, [old], False),
        (ISSUING.leaf(end=NOW - SECOND), [ISSUING], False),
        (FOREIGN.leaf(), [FOREIGN], False),
        (ISSUING.leaf(eku=[SERVER]), [ISSUING], False),
        (narrow.leaf(), [narrow], False),
        (ISSUING.authority("Below").leaf(), [ISSUING, ISSUING.authority("Below")], False),
    ]
    for number, (leaf, above, good) in enumerate(cases):
        assert _openssl(tmp_path, leaf, above) is good, number
        if good:
            path.validate(leaf, [ca.der for ca in above], [ROOT.der], purpose="client", now=NOW)
        else:
            refusal(leaf, [ca.der for ca in above], [ROOT.der], purpose="client")


VERIFY = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-no-CApath"]
VERIFY += ["-no-CAstore", "-CAfile", "root.pem", "-untrusted", "above.pem"]


def _openssl(directory: Path, leaf: bytes, above: list[factory.Authority]) -> bool:
    (directory / "leaf.pem").write_bytes(factory.pem(leaf))
    (directory / "root.pem").write_bytes(ROOT.pem)
    (directory / "above.pem").write_bytes(b"".join(ca.pem for ca in above) or ROOT.pem)
    run = subprocess.run(
        [*VERIFY, "-attime", str(int(NOW.timestamp())), "leaf.pem"],
        cwd=directory,
        capture_output=True,
        check=False,
    )
    return run.returncode == 0


def test_two_valid_paths_give_the_same_one_whatever_the_order() -> None:
    renewed = ROOT.authority("Example Issuing", path_length=0, end=NOW + 4000 * DAY)
    results = {
        tuple(path.validate(LEAF, offered, [ROOT.der], now=NOW))
        for offered in itertools.permutations([renewed.der, ISSUING.der])
    }
    assert results == {(LEAF, renewed.der, ROOT.der)}


def test_the_digest_of_a_certificate_is_that_of_its_der() -> None:
    certificate = x509.load_pem_x509_certificate(ROOT.pem)
    assert certificate.public_bytes(Encoding.DER) == ROOT.der
    assert certificate.fingerprint(hashes.SHA256()).hex() == ROOT.sha256
