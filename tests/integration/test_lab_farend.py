# SPDX-License-Identifier: GPL-3.0-or-later
"""The far end of the lab: what the other side of the gateway says, and to whom."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from pki import probe

if TYPE_CHECKING:
    from integration.lab_fixture import Lab

pytestmark = [pytest.mark.integration, pytest.mark.lab]
pytest_plugins = ("integration.lab_plugin",)

ENDPOINTS = {
    "dip": "dip-server",
    "dip_wrong_name": "dip-wrong-name",
    "dip_revoked": "dip-revoked",
    "dip_expired": "dip-expired",
}
NAME = "api.nonprod.dip.example"


def serial(lab: Lab, peer: str) -> int:
    """Serial number of a peer's certificate on disk."""
    content = (lab.home / f"peers/{peer}/certificate.pem").read_bytes()
    return x509.load_pem_x509_certificate(content).serial_number


def identity(lab: Lab, peer: str) -> probe.ClientIdentity:
    home = lab.home / "peers" / peer
    return probe.ClientIdentity(str(home / "fullchain.pem"), str(home / "key.pem"))


@pytest.mark.parametrize(("port", "peer"), ENDPOINTS.items())
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_dip_endpoint_shows_its_peer_and_says_who_called(
    lab: Lab, port: str, peer: str, version: str
) -> None:
    seen = probe.connect(
        "127.0.0.1",
        lab.port(port),
        server_name=NAME,
        client=identity(lab, "dip-client"),
        minimum=version,
        maximum=version,
    )
    assert (seen.protocol, seen.http_status) == (version, 200)
    assert int(seen.peer_serial or "", 16) == serial(lab, peer)
    answer = json.loads(seen.body)
    assert answer["endpoint"] == peer
    assert answer["client_verify"] == "SUCCESS"
    assert int(answer["client_serial"], 16) == serial(lab, "dip-client")
    assert "CN=energydip-nonprod.dip.example" in answer["client_dn"]


@pytest.mark.parametrize("client", [None, "foreign", "expired"])
@pytest.mark.parametrize("port", ENDPOINTS)
def test_a_dip_endpoint_refuses_a_caller_without_a_valid_certificate_of_the_root(
    lab: Lab, port: str, client: str | None
) -> None:
    caller = identity(lab, client) if client else None
    seen = probe.connect("127.0.0.1", lab.port(port), server_name=NAME, client=caller)
    assert seen.http_status == 400


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1.1"])
def test_the_control_server_speaks_the_old_versions(lab: Lab, version: str) -> None:
    seen = probe.connect(
        "127.0.0.1",
        lab.port("control"),
        server_name=NAME,
        minimum=version,
        maximum=version,
        legacy=True,
    )
    assert (seen.protocol, seen.http_status) == (version, 200)


def test_the_control_server_speaks_nothing_newer(lab: Lab) -> None:
    seen = probe.connect("127.0.0.1", lab.port("control"), server_name=NAME, minimum="TLSv1.2")
    assert seen.reached
    assert seen.http_status is None


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("CN=energydip-nonprod.dip.example,C=GB", "CN=energydip-nonprod.dip.example,C=GB"),
        ('O="quoted",CN=x', "(not shown: needs escaping)"),
        (r"O=a\,b,CN=x", "(not shown: needs escaping)"),
    ],
)
def test_the_application_shows_what_the_gateway_told_it_as_json(
    lab: Lab, sent: str, shown: str
) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{lab.port('app')}/", headers={"X-Client-DN": sent}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as response:
        answer = json.load(response)
    assert answer["endpoint"] == "app"
    assert answer["x_client_dn"] == shown
