# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys in a transit engine of HashiCorp Vault or OpenBao.

Requests are signed by sending a digest. The engine's own ``keys/<name>/csr`` is not
used: it loses every extension of a template that has a critical one.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ..errors import PkiError
from ..wrapping import WrapInfo
from .base import KeyRecord, KeyVersion
from .remote_key import RemoteRsaKey

DEFAULT_TYPE = "rsa-4096"
# Transit's own rule for names, without the letters beyond ASCII it also takes.
NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
# A rotation that ends so may have happened. VAULT-SERVER, too: with two runs at once OpenBao
# answered one of them with status 500 (measured).
UNSETTLED = ("VAULT-TIMEOUT", "VAULT-UNREACHABLE", "VAULT-UNAVAILABLE", "VAULT-SERVER")
# Both: the engine releases by the first and signs by the second.
BOUNDS = ("min_decryption_version", "min_encryption_version")
DIGESTS = {"sha256": "sha2-256", "sha384": "sha2-384", "sha512": "sha2-512"}
# Standby nodes answer reads themselves and lag behind by about a tenth of a second, and by some
# seconds after an election. Nobody waits so long unless something is wrong.
CATCH_UP_SECONDS = 10.0
CATCH_UP_PAUSE = 0.05
# One RSA-4096 key took 19 s on a busy server: whatever time a client gives its calls, this is
# the least for one that makes a key.
CREATION_SECONDS = 120.0


class VaultClient(Protocol):
    """What this store needs of :class:`pki.vault.Client`."""

    def read(self, path: str) -> dict[str, Any] | None: ...
    def list(self, path: str) -> list[str]: ...
    def write(
        self,
        path: str,
        data: Mapping[str, Any] | None = None,
        idempotent: bool = False,
        *,
        seconds: float = 0.0,
    ) -> dict[str, Any]: ...
    def wrap(self, path: str, ttl_seconds: int) -> WrapInfo: ...


def mount_for(environment_class: str, purposes: Iterable[str]) -> str:
    """The mount of a certificate's key.

    A key that serves TLS must reach a gateway, so it lives where keys are exportable;
    a key that only signs messages lives where none ever is.
    """
    kind = "tls" if "mtls" in {str(purpose) for purpose in purposes} else "signing"
    return f"transit-{environment_class}-{kind}"


class TransitStore:
    """One transit mount, holding keys of one type and one exportability.

    Args:
        client: a logged-in (or lazily logging in) Vault client.
        mount: mount path, without slashes at its ends.
        key_type: ``rsa-2048``, ``rsa-3072`` or ``rsa-4096``.
        exportable: what :meth:`ensure` asks for and insists on.
        creation_seconds: how long making one key version may take at least.
    """

    def __init__(
        self,
        client: VaultClient,
        mount: str,
        key_type: str = DEFAULT_TYPE,
        *,
        exportable: bool,
        creation_seconds: float = CREATION_SECONDS,
    ) -> None:
        self._client = client
        self._mount = str(mount).strip("/")
        self._type = str(key_type)
        self._exportable = bool(exportable)
        self._creation_seconds = float(creation_seconds)

    @property
    def mount(self) -> str:
        return self._mount

    def names(self) -> frozenset[str]:
        return frozenset(self._client.list(f"{self._mount}/keys"))

    def describe(self, name: str) -> KeyRecord | None:
        data = self._client.read(self._key_path(name))
        return None if data is None else _record(str(name), data)

    def foresee(self, name: str, version: int) -> KeyRecord | None:
        """As :class:`.base.KeyStore`; one read."""
        path, wanted = self._key_path(name), self._version(name, version)
        data = self._client.read(path)
        if data is None:
            return None
        self._check_kind(name, data)
        if _latest(data) < wanted:
            return None
        return self._with_version(name, data, wanted)

    def ensure(self, name: str, version: int) -> KeyRecord:
        """Create or rotate until ``version`` is the newest, and read everything back.

        The caller has written down the wanted version before: rotation cannot be
        repeated safely, so the number, not the call, says whether it happened.

        The engine has no "rotate if the newest is still N". Two runs that look at the same
        moment and then both rotate make one version too many. Each looks again directly
        before it rotates, which leaves the time of one answer's way back; making the key is not
        part of it, as the engine makes readers wait meanwhile. The version beyond the wanted
        one is not lost: it is the key of the next request.

        Raises:
            PkiError: KEY-TYPE when a key of this name is of another kind (nothing is
                changed), KEY-VERSION when it already has a newer version, or no longer
                serves the wanted one.
        """
        path = self._key_path(name)
        wanted = self._version(name, version)
        data = self._client.read(path)
        if data is None:
            data = self._create(path)
        self._check_kind(name, data)
        while _latest(data) < wanted:
            data = self._rotate(path, _latest(data))
            self._check_kind(name, data)
        if _latest(data) > wanted:
            raise self._newer_than_wanted(name, data, wanted)
        return self._with_version(name, data, wanted)

    def signing_key(self, name: str, version: int) -> rsa.RSAPrivateKey:
        wanted = self._version(name, version)
        path = self._key_path(name)
        data = self._client.read(path)
        if data is None:
            raise PkiError(
                f"{name}: there is no such key",
                rule="KEY-NOT-FOUND",
                found="nothing",
                expected=f"version {wanted}",
                where=path,
                next_step="run the playbook that makes requests; it makes the key first",
            )
        record = self._with_version(name, data, wanted)
        public = serialization.load_der_public_key(record.versions[wanted].spki_der)
        if not isinstance(public, rsa.RSAPublicKey):
            raise self._wrong_kind(name, record.type, record.exportable)
        return TransitRsaKey(self._client, self._mount, str(name), wanted, public)

    def release_path(self, name: str, version: int) -> str:
        wanted = self._version(name, version)
        if not self._exportable:
            raise PkiError(
                f"{name}: keys of this store are never released",
                rule="KEY-OPERATION",
                found=f"mount {self._mount}, whose keys are not exportable",
                expected="a key made for TLS, in a mount of exportable keys",
                where=self._key_path(name),
                next_step="sign through the store; if a gateway needs this key, add mtls to "
                "the certificate's purposes, which makes a new key",
            )
        self._key_path(name)
        return f"{self._mount}/export/signing-key/{name}/{wanted}"

    def wrap(self, name: str, version: int, ttl: int) -> WrapInfo:
        return self._client.wrap(self.release_path(name, version), ttl)

    def retire(
        self, name: str, keep: int, *, destroy: bool = False, check: bool = False
    ) -> tuple[str, ...]:
        """As :class:`.base.KeyStore`; needs a role that may write ``config`` and ``trim``."""
        path, wanted = self._key_path(name), self._version(name, keep)
        data = self._client.read(path)
        if data is None or _latest(data) < wanted:
            raise self._nothing_to_keep(name, wanted, data)
        done = []
        bounds = [int(data.get(bound) or 0) for bound in BOUNDS]
        if min(bounds) < wanted and wanted > 1:
            done.append(f"{path}: versions below {wanted} neither sign nor are released any more")
            body = {"min_decryption_version": wanted, "min_encryption_version": wanted}
            if not check:
                self._client.write(f"{path}/config", body, idempotent=True)
        if destroy and int(data.get("min_available_version") or 0) < wanted and wanted > 1:
            done.append(f"{path}: versions below {wanted} are destroyed for good")
            if not check:
                trimmed = {"min_available_version": wanted}
                self._client.write(f"{path}/trim", trimmed, idempotent=True)
        return tuple(done)

    def _nothing_to_keep(self, name: str, keep: int, data: Mapping[str, Any] | None) -> PkiError:
        return PkiError(
            f"{name}: version {keep}, which is to stay, is not there",
            rule="KEY-VERSION",
            found="no key" if data is None else f"version {_latest(data)} as the newest",
            expected=f"version {keep} or a newer one",
            where=self._key_path(name),
            next_step="nothing was retired: find out which version is in service first",
        )

    # Steps

    def _create(self, path: str) -> dict[str, Any]:
        """Make the key. Repeating it is harmless: an existing key stays as it is, and
        is answered as success even when its type is another, so it is read back."""
        body = {"type": self._type, "exportable": self._exportable}
        self._client.write(path, body, idempotent=True, seconds=self._creation_seconds)
        return self._read_until(path, lambda data: True)

    def _rotate(self, path: str, latest: int) -> dict[str, Any]:
        """One more version. A lost answer is settled by looking, never by asking again."""
        lost: PkiError | None = None
        try:
            self._client.write(
                f"{path}/rotate", {}, idempotent=False, seconds=self._creation_seconds
            )
        except PkiError as error:
            if error.rule not in UNSETTLED:
                raise
            lost = error
        data = self._read_until(path, lambda data: _latest(data) > latest)
        if _latest(data) <= latest:
            # Not rotated again from here: the first rotation may still be under way.
            raise lost or PkiError(
                "the new key version does not show",
                rule="KEY-VERSION",
                found=f"version {_latest(data)} as the newest after a rotation",
                expected=f"version {latest + 1}",
                where=path,
                next_step="look at the cluster's replication, then run again",
            )
        return data

    def _read_until(self, path: str, good: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
        """Read back what was just written, giving a standby a moment to catch up."""
        end = time.monotonic() + CATCH_UP_SECONDS
        while True:
            data = self._client.read(path)
            if data is not None and good(data):
                return data
            if time.monotonic() > end:
                break
            time.sleep(CATCH_UP_PAUSE)
        if data is not None:
            return data
        raise PkiError(
            "the key that was just made cannot be read back",
            rule="KEY-NOT-FOUND",
            found=f"nothing for {CATCH_UP_SECONDS:.0f} s",
            expected="the key",
            where=path,
            next_step="look at the cluster's replication, then run again; making is repeatable",
        )

    # Checks

    def _with_version(self, name: str, data: Mapping[str, Any], wanted: int) -> KeyRecord:
        """The key as a record that has the version, or KEY-VERSION."""
        record = _record(str(name), data)
        if wanted in record.versions:
            return record
        raise PkiError(
            f"{name}: version {wanted} of the key is not served",
            rule="KEY-VERSION",
            found=f"{record.type}, versions {_numbers(record.versions)}",
            expected=f"an RSA key with version {wanted}",
            where=self._key_path(name),
            next_step="it was never made, or was archived by min_decryption_version or a "
            "trim: the audit log of this mount tells which",
        )

    def _key_path(self, name: str) -> str:
        text = str(name)
        if not NAME.fullmatch(text):
            raise PkiError(
                "a key's name cannot be used in transit",
                rule="KEY-NAME",
                found=repr(text),
                expected="ASCII letters, digits, _ . - with a letter, digit or _ at both ends",
                where=f"{self._mount}/keys",
                next_step="rename the certificate",
            )
        return f"{self._mount}/keys/{text}"

    def _version(self, name: str, version: int) -> int:
        if int(version) < 1:
            raise PkiError(
                f"{name}: key versions are counted from 1",
                rule="KEY-VERSION",
                found=str(version),
                expected="1 or more",
                where=self._key_path(name),
                next_step="correct the version directory's name",
            )
        return int(version)

    def _check_kind(self, name: str, data: Mapping[str, Any]) -> None:
        if data.get("soft_deleted"):
            raise PkiError(
                f"{name}: the key is marked as deleted",
                rule="KEY-DELETED",
                found="soft_deleted",
                expected="a key in use",
                where=self._key_path(name),
                next_step="restore it (soft-delete-restore), or choose another certificate name",
            )
        found_type, exportable = str(data.get("type")), bool(data.get("exportable"))
        if (found_type, exportable) != (self._type, self._exportable):
            raise self._wrong_kind(name, found_type, exportable)

    def _wrong_kind(self, name: str, found_type: str, exportable: bool) -> PkiError:
        return PkiError(
            f"{name}: a key of another kind has this name already",
            rule="KEY-TYPE",
            found=_kind(found_type, exportable),
            expected=_kind(self._type, self._exportable),
            where=self._key_path(name),
            next_step="nothing was changed: choose another certificate name, or let the key's "
            "owner remove it",
        )

    def _newer_than_wanted(self, name: str, data: Mapping[str, Any], wanted: int) -> PkiError:
        period = data.get("auto_rotate_period")
        automatic = f"; auto_rotate_period is {period} s" if period else ""
        return PkiError(
            f"{name}: somebody else rotated this key",
            rule="KEY-VERSION",
            found=f"version {_latest(data)} as the newest{automatic}",
            expected=f"version {wanted} as the newest",
            where=self._key_path(name),
            next_step="another run of the pipeline, an operator or auto_rotate_period may have "
            f"done it: the audit log names who called {self._mount}/keys/{name}/rotate. If a "
            "run did, its version directory is missing here: merge it and run again",
        )


class TransitRsaKey(RemoteRsaKey):
    """A key version in transit."""

    def __init__(
        self,
        client: VaultClient,
        mount: str,
        name: str,
        version: int,
        public: rsa.RSAPublicKey,
    ) -> None:
        super().__init__(name, version, public)
        self._client = client
        self._mount = mount

    @property
    def place(self) -> str:
        return f"{self._mount}/keys/{self._name}"

    def _signed(self, digest: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
        answer = self._client.write(
            f"{self._mount}/sign/{self._name}/{DIGESTS[algorithm.name]}",
            {
                "input": base64.b64encode(digest).decode("ascii"),
                "prehashed": True,
                # The engine's default is PSS.
                "signature_algorithm": "pkcs1v15",
                # Without a version the newest one signs, which may be the successor.
                "key_version": self._key_version,
            },
            # The same digest gives the same signature, any number of times.
            idempotent=True,
        )
        return _signature(str(answer.get("signature", "")), self._key_version)


# The engine's answers as values


def _latest(data: Mapping[str, Any]) -> int:
    return int(data.get("latest_version") or 0)


def _record(name: str, data: Mapping[str, Any]) -> KeyRecord:
    versions = {}
    for text, entry in dict(data.get("keys") or {}).items():
        # Cipher keys have a bare number here; Ed25519 has 32 bytes instead of a PEM.
        if isinstance(entry, Mapping) and "BEGIN PUBLIC KEY" in str(entry.get("public_key")):
            versions[int(text)] = _key_version(int(text), entry)
    return KeyRecord(
        name=name,
        type=str(data.get("type")),
        exportable=bool(data.get("exportable")),
        versions=dict(sorted(versions.items())),
        imported=bool(data.get("imported_key")),
    )


def _key_version(number: int, entry: Mapping[str, Any]) -> KeyVersion:
    created = datetime.fromisoformat(str(entry["creation_time"])).astimezone(UTC)
    public = serialization.load_pem_public_key(str(entry["public_key"]).encode("ascii"))
    spki = public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return KeyVersion(number=number, created=created, spki_der=spki)


def _signature(text: str, version: int) -> bytes:
    """The bytes of ``vault:v<version>:<base64>``; empty when it is anything else."""
    prefix = f"vault:v{version}:"
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except binascii.Error:
        return b""


def _kind(key_type: str, exportable: bool) -> str:
    return f"{key_type}, {'exportable' if exportable else 'not exportable'}"


def _numbers(versions: Mapping[int, KeyVersion]) -> str:
    return ", ".join(map(str, versions)) or "none"
