# SPDX-License-Identifier: GPL-3.0-or-later
"""An audit log read line by line: which secrets left, who took them, and nothing else."""

from __future__ import annotations

import contextlib
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki import deliveries
from pki_host import audit_log
from pki_host.audit_log import Look
from pki_host.errors import HostError

PATH = "transit-nonprod-tls/export/signing-key/dip/1"


def digest(name: str) -> str:
    return f"hmac-sha256:{name.encode().hex():0<64}"


def entry(
    path: str = PATH,
    kind: str = "response",
    *,
    number: object = 1,
    at: str = "12:00:00",
    address: str = "192.0.2.1",
    role: str = "release",
    operation: str = "read",
    token: str = "caller",
    given: dict[str, Any] | None = None,
    response: dict[str, Any] | None = None,
    error: str = "",
) -> dict[str, Any]:
    """An entry as OpenBao 2.7 writes it, in what matters here."""
    request = {
        "id": f"request-{number}",
        "operation": operation,
        "path": path,
        "client_token": digest(token),
        "remote_address": address,
        **({"data": given} if given else {}),
    }
    return {
        "time": f"2026-11-22T{at}.123456789Z",
        "type": kind,
        "auth": {"display_name": "approle", "metadata": {"role_name": role}},
        "request": request,
        **({"response": response} if response else {}),
        **({"error": error} if error else {}),
    }


def wrapped(name: str, **changes: Any) -> dict[str, Any]:
    info = {"token": digest(name), "ttl": 60, "creation_path": changes.pop("created", PATH)}
    return entry(response={"wrap_info": info}, number=f"wrap {name}", **changes)


def unwrap(name: str, **changes: Any) -> dict[str, Any]:
    changes.setdefault("response", {"data": {"keys": {"1": digest("key")}}})
    changes.setdefault("number", f"take {name} {changes.get('at')}")
    return entry("sys/wrapping/unwrap", token=name, operation="update", role="", **changes)


def late(name: str, **changes: Any) -> dict[str, Any]:
    error = "wrapping token is not valid or does not exist"
    return unwrap(
        name, kind="request", response=None, error=error, number=f"late {name}", **changes
    )


def written(folder: Path, *entries: Any, name: str = "audit.log", end: str = "\n") -> str:
    path = folder / name
    lines = [one if isinstance(one, str) else json.dumps(one) for one in entries]
    data = ("\n".join(lines) + end).encode("utf-8", "surrogateescape")
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return str(path)


def events(folder: Path, *entries: Any) -> list[tuple[str, str]]:
    seen = audit_log.look([written(folder, *entries)])
    return [(one["kind"], one["from"]) for one in seen.events]


# --- lines ------------------------------------------------------------------------------------


def test_a_wrap_and_its_unwrapping_are_found_between_other_lines(tmp_path: Path) -> None:
    other = entry("sys/mounts", response={"data": {"x": "y"}})
    taken = unwrap("a", address="192.0.2.7")
    assert events(tmp_path, other, wrapped("a"), other, taken) == [
        ("wrap", "192.0.2.1"),
        ("take", "192.0.2.7"),
    ]


@pytest.mark.parametrize(
    "path",
    [
        PATH,
        "transit-nonprod-tls/export/encryption-key/dip/1",
        "transit-nonprod-tls/export/signing-key/dip",
        "transit-nonprod-tls/backup/dip",
        "transit-nonprod-tls/byok-export/other/dip",
        "kv-nonprod/data/passphrases/dip_gw1",
    ],
)
def test_every_way_out_is_seen_when_it_is_answered_in_the_clear(tmp_path: Path, path: str) -> None:
    answer = {"data": {"keys": {"1": digest("k")}}}
    assert events(tmp_path, entry(path, response=answer)) == [("clear", "192.0.2.1")]


@pytest.mark.parametrize(
    "line",
    [
        entry(kind="request"),
        entry(response={"data": {"error": digest("no")}}, error="permission denied"),
        entry("kv-nonprod/data/passphrases/dip", operation="create", response={"data": {"v": 1}}),
        entry("kv-nonprod/data/compromised/00", response={"data": {"x": 1}}),
        entry("transit-nonprod-tls/sign/dip/sha2-256", response={"data": {"signature": "s"}}),
        wrapped("a", created="sys/tools/random"),
    ],
)
def test_what_gave_no_secret_away_is_left_out(tmp_path: Path, line: dict[str, Any]) -> None:
    assert events(tmp_path, line) == []


def test_a_token_given_as_a_parameter_is_followed_as_well(tmp_path: Path) -> None:
    """Whoever has a login of his own unwraps by parameter; the caller's token is then another."""
    taken = unwrap("own", given={"token": digest("a")})
    path = written(tmp_path, wrapped("a"), taken)
    wrap, take = audit_log.look([path]).events
    assert take["token"] == wrap["token"]


def test_a_new_wrap_of_the_same_answer_takes_the_first_and_names_it(tmp_path: Path) -> None:
    info = {"token": digest("b"), "ttl": 60, "creation_path": PATH}
    again = entry(
        "sys/wrapping/rewrap",
        operation="update",
        given={"token": digest("a")},
        response={"wrap_info": info},
        number="again",
    )
    first, taken, second = audit_log.look([written(tmp_path, wrapped("a"), again)]).events
    assert (taken["how"], taken["token"]) == ("rewrap", first["token"])
    assert (second["kind"], second["parent"]) == ("wrap", first["token"])


def test_a_refused_unwrapping_is_seen_in_the_line_of_the_request(tmp_path: Path) -> None:
    assert events(tmp_path, late("a"))[0][0] == "refused"


def test_a_call_that_two_files_of_a_rotation_have_counts_once(tmp_path: Path) -> None:
    one = written(tmp_path, wrapped("a"), unwrap("a"), name="audit.log.1.gz")
    two = written(tmp_path, unwrap("a"), name="audit.log")
    assert len(audit_log.look([one, two]).events) == 2


def test_an_incomplete_last_line_and_lines_of_others_are_counted(tmp_path: Path) -> None:
    lines = [wrapped("a"), "2026-11-22 started", '{"type": "note"}', "\udcff\udcfe", '{"type": "re']
    seen = audit_log.look([written(tmp_path, *lines, end="")])
    assert (len(seen.events), seen.foreign, seen.partial) == (1, 0, 1)
    hint = '"/export/"'
    more = [wrapped("a"), f"started {hint}", f'{{"type": "note", "x": {hint}}}', f"[{hint}]"]
    seen = audit_log.look([written(tmp_path, *more)])
    assert (len(seen.events), seen.foreign, seen.partial) == (1, 3, 0)


def test_a_line_without_end_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_bytes(
        json.dumps(wrapped("a")).encode()
        + b"\n"
        + b"/export/" * (1 << 22)
        + b"\n"
        + json.dumps(unwrap("a")).encode()
    )
    tracemalloc.start()
    seen = audit_log.look([str(path)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [one["kind"] for one in seen.events] == ["wrap", "take"]
    assert peak < 8 * audit_log.LONGEST_LINE


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "No such file"),
        (b"", "no line of an audit log"),
        (b"plain text\nmore\n", "no line of an audit log"),
    ],
)
def test_a_log_that_tells_nothing_is_an_error_and_not_an_empty_answer(
    tmp_path: Path, content: bytes | None, found: str
) -> None:
    path = tmp_path / "audit.log"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HostError) as caught:
        audit_log.look([str(path)])
    assert caught.value.rule == "AUDIT-LOG"
    assert found in caught.value.found
    assert caught.value.next_step


def test_a_damaged_archive_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "audit.log.gz"
    path.write_bytes(gzip.compress(json.dumps(wrapped("a")).encode() * 50)[:-20])
    with pytest.raises(HostError):
        audit_log.look([str(path)])


@pytest.mark.parametrize("where", ["wrap", "taker"])
def test_a_log_that_shows_tokens_in_the_clear_is_refused_without_showing_one(
    tmp_path: Path, where: str
) -> None:
    line = json.dumps(wrapped("a") if where == "wrap" else unwrap("a"))
    path = written(tmp_path, line.replace(digest("a"), "s.plain-token-0123456789"))
    with pytest.raises(HostError) as caught:
        audit_log.look([path])
    assert "log_raw" in caught.value.found
    assert "plain-token" not in str(caught.value.as_result())


def test_more_events_than_can_be_looked_at_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "MOST_EVENTS", 2)
    lines = [wrapped(name) for name in "abc"]
    assert len(audit_log.look([written(tmp_path, *lines[:2])]).events) == 2
    with pytest.raises(HostError, match="more keys than can be looked at"):
        audit_log.look([written(tmp_path, *lines)])


@given(st.binary(max_size=300))
def test_no_line_is_too_odd(line: bytes) -> None:
    look = Look()
    look.feed(b"/export/" + line.replace(b"\n", b""))
    assert look.events == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(digest("a")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["wrap_info", "token", "ttl", "creation_path", "data", "path", "id"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from([PATH, "sys/wrapping/unwrap", "sys/wrapping/rewrap"]), _JSON, _JSON)
def test_no_shape_of_an_entry_breaks_the_reader(
    path: str, request: object, response: object
) -> None:
    line = entry(path)
    line["request"]["data"], line["response"], line["request"]["id"] = request, response, response
    # A refusal is the reader's own word; anything else would be a fault of it.
    with contextlib.suppress(HostError):
        Look().feed(json.dumps(line).encode())


# --- deliveries -------------------------------------------------------------------------------


def told(folder: Path, *entries: Any) -> deliveries.Told:
    found = deliveries.read(audit_log.look([written(folder, *entries)]).events)
    assert list(found) == [PATH]
    return found[PATH]


def test_a_delivery_has_who_asked_and_who_took(tmp_path: Path) -> None:
    taken = unwrap("a", address="192.0.2.7", at="12:00:03")
    (one,) = told(tmp_path, wrapped("a", address="198.51.100.1"), taken).deliveries
    assert (one.identity, one.address, one.ttl) == ("release", "198.51.100.1", 60)
    assert [(use.address, use.how) for use in one.taken] == [("192.0.2.7", "unwrap")]
    assert one.refused == ()


def test_uses_belong_to_the_token_that_was_used_in_whatever_order_the_files_are(
    tmp_path: Path,
) -> None:
    lines = [unwrap("b", address="192.0.2.2"), wrapped("a"), wrapped("b"), late("a", at="12:02:00")]
    first, second = told(tmp_path, *lines).deliveries
    assert (len(first.taken), len(first.refused)) == (0, 1)
    assert [use.address for use in second.taken] == ["192.0.2.2"]


def test_a_wrap_is_open_until_its_token_ends(tmp_path: Path) -> None:
    (one,) = told(tmp_path, wrapped("a")).deliveries
    assert one.is_open(deliveries.moment("2026-11-22T12:01:00.123456Z"))
    assert not one.is_open(deliveries.moment("2026-11-22T12:01:00.123457Z"))


def test_tokens_of_other_wraps_are_others_business(tmp_path: Path) -> None:
    look = audit_log.look([written(tmp_path, unwrap("stranger"))])
    assert deliveries.read(look.events) == {}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-11-22T12:32:11.72167265Z", "2026-11-22T12:32:11.721672+00:00"),
        ("2026-11-22T12:32:11Z", "2026-11-22T12:32:11+00:00"),
        ("2026-11-22T12:32:11.5Z", "2026-11-22T12:32:11.500000+00:00"),
        ("yesterday", "1970-01-01T00:00:00+00:00"),
        ("", "1970-01-01T00:00:00+00:00"),
    ],
)
def test_a_logs_dates_have_any_number_of_digits(text: str, shown: str) -> None:
    assert deliveries.moment(text).isoformat() == shown


def test_a_compressed_log_with_damage_in_it_is_refused_in_words(tmp_path: Path) -> None:
    whole = gzip.compress(b"\n" * 100_000)
    path = tmp_path / "audit.log.gz"
    path.write_bytes(whole[:12] + b"\xff" * 8 + whole[20:])
    with pytest.raises(HostError) as caught:
        audit_log.look([str(path)])
    assert caught.value.rule == "AUDIT-LOG"
