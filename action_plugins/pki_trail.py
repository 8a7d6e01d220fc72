# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of ``pki_trail``: whether the callback of that name watches this run.

It is asked in the process that runs the task, a child of the one that the callback lives in.
"""

from __future__ import annotations

import os
import sys

# Plugins are not found through module_utils; this is the one line that shows them the way.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "module_utils"))

from pki import trail_run
from pki.errors import PkiError
from pki_ansible.acting import GuardedAction


class ActionModule(GuardedAction):
    """See the documentation of the module of the same name."""

    def act(self, task_vars):
        run = trail_run.of_parent(os.getppid(), os.environ)
        if run is None:
            raise nobody_writes()
        fields, lost = run
        if self._task.args.get("state", "opened") == "written":
            return written(lost)
        arguments = {**self._task.args, "run": fields}
        return self._execute_module(
            module_name="pki_trail", module_args=arguments, task_vars=task_vars
        )


def written(lost):
    """Whether every change so far has its line."""
    if not lost:
        return {"changed": False}
    raise PkiError(
        "changes of this run are missing in the audit trail",
        rule="TRAIL-LOST",
        found=f"{lost} without a line",
        expected="a line for each",
        where="the error AUDIT TRAIL at the end of this run says why",
        next_step="note them by hand from the output above, and correct the trail before the "
        "next run; the changes themselves were made",
    )


def nobody_writes():
    return PkiError(
        "nobody would write the audit trail of this run",
        rule="TRAIL-CALLBACK",
        found="the callback plugin pki_trail is not loaded",
        expected="callback_plugins of this project in Ansible's configuration",
        where="ansible.cfg or ANSIBLE_CONFIG; Ansible ignores an ansible.cfg in a directory that "
        "anybody can write to",
        next_step="export ANSIBLE_CONFIG=<checkout>/ansible.cfg and run again; nothing was changed",
    )
