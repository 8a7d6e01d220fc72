# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gateway's model is made from besides its own entry in the inventory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from ..inventory import Declared
from ..policy import Policy
from ..trust_files import LoadedTrust

#: What each product cannot do: by product, a sentence for each feature.
Products = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Roots:
    """Absolute directories on the target: releases, CRL sets and gateways."""

    release: str
    crl: str
    gateway: str

    def certificate(self, name: str, file: str) -> str:
        """A file of the certificate's release in service; the name never changes."""
        return f"{self.release}/{name}/current/{file}"

    def crl_file(self, trust: str, direction: str) -> str:
        """What is in force of a trust set's CRLs for ``ingress`` or ``egress``.

        The host decides what that is: the set in service, or a refusal of everybody when it is
        too old. The name never changes.
        """
        return f"{self.crl}/{trust}/{direction}/crl.pem"

    def api_key(self, name: str) -> str:
        """The directory of the API key in service; the product says what the file is called."""
        return f"{self.release}/api-keys/{name}/current"


#: Where things would be on a host that is not looked at.
ANYWHERE = Roots("/releases", "/crls", "/gateways")


@dataclass(frozen=True, slots=True)
class Sources:
    """What a model is made from besides its own entry.

    ``now`` decides which generation of a CA is trusted; None trusts all that are pinned. ``live``
    are the SHA-256 of retired CAs that something still depends on; None where nobody looked, and
    then all of them stay.
    ``products`` is what the target's side tells of the products; None where nobody asked it, and
    then nothing is said about what they cannot do.
    """

    declared: Declared
    trust: Mapping[str, LoadedTrust]
    policies: Mapping[str, Policy]
    roots: Roots
    now: datetime | None = None
    products: Products | None = None
    live: Collection[str] | None = None

    def trusted(self, name: str) -> LoadedTrust:
        """The CAs of a trust set that count now; PkiError TRUST-EMPTY when none is left."""
        pinned = self.trust[name]
        if self.now is None:
            return pinned
        return pinned.whole_at(self.now) if self.live is None else pinned.at(self.now, self.live)
