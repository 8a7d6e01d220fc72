# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes down what every task of a run changed, or in check mode would change.

One file a run below ``$SCENARIO_STATE/changes``: ``check-1.json``, ``real-2.json``, and so on. A
test compares the two kinds: what check mode announces must be what the real run does.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible import context
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: changes
type: notification
short_description: Writes down what every task changed
description:
  - Writes host, task, item and the places of the diff of every changed result to a file.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "changes"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._changes = []
        self._playbook = ""

    def v2_playbook_on_start(self, playbook):
        self._playbook = Path(playbook._file_name).name

    def v2_runner_on_ok(self, result):
        self._note(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._note(result)

    def _note(self, result):
        # A loop's items are told one by one by the result as a whole.
        whole = result._result if hasattr(result, "_result") else result.result
        items = whole.get("results") if isinstance(whole.get("results"), list) else [whole]
        for item in items:
            if isinstance(item, dict) and item.get("changed"):
                self._changes.append(
                    {
                        "host": result._host.get_name(),
                        "task": result._task.get_name(),
                        "item": str(item.get("item", "")),
                        "places": sorted(_places(item.get("diff"))),
                    }
                )

    def v2_playbook_on_stats(self, stats):
        state = os.environ.get("SCENARIO_STATE")
        if not state or self._playbook != "converge.yml":
            return
        folder = Path(state, "changes")
        folder.mkdir(parents=True, exist_ok=True)
        kind = "check" if context.CLIARGS.get("check") else "real"
        number = 1 + len(list(folder.glob("*.json")))
        record = {"changes": self._changes, "failed": sorted(stats.failures)}
        Path(folder, f"{kind}-{number}.json").write_text(json.dumps(record, indent=1) + "\n")


def _places(diff):
    """Headers of a diff: which file or object it is about."""
    entries = diff if isinstance(diff, list) else [diff]
    return {
        str(entry.get("after_header") or entry.get("before_header") or "")
        for entry in entries
        if isinstance(entry, dict)
    } - {""}
