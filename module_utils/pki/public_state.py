# SPDX-License-Identifier: GPL-3.0-or-later
"""The public state in git: one directory per certificate and key version.

``<certificates_dir>/<name>/<version>/`` holds ``request.csr request.yml submission.txt``,
then ``reply.*`` from a person, then ``certificate.pem chain.pem accepted.yml`` from us, or
``outcome.yml`` for a request that was rejected or withdrawn. ``asked.yml`` is a person's word
for a request that no run makes by itself, and may be there alone. ``retired.yml`` says that an
old version was withdrawn, ``revocation.txt`` beside it what a person does about its certificate;
``revocation.yml`` is the record of such a revocation, prepared or done.
This file is the edge that reads and writes them; it judges nothing.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from . import plain_files, records, revocation_record
from .errors import PkiError
from .lifecycle import Accepted, Asked, Intent, Requested, Retired, Version
from .record_fields import field as _field
from .record_fields import iso as iso
from .record_fields import moment as _moment
from .record_fields import unusable as _unusable
from .records import dump as dump

SCHEMA = 1
OUTCOMES = ("rejected", "withdrawn")
#: What became of a retired version's key.
KEY_ENDS = ("withdrawn", "destroyed", "kept")
#: What retired.yml says, and what it may say besides.
RETIRED_FIELDS = ("schema", "certificate", "version", "date", "reason", "key", "superseded_by")
RETIRED_MORE = ("by", "early", "destroyed_at")
MAXIMUM_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """The bytes of one version directory; None for what is not there."""

    path: Path
    number: int
    request: bytes | None
    request_record: Mapping[str, Any] | None
    replies: tuple[tuple[str, bytes], ...]
    certificate: bytes | None
    chain: bytes | None
    accepted_record: Mapping[str, Any] | None
    outcome_record: Mapping[str, Any] | None
    asked_record: Mapping[str, Any] | None = None
    retired_record: Mapping[str, Any] | None = None
    revocation_record: Mapping[str, Any] | None = None

    @property
    def only_asked(self) -> bool:
        """Whether there is nothing but a person's word for a request to come."""
        nothing = (self.request, self.request_record, self.certificate, self.accepted_record)
        return (
            self.asked_record is not None
            and self.outcome_record is None
            and not self.replies
            and all(one is None for one in nothing)
        )

    @property
    def presented(self) -> tuple[bytes, ...]:
        """What is to be judged: the kept certificate and chain, else what was pasted.

        A record without its certificate falls back to the reply: ``accepted.yml`` is
        never a permission.
        """
        return tuple(content for _, content in self.presented_files)

    @property
    def presented_files(self) -> tuple[tuple[str, bytes], ...]:
        """The same with the files' names."""
        if self.certificate is None:
            return self.replies
        kept = (("certificate.pem", self.certificate), ("chain.pem", self.chain))
        return tuple((name, content) for name, content in kept if content is not None)


def scan(directory: str | Path, name: str) -> tuple[VersionFiles, ...]:
    """Every version directory of a certificate, oldest first; empty when there is none."""
    base = Path(directory) / name
    entry = base.parent if "/" in name else base
    if entry.is_symlink() or base.is_symlink() or (base.exists() and not base.is_dir()):
        raise _unusable(base, "a link or a file", "a directory of versions")
    if not base.is_dir():
        return ()
    found = []
    for entry in base.iterdir():
        if entry.name.startswith("."):
            continue
        if _of_a_host(entry):
            continue
        if not (entry.is_dir() and not entry.is_symlink() and _is_version(entry.name)):
            raise PkiError(
                f"{name}: {entry.name} is not a version directory",
                rule="STATE-LAYOUT",
                found=entry.name,
                expected="directories named 1, 2, 3 ...",
                where=str(entry),
                next_step="move it elsewhere; only key versions live here",
            )
        found.append(_read_version(entry))
    found.sort(key=lambda files: files.number)
    _no_gap(base, [files.number for files in found])
    return tuple(found)


def scan_every(directory: str | Path) -> dict[str, tuple[VersionFiles, ...]]:
    """The versions of every certificate there is, declared or not, by name.

    For what has to know all of them, as history does: whoever cannot be read is left out.
    """
    found: dict[str, tuple[VersionFiles, ...]] = {}
    for name in names(directory):
        with suppress(PkiError):
            found[name] = scan(directory, name)
    return found


def names(directory: str | Path) -> list[str]:
    """Every entry's directory, and those of the hosts that have versions of their own."""
    try:
        paths = sorted(path for path in Path(directory).iterdir() if path.name[:1] != ".")
    except OSError:
        return []
    return [*(path.name for path in paths), *(name for path in paths for name in _hosts(path))]


def _hosts(entry: Path) -> list[str]:
    """An entry that cannot be listed is told when it is scanned; it must not hide the others."""
    try:
        if entry.is_symlink() or not entry.is_dir():
            return []
        return [f"{entry.name}/{host.name}" for host in sorted(entry.iterdir()) if _of_a_host(host)]
    except OSError:
        return []


def _of_a_host(path: Path) -> bool:
    """Whether a directory has the versions of one host, which ``<entry>/<host>`` names."""
    if _is_version(path.name) or path.is_symlink() or not path.is_dir():
        return False
    inside = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    return bool(inside) and all(_is_version(entry.name) and entry.is_dir() for entry in inside)


def _no_gap(base: Path, numbers: list[int]) -> None:
    """Versions follow each other: a number out of the blue would be a wish for as many keys."""
    for before, number in itertools.pairwise([0, *numbers]):
        if number != before + 1:
            raise PkiError(
                f"{base.name}: version {before + 1} is missing before version {number}",
                rule="STATE-LAYOUT",
                found=f"a directory {number}",
                expected=f"a directory {before + 1} first",
                where=str(base),
                next_step=f"restore {before + 1} from git, or remove {number} if nobody asked "
                "for it; nothing was changed",
            )


def _is_version(name: str) -> bool:
    return name.isdecimal() and int(name) > 0 and str(int(name)) == name


def _read_version(path: Path) -> VersionFiles:
    replies = sorted(path.glob("reply.*"))
    return VersionFiles(
        path=path,
        number=int(path.name),
        request=_bytes(path / "request.csr"),
        request_record=_record(path / "request.yml"),
        replies=tuple((entry.name, _bytes(entry) or b"") for entry in replies),
        certificate=_bytes(path / "certificate.pem"),
        chain=_bytes(path / "chain.pem"),
        accepted_record=_record(path / "accepted.yml"),
        outcome_record=_record(path / "outcome.yml"),
        asked_record=_record(path / "asked.yml"),
        retired_record=_record(path / "retired.yml"),
        revocation_record=_record(path / revocation_record.FILE),
    )


def _bytes(path: Path) -> bytes | None:
    try:
        return plain_files.read(path, MAXIMUM_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        expected = f"a plain, readable file of at most {MAXIMUM_BYTES} bytes"
        raise _unusable(path, exc.strerror or "unreadable", expected) from exc


def _record(path: Path) -> Mapping[str, Any] | None:
    content = _bytes(path)
    if content is None:
        return None
    try:
        value = records.load(content)
    except ValueError as exc:
        raise _unusable(path, str(exc), "a small YAML map without aliases") from exc
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise _unusable(path, "another schema", f"a map with schema: {SCHEMA}")
    return value


def observed_version(files: VersionFiles, revoked_at: datetime | None = None) -> Version:
    """One directory as the plan sees it; ``revoked_at`` is what the CA's CRL says of it."""
    outcome, told = files.outcome_record, recorded_revocation(files)
    return Version(
        number=files.number,
        requested=_requested(files),
        has_reply=bool(files.replies),
        # A person who saw it in the portal may be earlier than the next CRL.
        accepted=_accepted(files, revoked_at or (told.revoked if told else None)),
        outcome=_outcome(files) if outcome else None,
        outcome_at=_moment(outcome, "date", files.path / "outcome.yml") if outcome else None,
        asked=_asked(files),
        retired=_retired(files),
        revocation=told.as_lifecycle() if told else None,
    )


def recorded_revocation(files: VersionFiles) -> revocation_record.Recorded | None:
    """What ``revocation.yml`` says; None where there is none."""
    if files.revocation_record is None:
        return None
    path = files.path / revocation_record.FILE
    return revocation_record.read(files.revocation_record, path, files.number)


def _requested(files: VersionFiles) -> Requested | None:
    record, path = files.request_record, files.path / "request.yml"
    if record is None or files.request is None:
        return None
    return Requested(
        intent=intent(record, path),
        spki_sha256=key_digest(record, path),
        created=_moment(record, "created", path),
    )


def key_digest(record: Mapping[str, Any], path: Path) -> str:
    """SHA-256 of the public key that a request record names."""
    return str(_field(_field(record, "key", path), "spki_sha256", path))


def intent(record: Mapping[str, Any], path: Path) -> Intent:
    """What a request record asks for."""
    subject, purposes = _field(record, "subject", path), _field(record, "purposes", path)
    if not isinstance(subject, Mapping):
        raise _unusable(path, f"subject: {type(subject).__name__}", "a map as subject")
    if not isinstance(purposes, list):
        raise _unusable(path, f"purposes: {type(purposes).__name__}", "a list as purposes")
    return Intent(
        common_name=str(_field(record, "common_name", path)),
        subject={str(key): str(value) for key, value in subject.items()},
        purposes=frozenset(str(item) for item in purposes),
        policy=str(_field(record, "policy", path)),
        san=_san(record, path),
        provider=str(record.get("provider", "")),
        handover="mtls" not in purposes and _mount(record).endswith("-tls"),
        **_key_words(record),
    )


def _san(record: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    value = record.get("san", [])
    if not isinstance(value, list):
        raise _unusable(path, f"san: {type(value).__name__}", "a list as san")
    return tuple(str(item) for item in value)


def _mount(record: Mapping[str, Any]) -> str:
    """The transit mount of the key; empty for one that is kept elsewhere."""
    key = record.get("key")
    return str(key.get("mount", "")) if isinstance(key, Mapping) else ""


def _key_words(record: Mapping[str, Any]) -> dict[str, str]:
    """Store and type of the key. What was imported or supplied is as it is: no type is wanted."""
    key = record.get("key")
    told = key if isinstance(key, Mapping) else {}
    store = str(told.get("store", ""))
    as_is = bool(told.get("imported")) or store == "external"
    return {"store": store, "key_type": "" if as_is else str(told.get("type", ""))}


def _accepted(files: VersionFiles, revoked_at: datetime | None) -> Accepted | None:
    record, path = files.accepted_record, files.path / "accepted.yml"
    if record is None or files.certificate is None:
        return None
    return Accepted(
        serial=str(_field(record, "serial", path)),
        not_before=_moment(record, "not_before", path),
        not_after=_moment(record, "not_after", path),
        accepted_at=_moment(record, "accepted_at", path),
        revoked_at=revoked_at,
    )


def _asked(files: VersionFiles) -> Asked | None:
    record, path = files.asked_record, files.path / "asked.yml"
    if record is None:
        return None
    return Asked(reason=str(_field(record, "reason", path)), at=_moment(record, "date", path))


def _retired(files: VersionFiles) -> Retired | None:
    record, path = files.retired_record, files.path / "retired.yml"
    if record is None:
        return None
    strange = [str(name) for name in record if name not in (*RETIRED_FIELDS, *RETIRED_MORE)]
    if strange:
        raise _unusable(path, ", ".join(strange), "no field but those of such a record")
    values = {name: _field(record, name, path) for name in RETIRED_FIELDS}
    if values["version"] != files.number:
        raise _unusable(path, f"version {values['version']}", f"version {files.number}")
    if values["key"] not in KEY_ENDS:
        raise _unusable(path, f"key: {values['key']}", " or ".join(KEY_ENDS))
    newer = values["superseded_by"]
    if not isinstance(newer, int) or newer <= files.number:
        raise _unusable(path, f"superseded_by: {newer}", f"a version above {files.number}")
    return Retired(_moment(record, "date", path), str(values["key"]))


def _outcome(files: VersionFiles) -> str:
    path = files.path / "outcome.yml"
    value = str(_field(files.outcome_record or {}, "outcome", path))
    if value not in OUTCOMES:
        raise _unusable(path, value, " or ".join(OUTCOMES))
    return value


def differing(directory: Path, wanted: Mapping[str, bytes]) -> Iterable[str]:
    """Names of the files in ``wanted`` whose bytes on disk are not those, in order."""
    return [name for name, content in wanted.items() if _bytes(directory / name) != content]


def write(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Write public files (0644), each by rename, in the order given, durably.

    The order is the caller's promise: a reader that finds the last file finds all of them.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            _replace(directory / name, content)
    except OSError as exc:
        raise PkiError(
            f"{directory.name} cannot be written",
            rule="STATE-WRITE",
            found=exc.strerror or type(exc).__name__,
            expected="a directory that this run may write to",
            where=str(directory),
            next_step="correct owner, mode or free space of the directory and run again",
        ) from exc


def _replace(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
