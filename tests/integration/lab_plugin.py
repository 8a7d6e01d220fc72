# SPDX-License-Identifier: GPL-3.0-or-later
"""The fixture ``lab``: one lab for the whole session, to be left as it was found.

A test module asks for it with ``pytest_plugins = ("integration.lab_plugin",)``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from integration.lab_fixture import Lab, running_lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab for the whole session."""
    with running_lab(tmp_path_factory.mktemp("lab") / "home") as shared:
        yield shared
