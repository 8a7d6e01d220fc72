# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's words are quoted in errors, but nothing in them that looks like a secret."""

from __future__ import annotations

import base64
import secrets

import pytest
from pki import vault_faults

BODY = base64.b64encode(secrets.token_bytes(192)).decode()
LINES = [BODY[start : start + 64] for start in range(0, len(BODY), 64)]
PEM = "\n".join(["-----BEGIN PRIVATE KEY-----", *LINES, "c2hvcnQ=", "-----END PRIVATE KEY-----"])
SECRETS = {
    "a PEM text": PEM,
    "a PEM text with Windows line ends": PEM.replace("\n", "\r\n"),
    "a PEM text with escaped line ends": PEM.replace("\n", "\\n"),
    "a PEM text without its end": PEM[:-30],
    "one line of a PEM text": LINES[1],
    "base64 for URLs": base64.urlsafe_b64encode(secrets.token_bytes(96)).decode(),
    "base64 for URLs with its one dash late": "A1b2C3d4" * 8 + "-" + "E5f6G7h8" * 4,
    "base64 for URLs with its one dash early": "E5f6G7h8" * 4 + "-" + "A1b2C3d4" * 8,
    "hexadecimal": secrets.token_hex(32),
    "a service token": "hvs." + secrets.token_urlsafe(24),
    "a token of the old form": "s." + secrets.token_hex(12),
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_servers_words_are_quoted_without(secret: str) -> None:
    quoted = vault_faults.quote([f"cannot use {secret} here", "try again"])
    assert quoted.startswith("cannot use ")
    assert quoted.endswith("here try again") or "-----END" not in secret
    for start in range(0, len(secret) - 8, 8):
        assert secret[start : start + 8] not in quoted


def test_paths_numbers_and_ordinary_words_are_quoted_as_they_are() -> None:
    words = (
        "1 error occurred: * no handler for route "
        '"transit-nonprod-tls/export/signing-key/dip-nonprod/1". route entry not found. '
        "2026-11-21T23:38:17.306228123Z id 8f1a7a4f-9dd8-6752-ba12-3d220988c589"
    )
    assert vault_faults.quote([words]) == words
