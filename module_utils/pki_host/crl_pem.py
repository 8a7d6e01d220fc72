# SPDX-License-Identifier: GPL-3.0-or-later
"""CRL files from one form to the other, a piece at a time.

A distribution point serves DER (RFC 5280, 4.2.1.13), but some serve PEM, and gateways load PEM.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator
from typing import BinaryIO

from . import crl_der, files
from .crl_tlv import File, Malformed

_BEGIN, _END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"
_COLUMNS = 64
_BLANK = b" \t\r\n"
_PIECE = 256 * 1024
_DER_PIECE = 48 * 1024 * 4  # a whole number of lines
_LONGEST_PREAMBLE = 64 * 1024
_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
# A CRL is never so short that its length fits into one octet.
_DER_START = re.compile(rb"\x30[\x81-\x84]")
_NO_BASE64 = "a PEM block that holds something else than Base64"
_NOT_A_CRL = "neither DER nor a PEM block of a CRL"


def to_der(source: str, destination: str, largest: int) -> None:
    """Make ``destination`` of the one CRL in ``source``, DER or PEM; ``largest`` octets at most.

    A byte order mark, carriage returns and text around a PEM block do not matter. Whether DER is
    a CRL is not looked at here.

    Raises:
        HostError: CRL-UNREADABLE for everything else; FILE-REFUSED where ``destination`` exists
            or cannot be written. Nothing is left behind.
    """
    made = False
    try:
        with crl_der.opened(source) as opened:

            def fill(descriptor: int) -> None:
                nonlocal made
                made = True
                _copy(_der_of(opened), descriptor, largest)

            files.write_new(destination, fill, files.PUBLIC)
    except BaseException:
        if made:
            files.remove(destination)
        raise


def append_pem(der: str, out: BinaryIO) -> None:
    """Write the DER file as one PEM block with lines of 64 columns, as gateways load it."""
    with crl_der.opened(der) as source:
        out.write(_BEGIN + b"\n")
        for at in range(0, source.size, _DER_PIECE):
            text = base64.b64encode(source.piece(at, min(at + _DER_PIECE, source.size)))
            lines = [text[place : place + _COLUMNS] for place in range(0, len(text), _COLUMNS)]
            out.write(b"\n".join([*lines, b""]))
        out.write(_END + b"\n")


def _copy(parts: Iterator[bytes], descriptor: int, largest: int) -> None:
    left = largest
    for part in parts:
        left -= len(part)
        if left < 0:
            raise Malformed(f"more than {largest} octets")
        while part:
            part = part[os.write(descriptor, part) :]


def _der_of(source: File) -> Iterator[bytes]:
    head = source.piece(0, _LONGEST_PREAMBLE)
    if _DER_START.match(head):
        yield from crl_der.pieces(source, 0, source.size)
        return
    begin = head.find(_BEGIN)
    if begin < 0:
        raise Malformed(_NOT_A_CRL)
    at, rest = begin + len(_BEGIN), b""
    while True:
        part = source.piece(at, at + _PIECE)
        text = rest + part
        end = text.find(_END)
        if end >= 0:
            yield _decoded(text[:end], last=True)
            _require_no_other(source, at + len(part) - len(text) + end + len(_END))
            return
        if not part:
            raise Malformed("a PEM block that does not end")
        at += len(part)
        # A whole number of groups; what may be the beginning of the last line stays, too.
        body, dash, tail = text.partition(b"-")
        if len(dash + tail) >= len(_END):
            raise Malformed(_NO_BASE64)
        body = body.translate(None, _BLANK)
        groups = len(body) // 4 * 4
        yield _decoded(body[:groups], last=False)
        rest = body[groups:] + dash + tail


def _decoded(text: bytes, *, last: bool) -> bytes:
    text = text.translate(None, _BLANK)
    padded = text.endswith(b"=")
    if len(text) % 4 or not _BASE64.fullmatch(text) or (padded and not last):
        raise Malformed(_NO_BASE64)
    return binascii.a2b_base64(text)


def _require_no_other(source: File, at: int) -> None:
    """Two in one file: nobody can say which of them is meant."""
    while at < source.size:
        part = source.piece(at, at + _PIECE)
        if _BEGIN in part:
            raise Malformed("more than one CRL")
        if len(part) < _PIECE:
            return
        at += len(part) - len(_BEGIN)
