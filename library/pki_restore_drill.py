#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show that a backup of the key server can be restored."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_restore_drill
short_description: Restore a backup of the key server into a scratch server, and look for every key
version_added: 0.1.0
description:
  - Starts a server of its own on the controller, in a network of its own that leads nowhere, with a
    private directory as its whole file system; restores the snapshot into it; looks for the key of
    every committed request; has one signature made and verifies it with the committed public key;
    and destroys everything again.
  - The restored server is opened with the unseal keys of the server that the snapshot was taken of.
    They are read from private files, and are handed over in requests or through a pipe.
  - The verdict is recorded in C(backups.jsonl) beside the inventory, for a person to commit,
    whether it is good or bad. A drill that did not reach the snapshot is not recorded.
  - Keys that hosts or other people keep are in no snapshot; they are named.
  - Needs Linux, and the right to make network namespaces.
extends_documentation_fragment:
  - pki_inventory
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Looks at the snapshot, the keys' files and the program, and starts nothing.
  diff_mode:
    support: full
    description: Shows the line of the record that is added.
options:
  certificates_dir:
    description: Directory of the requests, replies and certificates, one directory per version.
    type: path
    required: true
  crl_sets:
    description: Not read; there because every module that knows certificates has it.
    type: list
    elements: dict
    default: []
  snapshot:
    description: The backup.
    type: path
    required: true
  largest:
    description: Bytes that a snapshot may have.
    type: int
    default: 4294967296
  seal:
    description:
      - How the real server is unsealed. With V(shamir) O(unseal_key_files) hold a share each, as
        many as it takes; with V(static) there is one, the key itself.
      - Other seals ask a service elsewhere, which a scratch server must not reach.
    type: str
    choices: [shamir, static]
    default: shamir
  seal_key_id:
    description: With O(seal=static) the key's name in the real server's configuration.
    type: str
    default: ""
  unseal_key_files:
    description: Files of mode 0600 on the controller.
    type: list
    elements: path
    required: true
  program:
    description:
      - The server's own program, linked statically as the projects release it. By default C(bao) or
        C(vault) along C(PATH).
    type: path
    default: ""
  scratch_dir:
    description:
      - Directory for nothing but drills, made if its parent is there; a memory file system is best.
    type: path
    required: true
  by:
    description: Who holds the drill.
    type: str
    default: ""
  vault:
    description:
      - A login that was there when the snapshot was taken, and may look at keys, sign with them and
        list the ledger of compromised keys, as the pipeline's. Its address and its CA are replaced
        by those of the scratch server.
      - Its keys are those of the option of the same name of C(pki_plan).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Hold a restore drill
  pki_restore_drill:
    snapshot: /var/backups/vault/vault-nonprod-20260301T020000Z-0123456789abcdef.snap
    unseal_key_files: [/run/secrets/unseal-1, /run/secrets/unseal-2, /run/secrets/unseal-3]
    scratch_dir: /dev/shm/restore-drills
    vault: "{{ certificates_vault }}"
    organisations: "{{ organisations }}"
    certificates: "{{ certificates }}"
    trust: "{{ trust }}"
    groups: "{{ groups }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    certificates_dir: "{{ inventory_dir }}/certificates"
    crl_cache_dir: .cache/crl
"""

RETURN = r"""
passed:
  description: Whether every key was there and the signature was good; true in check mode.
  returned: success
  type: bool
sentences:
  description: What was found, one sentence each.
  returned: success
  type: list
  elements: str
problems:
  description: What was not as it must be, one sentence each.
  returned: success
  type: list
  elements: str
elsewhere:
  description: Keys that no snapshot of the key server holds, one sentence each.
  returned: success
  type: list
  elements: str
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: success
  type: list
  elements: dict
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.pki import (
    backup,
    backup_records,
    drill,
    drill_run,
    errors,
    private_files,
    scratch_server,
    session,
    snapshot_archive,
)
from ansible.module_utils.pki.trail import event
from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_ansible.arguments import INVENTORY, JUDGED, VAULT

LARGEST_KEY = 1 << 12
SPEC = {
    **INVENTORY,
    **JUDGED,
    **VAULT,
    "snapshot": {"type": "path", "required": True},
    "largest": {"type": "int", "default": 4 << 30},
    "seal": {"type": "str", "choices": ["shamir", "static"], "default": "shamir"},
    "seal_key_id": {"type": "str", "default": "", "no_log": False},
    "unseal_key_files": {"type": "list", "elements": "path", "required": True, "no_log": False},
    "program": {"type": "path", "default": ""},
    "scratch_dir": {"type": "path", "required": True},
    "by": {"type": "str", "default": ""},
}
ELSEWHERE = "in no snapshot, backed up by those who keep it: "


def seal_of(params):
    """The seal with its keys, which are read here and stay in memory."""
    static, key_id = params["seal"] == scratch_server.STATIC, params["seal_key_id"]
    files = [str(path) for path in params["unseal_key_files"]]
    if not files or (static and len(files) != 1):
        raise wrong("backup_unseal_key_files", f"{len(files)} files", "one for each key it takes")
    if static and not scratch_server.KEY_ID.fullmatch(key_id):
        raise wrong("backup_seal_key_id", repr(key_id), "the key's name: letters, digits, . _ -")
    keys = [private_files.read(path, LARGEST_KEY, "the file of an unseal key") for path in files]
    return scratch_server.Seal(params["seal"], tuple(keys), str(key_id))


def wrong(option, found, expected):
    return errors.PkiError(
        f"the option {option} does not fit the seal",
        rule="OPTION",
        found=found,
        expected=expected,
        where=f"option {option}",
        next_step="correct the option and run again; nothing was changed",
    )


def said_of(outcome, digest, seal, by):
    """What the record says of a drill."""
    looked = outcome.looked
    problems = (
        list(looked.problems) if looked else [f"{outcome.error.rule}: {outcome.error.message}"]
    )
    return {
        "sha256": digest,
        "passed": outcome.passed,
        "keys_expected": looked.expected if looked else 0,
        "keys_found": looked.found if looked else 0,
        "problems": [one[:300] for one in problems],
        "signed_with": looked.signed_with if looked else "",
        "compromised": looked.compromised if looked else 0,
        "seal": seal,
        "server_version": outcome.server_version,
        "seconds": outcome.seconds,
        "by": by,
    }


def sentences_of(outcome):
    looked = outcome.looked
    if looked is None:
        return str(outcome.error).splitlines()
    return [
        f"{looked.found} of {looked.expected} keys are in the snapshot",
        f"signature made with {looked.signed_with} and verified"
        if looked.signed_with
        else "no signature",
        f"the ledger of compromised keys is there, with {looked.compromised} entries",
        f"server {outcome.server_version}, {outcome.seconds} seconds; all of it is gone again",
        *looked.notes,
        f"commit {backup_records.FILE}",
    ]


def foreseen(snapshot, keys):
    return [
        f"the snapshot is whole: {snapshot.size} bytes, sha256 {snapshot.sha256}",
        f"a scratch server is started and {len(keys)} keys are looked for in it",
    ]


def handler(module):
    params, now = module.params, datetime.now(UTC)
    inputs = session.load(params)
    events = backup_records.read(inputs.base_dir)
    path = Path(params["snapshot"])
    snapshot = snapshot_archive.inspect(path, params["largest"])
    keys, elsewhere = drill.wanted(inputs)
    seal = seal_of(params)
    program = scratch_server.open_program(params["program"], os.environ.get("PATH", ""))
    result = {"elsewhere": [ELSEWHERE + one for one in elsewhere], "problems": [], "trail": []}
    if module.check_mode:
        shown = foreseen(snapshot, keys)
        diff = {"before": "", "after": "".join(f"{line}\n" for line in shown)}
        return {"changed": True, "passed": True, "sentences": shown, "diff": diff, **result}
    look = drill_run.looking(
        inputs, keys, params["vault"], backup.made(events).get(snapshot.sha256)
    )
    outcome = drill_run.run(Path(params["scratch_dir"]), program, seal, path, look)
    said = said_of(outcome, snapshot.sha256, seal.kind, params["by"][:200])
    line = backup_records.line(backup_records.DRILL, now, said)
    backup_records.append(inputs.base_dir, [line])
    what = "restore drill passed" if outcome.passed else "restore drill failed"
    return {
        **result,
        "changed": True,
        "passed": outcome.passed,
        "sentences": sentences_of(outcome),
        "problems": said["problems"],
        "diff": {"before": "", "after": line.decode("ascii")},
        "trail": [event(what, artefacts={path.name: snapshot.sha256}, by=said["by"])],
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
