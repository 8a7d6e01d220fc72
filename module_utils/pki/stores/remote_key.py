# SPDX-License-Identifier: GPL-3.0-or-later
"""A private key that somebody else holds, in the shape ``cryptography`` signs with."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NoReturn, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric import utils as asym_utils

from ..errors import PkiError

DIGESTS = ("sha256", "sha384", "sha512")
_Key = TypeVar("_Key", bound="RemoteRsaKey")


class RemoteRsaKey(rsa.RSAPrivateKey):
    """One version of an RSA key out of reach; its holder signs digests.

    Only PKCS#1 v1.5 over SHA-2 is offered, as the certificate requests need it and the
    message signatures too. Each signature is checked against the public key at once.
    """

    def __init__(self, name: str, version: int, public: rsa.RSAPublicKey) -> None:
        self._name = name
        self._key_version = version
        self._public = public

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the key is, for messages."""

    @abstractmethod
    def _signed(self, digest: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
        """The holder's PKCS#1 v1.5 signature over a digest; PkiError when there is none."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place} v{self._key_version})"

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def public_key(self) -> rsa.RSAPublicKey:
        return self._public

    def sign(
        self,
        data: bytes,
        padding: padding.AsymmetricPadding,
        algorithm: asym_utils.Prehashed | hashes.HashAlgorithm | asym_utils.NoDigestInfo,
    ) -> bytes:
        digest, digest_algorithm = self._digest(data, padding, algorithm)
        signature = self._signed(digest, digest_algorithm)
        self._check(signature, digest, digest_algorithm)
        return signature

    def _digest(
        self, data: bytes, scheme: padding.AsymmetricPadding, algorithm: object
    ) -> tuple[bytes, hashes.HashAlgorithm]:
        if not isinstance(scheme, padding.PKCS1v15):
            self._refuse(f"a signature with {type(scheme).__name__}", "PKCS#1 v1.5")
        prehashed = isinstance(algorithm, asym_utils.Prehashed)
        # No public way to ask a Prehashed what it is; the name has been the same since 2.0.
        inner = algorithm._algorithm if isinstance(algorithm, asym_utils.Prehashed) else algorithm
        if not isinstance(inner, hashes.HashAlgorithm) or inner.name not in DIGESTS:
            self._refuse(f"a signature over {type(inner).__name__}", ", ".join(DIGESTS))
        if prehashed and len(data) != inner.digest_size:
            self._refuse(f"a digest of {len(data)} bytes", f"{inner.digest_size} bytes")
        if prehashed:
            return data, inner
        digest = hashes.Hash(inner)
        digest.update(data)
        return digest.finalize(), inner

    def _check(self, signature: bytes, digest: bytes, algorithm: hashes.HashAlgorithm) -> None:
        try:
            self._public.verify(
                signature, digest, padding.PKCS1v15(), asym_utils.Prehashed(algorithm)
            )
        except InvalidSignature:
            bad = True
        else:
            bad = False
        if bad:
            raise PkiError(
                f"{self._name}: the store's signature does not fit the key",
                rule="KEY-SIGNATURE",
                found="a signature of another key, version or scheme",
                expected=f"a PKCS#1 v1.5 signature of version {self._key_version}",
                where=self.place,
                next_step="nothing was signed; was the key replaced during this run?",
            )

    def _refuse(self, wish: str, possible: str) -> NoReturn:
        raise PkiError(
            f"{self._name}: a key that is kept elsewhere cannot do this",
            rule="KEY-OPERATION",
            found=wish,
            expected=possible,
            where=self.place,
            next_step="the private half stays where it was made; use what its store offers",
        )

    def decrypt(self, ciphertext: bytes, padding: padding.AsymmetricPadding) -> bytes:
        self._refuse("decryption", "signing; these keys are for signatures only")

    def private_numbers(self) -> rsa.RSAPrivateNumbers:
        self._refuse("the private numbers", "signing; the private half never leaves")

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> bytes:
        self._refuse("the private bytes", "signing; the private half never leaves")

    # A handle has no state of its own: a copy of it is itself.
    def __copy__(self: _Key) -> _Key:
        return self

    def __deepcopy__(self: _Key, memo: dict[Any, Any]) -> _Key:
        return self
