# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that somebody brings for an import: a key, its passphrase, its certificate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cryptography import x509

from . import brought_files, key_import, private_files, reading
from .key_import import Brought


def read(
    key_file: str, passphrase_file: str, certificate_file: str
) -> tuple[Brought, Mapping[str, Sequence[x509.Certificate]]]:
    """The key, and the certificates that came along by the place they came from.

    Files that are not named ("") are not read.

    Raises:
        PkiError: PRIVATE-FILE for a key or passphrase that others could have read; KEY-IMPORT;
            BROUGHT-FILE and as :func:`.reading.read` for the certificate.
    """
    data = private_files.read(key_file, key_import.MAXIMUM_BYTES, "the key file")
    word = None
    if passphrase_file:
        limit = key_import.LONGEST_PASSPHRASE
        line = private_files.read(passphrase_file, limit, "the passphrase file")
        word = key_import.passphrase(line)
    key = key_import.read(data, word)
    given: dict[str, Sequence[x509.Certificate]] = {"the key file": key.certificates}
    if certificate_file:
        limit = reading.MAX_BYTES
        content = brought_files.read(certificate_file, limit, "the certificate file")
        given["the certificate file"] = reading.read([content])
    return key, given
