# SPDX-License-Identifier: GPL-3.0-or-later
"""One gateway's inventory entry, and what a model is made from besides it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pki import gateway, inventory, policy_files
from pki.trust_files import Ca, LoadedTrust
from unit import pki_factory
from unit.pki_factory import Authority

PROJECT = Path(__file__).resolve().parents[2]
ROOT = pki_factory.authority("Root")
POLICY_CA = ROOT.authority("Policy CA")
ISSUING = ROOT.authority("Issuing CA, 1")
DEEP = POLICY_CA.authority("Deep CA")


def ca(authority: Authority) -> Ca:
    return Ca(authority.der, authority.pem, authority.sha256, "", ())


def trust(anchors: list[Authority], issuers: list[Authority]) -> LoadedTrust:
    return LoadedTrust("dip", tuple(map(ca, anchors)), tuple(map(ca, issuers)))


PINNED = [{"file": "a.pem", "sha256": "0" * 64, "crl_urls": []}]
PERSON = {"name": "A", "email": "a@a.example", "role": "certificate_admin"}


def sources() -> gateway.Sources:
    """Certificate, trust, policy and places of the entry below."""
    policies = policy_files.load_policies(PROJECT / "policies", ["mhhs-dip"])
    sets = {
        name: {
            "policy": "mhhs-dip",
            "environment_class": name,
            "anchors": PINNED,
            "issuers": PINNED,
        }
        for name in ("nonprod", "prod")
    }
    declared = inventory.load(
        organisations={
            "o": {
                "party": "market_participant_active",
                "subject": {"O": "O", "L": "L", "ST": "S", "C": "GB"},
                "roster": [PERSON],
            }
        },
        certificates=[
            {
                "name": "dip",
                "policy": "mhhs-dip",
                "environment": "nonprod",
                "domain": "example-energy.co.uk",
                "purposes": ["mtls"],
                "key": {"store": "transit", "delivery": "wrapped"},
                "hosts": "gateways",
            }
        ],
        trust=sets,
        policies=policies,
    )
    loaded = trust([ROOT], [ISSUING])
    roots = gateway.Roots("/etc/pki/mtls", "/var/lib/pki-crl", "/etc/pki/gateway")
    return gateway.Sources(declared, {"nonprod": loaded, "prod": loaded}, policies, roots)


ENTRY: dict[str, Any] = {
    "name": "gw",
    "product": "nginx",
    "hosts": "gateways",
    "ingress": [
        {
            "name": "webhook",
            "listen": "0.0.0.0:8443",
            "server_name": "gw.example",
            "certificate": "dip",
            "trust": "nonprod",
            "peers": [{"CN": "peer.example"}],
            "upstream": "http://127.0.0.1:8000",
        }
    ],
    "egress": [
        {
            "name": "api",
            "listen": "[::1]:9443",
            "certificate": "dip",
            "trust": "nonprod",
            "upstream": {"host": "api.example", "address": "192.0.2.1", "port": 443},
        }
    ],
}
