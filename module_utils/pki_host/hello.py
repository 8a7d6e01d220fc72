# SPDX-License-Identifier: GPL-3.0-or-later
"""The first message of TLS, by hand: what a server accepts, asked without a TLS library.

A library refuses old versions and weak suites itself (distributions set floors for it), so a
failed attempt with one proves nothing about the server. Bytes on a socket do not have opinions: a
ServerHello is an acceptance, an alert or a closed connection is a refusal. No handshake is ever
finished here, so nothing is decrypted and no certificate is needed.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SECONDS = 5.0
ALERT, HANDSHAKE = 21, 22
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
_LARGEST = 1 << 16
#: Every version there is, by the name that TLS libraries give it, oldest first.
VERSIONS = {
    version.name.replace("_", "."): int(version)
    for version in (
        ssl.TLSVersion.SSLv3,
        ssl.TLSVersion.TLSv1,
        ssl.TLSVersion.TLSv1_1,
        ssl.TLSVersion.TLSv1_2,
        ssl.TLSVersion.TLSv1_3,
    )
}
NEWEST = int(ssl.TLSVersion.TLSv1_3)
# Signalling values in the first block are not suites.
_SIGNALS = (0x00FF, 0x5600)
# Where suites have been registered; gaps cost two bytes each and do no harm.
CLASSIC = tuple(
    number
    for block in ((0x0001, 0x00C7), (0xC001, 0xC0B5), (0xCC13, 0xCC15), (0xCCA8, 0xCCAF))
    for number in range(block[0], block[1] + 1)
    if number not in _SIGNALS
)
MODERN = tuple(range(0x1301, 0x1308))
_GROUPS = (0x001D, 0x0017, 0x0018, 0x0019, 0x001E, 0x0100, 0x0101)
_SIGNATURES = (
    0x0804, 0x0805, 0x0806, 0x0809, 0x080A, 0x080B, 0x0401, 0x0501, 0x0601, 0x0403, 0x0503,
    0x0603, 0x0807, 0x0808, 0x0201, 0x0203,
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What came back for one offer.

    ``outcome`` is accepted, refused or silent; ``suite`` is the number that was chosen (-1 for
    none), ``alert`` the number of the alert (-1 for none).
    """

    outcome: str
    suite: int = -1
    alert: int = -1


def offer(
    address: str,
    port: int,
    name: str,
    version: int,
    suites: Sequence[int],
    seconds: float = SECONDS,
) -> Answer:
    """Offer one version and some suites; OSError when there is no connection at all."""
    with socket.create_connection((address, port), timeout=seconds) as plain:
        plain.settimeout(seconds)
        try:
            plain.sendall(_record(client_hello(name, version, suites)))
            return answer_of(_records(plain), version)
        except socket.timeout:
            return Answer("silent")
        except OSError:  # reset: the server wants nothing of this
            return Answer("refused")


def suites_of(address: str, port: int, name: str, version: int) -> list[int]:
    """Every suite that a server takes in this version, in the order of its choice."""
    left = list(MODERN if version == NEWEST else CLASSIC)
    found: list[int] = []
    while left:
        answer = offer(address, port, name, version, left)
        if answer.outcome != "accepted" or answer.suite not in left:
            break
        found.append(answer.suite)
        left.remove(answer.suite)
    return found


def suite_names(numbers: Iterable[int]) -> list[str]:
    """OpenSSL's names of suites; the number in hexadecimal where it has none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    known = {int(cipher["id"]) & 0xFFFF: str(cipher["name"]) for cipher in context.get_ciphers()}
    return [known.get(number, f"0x{number:04X}") for number in numbers]


def client_hello(name: str, version: int, suites: Sequence[int]) -> bytes:
    """A ClientHello that offers exactly this version and these suites."""
    body = struct.pack(">H", min(version, NEWEST - 1)) + os.urandom(32)
    body += _short(os.urandom(32))  # servers in front of old middle boxes like one
    body += _long(b"".join(struct.pack(">H", suite) for suite in suites))
    body += b"\x01\x00"  # no compression
    if version > int(ssl.TLSVersion.SSLv3):
        body += _long(b"".join(_extensions(name, version)))
    return bytes((_CLIENT_HELLO,)) + struct.pack(">I", len(body))[1:] + body


def _extensions(name: str, version: int) -> list[bytes]:
    groups = b"".join(struct.pack(">H", group) for group in _GROUPS)
    signatures = b"".join(struct.pack(">H", number) for number in _SIGNATURES)
    found = [
        _extension(10, _long(groups)),
        _extension(11, b"\x01\x00"),
        _extension(13, _long(signatures)),
        _extension(0xFF01, b"\x00"),
    ]
    if name:
        found.append(_extension(0, _long(b"\x00" + _long(name.encode("ascii", "ignore")))))
    if version == NEWEST:
        # An empty key share asks for a HelloRetryRequest, which names version and suite.
        found += [_extension(43, _short(struct.pack(">H", version))), _extension(51, _long(b""))]
    return found


def _extension(number: int, content: bytes) -> bytes:
    return struct.pack(">H", number) + _long(content)


def _short(content: bytes) -> bytes:
    return bytes((len(content),)) + content


def _long(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content


def _record(message: bytes) -> bytes:
    return bytes((HANDSHAKE,)) + b"\x03\x01" + _long(message)


def _records(plain: socket.socket) -> bytes:
    """What the server says, up to the end of its first record."""
    received = b""
    while len(received) < _LARGEST:
        if len(received) >= 5 and len(received) >= 5 + struct.unpack(">H", received[3:5])[0]:
            break
        part = plain.recv(_LARGEST)
        if not part:
            break
        received += part
    return received


def answer_of(received: bytes, version: int) -> Answer:
    """Read the first record of a server's answer to an offer of ``version``."""
    try:
        if received[0] == ALERT and len(received) >= 7:
            return Answer("refused", alert=received[6])
        if received[0] == HANDSHAKE and received[5] == _SERVER_HELLO:
            chosen, suite = _server_hello(received[9:])
            return Answer("accepted" if chosen == version else "refused", suite=suite)
    except (IndexError, struct.error):
        pass
    # Closed, or something that is no TLS: in no case was the offer accepted.
    return Answer("refused")


def _server_hello(body: bytes) -> tuple[int, int]:
    """Version and suite of a ServerHello (a HelloRetryRequest is one, too)."""
    (chosen,) = struct.unpack(">H", body[:2])
    position = 34 + 1 + body[34]
    (suite,) = struct.unpack(">H", body[position : position + 2])
    position += 5  # suite, compression, length of the extensions
    while position + 4 <= len(body):
        number, length = struct.unpack(">HH", body[position : position + 4])
        if number == 43:
            (chosen,) = struct.unpack(">H", body[position + 4 : position + 6])
        position += 4 + length
    return chosen, suite
