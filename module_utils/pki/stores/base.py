# SPDX-License-Identifier: GPL-3.0-or-later
"""What every key store offers: values that describe a key, and one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import rsa

from ..errors import PkiError
from ..wrapping import WrapInfo


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One version of a key. It is made once and never changes.

    Attributes:
        number: 1 for the first.
        created: aware UTC time at which the store made it.
        spki_der: the public key (SubjectPublicKeyInfo, DER).
    """

    number: int
    created: datetime
    spki_der: bytes


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What a store tells of a key; nothing in it is secret.

    Attributes:
        name: the certificate's name.
        type: the store's word for the algorithm ("rsa-4096").
        exportable: whether the private half may ever leave the store.
        versions: by number. Versions that the store no longer serves are absent, and
            so are those of a key that no certificate can be made for (a cipher's key).
        imported: whether the key was brought into the store instead of being made there.
    """

    name: str
    type: str
    exportable: bool
    versions: Mapping[int, KeyVersion]
    imported: bool = False


def cannot(what: str, *, found: str, expected: str, where: str, next_step: str) -> PkiError:
    """The error of a store that has no such thing to offer (rule KEY-OPERATION)."""
    return PkiError(
        what, rule="KEY-OPERATION", found=found, expected=expected, where=where, next_step=next_step
    )


class KeyStore(Protocol):
    """A place where keys are born and stay.

    ``name`` is always the key's name in the store (``Certificate.key_name``). Every method
    raises ``PkiError``; a store that cannot do one of these things says so in words (rule
    KEY-OPERATION) and does nothing.
    """

    def names(self) -> frozenset[str]:
        """Names of all keys, in one call."""
        ...

    def describe(self, name: str) -> KeyRecord | None:
        """A key as it is, with the public halves of its versions; None when there is none."""
        ...

    def foresee(self, name: str, version: int) -> KeyRecord | None:
        """What :meth:`ensure` would find; None if it would have to make something.

        Raises what ``ensure`` would, except that a newer version than the wanted one is fine
        as long as the wanted one is there.
        """
        ...

    def ensure(self, name: str, version: int) -> KeyRecord:
        """Make the key, or new versions of it, until ``version`` is its newest one."""
        ...

    def signing_key(self, name: str, version: int) -> rsa.RSAPrivateKey:
        """A handle that signs with this version wherever ``cryptography`` wants a key."""
        ...

    def release_path(self, name: str, version: int) -> str:
        """Where the private half is released; the receiver compares it."""
        ...

    def wrap(self, name: str, version: int, ttl: int) -> WrapInfo:
        """A single-use token for the private half that lives ``ttl`` seconds."""
        ...

    def retire(
        self, name: str, keep: int, *, destroy: bool = False, check: bool = False
    ) -> tuple[str, ...]:
        """End the use of every version below ``keep``, which stays the oldest usable one.

        Withdrawn versions neither sign nor are released, and can be brought back; destroyed
        ones are gone for good. Returns what was done, or with ``check`` would be, one sentence
        a step; nothing when it was done before.
        """
        ...
