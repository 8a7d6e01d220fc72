# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m pki.parties``: who needs which certificate, what quotas still allow, what holds.

Table 3 of the document for every organisation of an inventory, and the findings about parties,
people and quotas that a run would act on. Exit 0 when there is none at or above the level asked,
1 when there is one, 2 when the inventory could not be judged. No host, Vault or network is asked.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from . import check, check_run, inventory_files, parties
from .checking import DEFAULT_LEVEL, Status
from .errors import shown
from .parties import Need, Review
from .policy import LEVELS
from .report import aligned, quota_table
from .reports.lines import wrapped
from .shipped import DIRECTORY

_WIDTH = 100
_NEEDS = ("organisation", "party", "class", "needs", "signed for by", "certificates")
_NONE = "none in this inventory"


def needs_table(needs: Iterable[Need]) -> str:
    """Table 3 by organisation, class and purpose."""
    rows = [
        (
            shown(one.organisation),
            one.party,
            one.environment_class,
            one.purpose,
            shown(one.provider) or "-",
            ", ".join(one.entries) or _NONE,
        )
        for one in needs
    ]
    return aligned([_NEEDS, *rows])


def render(review: Review) -> str:
    """Both tables and the findings, as a person reads them."""
    blocks = [needs_table(review.needs)] if review.needs else []
    blocks += [quota_table(parties.as_rows(review.quotas))] if review.quotas else []
    found = [line for text in review.findings for line in wrapped(text, _WIDTH, 2)]
    return "\n\n".join([*blocks, "\n".join(found) or "nothing was found"])


def main(arguments: Sequence[str] | None = None, now: datetime | None = None) -> int:
    """The program; returns its exit code. ``now`` is for tests of what time does."""
    parser = argparse.ArgumentParser(prog="python -m pki.parties", description=__doc__)
    given = parser.add_argument
    given("--inventory", type=Path, required=True, help="an inventory's directory")
    given("--policies", type=Path, default=DIRECTORY, help="the policies' directory")
    given("--level", choices=LEVELS, default=DEFAULT_LEVEL, help="what counts (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        inventory = Path(inventory_files.relative(options.inventory))
        inputs = check_run.scene(inventory, options.policies, now).inputs
        review = parties.review(inputs, options.level)
    except Exception as exc:
        return check.told(Status.FAULT, str(check.known(exc)))
    return check.told(review.status, render(review))
