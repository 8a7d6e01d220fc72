# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts are told of compromised keys: which, and whose listeners to close. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .plan import CertificatePlan

#: Under this name hosts list a key that only a ledger names, and no certificate of the inventory.
LEDGER = "ledger"


def entries(plans: Iterable[CertificatePlan], entry_of: Mapping[str, str]) -> list[str]:
    """The entries whose newest accepted certificate has a compromised key.

    Gateways leave their listeners out wherever no version with another key is deployed.
    """
    return sorted({entry_of[plan.name] for plan in plans if plan.out_of_service})


def keys(
    plans: Iterable[CertificatePlan],
    entry_of: Mapping[str, str],
    compromised: Iterable[str],
) -> list[dict[str, Any]]:
    """Every compromised key by entry, as the module ``pki_out_of_service`` takes them.

    ``compromised`` are the digests of both ledgers: hosts may still have releases of an entry that
    left the inventory.
    """
    by_entry: dict[str, set[str]] = {}
    for plan in plans:
        if plan.compromised:
            by_entry.setdefault(entry_of[plan.name], set()).update(plan.compromised.values())
    told = {digest for digests in by_entry.values() for digest in digests}
    others = {digest for digest in compromised if digest not in told}
    if others:
        by_entry.setdefault(LEDGER, set()).update(others)
    return [
        {"certificate": entry, "spki_sha256": sorted(digests)}
        for entry, digests in sorted(by_entry.items())
    ]
