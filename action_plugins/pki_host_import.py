# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings an existing key onto the host that keeps it; its request is judged and written here.

The key travels as a parameter of the module, over the connection and never through a file, and
only after everything else was found to be right.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

# Plugins are not found through module_utils; this is the one line that shows them the way.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "module_utils"))

from pki import (
    desk,
    import_files,
    import_stage,
    key_import,
    key_place,
    keystores,
    ledger,
    public_state,
    session,
)
from pki.desk import Desk
from pki.errors import PkiError
from pki.import_stage import Arrival
from pki_ansible import host_task, telling
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
    "certificate",
    "key_file",
)
OPTIONAL: dict[str, Any] = {
    "passphrase_file": "",
    "certificate_file": "",
    "groups": {},
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
        check = bool(self._task.check_mode)
        brought = import_files.read(
            arguments["key_file"], arguments["passphrase_file"], arguments["certificate_file"]
        )
        with ExitStack() as logins:
            client = logins.enter_context(keystores.vault(arguments["vault"], os.environ))
            compromised = ledger.stored(client, inputs.environment_classes)
            known = session.knowing(inputs, compromised)
            place = desk.of(known, arguments["certificate"], key_import.RULE)
            host = str(task_vars.get("inventory_hostname", ""))
            _must_be_kept_on(host, place)
            arrival = import_stage.receive(place, *brought)
            execute = host_task.executor(self, arguments, task_vars)
            mine = [place.certificate]
            there = host_task.Host(host, inputs, arguments, execute, mine, client, logins)
            moved, created = _onto(there, arrival, check)
        with telling() as happened:
            if moved and not check:
                happened.append(arrival.key_event())
            contents = arrival.contents(created)
            if contents and not check:
                public_state.write(arrival.directory, contents)
                happened.append(arrival.files_event(contents))
        return {**arrival.result(contents, moved, check), "trail": happened}


def _must_be_kept_on(host: str, place: Desk) -> None:
    import_stage.must_be_kept_in(key_place.HOST, place)
    if place.certificate.host == host:
        return
    raise PkiError(
        f"{place.certificate.name}: this is not the host that keeps the key",
        rule=key_import.RULE,
        found=host,
        expected=place.certificate.host,
        where="the task's host",
        next_step="run playbooks/import.yml: it brings the key to the right host",
    )


def _onto(there: host_task.Host, arrival: Arrival, check: bool) -> tuple[bool, Any]:
    """Whether the key is (or would be) brought now, and since when the host has it."""
    certificate, version = arrival.desk.certificate, arrival.version
    before = there.has(certificate, version)
    if before is None and check:
        return True, arrival.desk.now
    if before is not None and before.versions[version].spki_der == arrival.key.spki_der:
        return False, before.versions[version].created
    if before is not None:
        raise PkiError(
            f"{certificate.name}: version {version} is another key on this host",
            rule="KEY-VERSION",
            found="a key that was made there",
            expected=f"no version {version}, or this very key",
            where=f"host {certificate.host}",
            next_step="a key is never replaced: run playbooks/site.yml, which writes its request, "
            "record that as withdrawn and bring this key as the next version",
        )
    record = there.place(certificate, version, arrival.key.pkcs8_pem())
    return True, record.versions[version].created


def _arguments(raw: Mapping[str, Any]) -> dict[str, Any]:
    known = (*REQUIRED, *OPTIONAL)
    wrong = [name for name in raw if name not in known]
    missing = [name for name in REQUIRED if raw.get(name) is None]
    if wrong or missing:
        raise PkiError(
            "pki_host_import cannot work with these options",
            rule="OPTION",
            found=", ".join(wrong) or "nothing for " + ", ".join(missing),
            expected=", ".join(known),
            where="the task",
            next_step="use the certificates role",
        )
    return {**OPTIONAL, **raw}
