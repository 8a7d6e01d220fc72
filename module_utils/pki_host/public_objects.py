# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and CRLs in files of this host, told by the ``openssl`` program (1.1.1 or 3).

Nothing secret comes here. Files that the program must read by name are anonymous ones in memory.
"""

from __future__ import annotations

import contextlib
import os
import re
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from . import files, openssl

_CERTIFICATE, _CRL = b"CERTIFICATE", b"X509 CRL"
_ANY_BEGIN = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----")
_PUBLIC_KEY = re.compile(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----\n", re.DOTALL)
_VERIFY_ERROR = re.compile(r"error (\d+) at (\d+) depth lookup: ?(.*)")
_KEY_USAGES = {
    "TLS Web Server Authentication": "serverAuth",
    "TLS Web Client Authentication": "clientAuth",
    "Any Extended Key Usage": "any",
}


@dataclass(frozen=True)
class Certificate:
    """What a certificate says of itself.

    Attributes:
        pem: its PEM block.
        subject, issuer: names as ``-nameopt RFC2253`` prints them.
        serial: capital hexadecimal digits.
        begins, ends: validity in seconds since 1970.
        usages: extended key usages; empty when it is for any.
        public_key: PEM.
    """

    pem: bytes
    subject: str
    issuer: str
    serial: str
    begins: float
    ends: float
    usages: tuple[str, ...]
    public_key: bytes

    @property
    def sha256(self) -> str:
        """Of the certificate's DER, in lower-case hexadecimal."""
        return files.sha256(ssl.PEM_cert_to_DER_cert(self.pem.decode("ascii").strip()))

    @property
    def self_issued(self) -> bool:
        return self.subject == self.issuer

    def allows(self, usage: str) -> bool:
        """Whether it may be used as ``serverAuth`` or ``clientAuth``."""
        return not self.usages or bool({usage, "any"} & {*self.usages})


@dataclass(frozen=True)
class Crl:
    """What a CRL says of itself; ``next_update`` is 0 when it names none."""

    pem: bytes
    issuer: str
    last_update: float
    next_update: float


def is_whole(data: bytes) -> bool:
    """Whether every PEM block that begins also ends."""
    return len(_ANY_BEGIN.findall(data)) == data.count(b"-----END ")


def certificate_blocks(data: bytes) -> list[bytes]:
    """The certificates of a PEM file, unread."""
    return _blocks(data, _CERTIFICATE)


def crl_blocks(data: bytes) -> list[bytes]:
    """The CRLs of a PEM file, unread."""
    return _blocks(data, _CRL)


def _blocks(data: bytes, kind: bytes) -> list[bytes]:
    pattern = rb"-----BEGIN " + kind + rb"-----.*?-----END " + kind + rb"-----"
    return [block + b"\n" for block in re.findall(pattern, data, re.DOTALL)]


@lru_cache(maxsize=512)
def certificate(block: bytes) -> Certificate | None:
    """A certificate from its PEM block; None for what is none."""
    names = ["-subject", "-issuer", "-serial", "-dates", "-nameopt", "RFC2253"]
    more = ["-pubkey", "-ext", "extendedKeyUsage"]
    code, output, _ = openssl.tell(["x509", "-noout", *names, *more], block)
    fields = _fields(output)
    key = _PUBLIC_KEY.search(output)
    try:
        if code != 0 or key is None:
            return None
        return Certificate(
            block,
            fields["subject"],
            fields["issuer"],
            fields["serial"],
            ssl.cert_time_to_seconds(fields["notBefore"]),
            ssl.cert_time_to_seconds(fields["notAfter"]),
            _usages(output),
            key[0].encode(),
        )
    except (KeyError, ValueError):
        return None


@lru_cache(maxsize=512)
def crl(block: bytes) -> Crl | None:
    """A CRL from its PEM block; None for what is none."""
    names = ["-issuer", "-lastupdate", "-nextupdate", "-nameopt", "RFC2253"]
    code, output, _ = openssl.tell(["crl", "-noout", *names], block)
    fields = _fields(output)
    try:
        if code != 0:
            return None
        ends = fields["nextUpdate"]
        return Crl(
            block,
            fields["issuer"],
            ssl.cert_time_to_seconds(fields["lastUpdate"]),
            0.0 if ends == "NONE" else ssl.cert_time_to_seconds(ends),
        )
    except (KeyError, ValueError):
        return None


@lru_cache(maxsize=512)
def signed_by(one: Crl, ca: Certificate) -> bool:
    """Whether a CRL carries the signature of this CA's key."""
    with _in_memory(ca.pem) as (path, descriptor):
        arguments = ["crl", "-noout", "-CAfile", path]
        _, _, said = openssl.tell(arguments, one.pem, (descriptor,))
    # The exit code tells of it from version 3 on only.
    return "verify OK" in said


def chain_fault(
    chain: Sequence[Certificate], trusted: Sequence[Certificate], purpose: str
) -> tuple[int, int, str] | None:
    """What the library has against a chain: its error number, depth and words; None for nothing.

    ``purpose``: ``sslserver`` or ``sslclient``. The last of ``trusted`` need not be a root.
    """
    above = b"".join(one.pem for one in chain[1:])
    with (
        _in_memory(b"".join(one.pem for one in trusted)) as (cas, first),
        _in_memory(above) as (rest, second),
    ):
        arguments = ["verify", "-partial_chain", "-no-CApath", "-purpose", purpose, "-CAfile", cas]
        arguments += ["-untrusted", rest] if above else []
        code, output, said = openssl.tell(arguments, chain[0].pem, (first, second))
    found = _VERIFY_ERROR.search(said) or _VERIFY_ERROR.search(output)
    if found:
        return int(found[1]), int(found[2]), found[3].strip()
    return None if code == 0 else (0, 0, f"openssl verify ended with code {code}")


def _fields(output: str) -> dict[str, str]:
    lines = (line.partition("=") for line in output.splitlines() if "=" in line)
    fields: dict[str, str] = {}
    for name, _, value in lines:
        fields.setdefault(name.strip(), value.strip())
    return fields


def _usages(output: str) -> tuple[str, ...]:
    _, heading, rest = output.partition("X509v3 Extended Key Usage:")
    if not heading:
        return ()
    said = rest.splitlines()[1]  # what stands behind the heading is whether it is critical
    return tuple(_KEY_USAGES.get(word.strip(), word.strip()) for word in said.split(","))


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[tuple[str, int]]:
    """A file without a name that the program may open: its path and its descriptor."""
    descriptor = os.memfd_create("public", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        yield f"/dev/fd/{descriptor}", descriptor
    finally:
        os.close(descriptor)
