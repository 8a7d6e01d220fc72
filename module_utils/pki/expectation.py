# SPDX-License-Identifier: GPL-3.0-or-later
"""What was asked for: the value that requests and replies are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Expectation:
    """What was asked for: ``subject`` by O, L, ST, C; ``purposes`` out of mtls and signing."""

    common_name: str
    subject: Mapping[str, str]
    purposes: frozenset[str]
    policy: str
    environment: str
