# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of ``pki_api_key``: ask for versions, look, deliver only what is missing.

One task, as with ``pki_release``: a token exists between two lines of :meth:`ActionModule._present`
and inside the module's own ``no_log`` parameter on its way to the host. The value never comes here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

# Plugins are not found through module_utils; this is the one line that shows them the way.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "module_utils"))

from pki import api_keys
from pki.api_keys import ApiKey, Version
from pki.errors import PkiError
from pki_ansible import delivery
from pki_ansible.acting import GuardedAction

OPTIONAL = {"api_keys": [], "vault": {}, "wrap_ttl": 60, "host_vault": None}
FROM_TASK = ("release_root", *OPTIONAL)

#: Faults that every further question would meet as well.
OF_THE_SERVER = (
    "VAULT-SETTINGS",
    "VAULT-CREDENTIALS",
    "VAULT-LOGIN",
    "VAULT-TOKEN",
    "VAULT-TLS",
    "VAULT-UNREACHABLE",
    "VAULT-UNAVAILABLE",
    "VAULT-SEALED",
)

Result = dict[str, Any]


class ActionModule(GuardedAction):
    """See the documentation of the module of the same name."""

    def act(self, task_vars: dict[str, Any]) -> Result:
        arguments = _arguments(self._task.args)
        keys = [ApiKey.of(raw) for raw in arguments["api_keys"]]
        if not keys:
            # Most hosts: neither Vault nor the host is asked anything.
            return {"changed": False, "api_keys": [], "refused": [], "trail": []}
        delivery.refuse_debugging(task_vars)
        wanted, refused = _newest(arguments, keys)
        result = self._on_host("inspect", arguments, wanted, {}, task_vars)
        if result.get("changed") and not result.get("failed") and not self._task.check_mode:
            result = self._present(arguments, keys, wanted, result, refused, task_vars)
        if result.get("failed"):
            return result
        result["refused"] = [*refused, *result.get("refused", ())]
        warnings = [str(entry["text"]) for entry in result["refused"]]
        if warnings:
            result["warnings"] = [*result.get("warnings", ()), *warnings]
        return result

    def _present(
        self,
        arguments: Result,
        keys: list[ApiKey],
        wanted: list[Result],
        seen: Result,
        refused: list[Result],
        task_vars: dict[str, Any],
    ) -> Result:
        lacking = {entry["name"] for entry in seen["api_keys"] if entry["needs_value"]}
        tokens: dict[str, str] = {}
        if lacking:
            delivery.refuse_copied_modules(self)
            tokens, failures = _wrapped(arguments, [key for key in keys if key.name in lacking])
            refused += failures
            missed = {entry["name"] for entry in failures}
            of_key = {key.name: key for key in keys}
            wanted = [
                _item(of_key[item["name"]], None) if item["name"] in missed else item
                for item in wanted
            ]
        return self._on_host("present", arguments, wanted, tokens, task_vars)

    def _on_host(
        self,
        state: str,
        arguments: Result,
        wanted: list[Result],
        tokens: dict[str, str],
        task_vars: dict[str, Any],
    ) -> Result:
        parameters = {
            "state": state,
            "release_root": arguments["release_root"],
            "releases": wanted,
            "host_vault": _reached(arguments["host_vault"]),
            "wrap_tokens": tokens,
        }
        return self._execute_module(
            module_name="pki_api_key", module_args=parameters, task_vars=task_vars
        )


def _newest(arguments: Result, keys: list[ApiKey]) -> tuple[list[Result], list[Result]]:
    """What the host should have of each key, and what Vault would not tell."""
    told, refused = _asked(arguments, keys, api_keys.newest)
    return [_item(key, told.get(key)) for key in keys], refused


def _wrapped(arguments: Result, keys: list[ApiKey]) -> tuple[dict[str, str], list[Result]]:
    """One single-use token a key, by path, and the keys that none was to be had for."""
    ttl = int(arguments["wrap_ttl"])
    told, refused = _asked(arguments, keys, lambda client, key: client.wrap(key.path, ttl).token)
    return {key.path: str(token) for key, token in told.items()}, refused


def _asked(
    arguments: Result, keys: list[ApiKey], ask: Callable[[Any, ApiKey], Any]
) -> tuple[dict[ApiKey, Any], list[Result]]:
    """Vault's answer for each key, and a refusal for each that it has none for.

    A key that is not to be had is no reason to leave a host without fresh CRLs: the run goes on,
    the gateways with what they have, and it fails at its end.
    """
    from pki import keystores  # an HTTP client that hosts without API keys never need

    told: dict[ApiKey, Any] = {}
    errors: dict[ApiKey, PkiError] = {}
    try:
        with keystores.vault(arguments["vault"], os.environ) as client:
            for key in keys:
                try:
                    told[key] = ask(client, key)
                except PkiError as exc:
                    if exc.rule in OF_THE_SERVER:
                        raise  # it is everybody's, and waiting for it once is long enough
                    errors[key] = exc
    except PkiError as exc:
        errors |= {key: exc for key in keys if key not in told and key not in errors}
    return told, [_refusal(key.name, exc) for key, exc in errors.items()]


def _item(key: ApiKey, version: Version | None) -> Result:
    """What the host is told of a key; without a version, what is in service there stays."""
    item: Result = {"name": key.name, "header": key.header, "products": list(key.products)}
    if version is None:
        return item
    return {
        **item,
        "path": key.path,
        "version": version.number,
        "created": version.created,
        "id": api_keys.release_id(key.path, version),
        "field": api_keys.FIELD,
    }


def _refusal(name: str, error: PkiError) -> Result:
    return {"name": name, "error": error.as_result(), "text": str(error)}


def _reached(host_vault: Any) -> Result | None:
    """How the host reaches the key server. How it would log in there is not needed."""
    names = ("address", "ca_pem", "namespace", "timeout")
    return {name: host_vault[name] for name in names if name in host_vault} if host_vault else None


def _arguments(raw: Result) -> Result:
    for name in raw:
        if name not in FROM_TASK:
            raise _argument(f"pki_api_key does not take `{name}` from a task", name, FROM_TASK)
    if raw.get("release_root") is None:
        raise _argument("pki_api_key needs `release_root`", "nothing", ("release_root",))
    return {**OPTIONAL, **raw}


def _argument(message: str, found: object, expected: tuple[str, ...]) -> PkiError:
    return PkiError(
        message,
        rule="RELEASE-ARGUMENT",
        found=str(found),
        expected=", ".join(expected),
        where="the task",
        next_step="use the release role",
    )
