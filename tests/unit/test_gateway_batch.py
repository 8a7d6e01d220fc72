# SPDX-License-Identifier: GPL-3.0-or-later
"""All gateways of a host for one module run: rendered for their products, or told to wait."""

from __future__ import annotations

import ast
import copy
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from pki import gateway
from pki.errors import PkiError
from pki.gateway import batch, products
from unit import gateway_entry
from unit.gateway_entry import ENTRY

PRODUCTS = sorted(products.cannot())
STAGED = batch.Staged(
    releases=(
        {
            "certificate": "dip",
            "certificate_sha256": "ab" * 32,
            "link": {"path": "/etc/pki/mtls/dip/current", "target": "releases/v1-ab"},
        },
    ),
    crl_sets=(
        {
            "trust": "nonprod",
            "link": {"path": "/var/lib/pki-crl/nonprod/current", "target": "sets/01"},
        },
    ),
)
PATHS = {product: f"/opt/{product}" for product in PRODUCTS}


def options() -> set[str]:
    """What pki_gateway takes of a gateway, by its documentation."""
    tree = ast.parse((gateway_entry.PROJECT / "library/pki_gateway.py").read_text())
    (text,) = (
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and getattr(node.targets[0], "id", "") == "DOCUMENTATION"
    )
    return set(yaml.safe_load(str(text))["options"]["gateways"]["suboptions"])


@pytest.fixture(scope="module")
def models() -> list[dict[str, Any]]:
    """One gateway of each product, for the same host."""
    sources = replace(gateway_entry.sources(), products=products.cannot())
    entries = []
    for at, product in enumerate(PRODUCTS):
        entry = {**copy.deepcopy(ENTRY), "name": product, "product": product}
        entry["ingress"][0]["listen"] = f"0.0.0.0:{8443 + at}"
        entry["egress"][0]["listen"] = f"127.0.0.1:{9443 + at}"
        entries.append(entry)
    return gateway.build_all(entries, sources)


def test_every_product_of_a_host_is_in_one_batch_with_its_own_program_and_files(
    models: list[dict[str, Any]],
) -> None:
    told = batch.of_host(models, STAGED, batch.Programs(PATHS))
    assert json.loads(json.dumps(told)) == told
    assert [one["name"] for one in told["gateways"]] == PRODUCTS
    assert (told["waits"], told["out"]) == ([], [])
    for one in told["gateways"]:
        assert set(one) == options()
        assert one["program"] == f"/opt/{one['product']}"
        assert one["tls_protocols"] == ["TLSv1.2", "TLSv1.3"]
        paths = [file["path"] for file in one["files"]]
        assert paths == ["trust/nonprod.pem", products.row(one["product"])["configuration"]["path"]]
    assert len(told["budget"]) == 2 * len(PRODUCTS)


def configuration(told: dict[str, Any], product: str) -> str:
    (one,) = (one for one in told["gateways"] if one["product"] == product)
    return str(one["files"][-1]["content"])


@pytest.mark.parametrize("product", PRODUCTS)
def test_who_speaks_with_peers_is_the_products_user_or_the_one_that_is_named(
    models: list[dict[str, Any]], product: str
) -> None:
    user = products.row(product)["user"]
    own = configuration(batch.of_host(models, STAGED, batch.Programs(PATHS)), product)
    assert user in own.split("events")[0].split("defaults")[0]
    named = batch.Programs(PATHS, users={product: "somebody"})
    text = configuration(batch.of_host(models, STAGED, named), product)
    assert "somebody" in text
    nobody = batch.Programs(PATHS, users={product: "somebody"}, separate_users=False)
    assert "somebody" not in configuration(batch.of_host(models, STAGED, nobody), product)


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_build_that_lacks_something_gets_the_file_that_stands_in_for_it(
    models: list[dict[str, Any]], product: str
) -> None:
    for substitute in products.row(product)["substitutes"]:
        lacking = batch.Programs(PATHS, lacks={product: [substitute["lacking"]]})
        told = batch.of_host(models, STAGED, lacking)
        (one,) = (one for one in told["gateways"] if one["product"] == product)
        assert [file["path"] for file in one["files"]][-1] == substitute["path"]


def test_what_waits_is_not_in_the_batch_and_holds_nobody_else_up(
    models: list[dict[str, Any]],
) -> None:
    waiting = copy.deepcopy(models)
    waiting[0]["certificates"] = ["dip", "other"]
    told = batch.of_host(waiting, STAGED, batch.Programs(PATHS))
    assert [one["name"] for one in told["gateways"]] == PRODUCTS[1:]
    assert told["waits"] == [
        f"{PRODUCTS[0]} is left as it is; it waits for an accepted certificate other"
    ]


def test_a_gateway_that_is_out_of_service_altogether_is_stopped_without_a_file(
    models: list[dict[str, Any]],
) -> None:
    out = batch.Staged(crl_sets=STAGED.crl_sets, out_of_service=("dip",))
    told = batch.of_host(models, out, batch.Programs(PATHS))
    assert {one["state"] for one in told["gateways"]} == {"stopped"}
    assert all(one["files"] == [] for one in told["gateways"])
    assert len(told["out"]) == 2 * len(PRODUCTS)


@pytest.mark.parametrize("product", PRODUCTS)
def test_what_cannot_be_written_for_a_product_is_refused_by_its_rule(
    models: list[dict[str, Any]], product: str
) -> None:
    (model,) = (copy.deepcopy(one) for one in models if one["product"] == product)
    model["ingress"][0]["fullchain"] = "/etc/$pki\x07/fullchain.pem"
    with pytest.raises(PkiError) as caught:
        batch.of_host([model], STAGED, batch.Programs(PATHS))
    assert caught.value.rule.startswith("GATEWAY-")
