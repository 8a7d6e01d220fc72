# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes an RSA public key worthless although it is long enough. Pure.

Three faults that were found in keys in use, each of which gives the private key to anybody who
looks: a small prime factor (Heninger et al., 2012), primes so close to each other that Fermat's
method finds them (CVE-2022-26320), and primes of the form that one maker's chips used (ROCA,
CVE-2017-15361; Nemec, Sys, Svenda, Klinec, Matyas: The Return of Coppersmith's Attack, 2017).

How far to look is the policy's to say: see :class:`Limits`. What is found is remembered by key,
since a certificate is judged when it comes in and at every run after that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from math import gcd, isqrt, prod
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from .certs import DECODE_ERRORS
from .errors import PkiError

# Bounds of the bounds: what an overlay may ask for and a run still ends.
_MOST_ROUNDS, _LARGEST_FACTOR, _MOST_BITS = 1 << 17, 1 << 20, 1 << 15
_REMEMBERED = 1 << 14  # keys; about 20 MB
#: ROCA's primes are k * M + g^a mod M with g = 2^16 + 1, M being the product of the first primes:
#: at least of these 39, for every size of key. So its moduli are powers of g modulo each of them.
_ROCA_PRIMES_BELOW, _ROCA_GENERATOR = 168, (1 << 16) + 1


@dataclass(frozen=True, slots=True)
class Limits:
    """How far to look.

    Attributes:
        factors_below: prime factors below this number are looked for.
        fermat_rounds: rounds of Fermat's method.
        maximum_bits: a longer modulus is not looked at; the policy must refuse it.
    """

    factors_below: int
    fermat_rounds: int
    maximum_bits: int

    @classmethod
    def of(cls, parameter: Callable[[str], Any]) -> Limits:
        """As a policy says; PkiError POLICY-PARAMETER for what no run would get through."""
        return cls(
            factors_below=_bounded(parameter, "key_factors_below", _LARGEST_FACTOR),
            fermat_rounds=_bounded(parameter, "key_fermat_rounds", _MOST_ROUNDS),
            maximum_bits=_bounded(parameter, "maximum_key_bits", _MOST_BITS),
        )


def _bounded(parameter: Callable[[str], Any], name: str, most: int) -> int:
    value = int(parameter(name))
    if 0 < value <= most:
        return value
    raise PkiError(
        f"the policy's {name} is out of bounds",
        rule="POLICY-PARAMETER",
        found=str(value),
        expected=f"1 to {most}",
        next_step="correct the value in the policy or its overlay",
    )


@dataclass(frozen=True, slots=True)
class Weakness:
    """What was found.

    Attributes:
        small_factor: the smallest prime factor below the limit, 0 when there is none.
        fermat_rounds: rounds in which Fermat's method found the factors, the first being 0 (a
            square); -1 when it did not.
        roca: whether the modulus has the form of ROCA's keys. A sound key has it by chance once
            in 240 million times.
    """

    small_factor: int = 0
    fermat_rounds: int = -1
    roca: bool = False


NONE = Weakness()


@lru_cache(maxsize=_REMEMBERED)
def of_key(spki: bytes, limits: Limits) -> Weakness:
    """What is wrong with a key (SubjectPublicKeyInfo, DER).

    Nothing is for a key that is not RSA's or cannot be read: its kind is judged elsewhere. The
    same holds for a modulus above ``limits.maximum_bits``, which would take for ever.
    """
    try:
        key = load_der_public_key(spki)
    except DECODE_ERRORS:
        return NONE
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size > limits.maximum_bits:
        return NONE
    return of_modulus(key.public_numbers().n, limits)


def of_modulus(modulus: int, limits: Limits) -> Weakness:
    """What is wrong with a modulus, an even one included."""
    return Weakness(
        small_factor=_small_factor(modulus, limits.factors_below),
        fermat_rounds=_fermat(modulus, limits.fermat_rounds),
        roca=_roca(modulus),
    )


# --- small factors ----------------------------------------------------------------------


def _small_factor(modulus: int, below: int) -> int:
    if gcd(modulus, _primorial(below)) == 1:
        return 0
    return next(prime for prime in _primes(below) if modulus % prime == 0)


@cache
def _primes(below: int) -> tuple[int, ...]:
    return tuple(_sieve(below))


def _sieve(below: int) -> Iterator[int]:
    candidates = bytearray([1]) * below
    for number in range(2, below):
        if candidates[number]:
            yield number
            if number * number < below:
                candidates[number * number :: number] = bytes(
                    len(range(number * number, below, number))
                )


@cache
def _primorial(below: int) -> int:
    """The product of the primes, by halves: multiplied one by one it took a second."""
    factors = list(_primes(below)) or [1]
    while len(factors) > 1:
        factors = [prod(factors[at : at + 2]) for at in range(0, len(factors), 2)]
    return factors[0]


# --- close primes -----------------------------------------------------------------------


def _fermat(modulus: int, rounds: int) -> int:
    """The round in which modulus = a² - b² was found, a growing from its square root; or -1."""
    if modulus % 2 == 0:
        return -1  # No difference of squares is twice an odd number; 2 is a small factor.
    a = isqrt(modulus - 1) + 1
    rest = a * a - modulus
    for done in range(rounds):
        # Most numbers are told from squares by their last bits: a root costs ten times as much.
        if rest & 15 in _LAST_BITS_OF_SQUARES:
            b = isqrt(rest)
            # a - b = 1 is the factorisation that every odd number has.
            if b * b == rest:
                return done if a - b > 1 else -1
        rest += 2 * a + 1
        a += 1
    return -1


_LAST_BITS_OF_SQUARES = frozenset({0, 1, 4, 9})


# --- ROCA -------------------------------------------------------------------------------


@cache
def _roca_residues() -> tuple[tuple[int, frozenset[int]], ...]:
    """The primes that tell anything, each with the powers of the generator modulo it."""
    found = []
    for prime in _primes(_ROCA_PRIMES_BELOW):
        powers, power = set(), 1
        while power not in powers:
            powers.add(power)
            power = power * _ROCA_GENERATOR % prime
        if len(powers) < prime - 1:
            found.append((prime, frozenset(powers)))
    return tuple(found)


def _roca(modulus: int) -> bool:
    return all(modulus % prime in powers for prime, powers in _roca_residues())
