# SPDX-License-Identifier: GPL-3.0-or-later
"""A megabyte of anything is read or refused in a short time: no pattern, no parser runs away."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest
from adversarial.reply_mutations import LEAF
from pki import reading
from pki.errors import PkiError
from unit import hostile_x509 as hostile
from unit.hostile_x509 import indefinite, signed_data, tlv

MEGABYTE = 1_000_000
HEAD = b"Content-Type: multipart/mixed; boundary=a\n\n"


def filled(unit: bytes, start: bytes = b"", end: bytes = b"") -> Callable[[], bytes]:
    return lambda: start + unit * ((MEGABYTE - len(start) - len(end)) // len(unit)) + end


def nested(levels: int) -> bytes:
    return b"".join(
        b"Content-Type: multipart/mixed; boundary=a%d\n\n--a%d\n" % (level, level)
        for level in range(levels)
    )


COSTLY: dict[str, Callable[[], bytes]] = {
    **{
        f"{unit[:20]!r} again and again": filled(unit)
        for unit in (
            b" ", b"\t\n", b"A", b"MIIA", b"=", b"=\n", b"=3D", b"A=", b"-", b"- ", b"-----BEGIN ",
            b"-----BEGIN A-----", b"-----BEGIN CERTIFICATE-----", b"-----END A-----", b"BEGIN ",
            b"BEGIN A A A A ", b"BEGIN " + b" " * 8, b"--  BEGIN  A  ", b">", b"> ", b"a>", b"|",
            b"<", b"<a ", b"<a" + b" " * 40, b"</a", b"<a>", b"<![CDATA[", b"&", b"&#", b"&amp;",
            b"&#38;#38;", b"&#1114112;", b"\\", b"\\n", b"\\u000a", b"\\\\", b"%", b"%41", b"%25",
            b'"', b'"MII', b",", b"A:", b"a:\n", b"Content-Type: a\n", b"Content-Type: a;\n ",
            b"\x30\x80", b"\x30\x00", b"\x30\x03\x02\x01\x00", b"\x30\x82\x02\x01\x01", b"\x30",
            b"\x30\x82\xff\xff\x02\x01\x00", b"\x02\x01\x00", b"\xa0\x80", b"\x24\x80", b"\0",
            b"\x30\x10\x30\x09\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05", b"\xff\xfe", b"\xe2\x80",
            "—".encode(), "\u200b".encode(), b'"kty":', b"<RSAKeyValue>", b"LS0t", b"VFVsSl",
            b"openssh-key-v1", b"PRIVATE KEY ", b"BEGIN PRIVATE ", b"00 ", b"ab:",
        )
    },
    **{
        f"one {end!r} behind a megabyte of {unit!r}": filled(unit, end=end)
        for unit in (b" ", b"A", b"\n", b"=", b"-", b"a ", b"MI", b"0")
        for end in (b"!", b"-----END A-----")
    },
    "a BEGIN line and a megabyte": filled(b"A", b"-----BEGIN CERTIFICATE-----\n"),
    "a BEGIN line and blanks": filled(b" \t", b"-----BEGIN CERTIFICATE-----\n"),
    "a BEGIN line and headers": filled(b"A: b\n", b"-----BEGIN CERTIFICATE-----\n"),
    "a BEGIN line and quotes": filled(b'"  +\n', b"-----BEGIN CERTIFICATE-----\n"),
    "a tag of hyphens": filled(b"- ", b"<a "),
    "a mail of empty parts": filled(b"--a\n\n", HEAD),
    "a mail of boundaries": filled(b"--a--\n", HEAD),
    "a mail in a mail in a mail": lambda: nested(MEGABYTE // 50),
    "a mail of sixteen levels": lambda: nested(16) + b"--x\n" * 4000 + b"x\n" * (MEGABYTE // 3),
    "a delivery report": filled(b"\n", HEAD + b"--a\nContent-Type: message/delivery-status\n\n"),
    "a delivery report of a Mac": filled(
        b"\r", (HEAD + b"--a\nContent-Type: message/delivery-status\n\n").replace(b"\n", b"\r")
    ),
    "a header without end": filled(b";", b"Content-Type: text/plain"),
    "a header of quotes": filled(b'; a*0="', b"Content-Type: text/plain"),
    "a folded header": filled(b"\n ;", b"Content-Type: text/plain"),
    "a base64 part of padding": filled(
        b"A=", b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n"
    ),
    "a uuencoded part": filled(
        b"MAAAA\n", b"Content-Transfer-Encoding: x-uuencode\n\nbegin 666 a\n"
    ),
    "PKCS #7 nested in itself": lambda: onion(tlv, 4000),
    "PKCS #7 nested in itself, indefinite": lambda: onion(indefinite, 4000),
    "PKCS #7 with a string in pieces of pieces": lambda: (
        signed_data(LEAF, crls=indefinite(0xA1, b"\x24\x80" * 900 + b"\0\0" * 900))
    ),
    "PKCS #7 with a million parts": filled(b"\x30\x00", signed_data(wrap=indefinite)[:40]),
    "an object identifier without end": lambda: tlv(0x30, tlv(6, b"\x81" * MEGABYTE + b"\x01")),
    "base64 of base64 of base64": lambda: wrapped_up(30),
}  # fmt: skip


def onion(wrap: Any, levels: int) -> bytes:
    inner = LEAF
    for _ in range(levels):
        inner = wrap(0x30, hostile.oid("1.2.840.113549.1.7.2"), wrap(0xA0, inner))
        if len(inner) > MEGABYTE:
            break
    return inner


def wrapped_up(levels: int) -> bytes:
    data = LEAF
    for _ in range(levels):
        if len(data) > MEGABYTE * 3 // 4:
            break
        data = base64.b64encode(data)
    return data


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", COSTLY)
def test_a_megabyte_costs_little_and_raises_nothing_but_our_own_error(what: str) -> None:
    data = COSTLY[what]()
    assert len(data) <= MEGABYTE * 4 // 3
    before = time.process_time()
    with contextlib.suppress(PkiError):
        reading.read([data])
    assert time.process_time() - before < 3
