# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of ``pki_rollback``: judge what a host keeps, and choose.

It logs in nowhere: whoever rolls back at night may have no key server either.
"""

from __future__ import annotations

import getpass
import os
import sys
from datetime import UTC, datetime
from typing import Any

# Plugins are not found through module_utils; this is the one line that shows them the way.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(__file__)), "module_utils"))

from pki import commands, outcomes, rollback, rollback_stage, session
from pki.errors import PkiError
from pki_ansible.acting import GuardedAction

RULE_WORD = "ROLLBACK-WORD"


class ActionModule(GuardedAction):
    """See the documentation of the module of the same name."""

    def act(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        arguments = dict(self._task.args)
        state = str(arguments.get("state") or "held")
        host = str(task_vars.get("inventory_hostname", ""))
        if not task_vars.get("ansible_limit") and (
            state == "released" or (state == "held" and _words(arguments)["reason"])
        ):
            raise _nowhere(host)
        if state == "held":
            return self._held(arguments, host, task_vars)
        if state == "released":
            return self._released(arguments, host, task_vars)
        return self._on_host({**_places(arguments), **_words(arguments), "state": state}, task_vars)

    def _held(
        self, arguments: dict[str, Any], host: str, task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        words = _words(arguments)
        _must_say_why(words, host)
        # What the policies refuse of the inventory stops nobody who is in trouble now.
        inputs = session.load(arguments, judged=False)
        seen = self._on_host({**_places(arguments), "state": "inspect"}, task_vars)
        if seen.get("failed"):
            return seen
        releases = rollback_stage.look(inputs, seen, host)
        holds = {
            str(one["certificate"]): one["held"] for one in seen["certificates"] if one["held"]
        }
        result = {
            "changed": False,
            "listing": rollback.listing(host, releases, holds),
            "choice": {},
            "trail": [],
            "sentences": [],
        }
        if not words["reason"]:
            return result
        wish = rollback.Wish(host, words["certificate"], words["release"])
        choice = _as_result(rollback.choose(releases, wish), holds, arguments)
        result = {**result, **_in_service(seen, choice, arguments), "choice": choice}
        result["believed"] = rollback_stage.believed(inputs, seen["crl_sets"])
        result["sentences"] = [_sentence(choice, host, self._task.check_mode)]
        if choice["done"]:
            return result
        wanted = {
            "release": choice["release"],
            "by": words["by"],
            "reason": words["reason"],
            "since": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if (choice["previous"] or {}).get("release") == choice["release"]:
            wanted = choice["previous"]  # a run that was killed before the switch
        step = {"state": "held", "hold": wanted, "certificate": choice["certificate"]}
        done = self._on_host({**_places(arguments), **words, **step}, task_vars)
        changed = bool(done.get("changed"))
        return {**result, **done, "changed": changed}

    def _released(
        self, arguments: dict[str, Any], host: str, task_vars: dict[str, Any]
    ) -> dict[str, Any]:
        words = _words(arguments)
        seen = self._on_host({**_places(arguments), "state": "inspect"}, task_vars)
        if seen.get("failed"):
            return seen
        held = sorted(str(one["certificate"]) for one in seen["certificates"] if one["held"])
        named = words["certificate"].partition("/")[0]
        if not named and len(held) > 1:
            raise _which(host, held)
        entry = named or (held[0] if held else "")
        if entry not in held:
            return {"changed": False, "trail": [], "sentences": [f"{host}: nothing is held there"]}
        step = {"state": "released", "certificate": entry}
        done = self._on_host({**_places(arguments), **words, **step}, task_vars)
        would = "would not be" if self._task.check_mode else "is not"
        told = f"{host}: {entry} {would} held any more; next: {commands.deploy()}"
        return {**done, "sentences": [told]}

    def _on_host(self, parameters: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(
            module_name="pki_rollback", module_args=parameters, task_vars=task_vars
        )
        return result


def _places(arguments: dict[str, Any]) -> dict[str, Any]:
    names = ("release_root", "crl_root", "choice")
    return {name: arguments[name] for name in names if arguments.get(name)}


def _words(arguments: dict[str, Any]) -> dict[str, str]:
    names = ("certificate", "release", "reason", "by")
    words = {name: str(arguments.get(name) or "").strip() for name in names}
    return {**words, "by": words["by"] or getpass.getuser()}


def _must_say_why(words: dict[str, str], host: str) -> None:
    """Whoever names a release wants it back; the trail wants to know why."""
    if words["reason"]:
        word = outcomes.Word(words["certificate"], words["reason"], words["by"])
        outcomes.must_say_something(RULE_WORD, word)
    elif words["release"]:
        name = words["certificate"] or "NAME"
        raise PkiError(
            f"{host}: a release is named, and no reason",
            rule=RULE_WORD,
            found="no reason",
            expected="why an older release is put into service, in a few words",
            where="option reason",
            next_step=commands.rollback(name, host, words["release"]),
        )


def _as_result(
    choice: rollback.Choice, holds: dict[str, Any], arguments: dict[str, Any]
) -> dict[str, Any]:
    wanted = choice.release
    link = os.path.join(str(arguments["release_root"]), wanted.entry, "current")
    return {
        "certificate": wanted.entry,
        "name": wanted.certificate,
        "release": wanted.id,
        "version": wanted.version,
        "certificate_sha256": wanted.certificate_sha256,
        "before": choice.before.id if choice.before else "",
        "previous": holds.get(wanted.entry),
        "done": choice.done,
        "link": {"path": link, "target": f"releases/{wanted.id}"},
    }


def _in_service(
    seen: dict[str, Any], choice: dict[str, Any], arguments: dict[str, Any]
) -> dict[str, Any]:
    """The links of this host as they are, except the one; in the words of the role ``gateway``."""
    root, crl_root = str(arguments["release_root"]), str(arguments.get("crl_root") or "")
    releases = []
    for entry in seen["certificates"]:
        name = str(entry["certificate"])
        wanted = choice["release"] if name == choice["certificate"] else entry["current"]
        found = next((one for one in entry["releases"] if one["id"] == wanted), None)
        if found is None:
            continue
        path = os.path.join(root, name, "current")
        releases.append(
            {
                "certificate": name,
                "version": found["version"],
                "id": found["id"],
                "certificate_sha256": found["certificate_sha256"],
                "link": {"path": path, "target": f"releases/{found['id']}"},
            }
        )
    there = {one["certificate"] for one in releases}
    return {
        "releases": releases,
        "crl_sets": [
            {"trust": one["trust"], "link": _link(crl_root, one["trust"], one["target"])}
            for one in seen["crl_sets"]
        ],
        "api_keys": [
            {
                "name": one["name"],
                "link": _link(os.path.join(root, "api-keys"), one["name"], one["target"]),
            }
            for one in seen["api_keys"]
        ],
        "out_of_service": [name for name in seen["listed"] if name not in there],
    }


def _link(root: str, name: str, target: str) -> dict[str, str]:
    return {"path": os.path.join(root, name, "current"), "target": target}


def _sentence(choice: dict[str, Any], host: str, check: bool) -> str:
    certificate, wanted = choice["certificate"], choice["release"]
    if choice["done"]:
        return (
            f"{host}: {certificate} is rolled back to {wanted} already and held there; next: "
            f"{commands.let_go(certificate, host)} once the newest one is good again"
        )
    would = "would go" if check else "goes"
    before = f" from {choice['before']}" if choice["before"] != wanted and choice["before"] else ""
    return f"{host}: {certificate} {would} back{before} to {wanted}, which is then held"


def _nowhere(host: str) -> PkiError:
    """Every gateway of the inventory is hardly what somebody in trouble means."""
    return PkiError(
        "on which host? None was named",
        rule=rollback.RULE,
        found="no -l",
        expected="the hosts that are to be changed",
        where="command line",
        next_step=f"the same with -l {host}; nothing was changed",
    )


def _which(host: str, held: list[str]) -> PkiError:
    return PkiError(
        f"{host}: which certificate is to be released?",
        rule=rollback.RULE,
        found=", ".join(held),
        expected="one of them",
        where="option certificate",
        next_step="; or ".join(commands.let_go(name, host) for name in held),
    )
