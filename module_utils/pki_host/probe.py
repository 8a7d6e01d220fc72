# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway on this host really serves, seen as a stranger would see it.

Native configuration tests miss an expired certificate, an incomplete chain and a gateway
that kept the old files; a handshake does not.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from . import observe_endpoints, probe_client, public_objects
from .crl_users import Configured
from .errors import HostError
from .probe_client import Identity
from .probed import Client, Closed, Own, Probe
from .public_objects import Certificate

__all__ = ["PATIENCE", "Baseline", "Client", "Closed", "Own", "Probe", "View", "require"]

#: How long a gateway may take to show what it must, in seconds.
PATIENCE = 10.0
_FORBIDDEN = 403
_VERIFIED = "SUCCESS"
# In a product's words, or as the library's number (X509_V_ERR_CERT_REVOKED).
_REVOKED = ("FAILED:certificate revoked", "FAILED:23")
# The library's words for the same number.
_REVOKED_FAR_END = "certificate revoked"
# What a gateway says by itself when the far end does not answer (RFC 9110, 15.6.3 to 15.6.5).
_NOT_THE_FAR_END = (0, 502, 503, 504)
_LOG_SECONDS = 2.0
_LOG_BYTES = 1 << 20


@dataclass(frozen=True)
class Baseline:
    """What egress listeners brought back before the change, by address and port."""

    statuses: Mapping[tuple[str, int], int] = field(default_factory=dict)

    @staticmethod
    def of(probes: Sequence[Probe]) -> Baseline:
        """Ask once through each egress listener that is there."""
        asked = [probe for probe in probes if not probe.is_ingress]
        if not asked:
            return Baseline()
        # Together: a far end that is away makes each wait.
        with ThreadPoolExecutor(max_workers=8) as pool:
            statuses = list(pool.map(_status_now, asked))
        return Baseline({_end(probe): status for probe, status in zip(asked, statuses)})  # noqa: B905

    def answered(self, probe: Probe) -> bool:
        """Whether the far end answered then."""
        return self.statuses.get(_end(probe), 0) not in _NOT_THE_FAR_END


@dataclass
class View:
    """Where one gateway's probes look: its directory, its log, what was before; and notes.

    ``configured``: which listeners refuse everybody, as their CRLs are too old, and where those
    that call do so.
    """

    root: str
    access_log: str
    baseline: Baseline = field(default_factory=Baseline)
    stranger: Identity | None = None
    notes: list[str] = field(default_factory=list)
    configured: Configured = field(default_factory=Configured)

    def refuses(self, probe: Probe) -> bool:
        """Whether nobody can be let in, or reached, whatever else is right."""
        return probe.port in self.configured.refusing

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


@dataclass(frozen=True)
class Problem:
    """What is wrong at a listener; ``rule`` is the end of the error's id."""

    found: str
    expected: str
    rule: str = ""
    message: str = "the gateway does not serve what was installed"


def require_closed(closed: Sequence[Closed], listens: Callable[[str, int], bool]) -> None:
    """HostError GATEWAY-STILL-OPEN when ``listens`` still tells of one after :data:`PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    for entry in closed:
        still = listens(entry.address, entry.port)
        while still and time.monotonic() < deadline:
            time.sleep(0.1)
            still = listens(entry.address, entry.port)
        if still:
            raise HostError(
                f"{entry.name}: the listener was taken out of service and still listens",
                rule="GATEWAY-STILL-OPEN",
                found="a listening socket",
                expected="nobody of this gateway there",
                where=f"{entry.address}:{entry.port}",
                next_step="end the process that holds it; read the gateway's error log",
            )


def require(probes: Sequence[Probe], view: View) -> list[str]:
    """Every probe sees what it must within :data:`PATIENCE`, or HostError GATEWAY-PROBE...

    Returns notes: what could not be looked at, or was as bad before.
    """
    if any(probe.is_ingress for probe in probes):
        with probe_client.stranger(view.root) as identity:
            view.stranger = identity
            _require_each(probes, view)
    else:
        _require_each(probes, view)
    return view.notes


def _require_each(probes: Sequence[Probe], view: View) -> None:
    deadline = time.monotonic() + PATIENCE
    for probe in probes:
        problem = observe(probe, view)
        while problem and time.monotonic() < deadline:
            time.sleep(0.1)
            problem = observe(probe, view)
        if problem:
            raise HostError(
                f"{probe.name}: {problem.message}",
                rule=f"GATEWAY-PROBE{problem.rule}",
                found=problem.found,
                expected=problem.expected,
                where=f"{probe.address}:{probe.port}",
                next_step="read the gateway's error log",
            )


def observe(probe: Probe, view: View) -> Problem | None:
    """What is wrong at this listener; None when nothing is."""
    try:
        return _ingress(probe, view) if probe.is_ingress else _egress(probe, view)
    except OSError as exc:
        found = f"{exc.strerror or type(exc).__name__}"
        return Problem(found, _expected(probe) if probe.is_ingress else "a listener")


def _ingress(probe: Probe, view: View) -> Problem | None:
    seen = probe_client.ask(probe)
    if seen.leaf != probe.certificate_sha256:
        return Problem(f"leaf {seen.leaf}", _expected(probe))
    if seen.status != _FORBIDDEN:
        found = f"status {seen.status} without a client certificate"
        return Problem(found, _expected(probe))
    problem = _stranger(probe, view)
    if problem is None and view.refuses(probe):
        view.note(f"{probe.name}: it refuses everybody until its CRLs are fresh")
        return None
    return problem or _own(probe, view) or _client(probe, view)


def _stranger(probe: Probe, view: View) -> Problem | None:
    seen = probe_client.ask(probe, view.stranger)
    if seen.status == _FORBIDDEN:
        return None
    return Problem(
        f"status {seen.status} for a self-signed certificate",
        f"status {_FORBIDDEN}",
        "-STRANGER",
        "the gateway does not refuse a stranger as it must",
    )


def _client(probe: Probe, view: View) -> Problem | None:
    if probe.client is None:
        return None
    wanted = probe.client
    message = "the gateway does not let in whom it must"
    offset = _size(view.access_log)
    try:
        seen = probe_client.ask(probe, Identity(wanted.certificate, wanted.key), wanted.path)
    except OSError as exc:
        found = f"{exc.strerror or type(exc).__name__}"
        return Problem(found, f"status {wanted.status}", "-CLIENT", message)
    if seen.status == wanted.status:
        return None
    leaf = _leaf(wanted.certificate)
    if seen.status == _FORBIDDEN and leaf is not None and _is_revoked(view, offset, leaf):
        # To keep it out is what such CRLs are for.
        view.note(f"{probe.name}: the client {wanted.certificate} is revoked, or a CA above it is")
        return None
    expected = f"status {wanted.status} for {wanted.certificate}"
    return Problem(f"status {seen.status}", expected, "-CLIENT", message)


# -- our own certificate as a client's ---------------------------------------------------------


def _own(probe: Probe, view: View) -> Problem | None:
    """Chain and CRLs are good for a certificate of the peers' CA, and its subject is refused."""
    if probe.own is None:
        return None
    own = probe.own
    leaf = _leaf(own.fullchain)
    why = "it cannot be read" if leaf is None else ""
    if leaf is not None and leaf.issuer not in own.issuers:
        why = f"its issuer {leaf.issuer} is none of those let in"
    elif leaf is not None and not leaf.allows("clientAuth"):
        why = "it may not be used by clients"
    if leaf is None or why:
        view.note(f"{probe.name}: not tried with our own certificate: {why}")
        return None
    offset = _size(view.access_log)
    try:
        status = probe_client.ask(probe, Identity(own.fullchain, own.key)).status
    except OSError as exc:
        # A CRL that the library takes for another's makes some products end the handshake.
        return _not_as_a_peer(f"{exc.strerror or type(exc).__name__}")
    verdict = _verdict(view.access_log, offset, leaf.serial)
    if verdict in _REVOKED and status == _FORBIDDEN:
        # CRLs that say so are right to be installed: they are what keeps others out, too.
        view.note(f"{probe.name}: our own certificate is revoked, or a CA above it is")
        return None
    return _judged(status, verdict)


def _leaf(path: str) -> Certificate | None:
    blocks = public_objects.certificate_blocks(_read(path))
    return public_objects.certificate(blocks[0]) if blocks else None


def _is_revoked(view: View, offset: int, leaf: Certificate) -> bool:
    return _verdict(view.access_log, offset, leaf.serial) in _REVOKED


def _judged(status: int, verdict: str) -> Problem | None:
    if status != _FORBIDDEN:
        return _not_as_a_peer(f"status {status}")
    if verdict != _VERIFIED:
        return _not_as_a_peer(verdict or "no line in the access log for its serial number")
    return None


def _not_as_a_peer(found: str) -> Problem:
    expected = f"{_VERIFIED} in the access log, and status {_FORBIDDEN} for the subject"
    message = "our own certificate is not seen as a peer's would be: chain or CRLs are not good"
    return Problem(found, expected, "-OWN", message)


def _verdict(log: str, offset: int, serial: str) -> str:
    """What the access log says of the verification of this serial number's request."""
    deadline = time.monotonic() + _LOG_SECONDS
    while True:
        for entry in _entries(log, offset):
            if str(entry.get("serial", "")).upper().lstrip("0") == serial.upper().lstrip("0"):
                return str(entry.get("verify", ""))
        if time.monotonic() >= deadline:
            return ""
        time.sleep(0.05)


def _entries(log: str, offset: int) -> list[Mapping[str, object]]:
    found: list[Mapping[str, object]] = []
    for line in _read(log, offset if offset <= _size(log) else 0).splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # a line that is being written, or of another form
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def _read(path: str, offset: int = 0) -> bytes:
    try:
        with open(path, "rb") as handle:
            handle.seek(offset)
            return handle.read(_LOG_BYTES)
    except OSError:
        return b""


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


# -- egress ------------------------------------------------------------------------------------


def _egress(probe: Probe, view: View) -> Problem | None:
    """Somebody listens, and the far end answers where it did before."""
    status = probe_client.status_through(probe)
    if status not in _NOT_THE_FAR_END:
        return None
    told = f"status {status}" if status else "no answer"
    if view.refuses(probe):
        view.note(f"{probe.name}: it refuses every far end until its CRLs are fresh ({told})")
        return None
    if not view.baseline.answered(probe):
        view.note(f"{probe.name}: the far end is not known to answer ({told}, no better before)")
        return None
    if _far_end_is_revoked(probe, view):
        view.note(f"{probe.name}: the far end's certificate is revoked, or a CA above it is")
        return None
    before = view.baseline.statuses[_end(probe)]
    return Problem(
        told,
        f"an answer of the far end, as before the change (status {before})",
        "-EGRESS",
        "the far end is no longer reached",
    )


def _far_end_is_revoked(probe: Probe, view: View) -> bool:
    """Whether the gateway is right not to call: CRLs that say so have to be installed."""
    said = (
        observe_endpoints.refused_here(far.ca_file, far.crl_file, far.address, far.name)
        for far in view.configured.far_ends.get(probe.port, ())
    )
    return _REVOKED_FAR_END in said


def _status_now(probe: Probe) -> int:
    try:
        return probe_client.status_through(probe)
    except OSError:
        return 0


def _end(probe: Probe) -> tuple[str, int]:
    return probe.address, probe.port


def _expected(probe: Probe) -> str:
    return f"leaf {probe.certificate_sha256}, and {_FORBIDDEN} without a client certificate"
