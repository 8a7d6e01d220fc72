# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of an accepted certificate, for a person to commit.

It says what was accepted, when, against which CA and under which policy. It is a record
and never a permission: every run judges the certificate again.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from . import policy, public_state, reply, reviewing, session, trail
from .public_state import VersionFiles


@dataclass(frozen=True, slots=True)
class Kept:
    """An accepted certificate, and those of its files that are not there yet, in their order.

    ``review`` is its comparison with the request while its record is not there; else empty.
    """

    certificate: str
    version: int
    directory: Path
    serial: str
    contents: dict[str, bytes]
    review: str

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the files that are to be written."""
        return tuple(self.contents)

    def save(self) -> None:
        """Write what is missing; the record last, and nothing when everything is there.

        Raises:
            PkiError: rule STATE-WRITE.
        """
        if self.contents:
            public_state.write(self.directory, self.contents)

    def as_result(self) -> dict[str, Any]:
        """The outcome as JSON types."""
        return {
            "certificate": self.certificate,
            "version": self.version,
            "serial": self.serial,
            "directory": str(self.directory),
            "uncommitted": list(self.missing),
        }

    def as_event(self) -> dict[str, Any]:
        """What was written, for the audit trail."""
        digests = {name: sha256(content).hexdigest() for name, content in self.contents.items()}
        return trail.event("certificate accepted", self.certificate, self.version, digests)

    def sentence(self) -> str:
        """What was accepted, and what there is to commit."""
        return (
            f"{self.certificate} v{self.version}: accepted, serial {self.serial}; "
            f"commit {self.directory}"
        )

    def diff(self) -> dict[str, str]:
        """The new files; all public."""
        after = "".join(content.decode() for content in self.contents.values())
        header = f"{self.certificate} v{self.version}"
        return {"before_header": header, "after_header": header, "before": "", "after": after}


def of(inputs: session.Inputs, name: str, files: VersionFiles, accepted: reply.Accepted) -> Kept:
    """What is kept of an accepted certificate beside its request; nothing is written yet.

    An existing record keeps its ``accepted_at``, so that a second run changes nothing.
    """
    record = _record(inputs, name, files, accepted)
    # The record comes last: a reader that finds it finds certificate and chain complete.
    contents = {
        "certificate.pem": accepted.certificate_pem(),
        "chain.pem": accepted.chain_pem(),
        "accepted.yml": public_state.dump(record),
    }
    missing = {one: contents[one] for one in public_state.differing(files.path, contents)}
    review = _review(inputs, name, files, accepted) if missing else ""
    return Kept(name, files.number, files.path, accepted.serial, missing, review)


def _review(
    inputs: session.Inputs, name: str, files: VersionFiles, accepted: reply.Accepted
) -> str:
    environment = inputs.declared.certificates[name].environment
    facts = accepted.facts["certificate"]
    return reviewing.of_accepted(name, files, facts, inputs.policy_of(name), environment)


def _record(
    inputs: session.Inputs, name: str, files: VersionFiles, accepted: reply.Accepted
) -> dict[str, Any]:
    rules = inputs.policy_of(name)
    return {
        "schema": public_state.SCHEMA,
        "certificate": name,
        "version": files.number,
        "serial": accepted.serial,
        "certificate_sha256": accepted.certificate_sha256,
        "spki_sha256": accepted.spki_sha256,
        "not_before": public_state.iso(accepted.not_before),
        "not_after": public_state.iso(accepted.not_after),
        "accepted_at": _accepted_at(inputs, files, accepted),
        "policy": f"{rules.name}: {rules.document}",
        "remarks": [
            f"{finding.rule}: {finding.message} (found {finding.found})"
            for finding in policy.reported(accepted.findings)
        ],
    }


def _accepted_at(inputs: session.Inputs, files: VersionFiles, accepted: reply.Accepted) -> str:
    before = files.accepted_record
    if before and before.get("certificate_sha256") == accepted.certificate_sha256:
        kept = before.get("accepted_at")
        if kept:
            return str(kept)
    return public_state.iso(inputs.now)
