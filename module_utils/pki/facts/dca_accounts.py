# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the certificates that authenticate organisations to the CA's own account.

Only the public certificate is read. Of a file that holds a key nothing else is told.
"""

from __future__ import annotations

from typing import Any

from cryptography import x509

from .. import days, names, plain_files, public_state, reading
from ..certs import DECODE_ERRORS
from ..documents import Collected, Declaration, Document
from ..errors import PkiError
from .rosters import holders
from .scene import Collector, Scene

KIND = "dca_account"
_PRIVATE_KEY = "REPLY-PRIVATE-KEY"


def collect(scene: Scene) -> Collected:
    """A document for each organisation that holds certificates and declares its account."""
    declarations, documents = [], []
    for policy, organisation, _ in holders(scene, KIND):
        if not organisation.dca_certificate:
            continue
        place = scene.place("organisations", organisation.key)
        facts = {
            "organisation": organisation.key,
            "file": organisation.dca_certificate,
            **_of_file(scene, organisation.dca_certificate),
        }
        declarations.append(Declaration(KIND, organisation.key, policy, place))
        documents.append(Document(KIND, organisation.key, policy, facts, place))
    return scene.collected(declarations, documents)


def _of_file(scene: Scene, file: str) -> dict[str, Any]:
    try:
        path = scene.inputs.base_dir / file
        content = plain_files.read(path, public_state.MAXIMUM_BYTES, follow=True)
        found = reading.read([content])
        if len(found) != 1:
            return _unreadable(f"{len(found)} certificates instead of one")
        return _of_certificate(scene, found[0])
    except OSError as exc:
        return _unreadable(exc.strerror or "it cannot be read")
    except DECODE_ERRORS:
        return _unreadable("a certificate with parts that cannot be read")
    except PkiError as exc:
        return {**_unreadable(exc.message), "private_key": exc.rule == _PRIVATE_KEY}


def _of_certificate(scene: Scene, certificate: x509.Certificate) -> dict[str, Any]:
    end = certificate.not_valid_after_utc
    left = (end - scene.inputs.now).days
    return {
        "readable": True,
        "problem": "",
        "private_key": False,
        "subject": names.printable(certificate.subject.rfc4514_string()),
        "issuer": names.printable(certificate.issuer.rfc4514_string()),
        "serial": f"{certificate.serial_number:x}"[:200],
        "not_after": public_state.iso(end),
        "left_days": max(left, -days.LONGEST),
    }


def _unreadable(problem: str) -> dict[str, Any]:
    nothing = {"subject": "", "issuer": "", "serial": "", "not_after": "", "left_days": -1}
    return {"readable": False, "problem": problem[:1500], "private_key": False, **nothing}


COLLECTOR = Collector(
    kinds=frozenset({KIND}), scopes=frozenset({"offline", "live"}), collect=collect
)
