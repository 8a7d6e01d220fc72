# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about keys that were handed to another party, from the records beside the inventory."""

from __future__ import annotations

from collections.abc import Iterator

from .. import export_records
from ..documents import Collected, Declaration, Document
from ..errors import PkiError
from ..export_records import Export
from ..inventory import Certificate
from ..public_state import VersionFiles
from . import committed
from .scene import Collector, Scene

KIND = "export"


def collect(scene: Scene) -> Collected:
    """A document for each recorded export; a record that cannot be read is told as a problem."""
    declarations, documents, problems = [], [], []
    for certificate, files in _versions(scene):
        place = scene.place("certificates", certificate.name)
        try:
            made = export_records.read(files.path)
        except PkiError as exc:
            problems.append(exc.as_result())
            continue
        for one in made:
            name = _name(certificate, files, one)
            facts = one.as_facts(certificate.name, files.number)
            declarations.append(Declaration(KIND, name, certificate.policy, place))
            documents.append(Document(KIND, name, certificate.policy, facts, place))
    return scene.collected(declarations, documents, problems)


def _versions(scene: Scene) -> Iterator[tuple[Certificate, VersionFiles]]:
    """Every readable version of the certificates whose policy judges exports."""
    for certificate in scene.inputs.declared.certificates.values():
        if not scene.inputs.policies[certificate.policy].of_kind(KIND):
            continue
        names = iter((certificate.name,))
        for version in committed.readable(scene.inputs.certificates_dir, names):
            yield certificate, version.files


def _name(certificate: Certificate, files: VersionFiles, export: Export) -> str:
    return f"{certificate.name} v{files.number} to {export.recipient} ({export.id})"


COLLECTOR = Collector(
    kinds=frozenset({KIND}), scopes=frozenset({"offline", "live"}), collect=collect
)
