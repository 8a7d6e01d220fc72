# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of ``pki_release``: judge, look, and deliver a key only if needed.

One task, so that nothing secret is ever registered, made a fact or delegated: the token
exists between two lines of :meth:`ActionModule._present` and inside the module's own
``no_log`` parameter on its way to the host.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

# Plugins are not found through module_utils; this is the one line that shows them the way.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "module_utils"))

from pki import (
    acceptance,
    held,
    key_place,
    passphrases,
    public_state,
    rollback_stage,
    session,
    trail,
)
from pki.errors import PkiError
from pki.lifecycle import Kind
from pki.public_state import VersionFiles
from pki.release_bundle import ReleaseBundle
from pki.reply import Accepted
from pki.revocation_sources import Fetched
from pki_ansible import delivery
from pki_ansible.acting import GuardedAction

JUDGED_WITH = (
    "organisations",
    "certificates",
    "trust",
    "policy_dir",
    "base_dir",
    "certificates_dir",
    "crl_cache_dir",
)
OPTIONAL = {
    "groups": {},
    "actions": [],
    "crl_sets": [],
    "answers": {},
    "compromised": {},
    "vault": {},
    "wrap_ttl": 60,
    "host_vault": None,
}

WRAPPED, LOCAL = "wrapped", "local"
DEPLOY, KEEP = Kind.DEPLOY.value, Kind.KEEP.value

#: What `ReleaseBundle.for_host` gives: made in the worker that judged, the only way there is.
Bundle = dict[str, Any]

#: The plan's deployments of one host by certificate and version.
Actions = dict[acceptance.Key, dict[str, Any]]

FROM_TASK = (*JUDGED_WITH, "release_root", *OPTIONAL)


class ActionModule(GuardedAction):
    """See the documentation of the module of the same name."""

    def act(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        delivery.refuse_debugging(task_vars)
        arguments = _arguments(self._task.args)
        inputs = session.load(arguments)
        mine = _actions_of_host(arguments["actions"], task_vars)
        accepted, refused = judged(inputs, mine, Fetched.of_result(arguments["answers"]))
        bundles = list(newest(accepted).values())
        result: dict[str, Any] = {"changed": False, "releases": [], "in_service": {}, "holds": {}}
        if bundles:
            result = self._on_host("inspect", arguments, bundles, {}, task_vars)
        seen, choices = result, list[held.Choice]()
        if not result.get("failed"):
            refused += _judge_held(inputs, mine, accepted, arguments, seen)
        while not result.get("failed"):
            choices = _chosen(mine, accepted, refused, seen)
            wanted = [dict(choice.bundle) for choice in choices]
            if wanted != bundles:
                # What stays in service is healed as ever; what waits is not put there.
                bundles = wanted
                result = self._on_host("inspect", arguments, bundles, {}, task_vars)
            by_host = _refused_by_host(result, accepted)
            if not by_host:
                break
            # What the host refuses is as if it had not been accepted: another one may stand in.
            refused += by_host
        void = [choice.as_void() for choice in choices if choice.void]
        if void and not result.get("failed"):
            result["changed"] = True
        if not result.get("failed") and result.get("changed") and not self._task.check_mode:
            result = self._present(inputs, arguments, bundles, result, task_vars, void)
            refused += _refused_by_host(result, accepted)  # listed by another run meanwhile
        early = [choice for choice in choices if choice.early]
        if not result.get("failed") and not self._task.check_mode:
            result["trail"] = [*result.get("trail", ()), *_record(inputs, early)]
        result["held"] = [choice.as_held() for choice in choices if choice.waits]
        result["void"] = void
        result["early"] = [choice.as_early(str(_directory(inputs, choice))) for choice in early]
        # A refusal is reported, and stops only its own certificate: nothing of it is sent.
        # Of one that would only be kept where it is in service, the choice has told.
        result["refused"] = [one for one in refused if _deploys(mine, one)]
        warnings = [str(entry["text"]) for entry in (*result["refused"], *void)]
        if warnings:
            result["warnings"] = [*result.get("warnings", ()), *warnings]
        return result

    def _present(
        self,
        inputs: session.Inputs,
        arguments: dict[str, Any],
        bundles: list[Bundle],
        seen: dict[str, Any],
        task_vars: dict[str, Any],
        void: list[dict[str, Any]],
    ) -> dict[str, Any]:
        keyless = {entry["id"] for entry in seen["releases"] if entry["needs_key"]}
        # A host that fetches its key itself needs no token of us; one that made it needs one only
        # for the passphrase of an encrypted key.
        locked = {entry["id"] for entry in seen["releases"] if entry["needs_passphrase"]}
        wanted = [
            bundle
            for bundle in bundles
            if bundle["id"] in (keyless if bundle["key_source"] == WRAPPED else locked)
        ]
        if wanted:
            delivery.refuse_copied_modules(self)
        tokens = wrapped(inputs, arguments, wanted) if wanted else {}
        return self._on_host("present", arguments, bundles, tokens, task_vars, void)

    def _on_host(
        self,
        state: str,
        arguments: dict[str, Any],
        bundles: list[Bundle],
        tokens: dict[str, str],
        task_vars: dict[str, Any],
        void: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        parameters = {
            "state": state,
            "release_root": arguments["release_root"],
            "releases": bundles,
            "host_vault": arguments["host_vault"],
            "wrap_tokens": tokens,
            "void_holds": [{name: one[name] for name in ("entry", "why")} for one in void],
        }
        return self._execute_module(
            module_name="pki_release", module_args=parameters, task_vars=task_vars
        )


def judged(
    inputs: session.Inputs, actions: Actions, answers: Fetched
) -> tuple[dict[acceptance.Key, Bundle], list[dict[str, Any]]]:
    """Releases of what is accepted here and now, and what is refused, as results."""
    outcome = acceptance.run(
        inputs.declared,
        list(actions),
        inputs.certificates_dir,
        acceptance.evidence(inputs, {}, answers),
        functools.partial(_bundle, inputs),
    )
    refused = [
        {
            "certificate": refusal.certificate,
            "version": refusal.version,
            "error": refusal.error.as_result(),
            "text": str(refusal.error),
        }
        for refusal in outcome.refused
    ]
    return dict(outcome.accepted), refused


def _refused_by_host(
    result: dict[str, Any], accepted: dict[acceptance.Key, Bundle]
) -> list[dict[str, Any]]:
    """What the host would not stage, taken out of ``accepted``; empty when it refused nothing."""
    found = []
    for one in result.get("refused", ()) if not result.get("failed") else ():
        if accepted.pop((str(one["certificate"]), int(one["version"])), None) is not None:
            found.append({name: one[name] for name in ("certificate", "version", "error", "text")})
    return found


def newest(accepted: dict[acceptance.Key, Bundle]) -> dict[str, Bundle]:
    """Of several deployable versions of a certificate the newest accepted one is installed."""
    return {name: accepted[name, version] for name, version in sorted(accepted)}


def _judge_held(
    inputs: session.Inputs,
    mine: Actions,
    accepted: dict[acceptance.Key, Bundle],
    arguments: dict[str, Any],
    seen: dict[str, Any],
) -> list[dict[str, Any]]:
    """Judge what a person holds on the host and the plan does not name; what is refused of it.

    It is added to ``mine`` as something to keep, and to ``accepted`` when it is good.
    """
    wanted: Actions = {}
    for name, bundle in newest(accepted).items():
        hold = seen["holds"].get(bundle["certificate"])
        number = held.held_version(hold) if hold else 0
        if number and (name, number) not in mine:
            hosts = mine[name, bundle["version"]]["hosts"]
            wanted[name, number] = {
                "kind": KEEP, "certificate": name, "version": number, "hosts": hosts,
            }  # fmt: skip
    mine.update(wanted)
    barred = {key: why for key in wanted if (why := rollback_stage.barred_here(inputs, *key))}
    judging = {key: action for key, action in wanted.items() if key not in barred}
    answers = Fetched.of_result(arguments["answers"])
    good, refused = judged(inputs, judging, answers) if judging else ({}, [])
    accepted.update(good)
    return refused + [
        {"certificate": name, "version": version, "error": {"message": why}, "text": why}
        for (name, version), why in barred.items()
    ]


def _chosen(
    actions: Actions,
    accepted: dict[acceptance.Key, Bundle],
    refused: list[dict[str, Any]],
    seen: dict[str, Any],
) -> list[held.Choice]:
    """What this host gets of each certificate, with what is in service and what is held there."""
    return [
        held.choose(
            actions[name, bundle["version"]],
            bundle,
            [one for key, one in accepted.items() if key[0] == name and one is not bundle],
            str(seen["in_service"][bundle["certificate"]]),
            {
                entry["version"]: str(entry["error"]["message"])
                for entry in refused
                if entry["certificate"] == name and entry["version"] != bundle["version"]
            },
            seen["holds"].get(bundle["certificate"]),
        )
        for name, bundle in newest(accepted).items()
    ]


def _deploys(actions: Actions, refused: dict[str, Any]) -> bool:
    """Whether what was refused was to be deployed, and not only kept where it is."""
    return bool(actions[refused["certificate"], refused["version"]]["kind"] == DEPLOY)


def _directory(inputs: session.Inputs, choice: held.Choice) -> Path:
    return inputs.certificates_dir / choice.certificate / str(choice.version)


def _record(inputs: session.Inputs, early: list[held.Choice]) -> list[dict[str, Any]]:
    """Keep why a certificate did not wait, for a person to commit; the first word stands.

    Returns what was written, for the audit trail.
    """
    happened = []
    for choice in early:
        directory = _directory(inputs, choice)
        if not (directory / held.RECORD).exists():
            content = choice.record(inputs.now)
            public_state.write(directory, {held.RECORD: content})
            digests = {held.RECORD: sha256(content).hexdigest()}
            what = "delivered before its window"
            happened.append(trail.event(what, choice.certificate, choice.version, digests))
    return happened


def _bundle(inputs: session.Inputs, name: str, files: VersionFiles, accepted: Accepted) -> Bundle:
    """What a host is sent of an accepted certificate, and where its key is released."""
    key_path = _key_path(inputs, files, name)
    certificate = inputs.declared.certificates[name]
    source = key_place.delivery(certificate, files)
    bundle = ReleaseBundle.of(certificate.entry, files.number, accepted, key_path, source)
    locked_with = {"passphrase_path": passphrases.path(certificate)} if source == LOCAL else {}
    return {**bundle.for_host(), **locked_with}


def wrapped(
    inputs: session.Inputs, arguments: dict[str, Any], bundles: list[Bundle]
) -> dict[str, str]:
    """One single-use token a release, by key path. The only login of the release role."""
    from pki import keystores  # an HTTP client that most runs never need

    with keystores.vault(arguments["vault"], os.environ) as client:
        stores = keystores.Stores(client, inputs.policies)
        ttl = int(arguments["wrap_ttl"])
        return {one["key_path"]: _token(inputs, client, stores, one, ttl) for one in bundles}


def _token(inputs: session.Inputs, client: Any, stores: Any, bundle: Bundle, ttl: int) -> str:
    if bundle["key_source"] == LOCAL:
        return str(client.wrap(bundle["passphrase_path"], ttl).token)
    mount, _, _, name, version = bundle["key_path"].split("/")
    of_entry = inputs.declared.entries[bundle["certificate"]]
    certificate = next(one for one in of_entry if one.key_name == name)
    place = key_place.KeyPlace(key_place.TRANSIT, mount, name)
    token: str = stores.at(certificate, place).wrap(name, int(version), ttl).token
    return token


def _key_path(inputs: session.Inputs, files: VersionFiles, name: str) -> str:
    place = key_place.of_version(inputs.declared.certificates[name], files)
    if place.store == key_place.HOST:
        return f"{inputs.declared.certificates[name].entry}/keys/{files.number}"
    return f"{place.mount}/export/signing-key/{place.name}/{files.number}"


def _actions_of_host(actions: Any, task_vars: dict[str, Any]) -> Actions:
    """The plan's deploy and keep actions whose ``hosts`` is this host or one of its groups."""
    mine = {"all", str(task_vars.get("inventory_hostname", ""))}
    mine.update(str(group) for group in task_vars.get("group_names", ()))
    return {
        (str(action["certificate"]), int(action["version"])): {
            **action,
            "kind": str(action["kind"]),
        }
        for action in actions
        if str(action["kind"]) in (DEPLOY, KEEP) and str(action["hosts"]) in mine
    }


def _arguments(raw: dict[str, Any]) -> dict[str, Any]:
    for name in raw:
        if name not in FROM_TASK:
            raise PkiError(
                f"pki_release does not take `{name}` from a task",
                rule="RELEASE-ARGUMENT",
                found=str(name),
                expected=", ".join(FROM_TASK),
                where="the task",
                next_step="use the release role",
            )
    arguments = {**OPTIONAL, **raw}
    for name in (*JUDGED_WITH, "release_root"):
        if arguments.get(name) is None:
            raise PkiError(
                f"pki_release needs `{name}`",
                rule="RELEASE-ARGUMENT",
                found="nothing",
                expected=name,
                where="the task",
                next_step="use the release role",
            )
    return arguments
