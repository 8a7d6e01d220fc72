# SPDX-License-Identifier: GPL-3.0-or-later
"""A response-wrapping token, as stores and the Vault client hand it on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class WrapInfo:
    """A single-use token that stands for an answer nobody has seen yet.

    Attributes:
        token: opens the wrapped answer once; never shown.
        creation_path: Vault path whose answer is inside; the opener must compare it.
        ttl: seconds the token lives.
        creation_time: aware time of the wrapping.
        accessor: names the token in the audit log without being it.
    """

    token: str = field(repr=False)
    creation_path: str
    ttl: int
    creation_time: datetime
    accessor: str
