# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates out of whatever a portal, a CA or a mail program hands over.

PEM with any line ends, byte-order mark, preamble, ``>`` quoting, all in one line or with
``\\n`` written out; bare base64; DER, several in a row; PKCS #7. Reading is generous about
what surrounds a certificate and strict about the certificate: a damaged block is named.

A private key is looked for first, in every file and form, and is never echoed.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7

from . import der, names
from .certs import DECODE_ERRORS, to_der
from .errors import PkiError

RULE_UNREADABLE = "DIP-12.2-16-CER"
RULE_PRIVATE_KEY = "REPLY-PRIVATE-KEY"
MAX_BYTES = 4 * 1024 * 1024  # of all files together; a chain of eight is about 20 kB
MAX_CERTIFICATES = 512
MAX_FILES = 64

# Portals and documents write "--- BEGIN CERTIFICATE---" too, so dashes are counted loosely.
_MARKER = re.compile(
    r"-{2,20}[ \t]{0,8}(BEGIN|END)[ \t]{1,8}([A-Z0-9#][A-Z0-9# ]{0,60}?)[ \t]{0,8}-{2,20}"
)
_QUOTING = re.compile(r"^(?:[ \t]{0,4}[>|]){1,20}", re.MULTILINE)
_KEY_TEXT = re.compile(
    r"BEGIN\s{1,8}(?:[A-Z0-9#]{1,20}\s{1,8}){0,4}PRIVATE\s{1,8}KEY|PuTTY-User-Key-File|"
    r"Private-Lines:",
    re.IGNORECASE,
)
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")
_BARE = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*\Z")
_HEADER = re.compile(r"^[A-Za-z][A-Za-z0-9-]{0,40}:.*$", re.MULTILINE)
_CERTIFICATE_LABELS = frozenset({"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"})
_PKCS7_LABELS = frozenset({"PKCS7", "PKCS #7 SIGNED DATA", "CMS"})
_REQUEST_LABELS = frozenset({"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"})
_SIGNED_DATA = "1.2.840.113549.1.7.2"
_PKCS7_DATA = "1.2.840.113549.1.7.1"
_INDEFINITE = b"\x30\x80"
_MIN_BARE = 256  # characters of base64 worth trying without any marker


@dataclass(frozen=True, slots=True)
class _Block:
    """One piece of a file: its kind, its bytes, and where it is, in words."""

    label: str
    data: bytes
    where: str


def read(files: Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    """All certificates of the files, each once, in the order of their appearance.

    Raises:
        PkiError: REPLY-PRIVATE-KEY when any file holds a private key;
            DIP-12.2-16-CER when there is no certificate, a block is damaged, or the
            input exceeds the bounds of this module.
    """
    _check_size(files)
    blocks: list[_Block] = []
    for number, data in enumerate(files, start=1):
        where = f"file {number}" if len(files) > 1 else "the reply"
        text = _text(data)
        # Before anything is judged readable: a key must be reported even in a broken file.
        if _KEY_TEXT.search(text):
            raise _private_key(where)
        blocks += _binary(data, where) if data[:1] == b"\x30" else _textual(text, where)
    for block in blocks:
        if _is_private_key(block.data):
            raise _private_key(block.where)
    found: dict[bytes, x509.Certificate] = {}
    for block in blocks:
        for certificate in _certificates(block):
            found.setdefault(to_der(certificate), certificate)
            if len(found) > MAX_CERTIFICATES:
                raise _too_many()
    if not found:
        raise _nothing_found(blocks)
    return tuple(found.values())


def _check_size(files: Sequence[bytes]) -> None:
    total = sum(len(data) for data in files)
    if total > MAX_BYTES or len(files) > MAX_FILES:
        raise _unreadable(
            f"{len(files)} files of {total} bytes",
            f"{MAX_FILES} files of {MAX_BYTES} bytes at most",
        )


def _text(data: bytes) -> str:
    """The file as text, quoting and written-out line ends undone; never raises."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = data.decode("utf-16", "replace")
    else:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("latin-1").replace("\0", "")
    text = text.replace("\\r", "\n").replace("\\n", "\n").replace("\r", "\n")
    return _QUOTING.sub("", text)


def _textual(text: str, where: str) -> Iterator[_Block]:
    markers = list(_MARKER.finditer(text))
    if not any(marker[1] == "BEGIN" for marker in markers):
        yield from _bare(text, where)
        return
    number = 0
    for marker, following in zip(markers, [*markers[1:], None], strict=True):
        if marker[1] != "BEGIN":
            continue
        number += 1
        end = following.start() if following is not None else len(text)
        yield _Block(
            " ".join(marker[2].split()),
            _decoded(text[marker.end() : end]),
            f"block {number} of {where}",
        )


def _decoded(body: str) -> bytes:
    """Base64 as mail programs leave it; empty when it cannot be decoded."""
    # Quoted-printable turns the padding "=" into "=3D" and may end lines with a bare "=".
    body = _HEADER.sub("", body).replace("=3D", "=").replace("=\n", "\n")
    stripped = "".join(body.split()).rstrip("=")
    if _NOT_BASE64.search(stripped):
        return b""
    try:
        return base64.b64decode(stripped + "=" * (-len(stripped) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _bare(text: str, where: str) -> Iterator[_Block]:
    if len(text) >= _MIN_BARE and _BARE.match(text):
        data = _decoded(text)
        if data[:1] == b"\x30":
            yield from _binary(data, where)


def _binary(data: bytes, where: str) -> Iterator[_Block]:
    """DER elements in a row; what follows the last one (a line end, noise) is left."""
    if data[:2] == _INDEFINITE:
        yield _Block("BER", data, where)
        return
    offset, number = 0, 0
    while data[offset : offset + 1] == b"\x30":
        number += 1
        if number > MAX_CERTIFICATES:
            raise _too_many()
        place = where if number == 1 else f"element {number} of {where}"
        try:
            raw = der.element(data, offset).raw
        except ValueError:
            yield _Block("DER", data[offset:], f"{place} (cut short)")
            return
        yield _Block("DER", raw, place)
        offset += len(raw)


def _certificates(block: _Block) -> list[x509.Certificate]:
    if block.label in _REQUEST_LABELS:
        return []
    if block.label in _PKCS7_LABELS or block.label == "BER" or _is_pkcs7(block.data):
        return _pkcs7(block)
    if block.label in _CERTIFICATE_LABELS or block.label == "DER":
        return [_certificate(block)]
    return []  # some other PEM object, as harmless as a mail's signature


def _certificate(block: _Block) -> x509.Certificate:
    data = block.data
    try:
        # A TRUSTED CERTIFICATE carries OpenSSL's own data after the certificate.
        certificate = x509.load_der_x509_certificate(
            der.element(data).raw if block.label == "TRUSTED CERTIFICATE" else data
        )
        _touch(certificate)
    except DECODE_ERRORS as exc:
        raise _unreadable(
            f"{block.where} is no intact certificate ({names.printable(str(exc)) or 'no data'})",
            "a certificate exactly as the portal shows it, from BEGIN to END",
        ) from None
    return certificate


def _touch(certificate: x509.Certificate) -> None:
    """Decode the parts that judges read: the library does so only when they are asked for."""
    names.parse(certificate.subject)
    names.parse(certificate.issuer)
    _ = (certificate.version, certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    _ = certificate.extensions


def _pkcs7(block: _Block) -> list[x509.Certificate]:
    try:
        found = pkcs7.load_der_pkcs7_certificates(block.data)
        for certificate in found:
            _touch(certificate)
    except DECODE_ERRORS as exc:
        raise _unreadable(
            f"{block.where} is no readable PKCS #7 ({names.printable(str(exc)) or 'no data'})",
            "a PKCS #7 file with certificates, or the certificates as PEM",
        ) from None
    return found


def _is_pkcs7(data: bytes) -> bool:
    try:
        first = next(der.elements(der.element(data).content), None)
        return (
            first is not None
            and first.tag == der.OID
            and der.dotted(first.content) == (_SIGNED_DATA)
        )
    except ValueError:
        return False


def _is_private_key(data: bytes) -> bool:
    """Whether DER has the shape of a private key, judged without decoding the key.

    PKCS #1, SEC 1, PKCS #8 plain and encrypted, and PKCS #12, which carries one as a rule.
    Works on the leading elements, so a key with a damaged tail is recognised too.
    """
    kinds = _leading(data)
    if not kinds or kinds[0].tag not in (der.INTEGER, der.SEQUENCE):
        return False
    tags = tuple(element.tag for element in kinds)
    if tags[0] == der.SEQUENCE:
        return tags == (der.SEQUENCE, der.OCTET_STRING) and _starts_with_oid(kinds[0])
    version = int.from_bytes(kinds[0].content, "big")
    if tags[1:2] == (der.INTEGER,):
        return version in (0, 1)  # PKCS #1; a public key begins with its modulus
    if tags[1:2] == (der.OCTET_STRING,):
        return version == 1  # SEC 1
    if tags[1:3] == (der.SEQUENCE, der.OCTET_STRING):
        return version in (0, 1) and _starts_with_oid(kinds[1])  # PKCS #8
    if tags[1:2] == (der.SEQUENCE,) and version == 3:
        return _starts_with_oid(kinds[1])  # PKCS #12
    return False


def _leading(data: bytes) -> list[der.Element]:
    """The first elements of the outermost sequence (at most four), the last maybe cut short."""
    if data[:1] != b"\x30" or len(data) < 2:
        return []
    header = 2 + (data[1] & 0x7F if data[1] & 0x80 else 0)
    found: list[der.Element] = []
    offset = header
    while len(found) < 4 and offset < len(data):
        try:
            element = der.element(data, offset)
        except ValueError:
            found.append(der.Element(data[offset], data[offset + 2 :], data[offset:]))
            break
        found.append(element)
        offset += len(element.raw)
    return found


def _starts_with_oid(sequence: der.Element) -> bool:
    return sequence.content[:1] == bytes([der.OID])


def _private_key(where: str) -> PkiError:
    return PkiError(
        "the reply contains a private key: treat this as an incident",
        rule=RULE_PRIVATE_KEY,
        found=f"a private key in {where}; it is not shown, copied or kept",
        expected="certificates only",
        where=where,
        next_step="delete the file and its copies (mail, git history), find out whose key it "
        "is, and have the certificates of that key revoked",
    )


def _unreadable(found: str, expected: str) -> PkiError:
    return PkiError(
        "the reply cannot be read",
        rule=RULE_UNREADABLE,
        found=found,
        expected=expected,
        next_step="copy the certificate from the portal again, with its BEGIN and END lines; "
        "nothing was changed",
    )


def _too_many() -> PkiError:
    return _unreadable(f"more than {MAX_CERTIFICATES} certificates", "a certificate and its chain")


def _nothing_found(blocks: Sequence[_Block]) -> PkiError:
    labels = sorted({block.label for block in blocks})
    if not blocks:
        found = "no certificate: neither PEM with BEGIN and END lines nor DER"
    elif _REQUEST_LABELS.issuperset(labels):
        found = "a certificate request, not a certificate"
    else:
        found = f"no certificate, only {names.printable(', '.join(labels))}"
    return PkiError(
        "the reply holds no certificate",
        rule=RULE_UNREADABLE,
        found=found,
        expected="the certificate issued for request.csr, as PEM, DER or PKCS #7",
        next_step="save what the portal shows for this request as reply.cer; nothing was changed",
    )
