# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes down every module that is run on a host: one line each, host and module.

Counting tasks would not do: an action plugin may run several modules for one task, or none.
"""

from __future__ import annotations

import os

from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: module_runs
type: notification
short_description: Writes down every module that is run
description:
  - Appends host and module to the file that MODULE_RUNS names.
"""

_run = ActionBase._execute_module


def _noted(self, module_name=None, *arguments, **options):
    name = module_name or self._task.action
    host = (options.get("task_vars") or {}).get("inventory_hostname", "")
    with open(os.environ["MODULE_RUNS"], "a", encoding="utf-8") as file:
        file.write(f"{host} {name}\n")
    return _run(self, module_name, *arguments, **options)


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "module_runs"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_start(self, playbook):
        # Tasks are run by processes that are forked from this one.
        ActionBase._execute_module = _noted
