# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway rendered and read back without a host: the one door from here to the target's side.

What runs on targets knows the products, and this side must not: a module is sent to a host with
everything it imports, so an import here would carry each side to the other's machines. Offline
there is no host to ask, and both sides lie in one checkout. So the target's side is looked up by
name when it is needed, and only then; a module that runs for Ansible never comes here.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

Model = Mapping[str, Any]

_ROLE = Path(__file__).resolve().parents[3] / "roles" / "gateway"


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
    host_error = _target_side("errors").HostError
    try:
        adapter = _target_side("gateways").adapter(model["product"])
        settings = adapter.read({adapter.config_file: _rendered(model, adapter)})
    except host_error as exc:
        return {**entry, "problem": f"{exc.message}: {exc.found} ({exc.where})"}
    _add_digests(settings, model)
    return {**entry, "readable": True, "settings": settings}


def _target_side(module: str) -> Any:
    beside = (__package__ or "").removesuffix("pki.facts")
    return importlib.import_module(f"{beside}pki_host.{module}")


def _rendered(model: Model, adapter: Any) -> str:
    """The configuration as the gateway role renders it for a current build."""
    import jinja2

    def text(value: Any, _product: str, kind: str) -> str:
        return str(adapter.text[kind](str(value)))

    # Ansible's own settings for templates.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ROLE / "templates"),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["pki_gateway_text"] = text
    known = yaml.safe_load((_ROLE / "vars" / f"{model['product']}.yml").read_text("utf-8"))
    template = known["__gateway_product"]["configuration"]["template"]
    lacks = sorted(adapter.lacks)
    return environment.get_template(template).render(gateway=model, lacks=lacks, user="")


def _add_digests(settings: Mapping[str, Any], model: Model) -> None:
    """The SHA-256 of the CA files that the role would install beside the configuration."""
    digests = {
        f"{model['root']}/{path}": hashlib.sha256(content.encode()).hexdigest()
        for path, content in model["trust_files"].items()
    }
    for listener in settings["listeners"]:
        for tls in (listener["tls"], *(route["tls"] for route in listener["routes"])):
            tls["ca_sha256"] = digests.get(tls["ca_file"], "")
