# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that prove who we are to Vault: read at the last moment, refused when others could."""

from __future__ import annotations

import os
import ssl

from . import private_files
from .errors import PkiError

RULE = "VAULT-CREDENTIALS"
# A credential is a line. Whatever is longer is the wrong file.
MAX_SECRET_BYTES = 65536
ONE_LINE = "a regular file of mode 0600, yours or root's, with the secret on one line"
PAIR = "a PEM certificate, its issuers behind it, and the key that belongs to it"


def is_credential(text: str) -> bool:
    """One ASCII word: anything else would break the header, or out of it."""
    return text.isascii() and text.isprintable() and len(text.split()) == 1


def read_secret(path: str, option: str) -> str:
    """The one line of a credential file.

    Raises:
        PkiError: rule VAULT-CREDENTIALS.
    """
    data = _private(path, option, ONE_LINE)
    try:
        secret = data.decode("ascii").strip()
    except UnicodeDecodeError:
        raise _unusable(path, option, "bytes that are not ASCII text", ONE_LINE) from None
    if not is_credential(secret):
        raise _unusable(path, option, f"{len(secret.split())} words of text", ONE_LINE)
    return secret


def check_pair(certificate: str, key: str) -> None:
    """Refuse a client certificate that could not be shown, before the HTTP library complains.

    Raises:
        PkiError: rule VAULT-CREDENTIALS.
    """
    if b"ENCRYPTED" in _private(key, "client_key", PAIR):
        raise _unusable(key, "client_key", "an encrypted key", "a PEM key without a passphrase")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # An answer, whatever is asked: the TLS library would ask the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        differs = "MISMATCH" in str(error.reason)
        found = "a certificate of another key" if differs else "no certificate and key in PEM"
    except OSError as error:
        found = os.strerror(error.errno or 0)
    else:
        return
    raise _unusable(certificate, "client_cert", found, PAIR)


def _private(path: str, option: str, expected: str) -> bytes:
    try:
        return private_files.read(path, MAX_SECRET_BYTES, "the Vault credential file")
    except PkiError as error:
        found = error.found
    next_step = f"chmod 600 {path}" if found.startswith("mode ") else ""
    raise _unusable(path, option, found, expected, next_step)


def _unusable(path: str, option: str, found: str, expected: str, next_step: str = "") -> PkiError:
    return PkiError(
        f"the Vault credential file {path} cannot be used",
        rule=RULE,
        found=found,
        expected=expected,
        where=f"{path} (Vault option {option})",
        next_step=next_step or "put the credential there; nothing was sent to Vault",
    )
