# SPDX-License-Identifier: GPL-3.0-or-later
"""The twelve properties of a judgement, each for inputs that nobody chose.

1 to 8, 11 and 12 are here. 9, that what we accept others accept, too, is
``tests/interop/test_oracles.py``; 10, about signatures, is ``tests/unit/test_signature.py``.
The files of 6 are ``test_accepting.py``, the large inputs of 12 ``test_costly_replies.py``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from adversarial import reply_mutations as corpus
from adversarial.reply_mutations import CRLS, EXPECTATION, FOREIGN, ISSUING, LEAF, PEM, ROOT, TRUST
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7
from cryptography.x509.ocsp import OCSPCertStatus
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from pki import csr, overlay, path, reading, reply, shipped
from pki.errors import PkiError
from pki.policy import Finding, Parameter, Policy
from unit import hostile_x509 as hostile
from unit import pki_factory as factory
from unit.hostile_x509 import attribute, good_name
from unit.pki_factory import CN, DAY, NOW, SECOND, SUBJECT

QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
THOROUGH = settings(QUICK, max_examples=400)
JUDGE = shipped.policy("mhhs-dip")
GOOD = (LEAF, ISSUING.der)
SIBLING = ROOT.authority("Sibling Issuing", path_length=0)
BARE_TRUST = reply.Trust([ROOT.der], [], [ISSUING.sha256])


class Anything:
    """A policy that wishes nothing: what remains is path, key, revocation and backstop."""

    def judge(self, kind: str, facts: Mapping[str, Any]) -> tuple[Finding, ...]:
        return ()

    def parameter(self, name: str) -> Any:
        return JUDGE.parameter(name)


def accepted(*files: bytes, **changes: Any) -> reply.Accepted | None:
    """What came of a reply; anything but an acceptance or a PkiError fails the test."""
    options: dict[str, Any] = {
        "csr": corpus.REQUEST,
        "expectation": EXPECTATION,
        "trust": TRUST,
        "revocation": reply.Revocation(CRLS),
        "now": NOW,
        "policy": JUDGE,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return reply.accept(files, **{**options, **changes})
        except PkiError as exc:
            told = exc.as_result()
            lines = [line for text in told.values() for line in text.split("\n")]
            if not (exc.message and exc.next_step and all(map(str.isprintable, lines))):
                raise AssertionError("a refusal without words, or with what is no word") from None
            return None


# --- 1 totality ---------------------------------------------------------------------------

SOURCES = (
    PEM + ISSUING.pem,
    LEAF,
    pkcs7.serialize_certificates(
        [x509.load_der_x509_certificate(LEAF), ISSUING.certificate], Encoding.DER
    ),
    b"".join(b"> " + line + b"\n" for line in PEM.splitlines()),
)


def mutated(data: st.DataObject, source: bytes) -> bytes:
    changed = bytearray(source)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(changed) - 1))
        kind = data.draw(st.sampled_from(["set", "cut", "insert", "repeat"]))
        if kind == "set":
            changed[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del changed[at : at + data.draw(st.integers(1, 40))]
        elif kind == "insert":
            changed[at:at] = data.draw(st.binary(min_size=1, max_size=20))
        else:
            changed[at:at] = changed[at : at + 200]
        changed = changed or bytearray(b"x")
    return bytes(changed)


@THOROUGH
@given(st.data())
def test_1_a_mutated_reply_is_accepted_only_with_the_very_same_certificates(
    data: st.DataObject,
) -> None:
    found = accepted(mutated(data, data.draw(st.sampled_from(SOURCES))))
    assert found is None or found.chain == GOOD


@settings(QUICK, max_examples=200)
@given(
    st.binary(max_size=2000), st.sampled_from([b"", b"\x30", b"\x30\x82", b"\xff\xfe", PEM[:40]])
)
def test_1_random_bytes_raise_nothing_but_our_own_error(noise: bytes, start: bytes) -> None:
    assert accepted(start + noise) is None


@cache
def vectors() -> tuple[bytes, ...]:
    folder = Path(cryptography_vectors.__file__).parent / "x509"
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".pem", ".der", ".crt"))
    return tuple(file.read_bytes() for file in files)


def test_1_no_certificate_list_or_response_of_the_library_s_own_tests_is_accepted() -> None:
    assert len(vectors()) > 300
    for data in vectors():
        before = time.process_time()
        assert accepted(data) is None
        assert accepted(PEM, revocation=reply.Revocation([data], [data])) is None
        assert time.process_time() - before < 5


# --- 2 bit flip ---------------------------------------------------------------------------


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


@settings(QUICK, max_examples=200)
@given(st.integers(0, len(LEAF) * 8 - 1))
def test_2_no_bit_of_the_certificate_can_be_flipped(bit: int) -> None:
    assert accepted(flipped(LEAF, bit)) is None


@settings(QUICK, max_examples=200)
@given(st.integers(0, len(ISSUING.der) * 8 - 1))
def test_2_no_bit_of_the_intermediate_can_be_flipped(bit: int) -> None:
    assert accepted(LEAF, flipped(ISSUING.der, bit), trust=BARE_TRUST) is None
    assert accepted(LEAF, ISSUING.der, trust=BARE_TRUST) is not None


@settings(QUICK, max_examples=200)
@given(st.integers(0, len(CRLS[0]) * 8 - 1))
def test_2_no_bit_of_a_list_can_be_flipped(bit: int) -> None:
    sources = reply.Revocation([flipped(CRLS[0], bit), CRLS[1]])
    assert accepted(LEAF, revocation=sources) is None


@settings(QUICK, max_examples=100)
@given(st.data())
def test_2_no_bit_of_what_a_responder_signed_can_be_flipped(data: st.DataObject) -> None:
    response = answer()
    bit = data.draw(st.integers(0, len(response) * 8 - 1))
    sources = reply.Revocation([CRLS[1]], [flipped(response, bit)])
    assert accepted(LEAF, revocation=reply.Revocation([CRLS[1]], [response])) is not None
    assert accepted(LEAF, revocation=sources) is None


@cache
def answer() -> bytes:
    return ISSUING.ocsp(LEAF, start=NOW, end=NOW + DAY)


# --- 3 order and noise --------------------------------------------------------------------

LINE_ENDS = ("\n", "\r\n", "\r", "\n\n", " \n", "\t\n", " ")
STRANGERS = (FOREIGN.pem, ROOT.pem, SIBLING.pem, factory.pem(FOREIGN.leaf()), ISSUING.pem)


@QUICK
@given(
    parts=st.lists(st.sampled_from(STRANGERS), max_size=6),
    before=st.text(max_size=60),
    after=st.text(max_size=60),
    line_end=st.sampled_from(LINE_ENDS),
    order=st.randoms(use_true_random=False),
    together=st.booleans(),
)
def test_3_order_repeats_strangers_line_ends_and_text_around_do_not_matter(
    parts: list[bytes],
    before: str,
    after: str,
    line_end: str,
    order: random.Random,
    together: bool,
) -> None:
    assume("--" not in before + after)
    parts = [PEM, *parts]
    order.shuffle(parts)
    files = [b"\n".join(parts)] if together else parts
    around = [
        f"{before}\n{file.decode()}\n{after}".replace("\n", line_end).encode("utf-8", "replace")
        for file in files
    ]
    found = accepted(*around)
    assert found is not None
    assert found.fullchain_pem() == PEM + ISSUING.pem


# --- 4 monotonic trust --------------------------------------------------------------------


@cache
def extras() -> tuple[bytes, ...]:
    """Certificates that help nobody: none completes a chain to the pinned anchor."""
    imitation = factory.authority("Example Root", key_name="imitated root")
    imitated = imitation.authority("Example Issuing", key_name="imitated issuing")
    own = factory.Authority(x509.load_der_x509_certificate(LEAF), factory.key("leaf"))
    return (
        FOREIGN.der, ROOT.der, SIBLING.der, imitation.der, imitated.der, imitated.leaf(),
        own.leaf(), FOREIGN.leaf(), SIBLING.leaf(public=factory.key("other").public_key()),
    )  # fmt: skip


@QUICK
@given(st.sets(st.integers(0, 8)), st.booleans())
def test_4_more_certificates_help_only_if_they_complete_the_chain(
    which: set[int], complete: bool
) -> None:
    more = [extras()[at] for at in which] + [ISSUING.der] * complete
    found = accepted(LEAF, *more, trust=BARE_TRUST)
    assert (found is not None) == complete
    assert found is None or found.chain == GOOD


@QUICK
@given(st.sets(st.sampled_from(["own", "foreign", "sibling"])))
def test_4_the_pinned_root_alone_opens_the_door(names: set[str]) -> None:
    cas = {"own": ROOT.der, "foreign": FOREIGN.der, "sibling": extras()[3]}
    trust = reply.Trust([cas[name] for name in sorted(names)], [ISSUING.der], [ISSUING.sha256])
    assert (accepted(LEAF, FOREIGN.der, trust=trust) is not None) == ("own" in names)


def listings() -> dict[str, reply.Revocation]:
    revoked = ISSUING.ocsp(LEAF, OCSPCertStatus.REVOKED, start=NOW, end=NOW + DAY)
    number = factory.serial(LEAF)
    return {
        "a list": reply.Revocation([ISSUING.crl([number])]),
        "a stale list": reply.Revocation([ISSUING.crl([number], end=NOW - SECOND)]),
        "an older list": reply.Revocation([ISSUING.crl([number], start=NOW - DAY, number=0)]),
        "a list for some reasons": reply.Revocation(
            [
                ISSUING.crl(
                    [number],
                    extensions=[
                        factory.idp(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise}))
                    ],
                )
            ]
        ),
        "a response": reply.Revocation([], [revoked]),
        "a list of the root": reply.Revocation([ROOT.crl([factory.serial(ISSUING.der)])]),
    }


@pytest.mark.parametrize("what", listings())
@pytest.mark.parametrize("mode", ["require", "pending"])
@QUICK
@given(data=st.data())
def test_4_whoever_lists_the_serial_refuses_whatever_others_say(
    what: str, mode: Any, data: st.DataObject
) -> None:
    listing = listings()[what]
    lists = data.draw(st.permutations([*CRLS, *listing.crls]))
    answers = data.draw(st.permutations([answer(), *listing.ocsp]))
    sources = reply.Revocation(lists, answers, mode)
    assert accepted(LEAF, revocation=sources) is None
    assert accepted(LEAF, revocation=reply.Revocation(CRLS, [answer()], mode)) is not None


@QUICK
@given(st.permutations(["leaf", "root", "issuing"]), st.booleans())
def test_4_a_self_signed_certificate_of_a_reply_is_no_anchor(
    order: list[str], named_alike: bool
) -> None:
    root = factory.authority("Example Root" if named_alike else "New Root", key_name="new root")
    issuing = root.authority("Example Issuing", key_name="new issuing", path_length=0)
    files = {"leaf": issuing.leaf(), "root": root.der, "issuing": issuing.der}
    for trust in (TRUST, BARE_TRUST, reply.Trust([ROOT.der])):
        found = accepted(*(files[name] for name in order), trust=trust)
        assert found is None


# --- 5 time -------------------------------------------------------------------------------

MINUTES = st.integers(-120, 120)


def window(start: int, length: int) -> tuple[datetime, datetime]:
    begin = NOW + timedelta(minutes=start)
    return begin, begin + timedelta(minutes=length)


@contextlib.contextmanager
def in_zone(name: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = name
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
        time.tzset()


@settings(QUICK, max_examples=40)
@given(
    windows=st.tuples(*[st.tuples(MINUTES, st.integers(1, 200))] * 5),
    zone=st.sampled_from(["UTC", "Europe/London", "Pacific/Apia", "America/St_Johns"]),
    offset=st.integers(-14, 14),
)
def test_5_the_accepted_moments_are_the_intersection_of_all_windows(
    windows: tuple[tuple[int, int], ...], zone: str, offset: int
) -> None:
    spans = [window(*one) for one in windows]
    root = factory.authority("Timed Root", start=spans[0][0], end=spans[0][1])
    ca = root.authority("Timed Issuing", start=spans[1][0], end=spans[1][1])
    leaf = ca.leaf(start=spans[2][0], end=spans[2][1])
    lists = (
        ca.crl(start=spans[3][0], end=spans[3][1]),
        root.crl(start=spans[4][0], end=spans[4][1]),
    )
    first, last = max(span[0] for span in spans), min(span[1] for span in spans)
    edges = {edge for span in (*spans, (first, last)) for edge in span}
    moments = {edge + step for edge in edges for step in (-SECOND, 0 * SECOND, SECOND)}
    abroad = timezone(timedelta(hours=offset))
    with in_zone(zone):
        for moment in moments:
            found = accepted(
                leaf,
                trust=reply.Trust([root.der], [ca.der]),
                revocation=reply.Revocation(lists),
                now=moment.astimezone(abroad),
                policy=Anything(),
            )
            assert (found is not None) == (first <= moment <= last)
            assert valid(leaf, ca.der, root.der, lists, moment) == (first <= moment <= last)


def valid(leaf: bytes, ca: bytes, root: bytes, lists: Sequence[bytes], now: datetime) -> bool:
    with contextlib.suppress(PkiError):
        return path.validate(leaf, [ca], [root], crls=lists, now=now) == [leaf, ca, root]
    return False


# --- 6 round trip -------------------------------------------------------------------------


@QUICK
@given(st.permutations([PEM, ISSUING.pem, *STRANGERS]), st.sampled_from(SOURCES))
def test_6_what_is_installed_reads_back_as_the_same_chain(
    parts: list[bytes], source: bytes
) -> None:
    found = accepted(source, *parts)
    assert found is not None
    installed = found.fullchain_pem()
    assert installed == found.certificate_pem() + found.chain_pem()
    read = [one.public_bytes(Encoding.DER) for one in reading.read([installed])]
    assert tuple(read) == found.chain
    again = accepted(installed, trust=BARE_TRUST)
    assert again is not None
    assert again.fullchain_pem() == installed
    assert max(map(len, installed.splitlines())) == 64
    assert b"\r" not in installed


# --- 7 key match --------------------------------------------------------------------------


@cache
def pool() -> tuple[rsa.RSAPrivateKey, ...]:
    """Keys with random exponents, and two with the usual one."""
    source = random.Random(11)
    odd = [source.randrange(3, 2**32) | 1 for _ in range(3)]
    return tuple(_with_exponent(exponent) for exponent in (*odd, 65537, 65537))


def _with_exponent(exponent: int) -> rsa.RSAPrivateKey:
    while True:
        made = rsa.generate_private_key(65537, 2048).private_numbers()
        p, q = made.p, made.q
        with contextlib.suppress(ValueError):  # the exponent has no inverse for these primes
            d = pow(exponent, -1, (p - 1) * (q - 1))
            public = rsa.RSAPublicNumbers(exponent, p * q)
            ends = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
            return rsa.RSAPrivateNumbers(p, q, d, *ends, public).private_key()


@cache
def issued(at: int) -> tuple[bytes, bytes]:
    """A request of a key and a certificate for it."""
    return csr.build(pool()[at], CN, SUBJECT), ISSUING.leaf(public=pool()[at].public_key())


@QUICK
@given(st.integers(0, 4), st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_7_accepted_means_the_key_of_the_request(asked: int, sent: list[int]) -> None:
    request, _ = issued(asked)
    found = accepted(*(issued(at)[1] for at in sent), csr=request, policy=Anything())
    assert (found is not None) == (asked in sent)
    if found is not None:
        key = x509.load_pem_x509_csr(request).public_key()
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert corpus.spki(found.chain[0]) == spki


@settings(QUICK, max_examples=100)
@given(st.data())
def test_7_a_key_that_differs_in_a_bit_is_another_key(data: st.DataObject) -> None:
    spki = corpus.spki(LEAF)
    bit = data.draw(st.integers(0, len(spki) * 8 - 1))
    leaf = hostile.certificate(ISSUING, key=flipped(spki, bit))
    assert accepted(leaf, policy=Anything()) is None


# --- 8 names ------------------------------------------------------------------------------

TRICKS = st.sampled_from(
    ["{{ 7*7 }}", "{% raw %}", "\x1b[2J", "\u202e", "\0", "\n", "'\"`$(id)", "\ud7ff", "é", "é"]
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80) | TRICKS


@settings(QUICK, max_examples=150)
@given(common_name=TEXTS | st.just(CN), organisation=TEXTS | st.just(SUBJECT["O"]))
@example(CN, SUBJECT["O"])
@example(CN + "\0", SUBJECT["O"])
def test_8_any_name_is_told_in_plain_words_and_only_the_exact_one_is_accepted(
    common_name: str, organisation: str
) -> None:
    subject = good_name(CN=attribute("2.5.4.3", common_name), O=attribute("2.5.4.10", organisation))
    leaf = hostile.certificate(ISSUING, subject=subject)
    exact = (common_name, organisation) == (CN, SUBJECT["O"])
    for options in ({}, {"trust": reply.Trust([FOREIGN.der])}, {"revocation": NOBODY}):
        error = refused(leaf, **options)
        if error is None:
            assert exact
            assert not options
            continue
        assert not exact or options
        told = error.as_result()
        json.dumps(told).encode("ascii")
        whole = str(error)
        whole.encode("utf-8")
        assert all(line.isprintable() for line in whole.split("\n"))
        assert not any(sign in whole for sign in ("{{", "{%", "{#"))


NOBODY = reply.Revocation([])


def refused(leaf: bytes, **options: Any) -> PkiError | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reply.accept(
                [leaf],
                **{
                    "csr": corpus.REQUEST,
                    "expectation": EXPECTATION,
                    "trust": TRUST,
                    "revocation": reply.Revocation(CRLS),
                    "now": NOW,
                    "policy": JUDGE,
                    **options,
                },
            )
        except PkiError as exc:
            return exc
    return None


# --- 11 metamorphic policy ----------------------------------------------------------------


@cache
def sample() -> tuple[corpus.Mutant, ...]:
    """Replies of which some are accepted and some refused by the policy alone."""
    good = corpus.Mutant("good", (LEAF,), True)
    others = {
        "a longer life": ISSUING.leaf(end=NOW + 900 * DAY),
        "soon to end": ISSUING.leaf(end=NOW + 46 * DAY),
        "its own name as alternative": ISSUING.leaf(san=[CN]),
        "two distribution points": ISSUING.leaf(cdp="https://crl.example/x"),
        "no distribution point": ISSUING.leaf(cdp=None),
        "more usages": ISSUING.leaf(
            eku=[*factory.MTLS, x509.ObjectIdentifier("1.3.6.1.5.5.7.3.4")]
        ),
    }
    made = (corpus.Mutant(name, (leaf,), True) for name, leaf in others.items())
    signed = [
        corpus.Mutant(name, (leaf,), True)
        for name, leaf in list({**corpus.NAMES, **corpus.CONTENT}.items())[::7]
    ]
    return (good, *made, *signed, *corpus.weak_keys())


def other_values(parameter: Parameter) -> st.SearchStrategy[Any]:
    value = parameter.value
    match value:
        case int():
            return st.integers(max(0, value - 3), value + 3) | st.integers(0, 3 * value + 10)
        case list():
            item = value[0]
            new = st.integers(1, 70_000) if isinstance(item, int) else st.text("abc", min_size=1)
            return st.lists(st.sampled_from(value) | new, min_size=1, unique=True, max_size=5)
        case _:
            return st.nothing()


def movable() -> list[str]:
    return [
        name
        for name, parameter in JUDGE.parameters.items()
        if parameter.stricter != "fixed" and isinstance(parameter.value, int | list)
    ]


def with_value(policy: Policy, name: str, value: Any) -> Policy:
    moved = replace(policy.parameters[name], value=value)
    return replace(policy, parameters={**policy.parameters, name: moved})


@cache
def before() -> tuple[bool, ...]:
    return tuple(judged_by(JUDGE))


def judged_by(policy: Policy) -> list[bool]:
    return [accepted(*one.files, csr=one.csr, policy=policy) is not None for one in sample()]


def test_11_the_sample_has_both() -> None:
    assert sum(before()) >= 3
    assert len(before()) - sum(before()) >= 10


@settings(QUICK, max_examples=30)
@given(st.data())
def test_11_tightening_a_parameter_never_turns_refusal_into_acceptance(
    data: st.DataObject,
) -> None:
    name = data.draw(st.sampled_from(movable()))
    parameter = JUDGE.parameters[name]
    value = data.draw(other_values(parameter))
    assume(overlay.tightens(parameter, value))
    after = judged_by(with_value(JUDGE, name, value))
    turned = [one.name for one, was, now in zip(sample(), before(), after, strict=True)
              if now and not was]  # fmt: skip
    assert turned == []


def test_11_a_tightened_parameter_can_refuse_what_passed() -> None:
    """The property is not empty: some tightening does bite."""
    stricter = with_value(JUDGE, "minimum_key_bits", 4096)
    assert not judged_by(stricter)[0]
    assert before()[0]


# --- 12 cost ------------------------------------------------------------------------------

LINEAR: dict[str, Callable[[int], list[bytes]]] = {
    "strangers": lambda n: [b"".join(strangers()[: n // 60]), LEAF],
    "repeats of the certificate": lambda n: [PEM * (n // 100), LEAF],
    "text": lambda n: [b"no certificate here\n" * n],
    "text behind a BEGIN line": lambda n: [b"-----BEGIN CERTIFICATE-----\n" + b"MIIA" * n],
    "blanks": lambda n: [b" \t" * n + b"!"],
    "depth": lambda n: [b"\x30\x80" * n],
    "elements": lambda n: [b"\x30\x03\x02\x01\x00" * n],
    "base64 of blanks": lambda n: [base64.b64encode(b" " * 3 * n)],
    "tags": lambda n: [b"<a x " * n],
    "escapes": lambda n: [b"\\u005c" * n],
}


@cache
def strangers() -> tuple[bytes, ...]:
    key = factory.key("other").public_key()
    return tuple(FOREIGN.leaf(f"s{n}.example", {}, public=key) for n in range(400))


@pytest.mark.parametrize("what", LINEAR)
def test_12_the_cost_of_a_reply_grows_no_faster_than_its_length(what: str) -> None:
    small, large = 6_000, 24_000
    costs = [min(cost(LINEAR[what](size)) for _ in range(3)) for size in (small, large)]
    # Four times as much may take four times as long, and some for the measurement.
    assert costs[1] < 8 * costs[0] + 0.1


def cost(files: Sequence[bytes]) -> float:
    start = time.process_time()
    accepted(*files)
    return time.process_time() - start


def test_12_hundreds_of_strangers_cost_little_and_change_nothing() -> None:
    start = time.process_time()
    found = accepted(*[b"".join(strangers()[:300])], LEAF)
    assert found is not None
    assert found.chain == GOOD
    assert time.process_time() - start < 5
