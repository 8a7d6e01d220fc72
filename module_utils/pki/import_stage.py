# SPDX-License-Identifier: GPL-3.0-or-later
"""An existing key on its way to a certificate's entry: whose, which version, which files. Pure.

Everything is judged before the key goes anywhere: the request is built with the key at hand,
and its bytes are the same as those the store would sign, since PKCS #1 v1.5 leaves no choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509

from . import commands, csr, key_owner, key_place, outcomes, public_state, request_stage, trail
from .desk import Desk
from .errors import PkiError
from .key_import import Brought
from .key_owner import Owner
from .public_state import VersionFiles
from .stores.base import KeyRecord, KeyVersion, cannot

REPLY = "reply.pem"
RULE_COMPROMISED = "KEY-COMPROMISED"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A key that may come in: as which version, whose it is, whether its request is committed."""

    desk: Desk
    key: Brought
    owner: Owner
    version: int
    files: VersionFiles | None

    @property
    def asked(self) -> bool:
        """Whether the version's request is there, made with this very key."""
        return self.files is not None and _spki_of(self.files) == self.key.spki_sha256

    def contents(self, created: datetime) -> dict[str, bytes]:
        """The files of its version that are not there yet, in the order to write them.

        ``created`` is when its store has it from. A committed request stays as it is, and so does
        a reply that a person put there.
        """
        found: dict[str, bytes] = {}
        if not self.asked:
            written = self._build(created)
            found = {name: written.contents[name] for name in written.missing}
        settled = self.files is not None and public_state.observed_version(self.files).settled
        reply = self.owner.reply(self.desk.now)
        if reply is not None and not settled and not (self.files and self.files.replies):
            found[REPLY] = reply
        return found

    def result(self, contents: Mapping[str, bytes], moved: bool, check: bool) -> dict[str, Any]:
        """What a module returns: what was done, or with ``check`` would be, and the public files.

        ``moved``: whether the key was not in its store yet.
        """
        name = self.desk.certificate.name
        done = ("would be imported" if check else "imported") if moved else "present"
        told = f"{name} v{self.version}: key {done}"
        if contents:
            told += f"; commit {self.directory}"
        ended = self.owner.ended(self.desk.now)
        return {
            "changed": moved or bool(contents),
            "imported": {
                "certificate": name,
                "version": self.version,
                "directory": str(self.directory),
                "key": done,
                "spki_sha256": self.key.spki_sha256,
                "files": list(contents),
            },
            "sentences": [
                f"{name}: {self.owner.sentence()}",
                told,
                *(
                    [f"{name}: its certificate ended on {ended}: submit the request"]
                    if ended
                    else []
                ),
            ],
            # In check mode the record's date is not known, as the store gives it.
            "diff": [
                _difference(self.directory / file, content)
                for file, content in contents.items()
                if not (check and moved and file == "request.yml")
            ],
        }

    def key_event(self, ids: Sequence[str] = ()) -> dict[str, Any]:
        """That its store has it now, for the audit trail."""
        artefacts = {"public key": self.key.spki_sha256}
        name = self.desk.certificate.name
        return trail.event("key imported", name, self.version, artefacts, vault=ids)

    def files_event(self, contents: Mapping[str, bytes]) -> dict[str, Any]:
        """That its files were written, for the audit trail."""
        digests = {name: sha256(content).hexdigest() for name, content in contents.items()}
        what = "files of an imported key written"
        return trail.event(what, self.desk.certificate.name, self.version, digests)

    @property
    def directory(self) -> Path:
        """Where the files of its version are."""
        return self.desk.directory / self.desk.certificate.name / str(self.version)

    def judge(self) -> None:
        """Let the policy judge its request; PkiError as :func:`.request_stage.build`."""
        if self.asked:
            _never_compromised(self)
        else:
            self._build(self.desk.now)

    def _build(self, created: datetime) -> request_stage.Written:
        desk, name = self.desk, self.desk.certificate.name
        record = KeyRecord(
            name=desk.certificate.key_name,
            type=f"rsa-{self.key.bits}",
            exportable=False,  # no file tells it
            versions={self.version: KeyVersion(self.version, created, self.key.spki_der)},
            imported=True,
        )
        return request_stage.build_with(
            self.key.signing_key(),
            desk.certificate,
            desk.rules,
            record,
            self.version,
            desk.directory,
            desk.known.before(name, self.version),
        )


def must_be_kept_in(store: str, desk: Desk) -> None:
    """Refuse a key for an entry whose keys are kept elsewhere; PkiError KEY-OPERATION."""
    name, kept = desk.certificate.name, desk.certificate.store
    if kept == store:
        return
    if kept == key_place.EXTERNAL:
        next_step = "take in the request that the device makes instead: playbooks/supply.yml"
    else:
        next_step = f"run playbooks/import.yml: it brings a key of store {kept} there"
    raise cannot(
        f"{name}: this is not where the entry's key is kept",
        found=f"store {kept}",
        expected=f"store {store}",
        where=f"certificates.yml, {name}.key.store",
        next_step=next_step,
    )


def receive(desk: Desk, key: Brought, given: Mapping[str, Sequence[x509.Certificate]]) -> Arrival:
    """Decide whether a key may come in, and as which version.

    ``given`` are the certificates that came along, by the place they came from. A key that the
    entry has already keeps its version: bringing it again changes nothing, or restores it.

    Raises:
        PkiError: KEY-IMPORT while a request with another key is open or for a key that was asked
            for in vain, KEY-OWNER and KEY-MATCH as :mod:`.key_owner`, and whatever the policy
            refuses the request for.
    """
    certificate = desk.certificate
    version, files = _version(desk, key.spki_sha256)
    owner = key_owner.of(key.spki_sha256, given, files)
    key_owner.must_be(owner, certificate)
    arrival = Arrival(desk, key, owner, version, files)
    arrival.judge()
    return arrival


def _difference(path: Path, content: bytes) -> dict[str, str]:
    return {
        "before_header": str(path),
        "after_header": str(path),
        "before": "",
        "after": content.decode("utf-8", "replace"),
    }


def _version(desk: Desk, spki_sha256: str) -> tuple[int, VersionFiles | None]:
    """The version that has this key already, or the one to come."""
    name = desk.certificate.name
    for files in desk.versions:
        if _spki_of(files) != spki_sha256:
            continue
        outcome = public_state.observed_version(files).outcome
        if outcome is None:
            return files.number, files
        raise _refused(
            f"{name}: the request with this key was {outcome}",
            found=f"the key of v{files.number}",
            expected="a key that was never asked for: the same request is never offered twice",
            next_step="have a new key made: " + commands.renew(name),
        )
    number = outcomes.next_version(desk.versions)
    files_there = desk.files(number)
    if files_there is not None and _spki_of(files_there):
        raise _refused(
            f"{name}: request v{number} is open, with another key",
            found=f"a request with the public key {_spki_of(files_there)}",
            expected=f"no open request, or the public key {spki_sha256}",
            next_step="when that request has come to nothing, record it as withdrawn: "
            + commands.withdraw(name),
        )
    return number, files_there


def _spki_of(files: VersionFiles) -> str:
    """The key that a version's request names; empty without a complete request."""
    if files.request is None or files.request_record is None:
        return ""
    return csr.key_digest(files.request)


def _never_compromised(arrival: Arrival) -> None:
    """A committed request is not judged again, but its key may have leaked since."""
    said = arrival.desk.known.compromised.get(arrival.key.spki_sha256)
    if said is None:
        return
    raise PkiError(
        f"{arrival.desk.certificate.name}: the key is compromised and must never be used again",
        rule=RULE_COMPROMISED,
        found=said,
        expected="a key that nobody has reported as compromised",
        where="the key file",
        next_step="destroy the file, and have a new key made: "
        + commands.renew(arrival.desk.certificate.name),
    )


def _refused(message: str, *, found: str, expected: str, next_step: str) -> PkiError:
    return PkiError(
        message,
        rule="KEY-IMPORT",
        found=found,
        expected=expected,
        where="the key file",
        next_step=f"{next_step}. Nothing was changed",
    )
