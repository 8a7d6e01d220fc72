# SPDX-License-Identifier: GPL-3.0-or-later
"""How much a client may ask, how large it may be, and how long it may stay."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from gateways import asking
from gateways.asking import Answer
from gateways.stand import TIGHT, TIGHT_SECONDS, Stand

Ask = Callable[[bytes], Answer]


def fresh(stand: Stand) -> None:
    """Let the rate of requests be far below its bound again."""
    time.sleep((TIGHT["request_burst"] + 1) / TIGHT["requests_per_second"])


def side(stand: Stand, name: str) -> Ask:
    return (lambda raw: stand.ask("ok", raw)) if name == "ingress" else stand.call


@pytest.mark.parametrize("name", ["ingress", "egress"])
def test_a_body_ends_at_its_limit(tight: Stand, name: str) -> None:
    fresh(tight)
    ask, limit = side(tight, name), TIGHT["body_bytes"]
    whole = ask(asking.request("POST", body=b"x" * limit, close=True))
    assert (whole.status, whole.seen["size"]) == (200, limit)
    assert ask(asking.request("POST", body=b"x" * (limit + 1), close=True)).status == 413


def test_a_body_that_does_not_say_its_length_does_not_get_around_the_limit(tight: Stand) -> None:
    fresh(tight)
    served = len(tight.application.notes.requests)
    size = TIGHT["body_bytes"] * 2
    body = f"{size:x}\r\n".encode() + b"x" * size + b"\r\n0\r\n\r\n"
    raw = asking.request("POST", headers={"Transfer-Encoding": "chunked"}, body=body, close=True)
    assert tight.ask("ok", raw).status == tight.product.unsized_body
    assert len(tight.application.notes.requests) == served


@pytest.mark.parametrize("name", ["ingress", "egress"])
def test_headers_end_at_their_limit(tight: Stand, name: str) -> None:
    fresh(tight)
    ask, limit = side(tight, name), TIGHT["header_bytes"]
    for headers in ({"X-One": "x" * limit}, {f"X-{n}": "x" * 400 for n in range(limit // 400 + 1)}):
        raw = asking.request(headers=headers, close=True)
        assert ask(raw).status in tight.product.header_refused
    # A certificate and a signature of a real message take about this part of the limit.
    assert ask(asking.request(headers={"X-One": "x" * (limit // 2)}, close=True)).status == 200


def test_our_own_calls_are_never_held_up(tight: Stand) -> None:
    fresh(tight)
    statuses = [side(tight, "egress")(asking.GET).status for _ in range(5 * TIGHT["request_burst"])]
    assert {*statuses} == {200}


def test_who_asks_too_often_is_told_to_slow_down_and_is_welcome_again(tight: Stand) -> None:
    fresh(tight)
    ask = side(tight, "ingress")
    statuses: list[int] = []
    # On a busy machine a caller may be too slow for a while.
    while 429 not in statuses and len(statuses) < 200:
        statuses.append(ask(asking.GET).status)
    assert {*statuses[:-1]} == {200}
    assert statuses[-1] == 429
    assert len(statuses) > TIGHT["request_burst"]
    fresh(tight)
    assert ask(asking.GET).status == 200


def test_a_connection_does_not_outlive_its_age_however_busy_it_is(tight: Stand) -> None:
    fresh(tight)
    began = time.monotonic()
    with asking.connected(tight.world.ingress, asking.context(tight.clients["ok"])) as connection:
        asked = 0
        while time.monotonic() < began + 20:
            connection.sendall(asking.request())
            answer = asking.receive(connection)
            asked += 1
            if answer.closed:
                break
            time.sleep(0.4)
        lived = time.monotonic() - began
    # The last request is answered; that is how the end of the connection is told.
    assert answer.status in (200, 429)
    assert asked > 2
    oldest = TIGHT_SECONDS["connection_seconds"]
    assert oldest - 1 <= lived < oldest + 3


def test_an_idle_connection_is_ended(tight: Stand) -> None:
    with asking.connected(tight.world.ingress, asking.context(tight.clients["ok"])) as connection:
        connection.sendall(asking.request())
        assert not asking.receive(connection).closed
        began = time.monotonic()
        assert connection.recv(100) == b""
        assert time.monotonic() - began < TIGHT_SECONDS["idle_seconds"] + 3


@pytest.mark.parametrize(
    "part",
    [b"GET / HTTP/1.1\r\nHost: x", asking.request("POST", headers={"Content-Length": "9"}) + b"x"],
    ids=["header", "body"],
)
def test_half_a_request_is_not_waited_for(tight: Stand, part: bytes) -> None:
    fresh(tight)
    with asking.connected(tight.world.ingress, asking.context(tight.clients["ok"])) as connection:
        began = time.monotonic()
        connection.sendall(part)
        assert asking.receive(connection).status in (0, 408, 504)
        assert time.monotonic() - began < TIGHT_SECONDS["idle_seconds"] + 4
