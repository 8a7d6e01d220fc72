# SPDX-License-Identifier: GPL-3.0-or-later
"""How old a CRL may get for a listener before a revoked peer could stay in for too long.

Pure. Somebody who was revoked is let in until the CRL that says so is in service, and whoever
is in stays until the connection ends. So the age of the CRL, the life of a session that is taken
up again, the longest life of a connection and what outlives a reload must together fit into the
policy's ``revocation_delay_seconds`` (Code of Connection 3.5.2.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..policy import Policy
from .reading import error

#: Sessions are never taken up again, whatever the product: every template says so, and
#: DIP-3.5.2.6-CRL-TTL judges what is configured.
SESSION_SECONDS = 0


def of_listener(
    limits: Mapping[str, Any], policy: Policy, *, ages_connections: bool, where: str
) -> dict[str, Any]:
    """``crl_age_seconds`` that are left for a listener, and the ``bounds`` that use up the rest.

    ``limits`` are the gateway's. ``ages_connections`` is false for a product that has no maximum
    age of a connection: there the reload with a newer CRL ends it, after the drain timeout.

    Raises:
        PkiError: INVENTORY when nothing is left for the CRL.
    """
    whole = policy.number("revocation_delay_seconds")
    bounds = [{"bound": "session", "seconds": SESSION_SECONDS}]
    if ages_connections:
        bounds.append({"bound": "connection", "seconds": int(limits["connection_seconds"])})
    bounds.append({"bound": "drain", "seconds": int(limits["drain_seconds"])})
    left = whole - sum(int(str(one["seconds"])) for one in bounds)
    if left <= 0:
        raise error(
            where,
            "a revoked peer could stay connected for longer than the policy allows",
            ", ".join(f"{one['bound']} {one['seconds']} s" for one in bounds),
            f"less than revocation_delay_seconds of policy {policy.name}, {whole} s, in all",
            "lower gateway_connection_seconds and gateway_drain_seconds in the overlay "
            f"policy/{policy.name}.yml, or raise revocation_delay_seconds there",
        )
    return {"crl_age_seconds": left, "bounds": bounds}
