# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person is told to type. INVENTORY and the reason are hers to fill in."""

from __future__ import annotations


def renew(certificate: str) -> str:
    """For a request that no run makes by itself."""
    return _typed("renew", certificate)


def withdraw(certificate: str) -> str:
    """For an open request that has come to nothing."""
    return _typed("outcome", certificate, "outcome=withdrawn")


def retire(certificate: str) -> str:
    """For the versions that a newer one in service has replaced."""
    return _typed("retire", certificate)


def compromised(certificate: str) -> str:
    """For a key that others know, or may know."""
    return _typed("revoke", certificate, "cause=key_compromise", "\"by='...'\"")


def revocation_step(certificate: str, version: int, cause: str, step: str) -> str:
    """To record that a step of a revocation was done now."""
    number = "NUMBER" if step == "incident" else "now"
    given = f"-e version={version} -e cause={cause} -e {step}={number}"
    return f"{_playbook('revoke', certificate)} {given}"


def supply(certificate: str) -> str:
    """For a request that a device made, which keeps its key."""
    return f"{_playbook('supply', certificate)} -e csr_file=FILE"


def rollback(certificate: str, host: str, release: str) -> str:
    """To put an older release into service again on one host."""
    given = f"-l {host} -e release={release}"
    return f"{_playbook('rollback', certificate)} {given} -e \"reason='...'\""


def let_go(certificate: str, host: str) -> str:
    """To let the newest release in again where an older one is held."""
    return f"{_playbook('rollback', certificate)} -l {host} -e rollback_state=released"


def grace(trust: str, host: str) -> str:
    """To let CRLs that are too old stay in force on one host for a while."""
    given = f"-l {host} -e trust={trust} -e hours=4 -e \"by='...'\" -e \"reason='...'\""
    return f"ansible-playbook -i INVENTORY playbooks/crl_grace.yml {given}"


def refresh(host: str) -> str:
    """To poll the CRLs of one host now, and see why that fails."""
    return f"ansible-playbook -i INVENTORY playbooks/crl_refresh.yml -l {host}"


def deploy() -> str:
    """What every night does."""
    return "ansible-playbook -i INVENTORY playbooks/site.yml"


def _typed(playbook: str, certificate: str, *given: str) -> str:
    extra = "".join(f" -e {one}" for one in given)
    return f"{_playbook(playbook, certificate)}{extra} -e \"reason='...'\""


def _playbook(name: str, certificate: str) -> str:
    return f"ansible-playbook -i INVENTORY playbooks/{name}.yml -e certificate={certificate}"
