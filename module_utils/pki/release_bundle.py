# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent to a host: public files of one accepted certificate, and nothing else.

The gate of the whole delivery: a bundle has one constructor, and that one takes an
:class:`~.reply.Accepted`, which only the acceptance itself can make.
"""

from __future__ import annotations

import json
from dataclasses import InitVar, dataclass
from typing import Any

from .reply import Accepted

_GATE = object()


@dataclass(frozen=True, slots=True)
class ReleaseBundle:
    """The files of one release; ``id`` is made of version and certificate."""

    certificate: str
    version: int
    id: str
    key_path: str
    files: tuple[tuple[str, str], ...]
    key_source: str = "wrapped"
    gate: InitVar[object] = None

    def __post_init__(self, gate: object) -> None:
        if gate is not _GATE:
            raise TypeError("a release is made with ReleaseBundle.of() from an accepted reply")

    @staticmethod
    def of(
        name: str, version: int, accepted: Accepted, key_path: str, key_source: str = "wrapped"
    ) -> ReleaseBundle:
        """The release of an accepted certificate.

        ``key_path`` is where its key is released (``<mount>/export/signing-key/...``); the
        host compares it with what the delivered token was made for, or reads it itself
        (``key_source`` ``pull``).
        """
        if type(accepted) is not Accepted:
            raise TypeError("a release is made from an accepted reply only")
        files = {
            "certificate.pem": _text(accepted.certificate_pem()),
            "chain.pem": _text(accepted.chain_pem()),
            "fullchain.pem": _text(accepted.fullchain_pem()),
        }
        identity = f"v{version}-{accepted.certificate_sha256[:16]}"
        record = {
            "certificate": name,
            "version": version,
            "id": identity,
            "serial": accepted.serial,
            "not_before": accepted.not_before.isoformat(),
            "not_after": accepted.not_after.isoformat(),
            "certificate_sha256": accepted.certificate_sha256,
            "spki_sha256": accepted.spki_sha256,
        }
        # Nothing of this run in it: files of one id must always be the same bytes.
        files["release.json"] = json.dumps(record, indent=2, sort_keys=True) + "\n"
        return ReleaseBundle(
            name, version, identity, key_path, tuple(files.items()), key_source, _GATE
        )

    def for_host(self) -> dict[str, Any]:
        """The bundle as a module parameter."""
        return {
            "certificate": self.certificate,
            "version": self.version,
            "id": self.id,
            "key_path": self.key_path,
            "key_source": self.key_source,
            "files": dict(self.files),
        }


def _text(pem: bytes | str) -> str:
    return pem if isinstance(pem, str) else pem.decode("ascii")
