# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a CA signed a CRL, asked of ``openssl dgst`` with the list going through a pipe.

RSA with PKCS #1 v1.5 or PSS, and ECDSA, each with SHA-256, 384 or 512. What else there is proves
nothing (SHA-1), or would have to be in memory as a whole (Ed25519).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import ssl
import subprocess
import textwrap
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import crl_der, crl_entries, openssl
from . import crl_tlv as tlv
from .crl_tlv import Malformed
from .errors import HostError

_SECONDS = 300
_LONGEST_SIGNATURE = 16 * 1024  # more than any key's
_NULL = (0x05, b"")
_RSA_KEYS = ("1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10")
_EC_KEYS = ("1.2.840.10045.2.1",)
_PSS, _MGF1 = "1.2.840.113549.1.1.10", "1.2.840.113549.1.1.8"
_HASHES = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_PLAIN = {
    "1.2.840.113549.1.1.11": ("sha256", _RSA_KEYS),
    "1.2.840.113549.1.1.12": ("sha384", _RSA_KEYS),
    "1.2.840.113549.1.1.13": ("sha512", _RSA_KEYS),
    "1.2.840.10045.4.3.2": ("sha256", _EC_KEYS),
    "1.2.840.10045.4.3.3": ("sha384", _EC_KEYS),
    "1.2.840.10045.4.3.4": ("sha512", _EC_KEYS),
}
_KEY_USAGE, _CRL_SIGN = "2.5.29.15", 0x02
_VERSION, _EXTENSIONS = 0xA0, 0xA3
# PSS parameters (RFC 4055, 3.1), by tag. The defaults are SHA-1's.
_PSS_HASH, _PSS_MGF, _PSS_SALT, _PSS_TRAILER = 0xA0, 0xA1, 0xA2, 0xA3
_MOST_SALT = 64


@dataclass(frozen=True)
class Issuer:
    """A CA as a CRL is judged by it: its name (DER), its key (SubjectPublicKeyInfo, DER)."""

    subject: bytes
    key: bytes
    may_sign_crls: bool


@dataclass(frozen=True)
class Scheme:
    """How a CRL is signed: the digest, what kinds of keys do it, and options for the program."""

    digest: str
    keys: tuple[str, ...]
    options: tuple[str, ...] = ()


def issuer_of(pem: str) -> Issuer:
    """The CA of a certificate; Malformed when it cannot be read."""
    try:
        encoded = ssl.PEM_cert_to_DER_cert(pem.strip())
    except (ValueError, binascii.Error):
        raise Malformed("a certificate that is no PEM") from None
    certificate = list(tlv.elements(tlv.content(encoded, tlv.SEQUENCE)))
    if len(certificate) != 3:
        raise Malformed("a certificate that is none")
    parts = _raw_parts(certificate[0][1])
    if parts and parts[0][0] == _VERSION:
        parts = parts[1:]
    if len(parts) < 6:
        raise Malformed("a certificate that is none")
    subject, key = parts[4], parts[5]
    found = [raw for tag, raw in parts[6:] if tag == _EXTENSIONS]
    return Issuer(subject[1], key[1], _may_sign_crls(found[0]) if found else True)


def scheme_of(encoded: bytes) -> Scheme | None:
    """How an AlgorithmIdentifier says that something is signed; None for what proves nothing."""
    octets, parameters = crl_der.algorithm(encoded)
    oid = tlv.dotted(octets)
    if oid == _PSS:
        return _pss(parameters)
    if oid not in _PLAIN or list(parameters) not in ([], [_NULL]):
        return None
    return Scheme(*_PLAIN[oid])


def signed_by(source: tlv.File, frame: crl_der.Frame, scheme: Scheme, issuer: Issuer) -> bool:
    """Whether the key of the issuer made the CRL's signature.

    Raises:
        HostError: PROGRAM-MISSING or PROGRAM-FAILED, the program could not be asked.
    """
    if _kind_of(issuer.key) not in scheme.keys or len(frame.signature) > _LONGEST_SIGNATURE:
        return False
    with readable(_pem(issuer.key)) as key, readable(frame.signature) as signature:
        files = ["-verify", f"/dev/fd/{key}", "-signature", f"/dev/fd/{signature}"]
        command = [openssl.program(), "dgst", f"-{scheme.digest}", *scheme.options, *files]
        return _fed(command, crl_der.pieces(source, *frame.signed), (key, signature)) == 0


def _fed(command: Sequence[str], parts: Iterator[bytes], descriptors: Sequence[int]) -> int:
    """The exit code of a program that reads ``parts``."""
    silent = subprocess.DEVNULL
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=silent, stderr=silent, pass_fds=tuple(descriptors)
    )
    late = threading.Timer(_SECONDS, process.kill)
    late.start()
    try:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:
            for part in parts:
                process.stdin.write(part)
        code = process.wait()
    finally:
        late.cancel()
        process.kill()  # where reading the file failed
        process.wait()
    if code < 0:
        raise HostError(
            "the openssl program did not come to an end",
            rule="PROGRAM-FAILED",
            found=f"ended by signal {-code}",
            expected=f"an answer within {_SECONDS} s",
            where=f"{command[0]} dgst",
            next_step="find out what holds it (no CPU time, no memory?) and run again",
        )
    return code


@contextlib.contextmanager
def readable(data: bytes) -> Iterator[int]:
    """A pipe's end from which a program reads octets that are public: certificates, a key."""
    reading, writing = os.pipe()
    # Not from here: a pipe may hold as little as a page, and who reads it comes later.
    writer = threading.Thread(target=_write, args=(writing, data), daemon=True)
    try:
        writer.start()
        yield reading
    finally:
        os.close(reading)  # ends the writer, too, where nobody read
        writer.join()


def _write(descriptor: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(descriptor, "wb", buffering=0) as pipe:
        while data:
            data = data[pipe.write(data) or 0 :]


def _pem(key: bytes) -> bytes:
    lines = textwrap.wrap(base64.b64encode(key).decode(), 64)
    return "\n".join(
        ["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""]
    ).encode()


def _kind_of(key: bytes) -> str:
    parts = list(tlv.elements(tlv.content(key, tlv.SEQUENCE)))
    if len(parts) != 2 or parts[0][0] != tlv.SEQUENCE:
        raise Malformed("a key that is none")
    kind = next(tlv.elements(parts[0][1]), (0, b""))
    return tlv.dotted(kind[1]) if kind[0] == tlv.OID else ""


def _pss(parameters: Sequence[tuple[int, bytes]]) -> Scheme | None:
    if len(parameters) != 1 or parameters[0][0] != tlv.SEQUENCE:
        return None
    parts = dict(tlv.elements(parameters[0][1]))
    if not {_PSS_HASH, _PSS_MGF} <= set(parts) <= {_PSS_HASH, _PSS_MGF, _PSS_SALT, _PSS_TRAILER}:
        return None
    digest = _hash(parts[_PSS_HASH])
    octets, inner = crl_der.algorithm(parts[_PSS_MGF])
    mask = tlv.dotted(octets) == _MGF1 and len(inner) == 1 and _HASHES.get(_oid(inner[0][1]), "")
    salt = tlv.unsigned(tlv.content(parts[_PSS_SALT], tlv.INTEGER)) if _PSS_SALT in parts else 20
    trailer = parts.get(_PSS_TRAILER, b"\x02\x01\x01")
    if not digest or mask != digest or salt > _MOST_SALT or trailer != b"\x02\x01\x01":
        return None
    values = ("rsa_padding_mode:pss", f"rsa_pss_saltlen:{salt}", f"rsa_mgf1_md:{digest}")
    return Scheme(digest, _RSA_KEYS, tuple(one for value in values for one in ("-sigopt", value)))


def _hash(encoded: bytes) -> str:
    return _HASHES.get(_oid(tlv.content(encoded, tlv.SEQUENCE)), "")


def _oid(content: bytes) -> str:
    kind = next(tlv.elements(content), (0, b""))
    return tlv.dotted(kind[1]) if kind[0] == tlv.OID else ""


def _may_sign_crls(encoded: bytes) -> bool:
    found = crl_entries.extensions(_inside(_inside(encoded)))
    if _KEY_USAGE not in found:
        return True
    bits = tlv.content(found[_KEY_USAGE][1], tlv.BIT_STRING)
    return len(bits) > 1 and bool(bits[1] & _CRL_SIGN)


def _inside(encoded: bytes) -> bytes:
    return encoded[tlv.whole(encoded).start :]


def _raw_parts(content: bytes) -> list[tuple[int, bytes]]:
    """Tag and whole DER of every element."""
    found, at, source = [], 0, tlv.Bytes(content)
    while at < len(content):
        part = tlv.span(source, at, len(content))
        found.append((part.tag, content[part.begin : part.end]))
        at = part.end
    return found
