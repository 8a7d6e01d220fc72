# SPDX-License-Identifier: GPL-3.0-or-later
"""The few questions a host asks the ``openssl`` program (1.1.1 or 3).

Key bytes travel through a pipe, never through an argument or a temporary file.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from .errors import HostError

_SECONDS = 30


def public_key_of_key(pem: bytes) -> bytes | None:
    """The public key (PEM) of a private key, or None when the bytes are not one."""
    # -passin: without it an encrypted key would make the program wait for a terminal.
    return _run(["pkey", "-pubout", "-passin", "pass:"], pem)


def public_key_of_certificate(pem: bytes) -> bytes | None:
    """The public key (PEM) of a certificate, or None when the bytes are not one."""
    return _run(["x509", "-pubkey", "-noout"], pem)


def belongs_together(key_pem: bytes, certificate_pem: bytes) -> bool:
    """True when the private key is the certificate's."""
    key = public_key_of_key(key_pem)
    return key is not None and key == public_key_of_certificate(certificate_pem)


def _run(arguments: Sequence[str], data: bytes) -> bytes | None:
    program = shutil.which("openssl")
    if program is None:
        raise HostError(
            "the openssl program is missing on this host",
            rule="PROGRAM-MISSING",
            found="no openssl in PATH",
            expected="openssl 1.1.1 or 3",
            where="this host",
            next_step="install the distribution's openssl package",
        )
    done = subprocess.run(
        [program, *arguments],
        input=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # openssl may quote its input in messages
        timeout=_SECONDS,
        check=False,
    )
    return done.stdout if done.returncode == 0 and done.stdout else None
