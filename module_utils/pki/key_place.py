# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a key is: the mount that an entry asks for today, and the one a version was made in.

They differ after an edit of the purposes: the live version's key stays where it was born
while the next one is made elsewhere. A record may only name the mounts of the entry's own
environment class, so that nobody points a certificate at keys of another one.
"""

from __future__ import annotations

from collections.abc import Mapping

from .errors import PkiError
from .inventory import Certificate
from .public_state import VersionFiles
from .stores.transit import mount_for


def declared_mount(certificate: Certificate) -> str:
    """The mount in which the entry's next key is made (design decision 5)."""
    return mount_for(certificate.environment_class, certificate.purposes)


def mount_of_version(certificate: Certificate, files: VersionFiles | None) -> str:
    """The mount a version's key was made in: its request's, or today's without a request.

    Raises PkiError KEY-PLACE for a request of another environment class: keys and
    certificates are never shared between classes, so an entry cannot move.
    """
    if files is None or files.request_record is None:
        return declared_mount(certificate)
    key = files.request_record.get("key")
    recorded = str(key.get("mount", "")) if isinstance(key, Mapping) else ""
    known = [mount_for(certificate.environment_class, (use,)) for use in ("mtls", "signing")]
    if recorded in known:
        return recorded
    raise PkiError(
        f"{certificate.name}: the key of version {files.number} is of another environment class",
        rule="KEY-PLACE",
        found=f"mount {recorded or 'unknown'}",
        expected=" or ".join(known),
        where=str(files.path / "request.yml"),
        next_step="declare the other class under a name of its own; an entry cannot move",
    )
