# SPDX-License-Identifier: GPL-3.0-or-later
"""What was asked for: the value that requests and replies are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class History:
    """What is known from before; facts for a policy to judge.

    ``serials`` maps a serial (lower-case hex) to the certificate name it was seen under;
    ``spki`` and ``compromised`` are SHA-256 digests of SubjectPublicKeyInfo; ``deployed`` is
    the SHA-256 of the certificate in use.
    """

    serials: Mapping[str, str] = field(default_factory=dict)
    spki: frozenset[str] = frozenset()
    compromised: frozenset[str] = frozenset()
    deployed: str = ""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What was asked for: ``subject`` by O, L, ST, C; ``purposes`` out of mtls and signing."""

    common_name: str
    subject: Mapping[str, str]
    purposes: frozenset[str]
    policy: str
    environment: str
    history: History | None = None
