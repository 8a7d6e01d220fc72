# SPDX-License-Identifier: GPL-3.0-or-later
"""A request that a device or service made with a key of its own, taken in for its entry. Pure.

It is written as every request is: one PEM block with the standard label, whatever form and
whatever text around it a device hands out. The signature is the device's and stays.
"""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from . import commands, csr, key_material, key_place, outcomes, public_state, request_stage
from .desk import Desk
from .errors import PkiError
from .inventory import Certificate
from .public_state import VersionFiles
from .request_stage import Written

RULE = "SUPPLY"
_BLOCK = re.compile(
    rb"-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----.*?-----END (?:NEW )?CERTIFICATE REQUEST-----",
    re.DOTALL,
)


def take_in(desk: Desk, data: bytes) -> Written:
    """The request of a file (PEM or DER), judged, for the entry's next version.

    Of a request that is committed already its record's date stays.

    Raises:
        PkiError: SUPPLY for a file with a private key or several requests, an entry whose key is
            not external, and while another request is open; DIP-6.1.1-PKCS10 for what cannot be
            read; whatever the policy refuses of the request.
    """
    _must_be_external(desk.certificate)
    request = _one_pem(data)
    version = outcomes.next_version(desk.versions)
    before = _supplied_before(desk.certificate, request, desk.files(version))
    return request_stage.take_in(
        desk.certificate,
        desk.rules,
        request,
        version,
        before or desk.now,
        desk.directory,
        desk.known.before(desk.certificate.name, version),
    )


def _must_be_external(certificate: Certificate) -> None:
    if certificate.store == key_place.EXTERNAL:
        return
    raise _refused(
        f"{certificate.name}: the key of this entry is made by us, not by a device",
        found=f"store {certificate.store}",
        expected="store external",
        where=f"certificates.yml, {certificate.name}.key.store",
        next_step="set the store to external if a device is to make the key, or run "
        "playbooks/site.yml, which makes key and request",
    )


def _one_pem(data: bytes) -> bytes:
    """The one request of a file as PEM, and nothing else of the file."""
    if key_material.in_binary(data) or key_material.in_text(data.decode("latin-1")):
        raise _refused(
            "the file holds a private key",
            found="a private key, which is not shown",
            expected="the certificate request alone",
            where="the request's file",
            next_step="give the request alone. If others could read the file, the key is to be "
            "replaced: have the device make another",
        )
    blocks = _BLOCK.findall(data) if data[:1] != b"\x30" else [data]
    if len(blocks) > 1:
        raise _refused(
            "the file holds several requests",
            found=f"{len(blocks)} requests",
            expected="one",
            where="the request's file",
            next_step="give the one that the certificate is wanted for",
        )
    block = blocks[0] if blocks else data
    try:
        csr.parse(block)
    except PkiError as exc:
        unreadable = exc
    else:
        return _loaded(block).public_bytes(Encoding.PEM)
    raise PkiError(
        unreadable.message,
        rule=unreadable.rule,
        # Not the decoder's words: nobody knows yet what kind of file this is.
        found="bytes that cannot be decoded as one",
        expected="one PKCS #10 request, PEM or DER",
        where="the request's file",
        next_step="export the request from the device again. Nothing was changed",
    )


def _loaded(block: bytes) -> x509.CertificateSigningRequest:
    if block[:1] == b"\x30":
        return x509.load_der_x509_csr(block)
    return x509.load_pem_x509_csr(block.replace(b" NEW CERTIFICATE", b" CERTIFICATE"))


def _supplied_before(
    certificate: Certificate, request: bytes, files: VersionFiles | None
) -> datetime | None:
    """When this very request was taken in, if it was; refuses another one beside it."""
    if files is None or files.request is None:
        return None
    if files.request != request:
        raise _refused(
            f"{certificate.name}: request v{files.number} is open, and is another one",
            found=f"a request with the public key {csr.key_digest(files.request)}",
            expected="no open request, or this very one",
            where=str(files.path / "request.csr"),
            next_step="when that one has come to nothing, record it as withdrawn: "
            + commands.withdraw(certificate.name),
        )
    record = files.request_record or {}
    if record.get("request_sha256") != sha256(request).hexdigest():
        return None
    seen = public_state.observed_version(files).requested
    return seen.created if seen is not None else None


def _refused(message: str, *, found: str, expected: str, where: str, next_step: str) -> PkiError:
    return PkiError(
        message,
        rule=RULE,
        found=found,
        expected=expected,
        where=where,
        next_step=f"{next_step}. Nothing was changed",
    )
