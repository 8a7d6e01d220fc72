# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills its own run, some time after the beginning of a task.

From inside, because somebody who reads the output hears of a task when it may be over.
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
    beginning of task E(FAULTS_TASK).
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "dies"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_task_start(self, task, is_conditional):
        if task.get_name() == os.environ.get("FAULTS_TASK"):
            delay = float(os.environ["FAULTS_DELAY"])
            threading.Timer(delay, kill_tree, [os.getpid()]).start()
