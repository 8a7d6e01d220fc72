# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever takes out a line that keeps something safe is noticed: line by line."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from gateways import asking
from gateways.directives import OTHER, SECURITY, Line, Spot, excused, spots, weakened
from gateways.stand import TIGHT_SECONDS, Stand, far_certificate
from pki import gateway
from pki.facts import gateways
from pki.facts import products as rendering
from pki.facts.scene import Scene
from pki.gateway import products
from pki.policy import Outcome
from pki.session import Inputs
from pki_host import processes
from unit import gateway_entry

PROBE = "probe: "


@cache
def sources() -> gateway.Sources:
    return gateway_entry.sources()


def entry(product: str) -> dict[str, Any]:
    """An ingress and an egress with all that they can have."""
    told = {**gateway_entry.ENTRY, "product": product}
    return {**told, "egress": [{**told["egress"][0], "dip_id": "EX01", "api_key": "dip"}]}


@cache
def model(product: str) -> dict[str, Any]:
    (built,) = gateway.build_all([entry(product)], sources())
    return dict(built)


@cache
def rendered(product: str) -> list[dict[str, str]]:
    """The files of a host where the master is root."""
    lacks = products.adapter(product).lacks
    return products.rendered(model(product), lacks, user="www-data")


def text(product: str) -> str:
    """The configuration."""
    return rendered(product)[0]["content"]


def failures(product: str, configuration: str) -> set[str]:
    """The rules that fail on a host with this configuration."""
    adapter = products.adapter(product)
    files = {one["path"]: one["content"] for one in rendered(product)}
    settings = adapter.read({**files, adapter.config_file: configuration})
    rendering._add_digests(settings, model(product))
    read = {
        "gateway": "gw",
        "product": product,
        "readable": True,
        "problem": "",
        "settings": settings,
    }
    roots = {"release": "/etc/pki/mtls", "crl": "/var/lib/pki-crl", "gateway": "/etc/pki/gateway"}
    known = sources()
    scene = Scene(
        inputs=Inputs(
            declared=known.declared,
            policies=known.policies,
            trust=known.trust,
            certificates_dir=Path("certificates"),
            crl_cache_dir=Path("crls"),
            now=datetime(2026, 11, 22, tzinfo=UTC),
        ),
        scope="live",
        name="test",
        gateways=[entry(product)],
        hosts={"gw1": {"groups": ["gateways"], "roots": roots, "gateways": [read]}},
    )
    (document,) = gateways.collect(scene).documents
    findings = known.policies["mhhs-dip"].evaluate("gateway", document.facts)
    return {one.rule for one in findings if one.outcome is not Outcome.PASSED}


def of(product: str, spot: Spot) -> list[Line]:
    return [line for line in SECURITY[product] if line.takes(spot.text, spot.side)]


@pytest.mark.parametrize("made_for", sorted(SECURITY))
def test_the_whole_configuration_is_in_order(made_for: str) -> None:
    assert failures(made_for, text(made_for)) == set()


@pytest.mark.parametrize("made_for", sorted(SECURITY))
def test_every_line_keeps_something_safe_or_says_why_not(made_for: str) -> None:
    """A new line of a template is in neither table."""
    for spot in spots(text(made_for)):
        reasons = excused(made_for, spot)
        assert len(reasons) <= 1, spot
        assert bool(of(made_for, spot)) != bool(reasons), spot


@pytest.mark.parametrize("made_for", sorted(SECURITY))
def test_nothing_is_said_of_lines_that_there_are_not(made_for: str) -> None:
    told = list(spots(text(made_for)))
    for line in SECURITY[made_for]:
        assert [spot for spot in told if line.takes(spot.text, spot.side)], line
    reasons = {reason for spot in told for reason in excused(made_for, spot)}
    assert reasons == {*OTHER[made_for].values()}


JUDGED = [
    pytest.param(product, spot, line, id=f"{product}-{spot.number + 1}-{spot.text[:40]}")
    for product in sorted(SECURITY)
    for spot in spots(text(product))
    for line in of(product, spot)
    if not line.noticed.startswith(PROBE)
]


@pytest.mark.parametrize(("made_for", "spot", "line"), JUDGED)
def test_a_line_that_is_gone_or_weaker_is_found_by_its_rule(
    made_for: str, spot: Spot, line: Line
) -> None:
    assert line.noticed in failures(made_for, weakened(text(made_for), spot, line))


# -- what only the running gateway shows ---------------------------------------------------


def _version(stand: Stand) -> bool:
    return not re.search(r"(?i)server: \S*[0-9]", stand.ask("none").head)


def _own_order(stand: Stand) -> bool:
    wish = "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"
    answer = stand.ask("none", version=asking.TLS12, ciphers=wish)
    return answer.cipher == "ECDHE-RSA-AES128-GCM-SHA256"


def _ends(stand: Stand, begin: bytes, *, answered: bool = False) -> bool:
    """Whether a connection on which nothing more comes is ended in time."""
    with asking.connected(stand.world.ingress, asking.context(stand.clients["ok"])) as connection:
        connection.sendall(begin)
        if answered:
            asking.receive(connection)
        connection.settimeout(TIGHT_SECONDS["idle_seconds"] + 2)
        with contextlib.suppress(TimeoutError):
            while connection.recv(4096):
                pass
            return True
    return False


def _unprivileged(stand: Stand) -> bool:
    master = stand.world.daemon().master()
    assert master is not None
    workers = [one for one in processes.processes() if one.parent == master.pid]
    return bool(workers) and all(one.uid != 0 for one in workers)


def _never_arrives(stand: Stand, raw: bytes) -> bool:
    served = len(stand.application.notes.requests)
    stand.ask("ok", raw)
    return len(stand.application.notes.requests) == served


def _no_upgrade(stand: Stand) -> bool:
    answer = stand.ask("ok", asking.request(headers={"Upgrade": "websocket"}, close=True))
    return answer.header("upgrade") == []


def _once(stand: Stand) -> bool:
    """A POST whose pooled connection breaks under it does not come again."""
    with stand.other_far_end(stand.far_context(far_certificate())) as far_end:
        for number in range(10):
            stand.call()
            far_end.drops = 1
            stand.call(asking.request("POST", f"/{number}", body=b"x", close=True))
            if not far_end.drops:
                return far_end.notes.count("POST", f"/{number}") == 1
            time.sleep(0.5)
    raise AssertionError("no request came on a pooled connection")


def _far_age(stand: Stand) -> bool:
    """However busy it is, a connection to a far end is replaced by another in time."""
    with stand.other_far_end(stand.far_context(far_certificate())) as far_end:
        end = time.monotonic() + TIGHT_SECONDS["connection_seconds"] * 2 + 0.5
        while time.monotonic() < end:
            stand.call()
            time.sleep(0.25)
        busy = max(sum(one[2] == number for one in far_end.notes.requests) for number in (1, 2))
        return far_end.notes.connections >= 2 and busy < len(far_end.notes.requests)


PROBES: dict[str, Callable[[Stand], bool]] = {
    "version": _version,
    "own order": _own_order,
    "half a header": lambda stand: _ends(stand, b"GET / HTTP/1.1\r\nHost: x"),
    "half a body": lambda stand: _ends(
        stand, asking.request("POST", headers={"Content-Length": "9"}) + b"x"
    ),
    "idle": lambda stand: _ends(stand, asking.request(), answered=True),
    "unprivileged": _unprivileged,
    "connect": lambda stand: _never_arrives(
        stand, b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nConnection: close\r\n\r\n"
    ),
    "upgrade": _no_upgrade,
    "once": _once,
    "age towards a far end": _far_age,
}


@contextlib.contextmanager
def configured(stand: Stand, configuration: str) -> Iterator[None]:
    """Another configuration for a while, loaded past the transaction, which would not have it."""
    path = stand.world.root / stand.product.config_file
    before, daemon = path.read_text(), stand.world.daemon()
    try:
        path.write_text(configuration)
        daemon.reload()
        time.sleep(0.2)
        yield
    finally:
        path.write_text(before)
        daemon.reload()


def test_a_line_that_only_a_probe_can_miss_is_missed_by_it(tight: Stand) -> None:
    world, adapter = tight.world, tight.product.adapter
    # Only root can let workers be somebody else.
    user = "www-data" if os.geteuid() == 0 else ""
    whole = products.rendered(world.model(), adapter.lacks, user)[0]["content"]
    found = [
        (spot, line, PROBES[line.noticed.removeprefix(PROBE)])
        for spot in spots(whole)
        for line in of(tight.product.product, spot)
        if line.noticed.startswith(PROBE)
    ]
    assert found
    with configured(tight, whole):
        for spot, _, probe in found:
            assert probe(tight), f"fails without reason: {spot}"
    for spot, line, probe in found:
        with configured(tight, weakened(whole, spot, line)):
            assert not probe(tight), spot


def test_every_probe_is_there_for_a_line() -> None:
    lines = [line for known in SECURITY.values() for line in known]
    assert {*PROBES} == {
        line.noticed.removeprefix(PROBE) for line in lines if line.noticed.startswith(PROBE)
    }
