# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a private key that somebody brings along: PEM or DER, PKCS #1, PKCS #8, or PKCS #12. Pure.

Nothing of a key or passphrase is in any error, representation or log: messages say which form
was found and what is wrong with it. Whether the key is good enough is the policy's to say, on the
request that is made with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from . import csr
from .certs import DECODE_ERRORS
from .errors import PkiError

RULE = "KEY-IMPORT"
MAXIMUM_BYTES = 64 * 1024  # a key with a chain of eight certificates is about 25 kB
LONGEST_PASSPHRASE = 1024  # bytes, as the loaders have it

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,60})-----\r?\n.*?-----END \1-----", re.DOTALL)
_KEY_LABELS = (b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY", b"RSA PRIVATE KEY")
_TO_PKCS8 = "write it as PKCS #8 (openssl pkcs8 -topk8), into a file of mode 0600, and bring that"
_PKCS12_VERSION = b"\x02\x01\x03"


@dataclass(frozen=True, slots=True)
class Brought:
    """A key and the certificates that came in the same file.

    Attributes:
        form: how it came, in words ("PKCS #12").
        spki_sha256: of its public key.
        bits: size of the modulus.
        certificates: in the order of the file, the key's own among them or not.
    """

    form: str
    spki_sha256: str
    bits: int
    certificates: tuple[x509.Certificate, ...]
    _key: rsa.RSAPrivateKey = field(repr=False, compare=False)

    def signing_key(self) -> rsa.RSAPrivateKey:
        """The key itself, to sign a request with."""
        return self._key

    @property
    def spki_der(self) -> bytes:
        """Its public key (SubjectPublicKeyInfo, DER)."""
        return csr.spki_der(self._key.public_key())

    def pkcs8_der(self) -> bytes:
        """The private half in clear, for whoever wraps it."""
        return self._key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def pkcs8_pem(self) -> bytes:
        """The private half in clear, as a gateway reads it."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def read(data: bytes, passphrase: bytes | None = None) -> Brought:
    """The RSA key of a file, opened with ``passphrase`` where it is encrypted.

    Raises:
        PkiError: KEY-IMPORT; no key or several, another form, another algorithm than RSA, a
            wrong or missing passphrase, an unsupported cipher, numbers that are not a key's.
    """
    if data[:1] == b"\x30":
        return _der(data, passphrase)
    return _pem(data, passphrase)


def passphrase(line: bytes) -> bytes:
    """The passphrase of a passphrase file: its only line, without the line's end."""
    word = line.removesuffix(b"\n").removesuffix(b"\r")
    if word and b"\n" not in word:
        return word
    found = f"{len(word.splitlines())} lines" if word else "an empty line"
    raise PkiError(
        "the passphrase file cannot be used",
        rule=RULE,
        found=found,
        expected="the passphrase on one line",
        where="the passphrase file",
        next_step="write the passphrase into it, and nothing else; nothing was changed",
    )


def _der(data: bytes, passphrase: bytes | None) -> Brought:
    if _is_pkcs12(data):
        return _pkcs12(data, passphrase)
    key = _opened(
        "a DER key", lambda word: serialization.load_der_private_key(data, word), passphrase
    )
    return _brought("DER", key, ())


def _is_pkcs12(data: bytes) -> bool:
    """Whether a sequence begins with version 3, which no other container of keys does."""
    long = data[1] & 0x7F if len(data) > 1 and data[1] > 0x80 else 0
    return data[2 + long : 5 + long] == _PKCS12_VERSION


def _pkcs12(data: bytes, passphrase: bytes | None) -> Brought:
    what = "a PKCS #12 file"
    bag = _opened(what, lambda word: pkcs12.load_pkcs12(data, word), passphrase)
    if bag.key is None:
        raise _refused(
            "a PKCS #12 file without a private key",
            "one with the key and its certificate",
            "export it again, with the private key",
        )
    beside = [bag.cert, *bag.additional_certs]
    return _brought("PKCS #12", bag.key, [one.certificate for one in beside if one is not None])


def _pem(data: bytes, passphrase: bytes | None) -> Brought:
    blocks = [(found[1], found[0]) for found in _BLOCK.finditer(data)]
    keys = [(label, block) for label, block in blocks if label.endswith(b"PRIVATE KEY")]
    if len(keys) != 1:
        what = f"{len(keys)} private keys" if keys else "no private key"
        raise _refused(
            f"{what} in {_listed(blocks)}",
            "one private key, PEM, DER or PKCS #12",
            "put that key alone, or with its certificate, into a file of mode 0600",
        )
    ((label, block),) = keys
    if label not in _KEY_LABELS:
        name = label.decode("ascii")
        raise _refused(f"a block {name}", "an RSA key as PKCS #1, PKCS #8 or PKCS #12", _TO_PKCS8)
    key = _opened(
        "a PEM key", lambda word: serialization.load_pem_private_key(block, word), passphrase
    )
    return _brought("PEM", key, _certificates(blocks))


def _listed(blocks: Sequence[tuple[bytes, bytes]]) -> str:
    labels = ", ".join(label.decode("ascii") for label, _ in blocks[:5])
    return f"the blocks {labels}" if labels else "a file without PEM blocks"


def _certificates(blocks: Sequence[tuple[bytes, bytes]]) -> list[x509.Certificate]:
    texts = [block for label, block in blocks if label == b"CERTIFICATE"]
    try:
        return [x509.load_pem_x509_certificate(text) for text in texts]
    except DECODE_ERRORS:
        pass
    raise _refused(
        "a certificate beside the key that cannot be read",
        "certificates as the CA sent them",
        "give the key alone, and its certificate as certificate_file",
    )


def _opened(what: str, load: Callable[[bytes | None], Any], passphrase: bytes | None) -> Any:
    """What a loader makes of the bytes. Its own words are dropped: they may quote the input."""
    try:
        return load(passphrase)
    except TypeError:
        # The loaders' only use of it: a passphrase is missing, or there is nothing to open.
        opened = passphrase is not None
    except DECODE_ERRORS:
        raise _unreadable(what, passphrase) from None
    if opened:
        return _opened(what, load, None)
    raise _refused(
        f"{what}, encrypted",
        "its passphrase",
        "put the passphrase into a file of mode 0600 and name it: -e passphrase_file=FILE",
    )


def _unreadable(what: str, passphrase: bytes | None) -> PkiError:
    if passphrase is not None:
        return _refused(
            f"{what} that its passphrase does not open, or that is damaged",
            "the passphrase of this very file, on one line",
            "check the passphrase file and the key file; neither was shown to anybody",
        )
    return _refused(
        f"{what} that cannot be opened: encrypted, damaged, or no key at all",
        "a key as PKCS #1, PKCS #8 or PKCS #12 whose numbers belong together",
        "name its passphrase file if it has one; else export the key again",
    )


def _brought(form: str, key: object, certificates: Sequence[x509.Certificate]) -> Brought:
    if not isinstance(key, rsa.RSAPrivateKey):
        public = getattr(key, "public_key", lambda: key)
        kind = csr.key_algorithm(public())
        raise _refused(
            f"{form} with a key of the kind {kind}",
            "an RSA key",
            "have a new RSA key made: this kind is not accepted",
        )
    spki = csr.spki_der(key.public_key())
    return Brought(
        form=form,
        spki_sha256=sha256(spki).hexdigest(),
        bits=key.key_size,
        certificates=tuple(certificates),
        _key=key,
    )


def _refused(found: str, expected: str, next_step: str) -> PkiError:
    return PkiError(
        "the key cannot be taken in",
        rule=RULE,
        found=found,
        expected=expected,
        where="the key file",
        next_step=f"{next_step}; nothing was changed",
    )
