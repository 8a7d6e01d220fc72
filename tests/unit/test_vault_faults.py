# SPDX-License-Identifier: GPL-3.0-or-later
"""What an HTTP answer of Vault means: the table, read from its own words."""

from __future__ import annotations

import pytest
from pki import vault_faults as faults
from pki.vault_faults import Retry

SEEN = [
    # status, what the server wrote, rule, may it be repeated
    (503, "Vault is sealed", "VAULT-SEALED", Retry.UNPROCESSED),
    (501, "", "VAULT-UNINITIALISED", Retry.NEVER),
    (
        500,
        "local node not active but active cluster node not found",
        "VAULT-NO-LEADER",
        Retry.UNPROCESSED,
    ),
    (503, "<html>maintenance</html>", "VAULT-UNAVAILABLE", Retry.UNPROCESSED),
    (502, "", "VAULT-UNAVAILABLE", Retry.UNCERTAIN),
    (504, "", "VAULT-UNAVAILABLE", Retry.UNCERTAIN),
    (429, "request path quota exceeded", "VAULT-RATE", Retry.UNPROCESSED),
    (412, "required index state not present", "VAULT-NOT-YET", Retry.UNPROCESSED),
    (400, "Client sent an HTTP request to an HTTPS server.", "VAULT-TLS", Retry.NEVER),
    (
        404,
        'no handler for route "m/keys/a". route entry not found.',
        "VAULT-NO-MOUNT",
        Retry.NEVER,
    ),
    (404, "namespace not found", "VAULT-NAMESPACE", Retry.NEVER),
    (404, "", "VAULT-NOT-FOUND", Retry.NEVER),
    (400, "signing key not found", "VAULT-NOT-FOUND", Retry.NEVER),
    (400, "key with provided name 'x' not found", "VAULT-NOT-FOUND", Retry.NEVER),
    (400, "version does not exist or cannot be found", "VAULT-NOT-FOUND", Retry.NEVER),
    (400, "wrapping token is not valid or does not exist", "VAULT-WRAP-USED", Retry.NEVER),
    (400, "invalid role or secret ID", "VAULT-LOGIN", Retry.NEVER),
    (
        400,
        "check-and-set parameter did not match the current version",
        "VAULT-CAS",
        Retry.NEVER,
    ),
    (403, "1 error occurred:\n\t* permission denied\n\n", "VAULT-DENIED", Retry.NEVER),
    (401, "", "VAULT-DENIED", Retry.NEVER),
    (400, "unknown key type rsa-1024", "VAULT-REQUEST", Retry.NEVER),
    (405, "unsupported operation", "VAULT-REQUEST", Retry.NEVER),
    # Many mistakes of the caller are 500: repeating them would only take longer.
    (500, "the import path cannot be used with an existing key", "VAULT-SERVER", Retry.NEVER),
    (307, "", "VAULT-REDIRECT", Retry.UNPROCESSED),
    (418, "", "VAULT-ANSWER", Retry.NEVER),
]


@pytest.mark.parametrize(("status", "text", "rule", "retry"), SEEN)
def test_an_answer_has_one_meaning(status: int, text: str, rule: str, retry: Retry) -> None:
    kind = faults.classify(status, [text] if text else [])
    assert (kind.rule, kind.retry) == (rule, retry)


def kinds() -> list[faults.Kind]:
    return [value for value in vars(faults).values() if isinstance(value, faults.Kind)]


def test_every_kind_says_what_was_expected_and_what_to_do_next() -> None:
    for kind in kinds():
        error = faults.fault(kind, "HTTP 400", "https://v/v1/x", expected="x").error
        assert error.rule.startswith("VAULT-")
        assert all(error.as_result().values()), kind.rule


def test_a_fault_worth_repeating_has_patience_and_no_other_has() -> None:
    for kind in kinds():
        assert (kind.patience > 0) == (kind.retry is not Retry.NEVER), kind.rule


def test_no_advice_ever_is_to_skip_verification_of_the_certificate() -> None:
    tls = [kind for kind in kinds() if kind.rule == "VAULT-TLS" and "ca_cert" in kind.next_step]
    assert tls
    assert all("never skip verification" in kind.next_step for kind in tls)


@pytest.mark.parametrize(
    ("retry", "idempotent", "allowed"),
    [
        (Retry.NEVER, True, False),
        (Retry.NEVER, False, False),
        (Retry.UNPROCESSED, False, True),
        (Retry.UNPROCESSED, True, True),
        (Retry.UNCERTAIN, True, True),
        (Retry.UNCERTAIN, False, False),
    ],
)
def test_an_uncertain_call_is_repeated_only_when_that_is_harmless(
    retry: Retry, idempotent: bool, allowed: bool
) -> None:
    assert faults.may_repeat(retry, idempotent=idempotent) is allowed


def test_the_servers_words_are_quoted_on_one_line_and_shortened() -> None:
    assert faults.quote(["1 error occurred:\n\t* permission denied\n"]) == (
        "1 error occurred: * permission denied"
    )
    assert len(faults.quote(["x " * 5000])) == faults.MAX_QUOTED + 3


def test_a_known_secret_is_removed_even_when_the_shortening_would_cut_it() -> None:
    secret = "s.CANARYcanary"
    text = "x" * (faults.MAX_QUOTED - 4) + secret
    assert "s.CA" not in faults.quote([text], [secret])
