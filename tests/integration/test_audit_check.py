# SPDX-License-Identifier: GPL-3.0-or-later
"""Deliveries followed in the audit log of a real OpenBao: the host's own, and every theft."""

from __future__ import annotations

import http.client
import json
import secrets
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from integration.openbao_server import KV_MOUNT, TLS_MOUNT, OpenBao
from pki.documents import Validators
from pki.facts import deliveries
from pki.facts.scene import Scene
from pki.policy import Outcome
from pki.policy_files import load_fact_schemas
from pki_host import audit_log, unwrap
from pki_host.errors import HostError
from unit.controller_world import REPOSITORY, TRUST, World, certificate_entry, policies

pytestmark = pytest.mark.integration

HOST, THIEF = "127.0.0.1", "127.0.0.2"
VALIDATORS = Validators(load_fact_schemas(REPOSITORY / "policies"))


@dataclass
class Site:
    """One certificate with a key, one host, and whoever else reaches the key server."""

    world: World
    openbao: OpenBao
    name: str
    gateways: Any = None
    #: Rules that say something: all of them, where hosts hold the secret.
    judged: ClassVar[int] = 7

    @property
    def label(self) -> str:
        """How the object is called in the facts."""
        return f"{self.name} v1"

    @property
    def path(self) -> str:
        return f"{TLS_MOUNT}/export/signing-key/{self.name}/1"

    def wrap(self, role: str = "release", ttl: int = 60) -> str:
        with self.openbao.client(role) as client:
            return client.wrap(self.path, ttl).token

    def deliver(self, token: str) -> bytes:
        """As the host unwraps."""
        ca = self.openbao.ca_cert.read_text()
        return unwrap.unwrap_key(unwrap.VaultAddress(self.openbao.address, ca), token, self.path)

    def call(self, path: str, token: str, address: str, body: dict[str, str] | None = None) -> int:
        """A call from another address of this machine."""
        context = ssl.create_default_context(cafile=str(self.openbao.ca_cert))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.openbao.port, context=context, source_address=(address, 0)
        )
        try:
            headers = {"X-Vault-Token": token, "Content-Type": "application/json"}
            connection.request("POST", f"/v1/{path}", json.dumps(body or {}), headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    def clear(self) -> None:
        """As nobody but an operator may."""
        with self.openbao.client("operator") as client:
            client.read(self.path)

    def failing(self, **audit: Any) -> dict[str, str]:
        """What the check finds of this key: rule and what was found."""
        look = audit_log.look([str(self.openbao.audit_log)]).as_result()
        given = {"look": look, "roles": ["release"], "addresses": {"gw1": [HOST]}, **audit}
        release = {"certificate": self.name, "release": "v1-00", "key": {"mode": "0600"}}
        scene = Scene(
            inputs=self.world.inputs(),
            scope="live",
            name="tests",
            hosts={"gw1": {"groups": ["gateways"], "releases": [release]}},
            audit=given,
            gateways=self.gateways,
        )
        seen = deliveries.collect(scene)
        (document,) = [one for one in seen.documents if one.object == self.label]
        assert document.key in {one.key for one in seen.declarations}
        assert VALIDATORS.fault("delivery", document.facts) == ""
        findings = policies()["mhhs-dip"].judge("delivery", document.facts)
        assert len(findings) == self.judged
        return {
            one.rule.removeprefix("DIP-3.6.1-DELIVERY-"): one.found
            for one in findings
            if one.outcome is not Outcome.PASSED
        }


@pytest.fixture
def site(tmp_path: Path, openbao: OpenBao) -> Site:
    name = f"dip-{secrets.token_hex(4)}"
    with openbao.client("pipeline") as client:
        body = {"type": "rsa-2048", "exportable": True}
        client.write(f"{TLS_MOUNT}/keys/{name}", body)
    return Site(World(tmp_path, certificates=[certificate_entry(name)]), openbao, name)


def test_a_delivery_to_its_host_is_clean(site: Site) -> None:
    site.deliver(site.wrap())
    assert site.failing() == {}


def test_a_thief_who_was_faster_is_named_although_the_host_only_sees_a_used_token(
    site: Site,
) -> None:
    token = site.wrap()
    assert site.call("sys/wrapping/unwrap", token, THIEF) == 200
    with pytest.raises(HostError) as caught:
        site.deliver(token)
    assert caught.value.rule == "VAULT-WRAP-USED"
    found = site.failing()
    assert set(found) == {"HOST", "ONCE"}
    assert THIEF in found["HOST"]
    assert "refused" in found["ONCE"]


def test_a_thief_who_wraps_the_answer_again_is_seen_although_the_host_got_its_key(
    site: Site,
) -> None:
    """A successful unwrapping proves nothing: here the host unwraps what the thief has seen."""
    token = site.wrap()
    with site.openbao.client("operator") as client:
        client.write("sys/wrapping/rewrap", {"token": token})
    found = site.failing()
    assert "rewrap from" in found["ONCE"]
    assert "wraps another one anew" in found["ONCE"]
    assert "operator" in found["ROLE"]


def test_a_token_that_ended_on_its_way_is_told_apart_from_one_that_was_taken(site: Site) -> None:
    token = site.wrap(ttl=1)
    time.sleep(2)
    assert site.call("sys/wrapping/unwrap", token, HOST) == 400
    found = site.failing()
    assert set(found) == {"ONCE", "UNUSED"}
    assert "taken []" in found["ONCE"]


@pytest.mark.parametrize(
    ("theft", "rules"),
    [
        (lambda site: site.wrap("operator"), {"ROLE"}),
        (lambda site: site.clear(), {"CLEAR"}),
    ],
)
def test_an_export_by_somebody_else_is_found(
    site: Site, theft: Callable[[Site], object], rules: set[str]
) -> None:
    site.deliver(site.wrap())
    theft(site)
    assert rules <= set(site.failing()) <= {*rules, "UNUSED"}


def test_two_deliveries_to_one_holder_are_told(site: Site) -> None:
    for _ in range(2):
        site.deliver(site.wrap())
    assert set(site.failing()) == {"COUNT"}


def test_hosts_whose_addresses_nobody_knows_are_not_taken_for_right(site: Site) -> None:
    site.deliver(site.wrap())
    assert set(site.failing(addresses={})) == {"HOST"}


# -- API keys, which are no certificate's ------------------------------------------------------


class ApiKeySite(Site):
    """The same with an API key that the gateway of one host sends; holders are not counted."""

    judged: ClassVar[int] = 6

    @property
    def label(self) -> str:
        return f"API key {self.name}"

    @property
    def path(self) -> str:
        return f"{KV_MOUNT}/data/api-keys/{self.name}"

    def deliver(self, token: str) -> bytes:
        ca = self.openbao.ca_cert.read_text()
        vault = unwrap.VaultAddress(self.openbao.address, ca)
        fields, _ = unwrap.unwrap_entry(vault, token, self.path)
        return str(fields["key"]).encode()


@pytest.fixture
def sending(tmp_path: Path, openbao: OpenBao) -> ApiKeySite:
    name = f"dip-{secrets.token_hex(4)}"
    with openbao.client("operator") as client:
        body = {"data": {"key": secrets.token_hex(24)}}
        client.write(f"{KV_MOUNT}/data/api-keys/{name}", body)
    egress = {
        "name": "api",
        "listen": "127.0.0.1:18080",
        "certificate": "dip-nonprod",
        "trust": TRUST,
        "upstream": {"host": "api.dip.example", "address": "192.0.2.1", "port": 443},
        "dip_id": "1000",
        "api_key": name,
    }
    gateway = {"name": "dip", "product": "nginx", "hosts": "gateways", "egress": [egress]}
    world = World(tmp_path, certificates=[certificate_entry("dip-nonprod")])
    return ApiKeySite(world, openbao, name, [gateway])


def test_an_api_key_that_came_to_the_host_that_sends_it_is_clean(sending: ApiKeySite) -> None:
    for _ in range(2):  # another version, perhaps: a path has them all
        sending.deliver(sending.wrap())
    assert sending.failing() == {}


def test_a_thief_of_an_api_key_is_named(sending: ApiKeySite) -> None:
    token = sending.wrap()
    assert sending.call("sys/wrapping/unwrap", token, THIEF) == 200
    with pytest.raises(HostError) as caught:
        sending.deliver(token)
    assert caught.value.rule == "VAULT-WRAP-USED"
    sending.clear()
    found = sending.failing()
    assert set(found) == {"HOST", "ONCE", "CLEAR"}
    assert THIEF in found["HOST"]


def test_an_api_key_that_no_gateway_sends_is_an_unknown_secret(
    sending: ApiKeySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending.deliver(sending.wrap())
    sending.gateways[0]["egress"][0]["api_key"] = "dip-other"
    monkeypatch.setattr(ApiKeySite, "label", sending.path)
    assert {"KNOWN", "HOST"} == set(sending.failing())
