# SPDX-License-Identifier: GPL-3.0-or-later
"""Two gateways of one host that share a certificate and a CRL set, and releases to give them.

``dip`` has an ingress and an egress, the egress with a certificate of its own; ``second`` has an
ingress with the certificate of the first. Models are made once: after that only links and the
fingerprints that are probed for change, as in a renewal.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from gateways.products import NGINX, Product
from integration import gateway_world as gw
from integration.gateway_world import World
from integration.own_ports import free_ports
from pki_host import transaction
from pki_host.service import Daemon
from pki_host.transaction import Desired

CLIENT, CLIENT_DOMAIN = "client-nonprod", "other-energy.co.uk"
PROTOCOLS = ["TLSv1.2", "TLSv1.3"]
Usage = x509.ExtendedKeyUsageOID


def leaf(
    label: str,
    common_name: str = gw.OURS,
    *,
    usages: Sequence[x509.ObjectIdentifier] = (),
    begins: int = -1,
    ends: int = 30,
) -> x509.Certificate:
    """A certificate of the issuing CA, valid from and to so many days from now."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(gw.name(common_name))
        .issuer_name(gw.name("issuing"))
        .public_key(gw.key(label).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(gw.NOW + timedelta(days=begins))
        .not_valid_after(gw.NOW + timedelta(days=ends))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
    return builder.sign(gw.key("issuing"), hashes.SHA256())


class Pair(World):
    """One host with both gateways of one product."""

    def __init__(self, base: Path, product: Product = NGINX) -> None:
        super().__init__(base, product)
        (self.second,) = free_ports(1)
        self.client_certificate = leaf("client")
        self.client_release = self.stage_release(1, self.client_certificate, "client", CLIENT)

    def inventory(self) -> dict[str, Any]:
        values = super().inventory()
        first = values["certificates"][0]
        values["certificates"].append({**first, "name": CLIENT, "domain": CLIENT_DOMAIN})
        return values

    def gateways(self) -> list[dict[str, Any]]:
        (first,) = super().gateways()
        ingress = {**first["ingress"][0], "name": "other", "listen": f"127.0.0.1:{self.second}"}
        first["egress"][0]["certificate"] = CLIENT
        return [first, {**first, "name": "second", "ingress": [ingress], "egress": []}]

    def releases(self) -> list[dict[str, Any]]:
        return [self.release, self.client_release]

    def models(self) -> list[dict[str, Any]]:
        made = gw.pki_gateway.FilterModule().filters()["pki_gateway_models"](
            self.gateways(),
            declared=self.inventory(),
            host={"name": "gw1", "groups": ["gateways"]},
            places=self.places(),
            releases=self.releases(),
            crl_sets=[self.crl_set],
        )
        return [dict(model) for model in made]

    def model(self) -> dict[str, Any]:
        return self._model

    def all_arguments(self) -> list[dict[str, Any]]:
        """The module's entries for both, with what is staged now."""
        entries = copy.deepcopy(self._first_arguments)
        staged = {one["link"]["path"]: one for one in (*self.releases(), self.crl_set)}
        for entry in entries:
            entry["links"] = [dict(staged[link["path"]]["link"]) for link in entry["links"]]
            for probe in entry["probes"]:
                if probe["kind"] == "ingress":
                    probe["certificate_sha256"] = self.release["certificate_sha256"]
        return entries

    @cached_property
    def _first_arguments(self) -> list[dict[str, Any]]:
        made = []
        for model in self.models():
            self._model = model  # whose arguments come next
            made.append({**self.arguments(), "tls_protocols": PROTOCOLS})
        return made

    def wanted(self) -> list[Desired]:
        return [Desired.of(entry) for entry in self.all_arguments()]

    def apply(self) -> dict[str, Any]:
        """Bring both to what is staged."""
        return transaction.run_all(self.wanted(), check=False)

    def renew(self, version: int) -> None:
        """Another certificate with a key of its own, which both gateways then want."""
        label = f"ours-{version % 2}"
        self.certificate = leaf(label)
        self.release = self.stage_release(version, self.certificate, label)

    def daemons(self) -> list[Daemon]:
        roots = [str(self.base / "gateway" / name) for name in ("dip", "second")]
        return [Daemon(self.product.adapter, self.product.program, root) for root in roots]

    def stop(self) -> None:
        ends = [("127.0.0.1", port) for port in (self.ingress, self.egress, self.second)]
        for daemon in self.daemons():
            daemon.stop()
            daemon.end_orphans(ends)
