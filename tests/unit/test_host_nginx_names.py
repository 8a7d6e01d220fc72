# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is let in, by the only text the gateway sees: a subject as OpenSSL prints it."""

from __future__ import annotations

import re

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from pki import names
from pki_host.errors import HostError
from pki_host.gateways import adapter, nginx, products

GOOD = "energydip-nonprod.dip.example"
OIDS = (
    x509.NameOID.COMMON_NAME,
    x509.NameOID.ORGANIZATION_NAME,
    x509.NameOID.ORGANIZATIONAL_UNIT_NAME,
    x509.NameOID.LOCALITY_NAME,
    x509.NameOID.EMAIL_ADDRESS,
    x509.NameOID.USER_ID,
    x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"),
)
VALUES = st.one_of(
    st.just(GOOD),
    st.sampled_from(
        [f"x,CN={GOOD}", f"CN={GOOD}", f"{GOOD},O=x", f'"{GOOD}"', f"{GOOD}\n", f" {GOOD}",
         f"x+CN={GOOD}", f"\\,CN={GOOD}", f"{GOOD}\\", f"#{GOOD}", GOOD.upper(), "", "\\", ","]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.text(',+"<>;\\ #=CN', min_size=1, max_size=12),
)  # fmt: skip
ATTRIBUTES = st.tuples(st.sampled_from(OIDS), VALUES.filter(bool))
RDNS = st.lists(ATTRIBUTES, min_size=1, max_size=2, unique_by=lambda pair: pair[0].dotted_string)
SUBJECTS = st.lists(RDNS, min_size=1, max_size=4)


def matches(pattern: str, text: str) -> bool:
    """As the gateway uses it: an expression after a tilde, searched with case."""
    assert pattern[0] == "~"
    return re.search(pattern[1:], text) is not None


def subject(rdns: list[list[tuple[x509.ObjectIdentifier, str]]]) -> x509.Name:
    return x509.Name(
        [
            x509.RelativeDistinguishedName(
                [x509.NameAttribute(oid, value, _validate=False) for oid, value in rdn]
            )
            for rdn in rdns
        ]
    )


@given(SUBJECTS)
def test_a_subject_matches_exactly_when_its_only_cn_is_the_peers_and_no_rdn_has_two_values(
    rdns: list[list[tuple[x509.ObjectIdentifier, str]]],
) -> None:
    common_names = [v for rdn in rdns for oid, v in rdn if oid == x509.NameOID.COMMON_NAME]
    wanted = common_names == [GOOD] and all(len(rdn) == 1 for rdn in rdns)
    assert matches(nginx.peer(GOOD), names.rfc2253(subject(rdns))) is wanted


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_a_value_is_escaped_as_openssl_prints_it(value: str) -> None:
    name = subject([[(x509.NameOID.COMMON_NAME, value)]])
    assert names.rfc2253(name) == f"CN={nginx.escape_value(value)}"
    assert matches(nginx.peer(value), names.rfc2253(name))


@pytest.mark.parametrize(
    "text",
    [
        rf"O=x\,CN={GOOD}",
        f"CN={GOOD},CN=other",
        f"CN=other,CN={GOOD}",
        f"CN={GOOD},CN={GOOD}",
        f"CN={GOOD}+O=x",
        f"O=x+CN={GOOD}",
        f'CN="{GOOD}"',
        f"CN={GOOD} ",
        f"CN={GOOD}\n",
        f"CN={GOOD}\nO=x",
        f"CN={GOOD},",
        f",CN={GOOD}",
        f"CN={GOOD},O",
        f"cn={GOOD}",
        f"CN={GOOD.upper()}",
        f"CN=x{GOOD}",
        f"CN={GOOD}x",
        f"CN={GOOD.replace('.', 'x')}",
        "",
    ],
)
def test_a_text_that_only_looks_like_the_peer_does_not_match(text: str) -> None:
    assert not matches(nginx.peer(GOOD), text)


@pytest.mark.parametrize(
    "text",
    [f"CN={GOOD}", f"CN={GOOD},O=Example\\, Ltd,C=GB", rf"1.2.3.4=#0C01,CN={GOOD},O=\C3\A9"],
)
def test_other_attributes_do_not_matter(text: str) -> None:
    assert matches(nginx.peer(GOOD), text)


PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))


@given(PRINTABLE, PRINTABLE)
def test_an_issuer_is_compared_as_a_whole_and_with_case(name: str, other: str) -> None:
    assert matches(nginx.exact(name), name)
    assert matches(nginx.exact(name), other) is (name == other)
    assert not matches(nginx.exact(name), name + "\n")


def read_token(text: str) -> str:
    """A double-quoted token as nginx's configuration reader takes it (ngx_conf_file.c)."""
    assert text[0] == text[-1] == '"'
    result, characters = "", iter(text[1:-1])
    for character in characters:
        assert character != '"', "the token ends early"
        if character == "\\":
            following = next(characters)
            known = {'"': '"', "'": "'", "\\": "\\", "t": "\t", "r": "\r", "n": "\n"}
            result += known.get(following, "\\" + following)
        else:
            result += character
    return result


@given(PRINTABLE)
def test_a_quoted_text_is_read_back_as_it_was(text: str) -> None:
    assert read_token(nginx.quote(text)) == text


@pytest.mark.parametrize("text", ["a\nb", "a\x00b", "caf\u00e9", "\x7f"])
def test_text_that_cannot_be_written_safely_is_refused(text: str) -> None:
    with pytest.raises(HostError, match="cannot be written"):
        nginx.quote(text)


def test_a_dollar_sign_is_refused_where_it_would_begin_a_variable() -> None:
    with pytest.raises(HostError, match="variable"):
        nginx.literal("/srv/$host")


def test_a_product_without_an_adapter_is_named_with_those_that_have_one() -> None:
    with pytest.raises(HostError) as caught:
        adapter("no-such-product")
    assert caught.value.found == "no-such-product"
    assert caught.value.expected == ", ".join(products())
