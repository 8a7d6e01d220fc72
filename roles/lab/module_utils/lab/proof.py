# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix: what the gateway must refuse and accept, tried with live handshakes.

Every row says what was tried, what should be seen and what *was* seen. A row that expects
a refusal also carries its own proof that the refusal means something: the old TLS versions
do reach a control server with the same client, the expired certificate really is expired,
the hostile far end is up and does log a request when it gets one.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.pki import probe
from ansible.module_utils.pki.errors import PkiError
from cryptography import x509

SCHEMA_VERSION = 1
ALERT_PROTOCOL_VERSION = 70
LOG_PATIENCE = 3.0
"""Seconds after which a request that reached the far end must be in its log."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect and which name to ask for."""

    address: str
    port: int
    server_name: str


@dataclass(frozen=True, slots=True)
class Egress:
    """One way out: our loopback listener, and the far end that it leads to.

    Attributes:
        local: the gateway's plain-http listener.
        far_end: the DIP stand-in itself, to see that it is up and what it serves.
        log: access log of the far end.
        serial: serial that the far end is meant to serve (lower-case hex).
    """

    local: Endpoint
    far_end: Endpoint
    log: Path
    serial: str


@dataclass(frozen=True, slots=True)
class Target:
    """One gateway to try, and the strangers to try it with.

    Attributes:
        anchors_pem: what a client of the gateway trusts.
        own_serial: serial of the gateway's own certificate (lower-case hex).
        peers: identities by the names of PEERS.
        egress: ways out by row id.
    """

    name: str
    ingress: Endpoint
    control: Endpoint
    anchors_pem: str
    own_serial: str
    peers: Mapping[str, probe.ClientIdentity]
    egress: Mapping[str, Egress]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the matrix; ``observed`` holds plain JSON values."""

    id: str
    tried: str
    expected: str
    passed: bool
    observed: dict[str, Any] = field(default_factory=dict)

    @property
    def seen(self) -> str:
        return str(self.observed["summary"])


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One TLS version of the revoke-then-resume proof.

    Attributes:
        before: the client while it was good; its session was kept.
        resumed: the same client after revocation, offering that session.
        fresh: the same client after revocation, without a session.
    """

    version: str
    before: probe.Observation
    resumed: probe.Observation
    fresh: probe.Observation


GOOD = "dip-client"
# row id, peer whose certificate is shown (None: none at all), what the row tries
REFUSED = (
    ("no-certificate", None, "a client without a certificate"),
    ("foreign-ca", "foreign", "a client of a foreign CA"),
    ("sibling-ca", "sibling", "a client of a sibling CA under the same root"),
    ("wrong-environment", "wrong-prefix", "a client of the other environment (CN prefix)"),
    ("expired", "expired", "the right client with an expired certificate"),
    ("revoked", "revoked", "the right client with a revoked certificate"),
)
EGRESS_REFUSED = (
    ("egress-wrong-name", "serves a certificate of another name"),
    ("egress-revoked", "serves a revoked certificate"),
    ("egress-expired", "serves an expired certificate"),
)
PEERS = (GOOD, *(peer for _, peer, _ in REFUSED if peer))
EGRESS = ("egress-good", *(row for row, _ in EGRESS_REFUSED))


def prove(target: Target, rehearse: Callable[[], Iterable[Rehearsal]]) -> tuple[Row, ...]:
    """Try everything once, in order; the last row sees whether the refusals did any harm."""
    return (
        old_version(target, "tls1.0-refused", "TLSv1"),
        old_version(target, "tls1.1-refused", "TLSv1.1"),
        version_accepted(target, "tls1.2-accepted", "TLSv1.2"),
        version_accepted(target, "tls1.3-accepted", "TLSv1.3"),
        *(refused(target, *row) for row in REFUSED),
        revoked_session(tuple(rehearse())),
        accepted(target, "good-client", "the right client"),
        egress_good(target),
        *(egress_refused(target, *row) for row in EGRESS_REFUSED),
        accepted(target, "good-client-after-refusals", "the right client, after all that"),
    )


def old_version(target: Target, row: str, version: str) -> Row:
    """Alert 70 from the gateway; the same client must reach a server that speaks it."""
    seen, control = (
        probe.connect(
            end.address,
            end.port,
            server_name=end.server_name,
            client=target.peers[GOOD],
            legacy=True,
            minimum=version,
            maximum=version,
        )
        for end in (target.ingress, target.control)
    )
    reached = control.protocol == version and control.http_status is not None
    note = f"the same client {'reached' if reached else 'did NOT reach'} the control server"
    return Row(
        row,
        f"{version.replace('TLSv', 'TLS ')}{'.0' if version == 'TLSv1' else ''} to the gateway",
        "alert 70, and the same client reaches the control server",
        seen.alert == ALERT_PROTOCOL_VERSION and reached,
        _observed(seen, f"{_say(seen)}; {note}", control=_facts(control)),
    )


def version_accepted(target: Target, row: str, version: str) -> Row:
    """The right client with exactly this version gets 200."""
    seen = _ingress(target, GOOD, version)
    return Row(
        row,
        f"the right client with {version.replace('TLSv', 'TLS ')}",
        f"200 over {version}",
        seen.http_status == 200 and seen.protocol == version,
        _observed(seen, _say(seen)),
    )


def accepted(target: Target, row: str, tried: str) -> Row:
    """The right client gets 200 from a gateway that serves our certificate."""
    seen = _ingress(target, GOOD)
    return Row(
        row,
        tried,
        "200, and the gateway serves our certificate",
        seen.http_status == 200 and seen.peer_serial == target.own_serial,
        _observed(seen, _say(seen), shown=_serial(target.peers[GOOD])),
    )


def refused(target: Target, row: str, peer: str | None, tried: str) -> Row:
    """403 for a stranger, whose certificate is what the row says it is."""
    seen = _ingress(target, peer)
    passed = seen.http_status == 403
    summary = _say(seen)
    if row == "expired" and not _ended(target.peers["expired"]):
        passed, summary = False, "the certificate to try this with has not expired"
    shown = _serial(target.peers[peer]) if peer else None
    return Row(row, tried, "403", passed, _observed(seen, summary, shown=shown))


def revoked_session(rehearsals: tuple[Rehearsal, ...]) -> Row:
    """403 with the old session and without one, in every version; 200 before."""
    passed = bool(rehearsals)
    sentences: dict[str, list[str]] = {}
    details = {}
    for one in rehearsals:
        statuses = (one.before.http_status, one.resumed.http_status, one.fresh.http_status)
        passed = passed and statuses == (200, 403, 403) and one.before.protocol == one.version
        taken = "taken" if one.resumed.resumed else "not taken"
        said = (
            f"{_status(one.before)} before, then {_status(one.resumed)} with the session "
            f"({taken}) and {_status(one.fresh)} without"
        )
        sentences.setdefault(said, []).append(one.version)
        details[one.version] = {
            "before": _facts(one.before),
            "resumed": _facts(one.resumed),
            "fresh": _facts(one.fresh),
        }
    summary = "; ".join(f"{said} ({', '.join(of)})" for said, of in sentences.items())
    last = rehearsals[-1].resumed if rehearsals else probe.Observation()
    return Row(
        "resumed-revoked",
        "a client revoked while it keeps a session (second instance)",
        "200 before; 403 with the session and without it, TLS 1.2 and 1.3",
        passed,
        _observed(last, summary or "nothing was tried", versions=details),
    )


def egress_good(target: Target) -> Row:
    """200 through the gateway, and the far end saw exactly our certificate."""
    way = target.egress["egress-good"]
    seen = _through(way, _token("egress-good"))
    shown = _client_serial(seen.body)
    summary = f"{_say(seen)}; the far end saw client certificate {shown or 'none'}"
    return Row(
        "egress-good",
        "a call to the DIP through the gateway",
        "200, and the far end saw our certificate",
        seen.http_status == 200 and shown is not None and shown == target.own_serial,
        _observed(seen, summary, client_serial=shown),
    )


def egress_refused(target: Target, row: str, tried: str) -> Row:
    """502 and no request at a far end that is up, serves the fault and logs requests."""
    way = target.egress[row]
    token, control_token = _token(row), _token("control")
    seen = _through(way, token)
    # Asked second, so that once the control is in the log the first request would be too.
    control = probe.connect(
        way.far_end.address,
        way.far_end.port,
        server_name=way.far_end.server_name,
        client=target.peers[GOOD],
        request_path=control_token,
    )
    up = (
        control.http_status == 200
        and control.peer_serial == way.serial
        and _logged(way.log, control_token, LOG_PATIENCE)
    )
    reached = _logged(way.log, token, 0)
    note = "the far end saw the request" if reached else "the far end saw no request"
    if not up:
        note += ", but it is not up with the certificate this row needs"
    return Row(
        row,
        f"a call to a DIP that {tried}",
        "502, and the far end saw no request",
        seen.http_status == 502 and not reached and up,
        _observed(
            seen, f"{_say(seen)}; {note}", far_end=_facts(control), far_end_saw_request=reached
        ),
    )


def document(target: Target, rows: Iterable[Row], when: datetime) -> dict[str, Any]:
    """The matrix as plain JSON values."""
    rows = tuple(rows)
    return {
        "schema_version": SCHEMA_VERSION,
        "when": when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "gateway": target.name,
        "passed": all(row.passed for row in rows),
        "rows": [asdict(row) for row in rows],
    }


def table(rows: Iterable[Row]) -> list[str]:
    """Aligned lines for a person: verdict, row, what was tried, what was seen."""
    cells = [("ok" if row.passed else "RED", row.id, row.tried, row.seen) for row in rows]
    widths = [max((len(line[i]) for line in cells), default=0) for i in range(3)]
    return [
        f"{verdict:<{widths[0]}}  {row:<{widths[1]}}  {tried:<{widths[2]}}  {seen}"
        for verdict, row, tried, seen in cells
    ]


def require_green(rows: Iterable[Row], where: str) -> None:
    """Raise PkiError (LAB-MATRIX) naming every red row, what it saw and what it should."""
    red = [row for row in rows if not row.passed]
    if red:
        raise PkiError(
            f"the gateway does not behave as it must: {len(red)} of the matrix's rows are red",
            rule="LAB-MATRIX",
            found="; ".join(f"{row.id}: {row.seen}" for row in red),
            expected="; ".join(f"{row.id}: {row.expected}" for row in red),
            where=where,
            next_step="read the rows in that file, then the gateway's configuration and its log",
        )


def serial_of(certificate_file: str | Path) -> str:
    """Serial of a PEM file's first certificate, lower-case hex without leading zeros."""
    return format(_certificate(str(certificate_file)).serial_number, "x")


def _ingress(target: Target, peer: str | None, version: str | None = None) -> probe.Observation:
    return probe.connect(
        target.ingress.address,
        target.ingress.port,
        server_name=target.ingress.server_name,
        anchors_pem=target.anchors_pem,
        client=target.peers[peer] if peer else None,
        minimum=version,
        maximum=version,
    )


def _through(way: Egress, path: str) -> probe.Observation:
    local = way.local
    return probe.request(local.address, local.port, host=local.server_name, request_path=path)


def _token(row: str) -> str:
    """A path that no other request has, to find it in the far end's log."""
    return f"/proof/{row}/{uuid.uuid4().hex}"


def _logged(log: Path, token: str, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while True:
        if token in _tail(log):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)


def _tail(log: Path, size: int = 256 * 1024) -> str:
    # The log grows with every run; what this run wrote is at its end.
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - size))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _client_serial(body: bytes) -> str | None:
    try:
        answer = json.loads(body)
        return format(int(answer["client_serial"], 16), "x")
    except (ValueError, KeyError, TypeError):
        return None


def _certificate(path: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(path).read_bytes())


def _serial(identity: probe.ClientIdentity) -> str:
    return serial_of(identity.certificate_file)


def _ended(identity: probe.ClientIdentity) -> bool:
    return _certificate(identity.certificate_file).not_valid_after_utc < datetime.now(UTC)


def _facts(seen: probe.Observation) -> dict[str, Any]:
    return {
        "protocol": seen.protocol,
        "alert": seen.alert,
        "http_status": seen.http_status,
        "peer_serial": seen.peer_serial,
        "resumed": seen.resumed,
        "closed": seen.closed,
        "local_error": seen.local_error,
    }


def _observed(seen: probe.Observation, summary: str, **more: Any) -> dict[str, Any]:
    return {**_facts(seen), "summary": summary, **more}


def _status(seen: probe.Observation) -> str:
    return str(seen.http_status) if seen.http_status is not None else _say(seen)


def _say(seen: probe.Observation) -> str:
    """One clause about what came back."""
    if seen.http_status is not None:
        return f"{seen.http_status}{f' over {seen.protocol}' if seen.protocol else ''}"
    if seen.alert is not None:
        return f"alert {seen.alert}"
    if seen.local_error:
        return str(seen.local_error)
    return "the connection was closed without an answer"
