# SPDX-License-Identifier: GPL-3.0-or-later
"""Two validators that are none of ours, asked the same question: OpenSSL and pyHanko's."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from asn1crypto.x509 import Certificate
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pki import path
from pki.errors import PkiError
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.authority import CertTrustAnchor
from pyhanko_certvalidator.errors import PathBuildingError, ValidationError
from pyhanko_certvalidator.registry import SimpleTrustManager


@dataclass(frozen=True)
class Question:
    """What ``path.validate`` is asked: all DER, ``purpose`` clientAuth, serverAuth or None."""

    leaf: bytes
    intermediates: Sequence[bytes]
    anchor: bytes
    crls: Sequence[bytes] | None
    now: datetime
    purpose: str | None = None
    ocsp: Sequence[bytes] | None = None


def ours(question: Question) -> PkiError | None:
    """Our refusal, or None."""
    try:
        path.validate(
            question.leaf,
            question.intermediates,
            [question.anchor],
            crls=question.crls,
            ocsp=question.ocsp,
            purpose=question.purpose,
            now=question.now,
        )
    except PkiError as error:
        return error
    return None


_PURPOSES = {"clientAuth": "sslclient", "serverAuth": "sslserver"}
_USAGES = {"clientAuth": {"client_auth"}, "serverAuth": {"server_auth"}}


def openssl(question: Question, directory: Path, *, strict: bool) -> str:
    """Why ``openssl verify`` refuses, or nothing. ``strict`` holds it to RFC 5280's profile.

    It knows nothing of OCSP.
    """
    assert question.ocsp is None
    files = {
        "leaf.pem": _pem([question.leaf]),
        "anchor.pem": _pem([question.anchor]),
        "above.pem": _pem(question.intermediates or [question.anchor]),
    }
    command = ["openssl", "verify", "-attime", str(int(question.now.timestamp()))]
    command += ["-no-CApath", "-no-CAstore", "-CAfile", "anchor.pem", "-untrusted", "above.pem"]
    command += ["-x509_strict"] if strict else []
    if question.purpose is not None:
        command += ["-purpose", _PURPOSES[question.purpose]]
    if question.crls is not None:
        files["crls.pem"] = b"".join(_crl_pem(crl) for crl in question.crls)
        command += ["-crl_check_all", "-extended_crl", "-use_deltas"]
        command += ["-CRLfile", "crls.pem"] if question.crls else []
    for name, data in files.items():
        (directory / name).write_bytes(data)
    run = subprocess.run(
        [*command, "leaf.pem"], cwd=directory, capture_output=True, text=True, check=False
    )
    return "" if run.returncode == 0 else run.stderr.strip() or f"exit code {run.returncode}"


def pyhanko(question: Question) -> str | None:
    """Why pyHanko's validator refuses, or nothing; None for a crash, which is no verdict."""
    asked = question.crls is not None or question.ocsp is not None
    anchor = CertTrustAnchor(Certificate.load(question.anchor), derive_default_quals_from_cert=True)
    try:
        context = ValidationContext(
            trust_manager=SimpleTrustManager.build([anchor]),
            other_certs=[Certificate.load(one) for one in question.intermediates],
            moment=question.now,
            crls=list(question.crls or ()),
            ocsps=list(question.ocsp or ()),
            revocation_mode="require" if asked else "soft-fail",
            time_tolerance=timedelta(0),
        )
        validator = CertificateValidator(
            Certificate.load(question.leaf), validation_context=context
        )
        if question.purpose is None:
            asyncio.run(validator.async_validate_path())
        else:
            usages = _USAGES[question.purpose]
            asyncio.run(validator.async_validate_usage(set(), usages, extended_optional=True))
    except (ValidationError, PathBuildingError) as error:
        return str(error) or type(error).__name__
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None
    return ""


def _pem(ders: Sequence[bytes]) -> bytes:
    return b"".join(_pem_block(one, b"CERTIFICATE") for one in ders)


def _crl_pem(crl: bytes) -> bytes:
    return x509.load_der_x509_crl(crl).public_bytes(Encoding.PEM)


def _pem_block(der: bytes, label: bytes) -> bytes:
    """PEM without reading the certificate: the suites hold some that cryptography cannot."""
    lines = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64)).encode()
    return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label, lines, label)
