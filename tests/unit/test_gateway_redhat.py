# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role would do on RHEL, as far as that can be known without one: rendered, and held to
the modules' own documentation. It is not run here."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import ansible.modules
import ansible_collections
import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from unit.controller_world import REPOSITORY

ROLE = REPOSITORY / "roles/gateway"
TASKS = yaml.safe_load((ROLE / "tasks/selinux.yml").read_text())
VARIABLES = {
    **yaml.safe_load((ROLE / "vars/main.yml").read_text()),
    "gateway_os_family": "RedHat",
    "gateway_users": {},
    # Read by lookups in the role.
    **yaml.safe_load((ROLE / "vars/RedHat.yml").read_text()),
    "__gateway_products": {
        name: yaml.safe_load((ROLE / f"vars/{name}.yml").read_text())["__gateway_product"]
        for name in ("nginx", "haproxy")
    },
    "gateway_release_root": "/etc/pki/mtls",
    "gateway_crl_cache_root": "/var/lib/pki-crl",
    "gateway_root": "/etc/pki/gate.way",
    "role_path": str(ROLE),
    "__gateway_product_names": ["nginx", "haproxy"],
    "__gateway_batch": {
        "gateways": [{"root": "/etc/pki/gate.way/dip", "probes": [{"port": 8443}, {"port": 9443}]}]
    },
}


def trusted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


def rendered(value: Any, **more: Any) -> Any:
    templar = Templar(DataLoader(), variables=trusted({**VARIABLES, **more}))
    return templar.template(trusted(value))


def module(task: dict[str, Any]) -> str:
    (name,) = (key for key in task if key.count(".") == 2)
    return str(name)


def options(name: str) -> dict[str, Any]:
    """The options of a module, from its documentation."""
    namespace, collection, plain = name.split(".")
    if namespace == "ansible" and collection == "builtin":
        path = Path(ansible.modules.__path__[0]) / f"{plain}.py"
    else:
        base = Path(next(iter(ansible_collections.__path__)))
        path = base / namespace / collection / "plugins/modules" / f"{plain}.py"
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION":
            documented = yaml.safe_load(ast.literal_eval(node.value))
            return dict(documented["options"])
    raise AssertionError(f"{name} has no documentation")


@pytest.mark.parametrize("task", TASKS, ids=module)
def test_every_argument_is_one_that_the_module_has(task: dict[str, Any]) -> None:
    known, given = options(module(task)), task[module(task)]
    shared = (
        {"setype", "mode"} if module(task) == "ansible.builtin.file" else set()
    )  # of a fragment
    assert set(given) <= set(known) | shared
    assert {name for name, about in known.items() if about.get("required")} <= set(given)
    for name, value in given.items():
        choices = known.get(name, {}).get("choices")
        assert not choices or value in choices


def labels() -> dict[str, str]:
    return {one["target"]: one["setype"] for one in rendered("{{ __gateway_labels }}")}


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/etc/pki/mtls/dip/current/fullchain.pem", "cert_t"),
        ("/var/lib/pki-crl/dip/current/crl.pem", "cert_t"),
        ("/etc/pki/gate.way/dip/nginx.conf", "cert_t"),
        ("/etc/pki/gate.way/dip/log", "httpd_log_t"),
        ("/etc/pki/gate.way/dip/log/access.log", "httpd_log_t"),
        ("/etc/pki/gate.way/dip/run/nginx.pid", "httpd_var_run_t"),
        ("/etc/pki/gate-way/dip/nginx.conf", ""),
        ("/etc/passwd", ""),
    ],
)
def test_what_is_read_and_what_is_written_have_labels_of_their_own(path: str, label: str) -> None:
    found = [setype for target, setype in labels().items() if re.fullmatch(target, path)]
    # The last rule that fits counts.
    assert (found or [""])[-1] == label


def test_every_listener_s_port_and_every_product_s_boolean_is_set() -> None:
    tasks = {module(task): task for task in TASKS}
    ports = tasks["community.general.seport"]["community.general.seport"]["ports"]
    assert list(rendered(ports)) == ["8443", "9443"]
    booleans = rendered(tasks["ansible.posix.seboolean"]["loop"])
    assert list(booleans) == ["httpd_can_network_connect", "haproxy_connect_any"]


def test_directories_that_are_written_are_there_to_be_labelled_before_the_first_start() -> None:
    names = [task["name"] for task in TASKS]
    made = names.index("Make the directories that the gateways write to")
    assert made < names.index("Put the labels on what is there")
    assert ["/".join(one) for one in rendered(TASKS[made]["loop"])] == [
        "/etc/pki/gate.way/dip/log",
        "/etc/pki/gate.way/dip/run",
    ]


@pytest.mark.parametrize(
    ("family", "named", "users"),
    [
        ("RedHat", {}, {"nginx": "nginx", "haproxy": "haproxy"}),
        ("Debian", {}, {"nginx": "www-data", "haproxy": "haproxy"}),
        ("RedHat", {"nginx": "web"}, {"nginx": "web", "haproxy": "haproxy"}),
    ],
)
def test_who_speaks_with_peers_is_whom_the_package_makes_unless_the_inventory_says(
    family: str, named: dict[str, str], users: dict[str, str]
) -> None:
    here = {"gateway_os_family": family, "gateway_users": named}
    assert rendered("{{ __gateway_users }}", **here) == users
