# SPDX-License-Identifier: GPL-3.0-or-later
"""One plan of an inventory on disk, without a key server: ``python plan_once.py INVENTORY``.

What the module does between reading the inventory and printing its table: the files, the policies,
the judgement of declarations, people and the inventory as a whole, and the plan of every
certificate from what is committed. The keys are what the committed requests say. Prints JSON: CPU
seconds of the process and of the plan in it, what was found, and the quotas.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "module_utils")]

from datetime import UTC, datetime

from pki import check_run, gather, parties, public_state
from pki.lifecycle import KeyVersion
from pki.session import Inputs


def keys(inputs: Inputs) -> gather.Keys:
    """The key versions that the committed requests are of."""
    files = {
        name: public_state.scan(inputs.certificates_dir, name)
        for name in inputs.declared.certificates
    }
    versions = {
        name: dict(_key(one, inputs.now) for one in own if one.request_record)
        for name, own in files.items()
    }
    return gather.Keys(versions=versions, files=files)


def _key(files: public_state.VersionFiles, now: datetime) -> tuple[int, KeyVersion]:
    record = files.request_record or {}
    return files.number, KeyVersion(now, str(record["key"]["spki_sha256"]))


def main(inventory: Path, now: datetime) -> None:
    """Plan once and tell what it took."""
    imported = time.process_time()
    inputs = check_run.scene(inventory, ROOT / "policies", now).inputs
    found = parties.review(inputs)
    plans = gather.plans(inputs, keys(inputs), {}, held=found.holds)
    ended = time.process_time()
    told = {
        "process": ended,
        "plan": ended - imported,
        "findings": found.findings,
        "quotas": parties.as_rows(found.quotas),
        "states": {plan.name: plan.state.value for plan in plans},
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]).astimezone(UTC))
