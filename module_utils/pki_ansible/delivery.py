# SPDX-License-Identifier: GPL-3.0-or-later
"""What action plugins look at before a token is made for a host. For the controller only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible import constants as C
from pki.errors import PkiError


def refuse_copied_modules(action: Any) -> None:
    """Without pipelining a module is a file on the host, its parameters in it, mode 0644."""
    if not action._is_pipelining_enabled("new"):
        raise PkiError(
            "no key is delivered without pipelining",
            rule="RELEASE-PIPELINING",
            found="modules are copied to the host as files, with their parameters",
            expected="pipelining, so that a token is never in a file",
            where="ansible.cfg, ANSIBLE_PIPELINING, or the connection and become options",
            next_step="switch pipelining on for this host and run again; nothing was changed",
        )


def refuse_debugging(task_vars: Mapping[str, Any]) -> None:
    """Both settings print or keep the module's parameters, tokens included."""
    settings = {
        "ANSIBLE_DEBUG": C.config.get_config_value("DEFAULT_DEBUG", variables=task_vars),
        "ANSIBLE_KEEP_REMOTE_FILES": C.config.get_config_value(
            "DEFAULT_KEEP_REMOTE_FILES", variables=task_vars
        ),
    }
    for name, value in settings.items():
        if value:
            raise PkiError(
                "no key is delivered while Ansible's debugging is on",
                rule="RELEASE-DEBUGGING",
                found=f"{name} is on",
                expected=f"{name} off",
                where="the environment or ansible.cfg of the controller",
                next_step="switch it off and run again; nothing was changed",
            )
