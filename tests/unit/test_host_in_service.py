# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host tells of its gateways besides their releases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pki_host import files, in_service
from pki_host.undo import DIRECTORY, RECORD


def open_change(home: Path, content: str) -> None:
    files.write(str(home / DIRECTORY / RECORD), content.encode())


def test_a_gateway_whose_change_was_interrupted_is_told_so_and_no_other(tmp_path: Path) -> None:
    for name in ("dip", "mesh"):
        files.write(str(tmp_path / name / "applied.json"), b"{}")
    open_change(tmp_path, json.dumps({"gateways": {"dip": {"files": {}, "links": {}}}}))
    told = {one["name"]: one["interrupted"] for one in in_service.gateways(str(tmp_path))}
    assert told == {"dip": True, "mesh": False}


def test_a_gateway_whose_very_first_change_was_interrupted_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "dip").mkdir()
    assert in_service.gateways(str(tmp_path)) == []
    open_change(tmp_path, json.dumps({"gateways": {"dip": {"files": {}, "links": {}}}}))
    (told,) = in_service.gateways(str(tmp_path))
    assert (told["name"], told["interrupted"]) == ("dip", True)


@pytest.mark.parametrize("content", ["", "{}", "[1]"])
def test_a_record_that_cannot_be_read_is_no_finished_change(tmp_path: Path, content: str) -> None:
    files.write(str(tmp_path / "dip/applied.json"), b"{}")
    open_change(tmp_path, content)
    (told,) = in_service.gateways(str(tmp_path))
    assert told["interrupted"]
