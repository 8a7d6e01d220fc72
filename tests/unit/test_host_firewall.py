# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of confirm-or-rollback that need no packet filter; the scenarios have one."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest
from pki_host import files, firewall, nft, programs
from pki_host.errors import HostError
from pki_host.firewall import Armed, Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(str(tmp_path / "etc"), str(tmp_path / "run"), str(tmp_path / "systemd"))


def unit(places: Places) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(places.boot_files("rules")[places.unit].decode())
    return parser


def test_stopping_the_unit_does_not_open_the_host(places: Places) -> None:
    assert not unit(places).has_option("Service", "ExecStop")


def test_the_rules_are_loaded_before_any_network_and_after_the_distribution_s(
    places: Places,
) -> None:
    section = unit(places)["Unit"]
    assert "network-pre.target" in section["Before"].split()
    assert section["Wants"] == "network-pre.target"
    assert section["After"] == section["PartOf"] == section["ReloadPropagatedFrom"]
    assert section["After"] == "nftables.service"


def test_the_unit_loads_the_file_that_confirming_writes(places: Places) -> None:
    service = unit(places)["Service"]
    assert service["ExecStart"].split()[1:] == ["-f", places.rules]
    assert service["ExecStart"] == service["ExecReload"]
    assert places.boot_files("rules")[places.rules] == b"rules"


def test_going_back_to_no_table_is_one_transaction_that_also_works_when_there_is_none() -> None:
    assert nft.restoring(None).splitlines() == ["table inet pki", "delete table inet pki"]
    assert nft.restoring("table inet pki {\n}\n").endswith("table inet pki {\n}\n")


def test_what_was_armed_is_read_back_as_it_was_written(places: Places) -> None:
    assert Armed.read(places) is None
    armed = Armed("d" * 64, 60, "table inet pki {\n}\n", "e" * 64)
    armed.write(places)
    assert Armed.read(places) == armed
    assert files.mode_of(places.armed) == files.PRIVATE


@pytest.mark.parametrize("text", ["", "{", "[]", '{"seconds": 1}', '{"other": 1}'])
def test_a_damaged_marker_is_refused_and_named(places: Places, text: str) -> None:
    files.write(places.armed, text.encode())
    with pytest.raises(HostError) as caught:
        Armed.read(places)
    assert caught.value.where == places.armed


def test_what_boots_the_rules_is_compared_byte_for_byte(places: Places) -> None:
    missing = firewall.look(places, "rules").boot
    assert len(missing) == 3
    for path, data in places.boot_files("rules").items():
        files.write(path, data, files.PUBLIC)
    (left,) = firewall.look(places, "rules").boot
    assert left == "pki-firewall.service is not enabled"
    assert f"{places.rules} is not as declared" in firewall.look(places, "others").boot


def test_a_check_creates_nothing(places: Places, tmp_path: Path) -> None:
    result = firewall.applied(places, "rules", 60, check=True)
    assert result["changed"]
    assert result["armed"]
    assert result["diff"]["after"] == "rules"
    assert firewall.confirmed(places, "rules", check=True)["changed"]
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_is_not_there_is_named(places: Places) -> None:
    assert programs.find("no-such-program") == ""
    with pytest.raises(HostError) as caught:
        programs.run("no-such-program")
    assert caught.value.where == "no-such-program"


def test_what_a_program_says_and_how_it_ends_is_kept() -> None:
    done = programs.run("sh", "-c", "echo out; echo one >&2; echo two >&2; exit 3")
    assert (done.code, done.output, done.told) == (3, "out\n", "one | two")
