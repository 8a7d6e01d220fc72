# SPDX-License-Identifier: GPL-3.0-or-later
"""Break the gateway on purpose and see exactly the right rows of the matrix go red.

A matrix that is all green proves nothing by itself: perhaps it cannot be red. So each
breakage below is made in a copy of the gateway that is really deployed (never in the
deployed one), the same matrix is run against the copy, and the table says which rows must
notice. A row that stays green although the table lists it, or goes red although it does
not, fails the test.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from integration.deployed_lab import deployed_lab
from unit.lab_imports import (
    PkiError,
    gatewayconf,
    gateways,
    matrix,
    probe,
    proof,
    rehearsal,
    scratch,
)

pytestmark = [pytest.mark.integration, pytest.mark.lab]

Files = rehearsal.Files
Edit = rehearsal.Edit

WELCOMED = frozenset(
    {
        "tls1.2-accepted",
        "tls1.3-accepted",
        "resumed-revoked",  # its client must get in before it is revoked
        "good-client",
        "good-client-after-refusals",
    }
)
REFUSED = frozenset({row for row, _, _ in proof.REFUSED} | {"resumed-revoked"})


@dataclass(frozen=True)
class Running:
    """A lab with a deployed gateway."""

    lab: matrix.Lab
    adapter: gateways.Adapter
    deployed: scratch.Deployed
    own_serial: str

    def sibling_crl(self) -> str:
        base = f"http://127.0.0.1:{self.lab.ports['pki_http']}/v1"
        return str(rehearsal.fetch(f"{base}/pki-sibling/crl/pem"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with deployed_lab(tmp_path_factory.mktemp("lab") / "home") as home:
        lab = matrix.load(home)
        adapter = gateways.adapter("nginx")
        (root,) = (path.parent for path in home.glob("hosts/gw1/gateway/*/nginx.conf"))
        deployed = scratch.read_deployed(root, adapter)
        own = proof.serial_of(deployed.values("ssl_certificate")[0][0])
        yield Running(lab, adapter, deployed, own)


# -- edits: each takes the files of a copy and gives them back broken ------------------------


def reword(change: gatewayconf.Change) -> Edit:
    """An edit of every configuration file."""

    def edit(files: Files) -> Files:
        return {
            name: gatewayconf.rewrite(text, change) if name.endswith(".conf") else text
            for name, text in files.items()
        }

    return edit


def put(name: str, *arguments: str) -> Edit:
    """Give every directive of that name other arguments."""
    return reword(lambda _parents, words: (name, *arguments) if words[0] == name else words)


def drop(*names: str) -> Edit:
    return reword(lambda _parents, words: () if words[0] in names else words)


def open_map(variable: str, known: str) -> Edit:
    """Whatever a map does not know counts as known: the list it implements is off."""

    def change(parents: tuple[tuple[str, ...], ...], words: tuple[str, ...]) -> tuple[str, ...]:
        inside = parents and parents[-1][0] == "map" and parents[-1][2].startswith(variable)
        return ("default", known) if inside and words[0] == "default" else words

    return reword(change)


def any_subject() -> Edit:
    """A verified certificate of the allowed issuer is let in, whoever it names."""

    def change(parents: tuple[tuple[str, ...], ...], words: tuple[str, ...]) -> tuple[str, ...]:
        inside = parents and parents[-1][0] == "map" and parents[-1][2].startswith("$allowed_")
        return ("~^SUCCESS:1:", "yes") if inside and words[0] != "default" else words

    return reword(change)


def narrow_map(variable: str) -> Edit:
    """A map that knows nobody any more."""

    def change(parents: tuple[tuple[str, ...], ...], words: tuple[str, ...]) -> tuple[str, ...]:
        inside = parents and parents[-1][0] == "map" and parents[-1][2].startswith(variable)
        return () if inside and words[0] != "default" else words

    return reword(change)


def both(*edits: Edit) -> Edit:
    def edit(files: Files) -> Files:
        for one in edits:
            files = noticed(one)(files)
        return files

    return edit


def noticed(edit: Edit) -> Edit:
    """The edit, with the promise that it changed something."""

    def checked(files: Files) -> Files:
        broken = edit(files)
        assert broken != files, "the breakage changed nothing"
        return broken

    return checked


def protocols(*names: str) -> Edit:
    """Offer these versions on the ingress, with ciphers that all of them can use."""
    return both(put("ssl_protocols", *names), put("ssl_ciphers", "ALL:@SECLEVEL=0"))


def with_sibling_crl(running: Running) -> Edit:
    crl = running.sibling_crl()

    def edit(files: Files) -> Files:
        return {
            name: text + crl if "BEGIN X509 CRL" in text else text for name, text in files.items()
        }

    return edit


def resumption() -> Edit:
    return both(put("ssl_session_cache", "shared:broken:1m"), put("ssl_session_tickets", "on"))


def peer_certificate(running: Running, peer: str) -> Edit:
    identity = running.lab.peer(peer)
    return both(
        put("proxy_ssl_certificate", identity.certificate_file),
        put("proxy_ssl_certificate_key", identity.key_file),
    )


def verify_the_impostors_own_name(running: Running) -> Edit:
    """On the way to the far end with the wrong name, ask for the name that it has."""
    authority = f"127.0.0.1:{running.lab.ports['dip_wrong_name']}"

    def edit_text(text: str) -> str:
        tree = [directive for _, directive in gatewayconf.walk(gatewayconf.parse(text))]
        (upstream,) = (
            block.values[1]
            for block in tree
            if block.values[0] == "upstream"
            and any(inner.values[:2] == ("server", authority) for inner in block.body or ())
        )
        (location,) = (
            block
            for block in tree
            if any(
                inner.values == ("proxy_pass", f"https://{upstream}") for inner in block.body or ()
            )
        )
        (name,) = (inner for inner in location.body or () if inner.values[0] == "proxy_ssl_name")
        word = name.words[1]
        return text[: word.start] + "api.other.dip.example" + text[word.end :]

    def edit(files: Files) -> Files:
        return {
            name: edit_text(text) if name.endswith(".conf") else text
            for name, text in files.items()
        }

    return edit


# -- the table -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Breakage:
    """What is broken, how, and which rows must be red then: exactly these."""

    name: str
    edit: Callable[[Running], Edit]
    red: frozenset[str]


def breakage(name: str, edit: Edit | Callable[[Running], Edit], *red: str) -> Breakage:
    return Breakage(name, edit, frozenset(red))  # type: ignore[arg-type]


def fixed(edit: Edit) -> Callable[[Running], Edit]:
    return lambda _running: edit


BREAKAGES = (
    breakage("CRL off", fixed(drop("ssl_crl")), "revoked", "resumed-revoked"),
    breakage(
        "client verification off and allow-list open",
        fixed(both(put("ssl_verify_client", "off"), open_map("$allowed_", "yes"))),
        *REFUSED,
    ),
    breakage(
        "client verification off, but the allow-list still wants a verified peer",
        fixed(put("ssl_verify_client", "off")),
        *WELCOMED,
    ),
    breakage(
        # Defence in depth: there is no CRL of an unknown CA, so its clients stay out.
        "unknown CAs let through and allow-list open",
        fixed(both(put("ssl_verify_client", "optional_no_ca"), open_map("$allowed_", "yes"))),
        "no-certificate",
        "wrong-environment",
    ),
    breakage(
        "unknown CAs let through, allow-list open and CRL off",
        fixed(
            both(
                put("ssl_verify_client", "optional_no_ca"),
                open_map("$allowed_", "yes"),
                drop("ssl_crl"),
            )
        ),
        *(REFUSED - {"expired"}),
    ),
    breakage(
        "unknown CAs let through, but the allow-list still wants a verified peer",
        fixed(put("ssl_verify_client", "optional_no_ca")),
    ),
    breakage("TLS 1.1 on", fixed(protocols("TLSv1.1", "TLSv1.2", "TLSv1.3")), "tls1.1-refused"),
    breakage(
        # A client of 1.1 is offered 1.0 then, which is not the refusal it must get.
        "TLS 1.0 on",
        fixed(protocols("TLSv1", "TLSv1.2", "TLSv1.3")),
        "tls1.0-refused",
        "tls1.1-refused",
    ),
    breakage(
        "TLS 1.2 off", fixed(put("ssl_protocols", "TLSv1.3")), "tls1.2-accepted", "resumed-revoked"
    ),
    breakage(
        "TLS 1.3 off", fixed(put("ssl_protocols", "TLSv1.2")), "tls1.3-accepted", "resumed-revoked"
    ),
    breakage(
        "issuer check off and the sibling's CRL supplied",
        lambda running: both(open_map("$issuer_", "1"), with_sibling_crl(running)),
        "sibling-ca",
    ),
    breakage(
        # Defence in depth: without its CRL the sibling's client is refused all the same.
        "issuer check off alone",
        fixed(open_map("$issuer_", "1")),
    ),
    breakage("the sibling's CRL supplied alone", with_sibling_crl),
    breakage("subject check off", fixed(any_subject()), "wrong-environment"),
    breakage("allow-list of peers empty", fixed(narrow_map("$allowed_")), *WELCOMED),
    breakage("resumption on", fixed(resumption()), "resumed-revoked"),
    breakage(
        "refusals not mapped to 403",
        # The other environment's certificate verifies; its 403 does not come from the mapping.
        fixed(drop("error_page")),
        *(REFUSED - {"wrong-environment"}),
    ),
    breakage(
        "application behind the gateway gone",
        fixed(
            reword(
                lambda parents, words: (
                    ("server", "127.0.0.1:1")
                    if parents
                    and parents[-1][0] == "upstream"
                    and parents[-1][1].startswith("ingress_")
                    and words[0] == "server"
                    else words
                )
            )
        ),
        *WELCOMED,
    ),
    breakage(
        "egress verification off",
        fixed(put("proxy_ssl_verify", "off")),
        "egress-wrong-name",
        "egress-revoked",
        "egress-expired",
    ),
    breakage("egress CRL off", fixed(drop("proxy_ssl_crl")), "egress-revoked"),
    breakage("egress name check off", verify_the_impostors_own_name, "egress-wrong-name"),
    breakage(
        "egress client certificate missing",
        fixed(drop("proxy_ssl_certificate", "proxy_ssl_certificate_key")),
        "egress-good",
    ),
    breakage(
        "egress with somebody else's certificate",
        lambda running: peer_certificate(running, "wrong-prefix"),
        "egress-good",
    ),
)


@contextlib.contextmanager
def copy_of(running: Running, edit: Edit) -> Iterator[proof.Target]:
    """A running copy of the deployed gateway, after ``edit``, as a target for the matrix."""
    lab = running.lab
    directory = lab.scratch / f"copy-{uuid.uuid4().hex[:8]}"
    ports, files = rehearsal.copy(running.deployed, directory)
    name = matrix.server_name(running.deployed)
    with scratch.Instance(running.adapter, lab.program, directory, edit(files)):
        yield matrix.target(lab, "copy", name, running.own_serial, ports)


def try_copy(running: Running, edit: Edit) -> tuple[proof.Row, ...]:
    """The whole matrix against such a copy."""
    rehearse = matrix.rehearsal(running.lab, running.adapter, running.deployed, "revocation", edit)
    with copy_of(running, edit) as target:
        return tuple(proof.prove(target, rehearse))


def red(rows: tuple[proof.Row, ...]) -> dict[str, str]:
    return {row.id: row.seen for row in rows if not row.passed}


def test_an_unbroken_copy_of_the_gateway_is_green_and_the_deployed_files_stay_as_they_are(
    running: Running,
) -> None:
    watched = {
        "host": running.lab.home / "hosts",
        "certificates": running.lab.home / "certificates",
    }
    before = scratch.digest(watched)
    scratches = {*running.lab.scratch.glob("*")}
    rows = try_copy(running, rehearsal.unchanged)
    assert red(rows) == {}
    assert {row.id for row in rows} >= REFUSED | WELCOMED
    assert scratch.digest(watched) == before
    assert {*running.lab.scratch.glob("*")} == scratches


@pytest.mark.parametrize("broken", BREAKAGES, ids=lambda broken: broken.name)
def test_exactly_the_rows_of_the_table_go_red_for(broken: Breakage, running: Running) -> None:
    rows = try_copy(running, noticed(broken.edit(running)))
    seen = red(rows)
    assert set(seen) == broken.red, seen


def test_every_row_is_red_in_at_least_one_breakage(running: Running) -> None:
    rows = {row.id for row in try_copy(running, rehearsal.unchanged)}
    noticed_somewhere = frozenset().union(*(broken.red for broken in BREAKAGES))
    assert rows == noticed_somewhere


def test_a_red_row_is_named_with_what_it_saw_and_fails_the_proof(
    running: Running, tmp_path: Path
) -> None:
    with copy_of(running, noticed(drop("proxy_ssl_crl"))) as target:
        rows = [proof.egress_refused(target, *row) for row in proof.EGRESS_REFUSED]
    with pytest.raises(PkiError) as caught:
        proof.require_green(rows, str(tmp_path))
    assert caught.value.rule == "LAB-MATRIX"
    assert caught.value.found == f"egress-revoked: {rows[1].seen}"


# -- a refusal counts only with its own proof that it means something ------------------------


@pytest.fixture(scope="module")
def sound(running: Running) -> Iterator[proof.Target]:
    with copy_of(running, rehearsal.unchanged) as target:
        yield target


def dead(endpoint: proof.Endpoint) -> proof.Endpoint:
    return replace(endpoint, port=scratch.free_ports(1)[0])


def test_an_old_version_is_not_refused_when_the_client_cannot_reach_the_control_server(
    sound: proof.Target,
) -> None:
    row = proof.old_version(replace(sound, control=dead(sound.control)), "x", "TLSv1.1")
    assert row.observed["alert"] == 70
    assert not row.passed


def test_an_expired_client_is_not_refused_when_its_certificate_has_not_expired(
    sound: proof.Target,
) -> None:
    peers = {**sound.peers, "expired": sound.peers["wrong-prefix"]}
    row = proof.refused(replace(sound, peers=peers), "expired", "expired", "x")
    assert row.observed["http_status"] == 403
    assert not row.passed


@pytest.mark.parametrize("fault", ["far end down", "other certificate", "no log"])
def test_a_hostile_far_end_is_not_refused_when_it_is_not_there_to_be_called(
    sound: proof.Target, fault: str, tmp_path: Path
) -> None:
    way = sound.egress["egress-revoked"]
    without = {
        "far end down": replace(way, far_end=dead(way.far_end)),
        "other certificate": replace(way, serial=sound.own_serial),
        "no log": replace(way, log=tmp_path / "absent.log"),
    }[fault]
    target = replace(sound, egress={**sound.egress, "egress-revoked": without})
    row = proof.egress_refused(target, "egress-revoked", "x")
    assert row.observed["http_status"] == 502
    assert not row.passed


def test_another_certificate_than_ours_is_noticed_in_both_directions(
    sound: proof.Target,
) -> None:
    target = replace(sound, own_serial=proof.serial_of(sound.peers["revoked"].certificate_file))
    rows = (proof.accepted(target, "x", "x"), proof.egress_good(target))
    assert [row.observed["http_status"] for row in rows] == [200, 200]
    assert [row.passed for row in rows] == [False, False]


def test_a_proof_that_was_interrupted_is_swept_away(running: Running) -> None:
    lab = running.lab
    directory = lab.scratch / "interrupted" / "copy"
    ports, files = rehearsal.copy(running.deployed, directory)
    instance = scratch.Instance(running.adapter, lab.program, directory, files)
    instance.__enter__()
    port = ports[lab.ports["ingress"]]
    assert probe.served("127.0.0.1", port, "x").serial == running.own_serial
    scratch.sweep(running.adapter, lab.program, directory.parent)
    assert probe.served("127.0.0.1", port, "x").serial is None
    assert not directory.parent.exists()
