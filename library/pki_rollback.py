#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold an older release of a certificate on a host, or let the newest one in again."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_rollback
short_description: Hold an older release of a certificate on a host
version_added: 0.1.0
description:
  - Works as an action on the controller and a module on the host, in one task. The action has the
    host tell what it keeps, judges every release anew, and says which may be used and how.
  - It asks no key server and no network. The committed files, the ledger beside the inventory and
    CRLs decide; those that the host has in service count as long as they are fresh.
  - Without O(reason) it only lists. With one it writes C(held.json) into the certificate's
    directory on the host; the role C(gateway) then switches, and O(state=settled) says that it did.
  - A release that is expired, not valid yet, revoked, compromised, retired or withdrawn is refused,
    and so is one of which nobody says whether it is revoked.
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Judges everything and changes nothing.
  diff_mode:
    support: full
    description: Shows C(held.json); nothing in it is secret.
options:
  state:
    description:
      - V(held) lists and, with a O(reason), holds a release; V(settled) says that the links were
        switched; V(abandoned) takes the hold away as they were not, and puts back the one before;
        V(released) takes it away for good.
      - V(inspect) is the host's own first step.
    type: str
    choices: [held, settled, abandoned, released, inspect]
    default: held
  release_root:
    description: Directory of the releases on the host.
    type: path
    required: true
  crl_root:
    description: Directory of the CRL sets on the host.
    type: path
  certificate:
    description: The certificate; may be left out where only one can be meant.
    type: str
    default: ''
  release:
    description:
      - Id or version of a kept release, or V(previous). The newest good older one if empty.
    type: str
    default: ''
  reason:
    description: Why. Without it nothing is changed.
    type: str
    default: ''
  by:
    description: Who says so; whoever runs this if empty.
    type: str
    default: ''
  choice:
    description: What O(state=held) returned as RV(choice), for the steps after it.
    type: dict
    default: {}
  hold:
    description: What is written on the host; set by the action.
    type: dict
  organisations:
    description: The vetted organisations. Read by the action.
    type: dict
    default: {}
  certificates:
    description: The declared certificates. Read by the action.
    type: list
    elements: dict
    default: []
  trust:
    description: The pinned CA files. Read by the action.
    type: dict
    default: {}
  groups:
    description: The hosts of each group, as in C(groups); for entries with C(per_host).
    type: dict
    default: {}
  policy_dir:
    description: Directory of the policies, on the controller. Read by the action.
    type: str
  base_dir:
    description: Directory of relative CA files, on the controller. Read by the action.
    type: str
  certificates_dir:
    description: Directory of the certificates' public files, on the controller. Read by the action.
    type: str
  crl_cache_dir:
    description: Directory of the verified CRLs, on the controller. Read by the action.
    type: str
"""

EXAMPLES = r"""
- name: Hold the release before the one in service
  pki_rollback:
    release_root: /etc/pki/mtls
    crl_root: /var/lib/pki-crl
    certificate: dip-nonprod
    release: previous
    reason: the DIP refuses the new certificate
    organisations: "{{ organisations }}"
    certificates: "{{ certificates }}"
    trust: "{{ trust }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    certificates_dir: "{{ inventory_dir }}/certificates"
    crl_cache_dir: .cache/crl
"""

RETURN = r"""
listing:
  description: Every release that the host keeps, with the command for each.
  returned: O(state=held)
  type: list
  elements: str
choice:
  description: What is held, and what was in service; empty when this run only lists.
  returned: O(state=held)
  type: dict
  contains:
    certificate: {description: Name of the entry., type: str}
    release: {description: Id of the release that is held., type: str}
    before: {description: Id of the release that was in service; empty without one., type: str}
    previous: {description: The hold that was there before., type: dict}
    done: {description: Whether it was in service and held already., type: bool}
    link: {description: The link to switch., type: dict}
  sample:
    certificate: dip-nonprod
    release: v1-0123456789abcdef
    before: v2-fedcba9876543210
    previous: null
    done: false
    link: {path: /etc/pki/mtls/dip-nonprod/current, target: releases/v1-0123456789abcdef}
releases:
  description: What is to be in service on this host, as C(pki_release) returns it.
  returned: O(state=held)
  type: list
  elements: dict
crl_sets:
  description: The CRL sets in service, as C(pki_crl_install) returns them.
  returned: O(state=held)
  type: list
  elements: dict
api_keys:
  description: The API keys in service, as C(pki_api_key) returns them.
  returned: O(state=held)
  type: list
  elements: dict
believed:
  description: By trust entry, the SHA-256 of the CAs that the CRLs in service on this host are of.
  returned: O(state=held)
  type: dict
out_of_service:
  description: Entries whose key is on the host's list and that have nothing in service.
  returned: O(state=held)
  type: list
  elements: str
sentences:
  description: What was done, or would be, and what comes next.
  returned: success
  type: list
  elements: str
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

import json
import os

from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_host import compromised, files, hold, in_service, kept, trail
from ansible.module_utils.pki_host.errors import HostError

STATES = ("held", "settled", "abandoned", "released", "inspect")
SPEC = {
    "state": {"type": "str", "choices": list(STATES), "default": "held"},
    "release_root": {"type": "path", "required": True},
    "crl_root": {"type": "path"},
    **{name: {"type": "str", "default": ""} for name in ("certificate", "release", "reason", "by")},
    "choice": {"type": "dict", "default": {}},
    "hold": {"type": "dict"},
    "organisations": {"type": "dict", "default": {}},
    "certificates": {"type": "list", "elements": "dict", "default": []},
    "trust": {"type": "dict", "default": {}},
    "groups": {"type": "dict", "default": {}},
    **{
        name: {"type": "str"}
        for name in ("policy_dir", "base_dir", "certificates_dir", "crl_cache_dir")
    },
}


def inspect(module):
    """What this host keeps and has in service."""
    root, crl_root = module.params["release_root"], module.params["crl_root"]
    return {
        "changed": False,
        "certificates": [one.as_result() for one in kept.entries(root, judged=True)],
        "crl_sets": in_service.crl_sets(crl_root, pem=True) if crl_root else [],
        "api_keys": in_service.api_keys(root),
        "listed": sorted({one.certificate for one in compromised.read(root).values()}),
        "trail": [],
    }


def changed(module, certificate, wanted, event, reason):
    """Bring the hold of a certificate to what is wanted (None for none), and tell of it."""
    root, happened = module.params["release_root"], []
    before = hold.read(root, certificate)
    if before == wanted:
        return {"changed": False, "trail": [], "held": as_json(before)}
    if not module.check_mode:
        with files.HostLock(os.path.join(root, ".lock")):
            if wanted is None:
                hold.remove(root, certificate)
            else:
                require_release(root, certificate, wanted)
                hold.write(root, certificate, wanted)
        version = (wanted or before).version
        happened = [{**trail.event(event, certificate, version, reason=reason), "by": by(module)}]
    path = hold.path(root, certificate)
    text = [json.dumps(as_json(one), indent=2, sort_keys=True) + "\n" for one in (before, wanted)]
    header = {"before_header": path, "after_header": path}
    return {
        "changed": True,
        "diff": {**header, "before": text[0], "after": text[1]},
        "trail": happened,
        "held": as_json(wanted),
    }


def require_release(root, certificate, wanted):
    """Under the lock: another run may have removed it since it was looked at."""
    directory = os.path.join(root, certificate, "releases", wanted.release)
    if os.path.isdir(directory):
        return
    raise HostError(
        f"{certificate}: the release that is to be held is not on this host any more",
        rule="ROLLBACK",
        found="no such directory",
        expected=wanted.release,
        where=directory,
        next_step="run playbooks/rollback.yml again: it lists what is there; nothing was changed",
    )


def as_json(one):
    return one.as_json() if one else None


def by(module):
    return module.params["by"]


def settled(module):
    """That the links lead where they are to; otherwise the hold goes, and this fails."""
    choice = module.params["choice"]
    root, certificate = module.params["release_root"], choice["certificate"]
    now = kept.current(root, certificate)
    if now != choice["release"] and not module.check_mode:
        abandoned(module)
        raise HostError(
            f"{certificate}: no gateway of this host switched to the release",
            rule="ROLLBACK-NOT-SWITCHED",
            found=now or "nothing in service",
            expected=choice["release"],
            where=os.path.join(root, certificate, "current"),
            next_step="a gateway that waits for something is named above; one that does not use "
            "this certificate cannot bring it back. The hold was taken away again",
        )
    version = hold.Hold(choice["release"], "", "", "").version
    reason = f"from {choice['before'] or 'nothing'}: {module.params['reason']}"
    event = trail.event("rolled back", certificate, version, reason=reason)
    # By an earlier run that was killed, or by this one.
    return {"changed": False, "trail": [] if module.check_mode else [{**event, "by": by(module)}]}


def abandoned(module):
    """The hold of a switch that failed goes, and the one before comes back."""
    choice = module.params["choice"]
    previous = hold.Hold.of(choice["previous"]) if choice.get("previous") else None
    event = "hold taken away, as the rollback failed"
    return changed(module, choice["certificate"], previous, event, module.params["reason"])


def released(module):
    """The newest release may come in again."""
    event = "hold released"
    return changed(module, module.params["certificate"], None, event, module.params["reason"])


def held(module):
    wanted = hold.Hold.of(module.params["hold"])
    event = "release held for a rollback"
    return changed(module, module.params["certificate"], wanted, event, module.params["reason"])


def handler(module):
    steps = {
        "inspect": inspect,
        "held": held,
        "settled": settled,
        "abandoned": abandoned,
        "released": released,
    }
    return steps[module.params["state"]](module)


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
