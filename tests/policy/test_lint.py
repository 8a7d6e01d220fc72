# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing is wrong with the policies that can be seen before a fact is there."""

from __future__ import annotations

from pathlib import Path

from pki import policy_lint
from pki.policy_files import load_fact_schemas, load_policies, policy_names
from pki.shipped import DIRECTORY

CODE = Path(policy_lint.__file__).resolve().parent


def test_the_linter_has_nothing_to_say_about_the_policies() -> None:
    policies = load_policies(DIRECTORY, policy_names(DIRECTORY))
    read = policy_lint.parameters_in_code(CODE)
    problems = policy_lint.lint(policies, load_fact_schemas(DIRECTORY), read)
    assert not problems, "\n" + "\n".join(map(str, problems))


def test_it_would_see_code_that_reads_a_parameter() -> None:
    assert {"crl_max_age_hours", "tls_protocols"} <= policy_lint.parameters_in_code(CODE)
