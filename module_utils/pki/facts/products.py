# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway rendered and read back without a host."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ..errors import PkiError
from ..gateway import products

Model = Mapping[str, Any]


def read_rendered(model: Model) -> dict[str, Any]:
    """What a host would tell of this gateway, had the template just been installed there.

    Returns:
        The fields of ``gateway_facts.observe``: gateway, product, readable, problem, settings.
    """
    entry = {
        "gateway": model["name"],
        "product": model["product"],
        "readable": False,
        "problem": "",
        "settings": {},
    }
    try:
        adapter = products.adapter(str(model["product"]))
        files = products.rendered(model, adapter.lacks)
        settings = products.read(adapter, {one["path"]: one["content"] for one in files})
    except PkiError as exc:
        return {**entry, "problem": f"{exc.message}: {exc.found} ({exc.where})"}
    _add_digests(settings, model)
    return {**entry, "readable": True, "settings": settings}


def _add_digests(settings: Mapping[str, Any], model: Model) -> None:
    """The SHA-256 of the CA files that the role would install beside the configuration."""
    digests = {
        f"{model['root']}/{path}": hashlib.sha256(content.encode()).hexdigest()
        for path, content in model["trust_files"].items()
    }
    for listener in settings["listeners"]:
        for tls in (listener["tls"], *(route["tls"] for route in listener["routes"])):
            tls["ca_sha256"] = digests.get(tls["ca_file"], "")
