# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made follows the organisation's values, not only what is judged."""

from __future__ import annotations

import importlib.util
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest
from ansible.errors import AnsibleFilterError
from pki import session
from pki.errors import PkiError
from unit.controller_world import NAME, REPOSITORY, World
from unit.pki_factory import NOW

TIGHTER = """\
parameters:
  crl_max_age_hours: {value: 6}
  tls_protocols: {value: [TLSv1.3]}
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    (tmp_path / "policy").mkdir()
    return world


def overlay(world: World, text: str) -> None:
    (world.base / "policy" / "mhhs-dip.yml").write_text(text)


def test_a_run_has_the_organisations_values(world: World) -> None:
    overlay(world, TIGHTER)
    policy = session.load(world.params(), NOW).policy_of(NAME)
    assert session.crl_max_age(policy) == timedelta(hours=6)
    assert policy.parameters["crl_max_age_hours"].set_by == (f"{world.base}/policy/mhhs-dip.yml:2")


def test_a_run_stops_at_an_overlay_that_loosens_silently(world: World) -> None:
    overlay(world, TIGHTER.replace("value: 6", "value: 48"))
    with pytest.raises(PkiError) as caught:
        session.load(world.params(), NOW)
    assert (caught.value.rule, caught.value.where) == (
        "POLICY-OVERLAY",
        f"{world.base}/policy/mhhs-dip.yml:2",
    )


def test_a_loosening_ends_at_the_moment_of_the_run(world: World) -> None:
    last_day = (NOW + timedelta(days=1)).date()
    overlay(
        world,
        "parameters:\n  crl_max_age_hours:\n    value: 48\n    reason: r\n    approver: a\n"
        f"    expires: '{last_day}'\n",
    )
    before = session.load(world.params(), NOW).policy_of(NAME)
    after = session.load(world.params(), NOW + timedelta(days=1)).policy_of(NAME)
    assert before.number("crl_max_age_hours") == 48
    assert after.number("crl_max_age_hours") == 24
    assert [remark.name for remark in after.remarks] == ["crl_max_age_hours"]


def filters() -> ModuleType:
    file = REPOSITORY / "filter_plugins" / "pki_gateway.py"
    spec = importlib.util.spec_from_file_location("pki_gateway_filter", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GATEWAY = {
    "name": "dip",
    "product": "nginx",
    "hosts": "gateways",
    "ingress": [
        {
            "name": "webhook",
            "listen": "0.0.0.0:8443",
            "server_name": "gw.example",
            "certificate": NAME,
            "trust": "dca",
            "peers": [{"CN": "peer.example"}],
            "upstream": "http://127.0.0.1:8000",
        }
    ],
    "egress": [],
}


def protocols(world: World) -> list[str]:
    params = world.params()
    places = {
        "policy_dir": params["policy_dir"],
        "base_dir": params["base_dir"],
        "release_root": "/etc/pki/mtls",
        "crl_cache_root": "/var/lib/pki-crl",
        "gateway_root": "/etc/pki/gateway",
    }
    (model,) = filters().models(
        [GATEWAY],
        declared={key: params[key] for key in ("organisations", "certificates", "trust")},
        host={"name": "gw1", "groups": ["gateways"]},
        places=places,
    )
    return list(model["tls"]["protocols"])


def test_a_gateway_is_made_with_the_organisations_values(world: World) -> None:
    assert protocols(world) == ["TLSv1.2", "TLSv1.3"]
    overlay(world, TIGHTER)
    assert protocols(world) == ["TLSv1.3"]


def test_no_gateway_is_made_with_a_broken_overlay(world: World) -> None:
    overlay(world, TIGHTER.replace("TLSv1.3", "TLSv1.0"))
    with pytest.raises(AnsibleFilterError, match="POLICY-OVERLAY"):
        protocols(world)
