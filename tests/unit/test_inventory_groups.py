# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of each group are those that Ansible sees, wherever they are written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pki import inventory_groups
from pki.errors import PkiError

WRITTEN: dict[str, tuple[str, dict[str, list[str]]]] = {
    "hosts of a group": (
        "all: {children: {gateways: {hosts: {gw1: , gw2: {ansible_host: 192.0.2.2}}}}}",
        {"all": ["gw1", "gw2"], "ungrouped": [], "gateways": ["gw1", "gw2"]},
    ),
    "hosts of no group": (
        "all: {hosts: {localhost: }, children: {gateways: {hosts: {gw1: }}}}",
        {"all": ["gw1", "localhost"], "ungrouped": ["localhost"], "gateways": ["gw1"]},
    ),
    "groups of groups": (
        "all: {children: {edge: {children: {north: {hosts: {n1: }}, south: {hosts: {s1: , n1: }}},"
        " hosts: {e1: }}}}",
        {
            "all": ["e1", "n1", "s1"],
            "ungrouped": [],
            "edge": ["e1", "n1", "s1"],
            "north": ["n1"],
            "south": ["n1", "s1"],
        },
    ),
    "a group that is written in two places": (
        "all: {children: {edge: {children: {north: }}}}\nnorth: {hosts: {n1: }}",
        {"all": ["n1"], "ungrouped": [], "edge": ["n1"], "north": ["n1"]},
    ),
    "groups beside all": (
        "north: {hosts: {n1: }}\nall: {hosts: {lone: }, vars: {x: '{{ y }}'}}",
        {"all": ["lone", "n1"], "ungrouped": ["lone"], "north": ["n1"]},
    ),
    "groups without hosts": (
        "all: {children: {empty: , also: {hosts: }}}",
        {"all": [], "ungrouped": [], "empty": [], "also": []},
    ),
    "a group of two parents": (
        "all: {children: {a: {children: {c: {hosts: {h1: }}}}, b: {children: {c: }}}}",
        {"all": ["h1"], "ungrouped": [], "a": ["h1"], "b": ["h1"], "c": ["h1"]},
    ),
    "hosts that are said to be ungrouped": (
        "ungrouped: {hosts: {lone: }}\nall: {children: {a: {hosts: {h1: }}}}",
        {"all": ["h1", "lone"], "ungrouped": ["lone"], "a": ["h1"]},
    ),
}


def groups(text: str) -> dict[str, list[str]]:
    found = inventory_groups.of(yaml.safe_load(text))
    return {name: sorted(hosts) for name, hosts in found.items()}


@pytest.mark.parametrize("case", WRITTEN)
def test_groups_have(case: str) -> None:
    text, wanted = WRITTEN[case]
    assert groups(text) == wanted


def test_ansible_sees_the_same_groups(tmp_path: Path) -> None:
    """One process for all cases: each inventory's groups go below a group of their own."""
    program = (
        "import json, sys\n"
        "from ansible.inventory.manager import InventoryManager\n"
        "from ansible.parsing.dataloader import DataLoader\n"
        "told = [InventoryManager(DataLoader(), [one]).get_groups_dict() for one in sys.argv[1:]]\n"
        "print(json.dumps(told))\n"
    )
    paths = []
    for number, (text, _) in enumerate(WRITTEN.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "hosts.yml").write_text(text)
        paths.append(str(folder / "hosts.yml"))
    ran = subprocess.run(
        [sys.executable, "-c", program, *paths],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    for (case, (_, wanted)), told in zip(
        WRITTEN.items(), json.loads(ran.stdout.splitlines()[-1]), strict=True
    ):
        seen = {name: sorted(hosts) for name, hosts in told.items()}
        assert seen == wanted, case


BROKEN: dict[str, tuple[str, str]] = {
    "a list": ("[gw1, gw2]", "list"),
    "a word": ("gateways", "str"),
    "a list of hosts": ("all: {hosts: [gw1, gw2]}", "list"),
    "children in a list": ("all: {children: [gateways]}", "list"),
    "a host that is a number": ("all: {hosts: {42: }}", "dict"),
    "a range": ("all: {children: {gateways: {hosts: {'gw[1:3]': }}}}", "gw[1:3]"),
    "a group that is its own child": (
        "all: {children: {a: {children: {b: {children: {a: }}}}}}",
        "a > b > a",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_refused_with_what_was_found(case: str) -> None:
    text, found = BROKEN[case]
    with pytest.raises(PkiError) as caught:
        groups(text)
    error = caught.value
    assert error.rule == "INVENTORY-FILE"
    assert found in error.found
    assert error.where.startswith("hosts.yml")
    assert "verify.yml" in error.next_step


def refused(folder: Path) -> PkiError:
    with pytest.raises(PkiError) as caught:
        inventory_groups.read(folder)
    return caught.value


@pytest.mark.parametrize("name", ["hosts.yml", "hosts.yaml"])
def test_the_file_beside_the_variables_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("all: {children: {gateways: {hosts: {gw1: }}}}\n")
    assert inventory_groups.read(tmp_path)["gateways"] == ("gw1",)


def test_without_a_file_and_with_two_it_is_said_which(tmp_path: Path) -> None:
    assert refused(tmp_path).found == "no such file"
    for name in inventory_groups.NAMES:
        (tmp_path / name).write_text("all: {}\n")
    assert refused(tmp_path).found == "hosts.yml and hosts.yaml"


def test_text_that_is_no_yaml_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all:\n  hosts: {gw1: , gw1: }\n")
    assert refused(tmp_path).where == f"{tmp_path}/hosts.yml:2"
    (tmp_path / "hosts.yml").write_bytes(b"all: \xff\n")
    assert refused(tmp_path).where == f"{tmp_path}/hosts.yml"


NAMES = st.sampled_from(["a", "b", "c", "all", "ungrouped"])
TREES = st.recursive(
    st.none() | st.text(max_size=3) | st.integers(),
    lambda inner: st.dictionaries(
        NAMES | st.sampled_from(["hosts", "children", "vars"]), inner, max_size=4
    ),
    max_leaves=30,
)


@given(TREES)
def test_whatever_is_written_ends_in_groups_or_in_words(tree: object) -> None:
    try:
        found = inventory_groups.of(tree)
    except PkiError:
        return
    every = {host for hosts in found.values() for host in hosts}
    assert set(found["all"]) == every
