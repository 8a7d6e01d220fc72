# SPDX-License-Identifier: GPL-3.0-or-later
"""A CRL comes as DER or PEM from all kinds of servers, and goes to gateways as PEM."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pki_host import crl_pem
from pki_host.errors import HostError
from unit import large_crl
from unit import pki_factory as factory

CA = factory.authority("Example CA")
SMALL = CA.crl([5])
LARGE = large_crl.large(CA, 60_000)  # several pieces of every size that is read at once
LIMIT = 16 * 1024 * 1024


def pem(data: bytes) -> bytes:
    return x509.load_der_x509_crl(data).public_bytes(Encoding.PEM)


def converted(folder: Path, data: bytes, largest: int = LIMIT) -> bytes:
    (folder / "in").write_bytes(data)
    crl_pem.to_der(str(folder / "in"), str(folder / "out"), largest)
    return (folder / "out").read_bytes()


FORMS = {
    "DER": lambda der: der,
    "PEM": pem,
    "with a byte order mark": lambda der: b"\xef\xbb\xbf" + pem(der),
    "with carriage returns": lambda der: pem(der).replace(b"\n", b"\r\n"),
    "with text before it": lambda der: b"Certificate Revocation List (CRL):\n  0\n\n" + pem(der),
    "with text after it": lambda der: pem(der) + b"\nthat was it\n",
    "without a last line feed": lambda der: pem(der).rstrip(b"\n"),
    "in one line": lambda der: pem(der).replace(b"\n", b"").replace(b"CRL-----M", b"CRL-----\nM"),
    "in lines of other lengths": lambda der: pem(der).replace(b"A", b"A \n\t"),
    "after a text that begins like DER": lambda der: b"0 is where it begins\n" + pem(der),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("der", [SMALL, LARGE], ids=["small", "large"])
def test_every_form_of_a_list_becomes_its_der(form: str, der: bytes, tmp_path: Path) -> None:
    assert converted(tmp_path, FORMS[form](der)) == der


@pytest.mark.parametrize("der", [SMALL, LARGE], ids=["small", "large"])
def test_pem_is_written_as_the_library_writes_it(der: bytes, tmp_path: Path) -> None:
    (tmp_path / "der").write_bytes(der)
    out = io.BytesIO()
    crl_pem.append_pem(str(tmp_path / "der"), out)
    crl_pem.append_pem(str(tmp_path / "der"), out)
    assert out.getvalue() == pem(der) * 2


REFUSED = {
    "nothing": b"",
    "a page": b"<!DOCTYPE html><html><body>Please sign in</body></html>",
    "a page of text": b"0" * 200_000,
    "a certificate": CA.pem,
    "a block without an end": pem(SMALL)[:-20],
    "a long block without an end": pem(LARGE)[:-27],
    "a block of other characters": pem(SMALL).replace(b"M", b"!", 3),
    "a block cut within a group": pem(SMALL).replace(b"A", b"", 1),
    "padding in the middle": pem(SMALL)[:80] + b"==" + pem(SMALL)[82:],
    "dashes in the middle": pem(SMALL)[:80] + b"\n-----\n" + pem(SMALL)[82:],
    "two blocks": pem(SMALL) + pem(SMALL),
    "two blocks far apart": pem(SMALL) + b"\n" * 300_000 + pem(SMALL),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_one_list_leaves_no_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        converted(tmp_path, REFUSED[name])
    assert caught.value.rule == "CRL-UNREADABLE"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["DER", "PEM"])
def test_a_list_that_is_too_long_leaves_no_file(form: str, tmp_path: Path) -> None:
    data = FORMS[form](LARGE)
    with pytest.raises(HostError, match="cannot be read") as caught:
        converted(tmp_path, data, len(LARGE) - 1)
    assert caught.value.found == f"more than {len(LARGE) - 1} octets"
    assert not (tmp_path / "out").exists()
    assert converted(tmp_path, data, len(LARGE)) == LARGE


def test_a_file_that_is_there_is_neither_replaced_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"another's")
    with pytest.raises(HostError) as caught:
        converted(tmp_path, SMALL)
    assert caught.value.rule == "FILE-REFUSED"
    assert (tmp_path / "out").read_bytes() == b"another's"
