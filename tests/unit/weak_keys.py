# SPDX-License-Identifier: GPL-3.0-or-later
"""RSA keys that nobody should use, made when a test asks for them; the same ones every time."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from math import isqrt, prod

from cryptography.hazmat.primitives.asymmetric import rsa

_SMALL = tuple(n for n in range(3, 2000, 2) if all(n % d for d in range(3, isqrt(n) + 1, 2)))
_EXPONENT = 65537


def is_prime(number: int) -> bool:
    """Trial division, then Miller-Rabin to bases that leave no doubt about numbers made here."""
    if number < 2000 * 2000:
        return number > 1 and all(number % d for d in (2, *_SMALL) if d * d <= number)
    if number % 2 == 0 or any(number % small == 0 for small in _SMALL):
        return False
    twos = ((number - 1) & (1 - number)).bit_length() - 1
    odd = (number - 1) >> twos
    for base in (2, *_SMALL[:11]):
        power = pow(base, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def next_prime(number: int) -> int:
    """The first prime above a number."""
    number += 1 + number % 2
    while not is_prime(number):
        number += 2
    return number


@cache
def prime(bits: int, seed: int = 0) -> int:
    """A prime whose two upper bits are set, so that two of them make a modulus of full size."""
    start = random.Random(f"prime {bits} {seed}").getrandbits(bits) | (3 << (bits - 2))
    return next_prime(start)


def private_key(p: int, q: int, exponent: int = _EXPONENT) -> rsa.RSAPrivateKey:
    """The key of two primes."""
    d = pow(exponent, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(exponent, p * q)
    return rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public
    ).private_key(unsafe_skip_rsa_key_validation=True)


@cache
def close_primes() -> rsa.RSAPrivateKey:
    """2048 bits of two neighbouring primes."""
    p = prime(1024)
    return private_key(next_prime(p), p)


@cache
def small_factor(factor: int) -> rsa.RSAPrivateKey:
    """2048 bits, one of the primes small."""
    return private_key(_to_size(factor), factor)


def _to_size(factor: int, bits: int = 2048) -> int:
    return next_prime((1 << bits) // factor - (1 << (bits - 40)))


@cache
def cubic() -> rsa.RSAPrivateKey:
    """2048 bits, sound but for the exponent 3."""
    return rsa.generate_private_key(public_exponent=3, key_size=2048)


@cache
def roca() -> rsa.RSAPrivateKey:
    """2048 bits of two primes of ROCA's form."""
    return private_key(roca_prime(1024, 126, 1), roca_prime(1024, 126, 2))


@cache
def roca_prime(bits: int, primes: int, seed: int) -> int:
    """k * M + 65537^a mod M, M being the product of the first ``primes`` primes."""
    modulus = prod((2, *_SMALL)[:primes])
    source = random.Random(f"roca {bits} {seed}")
    room = bits - modulus.bit_length()
    while True:
        k = source.getrandbits(room + 1)
        candidate = k * modulus + pow(_EXPONENT, source.getrandbits(64), modulus)
        if candidate >> (bits - 2) == 3 and is_prime(candidate):
            return candidate


def found_in_round(rounds: int) -> int:
    """A modulus a² - b² whose a lies ``rounds`` steps above the first one; its factors are odd."""
    a = (prime(1024) | 1) + 1
    low, high = 0, a
    while low < high:  # the smallest b for which the first step lies that far below a
        middle = (low + high) // 2
        steps = a - (isqrt(a * a - middle * middle - 1) + 1)
        low, high = (low, middle) if steps >= rounds else (middle + 1, high)
    b = low + (low + 1) % 2
    return a * a - b * b


def by_remainders(wanted: Mapping[int, int]) -> int:
    """An odd number of some size with given remainders (the Chinese theorem)."""
    whole = 2 * prod(wanted)
    parts = {2: 1, **wanted}
    found = sum(r * (whole // p) * pow(whole // p, -1, p) for p, r in parts.items()) % whole
    return found + whole * (1 << 600)
