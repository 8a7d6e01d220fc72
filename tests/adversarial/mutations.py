# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of bytes, of text and of signed objects; all decided by the random source given."""

from __future__ import annotations

import base64
import html
import quopri
import random
import textwrap
from collections.abc import Sequence

from adversarial import der_tree
from adversarial.der_tree import Node
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

SHA256_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")


def change_bytes(rng: random.Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    """Between one and five changes that know nothing of what the bytes mean."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(changed) or 1)
        match rng.randrange(8):
            case 0 | 1 if changed:
                changed[at] ^= 1 << rng.randrange(8)
            case 2 if changed:
                changed[at] = rng.randrange(256)
            case 3:
                del changed[at : at + rng.choice((1, 2, 40, 4000))]
            case 4:
                changed[at:at] = rng.randbytes(rng.choice((1, 2, 20)))
            case 5:
                changed[at:at] = changed[at : at + rng.choice((10, 200, 5000))]
            case 6:
                donor = rng.choice(donors)
                start = rng.randrange(len(donor) or 1)
                changed[at : at + rng.choice((0, 50))] = donor[start : start + 500]
            case _:
                del changed[at:]
    return bytes(changed)


def change_tree(rng: random.Random, data: bytes, donors: Sequence[bytes]) -> bytes:
    """One to three changes of the DER in ``data``, encoded again; what is no DER stays."""
    try:
        root = der_tree.parse(data)
        donor = der_tree.parse(rng.choice(donors))
    except ValueError:
        return change_bytes(rng, data, donors)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        nodes = [node for _, node in zip(range(der_tree.MAX_NODES), donor.walk(), strict=False)]
        der_tree.change_one(rng, root, nodes)
    return root.encode()


def change_signed(
    rng: random.Random, data: bytes, donors: Sequence[bytes], key: rsa.RSAPrivateKey
) -> bytes:
    """A certificate, CRL or request with a change in its signed part, signed again by ``key``."""
    root = der_tree.parse(data)
    assert root.children
    try:
        nodes = list(der_tree.parse(rng.choice(donors)).walk())[: der_tree.MAX_NODES]
    except ValueError:
        nodes = [Node(0x05)]
    for _ in range(rng.choice((1, 1, 1, 2))):
        der_tree.change_one(rng, root.children[0], nodes)
    return signed(root.children[0].encode(), key)


def signed(content: bytes, key: rsa.RSAPrivateKey) -> bytes:
    """``content`` signed with SHA-256 and PKCS #1 v1.5, in the shape of all signed objects."""
    signature = key.sign(content, padding.PKCS1v15(), hashes.SHA256())
    parts = content + SHA256_RSA + Node(0x03, b"\0" + signature).encode()
    return Node(0x30, parts).encode()


def change_text(rng: random.Random, data: bytes) -> bytes:
    """PEM through the hands of one or two programs that mean well."""
    text = data.decode("latin-1")
    for _ in range(rng.choice((1, 1, 2))):
        text = _through(rng, text)
    if rng.random() < 0.1:
        return text.encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig")))
    return text.encode("utf-8", "replace")


def _through(rng: random.Random, text: str) -> str:
    match rng.randrange(14):
        case 0:
            return text.replace("\n", rng.choice(("\r\n", "\r", "\n\n", " ", "", "\\n", "\t\n")))
        case 1:
            return textwrap.indent(text, rng.choice(("> ", ">>", "| ", "    ", "# ", "+")))
        case 2:
            return html.escape(text).replace("\n", "<br>\n")
        case 3:
            return quopri.encodestring(text.encode("utf-8", "replace")).decode("latin-1")
        case 4:
            return base64.encodebytes(text.encode("utf-8", "replace")).decode()
        case 5:
            return text.replace("-----", rng.choice(("—", "–", "---", "----", "- - -", "")))
        case 6:
            lines = text.split("\n")
            del lines[rng.randrange(len(lines))]
            return "\n".join(lines)
        case 7:
            lines = text.split("\n")
            rng.shuffle(lines)
            return "\n".join(lines)
        case 8:
            return text.replace(
                "CERTIFICATE", rng.choice(("X509 CERTIFICATE", "PKCS7", "CMS", "A"))
            )
        case 9:
            return f"Content-Type: multipart/mixed; boundary=a\n\n--a\n\n{text}\n--a--\n"
        case 10:
            coded = base64.encodebytes(text.encode("utf-8", "replace")).decode()
            return f"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n{coded}"
        case 11:
            return text + text[: rng.randrange(len(text) + 1)]
        case 12:
            return "".join(c for c in text if rng.random() > 0.001)
        case _:
            return text.replace("\n", "\n" + rng.choice(("A: b\n", "\0", "\u200b", "=\n", "%0A")))
