# SPDX-License-Identifier: GPL-3.0-or-later
"""What an ingress offers in a handshake, and what it does not."""

from __future__ import annotations

import re
import ssl

import pytest
from gateways import asking
from gateways.asking import TLS12, VERSIONS
from gateways.stand import Stand
from pki import policy_files
from unit.gateway_entry import PROJECT

# Old versions are spoken on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
POLICY = policy_files.load_policies(PROJECT / "policies", ["mhhs-dip"])["mhhs-dip"]
#: What lets the openssl program offer what it would not offer by itself.
ANYTHING = ("-cipher", "ALL:@SECLEVEL=0")


def said(stand: Stand, *options: str, feed: bytes = b"") -> str:
    return asking.openssl(stand.world.ingress, *options, feed=feed)


@pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
def test_an_older_version_is_refused_in_so_many_words(stand: Stand, option: str) -> None:
    text = said(stand, option, *ANYTHING)
    assert "alert number 70" in text, text  # protocol_version
    assert re.search(r"Cipher is \(NONE\)", text)


def test_the_openssl_program_here_can_speak_older_versions(stand: Stand) -> None:
    """Else the tests above could not fail."""
    context = stand.far_context(stand.world.certificate, label="ours")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.verify_mode = ssl.CERT_NONE
    with stand.other_far_end(context):
        for option, version in (("-tls1", "TLSv1"), ("-tls1_1", "TLSv1.1")):
            text = asking.openssl(stand.world.dip, option, *ANYTHING)
            assert re.search(rf"New, {version}|Protocol *: {version}\b", text), text


@pytest.mark.parametrize(
    "ciphers",
    [
        "AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA:AES256-SHA256",  # static RSA
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES256-SHA384:ECDHE-RSA-AES128-SHA",  # CBC
        "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384",
        "aNULL:eNULL:@SECLEVEL=0",
    ],
)
def test_a_suite_of_tls_1_2_that_is_not_allowed_is_refused(stand: Stand, ciphers: str) -> None:
    text = said(stand, "-tls1_2", "-cipher", ciphers)
    assert "alert number 40" in text, text  # handshake_failure


def test_a_suite_of_tls_1_3_that_is_not_allowed_is_refused(stand: Stand) -> None:
    text = said(stand, "-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256")
    assert "alert number 40" in text, text


@pytest.mark.parametrize("group", ["P-384", "P-521", "X448", "ffdhe2048"])
def test_a_group_that_is_not_allowed_is_refused(stand: Stand, group: str) -> None:
    text = said(stand, "-tls1_3", "-groups", group)
    assert "alert number 40" in text, text


@pytest.mark.parametrize("name", POLICY.strings("tls12_ciphers"))
def test_each_allowed_suite_of_tls_1_2_is_spoken(stand: Stand, name: str) -> None:
    assert stand.ask("ok", version=TLS12, ciphers=name).cipher == name


@pytest.mark.parametrize("name", POLICY.strings("tls13_ciphersuites"))
@pytest.mark.parametrize("group", POLICY.strings("tls_groups"))
def test_each_allowed_suite_and_group_of_tls_1_3_is_spoken(
    stand: Stand, name: str, group: str
) -> None:
    text = said(stand, "-tls1_3", "-ciphersuites", name, "-groups", group)
    assert f"Cipher is {name}" in text, text
    assert re.search(r"Server Temp Key: (X25519|ECDH, prime256v1)", text), text


def test_aes_128_comes_first_whatever_a_client_would_rather_have(stand: Stand) -> None:
    reversed12 = ":".join(reversed(POLICY.strings("tls12_ciphers")))
    answer = stand.ask("ok", version=TLS12, ciphers=reversed12)
    assert answer.cipher == "ECDHE-RSA-AES128-GCM-SHA256"
    reversed13 = ":".join(reversed(POLICY.strings("tls13_ciphersuites")))
    text = said(stand, "-tls1_3", "-ciphersuites", reversed13)
    assert "Cipher is TLS_AES_128_GCM_SHA256" in text, text


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_session_that_is_offered_again_is_a_whole_handshake(stand: Stand, version: str) -> None:
    """Who was let in once is looked at again, so a newer CRL counts at once."""
    tls = asking.context(stand.clients["ok"], version=VERSIONS[version])
    with asking.connected(stand.world.ingress, tls) as connection:
        connection.sendall(asking.GET)
        # TLS 1.3 brings tickets with the first answer, TLS 1.2 in the handshake.
        assert asking.receive(connection).status == 200
        session = connection.session
    assert session is None or not session.has_ticket
    with asking.connected(stand.world.ingress, tls, session) as connection:
        assert not connection.session_reused


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_no_ticket_comes(stand: Stand, option: str) -> None:
    text = said(stand, option, "-msg", "-ign_eof", feed=b"GET / HTTP/1.0\r\n\r\n")
    assert "403" in text
    assert "NewSessionTicket" not in text


def test_nobody_is_told_that_early_data_would_be_taken(stand: Stand) -> None:
    text = said(stand, "-tls1_3", "-ign_eof", feed=b"GET / HTTP/1.0\r\n\r\n")
    assert "403" in text
    assert "Early data was not sent" in text
    assert not re.search("Max Early Data: [1-9]", text), text


def test_nothing_is_compressed_in_the_channel(stand: Stand) -> None:
    assert "Compression: NONE" in said(stand, "-tls1_2", "-comp", *ANYTHING)


def test_a_client_cannot_begin_a_handshake_in_a_connection(stand: Stand) -> None:
    """What it types is a line with an R, by which the openssl program asks for one."""
    text = said(stand, "-tls1_2", feed=b"R\n")
    assert "RENEGOTIATING" in text, text
    assert re.search("no renegotiation|unexpected message|alert number|unexpected eof", text), text


def test_the_name_of_the_gateway_leaks_nothing_of_its_version(stand: Stand) -> None:
    head = stand.ask("none").head
    assert not re.search(r"(?i)server: \S*[0-9]", head), head
