# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person is told to type. INVENTORY and the reason are hers to fill in."""

from __future__ import annotations


def renew(certificate: str) -> str:
    """For a request that no run makes by itself."""
    return _typed("renew", certificate)


def withdraw(certificate: str) -> str:
    """For an open request that has come to nothing."""
    return _typed("outcome", certificate, "outcome=withdrawn")


def _typed(playbook: str, certificate: str, *given: str) -> str:
    extra = "".join(f" -e {one}" for one in (f"certificate={certificate}", *given))
    return f"ansible-playbook -i INVENTORY playbooks/{playbook}.yml{extra} -e \"reason='...'\""
