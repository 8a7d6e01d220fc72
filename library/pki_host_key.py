#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make, use and look at private keys that never leave a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_host_key
short_description: Make, use and look at private keys that never leave a host
version_added: 0.1.0
description:
  - Keys are made below the release root with the C(openssl) program, in
    C(<release_root>/<entry>/keys/<version>/key.pem), mode 0600 from the first instant.
  - A version of a key is made once. An existing one is never replaced.
  - Only public keys, dates, modes and signatures leave the host.
  - One key that fails does not stop the others; each has its own RV(keys[].error).
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Names the keys that are made or destroyed; never the content of one.
options:
  release_root:
    description: Directory of the releases on the host.
    type: path
    required: true
  state:
    description:
      - V(inspect) tells every version of the entries' keys.
      - V(make) makes the versions that are not there.
      - V(sign) signs digests.
      - V(place) keeps a key that somebody brings as a version that is not there.
      - V(retire) ends the use of every version below C(keep). A file cannot be withdrawn so that it
        could be brought back, so it only says that nothing was done unless O(destroy) is given.
    type: str
    choices: [inspect, make, sign, place, retire]
    default: inspect
  keys:
    description: The keys it is about.
    type: list
    elements: dict
    required: true
    suboptions:
      entry:
        description: The certificate entry's name.
        type: str
        required: true
      version:
        description: Version to make or to sign with.
        type: int
        default: 0
      bits:
        description: Size of a new key, as the policy wants it.
        type: int
        default: 0
      digest:
        description: The digest to sign, in base64.
        type: str
        default: ''
      algorithm:
        description: The hash function that made O(keys[].digest).
        type: str
        choices: [sha256, sha384, sha512]
        default: sha256
      pem:
        description: The key to keep with O(state=place), PEM, not encrypted; set by the action.
        type: str
        default: ''
      keep:
        description: The oldest version that stays, with O(state=retire).
        type: int
        default: 0
      passphrase_path:
        description:
          - Where the key server has this key's passphrase; empty for a key that is not encrypted.
          - The token in O(wrap_tokens) must have been made for this very path.
        type: str
        default: ''
  destroy:
    description: Whether O(state=retire) removes keys for good.
    type: bool
    default: false
  host_vault:
    description: How the host reaches the key server; for encrypted keys only.
    type: dict
    suboptions:
      address:
        description: Address beginning with C(https://).
        type: str
        required: true
      ca_pem:
        description: PEM of the CA that issued the server's certificate.
        type: str
        default: ''
      namespace:
        description: Namespace of the key server.
        type: str
        default: ''
      timeout:
        description: Seconds to wait for an answer.
        type: int
        default: 30
  wrap_tokens:
    description: One single-use token a passphrase, by its path; set by the action.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Look at the keys of this host
  pki_host_key:
    release_root: /etc/pki/mtls
    keys:
      - entry: dip-nonprod
"""

RETURN = r"""
keys:
  description: One entry a key, in the order of O(keys).
  returned: success
  type: list
  elements: dict
  contains:
    entry:
      description: The certificate entry's name.
      type: str
    versions:
      description: The versions that are there; with O(state=inspect) and O(state=make).
      type: list
      elements: dict
    made:
      description: Whether the version was made, or would be, with O(state=make).
      type: bool
    signature:
      description: The PKCS#1 v1.5 signature in base64, with O(state=sign).
      type: str
    sentences:
      description: What was done or would be, and what there is to say, with O(state=retire).
      type: list
      elements: str
    changed:
      description: Whether anything of this key was changed or would be.
      type: bool
    error:
      description: Why nothing else is told of this key; absent when all went well.
      type: dict
    text:
      description: The same in words.
      type: str
  sample:
    - entry: dip-nonprod
      changed: false
      versions:
        - version: 1
          created: "2026-11-22T12:00:00Z"
          public: "…"
          encrypted: false
          imported: false
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

import base64
import os

from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_host import files, key, trail, unwrap, vault_http
from ansible.module_utils.pki_host.errors import HostError

HOST_VAULT = {
    "address": {"type": "str", "required": True},
    "ca_pem": {"type": "str", "default": ""},
    "namespace": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 30},
}
ALGORITHMS = ["sha256", "sha384", "sha512"]
# Ansible warns of options that sound like secrets; `no_log` says that this one was considered.
KEYS = {
    "entry": {"type": "str", "required": True},
    "version": {"type": "int", "default": 0},
    "bits": {"type": "int", "default": 0},
    "digest": {"type": "str", "default": ""},
    "algorithm": {"type": "str", "choices": ALGORITHMS, "default": "sha256"},
    "pem": {"type": "str", "default": "", "no_log": True},
    "keep": {"type": "int", "default": 0},
    "passphrase_path": {"type": "str", "default": "", "no_log": False},
}
SPEC = {
    "release_root": {"type": "path", "required": True},
    "state": {
        "type": "str",
        "choices": ["inspect", "make", "sign", "place", "retire"],
        "default": "inspect",
    },
    "keys": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": KEYS,
        "no_log": False,
    },
    "destroy": {"type": "bool", "default": False},
    "host_vault": {"type": "dict", "options": HOST_VAULT},
    "wrap_tokens": {"type": "dict", "default": {}, "no_log": True},
}


def passphrase(module, wanted):
    """The key's passphrase if it has one and a token for it came; the token is spent by that."""
    token, raw = module.params["wrap_tokens"].get(wanted["passphrase_path"]), None
    if token:
        raw = module.params["host_vault"]
    if not raw:
        return None
    vault = vault_http.VaultAddress(raw["address"], raw["ca_pem"], raw["namespace"], raw["timeout"])
    return unwrap.unwrap_passphrase(vault, str(token), wanted["passphrase_path"])


def told(root, entry):
    return [one.as_result() for one in key.inspect(root, entry)]


def inspect(module, root, wanted):
    for warning in key.wide_modes(root, wanted["entry"]):
        module.warn(warning)
    return {"versions": told(root, wanted["entry"])}


def make(module, root, wanted):
    entry, version = wanted["entry"], wanted["version"]
    there = version in key.versions(root, entry)
    if not there and not module.check_mode:
        # An encrypted key without its passphrase would be a plain one: nothing falls back to that.
        secret = passphrase(module, wanted)
        if wanted["passphrase_path"] and not secret:
            raise no_passphrase(wanted)
        key.make(root, entry, version, wanted["bits"], secret)
    return {"versions": told(root, entry), "made": not there, "changed": not there}


def place(module, root, wanted):
    entry, version = wanted["entry"], wanted["version"]
    there = version in key.versions(root, entry)
    if not module.check_mode:
        secret = passphrase(module, wanted)
        if wanted["passphrase_path"] and not secret:
            raise no_passphrase(wanted)
        _, made = key.place(root, entry, version, wanted["pem"].encode("ascii"), secret)
        there = not made
    return {"versions": told(root, entry), "made": not there, "changed": not there}


def sign(module, root, wanted):
    secret = passphrase(module, wanted)
    digest = base64.b64decode(wanted["digest"])
    signature = key.sign(
        root, wanted["entry"], wanted["version"], digest, wanted["algorithm"], secret
    )
    return {"signature": base64.b64encode(signature).decode("ascii")}


def retire(module, root, wanted):
    done, said = key.retire(
        root,
        wanted["entry"],
        wanted["keep"],
        destroy=module.params["destroy"],
        check=module.check_mode,
    )
    return {"sentences": [*done, *said], "changed": bool(done)}


WORK = {"inspect": inspect, "make": make, "sign": sign, "place": place, "retire": retire}


def no_passphrase(wanted):
    return HostError(
        "{entry}: the key is to be encrypted and no passphrase was delivered".format(**wanted),
        rule="KEY-PASSPHRASE",
        found="no wrapped passphrase for this host",
        expected="a token for {passphrase_path}, in the same task".format(**wanted),
        where="{entry} version {version}".format(**wanted),
        next_step="run the playbook; the module alone cannot make a token",
    )


def one(module, wanted):
    """What became of one key. A fault of its own stays its own."""
    root = module.params["release_root"]
    result = {"entry": wanted["entry"], "changed": False}
    try:
        result.update(WORK[module.params["state"]](module, root, wanted))
    except HostError as exc:
        result.update(error=exc.as_result(), text=str(exc))
    return result


def every(module):
    wanted = module.params["keys"]
    if module.params["state"] not in ("make", "place", "retire") or module.check_mode:
        return [one(module, each) for each in wanted]
    with files.HostLock(os.path.join(module.params["release_root"], ".lock")):
        return [one(module, each) for each in wanted]


def difference(state, result):
    label = "key of {entry}".format(**result)
    if state == "retire":
        return {"before": "".join(s + "\n" for s in result["sentences"]), "before_header": label}
    return {"after": f"a new {label}\n", "after_header": label}


def handler(module):
    results = every(module)
    changed = [result for result in results if result["changed"]]
    blank = {"before": "", "after": ""}
    state = module.params["state"]
    told = {"make": "key made", "place": "key brought", "retire": "old keys destroyed"}
    return {
        "changed": bool(changed),
        "keys": results,
        "diff": [{**blank, **difference(state, one)} for one in changed],
        "trail": [trail.event(told[state], one["entry"]) for one in changed]
        if not module.check_mode
        else [],
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
