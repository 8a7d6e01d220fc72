# SPDX-License-Identifier: GPL-3.0-or-later
"""What every action plugin of ours is: work on the controller whose exceptions tell no text."""

from __future__ import annotations

from typing import Any, Dict

from ansible.plugins.action import ActionBase

from . import failure


class GuardedAction(ActionBase):  # type: ignore[misc]
    """An action plugin whose work is :meth:`act`; see :mod:`pki_ansible` for why it is guarded."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def act(self, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        """The result of the task. What it raises becomes a failed result without its text."""
        raise NotImplementedError

    def run(self, tmp: Any = None, task_vars: Any = None) -> Dict[str, Any]:
        result: Dict[str, Any] = super().run(tmp, task_vars)
        failed = None
        try:
            result.update(self.act(task_vars or {}))
        except BaseException as exc:  # never let Ansible, or Python, print its text
            failed = failure(exc)
        # Outside the except block: nothing may pick up the exception being handled.
        if failed is not None:
            result.update(failed, failed=True)
        return result
