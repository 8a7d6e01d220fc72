#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep the lab's directories, credentials and files."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_files
short_description: Keep the lab's directories, credentials and files
description:
  - Makes directories, random credentials and a server's TLS identity, writes rendered files, and
    packs what another host is to get. All of it in one call, in this order.
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
    description: TLS identities of servers, each with a CA of its own whose key is thrown away.
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
      dns:
        description: The server's names.
        type: list
        elements: str
        default: [localhost]
      addresses:
        description: The server's IP addresses.
        type: list
        elements: str
        default: [127.0.0.1]
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
  archives:
    description:
      - Tar archives, mode 0600, of files for another host. Modes and dates are those of the files.
      - The same files give the same bytes. Their SHA-256 is in a file of the same name with
        C(.sha256) behind it.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The archive.
        type: path
        required: true
      entries:
        description: What goes into it.
        type: list
        elements: dict
        required: true
        suboptions:
          source:
            description: A file, or a directory with everything below it.
            type: path
            required: true
          name:
            description: Its path on the other host, absolute.
            type: str
            required: true
          owner:
            description: Owner on the other host, by name.
            type: str
            default: root
          group:
            description: Group on the other host, by name. The name of the owner if left out.
            type: str
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

import ipaddress
from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.lab import archive, files, home
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
            "dns": {"type": "list", "elements": "str", "default": ["localhost"]},
            "addresses": {"type": "list", "elements": "str", "default": ["127.0.0.1"]},
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
    "archives": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "path", "required": True},
            "entries": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "source": {"type": "path", "required": True},
                    "name": {"type": "str", "required": True},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str"},
                },
            },
        },
    },
}


def path_of(entry, key="path"):
    """A plain path out of an option."""
    return Path(str(entry[key]))


def identity_of(entry):
    """One server's places and names."""
    places = (path_of(entry, key) for key in ("ca", "certificate", "key"))
    addresses = tuple(ipaddress.ip_address(str(one)) for one in entry["addresses"])
    return home.TlsIdentity(*places, tuple(str(name) for name in entry["dns"]), addresses)


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
        steps += home.ensure_tls(identity_of(entry), now, check)
    written, diff = files.ensure_all(module.params["files"], check)
    steps += written
    for entry in module.params["archives"]:
        entries = [archive.entry_of(one) for one in entry["entries"]]
        steps += archive.ensure(path_of(entry), entries, check)
    result = {"changed": bool(steps), "steps": steps, "msg": "; ".join(steps) or "nothing to do"}
    if module._diff:
        result["diff"] = diff
    return result


def main():
    """One call: see run_module."""
    run_module(handle, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
