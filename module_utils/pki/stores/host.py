# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that were made on the host that uses them, and never leave it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric import rsa

from ..wrapping import WrapInfo
from .base import KeyRecord, cannot


class HostStore:
    """What hosts told of the keys they keep, by the key's name."""

    def __init__(self, told: Mapping[str, KeyRecord | None]) -> None:
        self._told = told

    def names(self) -> frozenset[str]:
        return frozenset(name for name, record in self._told.items() if record is not None)

    def describe(self, name: str) -> KeyRecord | None:
        return self._told.get(name)

    def foresee(self, name: str, version: int) -> KeyRecord | None:
        _refuse(name)

    def ensure(self, name: str, version: int) -> KeyRecord:
        _refuse(name)

    def signing_key(self, name: str, version: int) -> rsa.RSAPrivateKey:
        _refuse(name)

    def release_path(self, name: str, version: int) -> str:
        _refuse(name)

    def wrap(self, name: str, version: int, ttl: int) -> WrapInfo:
        _refuse(name)

    def retire(
        self, name: str, keep: int, *, destroy: bool = False, check: bool = False
    ) -> tuple[str, ...]:
        _refuse(name)


def _refuse(name: str) -> NoReturn:
    raise cannot(
        f"{name}: the key of a host is used on that host only",
        found="the controller",
        expected="the task that runs on the host",
        where=f"the host of {name}",
        next_step="run playbooks/site.yml: it makes keys and requests of hosts on the hosts",
    )
