# SPDX-License-Identifier: GPL-3.0-or-later
"""What listeners ask of their product: refused where it cannot, noted where it can less.

Pure. What each product cannot do is told by its adapter, on the target's side; see
``pki_host.gateways.base``. Without being told, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import budget
from .reading import error
from .sources import Sources

Listener = Mapping[str, Any]
#: What a listener may need, and what to do where the product lacks it.
_NEEDED = {
    "peer_dns": "name the peer by CN or subject, or give the listener to another product",
}
#: What is bounded in another way by a product that lacks it, by the side that it concerns.
_NOTED = {
    "ingress": ("connection_age", "chunked_body", "log_reopen"),
    "egress": ("connection_age", "retry", "unsafe_retry", "backoff", "log_reopen"),
}


def judged(
    product: str, name: str, limits: Mapping[str, Any],
    sides: Mapping[str, Sequence[Listener]], sources: Sources, where: str,
) -> list[dict[str, Any]]:  # fmt: skip
    """For each listener of a gateway how old its CRLs may get, and what its product does otherwise.

    Raises:
        PkiError: INVENTORY for a product that is not known or lacks what a listener needs, and for
            a listener whose revoked peers could stay too long.
    """
    cannot = _cannot(product, sources, where)
    told = []
    for direction, listeners in sides.items():
        for at, item in enumerate(listeners):
            place = f"{where}.{direction}[{at}] ({item['name']})"
            for feature in _needs(item):
                if feature in cannot:
                    raise error(
                        place,
                        f"{product} cannot do what the listener needs",
                        f"{feature}: {cannot[feature]}",
                        "a product that can",
                        _NEEDED[feature],
                    )
            policy = sources.policies[sources.declared.entries[item["certificate"]][0].policy]
            aged = "connection_age" not in cannot
            noted = _NOTED[direction]
            if direction == "ingress" and policy.parameter("crl_gateway_ocsp") == "on":
                noted = (*noted, "client_ocsp")
            told.append(
                {
                    "gateway": name,
                    "listener": item["name"],
                    "direction": direction,
                    "product": product,
                    **budget.of_listener(limits, policy, ages_connections=aged, where=place),
                    "notes": [cannot[one] for one in noted if one in cannot],
                }
            )
    return told


def asks_responders(product: str, sources: Sources, where: str) -> str:
    """Why a product cannot ask the OCSP responder of a caller's certificate; empty if it can."""
    return _cannot(product, sources, where).get("client_ocsp", "")


def _needs(item: Listener) -> Iterator[str]:
    subjects = (item.get("allowed") or {}).get("subjects", ())
    if any(one["kind"] == "dns" for one in subjects):
        yield "peer_dns"


def _cannot(product: str, sources: Sources, where: str) -> Mapping[str, str]:
    if sources.products is None:
        return {}
    if product not in sources.products:
        raise error(
            f"{where}.product",
            "this gateway product has no adapter",
            product,
            ", ".join(sorted(sources.products)),
        )
    return sources.products[product]
