# SPDX-License-Identifier: GPL-3.0-or-later
"""The page about parties: its tables are the policy's, and its words those of the inventory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pki import party_view
from pki.policy import Rule
from unit import twin
from unit.pki_factory import NOW
from unit.test_broken_twins import KINDS, effect
from unit.test_examples import POLICY

PAGE = (Path(__file__).resolve().parents[2] / "docs/parties.md").read_text()
RULES = [rule for rule in POLICY.rules if rule.kind in KINDS]


def rows(title: str) -> list[list[str]]:
    """The rows of the first table below a heading."""
    part = PAGE[PAGE.index(f"\n## {title}\n") :].split("\n\n|", 1)[1].split("\n\n")[0]
    cells = ([cell.strip() for cell in row.strip("|").split("|")] for row in part.splitlines())
    return list(cells)[2:]


def test_the_table_of_parties_is_the_policys() -> None:
    told = {
        row[-1].strip("`"): {
            purpose
            for purpose, cell in zip(("mtls", "signing"), row[2:4], strict=True)
            if cell.startswith("yes")
        }
        for row in rows("The three parties")
    }
    assert told == {name: set(party.purposes) for name, party in POLICY.parties.items()}


@pytest.mark.parametrize("rule", RULES, ids=[f"{rule.kind}-{rule.id}" for rule in RULES])
def test_the_page_says_of_each_rule_what_it_leads_to(rule: Rule) -> None:
    listed = {
        row[0]: re.findall(r"`(DIP-[^`]+)`", row[2])
        for row in rows("What is refused, held and reported")
    }
    of_the_id = {effect(one) for one in RULES if one.id == rule.id}
    assert {name for name, ids in listed.items() if rule.id in ids} == of_the_id


def test_every_organisation_that_the_page_names_is_one_of_the_examples() -> None:
    named = set(re.findall(r"(?:organisation|provider|employer): ([a-z]+-[a-z]+)", PAGE))
    declared = set()
    for example in twin.examples():
        file = twin.EXAMPLES / example / "nonprod/group_vars/all/organisations.yml"
        declared |= set(yaml.safe_load(file.read_text())["organisations"])
    assert named
    assert named <= declared
    for example in re.findall(r"`((?:active|one|two|connection)-[a-z-]+)`", PAGE):
        assert example in twin.examples()


def test_the_quotas_on_the_page_are_what_the_program_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (shown,) = re.findall(r"```text\n(.*?)\n```", PAGE, re.DOTALL)
    inventory = twin.EXAMPLES / "connection-provider" / "nonprod"
    assert party_view.main(["--inventory", str(inventory)], NOW) == 0
    printed = capsys.readouterr().out.split("\n\n")
    assert [line.rstrip() for line in printed[1].splitlines()] == shown.splitlines()
