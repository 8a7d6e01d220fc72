# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes keys on a host and, on the controller, the requests that the host signs.

The controller builds what is to be signed and judges it by the policy before anybody sees it; the
host makes the key and signs a digest. Only public keys, dates and signatures come back. A
passphrase travels to the host wrapped, in a token that is made for one call.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

# Plugins are not found through module_utils; this is the one line that shows them the way.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "module_utils"))

from pki import keystores, public_state, report, request_batch, session
from pki.errors import PkiError
from pki.history import Committed
from pki.stores.base import KeyRecord
from pki_ansible import host_task
from pki_ansible.acting import GuardedAction

REQUIRED = (
    "organisations",
    "certificates",
    "trust",
    "policy_dir",
    "base_dir",
    "certificates_dir",
    "crl_cache_dir",
    "release_root",
    "actions",
)
OPTIONAL: dict[str, Any] = {
    "groups": {},
    "compromised": {},
    "vault": {},
    "release_vault": {},
    "wrap_ttl": 60,
    "host_vault": None,
}

Result = dict[str, Any]


class ActionModule(GuardedAction):
    """See the documentation of the module of the same name."""

    def act(self, task_vars: dict[str, Any]) -> Result:
        arguments = _arguments(self._task.args)
        inputs = session.load(arguments)
        host = str(task_vars.get("inventory_hostname", ""))
        wanted = request_batch.wishes(inputs, arguments["actions"], host)
        if not wanted:
            return _result(request_batch.Outcome((), ()), [])
        mine = [inputs.declared.certificates[wish.certificate] for wish in wanted]

        execute = host_task.executor(self, arguments, task_vars)
        with ExitStack() as logins:
            client = logins.enter_context(keystores.vault(arguments["vault"], os.environ))
            there = host_task.Host(host, inputs, arguments, execute, mine, client, logins)
            records, refused = _sound(inputs, there, wanted)
            stores = keystores.Stores(client, inputs.policies, records, there)
            every = public_state.scan_every(inputs.certificates_dir)
            known = Committed.of(every, inputs.compromised)
            check = bool(self._task.check_mode)
            batch = request_batch.Batch(inputs, stores, known, check=check)
            stopped = {(one.certificate, one.version) for one in refused}
            outcome = batch.run(
                [wish for wish in wanted if (wish.certificate, wish.version) not in stopped], 1
            )
            everyone = (*refused, *outcome.refused)
            whole = request_batch.Outcome(outcome.done, everyone, outcome.trail)
            return _result(whole, there.told if check else there.inspect())


def _sound(
    inputs: session.Inputs, host: host_task.Host, wanted: tuple[request_batch.Wish, ...]
) -> tuple[dict[str, KeyRecord | None], list[request_batch.Refusal]]:
    """What the host has of the wanted versions, and those that nothing can be done for."""
    records: dict[str, KeyRecord | None] = {}
    refused = []
    for wish in wanted:
        certificate = inputs.declared.certificates[wish.certificate]
        try:
            records[certificate.key_name] = host.has(certificate, wish.version)
        except PkiError as error:
            refused.append(request_batch.Refusal(wish.certificate, wish.version, error))
    return records, refused


def _result(outcome: request_batch.Outcome, keys: list[Result]) -> Result:
    refused = [refusal.as_result() for refusal in outcome.refused]
    return {
        "changed": any(done.changed for done in outcome.done),
        "requests": [done.as_result() for done in outcome.done],
        "refused": refused,
        "refusals": [report.refusal(one["error"]) for one in refused],
        "sentences": [done.sentence() for done in outcome.done],
        "diff": [done.diff() for done in outcome.done if done.files],
        "trail": list(outcome.trail),
        "keys": keys,
    }


def _arguments(raw: Mapping[str, Any]) -> dict[str, Any]:
    known = (*REQUIRED, *OPTIONAL)
    wrong = [name for name in raw if name not in known]
    missing = [name for name in REQUIRED if raw.get(name) is None]
    if wrong or missing:
        raise PkiError(
            "pki_host_request cannot work with these options",
            rule="OPTION",
            found=", ".join(wrong) or "nothing for " + ", ".join(missing),
            expected=", ".join(known),
            where="the task",
            next_step="use the certificates role",
        )
    return {**OPTIONAL, **raw}
