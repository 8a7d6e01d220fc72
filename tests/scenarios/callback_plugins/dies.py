# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills its own run, some time after the beginning of a task.

From inside: the output names a task when it has its first result, not when it begins.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from ansible.plugins.callback import CallbackBase

# Plugins are not found through the tests' path.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scenarios.faults_processes import kill_tree

DOCUMENTATION = r"""
name: dies
type: notification
short_description: Kills its own run in the middle of a task
description:
  - Everything the run has started on the controller gets SIGKILL, E(FAULTS_DELAY) seconds after the
    beginning of task E(FAULTS_TASK). The task it hit is written to file E(FAULTS_HIT).
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "dies"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._task = ""

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._task = task.get_name()
        if self._task == os.environ.get("FAULTS_TASK"):
            threading.Timer(float(os.environ["FAULTS_DELAY"]), self._die).start()

    def _die(self):
        Path(os.environ["FAULTS_HIT"]).write_text(self._task)
        kill_tree(os.getpid())
