# SPDX-License-Identifier: GPL-3.0-or-later
"""Drills with shares of an unseal key, and of a cluster's snapshot: real servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from integration.backup_world import PROGRAM, ShamirBao, ShamirDesk
from integration.openbao_server import TLS_MOUNT, write_secret
from integration.vault_cluster import cluster
from pki import drill_run, scratch_server, snapshot_archive
from pki.drill import Looked
from pki.vault import Client, Settings
from pki.vault_snapshots import SnapshotClient
from unit import controller_world

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def site() -> Iterator[controller_world.Web]:
    with controller_world.web() as web:
        yield web


@pytest.fixture(scope="module")
def desk(
    tmp_path_factory: pytest.TempPathFactory, site: controller_world.Web
) -> Iterator[ShamirDesk]:
    server = ShamirBao(tmp_path_factory.mktemp("shamir-server"))
    server.prepare()
    try:
        server.start()
        made = ShamirDesk(tmp_path_factory.mktemp("shamir"), server, site)
        made.make_key(made.name)
        made.backup()
        yield made
    finally:
        server.kill()


def test_enough_shares_open_the_restored_server(desk: ShamirDesk) -> None:
    (path,) = desk.snapshots()
    done = desk.drill(path)
    assert "1 of 1 keys are in the snapshot" in " ".join(done.output.split()), done.output
    assert desk.events()[-1].said["seal"] == "shamir"


@pytest.mark.parametrize("what", ["one of two", "others"])
def test_too_few_shares_or_those_of_another_key_are_told(
    desk: ShamirDesk, tmp_path: Path, what: str
) -> None:
    files = [str(desk.openbao.directory / "share-0")]
    if what == "others":
        files = []
        for number in range(2):
            write_secret(tmp_path / f"share-{number}", bytes([65 + number]) * 44)
            files.append(str(tmp_path / f"share-{number}"))
    values = tmp_path / "values.yml"
    values.write_text(yaml.safe_dump({"backup_unseal_key_files": files}))
    (path,) = desk.snapshots()
    failed = desk.drill(path, "-e", f"@{values}", code=2)
    assert "DRILL-SEAL" in failed.output, failed.output
    if what == "one of two":
        assert "1 of 2 shares" in " ".join(failed.output.split())
    assert not desk.events()[-1].said["passed"]


def test_a_snapshot_of_a_cluster_becomes_a_server_that_looks_for_nobody(tmp_path: Path) -> None:
    """The snapshot names the cluster's nodes; the restored server must not know them."""
    (tmp_path / "cluster").mkdir()
    path = tmp_path / "one.snap"
    with cluster(tmp_path / "cluster") as made:
        nodes = made.nodes
        with nodes[0].client("operator") as client:
            client.write(f"{TLS_MOUNT}/keys/of-a-cluster", {"type": "rsa-2048"})
        settings = made.settings("backup", [made.leader()])
        with SnapshotClient(settings) as client, path.open("wb") as file:
            client.download(file, 1 << 24)
        key = (nodes[0].directory / "unseal.key").read_bytes()
        login = nodes[0].options("operator")
    assert snapshot_archive.inspect(path, 1 << 24).raft_index > 0

    def look(options: Mapping[str, str]) -> Looked:
        with Client(Settings.resolve({**login, **options}, {})) as client:
            told = client.read("sys/storage/raft/configuration") or {}
            names = client.list(f"{TLS_MOUNT}/keys")
        servers = [str(one["address"]) for one in told["config"]["servers"]]
        return Looked(0, 0, (), (*servers, *names), "", 0)

    program = scratch_server.open_program(PROGRAM, "")
    seal = scratch_server.Seal(scratch_server.STATIC, (key,), "tests-1")
    outcome = drill_run.run(tmp_path / "drills", program, seal, path, look)
    assert outcome.error is None, outcome.error
    assert outcome.looked is not None
    assert outcome.looked.notes == ("127.0.0.1:8201", "of-a-cluster")
