#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hand a key to another party in a PKCS #12 file, or record that it was received."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_export
short_description: Hand out a key with its certificate and chain
version_added: 0.1.0
description:
  - Takes one key out of Vault or OpenBao and writes a PKCS12 file with it, its certificate and the
    whole chain up to the pinned anchor, encrypted with a passphrase that was never used before.
  - The certificate is judged first, as every run does it. One that is expired, revoked or whose key
    is compromised is not handed out.
  - Only a Certificate Admin of the organisation that the certificate is for has it done; only the
    provider of the entry gets it, or that organisation itself.
  - The passphrase goes to Vault, where the receiver reads it, or to the terminal at which the run
    was started. Neither it nor the key is ever an option, a result or a part of any message.
  - Writes what was handed out into C(exports.yml) beside the version, for a person to commit.
  - Each run makes another export. With O(id) the same one is made once.
extends_documentation_fragment:
  - pki_inventory
  - pki_inventory.vault
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Decides and judges, says what would be exported, and touches no key.
  diff_mode:
    support: full
    description: Shows the record that is kept; it is public.
options:
  certificates_dir:
    description: Directory of the requests, replies and certificates, one directory per version.
    type: path
    required: true
  crl_sets:
    description:
      - CRLs that C(pki_crl_fetch) returned and did not keep, because it ran in check mode.
      - What is not given is read from O(crl_cache_dir).
    type: list
    elements: dict
    default: []
  certificate:
    description: Name of the declared certificate.
    type: str
    required: true
  recipient:
    description: Key of the organisation that gets the key, as in O(organisations).
    type: str
    default: ""
  by:
    description: Name of the Certificate Admin on whose word it is done.
    type: str
    default: ""
  version:
    description: Version of the key; V(0) for that of the newest accepted certificate.
    type: int
    default: 0
  id:
    description:
      - Id of this export, also the file's name. Given again, nothing is done again.
      - Made of certificate, version and time when it is left out.
    type: str
    default: ""
  legacy:
    description:
      - Encrypt with triple DES and SHA-1, for receivers that read nothing better (Java before
        8u301, Windows before Server 2019). The policy then reports it.
    type: bool
    default: false
  show:
    description: Show the passphrase once on the terminal instead of writing it to Vault.
    type: bool
    default: false
  directory:
    description: Where the file is put. It is made with mode 0700, or must have it.
    type: path
    default: ""
  receipt:
    description: Id of an export that was received. Then this is recorded, and nothing exported.
    type: str
    default: ""
  sent_with:
    description: Which way the passphrase went, V(separate) from the file or with the V(file).
    type: str
    default: ""
  received_by:
    description: Name of the person who received it.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Hand the signing key to the provider that signs with it
  pki_export:
    certificate: b-prod-signing
    recipient: provider-x
    by: Ada Admin
    directory: /root/handover
    vault: "{{ export_vault }}"
    organisations: "{{ organisations }}"
    certificates: "{{ certificates }}"
    trust: "{{ trust }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    certificates_dir: "{{ inventory_dir }}/certificates"
    crl_cache_dir: .cache/crl
"""

RETURN = r"""
export:
  description: The export as it is recorded; nothing of key or passphrase but what may be known.
  returned: when something was exported
  type: dict
  sample:
    id: b-prod-signing-v1-20261122T120000Z-0f3a
    recipient: provider-x
    file: b-prod-signing-v1-20261122T120000Z-0f3a.p12
    passphrase_in: kv-prod/data/exports/b-prod-signing-v1-20261122T120000Z-0f3a
path:
  description: The file.
  returned: when something was exported
  type: str
sentences:
  description: What was done and what there is to do.
  returned: success
  type: list
  elements: str
findings:
  description: What the policy says against the export, one sentence each.
  returned: success
  type: list
  elements: str
trail:
  description: The change, for the audit trail; empty when there was none.
  returned: success
  type: list
  elements: dict
"""

import os
import secrets
from contextlib import nullcontext
from pathlib import Path

from ansible.module_utils.pki import (
    acceptance,
    desk,
    export_file,
    export_records,
    export_stage,
    exporting,
    keystores,
    ledger,
    policy,
    session,
    terminal,
    trail,
    vault_ids,
)
from ansible.module_utils.pki.errors import PkiError
from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_ansible.arguments import INVENTORY, JUDGED, VAULT

SPEC = {
    **INVENTORY,
    **JUDGED,
    **VAULT,
    "certificate": {"type": "str", "required": True},
    "recipient": {"type": "str", "default": ""},
    "by": {"type": "str", "default": ""},
    "version": {"type": "int", "default": 0},
    "id": {"type": "str", "default": ""},
    "legacy": {"type": "bool", "default": False},
    "show": {"type": "bool", "default": False},
    "directory": {"type": "path", "default": ""},
    "receipt": {"type": "str", "default": ""},
    "sent_with": {"type": "str", "default": ""},
    "received_by": {"type": "str", "default": ""},
}


def chain_of(_name, _files, accepted):
    """DER from the certificate to the pinned anchor, that one included."""
    return (*accepted.chain, accepted.anchor)


def judged(inputs, place, version):
    """The chain of a certificate that is good now; its refusal ends the run."""
    name = place.certificate.name
    evidence = acceptance.evidence(inputs, {})
    outcome = acceptance.run(
        inputs.declared, [(name, version)], inputs.certificates_dir, evidence, chain_of
    )
    for refusal in outcome.refused:
        raise refusal.error
    return outcome.accepted[name, version]


def directory_of(given):
    """Where the file goes; it is said, since no place is right for everybody."""
    if not given:
        raise PkiError(
            "it is not said where the file is to be put",
            rule=export_stage.RULE,
            found="nothing",
            expected="a directory outside the checkout that nobody else may enter",
            where="option directory",
            next_step="say it: -e destination=DIRECTORY; nothing was exported",
        )
    return Path(given)


def told(place, export, path, check):
    """What happened and what a person does next."""
    name, number = place.certificate.name, path.parent
    where = export.passphrase_in
    passphrase = (
        "its passphrase was shown on your terminal, once"
        if where == exporting.TERMINAL
        else f"its passphrase is in Vault, {where}"
    )
    would = "would be " if check else ""
    return [
        f"{name}: key {would}exported to {export.recipient}, {number / export.file}; {passphrase}",
        f"{name}: send the file, and the passphrase another way; then record the receipt: "
        f"-e receipt={export.id} -e sent_with=separate -e \"received_by='...'\"",
    ]


def exported(module, inputs, client, place, decision, exports):
    params = module.params
    name, number = place.certificate.name, decision.files.number
    chain = judged(inputs, place, number)
    directory = directory_of(params["directory"])
    export_file.must_be_private(directory, decision.file)
    with terminal.find() if params["show"] else nullcontext() as screen:
        if module.check_mode:
            would = f"{name} v{number}: key would be exported to {decision.recipient}"
            return {"changed": True, "sentences": [would], "findings": [], "trail": []}
        store = keystores.Stores(client, inputs.policies).at(place.certificate, decision.place)
        with vault_ids.noted() as ids:
            made = exporting.make(
                client,
                store,
                place,
                decision,
                chain,
                legacy=params["legacy"],
                shown=screen is not None,
            )
            show = screen.show if screen is not None else None
            path = exporting.deliver(client, place, made, directory, show)
    before = exports.get(number, ())
    texts = [
        export_records.content(name, number, kept).decode() if kept else ""
        for kept in (before, (*before, made.export))
    ]
    header = str(decision.files.path / export_records.FILE)
    done = trail.event(
        "key exported",
        certificate=name,
        version=number,
        artefacts={made.export.file: made.export.file_sha256},
        by=decision.by,
        reason=f"to {decision.recipient}, as {made.export.id}",
        vault=ids,
    )
    return {
        "changed": True,
        "export": made.export.as_record(),
        "path": str(path),
        "sentences": [*told(place, made.export, path, False), f"commit {header}"],
        "findings": [
            f"{one.rule}: {one.message} (found {one.found})"
            for one in policy.reported(made.findings)
        ],
        "trail": [done],
        "diff": dict(zip(("before", "after"), texts, strict=True))
        | {"before_header": header, "after_header": header},
    }


def made_before(place, decision):
    """Nothing is repeated: the passphrase of that file is nobody's to read here."""
    done = decision.done
    said = f"{done.id} was exported to {done.recipient} on {done.date}, on {done.by}'s word"
    return {
        "changed": False,
        "export": done.as_record(),
        "sentences": [f"{place.certificate.name}: {said}; nothing is exported again"],
        "findings": [],
        "trail": [],
    }


def received(module, place, exports):
    """Record that an export reached whom it was for."""
    params, name = module.params, place.certificate.name
    path, new = export_stage.receipt(
        place, exports, params["receipt"], params["sent_with"], params["received_by"], place.now
    )
    said = f"{name}: {params['receipt']} was received by {params['received_by'].strip()}"
    if new is None:
        return {
            "changed": False,
            "sentences": [f"{said}, as recorded"],
            "findings": [],
            "trail": [],
        }
    if module.check_mode:
        return {"changed": True, "sentences": [said], "findings": [], "trail": []}
    export_records.receive(path, name, params["receipt"], new)
    done = trail.event(
        "receipt of an exported key recorded",
        certificate=name,
        version=int(path.name),
        by=new.received_by,
        reason=f"{params['receipt']}, passphrase sent {new.sent_with}",
    )
    sentences = [f"{said}; commit {path / export_records.FILE}"]
    return {"changed": True, "sentences": sentences, "findings": [], "trail": [done]}


def handler(module):
    params = module.params
    inputs = session.load(params)
    place = desk.of(inputs, params["certificate"], export_stage.RULE)
    exports = {files.number: export_records.read(files.path) for files in place.versions}
    if params["receipt"]:
        return received(module, place, exports)
    wish = export_stage.Wish(params["recipient"], params["by"], params["version"], params["id"])
    organisations = tuple(inputs.declared.organisations)
    decision = export_stage.decide(place, wish, organisations, exports, secrets.token_hex(2))
    if decision.done is not None:
        return made_before(place, decision)
    with keystores.vault(params["vault"], os.environ) as client:
        compromised = ledger.stored(client, {place.certificate.environment_class})
        known = session.knowing(inputs, compromised)
        return exported(module, known, client, place, decision, exports)


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
