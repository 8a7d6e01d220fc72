# SPDX-License-Identifier: GPL-3.0-or-later
"""An outside judge of what every ingress offers: sslyze, in an environment of its own.

Mozilla's intermediate profile is what others hold us to; the second profile is made of the policy,
and is stricter. The listener is looked at without a certificate, since sslyze's own probe of SSL 2
stumbles over one, and every handshake is completed for who shows none.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gateways.stand import Stand
from integration import gateway_world as gw
from pki import policy_files
from unit.gateway_entry import PROJECT

ENVIRONMENT = PROJECT / ".venv-sslyze"
JUDGE = ENVIRONMENT / "bin/python"
SCAN = Path(__file__).with_name("sslyze_scan.py")
POLICY = policy_files.load_policies(PROJECT / "policies", ["mhhs-dip"])["mhhs-dip"]
#: The policy has OpenSSL's names of suites, sslyze those of the registry.
IANA = {
    "ECDHE-RSA-AES128-GCM-SHA256": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
}


def mozilla() -> dict[str, Any]:
    """The intermediate profile as the judge has it."""
    (path,) = ENVIRONMENT.glob("lib/python3*/site-packages/sslyze/mozilla_tls_profile/*.json")
    return dict(json.loads(path.read_text())["configurations"]["intermediate"])


def policy_profile() -> dict[str, Any]:
    """Mozilla's profile with what the policy says in place of what it leaves open.

    The size of the key stays Mozilla's: it is a certificate's matter and judged there, and large
    keys take tests long to make.
    """
    ciphers = [IANA[name] for name in POLICY.strings("tls12_ciphers")]
    return {
        **mozilla(),
        "tls_versions": list(POLICY.strings("tls_protocols")),
        "ciphers": dict.fromkeys(mozilla()["ciphers"], ciphers),
        "ciphersuites": list(POLICY.strings("tls13_ciphersuites")),
        "tls_curves": list(POLICY.strings("tls_groups")),
        "certificate_types": ["rsa"],
    }


@dataclass(frozen=True)
class Verdict:
    """What was found of the gateway's listener, and of a server with the library's own choices."""

    listener: dict[str, Any]
    other: dict[str, Any]


@pytest.fixture(scope="session")
def verdict(stand: Stand) -> Verdict:
    if not JUDGE.exists() and os.environ.get("CI") != "true":
        pytest.skip("not run: sslyze - make .venv-sslyze/.ready")
    assert JUDGE.exists(), "make .venv-sslyze/.ready"
    root = stand.world.base / "root.pem"
    root.write_text(gw.pem(stand.world.authorities.root))
    context = stand.far_context(stand.world.certificate, label="ours")
    context.verify_mode = ssl.CERT_NONE
    ports = [stand.world.ingress, stand.world.dip]
    asked = {
        "ports": ports,
        "server_name": gw.OURS,
        "root": str(root),
        "profiles": {"intermediate": None, "policy": policy_profile()},
    }
    with stand.other_far_end(context):
        done = subprocess.run(
            [JUDGE, SCAN],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return Verdict(*(said[str(port)] for port in ports))


def test_a_listener_meets_mozillas_intermediate_profile(verdict: Verdict) -> None:
    assert verdict.listener["intermediate"] == []


def test_a_listener_meets_a_profile_made_of_the_policy(verdict: Verdict) -> None:
    assert verdict.listener["policy"] == []


def test_a_listener_takes_up_no_session_and_no_early_data(verdict: Verdict) -> None:
    assert verdict.listener["early_data"] is False
    resumption = verdict.listener["resumption"]
    assert not {"FULLY_SUPPORTED", "PARTIALLY_SUPPORTED"} & {*resumption.values()}, resumption


def test_the_judge_finds_what_a_server_offers_beyond_the_policy(verdict: Verdict) -> None:
    """Else its consent would say nothing: here a server offers what its library offers."""
    assert any("CHACHA20" in issue for issue in verdict.other["policy"])
    assert verdict.other["resumption"]["tickets"] == "FULLY_SUPPORTED"
