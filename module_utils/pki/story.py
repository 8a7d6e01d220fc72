# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of one certificate: what the trail, git and the records say of it, in order. Pure.

Three witnesses, each of which knows what the others do not: the trail every change and who ran it,
git who merged what, the records what is to be kept of a certificate. What they tell was written by
many hands, so every text is shown without what steers a terminal, and a moment that cannot be read
is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from .errors import PkiError, shown
from .git_log import Commit

RULE = "HISTORY"
TRAIL, GIT, RECORD, LEDGER = "trail", "git", "record", "ledger"
#: Of one moment, the order in which things follow from each other.
_ORDER = (TRAIL, RECORD, LEDGER, GIT)
_SHOWN_DIGEST = 16
_NO_MOMENT = datetime.min.replace(tzinfo=UTC)

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """One sentence of a story.

    Attributes:
        at: when it happened; None where that cannot be read.
        what: what happened.
        who: the user, pipeline actor or person, as far as it is known.
        evidence: digests, serial numbers, request ids and commits to compare with.
        source: who tells it: ``trail``, ``git``, ``record`` or ``ledger``.
    """

    at: datetime | None
    what: str
    who: str
    evidence: tuple[str, ...]
    source: str

    def as_result(self) -> dict[str, Any]:
        """The sentence as JSON types, nothing shortened."""
        return {
            "at": self.at.isoformat() if self.at else "",
            "what": shown(self.what),
            "who": shown(self.who),
            "evidence": [shown(one) for one in self.evidence],
            "source": self.source,
        }


def ordered(told: Iterable[Told], since: datetime | None = None) -> list[Told]:
    """Oldest first, what has no moment before all else; nothing older than ``since``."""
    kept = [one for one in told if since is None or one.at is None or one.at >= since]
    return sorted(kept, key=lambda one: (one.at or _NO_MOMENT, _ORDER.index(one.source)))


def lines(told: Sequence[Told]) -> list[str]:
    """The story as aligned columns: time (UTC), source, what, who; evidence below."""
    rows = [(_time(one.at), one.source, shown(one.what), shown(one.who)) for one in told]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    found = []
    for row, one in zip(rows, told, strict=True):
        who = f" ({row[3]})" if row[3] else ""
        found.append(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}{who}")
        indent = " " * (widths[0] + widths[1] + 4)
        found += [f"{indent}{shown(text)}" for text in one.evidence]
    return found


def since(text: str) -> datetime | None:
    """The option of that name: a day, or a moment; UTC unless it says otherwise.

    Raises:
        PkiError: HISTORY for a text that is neither.
    """
    if not text:
        return None
    moment = _moment(text)
    if moment is None:
        raise PkiError(
            "there is no such day",
            rule=RULE,
            found=text,
            expected="YYYY-MM-DD, or a moment as YYYY-MM-DDTHH:MM:SSZ",
            where="option since",
            next_step="correct it and run again",
        )
    return moment


# --- the witnesses ----------------------------------------------------------------------------


def is_about(line: Record, name: str) -> bool:
    """Whether a line of the trail is about a certificate, or about one of an entry's hosts."""
    certificate, host = str(line.get("certificate", "")), str(line.get("host", ""))
    if not certificate:
        return False
    entry, _, of_host = name.partition("/")
    # A host tells of the entry alone: it knows no other's.
    return (
        certificate == name
        or certificate.startswith(f"{name}/")
        or bool(of_host and certificate == entry and host == of_host)
    )


def of_trail(trail: Iterable[Record], name: str) -> list[Told]:
    """Every change that was made for the certificate."""
    return [_of_line(line, name) for line in trail if is_about(line, name)]


def _of_line(line: Record, name: str) -> Told:
    ci = line.get("ci")
    actor = str(ci.get("actor", "")) if isinstance(ci, Mapping) else ""
    by = str(line.get("by") or "")
    who = ", ".join(
        part
        for part in (
            f"said by {by}" if by else "",
            f"run by {actor} as {line.get('user', '')}" if actor else f"run by {line.get('user')}",
            str(line.get("playbook") or ""),
        )
        if part
    )
    host = str(line.get("host") or "")
    what = str(line.get("event", ""))
    if line.get("version"):
        what = f"v{line['version']}: {what}"
    if str(line.get("certificate")) != name:
        what = f"{line['certificate']} {what}"
    if host and host != "localhost":
        what = f"{what} on {host}"
    if line.get("reason"):
        what = f"{what}: {line['reason']}"
    artefacts = line.get("artefacts")
    digests = artefacts.items() if isinstance(artefacts, Mapping) else ()
    ids = line.get("vault")
    evidence = [f"{file} {digest}" for file, digest in digests]
    evidence += [f"Vault request {one}" for one in (ids if isinstance(ids, list) else ())]
    return Told(_moment(line.get("time")), what, who, tuple(evidence), TRAIL)


def of_git(commits: Iterable[Commit]) -> list[Told]:
    """Every commit of the certificate's directory."""
    return [
        Told(
            _moment(one.when),
            f"committed: {one.subject}",
            one.author,
            (f"commit {one.sha}", *one.files),
            GIT,
        )
        for one in commits
    ]


def of_records(name: str, version: int, records: Mapping[str, Record]) -> list[Told]:
    """What the records beside one version say, by file name; an unknown file says nothing."""
    found = []
    for file, record in records.items():
        if file in _RECORDS and isinstance(record, Mapping):
            found += _RECORDS[file](f"{name} v{version}", record)
    return found


def of_ledger(entries: Iterable[Record], digests: Mapping[str, str]) -> list[Told]:
    """Entries of the ledger of compromised keys that are about the certificate's own keys.

    ``digests`` are those of its keys, with the version of each.
    """
    return [
        Told(
            _moment(one.get("since")),
            f"{digests[str(one['spki_sha256'])]}: its key is compromised: {one.get('reason', '')}",
            "",
            (f"public key {one['spki_sha256']}",),
            LEDGER,
        )
        for one in entries
        if str(one.get("spki_sha256")) in digests
    ]


# --- records ----------------------------------------------------------------------------------


def _of_request(label: str, record: Record) -> list[Told]:
    key = record.get("key")
    digest = key.get("spki_sha256", "") if isinstance(key, Mapping) else ""
    store = key.get("store", "") if isinstance(key, Mapping) else ""
    what = f"{label}: key of the request for {record.get('common_name', '')} is from ({store})"
    evidence = (f"public key {digest}", f"request.csr {record.get('request_sha256', '')}")
    return [Told(_moment(record.get("created")), what, "", evidence, RECORD)]


def _of_acceptance(label: str, record: Record) -> list[Told]:
    what = f"{label}: accepted, valid until {record.get('not_after', '')}"
    evidence = (
        f"serial {record.get('serial', '')}",
        f"certificate {record.get('certificate_sha256', '')}",
    )
    return [Told(_moment(record.get("accepted_at")), what, "", evidence, RECORD)]


def _said(what: Callable[[Record], str]) -> Callable[[str, Record], list[Told]]:
    def tell(label: str, record: Record) -> list[Told]:
        text = f"{label}: {what(record)}"
        if record.get("reason"):
            text = f"{text}: {record['reason']}"
        return [Told(_moment(record.get("date")), text, _by(record), (), RECORD)]

    return tell


def _of_revocation(label: str, record: Record) -> list[Told]:
    evidence = (f"serial {record.get('serial', '')}",)
    steps = {
        "prepared": f"revocation for {record.get('cause', '')} prepared: {record.get('text', '')}",
        "noticed": "whoever asks for its revocation became aware",
        "out_of_service": "no host and no store uses the key any more",
        "submitted": "its revocation was asked for",
        "incident": f"the security incident was raised{_reference(record.get('incident'))}",
        "authority": "the certificate authority was told",
        "revoked": "seen to be revoked",
    }
    return [
        Told(_moment(_when(record[step])), f"{label}: {what}", _by(record), evidence, RECORD)
        for step, what in steps.items()
        if record.get(step)
    ]


def _of_exports(label: str, record: Record) -> list[Told]:
    found = []
    exports = record.get("exports")
    for one in exports if isinstance(exports, list) else ():
        if not isinstance(one, Mapping):
            continue
        evidence = (f"export {one.get('id', '')}", f"file {one.get('file_sha256', '')}")
        what = f"{label}: key exported for {one.get('recipient', '')}"
        found.append(Told(_moment(one.get("date")), what, _by(one), evidence, RECORD))
        receipt = one.get("receipt")
        if isinstance(receipt, Mapping):
            what = f"{label}: export {one.get('id', '')} received"
            who = str(receipt.get("received_by", ""))
            found.append(Told(_moment(receipt.get("date")), what, who, evidence[:1], RECORD))
    return found


_RECORDS: Mapping[str, Callable[[str, Record], list[Told]]] = {
    "request.yml": _of_request,
    "asked.yml": _said(lambda _record: "a new request is asked for"),
    "outcome.yml": _said(lambda record: f"the request was {record.get('outcome', '')}"),
    "accepted.yml": _of_acceptance,
    "deployed_early.yml": _said(lambda _record: "delivered before its window"),
    "retired.yml": _said(
        lambda record: f"retired for v{record.get('superseded_by')}, its key {record.get('key')}"
    ),
    "revocation.yml": _of_revocation,
    "exports.yml": _of_exports,
}
#: Files that a story is told from.
FILES = tuple(_RECORDS)


def _reference(incident: object) -> str:
    return f", {incident.get('reference')}" if isinstance(incident, Mapping) else ""


def _by(record: Record) -> str:
    by = record.get("by")
    return f"said by {by}" if by else ""


def _when(value: object) -> object:
    """A step's moment; with a reference beside it, it is a map."""
    return value.get("raised") if isinstance(value, Mapping) else value


def _moment(value: object) -> datetime | None:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError:
        return None


def _time(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%SZ") if moment else "(no time)"
