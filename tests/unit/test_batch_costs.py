# SPDX-License-Identifier: GPL-3.0-or-later
"""What many replies have in common is read once: CAs, their names and CRLs, and no more is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from pki import certs, names, path, revocation
from pki.errors import PkiError
from unit import large_crl
from unit import pki_factory as factory
from unit.pki_factory import NOW

MANY = 40


@pytest.fixture
def root() -> factory.Authority:
    """Of this test alone: another one's would be remembered already."""
    return factory.authority("Batch Root")


@pytest.fixture
def issuing(root: factory.Authority) -> factory.Authority:
    return root.authority("Batch Issuing", path_length=0)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[bytes]]:
    """What the library is made to parse, by the function that parses it."""
    found: dict[str, list[bytes]] = {}

    def noting(name: str) -> None:
        load: Callable[[bytes], Any] = getattr(x509, name)
        found[name] = []

        def noted(data: bytes) -> Any:
            found[name].append(bytes(data))
            return load(data)

        monkeypatch.setattr(x509, name, noted)

    noting("load_der_x509_certificate")
    noting("load_der_x509_crl")
    return found


def test_cas_and_short_crls_are_parsed_once_for_many_paths(
    root: factory.Authority, issuing: factory.Authority, loaded: dict[str, list[bytes]]
) -> None:
    crls = [issuing.crl(), root.crl()]
    leaves = [issuing.leaf() for _ in range(MANY)]
    for leaf in leaves:
        # As others would hand them over: the same bytes, and not the same object.
        again = [bytes(bytearray(crl)) for crl in crls]
        path.validate(leaf, [issuing.der], [root.der], crls=again, now=NOW)
    certificates = loaded["load_der_x509_certificate"]
    assert certificates.count(root.der) == certificates.count(issuing.der) == 1
    assert sorted(loaded["load_der_x509_crl"]) == sorted(crls)


def test_what_is_remembered_is_told_apart_by_every_byte(
    root: factory.Authority, issuing: factory.Authority
) -> None:
    leaf, crl = issuing.leaf(), issuing.crl()
    good = [crl, root.crl()]
    path.validate(leaf, [issuing.der], [root.der], crls=good, now=NOW)
    for place in (len(crl) - 1, len(crl) - 100):
        spoilt = bytearray(crl)
        spoilt[place] ^= 1
        with pytest.raises(PkiError):
            path.validate(leaf, [issuing.der], [root.der], crls=[bytes(spoilt), good[1]], now=NOW)
    newer = issuing.crl([factory.serial(leaf)], number=2)
    with pytest.raises(PkiError, match="is revoked"):
        path.validate(leaf, [issuing.der], [root.der], crls=[newer, good[1]], now=NOW)


def test_a_refusal_is_not_remembered_for_another_time(
    root: factory.Authority, issuing: factory.Authority
) -> None:
    leaf, crls = issuing.leaf(), [issuing.crl(), root.crl()]
    late = NOW + 2 * factory.DAY
    with pytest.raises(PkiError, match="nobody says"):
        path.validate(leaf, [issuing.der], [root.der], crls=crls, now=late)
    assert path.validate(leaf, [issuing.der], [root.der], crls=crls, now=NOW)


def test_long_certificates_and_lists_are_not_kept(
    root: factory.Authority, loaded: dict[str, list[bytes]]
) -> None:
    long = root.leaf(san=[f"host{number}.example" for number in range(2000)])
    assert len(long) > 16 * 1024
    assert certs.load(long) == certs.load(long)
    assert loaded["load_der_x509_certificate"].count(long) == 2
    crl = large_crl.large(root, 20_000)
    assert len(crl) > 256 * 1024
    for _ in range(2):
        revocation.check([root.leaf(), root.der], [crl], NOW)
    assert loaded["load_der_x509_crl"].count(crl) == 2


@pytest.mark.parametrize("length", [10, 2000], ids=["ordinary", "longer than is kept"])
def test_a_name_reads_the_same_whether_it_is_remembered_or_not(length: int) -> None:
    value = "a" * length
    attribute = x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, value)
    for _ in range(2):
        name = x509.Name([attribute])
        assert names.common_names(name) == ""
        assert names.rfc2253(name) == f"O={value}"
        assert names.subject_attributes(name) == {"O": value}
        ((found,),) = names.parse(name)
        assert found.value() == value
