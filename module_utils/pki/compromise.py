# SPDX-License-Identifier: GPL-3.0-or-later
"""A person's word that a key is known to others: what is marked, ended, asked for and told.

Pure. The word is about one key version and is never taken for another: said again after the
replacement is in service, it is still about the key it was said of. Without a version it means
the one in service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from . import ledger, outcomes, public_state, revocation_text
from .errors import PkiError
from .inventory import Certificate
from .lifecycle import Reason
from .outcomes import Record, Word
from .plan import CertificatePlan
from .policy import Policy
from .public_state import VersionFiles

RULE = "COMPROMISED"


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that is known of the certificate whose key leaked.

    ``committed`` is the ledger beside the inventory, by SPKI digest; ``directory`` has the
    versions; ``now`` is aware UTC.
    """

    certificate: Certificate
    policy: Policy
    plan: CertificatePlan
    versions: Sequence[VersionFiles]
    committed: Mapping[str, str]
    directory: Path
    now: datetime


@dataclass(frozen=True, slots=True)
class Compromise:
    """What is to be done about one key version.

    Attributes:
        version: the key's.
        spki_sha256: its public key.
        entry: what the ledgers say of it.
        ended: the record of its open request's end; None when it has none.
        asked: the record of the wish for another; None when that is there or on its way.
        stands: why no other is asked for, in words; empty when one is.
    """

    case: Case
    version: int
    spki_sha256: str
    entry: Mapping[str, str]
    ended: Record | None
    asked: Record | None
    stands: str

    @property
    def known(self) -> bool:
        """Whether the ledger beside the inventory names the key already."""
        return self.spki_sha256 in self.case.committed

    @property
    def records(self) -> list[Record]:
        """The records of requests, in the order in which they are written."""
        return [record for record in (self.ended, self.asked) if record is not None]

    def revocation(self) -> bytes | None:
        """What a person has revoked; None without a certificate that is still valid."""
        files = next(one for one in self.case.versions if one.number == self.version)
        seen = public_state.observed_version(files)
        if files.certificate is None or seen.accepted is None:
            return None
        if seen.accepted.not_after < self.case.now:
            return None
        cause = revocation_text.key_compromise(self.entry["reason"])
        return revocation_text.text(
            self.case.certificate, self.case.policy, self.version, files.certificate, cause
        )

    def next_steps(self) -> list[str]:
        """What a person does now, one sentence each."""
        name = self.case.certificate.name
        lines = []
        if self.revocation() is not None:
            files = next(one for one in self.case.versions if one.number == self.version)
            accepted = public_state.observed_version(files).accepted
            serial = accepted.serial if accepted else ""
            lines = [
                f"{name} v{self.version}: raise a major security incident and tell the "
                f"certificate authority now, naming serial {serial}",
                f"{name} v{self.version}: have serial {serial} revoked for key compromise; "
                f"{files.path / revocation_text.FILE} says how",
            ]
        if self.stands:
            lines.append(f"{name}: {self.stands}")
        return lines


def decide(case: Case, word: Word, version: int) -> Compromise:
    """What a person's word about a key means; ``version`` 0 for the one in service.

    Raises:
        PkiError: COMPROMISED for a version without a request, or when it is not clear which
            one is meant.
    """
    outcomes.must_say_something(RULE, word)
    files = _meant(case, word, version)
    spki = public_state.key_digest(files.request_record or {}, files.path / "request.yml")
    ended, versions, plan = _ended(case, word, files)
    asked, stands = _asked(case, plan, versions, word, files.number)
    since = f"{case.now:%Y-%m-%d}"
    entry = {"certificate": case.certificate.name, "since": since, "reason": word.reason.strip()}
    return Compromise(case, files.number, spki, entry, ended, asked, stands)


def _meant(case: Case, word: Word, version: int) -> VersionFiles:
    requests = {one.number: one for one in case.versions if one.request_record is not None}
    if version in requests:
        return requests[version]
    # The same word again is about the same key, whatever is in service meanwhile.
    said = [one for one in requests.values() if _says_so(case, one, word)]
    if not version and said:
        return said[-1]
    if not version and case.plan.live in requests:
        return requests[case.plan.live]
    if not version and len(requests) == 1:
        return next(iter(requests.values()))
    known = ", ".join(f"v{number}" for number in requests)
    raise PkiError(
        f"{word.certificate}: it is not clear which key is meant",
        rule=RULE,
        found=f"version {version}" if version else "no version, and none in service",
        expected=f"one of {known}" if known else "a version that was requested",
        where="the command line",
        next_step="say which with -e version=N; nothing was changed",
    )


def _says_so(case: Case, files: VersionFiles, word: Word) -> bool:
    path = files.path / "request.yml"
    said = case.committed.get(public_state.key_digest(files.request_record or {}, path), "")
    return f"{word.certificate}, since " in said and said.endswith(f": {word.reason.strip()}")


def _ended(
    case: Case, word: Word, files: VersionFiles
) -> tuple[Record | None, Sequence[VersionFiles], CertificatePlan]:
    """An open request of the key comes to nothing; with it, how things stand afterwards."""
    if case.plan.pending != files.number:
        return None, case.versions, case.plan
    said = replace(word, reason=_why(files.number, word))
    record = outcomes.decide(case.versions, said, "withdrawn", files.number, case.now)
    told = {"outcome": "withdrawn", "date": public_state.iso(case.now)}
    versions = [
        replace(one, outcome_record=told) if one.number == files.number else one
        for one in case.versions
    ]
    return record, versions, replace(case.plan, pending=None, reason=Reason.REQUEST_WITHDRAWN)


def _asked(
    case: Case,
    plan: CertificatePlan,
    versions: Sequence[VersionFiles],
    word: Word,
    number: int,
) -> tuple[Record | None, str]:
    """The wish for another key, unless one is in service or asked for already."""
    if plan.pending is not None:
        return None, f"request v{plan.pending} has another key and goes on"
    if plan.live is not None and plan.live > number:
        return None, f"version {plan.live} is in service with another key and stays"
    said = replace(word, reason=_why(number, word))
    return outcomes.ask(plan, versions, said, case.directory, case.now), ""


def _why(number: int, word: Word) -> str:
    text = f"the key of v{number} is compromised: {word.reason.strip()}"
    return text[: outcomes.LONGEST_REASON]


def extended(text: str, spki_sha256: str, entry: Mapping[str, str]) -> str:
    """The ledger beside the inventory with one more entry.

    What is there stays as it is written, comments included, wherever an entry can be put below
    it; else the list is written anew. ``text`` is empty for a file that is not there yet.
    """
    new: dict[str, Any] = {"spki_sha256": spki_sha256, **entry}
    before: list[Any] = (yaml.safe_load(text) or {}).get(ledger.FOLDER, []) if text else []
    wanted = {ledger.FOLDER: [*before, new]}
    block = yaml.safe_dump([new], sort_keys=False, allow_unicode=True, width=1000)
    base = text if text.endswith("\n") else f"{text}\n"
    for indent in ("  ", "") if text else ():
        longer = base + "".join(f"{indent}{line}\n" for line in block.splitlines())
        if _value(longer) == wanted:
            return longer
    return "---\n" + yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True, width=1000)


def _value(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None
