#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a backup of the key server, and remove old ones."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_backup
short_description: Back up the key server by a snapshot of its storage
version_added: 0.1.0
description:
  - Streams a raft snapshot of HashiCorp Vault or OpenBao into a private file on the controller,
    looks it through and records it in C(backups.jsonl) beside the inventory, for a person to
    commit.
  - The snapshot holds the whole storage of the server and is encrypted by its seal. It is worth
    nothing without the unseal keys of that server, which somebody else keeps, elsewhere.
  - Every run makes one more backup. Older ones that stand in the record are removed beyond O(keep),
    but never the newest that a drill has restored.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Says what would be made and removed; asks the server for its health only.
  diff_mode:
    support: full
    description: Shows the lines of the record that are added.
options:
  base_dir:
    description: The inventory's directory, with the record of backups.
    type: path
    required: true
  directory:
    description:
      - Directory of the backups. It is made if its parent is there, and refused if anybody but its
        owner may enter it.
    type: path
    required: true
  classes:
    description: Environment classes whose keys the server holds, for the file's name.
    type: list
    elements: str
    choices: [nonprod, prod]
    required: true
  keep:
    description: How many backups stay.
    type: int
    default: 14
  largest:
    description: Bytes that a snapshot may have.
    type: int
    default: 4294967296
  by:
    description: Who has it made.
    type: str
    default: ""
  vault:
    description:
      - How to reach HashiCorp Vault or OpenBao as the role that may back up, as a map of places; no
        secret is an option.
      - Its keys are those of the option of the same name of C(pki_plan).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Back up the key server
  pki_backup:
    base_dir: "{{ inventory_dir }}"
    directory: /var/backups/vault
    classes: [nonprod]
    vault:
      address: https://vault.example.net:8200
      ca_cert: /etc/pki/vault-ca.pem
      role_id_file: /run/secrets/backup.role_id
      secret_id_file: /run/secrets/backup.secret_id
"""

RETURN = r"""
path:
  description: The new backup; empty in check mode.
  returned: success
  type: str
sha256:
  description: Its SHA-256; empty in check mode.
  returned: success
  type: str
sentences:
  description: What was done, or would be, and what a person does now, one sentence each.
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

from ansible.module_utils.pki import backup, backup_records, errors, private_directory
from ansible.module_utils.pki.trail import event
from ansible.module_utils.pki.vault_settings import Settings
from ansible.module_utils.pki.vault_snapshots import SnapshotClient
from ansible.module_utils.pki_ansible import run_module, telling
from ansible.module_utils.pki_ansible.arguments import VAULT

SPEC = {
    **VAULT,
    "base_dir": {"type": "path", "required": True},
    "directory": {"type": "path", "required": True},
    "classes": {
        "type": "list",
        "elements": "str",
        "choices": ["nonprod", "prod"],
        "required": True,
    },
    "keep": {"type": "int", "default": 14},
    "largest": {"type": "int", "default": 4 << 30},
    "by": {"type": "str", "default": ""},
}
SEALED = (
    "it is encrypted by the server's seal and worth nothing without the unseal keys of that "
    "server: they belong into other hands, and never beside it"
)


def checked(params):
    """The numbers, if they make sense."""
    for name in ("keep", "largest"):
        if params[name] < 1:
            raise errors.PkiError(
                f"the option {name} is not a number to work with",
                rule="OPTION",
                found=str(params[name]),
                expected="1 or more",
                where=f"option backup_{name}",
                next_step="correct the option and run again; nothing was changed",
            )
    return params["keep"], params["largest"]


def announced(client, directory, events, keep):
    """What a run would do, as far as it can be told without a snapshot."""
    version = client.health().get("version", "")
    sentences = [f"a snapshot of the server's storage (version {version}) is kept in {directory}"]
    # One more will be there, so one less of the others stays.
    old = backup.superfluous(directory, events, max(keep - 1, 1))
    sentences += [f"{one.said['file']} is removed" for one in old]
    return {
        "changed": True,
        "path": "",
        "sha256": "",
        "sentences": sentences,
        "diff": {"before": "", "after": "".join(f"{line}\n" for line in sentences)},
        "trail": [],
    }


def made(module, client, directory, now, happened):
    """The backup, its record, and what became superfluous by it; ``happened`` gets each change."""
    keep, largest = checked(module.params)
    by, base_dir = module.params["by"][:200], Path(module.params["base_dir"])
    with private_directory.alone(directory, "making a backup"):
        backup.tidy(directory)
        # Before anything is made: a record that cannot be read could not be added to.
        events = backup_records.read(base_dir)
        strangers = backup.unrecorded(directory, events)
        taken = backup.take(client, directory, module.params["classes"], now, largest)
        sha256, name = taken.snapshot.sha256, taken.path.name
        happened.append(event("backup made", artefacts={name: sha256}, by=by))
        lines = [backup.recorded(taken, now, by)]
        backup_records.append(base_dir, lines)
        old = backup.superfluous(directory, backup_records.read(base_dir), keep)
        removed = []
        for one in old:
            removed += backup.remove(directory, [one], now, by)
            gone = {one.said["file"]: one.said["sha256"]}
            happened.append(event("backup removed", artefacts=gone, by=by))
        if removed:
            backup_records.append(base_dir, removed)
    sentences = [f"backup made: {taken.path}, {taken.snapshot.size} bytes, sha256 {sha256}", SEALED]
    sentences += [f"{one.said['file']} removed: {keep} are kept" for one in old]
    sentences += [f"{one} is in no record: a person decides about it" for one in strangers]
    return {
        "changed": True,
        "path": str(taken.path),
        "sha256": sha256,
        "sentences": [*sentences, f"commit {backup_records.FILE}"],
        "diff": {"before": "", "after": b"".join([*lines, *removed]).decode("ascii")},
        "trail": happened,
    }


def handler(module):
    keep, _largest = checked(module.params)
    directory, now = Path(module.params["directory"]), datetime.now(UTC)
    with SnapshotClient(Settings.resolve(module.params["vault"], os.environ)) as client:
        if module.check_mode:
            private_directory.check(directory, backup.WHAT)
            events = backup_records.read(Path(module.params["base_dir"]))
            return announced(client, directory, events, keep)
        backup.prepare(directory)
        with telling() as happened:
            return made(module, client, directory, now, happened)


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
