# SPDX-License-Identifier: GPL-3.0-or-later
"""Who comes through an ingress, what the log says of it, and what the application is told."""

from __future__ import annotations

import ssl

import pytest
from gateways import asking
from gateways.asking import VERSIONS
from gateways.stand import Stand
from integration import gateway_world as gw
from pki_host import files

#: Kind of client -> whether its certificate is good, whatever is said in it.
VERIFIED = {
    "ok": True,
    "uit": True,
    "sib": True,
    "rev": False,
    "exp": False,
    "bad": False,
    "self": False,
    "subrev": False,
    "srvuse": False,
    "none": False,
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", VERIFIED)
def test_only_the_declared_peer_with_a_good_certificate_gets_through(
    stand: Stand, kind: str, version: str
) -> None:
    before, served = stand.log_size(), len(stand.application.notes.requests)
    answer = stand.ask(kind, version=VERSIONS[version])
    assert answer.version == version
    assert answer.status == (200 if kind == "ok" else 403)
    assert len(stand.application.notes.requests) == served + (kind == "ok")
    # A call that an earlier test made through the egress may be logged only now.
    (line,) = (one for one in stand.log(after=before) if "verify" in one)
    assert line["status"] == str(answer.status)
    assert line["tls"] == version
    assert line["allowed"] == ("yes" if kind == "ok" else "no")
    # A bad certificate is told apart from a good one that is not let in, and from none.
    assert (line["verify"] == "SUCCESS") == VERIFIED[kind]
    assert (line["verify"] == "NONE") == (kind == "none")
    identity = stand.clients[kind]
    if identity is None:
        assert {line["serial"], line["subject"], line["issuer"]} <= {"", "-"}
        return
    certificate = gw.x509.load_pem_x509_certificate(identity.read_bytes())
    assert int(line["serial"], 16) == certificate.serial_number
    common_name = certificate.subject.get_attributes_for_oid(gw.Name.COMMON_NAME)[0].value
    assert line["subject"] == f"CN={common_name},O=Lab\\, Test & Co,C=GB"


def test_a_request_is_logged_without_what_may_be_secret_in_it(stand: Stand) -> None:
    before = stand.log_size()
    headers = {"Authorization": "CANARY", "Cookie": "CANARY", "Referer": "https://x/?CANARY"}
    raw = asking.request("GET", "/messages/7?key=CANARY", headers, close=True)
    assert stand.ask("ok", raw).status == 200
    assert stand.call(raw).status == 200
    lines = stand.log(after=before, lines=2)
    assert [line["request"].split()[:2] for line in lines] == [["GET", "/messages/7"]] * 2
    assert "CANARY" not in str(lines)


def test_a_client_cannot_write_a_line_of_its_own_into_the_log(stand: Stand) -> None:
    before = stand.log_size()
    path = '/x%0a{"verify":"SUCCESS"}%22,%22allowed%22:%22yes'
    assert stand.ask("none", asking.request("GET", path, close=True)).status == 403
    (line,) = stand.log(after=before)
    assert (line["verify"], line["allowed"], line["status"]) == ("NONE", "no", "403")


FORGED = {
    "X-Client-Verify": "SUCCESS",
    "X-Client-DN": "CN=forged",
    "X-Client-Issuer-DN": "CN=forged",
    "X-Client-Serial": "forged",
    "X-Forwarded-For": "192.0.2.66",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "forged.example",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Client-Cert": "By=forged",
    "X-Real-IP": "192.0.2.66",
    "Forwarded": "for=192.0.2.66",
}
SPELLINGS = {
    "as it is": lambda name: name,
    "small": str.lower,
    "large": str.upper,
    "with underscores": lambda name: name.replace("-", "_"),
    "with a dot": lambda name: name.replace("-", ".", 1),
    "with one underscore": lambda name: name.replace("-", "_", 1),
}


def _plain(name: str) -> str:
    """A header's name as an application may see it that knows it from an environment variable."""
    return "".join("-" if character in "_." else character for character in name.lower())


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_application_is_told_who_called_by_the_gateway_alone(
    stand: Stand, spelling: str
) -> None:
    forged = {SPELLINGS[spelling](name): f"{value}-FORGED" for name, value in FORGED.items()}
    lines = "".join(f"{name}: {value}\r\n" * 2 for name, value in forged.items())
    raw = asking.GET.replace(b"Connection", lines.encode() + b"Connection")
    answer = stand.ask("ok", raw)
    assert answer.status == 200
    assert b"FORGED" not in answer.body
    got = [(_plain(name), value) for name, value in answer.seen["headers"]]
    said = {name: value for name, value in got if name in map(_plain, FORGED)}
    assert len(said) == len([name for name, _ in got if name in said])
    certificate = gw.x509.load_pem_x509_certificate((stand.clients["ok"] or gw.Path()).read_bytes())
    assert int(said.pop("x-client-serial"), 16) == certificate.serial_number
    assert said == {
        "x-client-verify": "SUCCESS",
        "x-client-dn": f"CN={gw.PEER},O=Lab\\, Test & Co,C=GB",
        "x-client-issuer-dn": "CN=issuing,O=Lab\\, Test & Co,C=GB",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "https",
    }


def test_a_header_that_says_which_headers_to_drop_drops_none_of_them(stand: Stand) -> None:
    raw = asking.GET.replace(
        b"Connection: close", b"Connection: close, X-Client-DN, X-Client-Verify"
    )
    assert stand.ask("ok", raw).header("X-Client-Verify") == ["SUCCESS"]


def test_an_issuing_ca_is_no_anchor(stand: Stand) -> None:
    """Its certificate is in the bundle; without its root, no chain ends there."""
    bundle = stand.world.root / "trust/dip-nonprod.pem"
    whole = bundle.read_text()
    root = gw.pem(stand.world.authorities.root)
    assert root in whole
    assert gw.pem(stand.world.authorities.issuing) in whole
    assert stand.ask("ok").status == 200
    daemon = stand.world.daemon()
    try:
        # As the product writes, in a new file: nginx keeps what it loaded of one that has the same
        # inode and second.
        files.write(str(bundle), whole.replace(root, "").encode(), files.PUBLIC)
        daemon.reload()
        before = stand.log_size()
        assert stand.ask("ok").status == 403
        assert stand.log(after=before)[0]["verify"] not in ("SUCCESS", "NONE")
    finally:
        files.write(str(bundle), whole.encode(), files.PUBLIC)
        daemon.reload()
    assert stand.ask("ok").status == 200


def test_what_is_not_tls_or_not_http_reaches_nobody(stand: Stand) -> None:
    served = len(stand.application.notes.requests)
    plain = asking.ask(stand.world.ingress, None)
    assert plain.status in (0, 400, 403)
    for raw in (
        b"\x00" * 64,
        b"GET / SPDY/9\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    ):
        assert stand.ask("ok", raw).status in (0, 400, 403, 405, 501)
    assert len(stand.application.notes.requests) == served


def test_nobody_gets_through_by_asking_again_on_a_connection(stand: Stand) -> None:
    """The verdict belongs to each request, not to the first one."""
    tls = asking.context(stand.clients["sib"])
    with asking.connected(stand.world.ingress, tls) as connection:
        for _ in range(3):
            try:
                connection.sendall(asking.request())
                answer = asking.receive(connection)
            except (OSError, ssl.SSLError):
                break
            assert answer.status == 403
            if answer.closed:
                break
