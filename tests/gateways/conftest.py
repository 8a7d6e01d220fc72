# SPDX-License-Identifier: GPL-3.0-or-later
"""One running gateway for each product, shared by all tests that can share it.

A test that asks for ``product`` runs once for each row of :mod:`gateways.products`. What a
laptop has not installed is left out there and said so; in a pipeline it is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from gateways.products import PRODUCTS, Product
from gateways.stand import Stand, running
from integration.own_ports import ports_of_our_own
from xdist.scheduler import LoadScopeScheduling

__all__ = ["ports_of_our_own"]


class ProductsInTurn(LoadScopeScheduling):
    """Gives each product of a file, with the gateway its tests share, to one process."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        parameters = f"-{test.partition('[')[2].rstrip(']')}-"
        names = [one.name for one in PRODUCTS if f"-{one.name}-" in parameters]
        # The longest: the name of one build may begin with that of another.
        return max(names, key=len, default=file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ProductsInTurn:
    return ProductsInTurn(config, log)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "product" in metafunc.fixturenames:
        metafunc.parametrize("product", PRODUCTS, ids=str, indirect=True, scope="session")


@pytest.fixture(scope="session")
def product(request: pytest.FixtureRequest) -> Product:
    row: Product = request.param
    if row.missing and os.environ.get("CI") != "true":
        pytest.skip(f"not run: {row.name} - {row.missing}")
    assert not row.missing, row.missing
    return row


@pytest.fixture(scope="session")
def stand(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """The gateway as it is deployed, with an application behind it and a far end before it."""
    with running(tmp_path_factory.mktemp("stand"), product) as stand:
        yield stand


@pytest.fixture(scope="session")
def tight(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """The same with limits that a test can reach."""
    with running(tmp_path_factory.mktemp("tight"), product, tight=True) as stand:
        yield stand
