# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory has at a gateway's address, in the words in which a listener is judged."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

Model = Mapping[str, Any]
Facts = dict[str, Any]

_PEER_WORDS = {"cn": "CN=", "subject": "subject ", "dns": "DNS="}
NOTHING: Facts = {
    "names": [],
    "certificate": "",
    "key": "",
    "ca_sha256": "",
    "crl_file": "",
    "verify_depth": 0,
    "peers": [],
    "issuers": [],
    "upstream": "",
    "secret_directory": "",
    "limits": {
        "body_bytes": 0,
        "header_bytes": 0,
        "requests_per_second": 0,
        "request_burst": 0,
        "connections": 0,
    },
}


def of(side: str, entry: Model, model: Model) -> Facts:
    """What a listener of the inventory must be like."""
    bundle = model["trust_files"][f"trust/{entry['trust']}.pem"]
    ingress = side == "ingress"
    key = None if ingress else entry["api_key"]
    return {
        "names": [entry["server_name"] if ingress else entry["host"]],
        "certificate": entry["fullchain"],
        "key": entry["key"],
        "ca_sha256": hashlib.sha256(bundle.encode()).hexdigest(),
        "crl_file": entry["crl_file"],
        "verify_depth": entry["verify_depth"],
        "peers": _peers(entry["allowed"]) if ingress else [],
        "issuers": list(entry["allowed"]["issuers"]) if ingress else [],
        "upstream": entry["upstream_authority"],
        "secret_directory": "" if key is None else key["directory"],
        "limits": {**NOTHING["limits"], **entry["limits"]},
    }


def _peers(allowed: Model) -> list[str]:
    """Who is let in, in the words of a route; once for each issuer where not all will do."""
    told = []
    for number, subject in enumerate(allowed["subjects"], start=1):
        text = f"{_PEER_WORDS[subject['kind']]}{subject['value']}"
        whose = [allowed["issuers"][issuer - 1] for issuer, of in allowed["pairs"] if of == number]
        everybody = len(whose) == len(allowed["issuers"])
        told += [text] if everybody else [f"{text} from {issuer}" for issuer in whose]
    return told
