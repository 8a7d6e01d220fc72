# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a key is: the place that an entry asks for today, and the one a version was made in.

They differ after an edit of store or purposes: the live version's key stays where it was born
while the next one is made elsewhere. A record may only name the mounts of the entry's own
environment class, so that nobody points a certificate at keys of another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .errors import PkiError
from .inventory import Certificate
from .inventory_certificates import DELIVERIES
from .public_state import VersionFiles
from .stores.transit import mount_for

TRANSIT, HOST, EXTERNAL = "transit", "host", "external"


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """A store and, in it, a key.

    Attributes:
        store: ``transit``, ``host`` or ``external``.
        mount: the transit mount; empty for every other store.
        name: the key's name in the store.
    """

    store: str
    mount: str
    name: str

    def __str__(self) -> str:
        return f"{self.mount}/keys/{self.name}" if self.mount else f"{self.store} {self.name}"


def declared(certificate: Certificate) -> KeyPlace:
    """Where the entry's next key is made (design decision 5).

    A signing key that is to be handed over is made where keys can be taken out; every other one
    stays in the mount that gives none away.
    """
    mount = ""
    if certificate.store == TRANSIT:
        uses = ("mtls",) if certificate.handover else certificate.purposes
        mount = mount_for(certificate.environment_class, uses)
    return KeyPlace(certificate.store, mount, certificate.key_name)


def of_version(certificate: Certificate, files: VersionFiles | None) -> KeyPlace:
    """Where a version's key was made: as its request says, or as declared without a request.

    Raises PkiError KEY-PLACE for a request of another environment class or an unknown store:
    keys and certificates are never shared between classes, so an entry cannot move.
    """
    if files is None or files.request_record is None:
        return declared(certificate)
    key = files.request_record.get("key")
    recorded = key if isinstance(key, Mapping) else {}
    store, mount = str(recorded.get("store", "")), str(recorded.get("mount", ""))
    if store in (HOST, EXTERNAL) and not mount:
        return KeyPlace(store, "", certificate.key_name)
    known = [mount_for(certificate.environment_class, (use,)) for use in ("mtls", "signing")]
    if store == TRANSIT and mount in known:
        return KeyPlace(TRANSIT, mount, certificate.key_name)
    raise PkiError(
        f"{certificate.name}: the key of version {files.number} is of another environment class",
        rule="KEY-PLACE",
        found=f"store {store or 'unknown'}, mount {mount or 'unknown'}",
        expected=f"a key of a host or a device, or mount {' or '.join(known)}",
        where=str(files.path / "request.yml"),
        next_step="declare the other class under a name of its own; an entry cannot move",
    )


def delivery(certificate: Certificate, files: VersionFiles | None) -> str:
    """How a version's key reaches the host: as declared, if it is in the declared store still."""
    store = of_version(certificate, files).store
    return certificate.delivery if store == certificate.store else DELIVERIES[store][0]
