#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch and verify the CRL of every pinned CA into the controller's cache."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: pki_crl_fetch
short_description: Fetch and verify CRLs on the controller
version_added: 0.1.0
description:
  - Polls the CRL of every CA of every trust set from its configured locations, verifies it
    against the CA, and keeps it.
  - A CRL that is worse than the cached one (unverified, expired, an older number) never
    replaces it.
  - CRLs that a person put into C(crls/) beside the inventory count as well; of network, file and
    cache the newest valid one serves. A file that does not serve is named in a warning.
  - While a copy at hand is fresh a failed poll is a warning; without a fresh copy it is in
    RV(problems).
  - CRLs that the TLS library of a gateway would not take for every good peer are not handed on
    either; the gateways keep those they have.
  - Decides which generations of CAs count. A retired CA stays, with its CRL, while something
    depends on it, or nobody could say that nothing does.
extends_documentation_fragment:
  - pki_inventory
author:
  - The mtls-certificates maintainers (@mtls-certificates)
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: none
    description: CRLs are large and binary; the result names what changed.
options:
  certificates_dir:
    description:
      - Directory of the requests, replies and certificates. What is in service depends on its CA,
        and says where its CRL is.
    type: path
    default: certificates
  gateways:
    description:
      - The declared gateways, as in C(group_vars/all/gateways.yml). Their products decide which
        CRLs can be used.
    type: raw
  gateway_products:
    description:
      - What each gateway product cannot do, as the filter C(pki_gateway_products) tells. It decides
        how old the CRLs of a listener may get. Empty when nobody asked the adapters.
    type: dict
    default: {}
  leaf_only:
    description: Products whose TLS library looks for the CRL of the leaf alone.
    type: list
    elements: str
    default: []
  watched:
    description:
      - By gateway host, what C(pki_gateway_info) told of what depends on retired CAs; a host with
        nothing did not answer.
      - When it is not given, nothing is known of peers, and every retired CA stays.
    type: dict
"""

EXAMPLES = r"""
- name: Fetch the CRLs
  pki_crl_fetch:
    organisations: "{{ organisations }}"
    certificates: "{{ certificates }}"
    trust: "{{ trust }}"
    policy_dir: policies
    base_dir: "{{ inventory_dir }}"
    crl_cache_dir: .cache/crl
"""

RETURN = r"""
sets:
  description: One entry a trust set, with the PEM bundle of its CRLs.
  returned: success
  type: list
  elements: dict
  sample:
    - trust: dip-nonprod
      complete: true
      sha256: "…"
      next_update: "2026-01-02T00:00:00Z"
      fetched_at: "2026-01-01T00:00:00Z"
      pem: "…"
problems:
  description: Errors, as text, for CAs without a CRL that is fresh and that gateways can use.
  returned: success
  type: list
  elements: str
live:
  description: SHA-256 of retired CAs that are still trusted.
  returned: success
  type: list
  elements: str
notices:
  description: Why retired CAs are still trusted, and which CAs end soon; a text each.
  returned: success
  type: list
  elements: str
watch:
  description:
    - What the filter C(pki_crl_watch) makes the C(watch) of each host of. By trust set the CAs with
      their certificates and addresses, our certificates in service, and the policy's numbers; and
      how old CRLs may get for each listener. All of it is public.
  returned: success
  type: dict
trail:
  description: What was changed, for the audit trail; empty in check mode.
  returned: always
  type: list
  elements: dict
"""

from ansible.module_utils.pki import (
    crl_cache,
    crl_drop,
    crl_watching,
    download,
    gateway,
    public_state,
    report,
    session,
    trail,
    trust_decision,
)
from ansible.module_utils.pki.errors import PkiError
from ansible.module_utils.pki_ansible import run_module
from ansible.module_utils.pki_ansible.arguments import INVENTORY

SPEC = {
    **INVENTORY,
    "certificates_dir": {"type": "path", "default": "certificates"},
    "gateways": {"type": "raw"},
    "gateway_products": {"type": "dict", "default": {}},
    "leaf_only": {"type": "list", "elements": "str", "default": []},
    "watched": {"type": "dict"},
}


def as_result(crls, unfit):
    """A CRL set as JSON types; CRLs are public. One that gateways cannot use is not complete."""
    return {
        "trust": crls.trust,
        "complete": crls.complete and not unfit,
        "sha256": crls.sha256,
        "pem": crls.pem.decode("ascii"),
        "fetched_at": public_state.iso(crls.fetched_at) if crls.fetched_at else None,
        "next_update": public_state.iso(crls.next_update) if crls.next_update else None,
    }


def to_watch(inputs, decisions, params):
    """What hosts are to watch; gateways that cannot be used keep no CRL from being fetched."""
    trusts = {name: one.trust for name, one in decisions.items()}
    products = params["gateway_products"] or None
    try:
        models = gateway.check(
            params["gateways"] or [],
            inputs.declared,
            {**inputs.trust, **trusts},
            inputs.policies,
            products=products,
        )
    except PkiError as exc:
        return crl_watching.not_told(exc)
    return crl_watching.told(
        trusts,
        {name: inputs.policies[inputs.declared.trust[name].policy] for name in trusts},
        {name: trust_decision.own(inputs, name) for name in trusts},
        models,
    )


def handler(module):
    inputs = session.load(module.params)
    decisions = trust_decision.decide(inputs, module.params["watched"])
    sets, happened, unfit = [], [], {}
    drop = crl_drop.read(inputs.base_dir)
    for name in inputs.trust:
        rules = inputs.policies.get(inputs.declared.trust[name].policy)
        if rules is None:  # a trust set that no certificate uses
            continue
        crls = crl_cache.refresh(
            decisions[name].trust,
            inputs.crl_cache_dir,
            now=inputs.now,
            max_age=session.crl_max_age(rules),
            patience=download.Patience.of(rules),
            drop=drop,
            save=not module.check_mode,
        )
        sets.append(crls)
        users = trust_decision.products_of(module.params["gateways"], name)
        leaf_only = module.params["leaf_only"]
        unfit[name] = trust_decision.unfit(inputs, crls, users, leaf_only)
        if crls.changed and not module.check_mode:
            happened.append(trail.event("CRLs fetched", artefacts={f"CRLs of {name}": crls.sha256}))
    for warning in (warning for crls in sets for warning in crls.warnings):
        module.warn(f"{warning.message}: {warning.found} (the CRL at hand still serves)")
    findings = [found for one in decisions.values() for found in one.findings]
    for found in findings:
        module.warn(f"{found.message}; {found.next_step}")
    pinned = [ca for trust in inputs.trust.values() for ca in trust.authorities]
    for remark in (
        *drop.problems,
        *drop.strangers(pinned),
        *(remark for crls in sets for remark in crls.remarks),
    ):
        module.warn(f"{remark.message}: {remark.found}; wanted: {remark.expected}")
    return {
        "changed": any(crls.changed for crls in sets),
        "sets": [as_result(crls, unfit[crls.trust]) for crls in sets],
        "problems": [
            report.refusal(problem.as_result())
            for crls in sets
            for problem in (*crls.problems, *unfit[crls.trust])
        ],
        "live": sorted({digest for one in decisions.values() for digest in one.trust.kept}),
        "notices": [
            *(report.refusal(found.as_result()) for found in findings),
            *trust_decision.notices(inputs),
        ],
        "watch": to_watch(inputs, decisions, module.params),
        "trail": happened,
    }


def main():
    run_module(handler, SPEC, supports_check_mode=True)


if __name__ == "__main__":
    main()
