# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading, rewriting and relocating a gateway's configuration, as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.lab_imports import PkiError, gatewayconf

CONF = r"""
# a comment with ; and { and /srv/other/file
events { worker_connections 64; }
pid /srv/gw/run/x.pid;
http {
  map $ssl_client_i_dn $issuer_ok { default 0; "~^CN\\=Lab\\ CA;\\{1\\}(?![\\s\\S])" 1; }
  log_format audit '${request_uri};"$ssl_client_s_dn" { }';
  server {
    listen 127.0.0.1:8443 ssl;
    ssl_crl /var/crl/current/crl.pem;
    ssl_client_certificate /srv/gw/trust/dip.pem;
    location / { if ($ok = 0) { return 403; } proxy_pass http://127.0.0.1:8000; }
  }
  server { listen 127.0.0.1:9443; proxy_ssl_crl /var/crl/current/crl.pem; }
}
"""
DN = r"~^CN\=Lab\ CA;\{1\}(?![\s\S])"


def move(text: str = CONF, **changed: object) -> str:
    values: dict[str, object] = {
        "root": ("/srv/gw", "/tmp/copy"),
        "ports": {8443: 18443, 9443: 19443},
        "files": {"/var/crl/current/crl.pem": "/tmp/copy/crl.pem"},
        "issuers": {DN: r"~^CN\=Proof\ CA(?![\s\S])"},
    }
    relocation = gatewayconf.Relocation(**{**values, **changed})  # type: ignore[arg-type]
    return gatewayconf.relocate({"x.conf": text}, relocation)["x.conf"]


def test_words_are_read_with_quotes_escapes_variables_and_comments() -> None:
    assert gatewayconf.values(CONF, "listen") == [("127.0.0.1:8443", "ssl"), ("127.0.0.1:9443",)]
    assert gatewayconf.values(CONF, DN) == [("1",)]
    assert gatewayconf.values(CONF, "log_format") == [
        ("audit", '${request_uri};"$ssl_client_s_dn" { }')
    ]
    assert gatewayconf.has_block(CONF, "events")
    assert not gatewayconf.has_block(CONF, "server")


def test_a_relocated_copy_shares_no_path_port_or_issuer_with_the_original() -> None:
    moved = move()
    assert gatewayconf.values(moved, "listen") == [("127.0.0.1:18443", "ssl"), ("127.0.0.1:19443",)]
    assert gatewayconf.values(moved, "pid") == [("/tmp/copy/run/x.pid",)]
    assert gatewayconf.values(moved, "ssl_crl") == [("/tmp/copy/crl.pem",)]
    assert gatewayconf.values(moved, "proxy_ssl_crl") == [("/tmp/copy/crl.pem",)]
    assert gatewayconf.values(moved, "ssl_client_certificate") == [("/tmp/copy/trust/dip.pem",)]
    assert gatewayconf.values(moved, r"~^CN\=Proof\ CA(?![\s\S])") == [("1",)]
    assert gatewayconf.values(moved, DN) == []


def test_what_is_not_relocated_keeps_every_byte() -> None:
    moved = move()
    for kept in (
        "# a comment with ; and { and /srv/other/file",
        "log_format audit '${request_uri};\"$ssl_client_s_dn\" { }';",
        "location / { if ($ok = 0) { return 403; } proxy_pass http://127.0.0.1:8000; }",
    ):
        assert kept in moved


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"ports": {8443: 18443}}, "127.0.0.1:9443"),
        ({"ports": {8443: 1, 9443: 2, 7: 3}}, "7"),
        ({"files": {"/var/absent.pem": "/tmp/x"}}, "/var/absent.pem"),
        ({"issuers": {"CN=Other": "CN=x"}}, "CN=Other"),
    ],
)
def test_a_relocation_that_does_not_fit_the_configuration_is_refused(
    changed: dict[str, object], named: str
) -> None:
    with pytest.raises(PkiError) as caught:
        move(**changed)
    assert caught.value.rule == "LAB-RELOCATE"
    assert named in caught.value.found


def test_the_old_root_hidden_inside_a_word_is_refused() -> None:
    hidden = CONF.replace("pid /srv", "env X=/srv/gw/secret; pid /srv")
    with pytest.raises(PkiError) as caught:
        move(hidden)
    assert "/srv/gw" in caught.value.found


def test_a_directive_or_a_whole_block_can_be_dropped() -> None:
    without = gatewayconf.rewrite(
        CONF, lambda _parents, words: () if words[0] in ("ssl_crl", "location") else words
    )
    assert gatewayconf.values(without, "ssl_crl") == []
    assert gatewayconf.values(without, "return") == []
    assert gatewayconf.values(without, "proxy_ssl_crl") != []


def test_a_change_knows_the_blocks_around_a_directive() -> None:
    seen = []

    def look(parents: tuple[tuple[str, ...], ...], words: tuple[str, ...]) -> tuple[str, ...]:
        if words[0] == "return":
            seen.append(parents)
        return words

    assert gatewayconf.rewrite(CONF, look) == CONF
    assert seen == [(("http",), ("server",), ("location", "/"), ("if", "($ok", "=", "0)"))]


def test_a_line_is_put_into_the_chosen_blocks_only() -> None:
    text = gatewayconf.insert(CONF, lambda words, _block: words == ("server",), "root /nowhere;")
    assert gatewayconf.values(text, "root") == [("/nowhere",), ("/nowhere",)]


@pytest.mark.parametrize("text", ["a b", "a {", "a; }", "a { b }", 'a "b;', "; a;", "{ }"])
def test_unbalanced_text_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(PkiError) as caught:
        gatewayconf.parse("ok 1;\n" + text)
    assert caught.value.rule == "LAB-GATEWAY-CONF"
    assert "line 2" in caught.value.found


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_a_quoted_word_is_read_back_as_it_was(word: str) -> None:
    assert gatewayconf.values(f"x {gatewayconf.quote(word)};", "x") == [(word,)]
