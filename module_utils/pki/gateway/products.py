# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of gateway products: the one door from here to the target's side and to the role.

What runs on targets knows the products, and this side must not: a module is sent to a host with
everything it imports, so an import here would carry each side to the other's machines. Where there
is no host to ask, both sides lie in one checkout. So the target's side is looked up by name when it
is needed, and only then; a module that runs for Ansible never comes here, but is given what
:func:`cannot` says. Not pure: reads the role's files.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import PkiError
from .sources import Products

Model = Mapping[str, Any]

_ROLE = Path(__file__).resolve().parents[3] / "roles" / "gateway"


def adapter(product: str) -> Any:
    """The adapter of a product; PkiError for one that there is none of."""
    try:
        return _target_side("gateways").adapter(product)
    except _host_error() as exc:
        raise _as_ours(exc) from None


def cannot() -> Products:
    """What each product cannot do, and what holds instead: a sentence for each feature."""
    names = _target_side("gateways").products()
    return {name: {**adapter(name).cannot} for name in names}


def row(product: str) -> Mapping[str, Any]:
    """What the gateway role knows of a product: the file of its name among the role's variables."""
    import yaml

    text = (_ROLE / "vars" / f"{product}.yml").read_text("utf-8")
    return dict(yaml.safe_load(text)["__gateway_product"])


def text(value: str, product: str, kind: str) -> str:
    """``value`` as the product's adapter writes it in a place of this kind."""
    try:
        return str(adapter(product).text[kind](value))
    except _host_error() as exc:
        raise _as_ours(exc) from None


def rendered(model: Model, lacks: Collection[str] = (), user: str = "") -> list[dict[str, str]]:
    """The product's files for a model, by path below the gateway's root.

    ``lacks`` is what the build on the host cannot do. ``user`` is who speaks with peers; empty
    where the gateway has no privilege to give away.

    Raises:
        PkiError: GATEWAY-TEXT for a value that cannot be written for this product.
    """
    import jinja2

    known = row(str(model["product"]))
    # Ansible's own settings for templates.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ROLE / "templates"),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["pki_gateway_text"] = lambda value, product, kind: text(
        str(value), str(product), str(kind)
    )
    wanted = [
        known["configuration"],
        *(one for one in known.get("substitutes", ()) if one["lacking"] in lacks),
    ]
    return [
        {
            "path": str(one["path"]),
            "content": environment.get_template(one["template"]).render(
                gateway=model, lacks=sorted(lacks), user=user
            ),
        }
        for one in wanted
    ]


def read(of_product: Any, files: Mapping[str, str]) -> dict[str, Any]:
    """What these files configure, by the product's own reader; PkiError for what it refuses."""
    try:
        return dict(of_product.read(files))
    except _host_error() as exc:
        raise _as_ours(exc) from None


def _target_side(module: str) -> Any:
    beside = (__package__ or "").removesuffix("pki.gateway")
    return importlib.import_module(f"{beside}pki_host.{module}")


def _host_error() -> type[Exception]:
    known: type[Exception] = _target_side("errors").HostError
    return known


def _as_ours(exc: Any) -> PkiError:
    return PkiError(
        exc.message,
        rule=exc.rule,
        found=exc.found,
        expected=exc.expected,
        where=exc.where,
        next_step=exc.next_step,
    )
