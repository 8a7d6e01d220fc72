# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at after a change, by each kind of client, and what takes the change back."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from gateways.products import HAPROXY, NGINX, Product
from gateways.servers import serving
from integration import gateway_world as gw
from integration.gateway_pair import Pair, Usage, leaf
from pki_host import probe, transaction
from pki_host.errors import HostError
from pki_host.transaction import Desired

pytestmark = pytest.mark.integration

HOST = "api.dip.example"
Entry = dict[str, Any]
Edit = Callable[[Entry], None]


@pytest.fixture(scope="module", params=[NGINX, HAPROXY], ids=str)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    product: Product = request.param
    if product.missing and os.environ.get("CI") != "true":
        pytest.skip(f"not run: {product.name} - {product.missing}")
    pair = Pair(tmp_path_factory.mktemp("probes"), product)
    with serving(pair.app):
        try:
            pair.apply()
            yield pair
        finally:
            pair.stop()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong answer does not get better."""
    monkeypatch.setattr(probe, "PATIENCE", 1.0)


def changed(pair: Pair, edit: Edit) -> list[str]:
    """Apply a change of the first gateway; the notes. The second is left out."""
    arguments = pair.all_arguments()[0]
    pair.stage_crls()  # an earlier change may have made room for its own
    edit(arguments)
    # Something that makes it a change, whatever the edit is.
    arguments["files"].append({"path": f"trust/{os.urandom(4).hex()}.txt", "content": "x"})
    return list(transaction.run(Desired.of(arguments), check=False)["notes"])


def refused(pair: Pair, edit: Edit) -> HostError:
    """The same for a change that is taken back, and must be."""
    before = {str(path): path.read_bytes() for path in (pair.base / "gateway/dip").glob("*.c*f*g*")}
    links = {one["path"]: os.readlink(one["path"]) for one in pair.all_arguments()[0]["links"]}
    with pytest.raises(HostError) as caught:
        changed(pair, edit)
    assert "dip: the step 'probe' failed; the previous configuration is back" in str(caught.value)
    assert {path: os.readlink(path) for path in links} == links
    assert {path: Path(path).read_bytes() for path in before} == before
    assert not (pair.base / "gateway/.transaction").exists()
    return caught.value


def ingress(arguments: Entry) -> Entry:
    found: Entry
    (found,) = (one for one in arguments["probes"] if one["kind"] == "ingress")
    return found


def with_probe(**settings: Any) -> Edit:
    return lambda arguments: ingress(arguments).update(settings)


def rewritten(*pairs: tuple[str, str]) -> Edit:
    """The configuration with other words in the places of these."""

    def edit(arguments: Entry) -> None:
        (config,) = (
            one for one in arguments["files"] if one["path"] in ("nginx.conf", "haproxy.cfg")
        )
        for old, new in pairs:
            assert old in config["content"], old
            config["content"] = config["content"].replace(old, new)

    return edit


# -- strangers ---------------------------------------------------------------------------------


LETS_STRANGERS_IN = {
    "nginx": rewritten(
        ("error_page 495 496 497 =403 @denied", "error_page 496 497 =403 @denied"),
        ("error_page 496", "error_page 495 =200 @denied; error_page 496"),
    ),
    "haproxy": rewritten(
        ("http-request set-var(txn.allowed) str(no)", "http-request set-var(txn.allowed) str(yes)"),
        ("str(NONE)", "str(NONE)\n    http-request deny deny_status 403 if !{ ssl_c_used }"),
    ),
}


def test_a_gateway_that_lets_a_self_signed_certificate_in_is_taken_back(pair: Pair) -> None:
    error = refused(pair, LETS_STRANGERS_IN[pair.product.product])
    assert error.rule == "GATEWAY-PROBE-STRANGER"
    assert "status 200" in error.found


def test_nothing_of_the_stranger_stays(pair: Pair) -> None:
    changed(pair, with_probe())
    assert list((pair.base / "gateway/dip/run").glob(".new-*")) == []


# -- ourselves ---------------------------------------------------------------------------------


def test_our_own_certificate_passes_chain_and_crls_and_is_refused_for_its_subject(
    pair: Pair,
) -> None:
    log = Path(pair.product.adapter.access_log(str(pair.base / "gateway/dip")))
    offset = log.stat().st_size
    notes = changed(pair, with_probe())
    assert not [note for note in notes if "own certificate" in note]
    seen = log.read_bytes()[offset:].decode()
    serial = f"{pair.certificate.serial_number:X}"
    (line,) = [one for one in seen.splitlines() if serial in one]
    assert '"verify":"SUCCESS"' in line
    assert '"status":"403"' in line


def crls_with_a_point(pair: Pair) -> str:
    """Valid CRLs, but the root's says that it is for certificates that name another URL."""
    point = x509.IssuingDistributionPoint(
        [x509.UniformResourceIdentifier("http://crl.example/other.crl")],
        None, False, False, None, False, False,
    )  # fmt: skip
    builder = x509.CertificateRevocationListBuilder().issuer_name(gw.name("root"))
    builder = builder.last_update(gw.NOW).next_update(gw.NOW.replace(year=gw.NOW.year + 1))
    signed = builder.add_extension(point, critical=True).sign(gw.key("root"), hashes.SHA256())
    text = signed.public_bytes(serialization.Encoding.PEM).decode()
    return pair.authorities.crl("issuing") + text


def crls(pair: Pair, text: str) -> Edit:
    staged = pair.stage_crl_text(text)["link"]

    def edit(arguments: Entry) -> None:
        (link,) = (one for one in arguments["links"] if one["path"] == staged["path"])
        link["target"] = staged["target"]

    return edit


def test_crls_that_would_lock_every_good_client_out_are_taken_back_and_not_for_the_subject(
    pair: Pair,
) -> None:
    error = refused(pair, crls(pair, crls_with_a_point(pair)))
    assert error.rule == "GATEWAY-PROBE-OWN"
    assert "not good" in error.message


def test_crls_that_revoke_our_own_certificate_are_installed_and_say_so(pair: Pair) -> None:
    text = pair.authorities.crl("issuing", pair.certificate) + pair.authorities.crl("root")
    notes = changed(pair, crls(pair, text))
    assert "webhook: our own certificate is revoked, or a CA above it is" in notes


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ({"issuers": ["CN=somebody else"]}, "is none of those let in"),
        ({"fullchain": "/nonexistent"}, "it cannot be read"),
    ],
)
def test_where_our_own_certificate_tells_nothing_that_is_said(
    pair: Pair, own: dict[str, Any], why: str
) -> None:
    def edit(arguments: Entry) -> None:
        ingress(arguments)["own"].update(own)

    (note,) = [one for one in changed(pair, edit) if "own certificate" in one]
    assert note.startswith("webhook: not tried with our own certificate: ")
    assert why in note


def test_a_certificate_for_servers_only_is_not_tried_as_a_client(pair: Pair) -> None:
    certificate = leaf("ours", usages=[Usage.SERVER_AUTH])
    path = pair.base / "servers-only.pem"
    path.write_text(gw.pem(certificate) + gw.pem(pair.authorities.issuing))

    def edit(arguments: Entry) -> None:
        ingress(arguments)["own"]["fullchain"] = str(path)

    assert any("it may not be used by clients" in note for note in changed(pair, edit))


# -- a stand-in that must be let in ------------------------------------------------------------


def client(pair: Pair, common_name: str, **settings: Any) -> Edit:
    path = pair.client(leaf("peer", common_name), "peer")
    return with_probe(client={"certificate": str(path), "key": str(path), **settings})


def test_a_client_that_must_be_let_in_is(pair: Pair) -> None:
    changed(pair, client(pair, gw.PEER))


def test_a_client_that_is_not_let_in_takes_the_change_back(pair: Pair) -> None:
    error = refused(pair, client(pair, "other.example"))
    assert error.rule == "GATEWAY-PROBE-CLIENT"
    assert error.found == "status 403"


def test_the_status_of_a_clients_answer_may_be_another(pair: Pair) -> None:
    assert refused(pair, client(pair, gw.PEER, status=204)).found == "status 200"


# -- egress ------------------------------------------------------------------------------------


@contextlib.contextmanager
def far_end(pair: Pair) -> Iterator[None]:
    certificate = gw.issue(gw.name(HOST), "far", gw.name("issuing"), "issuing", host=HOST)
    path = pair.client(certificate, "far")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with serving(pair.dip, context):
        yield


def test_a_far_end_that_is_away_before_and_after_stops_nothing(pair: Pair) -> None:
    notes = changed(pair, with_probe())
    assert any(note.startswith("api: the far end is not known to answer") for note in notes)


def test_a_far_end_that_answers_leaves_no_note(pair: Pair) -> None:
    with far_end(pair):
        assert [note for note in changed(pair, with_probe()) if note.startswith("api:")] == []


def test_a_change_after_which_the_far_end_is_not_reached_is_taken_back(pair: Pair) -> None:
    with far_end(pair):
        edit = rewritten((f"127.0.0.1:{pair.dip}", "127.0.0.1:1"))
        error = refused(pair, edit)
    assert error.rule == "GATEWAY-PROBE-EGRESS"
    assert "as before the change (status 200)" in error.expected
