# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates out of whatever a portal, a CA or a mail program hands over.

PEM and bare base64 in any text (:mod:`.reply_text`), whole mails (:mod:`.mail`), DER, several
in a row, PKCS #7 (:mod:`.signed_data`), and base64 of any of these. Reading is generous about
what surrounds a certificate and strict about the certificate: a damaged block is named.

Private keys (:mod:`.key_material`) are looked for first, in every file and form, before
anything is judged readable, and are never echoed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509

from . import der, key_material, mail, names, reply_text, signed_data
from .certs import DECODE_ERRORS, to_der
from .errors import PkiError

RULE_UNREADABLE = "DIP-12.2-16-CER"
RULE_PRIVATE_KEY = "REPLY-PRIVATE-KEY"
MAX_BYTES = 4 * 1024 * 1024  # of all files together; a chain of eight is about 20 kB
MAX_CERTIFICATES = 512
#: Of one certificate: the other end of a connection takes 100 kB for a whole chain (OpenSSL).
MAX_CERTIFICATE_BYTES = 64 * 1024
MAX_FILES = 64
_MAX_DEPTH = 4  # encodings inside each other: base64 of a PEM in a mail in a mail
_REST = 64  # octets behind DER that are more than a line end

_CERTIFICATE_LABELS = frozenset({"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"})
_PKCS7_LABELS = frozenset({"PKCS7", "PKCS #7 SIGNED DATA", "CMS"})
_REQUEST_LABELS = frozenset({"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"})
_INDEFINITE = b"\x30\x80"
_BLANK = b" \t\r\n\xef\xbb\xbf"  # and a byte-order mark

#: What people send instead, by its first octets, and what to do about it.
_OTHER_FILES = (
    (b"PK\x03\x04", "a ZIP archive or an Office document: unpack it and send what is inside"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"7z\xbc\xaf", "a 7-Zip archive: unpack it"),
    (b"Rar!", "a RAR archive: unpack it"),
    (b"%PDF", "a PDF document: copy the certificate's text out of it"),
    (b"\xd0\xcf\x11\xe0", "an old Office document or an Outlook message: save it as text"),
    (b"{\\rtf", "a rich text document: save it as plain text"),
    (b"\x89PNG", "a picture: text is needed, not a screenshot"),
    (b"\xff\xd8\xff", "a picture: text is needed, not a screenshot"),
    (b"GIF8", "a picture: text is needed, not a screenshot"),
    (b'x\x9f>"', "an Outlook attachment (winmail.dat): have it sent as a plain file"),
    (b"<!DOCTYPE", "a web page without a certificate: perhaps the portal's login"),
    (b"<html", "a web page without a certificate: perhaps the portal's login"),
)


@dataclass(frozen=True, slots=True)
class _Block:
    """One piece of a file: its kind, its bytes, and where it is, in words."""

    label: str
    data: bytes
    where: str
    ended: bool = True


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
        # Before anything is judged readable: a key must be reported even beside a broken file.
        blocks += _pieces(data, where, 0)
    if sum(block.label == "DER" for block in blocks) > MAX_CERTIFICATES:
        raise _too_many()
    found: dict[bytes, x509.Certificate] = {}
    for block in blocks:
        for certificate in _certificates(block):
            found.setdefault(to_der(certificate), certificate)
            if len(found) > MAX_CERTIFICATES:
                raise _too_many()
    if not found:
        raise _nothing_found(files, blocks)
    return tuple(found.values())


def _check_size(files: Sequence[bytes]) -> None:
    total = sum(len(data) for data in files)
    if total <= MAX_BYTES and len(files) <= MAX_FILES:
        return
    for number, data in enumerate(files, start=1):
        if key_material.in_text(data[:MAX_BYTES].decode("latin-1")):
            raise _private_key(f"file {number}")
    raise _unreadable(
        f"{len(files)} files of {total} bytes", f"{MAX_FILES} files of {MAX_BYTES} bytes at most"
    )


# --- taking files apart: raises for nothing but a private key ------------------------------


def _pieces(data: bytes, where: str, depth: int) -> Iterator[_Block]:
    text = reply_text.of(data)
    # The raw text, too: keys in XML are told by their tags.
    texts = (data.decode("latin-1"), text)
    if key_material.in_binary(data) or any(map(key_material.in_text, texts)):
        raise _private_key(where)
    if depth > _MAX_DEPTH:
        return
    trimmed = data.lstrip(_BLANK)
    if _is_binary(trimmed, text):
        yield from _binary(trimmed, where, depth)
    else:
        yield from _of_mail(data, where, depth) or _textual(text, where, depth)


def _is_binary(data: bytes, text: str) -> bool:
    """Whether bytes are DER or BER: a text may begin with a nought, too."""
    if data[:1] != b"\x30":
        return False
    try:
        der.element(data)
    except ValueError:
        if data[:2] != _INDEFINITE and reply_text.has_blocks(text):
            return False
    return data[1:2] >= b"\x80" or not data.isascii() or b"\0" in data


def _of_mail(data: bytes, where: str, depth: int) -> list[_Block]:
    found: list[_Block] = []
    repeated: list[_Block] = []
    for part in mail.parts(data):
        pieces = _pieces(part.data, f"{part.where}{where}", depth + 1)
        (repeated if part.alternative else found).extend(pieces)
    return found or repeated


def _textual(text: str, where: str, depth: int) -> Iterator[_Block]:
    number = 0
    for number, block in enumerate(reply_text.blocks(text), start=1):
        place = f"block {number} of {where}"
        if key_material.in_binary(block.content):
            raise _private_key(place)
        yield _Block(block.label, block.content, place, block.ended)
    if number == 0:
        for data in reply_text.bare(text):
            yield from _pieces(data, where, depth + 1)


def _binary(data: bytes, where: str, depth: int) -> Iterator[_Block]:
    """DER elements in a row; what follows the last one (a line end, noise) is left."""
    if data[:2] == _INDEFINITE:
        yield _Block("BER", data, where)
        return
    offset, number = 0, 0
    while data[offset : offset + 1] == b"\x30":
        number += 1
        place = where if number == 1 else f"element {number} of {where}"
        try:
            raw = der.element(data, offset).raw
        except ValueError:
            yield _Block("DER", data[offset:], f"{place} (cut short)")
            return
        yield _Block("DER", raw, place)
        if number > MAX_CERTIFICATES:
            return
        offset += len(raw)
    rest = data[offset:].strip()
    if len(rest) >= _REST:
        yield from _pieces(rest, f"the text behind {where}", depth + 1)


# --- certificates out of the pieces --------------------------------------------------------


def _certificates(block: _Block) -> Iterator[x509.Certificate]:
    if block.label in _PKCS7_LABELS or block.label == "BER" or signed_data.is_one(block.data):
        yield from _pkcs7(block)
    elif block.label in _CERTIFICATE_LABELS or (
        block.label == "DER" and not _is_request(block.data)
    ):
        yield _certificate(block)
    # Some other PEM object is as harmless as a mail's signature.


def _certificate(block: _Block) -> x509.Certificate:
    data = block.data
    try:
        # A TRUSTED CERTIFICATE carries OpenSSL's own data after the certificate.
        return _loaded(der.element(data).raw if block.label == "TRUSTED CERTIFICATE" else data)
    except DECODE_ERRORS as exc:
        why = names.printable(str(exc)) if data else "no data"
        ending = "" if block.ended else "; its END line is missing"
        raise _unreadable(
            f"{block.where} is no intact certificate ({why}){ending}",
            "a certificate exactly as the portal shows it, from BEGIN to END",
        ) from None


def _loaded(data: bytes) -> x509.Certificate:
    """A certificate with the parts decoded that judges read.

    The library decodes them only when they are asked for.
    """
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise der.Malformed(f"{len(data)} bytes, where {MAX_CERTIFICATE_BYTES} are the limit")
    certificate = x509.load_der_x509_certificate(data)
    names.parse(certificate.subject)
    names.parse(certificate.issuer)
    _ = (certificate.version, certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    _ = certificate.extensions
    return certificate


def _pkcs7(block: _Block) -> Iterator[x509.Certificate]:
    try:
        for data in signed_data.certificates(block.data):
            yield _loaded(data)
    except DECODE_ERRORS as exc:
        why = names.printable(str(exc)) if block.data else "no data"
        raise _unreadable(
            f"{block.where} is no readable PKCS #7 ({why})",
            "a PKCS #7 file with certificates, or the certificates as PEM",
        ) from None


def _is_request(data: bytes) -> bool:
    try:
        x509.load_der_x509_csr(data)
    except DECODE_ERRORS:
        return False
    return True


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


def _nothing_found(files: Sequence[bytes], blocks: Sequence[_Block]) -> PkiError:
    labels = sorted({block.label for block in blocks})
    if not blocks:
        found = _other_file(files) or "no certificate: neither PEM with BEGIN and END lines nor DER"
    elif _REQUEST_LABELS.issuperset(labels) or labels == ["DER"]:
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


def _other_file(files: Sequence[bytes]) -> str:
    """What the first file that can be told is, in words; or empty."""
    beginnings = [data.lstrip(_BLANK)[:16] for data in files]
    return next(
        (
            f"no certificate, but {words}"
            for beginning in beginnings
            for magic, words in _OTHER_FILES
            if beginning.lower().startswith(magic.lower())
        ),
        "",
    )
