# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes down every change that a module of ours tells of, on every host, as it comes in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ansible.plugins.callback import CallbackBase

# Plugins are not found through module_utils; this is the one line that shows them the way.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "module_utils"))

from pki import trail, trail_file, trail_run
from pki.errors import PkiError

DOCUMENTATION = r"""
name: pki_trail
type: aggregate
short_description: Writes the audit trail
version_added: 0.1.0
description:
  - Appends a line to the audit trail for every entry of C(trail) in the results of this project's
    modules. The directory is the one that the module C(pki_trail) opened at the run's beginning.
  - Needs no option, and is loaded because it lies in C(callback_plugins).
author:
  - The mtls-certificates maintainers (@mtls-certificates)
"""

OPENER = "pki_trail"
#: No task of ours has more to tell; a host that sends more is not believed.
MOST_EVENTS = 10_000


class CallbackModule(CallbackBase):
    """Never fails a run, and never shows what it was given: a callback's exception is printed."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "pki_trail"

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._run = {}
        self._place = None
        self._waiting = []
        self._written = 0
        self._head = None
        self._lost = 0
        self._faults = []

    def v2_playbook_on_start(self, playbook):
        self._run = trail_run.begin(str(playbook._file_name), os.environ)

    def v2_runner_on_ok(self, result):
        self._look(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        # What failed may have changed something before.
        self._look(result)

    def v2_runner_item_on_ok(self, result):
        self._look(result)

    def v2_runner_item_on_failed(self, result):
        self._look(result)

    def v2_playbook_on_stats(self, stats):
        if self._waiting:
            self._lose(len(self._waiting), "no task of this run opened the audit trail")
        if self._lost:
            self._display.error(
                f"AUDIT TRAIL: {self._lost} changes of this run have no line: "
                f"{'; '.join(dict.fromkeys(self._faults))}. The changes were made. Note them by "
                "hand from the output above, and correct the trail before the next run."
            )
        if self._written:
            text = f"audit trail: {self._written} lines in {self._place}, the newest is line "
            # Not on standard output: whoever reads a report there is not disturbed.
            self._display.display(
                f"{text}{self._head.number}, SHA-256 {self._head.digest}", stderr=True
            )

    def _look(self, result):
        task = result.task if hasattr(result, "task") else result._task
        name = str(task.action).rsplit(".", 1)[-1]
        if not name.startswith("pki_") or task.check_mode:
            return
        try:
            told = result.result if hasattr(result, "result") else result._result
            if name == OPENER:
                self._open(told.get("opened"))
            host = result.host if hasattr(result, "host") else result._host
            self._take(str(host.get_name()), told.get("trail"))
        except Exception as exc:
            self._lose(1, exc.message if isinstance(exc, PkiError) else type(exc).__name__)

    def _open(self, opened):
        """From now on lines go there; what came before the place was known is written first."""
        if not opened:
            return
        self._place = Path(str(opened["directory"]))
        self._run |= {
            "inventory": str(opened["inventory"]),
            "classes": [str(one) for one in opened["classes"]],
            "commit": str(opened["commit"]),
        }
        waiting, self._waiting = self._waiting, []
        self._write([(host, event) for host, event in waiting])

    def _take(self, host, told):
        if not told:
            return
        if not isinstance(told, list) or len(told) > MOST_EVENTS:
            self._lose(1, f"{host} told of its changes in no form that can be kept")
            return
        events = []
        for raw in told:
            try:
                events.append((host, trail.checked(raw)))
            except PkiError as error:
                self._lose(1, f"{host}: {error.message}: {error.where}")
        if self._place is None:
            self._waiting += events
        else:
            self._write(events)

    def _write(self, events):
        if not events:
            return
        try:
            entries = [{**self._run, "host": host, **event} for host, event in events]
            self._head = trail_file.append(self._place, entries)
        except PkiError as error:
            self._lose(len(events), f"{error.message}: {error.found} ({error.where})")
        else:
            self._written += len(events)

    def _lose(self, count, why):
        self._lost += count
        self._faults.append(why)
        trail_run.lost(self._run, self._lost, os.environ)
