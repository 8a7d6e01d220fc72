# SPDX-License-Identifier: GPL-3.0-or-later
"""Three OpenBao nodes on loopback that elect a leader, share one seal key, and can be killed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from integration.openbao_server import OpenBao
from pki.errors import PkiError
from pki.vault import Client, Settings

SHARED = ("ca.pem", "server.pem", "server.key", "unseal.key")
START_SECONDS = 90.0


@dataclass
class Cluster:
    """``nodes`` are in no order: which of them leads is :meth:`leader`'s answer."""

    nodes: list[OpenBao]

    @property
    def addresses(self) -> str:
        return ",".join(node.address for node in self.nodes)

    def settings(self, role: str, nodes: list[OpenBao], **changes: object) -> Settings:
        """Settings of a client that knows only these nodes; the credentials are the cluster's."""
        address = ",".join(node.address for node in nodes)
        options = {**self.nodes[0].options(role), "address": address}
        return replace(Settings.resolve(options, {}), **changes)  # type: ignore[arg-type]

    def health(self, node: OpenBao) -> dict[str, object]:
        """A node's own word; {} when it does not answer."""
        with Client(self.settings("pipeline", [node], patience=0.0, timeout=5.0)) as client:
            try:
                return client.health()
            except PkiError:
                return {}

    def leader(self) -> OpenBao:
        """The active node, as soon as there is one."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for node in self.nodes:
                if node.process is not None and self.health(node).get("standby") is False:
                    return node
            time.sleep(0.1)
        raise RuntimeError("no node leads")

    def standbys(self) -> list[OpenBao]:
        leader = self.leader()
        return [one for one in self.nodes if one.process is not None and one is not leader]

    def wait_until_complete(self) -> None:
        """Every node has a vote: one that has just joined has none for some seconds, and two
        without a vote elect nobody."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.votes() == len(self.nodes):
                return
            time.sleep(0.2)
        raise RuntimeError("\n\n".join(node.last_log_lines() for node in self.nodes))

    def votes(self) -> int:
        with Client(self.settings("operator", self.nodes[:1])) as client:
            told = client.read("sys/storage/raft/configuration") or {}
        return sum(bool(server["voter"]) for server in told.get("config", {}).get("servers", ()))


@contextmanager
def cluster(base: Path) -> Iterator[Cluster]:
    """A cluster for the time of a block; whatever happens, no node outlives it."""
    folders = [base / f"node-{number}" for number in (1, 2, 3)]
    for folder in folders:
        folder.mkdir()
    nodes = [OpenBao(folder) for folder in folders]
    first = nodes[0]
    first.prepare()
    for follower in nodes[1:]:
        for name in SHARED:
            shutil.copy2(first.directory / name, follower.directory / name)
        (follower.directory / "data").mkdir()
        (follower.directory / "openbao.hcl").write_text(_following(follower, first))
        # The same roles have the same secrets everywhere: the cluster has one store.
        follower.environment = first.environment  # type: ignore[method-assign]
    made = Cluster(nodes)
    try:
        first.start()
        with first.client("operator") as client:
            # How long a node that joined is watched before it gets its vote; 10 s by default.
            settings = {"server_stabilization_time": "1s"}
            client.write("sys/storage/raft/autopilot/configuration", settings)
        for follower in nodes[1:]:
            follower.start(wait=False)
        made.wait_until_complete()
        yield made
    finally:
        for node in nodes:
            node.kill()


def _following(node: OpenBao, first: OpenBao) -> str:
    """A node's configuration that joins instead of making a store of its own.

    The audit device is the cluster's: a node that names another file for it never leads.
    """
    own, _initialise = node.configuration().split("initialize ", 1)
    own = own.replace(str(node.audit_log), str(first.audit_log))
    join = f"""  retry_join {{
    leader_api_addr = "{first.address}"
    leader_ca_cert_file = "{first.ca_cert}"
  }}
"""
    named = f'node_id = "{node.directory.name}"\n'
    return own.replace('node_id = "tests"\n', f"{named}{join}", 1)
