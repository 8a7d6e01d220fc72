# SPDX-License-Identifier: GPL-3.0-or-later
"""A renewal beside what is in service, on a real OpenBao: nothing of the live one is touched."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from integration.openbao_server import SIGNING_MOUNT, TLS_MOUNT, OpenBao
from integration.test_held_deployment import HeldWorld, of_host
from unit.controller_world import tree

pytestmark = pytest.mark.integration


class EditedWorld(HeldWorld):
    """An entry that is edited after its certificate came into service."""

    edits: dict[str, Any]

    def __init__(self, *arguments: Any) -> None:
        self.edits = {}
        super().__init__(*arguments)

    def parameters(self) -> dict[str, Any]:
        found = super().parameters()
        found["certificates"][0].update(self.edits)
        return found

    def key_versions(self, mount: str) -> dict[int, str]:
        """SHA-256 of the public key of every version."""
        with self.openbao.client("pipeline") as client:
            data = client.read(f"{mount}/keys/{self.name}")
        return {
            int(number): sha256(
                serialization.load_pem_public_key(version["public_key"].encode()).public_bytes(
                    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
                )
            ).hexdigest()
            for number, version in (data or {"keys": {}})["keys"].items()
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao) -> EditedWorld:
    made = EditedWorld(tmp_path_factory.mktemp("beside"), openbao)
    first = made.run()
    assert first.code == 0, first.output
    made.switch("gw1", "v1")
    return made


def test_a_renewal_leaves_key_request_certificate_and_release_in_service_as_they_are(
    world: EditedWorld,
) -> None:
    """The next key is for signing only: another mount, where the version has to be the second."""
    live, served = tree(world.version(1)), tree(world.root_of("gw1"))
    keys = world.key_versions(TLS_MOUNT)
    others = set(world.key_versions(SIGNING_MOUNT))
    world.edits = {"purposes": ["signing"]}
    ran = world.run()
    assert ran.code == 0, ran.output
    assert "purposes mtls, signing -> signing" in ran.output
    assert (world.version(2) / "request.csr").exists()
    assert "mount: transit-nonprod-signing" in (world.version(2) / "request.yml").read_text()
    # A store that counts from one makes the version before, too, and nobody uses it.
    assert set(world.key_versions(SIGNING_MOUNT)) - others == {1, 2}
    assert tree(world.version(1)) == live
    assert tree(world.root_of("gw1")) == served
    assert world.key_versions(TLS_MOUNT) == keys

    # The second run finds the request open and makes nothing, here or there.
    made, signing = tree(world.version(2)), world.key_versions(SIGNING_MOUNT)
    again = world.run()
    assert again.code == 0, again.output
    for host in ("localhost", "gw1", "gw2"):
        assert "changed=0" in of_host(again, host)
    assert tree(world.version(2)) == made
    assert world.key_versions(SIGNING_MOUNT) == signing

    # An edit of the edit while the request is open: the request stands, and a person is asked.
    world.edits = {}
    ran = world.run()
    assert ran.code == 0, ran.output
    assert "outcome=withdrawn" in ran.output
    assert tree(world.version(2)) == made
    assert tree(world.version(1)) == live
    assert tree(world.root_of("gw1")) == served
