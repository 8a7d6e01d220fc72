# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gateway's configuration means, in words that belong to no product.

An adapter's reader makes these values from text. They say what is configured, defaults
included, and never whether that is right. Times are seconds, sizes bytes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Dict, Tuple

#: Seconds, bytes or connections where the configuration sets no bound at all.
UNBOUNDED = 999_999_999_999
#: A depth of chains where the product sets no bound: how long one may be is said by the CRLs
#: alone, which every CA of it needs.
ANY_DEPTH = -1
#: In a list of ciphers, groups, ...: the library's own choice, because nothing is configured.
DEFAULT = "default"
#: In a list of peers or issuers: nobody is kept out.
ANY = "any"
#: What a log can tell of a request: when, who from, what, and how that was answered; the channel;
#: the verdict on the certificate, which one it was, and whether its subject and issuer are let in.
LOG_FIELDS = (
    "time", "remote", "request", "status", "upstream_status", "tls", "cipher",
    "verify", "serial", "subject", "issuer", "allowed",
)  # fmt: skip


@dataclass(frozen=True)
class Tls:
    """One side of a TLS connection as configured.

    Attributes:
        verification: how the far end's certificate is looked at: ``required``, ``optional``
            (one that is shown must be right), ``unchecked`` (also one of an unknown CA) or ``off``.
        checks: what is checked of it: ``chain``, ``expiry``, ``revocation``, ``name``.
        resumption: ways to skip the handshake that are open: ``tickets``, ``cache``, ``reuse``.
        session_seconds: how long a session can be resumed; 0 when it cannot.
        name: the name that is demanded of the far end and sent to it; empty when none is.
        ca_sha256: SHA-256 of the CA file's bytes; empty where nobody looked.
    """

    enabled: bool = False
    protocols: Tuple[str, ...] = ()
    ciphers: Tuple[str, ...] = ()
    ciphersuites: Tuple[str, ...] = ()
    groups: Tuple[str, ...] = ()
    own_order: bool = False
    resumption: Tuple[str, ...] = ()
    session_seconds: int = 0
    early_data: bool = False
    verification: str = "off"
    checks: Tuple[str, ...] = ()
    verify_depth: int = 0
    ca_file: str = ""
    ca_sha256: str = ""
    crl_file: str = ""
    certificate: str = ""
    key: str = ""
    name: str = ""
    name_sent: bool = False


@dataclass(frozen=True)
class Route:
    """Requests that are served, and for whom.

    Attributes:
        match: which requests, as the product writes it.
        peers: subjects that are let in: ``CN=<name>`` for exactly one common name, ``any``, or
            the product's own pattern.
        issuers: the same for the issuer's whole name in RFC 2253 style.
        upstream: where they go (``address:port``, several with commas); empty when nowhere.
        tls: towards the upstream.
        pooled_connections: connections to the upstream that are kept open for reuse.
        connection_seconds: how long one of them can live, a request under way aside.
        requests_per_second: how many of them one address may send in the long run.
        request_burst: how many more at once.
        identity_headers: request headers that the upstream never gets from who connects, in
            capitals and in alphabetical order: they are set here, or removed.
        secret_file: the file with headers that nobody else may read; empty without one.
    """

    match: str
    peers: Tuple[str, ...]
    issuers: Tuple[str, ...]
    upstream: str
    tls: Tls
    pooled_connections: int
    connection_seconds: int
    body_bytes: int
    # From here on, what holds where a reader cannot tell: no bound, and nothing done.
    requests_per_second: int = UNBOUNDED
    request_burst: int = UNBOUNDED
    identity_headers: Tuple[str, ...] = ()
    secret_file: str = ""


@dataclass(frozen=True)
class Listener:
    """One address that takes connections.

    Attributes:
        names: what it answers to.
        tls: towards who connects.
        routes: what is served; whatever only refuses is not among them.
        refused_with: HTTP statuses for who fails or skips authentication.
        headers_asked: request headers that decide what happens, in capitals.
        connection_seconds: how long a connection can live, a request under way aside.
        header_bytes: the largest header of a request, all lines together.
        connections: how many connections it serves at a time.
        log_fields: what is logged of a request, in the words of :data:`LOG_FIELDS`; nothing
            where a client could forge the log.
        log_query: whether the part of a URL that may hold secrets is logged as well.
        compression: whether answers may be compressed on the way out.
    """

    address: str
    port: int
    names: Tuple[str, ...]
    tls: Tls
    routes: Tuple[Route, ...]
    refused_with: Tuple[int, ...]
    headers_asked: Tuple[str, ...]
    connection_seconds: int
    # As above: what holds where a reader cannot tell.
    header_bytes: int = UNBOUNDED
    connections: int = UNBOUNDED
    log_fields: Tuple[str, ...] = ()
    log_query: bool = True
    compression: bool = True


@dataclass(frozen=True)
class Description:
    """A gateway's whole configuration.

    Attributes:
        drain_seconds: how long connections outlive a reload.
        log_files: where requests are logged.
        unknown: directives that the reader does not know, and includes: what they do to the
            rest is not known either.
    """

    listeners: Tuple[Listener, ...]
    drain_seconds: int
    log_files: Tuple[str, ...]
    unknown: Tuple[str, ...] = field(default=())

    def as_settings(self) -> Dict[str, Any]:
        """Plain JSON: dictionaries, lists, texts, numbers and booleans."""
        settings: Dict[str, Any] = _plain(asdict(self))
        return settings


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
