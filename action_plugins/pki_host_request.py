# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes keys on a host and, on the controller, the requests that the host signs.

The controller builds what is to be signed and judges it by the policy before anybody sees it; the
host makes the key and signs a digest. Only public keys, dates and signatures come back. A
passphrase travels to the host wrapped, in a token that is made for one call.
"""

from __future__ import annotations

import base64
import binascii
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from ansible.plugins.action import ActionBase

# Plugins are not found through module_utils; this is the one line that shows them the way.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "module_utils"))

from pki import host_keys, keystores, passphrases, public_state, report, request_batch, session
from pki.errors import PkiError
from pki.history import Committed
from pki.inventory import Certificate
from pki.stores.base import KeyRecord
from pki_ansible import delivery, failure

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
#: Runs ``pki_host_key`` on the host: state, keys, wrap tokens.
Execute = Callable[[str, list[Result], Mapping[str, str]], Result]


class ActionModule(ActionBase):
    """See the documentation of the module of the same name."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        del tmp
        failed = None
        try:
            result.update(self._make_requests(task_vars or {}))
        except BaseException as exc:  # never let Ansible, or Python, print its text
            failed = failure(exc)
        # Outside the except block: nothing may pick up the exception being handled.
        if failed is not None:
            result.update(failed, failed=True)
        return result

    def _make_requests(self, task_vars: dict[str, Any]) -> Result:
        arguments = _arguments(self._task.args)
        inputs = session.load(arguments)
        host = str(task_vars.get("inventory_hostname", ""))
        wanted = request_batch.wishes(inputs, arguments["actions"], host)
        if not wanted:
            return _result(request_batch.Outcome((), ()), [])
        mine = [inputs.declared.certificates[wish.certificate] for wish in wanted]

        def execute(state: str, keys: list[Result], tokens: Mapping[str, str]) -> Result:
            if tokens:
                delivery.refuse_debugging(task_vars)
                delivery.refuse_copied_modules(self)
            parameters = {
                "state": state,
                "release_root": arguments["release_root"],
                "keys": keys,
                "host_vault": _reached(arguments["host_vault"]),
                "wrap_tokens": dict(tokens),
            }
            done: Result = self._execute_module(
                module_name="pki_host_key", module_args=parameters, task_vars=task_vars
            )
            return done

        with ExitStack() as logins:
            client = logins.enter_context(keystores.vault(arguments["vault"], os.environ))
            there = Host(host, inputs, arguments, execute, mine, client, logins)
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
            whole = request_batch.Outcome(outcome.done, (*refused, *outcome.refused))
            return _result(whole, there.told if check else there.inspect())


def _sound(
    inputs: session.Inputs, host: Host, wanted: tuple[request_batch.Wish, ...]
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


class Host:
    """The host of this task: see ``pki.stores.host.OnHost``."""

    def __init__(
        self,
        name: str,
        inputs: session.Inputs,
        arguments: Mapping[str, Any],
        execute: Execute,
        certificates: list[Certificate],
        client: Any,
        logins: ExitStack,
    ) -> None:
        self._name = name
        self._inputs = inputs
        self._arguments = arguments
        self._execute = execute
        self._of = {one.key_name: one for one in certificates}
        self._client = client
        self._logins = logins
        self._release: Any = None
        self.told: list[Result] = self.inspect()

    def inspect(self) -> list[Result]:
        """What the host tells of the keys that this is about, an entry each."""
        entries = [{"entry": one.entry} for one in self._of.values()]
        done = self._execute("inspect", entries, {})
        self._whole(done)
        return list(done["keys"])

    def has(self, certificate: Certificate, version: int) -> KeyRecord | None:
        """The version of a certificate's key, alone; None when it is to be made."""
        (result,) = (one for one in self.told if one.get("entry") == certificate.entry)
        if "error" in result:
            raise self._error(result["error"])
        if not any(one.get("version") == version for one in result.get("versions", ())):
            return None
        return host_keys.of_version(certificate, result, version)

    def make(self, name: str, version: int) -> KeyRecord:
        certificate = self._of[name]
        bits = self._inputs.policies[certificate.policy].number("key_bits")
        wanted = {"entry": certificate.entry, "version": version, "bits": bits}
        if certificate.encrypted:
            passphrases.ensure(self._client, certificate)
        result = self._ask("make", certificate, wanted, certificate.encrypted)
        self._note(certificate, result)
        return host_keys.of_version(certificate, result, version)

    def sign(self, name: str, version: int, digest: bytes, algorithm: str) -> bytes:
        certificate = self._of[name]
        wanted = {
            "entry": certificate.entry,
            "version": version,
            "digest": base64.b64encode(digest).decode("ascii"),
            "algorithm": algorithm,
        }
        locked = any(
            one.get("encrypted") is True
            for result in self.told
            if result["entry"] == certificate.entry
            for one in result.get("versions", ())
            if one.get("version") == version
        )
        result = self._ask("sign", certificate, wanted, locked)
        try:
            return base64.b64decode(str(result.get("signature")), validate=True)
        except binascii.Error:
            return b""  # no signature of anything: the caller says so

    def _ask(self, state: str, certificate: Certificate, wanted: Result, locked: bool) -> Result:
        tokens = {}
        if locked:
            path = passphrases.path(certificate)
            wanted = {**wanted, "passphrase_path": path}
            tokens[path] = self._token(path)
        done = self._execute(state, [wanted], tokens)
        self._whole(done)
        result: Result = done["keys"][0]
        if "error" in result:
            raise self._error(result["error"])
        return result

    def _token(self, path: str) -> str:
        """A passphrase for this host at this moment, by the login that may have it wrapped."""
        if self._release is None:
            options = self._arguments["release_vault"]
            self._release = self._logins.enter_context(keystores.vault(options, os.environ))
        token: str = self._release.wrap(path, int(self._arguments["wrap_ttl"])).token
        return token

    def _note(self, certificate: Certificate, result: Result) -> None:
        others = [one for one in self.told if one["entry"] != certificate.entry]
        self.told = [*others, result]

    def _whole(self, done: Result) -> None:
        """Refuse an answer that is none: the module failed, or something else answered."""
        if isinstance(done.get("error"), Mapping):
            raise self._error(done["error"])
        if done.get("failed") or not isinstance(done.get("keys"), list) or not done["keys"]:
            raise PkiError(
                f"{self._name}: the host did not do what it was asked",
                rule="HOST-KEY",
                found=str(done.get("msg") or "no answer"),
                expected="an answer of pki_host_key",
                where=f"host {self._name}",
                next_step="correct that and run again; nothing was written",
            )

    def _error(self, raw: Mapping[str, Any]) -> PkiError:
        """A host's refusal, in its own words."""
        said = {name: str(raw.get(name, "")) for name in ("found", "expected", "next_step")}
        where = f"host {self._name}: {raw.get('where', '')}"
        return PkiError(str(raw.get("message")), rule=str(raw.get("rule")), where=where, **said)


def _reached(host_vault: Mapping[str, Any] | None) -> Result | None:
    """How the host reaches the key server. How it would log in there is not needed."""
    names = ("address", "ca_pem", "namespace", "timeout")
    return {name: host_vault[name] for name in names if name in host_vault} if host_vault else None


def _result(outcome: request_batch.Outcome, keys: list[Result]) -> Result:
    refused = [refusal.as_result() for refusal in outcome.refused]
    return {
        "changed": any(done.changed for done in outcome.done),
        "requests": [done.as_result() for done in outcome.done],
        "refused": refused,
        "refusals": [report.refusal(one["error"]) for one in refused],
        "sentences": [done.sentence() for done in outcome.done],
        "diff": [done.diff() for done in outcome.done if done.files],
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
