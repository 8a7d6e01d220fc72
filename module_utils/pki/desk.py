# SPDX-License-Identifier: GPL-3.0-or-later
"""One entry, and what has to be known before a key or a request is brought to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from . import outcomes, public_state, session
from .history import Committed
from .inventory import Certificate
from .policy import Policy
from .public_state import VersionFiles


@dataclass(frozen=True, slots=True)
class Desk:
    """Where something is brought to.

    Attributes:
        certificate: the entry, or one host's share of it.
        rules: its policy.
        versions: its version directories, oldest first.
        known: keys of every other request and certificate, and the compromised ones.
        directory: of all certificates' versions.
        now: the moment of the run, aware UTC.
    """

    certificate: Certificate
    rules: Policy
    versions: Sequence[VersionFiles]
    known: Committed
    directory: Path
    now: datetime

    def files(self, version: int) -> VersionFiles | None:
        """What is committed of a version."""
        return next((one for one in self.versions if one.number == version), None)


def of(inputs: session.Inputs, name: str, rule: str) -> Desk:
    """The desk of a declared certificate; PkiError ``rule`` for one that is not declared."""
    outcomes.of_each([outcomes.Word(name, "")], inputs.declared.certificates, rule)
    every = public_state.scan_every(inputs.certificates_dir)
    return Desk(
        certificate=inputs.declared.certificates[name],
        rules=inputs.policy_of(name),
        versions=public_state.scan(inputs.certificates_dir, name),
        known=Committed.of(every, inputs.compromised),
        directory=inputs.certificates_dir,
        now=inputs.now,
    )
