# SPDX-License-Identifier: GPL-3.0-or-later
"""What the audit log of OpenBao says of exports and of who unwrapped them.

The lines have the shape that OpenBao 2.7.2 writes, fields that nobody here reads left out.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from scenarios import world

EXPORT = "transit-nonprod-tls/export/signing-key/dip-nonprod/1"
ROLE = {"policies": ["default", "release"], "metadata": {"role_name": "release"}}
DENIED = "1 error occurred:\n\t* permission denied\n\n"


def line(kind: str, path: str, source: str, token: str, **more: Any) -> str:
    request = {"id": "5f0c72dc", "operation": "read", "path": path, "remote_address": source}
    request |= {"client_token": token, **more.pop("request", {})}
    return json.dumps(
        {"time": "2026-11-22T02:31:49.06Z", "type": kind, "auth": ROLE, "request": request, **more}
    )


def wrapped(token: str, source: str = "10.0.0.1") -> list[str]:
    info = {"ttl": 60, "token": token, "creation_path": EXPORT}
    asked = {"wrap_ttl": 60}
    return [
        line("request", EXPORT, source, "hmac:release", request=asked),
        line(
            "response", EXPORT, source, "hmac:release", request=asked, response={"wrap_info": info}
        ),
    ]


def unwrapped(token: str, source: str) -> list[str]:
    return [
        line("request", world.UNWRAP, source, token),
        line("response", world.UNWRAP, source, token, response={"data": {"keys": {"1": "hmac:k"}}}),
    ]


def entries(*groups: list[str]) -> list[world.AuditEntry]:
    return world.audit_entries("\n".join(text for group in groups for text in group) + "\n")


def test_an_entry_says_who_asked_for_what_and_from_where() -> None:
    first, second = entries(wrapped("hmac:a"))
    assert (first.kind, first.operation, first.path) == ("request", "read", EXPORT)
    assert (first.remote_address, first.role, first.wrap_ttl) == ("10.0.0.1", "release", 60)
    assert first.wrap is None
    assert second.wrap == world.Wrap("hmac:a", EXPORT, 60)


def test_a_delivery_is_one_wrapped_export_and_the_unwrapping_of_its_own_token() -> None:
    log = entries(
        wrapped("hmac:a"),
        wrapped("hmac:b"),
        unwrapped("hmac:b", "10.0.0.13"),
        unwrapped("hmac:a", "10.0.0.12"),
    )
    assert world.deliveries(log) == [
        world.Delivery(EXPORT, "10.0.0.1", ("10.0.0.12",)),
        world.Delivery(EXPORT, "10.0.0.1", ("10.0.0.13",)),
    ]


def test_a_token_that_nobody_used_leaves_a_delivery_without_a_taker() -> None:
    assert world.deliveries(entries(wrapped("hmac:a")))[0].unwrapped_from == ()


def test_an_export_that_was_not_wrapped_is_found() -> None:
    bare = [
        line("request", EXPORT, "10.0.0.1", "hmac:release"),
        line("response", EXPORT, "10.0.0.1", "hmac:release", response={"data": {}}),
    ]
    found = world.unwrapped_exports(entries(wrapped("hmac:a"), bare))
    assert [one.path for one in found] == [EXPORT]


def test_a_refused_export_gave_nothing_away() -> None:
    refused = [
        line("request", EXPORT, "10.0.0.1", "hmac:release", error=DENIED),
        line(
            "response",
            EXPORT,
            "10.0.0.1",
            "hmac:release",
            error=DENIED,
            response={"data": {"error": "hmac:e"}},
        ),
    ]
    log = entries(refused)
    assert world.exports(log) == []
    assert world.unwrapped_exports(log) == []


def test_a_refused_unwrapping_still_is_an_attempt_but_no_taker() -> None:
    """It has no response line: OpenBao ends the request at its token."""
    stolen = [
        line("request", world.UNWRAP, "10.0.0.99", "hmac:a", error="wrapping token is not valid")
    ]
    log = entries(wrapped("hmac:a"), unwrapped("hmac:a", "10.0.0.12"), stolen)
    assert [one.remote_address for one in world.unwraps(log)] == ["10.0.0.12", "10.0.0.99"]
    assert world.deliveries(log)[0].unwrapped_from == ("10.0.0.12",)


def test_a_line_that_is_no_entry_is_not_overlooked() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        world.audit_entries('{"type": "request"\n')


def test_an_entry_without_a_token_or_a_login_is_read_too() -> None:
    bare = {"id": "1", "path": "auth/approle/login", "operation": "update"}
    text = json.dumps({"time": "t", "type": "request", "auth": {}, "request": bare})
    (entry,) = world.audit_entries(text)
    assert (entry.role, entry.token, entry.remote_address, entry.error) == ("", "", "", "")


def test_paths_of_another_party_are_below_its_own_directory() -> None:
    peer = world.Peer("dip-client")
    assert str(peer.key) == "/etc/lab/peers/dip-client/key.pem"
    assert str(peer.chain) == "/etc/lab/peers/dip-client/fullchain.pem"
    assert str(world.ca("root")) == "/etc/lab/ca/root.pem"
