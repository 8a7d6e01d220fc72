# SPDX-License-Identifier: GPL-3.0-or-later
"""Passphrases of keys that hosts keep encrypted: made once, in Vault's KV engine.

The login that makes one may not read it, and the login that may read it gets it wrapped only; so
a passphrase is in the clear for a moment where it is made, and on the host that uses it.
"""

from __future__ import annotations

import secrets

from . import ledger
from .inventory import Certificate
from .vault_kv import Folder, VaultClient

FOLDER = "passphrases"
FIELD = "passphrase"
_BYTES = 32


def path(certificate: Certificate) -> str:
    """Where the passphrase of a certificate's key is; one for all its versions."""
    mount = ledger.mount_of(certificate.environment_class)
    return f"{mount}/data/{FOLDER}/{certificate.key_name}"


def ensure(client: VaultClient, certificate: Certificate) -> bool:
    """Make the passphrase of 256 random bits if there is none; True when it was made.

    Raises PkiError as :class:`.vault_kv.Folder` does. An existing one is never replaced: keys on
    hosts are locked with it.
    """
    folder = Folder(client, ledger.mount_of(certificate.environment_class), FOLDER)
    if certificate.key_name in folder.names():
        return False
    return folder.create(certificate.key_name, {FIELD: secrets.token_hex(_BYTES)})
