# SPDX-License-Identifier: GPL-3.0-or-later
"""Every committed version of the declared certificates, with what could be read of it.

Read once and shared by the collectors of requests, certificates, chains and keys. Nothing here
raises for a file that somebody damaged: it becomes a version with a problem in words.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509

from .. import csr, plain_files, public_state, reading, x509_der
from ..certificate_facts import Acceptance, Neighbours
from ..certs import DECODE_ERRORS, name_bytes, sha256, to_der
from ..errors import PkiError
from ..expectation import Expectation
from ..inventory import Certificate
from ..lifecycle import Intent, Version
from ..policy import Place
from ..public_state import VersionFiles
from .scene import Scene

Chain = tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class Issued:
    """One committed version.

    Attributes:
        declared: the inventory's entry.
        files: the bytes of the version directory.
        version: what its records say; empty records when they cannot be used.
        request: the request, None when there is none or it cannot be read.
        offered: every certificate that was presented or kept.
        leaf: the one that belongs to the request, else the first end entity.
        problem: why there is no leaf although something was presented.
        policy: the policy the request was made under, today's when it does not say.
    """

    declared: Certificate
    files: VersionFiles
    version: Version
    request: csr.Request | None
    offered: Chain
    leaf: x509.Certificate | None
    problem: str
    policy: str

    @property
    def label(self) -> str:
        """How facts name it."""
        return f"{self.declared.name} v{self.files.number}"

    @property
    def presented(self) -> bool:
        """Whether there is a reply or a kept certificate, readable or not."""
        return bool(self.files.presented)

    @property
    def source(self) -> str:
        """Whether the kept certificate is looked at, or the reply as it was pasted."""
        return "reply" if self.files.certificate is None else "kept"

    @property
    def submission(self) -> bytes | None:
        """The bytes of submission.txt; None when there is none that can be read."""
        try:
            return plain_files.read(self.files.path / "submission.txt", public_state.MAXIMUM_BYTES)
        except OSError:
            return None

    def place(self, name: str) -> Place:
        """A file of the version, relative to the working directory where it is below it."""
        return shown(self.files.path / name, 1)

    def asked(self) -> Intent | None:
        """What the request's record asks for; None without a usable record."""
        return self.version.requested.intent if self.version.requested else None

    def expectation(self, *, today: bool) -> Expectation:
        """What was to be asked for: by today's entry, or by the record where there is one."""
        intent = None if today else self.asked()
        entry = self.declared
        return Expectation(
            common_name=intent.common_name if intent else entry.common_name,
            subject=intent.subject if intent else entry.subject,
            purposes=intent.purposes if intent else entry.purposes,
            policy=self.policy,
            environment=entry.environment,
            san=intent.san if intent else entry.san,
        )


def shown(path: Path, line: int) -> Place:
    """A place in a file, as short as the working directory allows."""
    here = Path(os.path.abspath(path))
    try:
        return Place(here.relative_to(Path.cwd()).as_posix(), line)
    except (ValueError, OSError):
        return Place(str(path), line)


@dataclass(frozen=True, slots=True)
class Read:
    """Every version of every declared certificate, and what kept one from being read."""

    versions: Mapping[str, tuple[Issued, ...]]
    problems: tuple[Mapping[str, str], ...]

    @property
    def all(self) -> Iterator[Issued]:
        """The versions one after the other, in the order of the inventory."""
        for versions in self.versions.values():
            yield from versions


def read(scene: Scene) -> Read:
    """Look at every declared certificate's directory."""
    versions: dict[str, tuple[Issued, ...]] = {}
    problems: list[Mapping[str, str]] = []
    for name, declared in scene.inputs.declared.certificates.items():
        try:
            found = public_state.scan(scene.inputs.certificates_dir, name)
        except PkiError as exc:
            problems.append(exc.as_result())
            continue
        versions[name] = tuple(_issued(scene, declared, files, problems) for files in found)
    return Read(versions, tuple(problems))


def _issued(
    scene: Scene,
    declared: Certificate,
    files: VersionFiles,
    problems: list[Mapping[str, str]],
) -> Issued:
    try:
        version = public_state.observed_version(files)
    except PkiError as exc:
        problems.append(exc.as_result())
        version = Version(files.number)
    request = _request(files.request)
    offered, problem = _offered(files.presented)
    asked = version.requested.intent.policy if version.requested else ""
    return Issued(
        declared=declared,
        files=files,
        version=version,
        request=request,
        offered=offered,
        leaf=_leaf(offered, request),
        problem=problem,
        policy=asked if asked in scene.inputs.policies else declared.policy,
    )


def _request(content: bytes | None) -> csr.Request | None:
    try:
        return csr.parse(content) if content is not None else None
    except PkiError:
        return None


def _offered(files: Sequence[bytes]) -> tuple[Chain, str]:
    if not files:
        return (), ""
    try:
        return reading.read(files), ""
    except PkiError as exc:
        return (), f"{exc.message}: {exc.found}"


def _leaf(offered: Chain, request: csr.Request | None) -> x509.Certificate | None:
    """The newest certificate of the request's key, else the first that is no CA's."""
    own = [one for one in offered if request is not None and _spki(one) == request.spki_der]
    if own:
        return max(own, key=_begins)
    return next((one for one in offered if not _is_ca(one)), offered[0] if offered else None)


def _begins(certificate: x509.Certificate) -> float:
    try:
        return certificate.not_valid_before_utc.timestamp()
    except DECODE_ERRORS:
        return 0.0


def _spki(certificate: x509.Certificate) -> bytes:
    try:
        return csr.spki_der(certificate.public_key())
    except DECODE_ERRORS:
        return b""


def spki_digest(certificate: x509.Certificate | None) -> str:
    """SHA-256 of a certificate's public key; empty without one that can be read."""
    spki = _spki(certificate) if certificate is not None else b""
    return hashlib.sha256(spki).hexdigest() if spki else ""


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        found = x509_der.certificate(to_der(certificate)).extensions
        return any(x509_der.is_ca(value) for value in x509_der.values(found, "basicConstraints"))
    except ValueError:
        return False


def state(one: Issued, versions: Iterable[Issued]) -> str:
    """presented, current, superseded, rejected or withdrawn: see the schema's words."""
    if one.version.outcome is not None:
        return one.version.outcome
    if one.version.accepted is None:
        return "presented"
    newer = any(
        other.version.accepted is not None and other.files.number > one.files.number
        for other in versions
    )
    return "superseded" if newer else "current"


def neighbours(one: Issued, versions: Sequence[Issued]) -> Neighbours:
    """The accepted version before, and what was asked for and accepted after."""
    number = one.files.number
    before = [v.leaf for v in versions if v.files.number < number and v.version.accepted and v.leaf]
    after = [v for v in versions if v.files.number > number]
    accepted = [v.version.accepted.accepted_at for v in after if v.version.accepted]
    return Neighbours(
        predecessor_ends=_ends(before[-1]) if before else None,
        successor_requested=any(
            v.files.request is not None and v.version.outcome is None for v in after
        ),
        successor_accepted=accepted[0] if accepted else None,
    )


def repeats(one: Issued, versions: Sequence[Issued]) -> bool:
    """Whether its certificate is the very one that was accepted before."""
    number, leaf = one.files.number, one.leaf
    before = [v.leaf for v in versions if v.files.number < number and v.version.accepted and v.leaf]
    return leaf is not None and bool(before) and sha256(before[-1]) == sha256(leaf)


def acceptance(one: Issued) -> Acceptance | None:
    """What accepted.yml says of the certificate."""
    record, accepted = one.files.accepted_record, one.version.accepted
    if record is None or accepted is None:
        return None
    return Acceptance(str(record.get("certificate_sha256", "")), accepted.accepted_at)


def _ends(certificate: x509.Certificate) -> datetime | None:
    try:
        return certificate.not_valid_after_utc
    except DECODE_ERRORS:
        return None


@dataclass(slots=True)
class Twins:
    """Who has a public key or a serial number: by SPKI, and by issuer and serial."""

    keys: dict[bytes, list[str]] = field(default_factory=dict)
    serials: dict[tuple[bytes, int], list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, versions: Iterable[Issued]) -> Twins:
        """The keys of every request and the serials of every certificate."""
        twins = cls()
        for one in versions:
            if one.request is not None:
                twins.keys.setdefault(one.request.spki_der, []).append(one.label)
            serial = _serial(one.leaf)
            if serial is not None:
                twins.serials.setdefault(serial, []).append(one.label)
        return twins

    def key(self, one: Issued) -> list[str]:
        """Other versions with the key of this one's certificate."""
        spki = _spki(one.leaf) if one.leaf is not None else b""
        return [label for label in self.keys.get(spki, ()) if label != one.label]

    def serial(self, one: Issued) -> list[str]:
        """Other versions with the issuer and serial number of this one's certificate."""
        serial = _serial(one.leaf)
        found = self.serials.get(serial, []) if serial is not None else []
        return [label for label in found if label != one.label]


def _serial(certificate: x509.Certificate | None) -> tuple[bytes, int] | None:
    if certificate is None:
        return None
    try:
        return name_bytes(certificate, "issuer"), certificate.serial_number
    except DECODE_ERRORS:
        return None
