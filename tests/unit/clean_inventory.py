# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory of the controller's world with nothing to find at the level ``should``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pki import csr, public_state, submission
from pki.inventory import Certificate
from unit import inventory_on_disk, pki_factory
from unit.controller_world import (
    NAME,
    REPOSITORY,
    World,
    certificate_entry,
    policies,
    request_record,
)
from unit.pki_factory import NOW, SUBJECT

POLICIES = REPOSITORY / "policies"
TODAY = NOW.date().isoformat()
#: A second set of certificates is nothing that one inventory can have, and the CAs' keys are small.
WAIVED: tuple[tuple[str, str], ...] = (("DIP-5.5-TWO-SETS", "nonprod"),)


def world(folder: Path) -> World:
    """A world below ``folder``, with one request that waits for its answer."""
    base = folder / "inventories" / "nonprod"
    base.mkdir(parents=True)
    made = World(base, certificates=[certificate_entry(owner=owner())])
    made.organisation |= {**vetting(), "roster": roster()}
    inventory_on_disk.write(made)
    write_request(made)
    write_evidence(made)
    write_waivers(made)
    return made


def many(folder: Path, count: int) -> World:
    """A world of many certificates, each with a request and a reply; they share one key."""
    base = folder / "inventories" / "nonprod"
    base.mkdir(parents=True)
    entries = [
        certificate_entry(f"c{number}", domain=f"d{number}.example.co.uk", owner=owner())
        for number in range(count)
    ]
    made = World(base, certificates=entries)
    made.organisation |= {**vetting(), "roster": roster()}
    inventory_on_disk.write(made)
    for certificate in made.inputs().declared.certificates.values():
        write_request(made, entry=certificate)
        made.reply(
            1,
            certificate.name,
            cn=certificate.common_name,
            public=pki_factory.key("large-1", 4096).public_key(),
        )
    write_evidence(made)
    write_waivers(made)
    return made


def vetting() -> dict[str, str]:
    """The days that must have been before anything is asked for."""
    return {"registered": TODAY, "vetted": TODAY, "domain_verified": TODAY}


def owner() -> dict[str, str]:
    return {"name": "Olive Owner", "accepted": TODAY}


def roster() -> list[dict[str, Any]]:
    return [
        {
            "name": "Ada Admin",
            "email": "ada@example.com",
            "role": "certificate_admin",
            "permanent": True,
        },
        {"name": "Ben Admin", "email": "ben@example.com", "role": "certificate_admin"},
        {"name": "Uma User", "email": "uma@example.com", "role": "user_administrator"},
        {"name": "Udo User", "email": "udo@example.com", "role": "user_administrator"},
    ]


def write_request(made: World, version: int = 1, entry: Certificate | None = None) -> None:
    """As the request stage writes it, with a key of the size that the policy wants."""
    key = pki_factory.key(f"large-{version}", 4096)
    certificate = entry or made.inputs().declared.certificates[NAME]
    name = certificate.name
    request = csr.build(key, certificate.common_name, SUBJECT)
    record = request_record(name, version, certificate.common_name, "leaf", request)
    record["key"] |= {"spki_sha256": csr.parse(request).spki_sha256, "type": "rsa-4096"}
    made.put(
        version,
        name,
        request_csr=request,
        submission_txt=submission.text(certificate, record, request),
        request_yml=public_state.dump({"organisation": "example-energy", **record}),
    )


def write_reply(made: World, **options: Any) -> None:
    """The answer to the request, from a CA whose key is smaller than the document demands."""
    key = pki_factory.key("large-1", 4096)
    made.reply(public=key.public_key(), **options)
    write_waivers(made, *WAIVED, ("DIP-6.2-CA-4096", f"{NAME} v1"))


def write_evidence(made: World, date: str = TODAY) -> None:
    records = [
        {"id": rule.item, "date": date, "owner": "Olive Owner", "reference": f"TICKET-{number}"}
        for number, rule in enumerate(policies()["mhhs-dip"].rules)
        if rule.item
    ]
    dump(made.base / "evidence.yml", {"evidence": records})


def write_waivers(made: World, *waived: tuple[str, str], expires: str = "2999-01-01") -> None:
    entries = [
        {
            "rule": rule,
            "object": name,
            "reason": "a world for tests",
            "approver": "Olive Owner",
            "expires": expires,
        }
        for rule, name in waived or WAIVED
    ]
    dump(made.base / "waivers.yml", {"waivers": entries})


def dump(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value, sort_keys=False))
