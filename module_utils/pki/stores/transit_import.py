# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring an existing key into a transit engine, encrypted for the engine on the way.

The key is wrapped with a fresh AES key (RFC 5649), and that with the engine's own public key (RSA
OAEP, SHA-256). ``import`` makes a new name, ``import_version`` adds to a name whose versions
were all imported: the engine refuses it once a version was made inside. Neither may be repeated
blindly, as the same key would become two versions; what is there decides, before and after.
"""

from __future__ import annotations

import base64
import os
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from ..certs import DECODE_ERRORS
from ..errors import PkiError
from .base import KeyRecord
from .transit import CATCH_UP_PAUSE, CATCH_UP_SECONDS, TransitStore, VaultClient

RULE_VERSION = "KEY-VERSION"
RULE_TYPE = "KEY-TYPE"
RULE_IMPORT = "KEY-IMPORT"
_ANOTHER = "declare the certificate under another name, or let the engine make its next key"


class TransitImport:
    """The way into one transit mount, for keys of one type.

    Args:
        client: a Vault client that may read the mount's ``wrapping_key`` and import.
        mount: mount path.
        key_type: the only type that this mount's keys have ("rsa-4096").
        exportable: whether keys of this mount are made to be released.
    """

    def __init__(self, client: VaultClient, mount: str, key_type: str, *, exportable: bool) -> None:
        self._client = client
        self._mount = mount
        self._type = key_type
        self._exportable = exportable
        self._store = TransitStore(client, mount, key_type, exportable=exportable)

    def lacks(self, name: str, version: int, spki_der: bytes) -> bool:
        """Whether the key has yet to be brought; False when it is this very version.

        Raises:
            PkiError: KEY-VERSION when the name's versions leave no room for it, KEY-TYPE for a
                key of another kind than the mount's.
        """
        self._check_kind(name, spki_der)
        record = self._store.describe(name)
        if record is not None and version in record.versions:
            self._check_same(name, record, version, spki_der)
            return False
        latest = max(record.versions, default=0) if record is not None else 0
        if latest != version - 1:
            raise self._no_room(name, version, latest)
        if record is not None and not record.imported:
            raise self._made_inside(name, record)
        return True

    def bring(self, name: str, version: int, spki_der: bytes, pkcs8_der: bytes) -> KeyRecord:
        """Make the key ``version`` of ``name``, unless it is; everything is read back.

        Raises:
            PkiError: as :meth:`lacks`; KEY-IMPORT when something else came of it, or the engine's
                wrapping key cannot be used.
        """
        if self.lacks(name, version, spki_der):
            self._send(name, version, spki_der, self._wrapped(pkcs8_der))
        record = self._read_back(name, version)
        self._check_same(name, record, version, spki_der)
        return record

    # Steps

    def _wrapped(self, pkcs8_der: bytes) -> str:
        engine = self._wrapping_key()
        ephemeral, digest = os.urandom(32), hashes.SHA256()
        sealed = engine.encrypt(ephemeral, padding.OAEP(padding.MGF1(digest), digest, None))
        return base64.b64encode(sealed + aes_key_wrap_with_padding(ephemeral, pkcs8_der)).decode(
            "ascii"
        )

    def _wrapping_key(self) -> rsa.RSAPublicKey:
        path = f"{self._mount}/wrapping_key"
        answer = self._client.read(path) or {}
        try:
            key = serialization.load_pem_public_key(str(answer.get("public_key")).encode())
        except DECODE_ERRORS:
            key = None
        if isinstance(key, rsa.RSAPublicKey):
            return key
        raise PkiError(
            "the engine's wrapping key cannot be used",
            rule=RULE_IMPORT,
            found="no RSA public key",
            expected="the public key that keys to be imported are encrypted for",
            where=path,
            next_step="check that this mount is a transit engine; nothing was sent to it",
        )

    def _send(self, name: str, version: int, spki_der: bytes, ciphertext: str) -> None:
        path = f"{self._mount}/keys/{name}"
        body: dict[str, object] = {"ciphertext": ciphertext, "hash_function": "SHA256"}
        if version == 1:
            # allow_rotation: the engine makes the successor itself.
            kind = {"type": self._type, "exportable": self._exportable, "allow_rotation": True}
            path, body = f"{path}/import", {**body, **kind}
        else:
            path = f"{path}/import_version"
        try:
            self._client.write(path, body, idempotent=False)
        except PkiError:
            # The answer may be lost, or another run was first: what is there now decides.
            if self.lacks(name, version, spki_der):
                raise

    def _read_back(self, name: str, version: int) -> KeyRecord:
        """Standby nodes lag behind a little."""
        end = time.monotonic() + CATCH_UP_SECONDS
        while True:
            record = self._store.describe(name)
            if record is not None and version in record.versions:
                return record
            if time.monotonic() > end:
                break
            time.sleep(CATCH_UP_PAUSE)
        raise PkiError(
            f"{name}: the key that was just imported cannot be read back",
            rule=RULE_IMPORT,
            found=f"no version {version} for {CATCH_UP_SECONDS:.0f} s",
            expected=f"version {version} of the key",
            where=f"{self._mount}/keys/{name}",
            next_step="look at the cluster's replication, then run again; a key that is there "
            "is not imported twice",
        )

    # Checks

    def _check_kind(self, name: str, spki_der: bytes) -> None:
        key = serialization.load_der_public_key(spki_der)
        found = f"rsa-{key.key_size}" if isinstance(key, rsa.RSAPublicKey) else "another algorithm"
        if found != self._type:
            raise self._wrong_kind(name, found)

    def _check_same(self, name: str, record: KeyRecord, version: int, spki_der: bytes) -> None:
        there = record.versions[version]
        if (record.type, record.exportable) != (self._type, self._exportable):
            how = "exportable" if record.exportable else "not exportable"
            raise self._wrong_kind(name, f"{record.type}, {how}")
        newest = max(record.versions)
        if there.spki_der == spki_der and newest == version:
            return
        if newest != version:
            found = f"version {newest} as the newest"
        else:
            found = f"another key as version {version}"
        raise PkiError(
            f"{name}: the name is taken by another key",
            rule=RULE_VERSION,
            found=found,
            expected=f"no version {version}, or this very key",
            where=f"{self._mount}/keys/{name}",
            next_step="run playbooks/status.yml: if its request is open, record it as "
            "withdrawn and the next version is free, for keys that were imported so far; "
            f"otherwise {_ANOTHER}. Nothing was changed",
        )

    def _no_room(self, name: str, version: int, latest: int) -> PkiError:
        return PkiError(
            f"{name}: the key cannot become version {version}",
            rule=RULE_VERSION,
            found=f"version {latest} as the newest" if latest else "no key of this name",
            expected=f"version {version - 1} as the newest" if version > 1 else "no key",
            where=f"{self._mount}/keys/{name}",
            next_step="the engine counts versions one by one: if a version directory is "
            f"missing here, merge it and run again; otherwise {_ANOTHER}. Nothing was changed",
        )

    def _made_inside(self, name: str, record: KeyRecord) -> PkiError:
        return PkiError(
            f"{name}: the engine takes no imported version beside one that it made",
            rule=RULE_VERSION,
            found=f"version {max(record.versions)}, made by the engine",
            expected="a name whose versions were all imported, or none",
            where=f"{self._mount}/keys/{name}",
            next_step=f"this cannot be undone: {_ANOTHER} (playbooks/renew.yml). "
            "Nothing was changed",
        )

    def _wrong_kind(self, name: str, found: str) -> PkiError:
        how = "exportable" if self._exportable else "not exportable"
        return PkiError(
            f"{name}: keys of another kind do not belong into this mount",
            rule=RULE_TYPE,
            found=found,
            expected=f"{self._type}, {how}",
            where=f"{self._mount}/keys/{name}",
            next_step="all versions of a key are of one kind, the policy's: have a new key made. "
            "Nothing was changed",
        )
