# SPDX-License-Identifier: GPL-3.0-or-later
"""The CRL that makes a gateway refuse every peer: what is in force when the real set is too old.

It is a whole and well-formed CRL of an issuer that nobody has, long expired. With it a gateway's
configuration loads, and its TLS library then lacks a CRL of every CA and refuses whom it would
have to check against one: peers that call us, and far ends that we call.

Not an empty file: Envoy takes one as "nobody is revoked" and lets everybody in; nginx and HAProxy
refuse to load it and go on with the set that is too old. Not garbage either: Apache passes its
configuration test with it and then ends on the next reload.

It was made once, with a key that was thrown away; nothing ever verifies its signature.
"""

from __future__ import annotations

import os

from . import files

DIRECTORY = "refusal"
CRL = "crl.pem"
PEM = """\
-----BEGIN X509 CRL-----
MIHEMGsCAQEwCgYIKoZIzj0EAwIwLDEqMCgGA1UEAwwhcmV2b2NhdGlvbiBpbmZv
cm1hdGlvbiBpcyB0b28gb2xkFw0wMDAxMDEwMDAwMDBaFw0wMDAxMDIwMDAwMDBa
oA4wDDAKBgNVHRQEAwIBATAKBggqhkjOPQQDAgNJADBGAiEAwXIJo0/M3olg+KCu
wHmrLiI3Dti4cP1TdpVKTW14jgUCIQCGbCxP4DJ2fq0QMG6i32r0XkgKOkcDo8UH
Ldbtab53qw==
-----END X509 CRL-----
"""


def path(crl_root: str) -> str:
    """Where it is on a host."""
    return os.path.join(crl_root, DIRECTORY, CRL)


def ensure(crl_root: str) -> bool:
    """Have it on this host, whole and readable by all; True when it had to be written."""
    place, content = path(crl_root), PEM.encode()
    files.require_own(crl_root, DIRECTORY)
    if files.read(place) == content and files.mode_of(place) == files.PUBLIC:
        return False
    files.write(place, content, files.PUBLIC)
    return True
