# SPDX-License-Identifier: GPL-3.0-or-later
"""The few questions a host asks the ``openssl`` program (1.1.1 or 3).

Key bytes travel through a pipe, never through an argument or a temporary file.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from .errors import HostError

_SECONDS = 30
# A slow machine takes minutes for an unlucky RSA-4096 key.
_SECONDS_TO_GENERATE = 600


def public_key_of_key(pem: bytes) -> bytes | None:
    """The public key (PEM) of a private key, or None when the bytes are not one."""
    # -passin: without it an encrypted key would make the program wait for a terminal.
    return _run(["pkey", "-pubout", "-passin", "pass:"], pem)


def public_key_of_certificate(pem: bytes) -> bytes | None:
    """The public key (PEM) of a certificate, or None when the bytes are not one."""
    return _run(["x509", "-pubkey", "-noout"], pem)


def spki_sha256(public_pem: bytes | None) -> str:
    """SHA-256 of a public key (SubjectPublicKeyInfo, PEM) as ledgers name it; empty for none."""
    lines = (public_pem or b"").split(b"-----")
    try:
        der = base64.b64decode(b"".join(lines[2].split()), validate=True)
    except (IndexError, binascii.Error):
        return ""
    return hashlib.sha256(der).hexdigest() if der else ""


def belongs_together(key_pem: bytes, certificate_pem: bytes) -> bool:
    """True when the private key is the certificate's."""
    key = public_key_of_key(key_pem)
    return key is not None and key == public_key_of_certificate(certificate_pem)


def generate_rsa(bits: int, descriptor: int, passphrase: str | None = None) -> bool:
    """Write a new RSA key (PKCS#8, PEM) to an open file; encrypted when there is a passphrase.

    The program's output is the file itself: nobody else ever holds the key.
    """
    kind = ["-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{int(bits)}"]
    with _secret(passphrase) as secret:
        protection = ["-aes-256-cbc", "-pass", f"fd:{secret}"] if secret >= 0 else []
        done = _start(
            ["genpkey", *kind, *protection], b"", secret, descriptor, _SECONDS_TO_GENERATE
        )
    return done.returncode == 0


def public_der(pem: bytes, passphrase: str | None = None) -> bytes | None:
    """The public key (SubjectPublicKeyInfo, DER) of a private key; None when it is none, or the
    passphrase is not its own."""
    return _with_key(["pkey", "-pubout", "-outform", "DER"], pem, passphrase)


def clear(pem: bytes, passphrase: str | None = None) -> bytes | None:
    """A private key in the clear (PKCS#8, PEM); None when it is none, or locked otherwise."""
    return _with_key(["pkey"], pem, passphrase)


def encrypted(pem: bytes, passphrase: str) -> bytes | None:
    """A private key in the clear as it is kept at rest: PKCS#8 with PBKDF2 and AES-256-CBC."""
    form = ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA256"]
    with _secret(passphrase) as secret:
        return _output(_start([*form, "-passout", f"fd:{secret}"], pem, secret))


def sign_digest(
    key_file: str, digest: bytes, algorithm: str, passphrase: str | None = None
) -> bytes | None:
    """The PKCS#1 v1.5 signature over a digest (``sha256``, ``sha384``, ``sha512``), or None."""
    scheme = ["-pkeyopt", "rsa_padding_mode:pkcs1", "-pkeyopt", f"digest:{algorithm}"]
    return _with_key(["pkeyutl", "-sign", "-inkey", key_file, *scheme], digest, passphrase)


def _run(arguments: Sequence[str], data: bytes) -> bytes | None:
    return _output(_start(arguments, data))


def _with_key(arguments: Sequence[str], data: bytes, passphrase: str | None) -> bytes | None:
    with _secret(passphrase) as secret:
        source = f"fd:{secret}" if secret >= 0 else "pass:"
        return _output(_start([*arguments, "-passin", source], data, secret))


def _output(done: subprocess.CompletedProcess[bytes]) -> bytes | None:
    return done.stdout if done.returncode == 0 and done.stdout else None


@contextlib.contextmanager
def _secret(passphrase: str | None) -> Iterator[int]:
    """A pipe's end from which the program reads the passphrase; -1 without one.

    Arguments can be read by everybody on the host, an environment by every child.
    """
    if passphrase is None:
        yield -1
        return
    reading, writing = os.pipe()
    try:
        os.write(writing, passphrase.encode() + b"\n")  # far less than a pipe holds
        os.close(writing)
        yield reading
    finally:
        os.close(reading)


def tell(
    arguments: Sequence[str], data: bytes, descriptors: Sequence[int] = ()
) -> tuple[int, str, str]:
    """Exit code, output and messages of the program for input that is public.

    ``descriptors``: open files that it may read as ``/dev/fd/<number>``.
    """
    done = _start(arguments, data, messages=subprocess.PIPE, readable=descriptors)
    output, messages = (part.decode("utf-8", "replace") for part in (done.stdout, done.stderr))
    return done.returncode, output, messages


def program() -> str:
    """Where the program is; HostError PROGRAM-MISSING where it is not."""
    found = shutil.which("openssl")
    if found is None:
        raise HostError(
            "the openssl program is missing on this host",
            rule="PROGRAM-MISSING",
            found="no openssl in PATH",
            expected="openssl 1.1.1 or 3",
            where="this host",
            next_step="install the distribution's openssl package",
        )
    return found


def _start(
    arguments: Sequence[str],
    data: bytes,
    secret: int = -1,
    output: int = subprocess.PIPE,
    seconds: int = _SECONDS,
    messages: int = subprocess.DEVNULL,
    readable: Sequence[int] = (),
) -> subprocess.CompletedProcess[bytes]:
    command = program()
    try:
        return subprocess.run(
            [command, *arguments],
            input=data,
            stdout=output,
            stderr=messages,  # where openssl may quote its input
            pass_fds=(*readable, secret) if secret >= 0 else tuple(readable),
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pass
    raise HostError(
        "the openssl program did not come to an end",
        rule="PROGRAM-FAILED",
        found=f"no end after {seconds} s",
        expected="openssl runs and ends",
        where=f"{command} {arguments[0]}",
        next_step="find out what holds it (no entropy, no CPU time?) and run again",
    )
