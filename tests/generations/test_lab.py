# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab's first life on the generation of Ansible that runs this test, without one warning.

``make generations`` runs it on the generation that the rest of the tests do not use.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from integration import digests
from integration.lab_fixture import Lab, Run, running_lab

pytestmark = [pytest.mark.integration, pytest.mark.lab]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path / "home") as lab:
        yield lab


def quiet(run: Run) -> Run:
    assert run.warnings == []
    return run


def test_a_lab_is_checked_deployed_and_left_alone_without_a_warning(lab: Lab) -> None:
    """In the order of a first day: each step stands on the one before."""
    assert quiet(lab.play("up")).changed == 0

    virgin = digests.files(lab.home), digests.vault(lab)
    assert quiet(lab.site("--check", "--diff")).changed > 0
    assert (digests.files(lab.home), digests.vault(lab)) == virgin

    assert quiet(lab.site()).changed > 0
    quiet(lab.play("sign"))
    assert quiet(lab.site()).changed > 0

    deployed = digests.files(lab.home), digests.vault(lab)
    assert quiet(lab.site("--check", "--diff")).changed == 0
    assert quiet(lab.site()).changed == 0
    assert (digests.files(lab.home), digests.vault(lab)) == deployed
    quiet(lab.play("prove"))
