#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep the lab's directories, credentials and files."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_files
short_description: Keep the lab's directories, credentials and files
description:
  - Makes directories, random credentials and a TLS identity for a server on loopback, and writes
    rendered files. All of it in one call.
  - Credentials are made once and never changed or returned.
author:
  - The project's maintainers (@project)
attributes:
  check_mode:
    description: Reports what it would do and changes nothing.
    support: full
  diff_mode:
    description: Returns the steps as text, never a secret.
    support: full
options:
  directories:
    description: Directories.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where.
        type: path
        required: true
      mode:
        description: Permission bits in octal.
        type: str
        default: "0755"
  credentials:
    description: Files with 32 random bytes in hexadecimal, mode 0600, made if there is none.
    type: list
    elements: path
    default: []
  random_keys:
    description: Files with 32 random bytes, mode 0600, made if there is none.
    type: list
    elements: path
    default: []
  tls:
    description: TLS identities of servers on loopback, each with a CA of its own whose key is
      thrown away.
    type: list
    elements: dict
    default: []
    suboptions:
      ca:
        description: File for the CA certificate that clients pin.
        type: path
        required: true
      certificate:
        description: File for the server's certificate.
        type: path
        required: true
      key:
        description: File for the server's key, mode 0600.
        type: path
        required: true
  files:
    description: Public files with their content.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where.
        type: path
        required: true
      content:
        description: The whole text.
        type: str
        required: true
      mode:
        description: Permission bits in octal.
        type: str
        default: "0644"
"""

EXAMPLES = r"""
- name: A directory, a credential and a file
  lab_files:
    directories:
      - path: /srv/lab/secrets
        mode: "0700"
    credentials:
      - /srv/lab/secrets/pipeline.secret_id
    files:
      - path: /srv/lab/readme.txt
        content: hello
"""

RETURN = r"""
steps:
  description: What was done, one sentence each. In check mode what would be done.
  returned: success
  type: list
  elements: str
  sample: ["wrote /srv/lab/readme.txt"]
msg:
  description: The steps in one line.
  returned: success
  type: str
  sample: nothing to do
"""

from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.lab import files, home
from ansible.module_utils.pki_ansible import run_module

SPEC = {
    "directories": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "path", "required": True},
            "mode": {"type": "str", "default": "0755"},
        },
    },
    # Places of credentials, not credentials.
    "credentials": {"type": "list", "elements": "path", "default": [], "no_log": False},
    "random_keys": {"type": "list", "elements": "path", "default": [], "no_log": False},
    "tls": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "ca": {"type": "path", "required": True},
            "certificate": {"type": "path", "required": True},
            # The place of a key, not a key.
            "key": {"type": "path", "required": True, "no_log": False},
        },
    },
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "path", "required": True},
            "content": {"type": "str", "required": True},
            "mode": {"type": "str", "default": "0644"},
        },
    },
}


def path_of(entry, key="path"):
    """A plain path out of an option."""
    return Path(str(entry[key]))


def handle(module):
    """Directories first, then what goes into them."""
    check, now = module.check_mode, datetime.now(UTC)
    steps = []
    for entry in module.params["directories"]:
        if files.ensure_directory(path_of(entry), int(entry["mode"], 8), check):
            steps.append("made the directory {}".format(entry["path"]))
    for kind, option in (("text", "credentials"), ("bytes", "random_keys")):
        for place in module.params[option]:
            steps += home.ensure_secret(home.Secret(Path(str(place)), kind), check)
    for entry in module.params["tls"]:
        places = home.TlsIdentity(*(path_of(entry, key) for key in ("ca", "certificate", "key")))
        steps += home.ensure_tls(places, now, check)
    written, diff = files.ensure_all(module.params["files"], check)
    steps += written
    result = {"changed": bool(steps), "steps": steps, "msg": "; ".join(steps) or "nothing to do"}
    if module._diff:
        result["diff"] = diff
    return result


def main():
    """One call: see run_module."""
    run_module(handle, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
