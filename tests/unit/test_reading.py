# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates are found in whatever people send; private keys in whatever they are hidden in."""

from __future__ import annotations

import base64
import email.message
import email.policy
import html
import json
import quopri
import textwrap
import traceback
import urllib.parse
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)
from pki import key_material, reading
from pki.errors import PkiError
from unit import hostile_x509 as hostile
from unit import pki_factory as factory
from unit.hostile_x509 import indefinite, signed_data, tlv

ROOT = factory.authority("Reading Root")
LEAF = ROOT.leaf()
PEM = factory.pem(LEAF).decode()
BODY = "".join(PEM.splitlines()[1:-1])
ONE_LINE = f"-----BEGIN CERTIFICATE-----{BODY}-----END CERTIFICATE-----"
BOTH = PEM + ROOT.pem.decode()


def found(*files: bytes) -> list[bytes]:
    return [one.public_bytes(Encoding.DER) for one in reading.read(files)]


def refusal(*files: bytes) -> PkiError:
    with pytest.raises(PkiError) as caught:
        reading.read(files)
    return caught.value


# --- text ---------------------------------------------------------------------------------


def mail(**options: Any) -> email.message.EmailMessage:
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["From"] = "The portal <portal@dca.example>"
    message["Subject"] = "Your certificate"
    message.set_content(options.pop("text", "Please find it attached.\n"), **options)
    return message


def attached(data: bytes, name: str, kind: str = "application/pkix-cert") -> bytes:
    message = mail()
    main, sub = kind.split("/")
    message.add_attachment(data, maintype=main, subtype=sub, filename=name)
    return message.as_bytes()


def forwarded(inner: bytes) -> bytes:
    message = mail(text="see below")
    message.add_attachment(email.message_from_bytes(inner, policy=email.policy.SMTP))
    return message.as_bytes()


def both_ways(text: str) -> bytes:
    """A mail program's plain text, and the same in HTML of a quality of its own."""
    message = mail(text=text)
    shown = html.escape(text).replace("\n", "<br>\n").replace("CERTIFICATE", "<b>CERTI</b>FICATE")
    message.add_alternative(f"<html><body><p>{shown[:-300]}</p></body></html>", subtype="html")
    return message.as_bytes()


def in_html(text: str) -> bytes:
    message = mail(text="This mail is in HTML.\n")
    message.add_alternative(web_page(text).decode(), subtype="html")
    return message.as_bytes()


def web_page(text: str) -> bytes:
    lines = "<br>".join(html.escape(line).replace(" ", "&nbsp;") for line in text.splitlines())
    return f'<!DOCTYPE html><html><p class="a">Your certificate:</p>{lines}</html>'.encode()


def literal(text: str) -> bytes:
    lines = " +\n".join(f'    "{line}\\n"' for line in text.splitlines())
    return f"String PEM =\n{lines};\n".encode()


def armoured(data: bytes, label: str) -> bytes:
    lines = textwrap.fill(base64.b64encode(data).decode(), 64)
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()


QUOTED_HTML = html.escape("".join(f"> {line}\n" for line in BOTH.splitlines())).encode()
ESCAPED = json.dumps({"chain": BOTH}).replace("/", "\\/").replace("+", "\\u002b").encode()
FORMS: dict[str, bytes] = {
    "HTML with line breaks and entities": web_page(BOTH),
    "quoting as HTML entities": QUOTED_HTML,
    "numbered entities": BOTH.replace("+", "&#43;").replace("/", "&#x2F;").encode(),
    "HTML with tags inside the lines": BOTH.replace("CERTIF", "<b>CERT</b><wbr>IF").encode(),
    "quoted-printable, lines broken at 76": quopri.encodestring(
        (ONE_LINE + "\n" + ROOT.pem.decode()).encode()
    ),
    "quoted-printable with encoded dashes": BOTH.replace("-", "=2D").encode(),
    "percent encoding": urllib.parse.quote(BOTH).encode(),
    "UTF-16 without a mark": BOTH.encode("utf-16-le"),
    "UTF-16, big end first, without a mark": BOTH.encode("utf-16-be"),
    "UTF-16 with a mark": BOTH.encode("utf-16"),
    "UTF-32 with a mark": BOTH.encode("utf-32"),
    "two files with marks, joined": (f"\ufeff{PEM}\ufeff" + ROOT.pem.decode()).encode(),
    "tabs and trailing blanks": BOTH.replace("\n", "\t \n\t").encode(),
    "en dashes": BOTH.replace("-----", "–––").encode(),
    "em dashes": BOTH.replace("-----", "——-").encode(),
    "one em dash for all": BOTH.replace("-----", "—").encode(),
    "non-breaking hyphens": BOTH.replace("-", "\u2011").encode(),
    "a Windows code page's dashes": BOTH.replace("-----", "–—").encode("cp1252"),
    "four dashes": BOTH.replace("-----", "----").encode(),
    "no-break spaces": BOTH.replace(" ", "\u00a0").encode(),
    "characters nobody sees": BOTH.replace("\nMII", "\n\u200bMII").replace("A", "A\u00ad").encode(),
    "JSON of an API": ESCAPED,
    "JSON in JSON": json.dumps(json.dumps({"chain": BOTH})).encode(),
    "a CDATA section": BOTH.replace("-----B", "<c><![CDATA[-----B", 1).encode() + b"]]></c>",
    "the X509Certificate elements of XML": (
        f"<X509Data><X509Certificate>{BODY}</X509Certificate><ds:X509Certificate>"
        f"{base64.encodebytes(ROOT.der).decode()}</ds:X509Certificate></X509Data>"
    ).encode(),
    "JSON without markers": json.dumps(
        {"x5c": [BODY, base64.b64encode(ROOT.der).decode()]}, indent=1
    ).encode(),
    "the URL alphabet": json.dumps(
        [base64.urlsafe_b64encode(one).decode().rstrip("=") for one in (LEAF, ROOT.der)]
    ).encode(),
    "a data URI": (
        f"data:application/pkix-cert;base64,{BODY},\n{base64.b64encode(ROOT.der).decode()}"
    ).encode(),
    "bare base64 in a letter": (
        f"Dear Admin\n\n{textwrap.fill(BODY, 64)}\n\nand the CA above it:\n"
        f"{base64.encodebytes(ROOT.der).decode()}\nKind regards\nThe CA team\n"
    ).encode(),
    "base64 of PEM, as Kubernetes keeps it": b"tls.crt: " + base64.b64encode(BOTH.encode()),
    "base64 twice": base64.b64encode(base64.encodebytes(LEAF + ROOT.der)),
    "a program's string": literal(BOTH),
    "a text that begins with a nought": b"07/11/2026 Dear Admin,\n" + BOTH.encode(),
    "a stray sign around it": b"see the <ticket number\n" + BOTH.encode() + b"\n> thanks",
    "openssl's own text before it": b"Certificate:\n  Modulus:\n    00:b1:0c\n" + BOTH.encode(),
    "a dump in hexadecimal digits": (LEAF + ROOT.der).hex(":").encode(),
    "DER with an empty line before it": b"\r\n" + LEAF + ROOT.der,
    "PEM behind DER": LEAF + b"\n" + ROOT.pem,
    "a mail with an attached file": attached(LEAF + ROOT.der, "certificate.cer"),
    "a mail with attached PEM": attached(BOTH.encode(), "certificate.pem", "application/x-pem"),
    "a mail with attached PKCS #7": attached(
        signed_data(LEAF, ROOT.der), "chain.p7b", "application/x-pkcs7-certificates"
    ),
    "a mail in base64": mail(text=BOTH, cte="base64").as_bytes(),
    "a mail in quoted-printable": mail(text=BOTH, cte="quoted-printable").as_bytes(),
    "a forwarded mail": forwarded(attached(LEAF + ROOT.der, "certificate.cer")),
    "a mail whose HTML says the same, but badly": both_ways(BOTH),
    "a mail that only in HTML says more than hello": in_html(BOTH),
    "a mail as an old program saves it": attached(LEAF + ROOT.der, "c.cer").replace(b"\r\n", b"\n"),
    "PKCS #7 under the label of a certificate": armoured(
        signed_data(LEAF, ROOT.der), "CERTIFICATE"
    ),
    "PKCS #7 of indefinite length": signed_data(LEAF, ROOT.der, wrap=indefinite),
    "PKCS #7 of indefinite length, PEM": armoured(
        signed_data(LEAF, ROOT.der, wrap=indefinite), "PKCS7"
    ),
    "PKCS #7 with CRLs": signed_data(LEAF, ROOT.der, crls=tlv(0xA1, ROOT.crl())),
    "PKCS #7 with another kind of certificate": signed_data(tlv(0xA2, b"\x05\x00"), LEAF, ROOT.der),
    "a trusted certificate of OpenSSL": armoured(LEAF + tlv(0x30), "TRUSTED CERTIFICATE")
    + ROOT.pem,
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", FORMS)
def test_both_certificates_are_read_from(form: str) -> None:
    assert found(FORMS[form]) == [LEAF, ROOT.der]


def test_a_mail_of_several_parts_is_read_with_what_its_signature_brings_along() -> None:
    """The certificates of a signed mail are strangers like any other."""
    signature = signed_data(ROOT.der)
    message = mail(text=PEM)
    message.add_attachment(signature, maintype="application", subtype="pkcs7-signature")
    assert found(message.as_bytes()) == [LEAF, ROOT.der]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK\x03\x04" + bytes(100), "ZIP archive"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "Outlook message"),
        (b"{\\rtf1\\ansi", "rich text"),
        (b"\x89PNG\r\n", "screenshot"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b'x\x9f>"', "winmail.dat"),
        (b"<!doctype html><title>Sign in</title>", "login"),
        (b"Dear Admin, see the portal.", "neither PEM"),
        (x509.load_pem_x509_csr(factory.request()).public_bytes(Encoding.DER), "request"),
    ],
)
def test_what_is_no_certificate_is_named(data: bytes, said: str) -> None:
    error = refusal(data)
    assert (error.rule, said in error.found) == ("DIP-12.2-16-CER", True)


DAMAGED: dict[str, tuple[bytes, str]] = {
    "no END line": (PEM.rsplit("-----END", 1)[0].encode() + b"Kind regards\n", "END line"),
    "a character replaced": (PEM.replace("\nMII", "\n!II").encode(), "no data"),
    "a line lost": ("\n".join(PEM.split("\n")[:3] + PEM.split("\n")[4:]).encode(), "block 1"),
    "commented out": (PEM.replace("\n", "\n# ").encode(), "no data"),
    "PKCS #7 cut short": (signed_data(LEAF)[:-200], "cut short"),
    "PKCS #7 without its end": (signed_data(LEAF, wrap=indefinite)[:-8], "PKCS #7"),
    "PKCS #7 of nothing": (armoured(b"\x30\x00", "PKCS7"), "PKCS #7"),
    "PKCS #7 with rubbish for a certificate": (signed_data(tlv(0x30, b"\x05\x00")), "PKCS #7"),
    "PKCS #7 that only encrypts": (
        armoured(tlv(0x30, hostile.oid("1.2.840.113549.1.7.3"), tlv(0xA0, tlv(0x30))), "PKCS7"),
        "PKCS #7",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", DAMAGED)
def test_a_damaged_block_is_named_even_beside_a_good_one(fault: str) -> None:
    data, said = DAMAGED[fault]
    for files in ([data], [data, ROOT.pem]):
        error = refusal(*files)
        assert error.rule == "DIP-12.2-16-CER"
        assert said in error.found


# --- private keys -------------------------------------------------------------------------

RSA = factory.key("leaf")
CURVE = ec.generate_private_key(ec.SECP256R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()
PKCS8 = RSA.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
PKCS1 = RSA.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
SEC1 = CURVE.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
ENCRYPTED = RSA.private_bytes(
    Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"three random words")
)
P12 = pkcs12.serialize_key_and_certificates(
    b"x", RSA, x509.load_der_x509_certificate(LEAF), None, BestAvailableEncryption(b"pw")
)
PEM_KEY = armoured(PKCS8, "PRIVATE KEY")
OPENSSH = RSA.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
NUMBERS = RSA.private_numbers()
SECRETS = (PKCS8, PKCS1, SEC1, ENCRYPTED, P12, OPENSSH)


def number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8)).decode()


def in_an_extension(key: bytes) -> bytes:
    return hostile.certificate(ROOT, hostile.extension("1.3.6.1.4.1.99999.1", key))


JWK = json.dumps({"kty": "RSA", "n": number(NUMBERS.public_numbers.n), "d": number(NUMBERS.d)})
XML = (
    f"<RSAKeyValue><Modulus>{number(NUMBERS.public_numbers.n)}</Modulus>"
    f"<D>{base64.b64encode(NUMBERS.d.to_bytes(256)).decode()}</D></RSAKeyValue>"
)
TEXT = "RSA Private-Key: (2048 bit)\nprivateExponent:\n    " + NUMBERS.d.to_bytes(256).hex(":")
OLDER_SCHEME = hostile.oid("1.2.840.113549.1.12.1.3")  # three-key triple DES with SHA-1
OPENPGP = b"\x95\x03\xc6\x04\x65\x00\x00\x00\x01" + bytes(range(256))
KEYS: dict[str, bytes] = {
    "PKCS #8 DER": PKCS8,
    "PKCS #1 DER": PKCS1,
    "SEC 1 DER": SEC1,
    "an Edwards key": EDWARDS.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    "a DSA key": dsa.generate_private_key(1024).private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    ),
    "encrypted": ENCRYPTED,
    "encrypted, older scheme": tlv(0x30, tlv(0x30, OLDER_SCHEME, tlv(0x30)), tlv(4, PKCS8)),
    "PKCS #12": P12,
    "PKCS #12 in base64": base64.encodebytes(P12),
    "a Java keystore": b"\xfe\xed\xfe\xed\0\0\0\2\0\0\0\1" + PKCS8,
    "a Java keystore of the JCE": b"\xce\xce\xce\xce\0\0\0\2\0\0\0\1" + PKCS8,
    "Microsoft PVK": b"\x1e\xf1\xb5\xb0" + bytes(20) + PKCS1[20:],
    "a Microsoft key blob": b"\x07\x02\0\0\0\xa4\0\0RSA2" + bytes(8) + PKCS1[20:],
    "OpenSSH": OPENSSH,
    "OpenSSH without its marker": base64.b64decode(b"".join(OPENSSH.splitlines()[1:-1])),
    "SSH2": b"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nP2/56wAAA\n",
    "PuTTY": b"PuTTY-User-Key-File-3: ssh-rsa\n",
    "age": b"# created: 2026\nAGE-SECRET-KEY-1QQQQQQQQQQ\n",
    "OpenPGP": armoured(OPENPGP, "PGP PRIVATE KEY BLOCK"),
    "OpenPGP, binary": OPENPGP,
    "a JSON web key": JWK.encode(),
    "an XML key": XML.encode(),
    "openssl's own text": TEXT.encode(),
    "under the label of a certificate": armoured(PKCS8, "CERTIFICATE"),
    "under any label": armoured(PKCS1, "PARAMETERS"),
    "base64 without markers": base64.encodebytes(PKCS8),
    "base64 in one line of JSON": json.dumps({"key": base64.b64encode(PKCS8).decode()}).encode(),
    "base64 twice": base64.b64encode(base64.b64encode(PKCS8)),
    "base64 of PEM": b"tls.key: " + base64.b64encode(PEM_KEY),
    "base64 of PEM, twice": base64.b64encode(base64.b64encode(PEM_KEY)),
    "hexadecimal digits": PKCS8.hex().encode(),
    "behind a certificate": LEAF + PKCS8,
    "behind a certificate and noise": LEAF + b"\0\1\2\3" + PKCS1,
    "before a certificate, after noise": b"\0\1\2" + SEC1 + LEAF,
    "inside an extension": in_an_extension(PKCS8),
    "encrypted, inside an extension": in_an_extension(ENCRYPTED),
    "inside PKCS #7": signed_data(LEAF, PKCS8),
    "inside an unreadable PKCS #7": signed_data(LEAF, PKCS8)[:-3],
    "cut short": PKCS8[:300],
    "cut short, PKCS #1": PKCS1[:200],
    "cut short, PKCS #12": P12[:200],
    "the lines before END alone": b"\n".join(PEM_KEY.splitlines()[-6:]),
    "in HTML": web_page(PEM_KEY.decode()),
    "quoted in HTML": PEM_KEY.replace(b"\n", b"\n&gt; "),
    "quoted-printable": quopri.encodestring(PEM_KEY.replace(b"-", b"=2D")),
    "percent encoded": urllib.parse.quote(PEM_KEY.decode()).encode(),
    "typographic dashes": PEM_KEY.decode().replace("-----", "—").encode(),
    "no-break spaces": PEM_KEY.decode().replace(" ", "\u00a0").encode(),
    "a marker over two lines": PEM_KEY.replace(b"PRIVATE KEY", b"PRIVATE\n> KEY"),
    "small letters": PEM_KEY.replace(b"PRIVATE KEY", b"Private Key").replace(b"BEGIN", b"Begin"),
    "UTF-16 without a mark": PEM_KEY.decode().encode("utf-16-le"),
    "JSON": json.dumps({"key": PEM_KEY.decode()}).encode(),
    "an attachment": attached(PKCS8, "key.der", "application/octet-stream"),
    "an attached PKCS #12": attached(P12, "all.pfx", "application/x-pkcs12"),
    "a mail's body in base64": mail(text=PEM_KEY.decode(), cte="base64").as_bytes(),
    "a forwarded mail": forwarded(attached(PKCS8, "key.der", "application/octet-stream")),
    "the HTML of a mail": mail(text="<p>" + PEM_KEY.decode() + "</p>", subtype="html").as_bytes(),
    "a certificate file beyond all bounds": PEM_KEY + b"x" * reading.MAX_BYTES,
}  # fmt: skip


@pytest.mark.parametrize("form", KEYS)
@pytest.mark.parametrize("beside", ["alone", "before a good file", "behind a broken file"])
def test_a_private_key_is_an_incident_whatever_holds_it(form: str, beside: str) -> None:
    key = KEYS[form]
    files = {
        "alone": [key],
        "before a good file": [key, PEM.encode()],
        "behind a broken file": [b"\x30\x00" * 600, PEM[:200].encode(), key],
    }[beside]
    error = refusal(*files)
    assert error.rule == "REPLY-PRIVATE-KEY"
    assert "incident" in error.message
    assert not leaks(error), "a part of the key is in what is printed"


def leaks(error: PkiError) -> bool:
    told = str(error) + repr(error) + repr(error.args) + json.dumps(error.as_result())
    told += "".join(traceback.format_exception(error))
    return any(window in told for window in WINDOWS)


def windows(text: str) -> set[str]:
    return {text[at : at + 16] for at in range(0, len(text) - 15, 4)}


#: The key material as it could be seen: base64 in its three alignments, hexadecimal, repr.
WINDOWS = {
    window
    for secret in SECRETS
    for text in (
        *(base64.b64encode(secret[skip:]).decode() for skip in range(3)),
        secret.hex(),
        secret.hex(":"),
        repr(secret),
    )
    for window in windows(text)
}


def test_the_canary_would_be_heard() -> None:
    leak = base64.b64encode(PKCS8).decode()[41:75]
    assert leaks(PkiError(leak, rule="X"))


HARMLESS: dict[str, bytes] = {
    "a public key": RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "a public key, PKCS #1": RSA.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1),
    "a curve's public key": CURVE.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ),
    "a public JSON web key": b'{"kty": "RSA", "n": "%s", "e": "AQAB"}' % (b"A" * 342),
    "a warning": b"Keep your private key safe. To begin private key generation, press the button.",
    "a word in a list": b"priv: none\nRSA2 is no word\n",
    "another warning": b"In the end private keys stay on their machine.",
    "a certificate": LEAF,
    "a request": factory.request(),
    "a CRL": ROOT.crl(),
    "a PKCS #7": signed_data(LEAF, ROOT.der),
    "a notice with numbers": tlv(0x30, b"\x02\x01\x01", b"\x02\x01\x02"),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_no_incident_is_made_of(what: str) -> None:
    data = HARMLESS[what]
    assert found(PEM.encode(), armoured(data, "WHATEVER"), data[:0])[0] == LEAF
    assert not key_material.in_binary(data)
    assert not key_material.in_text(data.decode("latin-1"))


def test_nothing_random_looks_like_a_key() -> None:
    """Keys and signatures are random bytes: no certificate may be mistaken for a key."""
    for one in range(60):
        assert not key_material.in_binary(ROOT.leaf(serial=one + 1))


# --- bounds -------------------------------------------------------------------------------


def wrapped_up(levels: int) -> bytes:
    data = LEAF
    for _ in range(levels):
        if len(data) > 750_000:
            break
        data = base64.b64encode(data)
    return data


def test_only_so_many_files_and_bytes_are_read() -> None:
    assert "65 files" in refusal(*[b"x"] * 65).found
    assert str(reading.MAX_BYTES + 1) in refusal(b"x" * (reading.MAX_BYTES + 1)).found


def test_a_certificate_may_have_only_so_many_bytes() -> None:
    name = tlv(0x82, b"host.example")
    large = hostile.certificate(ROOT, hostile.san(*[name] * 5000))
    assert f"{len(large)} bytes, where 65536 are the limit" in refusal(large).found
    assert found(hostile.certificate(ROOT, hostile.san(*[name] * 4000)))


def test_encodings_are_undone_only_so_many_times() -> None:
    data = base64.b64encode(LEAF)
    for _ in range(3):
        assert found(data) == [LEAF]
        data = base64.b64encode(data)
    assert refusal(wrapped_up(8)).rule == "DIP-12.2-16-CER"
