# SPDX-License-Identifier: GPL-3.0-or-later
"""The worked inventories: in order, complete, alike where they may be, and honest about dates."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from pki import check, parties, policy_files
from pki.reports import files
from unit import twin
from unit.pki_factory import NOW

INVENTORIES = [
    pytest.param(example, environment_class, id=f"{example}-{environment_class}")
    for example in twin.examples()
    for environment_class in twin.CLASSES
]
POLICY = policy_files.load_policies(twin.POLICIES, ["mhhs-dip"])["mhhs-dip"]
RECORDED = date(2026, 11, 2)


def judged(inventory: Path, folder: Path, now: Any = NOW) -> tuple[int, dict[str, Any]]:
    """Exit code and result of the check, as a person starts it, at the lowest level there is."""
    code = check.main(
        ["--inventory", str(inventory), "--level", "information", "--report-dir", str(folder)], now
    )
    return code, json.loads((folder / files.RESULT).read_text())


def unmet(result: dict[str, Any]) -> set[str]:
    return {one["rule"] for one in result["verdicts"] if one["severity"]}


@pytest.mark.parametrize(("example", "environment_class"), INVENTORIES)
def test_nothing_is_found_in_an_example_at_any_level(
    example: str, environment_class: str, tmp_path: Path
) -> None:
    code, result = judged(twin.EXAMPLES / example / environment_class, tmp_path)
    assert (code, unmet(result), result["faults"]) == (0, set(), [])
    assert {"declaration", "inventory", "roster", "evidence", "dca_account"} <= set(result["kinds"])


@pytest.mark.parametrize(("example", "environment_class"), INVENTORIES)
def test_a_run_that_makes_keys_finds_nothing_in_an_example_and_nothing_is_missing(
    example: str, environment_class: str
) -> None:
    found = parties.review(twin.intact(example, environment_class))
    assert (found.findings, found.refusals, found.holds) == ([], [], {})
    holders = {one.organisation for one in found.quotas}
    for need in found.needs:
        # A provider's TLS certificate is in the provider's own inventory.
        assert need.entries or need.organisation not in holders
    for quota in found.quotas:
        assert (quota.issued, quota.revoked, quota.pending) == (0, 0, 0)
        assert quota.left == quota.quota


def test_there_is_an_example_for_each_party_and_each_scenario_of_clause_5_5() -> None:
    held = {}
    for example in twin.examples():
        declared = twin.intact(example, "nonprod").declared
        held[example] = sorted(
            (one.organisation.party, *sorted(one.purposes), one.provider)
            for one in declared.certificates.values()
        )
    active, other = "market_participant_active", "market_participant_non_active"
    assert held == {
        "active-one-certificate": [(active, "mtls", "signing", "")],
        "active-two-certificates": [(active, "mtls", ""), (active, "signing", "")],
        "one-provider": [(other, "signing", "xenon-connect")],
        "two-providers": [
            (other, "signing", "xenon-connect"),
            (other, "signing", "yarrow-gateways"),
        ],
        "connection-provider": [
            ("dip_connection_provider", "mtls", ""),
            (other, "signing", "xenon-connect"),
            (other, "signing", "xenon-connect"),
        ],
    }
    parties = {party for rows in held.values() for party, *_ in rows}
    assert parties == set(POLICY.parties)


@pytest.mark.parametrize("example", twin.examples())
def test_the_two_classes_of_an_example_differ_in_names_of_their_class_alone(example: str) -> None:
    """What is written for one is written for the other; CA files and their pins are not."""
    texts = {one: written(twin.EXAMPLES / example / one) for one in twin.CLASSES}
    assert texts["nonprod"].keys() == texts["prod"].keys()
    for name, text in texts["nonprod"].items():
        if not name.endswith("trust.yml"):
            ours = text.replace("nonprod", "prod").replace("198.51.100.10", "198.51.100.20")
            assert ours == texts["prod"][name], name


def written(base: Path) -> dict[str, str]:
    return {
        str(path.relative_to(base)): path.read_text()
        for path in base.rglob("*")
        if path.suffix in (".yml", ".md")
    }


@pytest.mark.parametrize(("example", "environment_class"), INVENTORIES)
def test_no_example_holds_a_private_key_and_its_certificates_last_for_decades(
    example: str, environment_class: str
) -> None:
    base = twin.EXAMPLES / example / environment_class
    assert not [path for path in base.rglob("*") if b"PRIVATE KEY" in read(path)]
    found = [x509.load_pem_x509_certificate(path.read_bytes()) for path in base.rglob("*.pem")]
    assert len(found) == 4
    assert min(one.not_valid_after_utc for one in found) > NOW + timedelta(days=50 * 365)


def read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


@pytest.mark.parametrize("example", twin.examples())
def test_a_record_of_an_example_holds_as_long_as_the_policy_says_and_no_day_longer(
    example: str, tmp_path: Path
) -> None:
    """The dates are examples: what becomes of them with time is the policy's to say."""
    ages = {rule.item: int(POLICY.number(rule.age)) for rule in POLICY.rules if rule.item}
    recorded = NOW - timedelta(days=(NOW.date() - RECORDED).days)
    base = twin.EXAMPLES / example / "nonprod"
    dates = {one["date"] for one in yaml.safe_load((base / "evidence.yml").read_text())["evidence"]}
    assert dates == {RECORDED.isoformat()}
    shortest = min(ages.values())
    code, result = judged(base, tmp_path / "last", recorded + timedelta(days=shortest))
    assert (code, unmet(result)) == (0, set())
    _, result = judged(base, tmp_path / "after", recorded + timedelta(days=shortest + 1))
    assert unmet(result) == {item for item, age in ages.items() if age == shortest}
