# SPDX-License-Identifier: GPL-3.0-or-later
"""What an organisation has behind it, and who is there, before anything may be asked for."""

from __future__ import annotations

from typing import Any


def organisation() -> dict[str, Any]:
    """Registration, vetting, verified domains, and who answers for the certificates."""
    return {
        "registered": "2024-07-01",
        "vetted": "2024-07-02",
        "domain_verified": "2024-07-03",
        "owner": {"name": "Olive Owner", "accepted": "2024-07-04"},
    }


def admin(name: str = "Ada", email: str = "ada@a.example", **more: Any) -> dict[str, Any]:
    """The first Certificate Admin, a permanent employee."""
    return {"name": name, "email": email, "role": "certificate_admin", "permanent": True, **more}
