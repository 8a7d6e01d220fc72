# SPDX-License-Identifier: GPL-3.0-or-later
"""The committed versions of certificates, as far as they can be read.

What cannot be read is told by the collector of requests and certificates, which declares every
version; here it must only not stop the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import plain_files, public_state, submission
from ..errors import PkiError
from ..lifecycle import Version
from ..public_state import VersionFiles


@dataclass(frozen=True, slots=True)
class Committed:
    """One version directory: its files, and what they say; ``label`` is ``<name> v<n>``."""

    name: str
    files: VersionFiles
    version: Version

    @property
    def label(self) -> str:
        """How facts name it."""
        return f"{self.name} v{self.files.number}"

    @property
    def record(self) -> Mapping[str, Any]:
        """What the request's record says; empty when there is none."""
        return self.files.request_record or {}

    @property
    def issued(self) -> bool:
        """Whether the CA has made a certificate of it."""
        return self.version.has_reply or self.version.accepted is not None

    @property
    def pending(self) -> bool:
        """Whether it was asked for, and neither answered nor given up."""
        return (
            self.version.requested is not None and not self.issued and self.version.outcome is None
        )

    @property
    def revoked(self) -> bool:
        """Whether it is on record that its certificate was revoked."""
        told = self.version.revocation
        return told is not None and told.revoked is not None

    def in_use(self, now: datetime) -> bool:
        """Whether it is asked for or valid: not given up, and not expired as far as is known."""
        accepted = self.version.accepted
        if self.version.outcome is not None or self.version.requested is None:
            return False
        return accepted is None or accepted.not_after > now


def versions(directory: Path, name: str) -> tuple[Committed, ...]:
    """A certificate's versions, oldest first; PkiError when one of them cannot be read."""
    return tuple(
        Committed(name, files, public_state.observed_version(files))
        for files in public_state.scan(directory, name)
    )


def readable(directory: Path, names: Iterator[str]) -> Iterator[Committed]:
    """The versions of those certificates whose versions can all be read."""
    for name in names:
        try:
            yield from versions(directory, name)
        except PkiError:
            continue


def submitters(one: Committed) -> tuple[str, ...]:
    """Who was to submit the request, by its submission text."""
    try:
        text = plain_files.read(one.files.path / "submission.txt", public_state.MAXIMUM_BYTES)
    except OSError:
        return ()
    return submission.read(text).submitters
