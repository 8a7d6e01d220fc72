# SPDX-License-Identifier: GPL-3.0-or-later
"""Weak RSA keys are recognised, each by its own weakness; sound ones are not suspected."""

from __future__ import annotations

from math import gcd, isqrt, prod
from time import process_time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from pki import csr, key_hygiene, shipped
from pki.errors import PkiError
from pki.key_hygiene import Limits, Weakness
from unit import pki_factory as factory
from unit import weak_keys
from unit.weak_keys import is_prime, next_prime

LIMITS = Limits(factors_below=1000, fermat_rounds=100, maximum_bits=4096)
SOUND = factory.key("sound").public_key()
N = SOUND.public_numbers().n


def of(modulus: int, **limits: int) -> Weakness:
    return key_hygiene.of_modulus(modulus, Limits(**{**fields(LIMITS), **limits}))


def fields(limits: Limits) -> dict[str, int]:
    return {name: getattr(limits, name) for name in Limits.__slots__}


def spki(public: Any) -> bytes:
    return csr.spki_der(public)


def test_a_sound_key_has_no_weakness() -> None:
    assert key_hygiene.of_key(spki(SOUND), LIMITS) == key_hygiene.NONE == Weakness(0, -1, False)


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_a_sound_key_of_every_usual_size_passes_the_shipped_limits(bits: int) -> None:
    limits = Limits.of(shipped.policy("mhhs-dip").parameter)
    public = factory.key(f"sound {bits}", bits).public_key()
    assert key_hygiene.of_key(spki(public), limits) == key_hygiene.NONE


# --- small factors ------------------------------------------------------------------------


@pytest.mark.parametrize("prime", [2, 3, 5, 7, 751, 991, 997])
def test_the_smallest_prime_factor_below_the_limit_is_told(prime: int) -> None:
    assert of(N * prime).small_factor == prime


def test_of_several_factors_the_smallest_is_told() -> None:
    assert of(N * 101 * 997 * 997).small_factor == 101


@pytest.mark.parametrize(("below", "found"), [(991, 0), (992, 991), (1000, 991)])
def test_a_factor_is_looked_for_below_the_limit_and_not_at_it(below: int, found: int) -> None:
    assert of(N * 991, factors_below=below).small_factor == found


@pytest.mark.parametrize("below", [1, 2, 3, 4, 9, 10, 100])
def test_the_primes_looked_for_are_all_there_are(below: int) -> None:
    expected = [n for n in range(2, below) if all(n % d for d in range(2, isqrt(n) + 1))]
    found = [n for n in range(2, below) if of(N * n, factors_below=below).small_factor == n]
    assert found == expected


@given(st.integers(3, 1 << 64))
@settings(max_examples=50, deadline=None)
def test_a_number_has_a_small_factor_when_division_finds_one(modulus: int) -> None:
    divisors = (d for d in range(2, 1000) if modulus % d == 0)
    assert of(modulus).small_factor == next(divisors, 0)


# --- close primes -------------------------------------------------------------------------


def test_a_square_is_factored_before_the_first_step() -> None:
    prime = weak_keys.prime(1024)
    assert of(prime * prime).fermat_rounds == 0


def test_neighbouring_primes_are_factored_at_once() -> None:
    prime = weak_keys.prime(1024)
    assert of(prime * next_prime(prime)).fermat_rounds == 0


@pytest.mark.parametrize("rounds", [1, 2, 50, 99])
def test_the_round_is_told_in_which_close_primes_were_found(rounds: int) -> None:
    """The mean of the factors lies that many steps above the root of the modulus."""
    modulus = weak_keys.found_in_round(rounds)
    assert of(modulus).fermat_rounds == rounds
    assert of(modulus, fermat_rounds=rounds + 1).fermat_rounds == rounds
    assert of(modulus, fermat_rounds=rounds).fermat_rounds == -1


def test_primes_that_differ_in_their_upper_halves_are_not_found() -> None:
    assert of(N).fermat_rounds == -1


def test_a_key_of_close_primes_is_recognised_from_its_spki() -> None:
    found = key_hygiene.of_key(spki(weak_keys.close_primes().public_key()), LIMITS)
    assert found.fermat_rounds >= 0
    assert (found.small_factor, found.roca) == (0, False)


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 20))
@settings(max_examples=200, deadline=None)
def test_a_round_is_told_only_when_it_factors(low: int, distance: int) -> None:
    p, q = 2 * low + 1, 2 * (low + distance) + 1
    n = p * q
    found = of(n).fermat_rounds
    if found >= 0:
        a = isqrt(n - 1) + 1 + found
        b = isqrt(a * a - n)
        assert (a - b) * (a + b) == n
        assert 1 < a - b < n
    else:
        # The two numbers at hand are one such pair, so it must lie beyond the last round.
        assert (p + q) // 2 - (isqrt(n - 1) + 1) >= LIMITS.fermat_rounds


@pytest.mark.parametrize("prime", [7, 13, 8191])
def test_a_prime_has_no_factors_to_be_found(prime: int) -> None:
    assert of(prime, factors_below=2, fermat_rounds=10_000).fermat_rounds == -1


def test_an_even_modulus_is_the_business_of_small_factors() -> None:
    assert of(2 * N) == Weakness(small_factor=2)


# --- ROCA ---------------------------------------------------------------------------------

#: The primes of the published fingerprint, and of how many powers of 65537 its test consists.
PUBLISHED = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)


def test_the_primes_that_discriminate_are_the_published_ones() -> None:
    assert tuple(prime for prime, _ in key_hygiene._roca_residues()) == PUBLISHED


def test_a_sound_modulus_looks_like_it_less_than_once_in_a_hundred_million() -> None:
    odds = prod((prime - 1) / len(powers) for prime, powers in key_hygiene._roca_residues())
    assert odds > 1e8


@pytest.mark.parametrize(("bits", "primes"), [(512, 39), (1024, 71), (2048, 126)])
def test_a_modulus_made_as_the_chips_made_it_is_recognised(bits: int, primes: int) -> None:
    p, q = (weak_keys.roca_prime(bits // 2, primes, seed) for seed in (1, 2))
    assert is_prime(p)
    assert gcd(p, q) == 1
    assert of(p * q).roca
    assert of(p * q, factors_below=2) == Weakness(roca=True)


def test_a_modulus_of_one_such_prime_and_a_sound_one_is_not() -> None:
    assert not of(weak_keys.roca_prime(1024, 126, 1) * weak_keys.prime(1024)).roca


@pytest.mark.parametrize("prime", PUBLISHED)
def test_one_residue_that_is_no_power_clears_a_modulus(prime: int) -> None:
    """A modulus of the form but for one of the primes, by the remainder theorem."""
    powers = dict(key_hygiene._roca_residues())
    other = next(r for r in range(1, prime) if r not in powers[prime])
    modulus = weak_keys.by_remainders({p: other if p == prime else 1 for p in PUBLISHED})
    assert not of(modulus).roca
    assert of(weak_keys.by_remainders(dict.fromkeys(PUBLISHED, 1))).roca


def test_sound_keys_are_not_taken_for_it() -> None:
    assert not any(
        of(factory.key(f"sound {n}").public_key().public_numbers().n).roca for n in range(5)
    )


# --- what is not looked at ----------------------------------------------------------------


def test_a_modulus_above_the_limit_is_left_to_the_policys_rule_on_size() -> None:
    weak = spki(weak_keys.close_primes().public_key())
    sizes = Limits(**{**fields(LIMITS), "maximum_bits": 2047})
    assert key_hygiene.of_key(weak, sizes) == key_hygiene.NONE
    assert (
        key_hygiene.of_key(weak, Limits(**{**fields(sizes), "maximum_bits": 2048}))
        != key_hygiene.NONE
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no key",
        spki(ec.generate_private_key(ec.SECP256R1()).public_key()),
        spki(ed25519.Ed25519PrivateKey.generate().public_key()),
        spki(SOUND)[:-1],
    ],
    ids=["nothing", "words", "an EC key", "an Ed25519 key", "a key cut short"],
)
def test_what_is_no_rsa_key_has_none_of_its_weaknesses(data: bytes) -> None:
    assert key_hygiene.of_key(data, LIMITS) == key_hygiene.NONE


@given(st.binary(max_size=400))
def test_no_bytes_raise(data: bytes) -> None:
    assert key_hygiene.of_key(data, LIMITS) == key_hygiene.NONE


def test_a_key_is_looked_at_once_for_each_set_of_limits() -> None:
    public = spki(rsa.generate_private_key(65537, 2048).public_key())
    before = key_hygiene.of_key.cache_info()
    for _ in range(3):
        key_hygiene.of_key(bytes(bytearray(public)), LIMITS)
    key_hygiene.of_key(public, Limits(10, 1, 4096))
    after = key_hygiene.of_key.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (2, 2)
    assert after.maxsize is not None


# --- limits -------------------------------------------------------------------------------


def test_the_limits_are_the_policys() -> None:
    for name in ("mhhs-dip", "nhs-mesh"):
        policy = shipped.policy(name)
        assert Limits.of(policy.parameter) == Limits(
            policy.number("key_factors_below"),
            policy.number("key_fermat_rounds"),
            policy.number("maximum_key_bits"),
        )
        assert policy.number("key_fermat_rounds") >= 100


NAMES = ("key_factors_below", "key_fermat_rounds", "maximum_key_bits")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-1, 0, 1 << 40])
def test_a_limit_that_no_run_would_get_through_is_refused(name: str, value: int) -> None:
    values = {
        "key_factors_below": 10,
        "key_fermat_rounds": 10,
        "maximum_key_bits": 4096,
        name: value,
    }
    with pytest.raises(PkiError) as caught:
        Limits.of(values.__getitem__)
    assert caught.value.rule == "POLICY-PARAMETER"
    assert name in caught.value.message
    assert caught.value.found == str(value)


def test_the_most_that_an_overlay_may_ask_for_still_ends() -> None:
    limits = Limits.of(dict(zip(NAMES, (1 << 20, 1 << 17, 1 << 15), strict=True)).__getitem__)
    started = process_time()
    assert key_hygiene.of_modulus((1 << 4095) + N, limits).fermat_rounds == -1
    assert process_time() - started < 20
