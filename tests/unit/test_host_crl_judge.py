# SPDX-License-Identifier: GPL-3.0-or-later
"""A host uses a CRL only if its CA signed it, it covers what is needed, and it is in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.serialization import Encoding
from pki.crl import Crl
from pki_host import crl_der, crl_judge
from pki_host.crl_watch import Authority
from pki_host.errors import HostError
from unit import large_crl
from unit import pki_factory as factory
from unit.large_crl import entry, extension
from unit.pki_factory import DAY, NOW, idp

CA = factory.authority("Example CA")
TWIN = factory.authority("Example CA", key_name="Another key")
URL, OTHER_URL = "http://crl.example/a.crl", "http://crl.example/b.crl"
PINNED = Authority("Example CA", CA.sha256, CA.pem.decode(), (URL,), "user")
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Former:
    """The CRL in use; hours before NOW."""

    number: int | None
    this_update: int


def judged(
    folder: Path,
    data: bytes,
    authority: Authority = PINNED,
    source: str = URL,
    previous: Former | None = None,
    now: float = NOW.timestamp(),
    tolerance: int = 0,
) -> str:
    """The rule that refuses it, or empty."""
    path = folder / "crl.der"
    path.write_bytes(data)
    facts = crl_der.read(str(path))
    try:
        crl_judge.judge(
            str(path),
            facts,
            authority,
            source=source,
            now=now,
            previous=previous,
            tolerance=tolerance,
        )
    except HostError as exc:
        refusal = exc
    else:
        return ""
    assert refusal.found
    assert refusal.expected
    assert refusal.next_step
    assert refusal.where == source
    return refusal.rule


def made(*extensions: tuple[x509.ExtensionType, bool], **options: Any) -> bytes:
    return CA.crl([5], extensions=extensions, **options)


def former(hours: float, number: int | None = 1) -> Former:
    return Former(number, int((NOW - hours * HOUR).timestamp()))


DELTA = extension("2.5.29.27", b"\x02\x01\x01", critical=True)
UNKNOWN = extension("1.2.3.4", b"\x05\x00", critical=True)
CERTIFICATE_ISSUER = extension("2.5.29.29", b"\x30\x00", critical=True)
KEY_COMPROMISE = frozenset({x509.ReasonFlags.key_compromise})
RIGHT = {
    "by its own CA": made(),
    "without entries": CA.crl(),
    "for users": made(idp(only_contains_user_certs=True)),
    "for the URL it came from": made(idp(URL)),
    "to its last second": made(end=NOW),
    "from its first second": made(start=NOW),
    "without a number": made(number=None),
    "with a reason and a date of invalidity": large_crl.crl(
        CA, [entry(5, large_crl.reason(1) + extension("2.5.29.24", b"\x18\x0f20260101000000Z"))]
    ),
}
WRONG = {
    "of another name": (factory.authority("Other CA").crl(), "CRL-ISSUER"),
    "of the same name and another key": (TWIN.crl(), "CRL-SIGNATURE"),
    "signed with SHA-1": (factory.with_sha1(made(), CA.private), "CRL-ALGORITHM"),
    "expired for a second": (made(end=NOW - timedelta(seconds=1)), "CRL-EXPIRED"),
    "of the future": (made(start=NOW + timedelta(seconds=1)), "CRL-NOT-YET"),
    "without an end": (factory.without_next_update(made(), CA.private), "CRL-NO-END"),
    "a delta": (large_crl.crl(CA, [entry(5)], extensions=DELTA), "CRL-DELTA"),
    "indirect": (made(idp(indirect_crl=True)), "CRL-INDIRECT"),
    "indirect by an entry": (large_crl.crl(CA, [entry(5, CERTIFICATE_ISSUER)]), "CRL-INDIRECT"),
    "with an unknown critical extension": (
        large_crl.crl(CA, [entry(5)], extensions=UNKNOWN),
        "CRL-CRITICAL",
    ),
    "with one in an entry": (large_crl.crl(CA, [entry(5, UNKNOWN)]), "CRL-CRITICAL"),
    "for CAs only": (made(idp(only_contains_ca_certs=True)), "CRL-SCOPE"),
    "for attributes only": (made(idp(only_contains_attribute_certs=True)), "CRL-SCOPE"),
    "for some reasons": (made(idp(only_some_reasons=KEY_COMPROMISE)), "CRL-SCOPE"),
    "for another URL": (made(idp(OTHER_URL)), "CRL-PARTITION"),
    "for a directory": (
        made(idp(full_name=[x509.DirectoryName(factory.name("Directory"))])),
        "CRL-PARTITION",
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_list_may_be_used(name: str, tmp_path: Path) -> None:
    assert judged(tmp_path, RIGHT[name]) == ""


@pytest.mark.parametrize("name", WRONG)
def test_a_list_may_not_be_used(name: str, tmp_path: Path) -> None:
    data, rule = WRONG[name]
    assert judged(tmp_path, data) == rule


@pytest.mark.parametrize("name", [*RIGHT, *WRONG])
def test_the_controller_would_not_use_what_the_host_refuses(name: str) -> None:
    """And the other way round, but for whom it is needed and where it came from."""
    data, rule = WRONG.get(name) or (RIGHT[name], "")
    if rule in ("CRL-SCOPE", "CRL-PARTITION"):
        return
    crl = Crl.parse(data)
    faults = (crl.fault_of(CA.certificate), crl.silent, crl.unknown_in_entries)
    assert bool(any(faults) or crl.outside_dates(NOW)) is bool(rule)


NEWER = {
    "the same once more": (former(1), ""),
    "a higher number": (former(2, 0), ""),
    "a lower number": (former(2, 2), "CRL-OLDER"),
    "the same number, and an earlier date": (former(0.5), "CRL-OLDER"),
    "a higher number, and an earlier date": (former(0.5, 0), "CRL-OLDER"),
    "no number before": (former(2, None), ""),
    "no number before, and an earlier date": (former(0.5, None), "CRL-OLDER"),
}


@pytest.mark.parametrize("name", NEWER)
def test_a_list_never_goes_back(name: str, tmp_path: Path) -> None:
    previous, rule = NEWER[name]
    assert judged(tmp_path, made(), previous=previous) == rule


def test_a_list_that_lost_its_number_is_compared_by_date(tmp_path: Path) -> None:
    assert judged(tmp_path, made(number=None), previous=former(2, 7)) == ""
    assert judged(tmp_path, made(number=None), previous=former(0.5, 7)) == "CRL-OLDER"


def test_the_clock_of_a_ca_may_be_ahead_by_the_tolerance(tmp_path: Path) -> None:
    ahead = made(start=NOW + timedelta(seconds=300))
    assert judged(tmp_path, ahead, tolerance=300) == ""
    assert judged(tmp_path, ahead, tolerance=299) == "CRL-NOT-YET"
    late = made(end=NOW - timedelta(seconds=1))
    assert judged(tmp_path, late, tolerance=300) == "CRL-EXPIRED"


SCOPES = {
    ("user", "all"): "",
    ("user", "user"): "",
    ("user", "ca"): "CRL-SCOPE",
    ("ca", "all"): "",
    ("ca", "user"): "CRL-SCOPE",
    ("ca", "ca"): "",
}


@pytest.mark.parametrize(("needs", "scope"), SCOPES)
def test_a_list_covers_what_it_is_needed_for(needs: str, scope: str, tmp_path: Path) -> None:
    limits: dict[str, dict[str, bool]] = {
        "all": {},
        "user": {"only_contains_user_certs": True},
        "ca": {"only_contains_ca_certs": True},
    }
    data = made(idp(URL, **limits[scope]))
    assert judged(tmp_path, data, replace(PINNED, needs=needs)) == SCOPES[needs, scope]


PARTS = {
    "from its URL": (URL, (URL,), ""),
    "from its URL, which is not configured": (URL, (OTHER_URL,), ""),
    "from another URL": (OTHER_URL, (URL, OTHER_URL), "CRL-PARTITION"),
    "from its URL in other letters": (URL.upper(), (URL,), "CRL-PARTITION"),
    "brought, and its URL is configured": ("controller", (OTHER_URL, URL), ""),
    "brought, and its URL is not configured": ("controller", (OTHER_URL,), "CRL-PARTITION"),
    "brought, and no URL is configured": ("controller", (), ""),
    "from a file": ("/srv/drop/a.crl", (URL,), ""),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_names_where_it_came_from(name: str, tmp_path: Path) -> None:
    source, urls, rule = PARTS[name]
    assert judged(tmp_path, made(idp(URL)), replace(PINNED, urls=urls), source) == rule


# --- who signed it -------------------------------------------------------------------------------


@cache
def signing_key(kind: str) -> Any:
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return (
        CA.private
        if kind == "rsa"
        else ec.generate_private_key(ec.SECP256R1() if kind == "p256" else ec.SECP384R1())
    )


def self_signed(key: Any, usage: x509.KeyUsage | None = None) -> str:
    name = factory.name("Example CA")
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    if usage is not None:
        builder = builder.add_extension(usage, True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def signed(key: Any, algorithm: Any, rsa_padding: Any = None) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(factory.name("Example CA"))
    builder = builder.last_update(NOW - HOUR).next_update(NOW + HOUR)
    crl = builder.sign(key, algorithm, rsa_padding=rsa_padding)
    return crl.public_bytes(Encoding.DER)


def pss(mask: Any, salt: int) -> padding.PSS:
    return padding.PSS(padding.MGF1(mask), salt)


SCHEMES = {
    "RSA, SHA-256": ("rsa", hashes.SHA256(), None, ""),
    "RSA, SHA-384": ("rsa", hashes.SHA384(), None, ""),
    "RSA, SHA-512": ("rsa", hashes.SHA512(), None, ""),
    "RSA, SHA-224": ("rsa", hashes.SHA224(), None, "CRL-ALGORITHM"),
    "RSA-PSS, SHA-256": ("rsa", hashes.SHA256(), pss(hashes.SHA256(), 32), ""),
    "RSA-PSS, SHA-384, no salt": ("rsa", hashes.SHA384(), pss(hashes.SHA384(), 0), ""),
    "RSA-PSS, SHA-512, a short salt": ("rsa", hashes.SHA512(), pss(hashes.SHA512(), 20), ""),
    "RSA-PSS, two digests": ("rsa", hashes.SHA256(), pss(hashes.SHA512(), 32), "CRL-ALGORITHM"),
    "ECDSA P-256, SHA-256": ("p256", hashes.SHA256(), None, ""),
    "ECDSA P-384, SHA-384": ("p384", hashes.SHA384(), None, ""),
    "ECDSA P-384, SHA-512": ("p384", hashes.SHA512(), None, ""),
    "Ed25519": ("ed25519", None, None, "CRL-ALGORITHM"),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_how_a_list_may_be_signed(name: str, tmp_path: Path) -> None:
    kind, algorithm, rsa_padding, rule = SCHEMES[name]
    key = signing_key(kind)
    pinned = replace(PINNED, pem=self_signed(key))
    assert judged(tmp_path, signed(key, algorithm, rsa_padding), pinned) == rule


@pytest.mark.parametrize("name", [name for name, case in SCHEMES.items() if not case[3]])
def test_a_signature_over_other_octets_is_none(name: str, tmp_path: Path) -> None:
    kind, algorithm, rsa_padding, _ = SCHEMES[name]
    key = signing_key(kind)
    data = signed(key, algorithm, rsa_padding)
    end = (NOW + HOUR).strftime("%y%m%d%H%M%SZ").encode()
    later = (NOW + 9 * HOUR).strftime("%y%m%d%H%M%SZ").encode()
    assert judged(tmp_path, data.replace(end, later), replace(PINNED, pem=self_signed(key))) == (
        "CRL-SIGNATURE"
    )


def test_a_key_of_another_kind_signed_nothing(tmp_path: Path) -> None:
    pinned = replace(PINNED, pem=self_signed(signing_key("p256")))
    assert judged(tmp_path, made(), pinned) == "CRL-SIGNATURE"


ALTERED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "another algorithm outside": (
        lambda data: data[:-270] + data[-270:].replace(b"\x01\x01\x0b\x05", b"\x01\x01\x0c\x05"),
        "CRL-ALGORITHM",
    ),
    "a bit of an entry": (
        lambda data: data.replace(b"\x02\x01\x05", b"\x02\x01\x04"),
        "CRL-SIGNATURE",
    ),
    "a bit of the signature": (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "CRL-SIGNATURE"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_list_is_refused(name: str, tmp_path: Path) -> None:
    alter, rule = ALTERED[name]
    assert alter(made()) != made()
    assert judged(tmp_path, alter(made())) == rule


def test_a_ca_with_key_usages_must_have_the_one_for_lists(tmp_path: Path) -> None:
    with_it = self_signed(CA.private, factory.usage("key_cert_sign", "crl_sign"))
    without_it = self_signed(CA.private, factory.usage("key_cert_sign"))
    assert judged(tmp_path, made(), replace(PINNED, pem=with_it)) == ""
    assert judged(tmp_path, made(), replace(PINNED, pem=without_it)) == "CRL-ISSUER"


@pytest.mark.parametrize("pem", ["", "no certificate", made().hex(), PINNED.pem[:300]])
def test_a_pinned_ca_that_cannot_be_read_vouches_for_nothing(pem: str, tmp_path: Path) -> None:
    assert judged(tmp_path, made(), replace(PINNED, pem=pem)) == "CRL-ISSUER"
