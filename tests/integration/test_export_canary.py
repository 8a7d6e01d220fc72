# SPDX-License-Identifier: GPL-3.0-or-later
"""A key that is handed out, its passphrase, and everything printed and kept on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.canary import Finding, Scanner, explain
from integration.export_world import ExportWorld
from integration.openbao_server import OpenBao
from unit import controller_world

pytestmark = pytest.mark.integration

LOUD = ("-vvvv", "--diff")


@pytest.fixture(scope="module")
def site() -> Iterator[controller_world.Web]:
    with controller_world.web() as web:
        yield web


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao, site: controller_world.Web
) -> ExportWorld:
    made = ExportWorld(tmp_path_factory.mktemp("canary"), openbao, site)
    made.accepted()
    return made


def processes(stop: threading.Event, scanner: Scanner, seen: list[Finding]) -> None:
    """Arguments and environment of every process that there is meanwhile."""
    while not stop.is_set():
        for name in ("cmdline", "environ"):
            for path in Path("/proc").glob(f"[0-9]*/{name}"):
                try:
                    seen += scanner.scan_text(path.read_bytes(), name)
                except OSError:
                    continue
        time.sleep(0.05)


def test_neither_key_nor_passphrase_is_told_by_a_run_that_works_or_fails(
    world: ExportWorld,
) -> None:
    scanner, seen = Scanner(), []
    scanner.add_key("key", world.key())
    stop = threading.Event()
    watch = threading.Thread(target=processes, args=(stop, scanner, seen))
    watch.start()
    printed = {}
    try:
        printed["exported"] = world.export(*LOUD).output
        settings = world.folder / "export_vault.yml"
        right = settings.read_text()
        settings.write_text(right.replace("export.", "pipeline."))
        printed["denied"] = world.export(*LOUD, code=2).output
        settings.write_text(right)
        blocked = world.home / "blocked"
        blocked.mkdir(mode=0o700)
        (blocked / "same.p12").write_text("somebody else's")
        printed["taken"] = world.export(*LOUD, code=2, destination=blocked, id="same").output
    finally:
        stop.set()
        watch.join()
    assert "VAULT-DENIED" in printed["denied"]
    assert "a file of that name" in printed["taken"]
    (export,) = world.exports()
    scanner.add_text("passphrase", world.passphrase(export))
    # The scanner does find what it looks for.
    assert scanner.scan_text(world.key(), "a test")
    assert scanner.scan_text(world.passphrase(export), "a test")
    seen += [one for name, text in printed.items() for one in scanner.scan_text(text, name)]
    seen += scanner.scan_tree(world.home)
    seen += scanner.scan_file(world.openbao.audit_log)
    assert not seen, explain(seen)
