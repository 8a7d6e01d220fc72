# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about revocations that were prepared: what was asked for, by whom, and how soon.

One object a ``revocation.yml``, for as long as its certificate would be valid: what is over for
good is nobody's finding any more. A fresh record is one until people record what they did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .. import plain_files, public_state, revocation_letters, revocation_record
from ..documents import Collected, Declaration, Document
from ..revocation_facts import KIND, Beside, document
from ..revocation_record import Recorded
from . import committed, issued
from .committed import Committed
from .scene import Collector, Scene


def collect(scene: Scene) -> Collected:
    """A document for each record; it is declared, since its file is there."""
    inputs = scene.inputs
    found = list(committed.readable(inputs.certificates_dir, iter(inputs.declared.certificates)))
    valid = [one for one in found if _valid(scene, one)]
    documents = [one for each in found for one in _documents(scene, each, valid)]
    declarations = [Declaration(KIND, one.object, one.policy, one.place) for one in documents]
    return scene.collected(declarations, documents)


def _documents(scene: Scene, one: Committed, valid: Sequence[Committed]) -> Iterator[Document]:
    record = public_state.recorded_revocation(one.files)
    policy = scene.inputs.policy_of(one.name)
    if record is None or not policy.of_kind(KIND) or _ended(scene, one):
        return
    place = issued.shown(one.files.path / revocation_record.FILE, 1)
    beside = Beside(
        organisation_left=_left(scene, record, valid),
        medium_left=[other.label for other in valid if other.label in record.beside],
        incident_text=_incident(one),
    )
    yield Document(KIND, one.label, policy.name, document(record, beside), place)


def _ended(scene: Scene, one: Committed) -> bool:
    accepted = one.version.accepted
    return accepted is not None and accepted.not_after < scene.inputs.now


def _valid(scene: Scene, one: Committed) -> bool:
    """Whether it has a certificate that is in force and whose revocation nobody asked for."""
    told = one.version.revocation
    asked = told is not None and (told.submitted is not None or told.revoked is not None)
    return one.version.accepted is not None and not _ended(scene, one) and not asked


def _left(scene: Scene, record: Recorded, valid: Sequence[Committed]) -> list[str]:
    """The organisation's others that are in force and not asked to be revoked."""
    certificates = scene.inputs.declared.certificates
    key = certificates[record.certificate].organisation.key
    return [
        one.label
        for one in valid
        if one.label != record.label and certificates[one.name].organisation.key == key
    ]


def _incident(one: Committed) -> str:
    try:
        path = one.files.path / revocation_letters.INCIDENT
        return plain_files.read(path, public_state.MAXIMUM_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


COLLECTOR = Collector(
    kinds=frozenset({KIND}), scopes=frozenset({"offline", "live"}), collect=collect
)
