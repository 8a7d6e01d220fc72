# SPDX-License-Identifier: GPL-3.0-or-later
"""A person's word about requests: this one came to nothing, that certificate is wanted anew.

Pure. Both are small records beside the request (``outcome.yml``, ``asked.yml``) for a person to
commit. The first word stands: said again it changes nothing, said differently it is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from . import commands, public_state, trail
from .errors import PkiError
from .lifecycle import Reason
from .plan import CertificatePlan
from .public_state import OUTCOMES, SCHEMA, VersionFiles

RULE_OUTCOME = "OUTCOME"
RULE_RENEW = "RENEW"
LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Word:
    """What a person said. ``by`` is who, where that was told."""

    certificate: str
    reason: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it is to be on disk; ``content`` is None when the word was given before."""

    certificate: str
    version: int
    directory: Path
    name: str
    told: str
    content: bytes | None

    @property
    def changed(self) -> bool:
        """Whether there is something to write."""
        return self.content is not None

    def save(self) -> None:
        """Write it, unless it is there."""
        if self.content is not None:
            public_state.write(self.directory, {self.name: self.content})

    def as_event(self, word: Word) -> dict[str, Any]:
        """What was written, for the audit trail."""
        digest = hashlib.sha256(self.content or b"").hexdigest()
        return trail.event(
            self.told.replace(" is ", " was ", 1),
            self.certificate,
            self.version,
            {self.name: digest},
            word.by,
            word.reason,
        )

    def as_result(self) -> dict[str, Any]:
        """The record as JSON types."""
        return {
            "certificate": self.certificate,
            "version": self.version,
            "directory": str(self.directory),
            "changed": self.changed,
        }

    def sentence(self) -> str:
        """What was recorded, and what there is to commit."""
        commit = f"; commit {self.directory}" if self.changed else "; nothing to do"
        return f"{self.certificate} v{self.version}: {self.told}{commit}"

    def diff(self) -> dict[str, str]:
        """The new file; it is public."""
        return shown_diff(self.directory / self.name, self.content or b"")


def shown_diff(path: Path, content: bytes) -> dict[str, str]:
    """A new public file as Ansible shows it."""
    header = str(path)
    after = content.decode()
    return {"before_header": header, "after_header": header, "before": "", "after": after}


# --- what became of a request -----------------------------------------------------------------


def decide(
    versions: Sequence[VersionFiles], word: Word, outcome: str, version: int, now: datetime
) -> Record:
    """The record of a request that was rejected or withdrawn.

    Args:
        versions: the certificate's version directories.
        word: whose request, and why.
        outcome: ``rejected`` by the portal or the CA, or ``withdrawn`` by us.
        version: the request's; 0 for the newest one there is.
        now: the date of the record.

    Raises:
        PkiError: OUTCOME for a request there is not, an accepted one, one with another outcome,
            an outcome that is none, or a reason that says nothing.
    """
    if outcome not in OUTCOMES:
        raise _refused(
            RULE_OUTCOME,
            f"{word.certificate}: that is no outcome of a request",
            found=outcome or "nothing",
            expected=" or ".join(OUTCOMES),
        )
    must_say_something(RULE_OUTCOME, word)
    files = _requested(versions, word, version)
    seen = public_state.observed_version(files)
    if files.certificate is not None or files.accepted_record is not None:
        raise _refused(
            RULE_OUTCOME,
            f"{word.certificate}: request v{files.number} was answered and accepted",
            found="an accepted certificate",
            expected="a request without one",
            where=files.path,
            next_step="for a certificate that must not be used any more, have it revoked in the "
            f"portal; for another one: {commands.renew(word.certificate)}",
        )
    told = f"request v{files.number} is recorded as {outcome}"
    if seen.outcome == outcome:
        return _record(word, files.number, files.path, "outcome.yml", told, None)
    if seen.outcome is not None:
        raise _refused(
            RULE_OUTCOME,
            f"{word.certificate}: request v{files.number} has another outcome already",
            found=f"{seen.outcome} on {seen.outcome_at:%Y-%m-%d}",
            expected=outcome,
            where=files.path / "outcome.yml",
            next_step="a record is not changed; correct it in git if it was a mistake",
        )
    said = {"outcome": outcome, "date": public_state.iso(now)}
    return _record(word, files.number, files.path, "outcome.yml", told, said)


def _requested(versions: Sequence[VersionFiles], word: Word, version: int) -> VersionFiles:
    requests = {
        files.number: files
        for files in versions
        if files.request is not None or files.request_record is not None
    }
    wanted = version or max(requests, default=0)
    if wanted in requests:
        return requests[wanted]
    known = ", ".join(f"v{number}" for number in sorted(requests))
    raise _refused(
        RULE_OUTCOME,
        f"{word.certificate}: there is no request {f'v{version} ' if version else ''}to speak of",
        found=f"requests {known}" if known else "no request",
        expected=f"a request v{version}" if version else "a request",
        next_step="look at the table for what is open: playbooks/status.yml",
    )


# --- a new request ----------------------------------------------------------------------------


def ask(
    plan: CertificatePlan,
    versions: Sequence[VersionFiles],
    word: Word,
    directory: Path,
    now: datetime,
) -> Record:
    """The record of a person's word for a new request.

    Args:
        plan: the certificate's plan, made with its keys and files.
        versions: its version directories.
        word: which certificate, and why.
        directory: where its versions are.
        now: the date of the record.

    Raises:
        PkiError: RENEW while a request is open that this word did not ask for, before anything
            was ever requested, or for a reason that says nothing.
    """
    must_say_something(RULE_RENEW, word)
    if plan.reason is Reason.NEVER_REQUESTED:
        raise _refused(
            RULE_RENEW,
            f"{word.certificate}: nothing was ever requested, so there is nothing to renew",
            found="no version",
            expected="a certificate, or a request that came to nothing",
            where=directory,
            next_step="run playbooks/site.yml: it makes the first request by itself",
        )
    number = plan.pending if plan.pending is not None else next_version(versions)
    before = next((files for files in versions if files.number == number), None)
    record = before.asked_record if before else None
    path = directory / str(number)
    if plan.pending is not None and (record is None or _reason(record) != word.reason.strip()):
        raise _open(plan, word, path)
    if record is not None:
        told = "a new request was asked for already"
        return _record(word, number, path, "asked.yml", told, None)
    said = {"date": public_state.iso(now)}
    return _record(word, number, path, "asked.yml", "a new request is asked for", said)


def next_version(versions: Sequence[VersionFiles]) -> int:
    """The version of the request to come, or of the open one: the newest settled one plus one."""
    settled = (public_state.observed_version(files) for files in versions)
    return max((one.number for one in settled if one.settled), default=0) + 1


def _reason(record: Mapping[str, Any]) -> str:
    return str(record.get("reason", ""))


def _open(plan: CertificatePlan, word: Word, path: Path) -> PkiError:
    since = f" since {plan.since:%Y-%m-%d}" if plan.since else ""
    return _refused(
        RULE_RENEW,
        f"{word.certificate}: request v{plan.pending} is open",
        found=f"request v{plan.pending}, open{since}: {plan.message}",
        expected="no open request: there is one at a time",
        where=path,
        next_step=f"{plan.next_action}. Or, when it has come to nothing: "
        f"{commands.withdraw(word.certificate)}",
    )


# --- both -------------------------------------------------------------------------------------


def must_say_something(rule: str, word: Word) -> None:
    """Refuse a word without a reason, or one that is more than a line (``rule``)."""
    texts = {"reason": word.reason, "by": word.by}
    for name, text in texts.items():
        if len(text) > LONGEST_REASON or not text.isprintable():
            raise _refused(
                rule,
                f"{word.certificate}: `{name}` is not one line of text",
                found=text,
                expected=f"at most {LONGEST_REASON} characters, without control characters",
            )
    if not word.reason.strip():
        raise _refused(
            rule,
            f"{word.certificate}: there is no reason",
            found="nothing",
            expected="why, in a few words, for whoever reads this in a year",
        )


def _record(
    word: Word, number: int, path: Path, name: str, told: str, said: Mapping[str, str] | None
) -> Record:
    content = None
    if said is not None:
        by = {"by": word.by.strip()} if word.by.strip() else {}
        head = {"schema": SCHEMA, "certificate": word.certificate, "version": number}
        content = public_state.dump({**head, **said, "reason": word.reason.strip(), **by})
    return Record(word.certificate, number, path, name, told, content)


def _refused(
    rule: str,
    message: str,
    *,
    found: str,
    expected: str,
    where: Path | str = "the command line",
    next_step: str = "correct the command and run it again; nothing was changed",
) -> PkiError:
    return PkiError(
        message, rule=rule, found=found, expected=expected, where=str(where), next_step=next_step
    )


def of_each(words: Sequence[Word], known: Mapping[str, object], rule: str) -> None:
    """Refuse a batch that names a certificate twice, or one that is not declared."""
    seen: set[str] = set()
    for word in words:
        if word.certificate not in known:
            raise _refused(
                rule,
                "there is no such certificate",
                found=word.certificate or "nothing",
                expected=", ".join(known) or "a declared certificate",
            )
        if word.certificate in seen:
            raise _refused(
                rule,
                f"{word.certificate} is named twice",
                found="two entries",
                expected="one entry a certificate",
            )
        seen.add(word.certificate)
