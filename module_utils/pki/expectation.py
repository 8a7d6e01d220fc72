# SPDX-License-Identifier: GPL-3.0-or-later
"""What was asked for: the value that requests and replies are compared with."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Seen:
    """A certificate that was accepted before: ``serial`` in lower-case hexadecimal.

    ``issuer`` is the issuer's name by RFC 2253; empty stands for any issuer. ``where`` names
    it for a person, as in "dip-nonprod v1".
    """

    serial: str
    issuer: str
    where: str


class BySerial(Sequence[Seen]):
    """Many certificates, of which those with one serial number are found without a walk."""

    __slots__ = ()

    @abstractmethod
    def of_serial(self, serial: str) -> Sequence[Seen]:
        """Those with this serial number (lower-case hexadecimal)."""


@dataclass(frozen=True, slots=True)
class History:
    """What happened before this reply. Digests are SHA-256 in lower-case hexadecimal.

    Attributes:
        serials: certificates accepted for other requests.
        keys: digests of the SPKI in other requests, and where they stand.
        compromised: digests of SPKIs that must never be used again, and who says so.
        deployed: digest of the certificate (DER) in service before this reply, or empty.
        accepted: digest of the certificate (DER) that was accepted for this very request, or
            empty; a certificate accepted before is not held to what a new one must be.
    """

    serials: Sequence[Seen] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    compromised: Mapping[str, str] = field(default_factory=dict)
    deployed: str = ""
    accepted: str = ""

    def seen(self, serial: str, issuer: str) -> list[str]:
        """Where a certificate of this serial number and issuer (RFC 2253) was accepted."""
        known = self.serials
        same = known.of_serial(serial) if isinstance(known, BySerial) else known
        return [one.where for one in same if one.serial == serial and one.issuer in ("", issuer)]


@dataclass(frozen=True, slots=True)
class Expectation:
    """What was asked for: ``subject`` by O, L, ST, C; ``purposes`` out of mtls and signing.

    ``san`` are the DNS names that a request is to have as alternative names, none by default;
    those of a certificate are compared with its request's own.

    ``history`` is what the request's neighbours and the ledger of compromised keys say; None
    when nobody looked, for a judgement of the reply alone.
    """

    common_name: str
    subject: Mapping[str, str]
    purposes: frozenset[str]
    policy: str
    environment: str
    history: History | None = None
    san: tuple[str, ...] = ()
