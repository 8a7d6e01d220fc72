# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that were made on the host that uses them, and never leave it.

What hosts told of their keys is known everywhere; to make one or to sign with one takes a task
that runs on the host, which then gives this store its :class:`OnHost`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, Protocol

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ..errors import PkiError
from ..wrapping import WrapInfo
from .base import KeyRecord, cannot
from .remote_key import RemoteRsaKey


class OnHost(Protocol):
    """The host of a task, by what it can be asked to do; every method raises ``PkiError``."""

    def make(self, name: str, version: int) -> KeyRecord:
        """Have the version made if it is not there; the key as it is then."""
        ...

    def sign(self, name: str, version: int, digest: bytes, algorithm: str) -> bytes:
        """The PKCS#1 v1.5 signature over a digest of ``sha256``, ``sha384`` or ``sha512``."""
        ...


class HostStore:
    """What hosts told of the keys they keep, by the key's name; absent: the host did not tell."""

    def __init__(self, told: Mapping[str, KeyRecord | None], host: OnHost | None = None) -> None:
        self._told = dict(told)
        self._host = host

    def names(self) -> frozenset[str]:
        return frozenset(name for name, record in self._told.items() if record is not None)

    def describe(self, name: str) -> KeyRecord | None:
        return self._told.get(name)

    def foresee(self, name: str, version: int) -> KeyRecord | None:
        if name not in self._told:
            _refuse(name)
        record = self._told[name]
        return record if record is not None and version in record.versions else None

    def ensure(self, name: str, version: int) -> KeyRecord:
        """As :class:`.base.KeyStore`, but each version is a key of its own: only the wanted one
        is made, whichever others there are."""
        there = self.foresee(name, version)
        if there is not None:
            return there
        if self._host is None:
            _refuse(name)
        made = self._host.make(name, version)
        if version not in made.versions:
            raise _not_there(name, version, made)
        self._told[name] = made
        return made

    def signing_key(self, name: str, version: int) -> rsa.RSAPrivateKey:
        if self._host is None:
            _refuse(name)
        record = self._told.get(name)
        if record is None or version not in record.versions:
            raise _not_there(name, version, record)
        public = serialization.load_der_public_key(record.versions[version].spki_der)
        assert isinstance(public, rsa.RSAPublicKey)  # nothing else is taken from a host
        return HostRsaKey(self._host, name, version, public)

    def release_path(self, name: str, version: int) -> str:
        _refuse(name)

    def wrap(self, name: str, version: int, ttl: int) -> WrapInfo:
        _refuse(name)

    def retire(
        self, name: str, keep: int, *, destroy: bool = False, check: bool = False
    ) -> tuple[str, ...]:
        _refuse(name)


class HostRsaKey(RemoteRsaKey):
    """A key version on a host."""

    def __init__(self, host: OnHost, name: str, version: int, public: rsa.RSAPublicKey) -> None:
        super().__init__(name, version, public)
        self._host = host

    @property
    def place(self) -> str:
        return f"the host of {self._name}"

    def _signed(self, digest: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
        return self._host.sign(self._name, self._key_version, digest, algorithm.name)


def _not_there(name: str, version: int, record: KeyRecord | None) -> PkiError:
    numbers = ", ".join(map(str, record.versions)) if record else ""
    return PkiError(
        f"{name}: the host has no version {version} of the key",
        rule="KEY-NOT-FOUND",
        found=f"versions {numbers or 'none'}",
        expected=f"version {version}",
        where=f"the host of {name}",
        next_step="put the key back from a backup, or record the request as withdrawn",
    )


def _refuse(name: str) -> NoReturn:
    raise cannot(
        f"{name}: the key of a host is used on that host only",
        found="the controller",
        expected="the task that runs on the host",
        where=f"the host of {name}",
        next_step="run playbooks/site.yml: it makes keys and requests of hosts on the hosts",
    )
