# SPDX-License-Identifier: GPL-3.0-or-later
"""Gateway products, each behind one adapter; nothing else knows a product by name."""

from __future__ import annotations

from ..errors import HostError
from . import haproxy, nginx
from .base import Adapter

_ADAPTERS: dict[str, type[Adapter]] = {one.product: one for one in (haproxy.Adapter, nginx.Adapter)}


def products() -> tuple[str, ...]:
    """The names an inventory may use as ``product``."""
    return tuple(sorted(_ADAPTERS))


def adapter(product: str) -> Adapter:
    """The adapter of a product; HostError for one we do not drive."""
    if product not in _ADAPTERS:
        raise HostError(
            "this gateway product has no adapter",
            rule="GATEWAY-PRODUCT",
            found=product,
            expected=", ".join(products()),
            where="gateways[].product",
            next_step="use one of the products above",
        )
    return _ADAPTERS[product]()
