# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of devices and services that make key and request themselves.

F5, FortiGate, Azure Key Vault, AWS and the like: nobody but their user can ask them, so there is
nothing to list, and everything else is refused in words. What such a key looks like is known
from the request that its user supplied.
"""

from __future__ import annotations

from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric import rsa

from ..wrapping import WrapInfo
from .base import KeyRecord, cannot


class ExternalStore:
    """The store that is out of reach."""

    def names(self) -> frozenset[str]:
        return frozenset()

    def describe(self, name: str) -> KeyRecord | None:
        return None

    def foresee(self, name: str, version: int) -> KeyRecord | None:
        _refuse(name, "no key is made here for a device that makes its own")

    def ensure(self, name: str, version: int) -> KeyRecord:
        _refuse(name, "no key is made here for a device that makes its own")

    def signing_key(self, name: str, version: int) -> rsa.RSAPrivateKey:
        _refuse(name, "nothing is signed here with the key of a device")

    def release_path(self, name: str, version: int) -> str:
        _refuse(name, "the key of a device is never released")

    def wrap(self, name: str, version: int, ttl: int) -> WrapInfo:
        _refuse(name, "the key of a device is never released")

    def retire(
        self, name: str, keep: int, *, destroy: bool = False, check: bool = False
    ) -> tuple[str, ...]:
        _refuse(name, "the keys of a device are retired by hand")


def _refuse(name: str, what: str) -> NoReturn:
    raise cannot(
        f"{name}: {what}",
        found="store external",
        expected="what the device itself does",
        where=f"the device of {name}",
        next_step="do it on the device; a request that it made is taken in by playbooks/supply.yml",
    )
