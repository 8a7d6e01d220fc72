# SPDX-License-Identifier: GPL-3.0-or-later
"""The host of an action's task, as the store of its keys needs it. For the controller only."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from pki import host_keys, keystores, passphrases, session
from pki.errors import PkiError
from pki.inventory import Certificate
from pki.stores.base import KeyRecord

from . import delivery

Result = dict[str, Any]
#: Runs ``pki_host_key`` on the host: state, keys, wrap tokens.
Execute = Callable[[str, list[Result], Mapping[str, str]], Result]


def executor(action: Any, arguments: Mapping[str, Any], task_vars: dict[str, Any]) -> Execute:
    """What runs ``pki_host_key`` for an action; nothing secret leaves where it could be seen."""

    def execute(state: str, keys: list[Result], tokens: Mapping[str, str]) -> Result:
        if tokens or state == "place":
            delivery.refuse_debugging(task_vars)
            delivery.refuse_copied_modules(action)
        parameters = {
            "state": state,
            "release_root": arguments["release_root"],
            "keys": keys,
            "host_vault": _reached(arguments["host_vault"]),
            "wrap_tokens": dict(tokens),
        }
        done: Result = action._execute_module(
            module_name="pki_host_key", module_args=parameters, task_vars=task_vars
        )
        return done

    return execute


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

    def place(self, certificate: Certificate, version: int, pem: bytes) -> KeyRecord:
        """Have a key that somebody brings kept as this version; the key as it is then."""
        wanted = {"entry": certificate.entry, "version": version, "pem": pem.decode("ascii")}
        if certificate.encrypted:
            passphrases.ensure(self._client, certificate)
        result = self._ask("place", certificate, wanted, certificate.encrypted)
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
        return PkiError(
            str(raw.get("message")),
            rule=str(raw.get("rule")),
            found=str(raw.get("found", "")),
            expected=str(raw.get("expected", "")),
            where=f"host {self._name}: {raw.get('where', '')}",
            next_step=str(raw.get("next_step", "")),
        )


def _reached(host_vault: Mapping[str, Any] | None) -> Result | None:
    """How the host reaches the key server. How it would log in there is not needed."""
    names = ("address", "ca_pem", "namespace", "timeout")
    return {name: host_vault[name] for name in names if name in host_vault} if host_vault else None
