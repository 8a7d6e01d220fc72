# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory is read as it is written, with the line of every entry, or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pki import inventory_files
from pki.errors import PkiError
from pki.inventory_files import InventoryFiles, read
from pki.policy import Place
from unit.controller_world import NAME, OTHER, TRUST, World, certificate_entry, whole
from unit.inventory_on_disk import variable_file, variables, write

GATEWAYS_TEXT = """\
---
gateway_service: "{{ daemon }}"
gateways:
  - name: dip-gateway
    product: example
    ingress:
      - name: dip-webhook
        listen: 0.0.0.0:443
    egress:
      - name: dip-api
        listen: 127.0.0.1:8443
"""
EVIDENCE_TEXT = """\
evidence:
  - {id: DIP-2.2-RISK, date: 2026-03-01}
  - id: DIP-2.3-DPIA
    date: "2026-03-02"
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "inventories" / "nonprod"
    base.mkdir(parents=True)
    return World(base, certificates=[certificate_entry(), certificate_entry(OTHER)])


def refused(inventory: Path) -> PkiError:
    with pytest.raises(PkiError) as caught:
        read(inventory)
    return whole(caught.value)


def test_the_values_are_those_that_ansible_would_read(world: World) -> None:
    write(world)
    files = read(world.base)
    assert files.values == variables(world)
    assert files.evidence is None


def test_every_entry_has_a_file_below_the_working_directory_and_a_line(world: World) -> None:
    write(world)
    variable_file(world, "gateways").write_text(GATEWAYS_TEXT)
    (world.base / "evidence.yml").write_text(EVIDENCE_TEXT)
    places = read(world.base).places
    folder = "inventories/nonprod/group_vars/all"

    def line_of(name: str, text: str) -> int:
        lines = variable_file(world, name).read_text().splitlines()
        return lines.index(text) + 1

    assert places["organisations", "example-energy"] == Place(f"{folder}/organisations.yml", 4)
    assert places["certificates", OTHER] == Place(
        f"{folder}/certificates.yml", line_of("certificates", f"- name: {OTHER}")
    )
    assert places["certificates", NAME].line < places["certificates", OTHER].line
    assert places["trust", TRUST] == Place(f"{folder}/trust.yml", 4)
    assert places["gateways", "dip-gateway"] == Place(f"{folder}/gateways.yml", 4)
    assert places["listeners", "dip-gateway/dip-webhook"] == Place(f"{folder}/gateways.yml", 7)
    assert places["listeners", "dip-gateway/dip-api"] == Place(f"{folder}/gateways.yml", 10)
    assert places["evidence", "DIP-2.2-RISK"] == Place("inventories/nonprod/evidence.yml", 2)
    assert places["evidence", "DIP-2.3-DPIA"] == Place("inventories/nonprod/evidence.yml", 3)
    assert places["files", "certificates"].file == f"{folder}/certificates.yml"


def test_other_variables_of_a_file_may_be_templates(world: World) -> None:
    write(world)
    variable_file(world, "gateways").write_text(GATEWAYS_TEXT)
    assert [entry["name"] for entry in read(world.base).values["gateways"]] == ["dip-gateway"]


def test_a_date_stays_text(world: World) -> None:
    write(world)
    (world.base / "evidence.yml").write_text(EVIDENCE_TEXT)
    assert read(world.base).evidence["evidence"][0]["date"] == "2026-03-01"


def test_the_long_suffix_is_as_good(world: World) -> None:
    write(world)
    file = variable_file(world, "trust")
    file.rename(file.with_suffix(".yaml"))
    assert read(world.base).places["trust", TRUST].file.endswith("trust.yaml")


@pytest.mark.parametrize("text", ["{{ name }}", "x{% if y %}", "{# nothing #}"])
def test_a_template_is_refused_with_its_line_and_leads_to_the_live_check(
    world: World, text: str
) -> None:
    write(world, certificates=[certificate_entry(), certificate_entry(OTHER, domain=text)])
    error = refused(world.base)
    assert error.rule == "INVENTORY-TEMPLATED"
    assert error.found == text
    file, line = error.where.rsplit(":", 1)
    assert text in Path(file).read_text().splitlines()[int(line) - 1]
    assert "playbooks/verify.yml" in error.next_step


def test_a_template_in_a_key_is_one_too(world: World) -> None:
    write(world, organisations={"{{ who }}": world.organisation})
    assert refused(world.base).rule == "INVENTORY-TEMPLATED"


def remove(world: World) -> None:
    variable_file(world, "trust").unlink()


def twice(world: World) -> None:
    variable_file(world, "trust").with_suffix(".yaml").write_text("trust: {}")


def elsewhere(world: World) -> None:
    folder = world.base / "group_vars" / "all" / "deep"
    folder.mkdir()
    (folder / "zz.yml").write_text("other: 1\ncertificates: []\n")


def another_variable(world: World) -> None:
    variable_file(world, "trust").write_text("trusts: {}\n")


def a_list(world: World) -> None:
    variable_file(world, "trust").write_text("- trust\n")


def twice_a_key(world: World) -> None:
    variable_file(world, "trust").write_text("trust: {}\ntrust: {}\n")


def an_alias(world: World) -> None:
    variable_file(world, "trust").write_text("a: &a [1]\ntrust: *a\n")


def a_tag(world: World) -> None:
    variable_file(world, "trust").write_text("trust: !vault secret\n")


def not_text(world: World) -> None:
    variable_file(world, "trust").write_bytes(b"trust: \xff\n")


def a_directory(world: World) -> None:
    variable_file(world, "trust").unlink()
    variable_file(world, "trust").mkdir()


@pytest.mark.parametrize(
    ("spoil", "found", "where"),
    [
        (remove, "no file", "trust.yml"),
        (twice, "trust.yml and trust.yaml", "trust.yml"),
        (elsewhere, "zz.yml sets certificates", "zz.yml:2"),
        (another_variable, "trusts", "trust.yml"),
        (a_list, "list", "trust.yml"),
        (twice_a_key, "the key trust twice", "trust.yml:2"),
        (an_alias, "an alias", "trust.yml:2"),
        (a_tag, "the tag !vault", "trust.yml:1"),
        (not_text, "not UTF-8", "trust.yml"),
        (a_directory, "s a directory", "trust.yml"),
    ],
)
def test_a_file_that_ansible_might_read_otherwise_is_refused(
    world: World, spoil: Callable[[World], None], found: str, where: str
) -> None:
    write(world)
    spoil(world)
    error = refused(world.base)
    assert error.rule == "INVENTORY-FILE"
    assert found in error.found
    assert error.where.endswith(where)


def test_a_directory_that_is_none_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "missing").where == str(tmp_path / "missing")


def test_a_live_run_gets_the_places_though_values_are_templates(world: World) -> None:
    write(world, trust={TRUST: {"anchors": "{{ record.anchors }}"}})
    variable_file(world, "gateways").write_text(GATEWAYS_TEXT)
    (world.base / "evidence.yml").write_text(EVIDENCE_TEXT)
    variable_file(world, "organisations").write_text("organisations: {a: &x 1, b: *x}")
    known = inventory_files.places(world.base)
    assert known["trust", TRUST].line == 4
    assert known["listeners", "dip-gateway/dip-api"].line == 10
    assert known["evidence", "DIP-2.2-RISK"].line == 2
    assert not [key for key in known if "organisations" in key]
    assert inventory_files.places(world.base / "missing") == {}


def test_two_hundred_certificates_are_read_in_well_under_a_second(world: World) -> None:
    write(world, certificates=[certificate_entry(f"c{number}") for number in range(200)])
    before = time.process_time()
    files: InventoryFiles = read(world.base)
    assert time.process_time() - before < 0.5
    assert len(files.values["certificates"]) == 200


def test_a_place_outside_the_working_directory_is_named_whole(tmp_path: Path) -> None:
    assert inventory_files.relative(tmp_path / "x.yml") == str(tmp_path / "x.yml")
