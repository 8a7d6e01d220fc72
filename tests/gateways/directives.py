# SPDX-License-Identifier: GPL-3.0-or-later
"""What every line of a rendered configuration is there for, product by product.

A line either keeps something safe, and then it is said here how it could be weakened and who must
notice: a rule of the policy that judges what is read back, or a probe of the running gateway. Or it
does not, and then it is said why. A new line of a template is in neither table, and a test says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

INGRESS, EGRESS, EVERYWHERE, COMMON = "ingress", "egress", "", "common"
UPSTREAM_IN, UPSTREAM_OUT = f"upstream {INGRESS}", f"upstream {EGRESS}"


@dataclass(frozen=True)
class Line:
    """Lines that keep something safe.

    Attributes:
        pattern: the whole line, without the space before it.
        weaker: what it is replaced by, as for :func:`re.sub`; the line is dropped without it.
        noticed: the rule that fails then, or the probe.
        side: the kind of listener whose lines are meant, after ``upstream`` those of its way on;
            all of them without it, and with :data:`COMMON` those of no listener.
    """

    pattern: str
    noticed: str
    weaker: str | Callable[[re.Match[str]], str] = ""
    side: str = EVERYWHERE

    def takes(self, line: str, side: str) -> bool:
        if self.side == COMMON:
            return side == EVERYWHERE and bool(re.fullmatch(self.pattern, line))
        return bool(re.fullmatch(self.pattern, line)) and self.side in (EVERYWHERE, side)


@dataclass(frozen=True)
class Spot:
    """One line of a text: its number from 0, what it says, and whose it is."""

    number: int
    text: str
    side: str


def spots(text: str) -> Iterator[Spot]:
    """The lines of a configuration that say something."""
    side, within = EVERYWHERE, ""
    for number, whole in enumerate(text.splitlines()):
        line = whole.strip()
        begun = re.match(r"(?:# |frontend |backend )(ingress|egress)\b", line)
        side = begun.group(1) if begun else side
        if line and not line.startswith("#") and line != "}":
            yield Spot(number, line, f"{within}{side}")
        # Connections to an upstream have lines of the same names as those of callers.
        within = "upstream " if line.startswith("upstream ") else "" if line == "}" else within


def weakened(text: str, spot: Spot, line: Line) -> str:
    """The text with that line weakened, and no other."""
    lines = text.splitlines(keepends=True)
    changed = re.sub(line.pattern, line.weaker, spot.text) if line.weaker else ""
    lines[spot.number] = f"{changed}\n"
    return "".join(lines)


_FIELD = "DIP-2.3-LOG-FIELDS"
_WHO = "DIP-3.6.1-IDENTITY"
_LIMIT = "DIP-4.3.1-LIMITS"
_SUBJECT, _ISSUER, _CHAIN = "DIP-12.3-CLIENT-SUBJECT", "DIP-12.3-ISSUER", "DIP-12.3-CHAIN"
_DELAY, _POINT, _CHANNEL = "DIP-3.5.2.6-CRL-TTL", "DIP-3.6.1-PEP", "DIP-4.2-CHANNEL"
_VERSION, _CIPHER = "DIP-2.3-TLS-VERSION", "DIP-7.1.1-CIPHER"
_REVOKED = "DIP-3.5.2.5-RP-CHECK"
_RELEASE, _MUTUAL = "DIP-6.1.4-OVERLAP", "DIP-2.3-MTLS"

_NGINX = (
    # -- the process and what is common ---------------------------------------------------
    Line(r'user "(.*)";', "probe: unprivileged", 'user "root";'),
    Line(r"worker_shutdown_timeout .*;", _DELAY),
    Line(r"server_tokens off;", "probe: version"),
    Line(r"gzip off;", "DIP-4.2-COMPRESSION", "gzip on;"),
    Line(r"client_header_timeout .*;", "probe: half a header"),
    Line(r"client_body_timeout .*;", "probe: half a body"),
    Line(r"limit_(req|conn)_status 429;", _POINT, r"limit_\1_status 503;"),
    Line(r"keepalive_timeout .*;", "probe: idle", side=COMMON),
    Line(r"keepalive_time .*;", _DELAY, "keepalive_time 12h;", COMMON),
    Line(r"ignore_invalid_headers on;", _POINT, "ignore_invalid_headers off;"),
    Line(r"underscores_in_headers off;", _POINT, "underscores_in_headers on;"),
    Line(r"(proxy_)?ssl_protocols (.*);", _VERSION, r"\1ssl_protocols TLSv1.1 \2;"),
    Line(r"(proxy_)?ssl_ciphers (.*);", _CIPHER, r"\1ssl_ciphers \2:AES128-SHA;"),
    Line(r"(?:proxy_)?ssl_conf_command Ciphersuites .*;", _CIPHER),
    Line(r"ssl_ecdh_curve .*;", _CIPHER),
    Line(r"proxy_ssl_conf_command Groups .*;", _CIPHER),
    Line(r"ssl_conf_command NumTickets 0;", _POINT, "ssl_conf_command NumTickets 2;"),
    Line(r"ssl_prefer_server_ciphers on;", "probe: own order"),
    Line(r"ssl_session_tickets off;", _DELAY),
    Line(r"ssl_session_cache off;", _DELAY, "ssl_session_cache shared:s:1m;"),
    Line(r"ssl_early_data off;", _CHANNEL, "ssl_early_data on;"),
    Line(r"proxy_http_version 1.1;", "DIP-4.1.1-POOLING"),
    Line(r"proxy_next_upstream error;", _POINT, "proxy_next_upstream error non_idempotent;"),
    Line(r"proxy_ssl_session_reuse off;", _DELAY),
    # -- each listener -----------------------------------------------------------------------
    Line(r"log_format (\w+) escape=json", _FIELD, r"log_format \1 escape=none"),
    Line(r"'[{\"].*'(;?)", _FIELD, r"''\1"),
    Line(r"limit_req_zone .*;", _LIMIT),
    Line(r"limit_conn_zone .*;", _LIMIT),
    Line(r"limit_req .*;", _LIMIT),
    Line(r"limit_conn .*;", _LIMIT),
    Line(r"client_max_body_size .*;", _LIMIT, "client_max_body_size 0;"),
    Line(r"client_header_buffer_size .*;", _LIMIT, "client_header_buffer_size 64k;"),
    Line(r"large_client_header_buffers .*;", _LIMIT),
    Line(r"access_log .*;", _FIELD),
    Line(r"server [0-9.]+:[0-9]+;", _POINT, "server 192.0.2.66:443;"),
    Line(r"location / \{", _POINT, "location /only {"),
    Line(r"listen (.*) ssl;", _CHANNEL, r"listen \1;"),
    Line(r"listen \[::1\]:(.*);", _CHANNEL, r"listen [::]:\1;", EGRESS),
    # -- an ingress ----------------------------------------------------------------------------
    Line(r"map \$ssl_client_i_dn (.*) \{", _ISSUER, r"map $http_x_issuer \1 {"),
    Line(r"default 0;", _ISSUER, "default 1;"),
    Line(r'"~\^CN.*" 1;', _ISSUER, "~. 1;"),
    Line(r'map "\$ssl_client_verify:(.*)" (.*) \{', _SUBJECT, r'map "SUCCESS:\1" \2 {'),
    Line(r"default no;", _SUBJECT, "default yes;"),
    Line(r'"~\^SUCCESS:1:.*" yes;', _SUBJECT, '"~^SUCCESS:1:." yes;'),
    Line(r"server_name .*;", "DIP-12.3-NAME"),
    Line(r"ssl_certificate .*;", _RELEASE, "ssl_certificate /tmp/fullchain.pem;"),
    Line(r"ssl_certificate_key .*;", _RELEASE, "ssl_certificate_key /tmp/key.pem;"),
    Line(r"ssl_client_certificate .*;", _CHAIN, "ssl_client_certificate /tmp/ca.pem;"),
    Line(r"ssl_crl .*;", _REVOKED),
    Line(r"ssl_verify_client on;", _MUTUAL, "ssl_verify_client optional;"),
    Line(r"ssl_verify_depth .*;", _CHAIN, "ssl_verify_depth 9;"),
    Line(r"error_page .*;", "DIP-7.1.1-403"),
    Line(r"return 403;", "DIP-7.1.1-403", "return 404;"),
    Line(r'return 403 "forbidden\\n";', _SUBJECT, "return 200 welcome;"),
    Line(r"if \((.*) != yes\) \{", _SUBJECT, r"if (\1 = no) {"),
    Line(r"proxy_set_header (?:X-Client|X-Forwarded|X-Real|Forwarded).*;", _WHO),
    Line(r"proxy_pass http://ingress_1;", _POINT, "proxy_pass http://192.0.2.66;"),
    # -- an egress -----------------------------------------------------------------------------
    Line(r"keepalive 16;", "DIP-4.1.1-POOLING", side=UPSTREAM_OUT),
    Line(r"keepalive_time .*;", _DELAY, "keepalive_time 12h;", UPSTREAM_OUT),
    Line(r'proxy_set_header Connection "";', "DIP-4.1.1-POOLING", side=EGRESS),
    Line(r'include ".*/api-key\.conf";', _POINT),
    Line(r"proxy_ssl_certificate .*;", _MUTUAL),
    Line(r"proxy_ssl_certificate_key .*;", _RELEASE, "proxy_ssl_certificate_key /tmp/key.pem;"),
    Line(r"proxy_ssl_trusted_certificate .*;", _CHAIN),
    Line(r"proxy_ssl_crl .*;", _REVOKED),
    Line(r"proxy_ssl_verify on;", "DIP-12.3-EXPIRY", "proxy_ssl_verify off;"),
    Line(r"proxy_ssl_verify_depth .*;", _CHAIN, "proxy_ssl_verify_depth 9;"),
    Line(r"proxy_ssl_name .*;", "DIP-12.3-NAME"),
    Line(r"proxy_ssl_server_name on;", "DIP-12.3-NAME"),
    Line(r"proxy_pass https://egress_1;", _CHANNEL, "proxy_pass http://egress_1;"),
)

#: Lines that keep nothing safe, each with the reason; (pattern, side) -> reason.
_NGINX_OTHER: Mapping[tuple[str, str], str] = {
    (r"(events|http|server|upstream \w+) \{", EVERYWHERE): "a frame for other lines",
    (r"daemon on;", EVERYWHERE): "how the process starts, which the transaction looks after",
    (r"worker_(processes auto|connections 1024);", EVERYWHERE): "how much it can do at a time",
    (r"(pid|error_log) .*;", EVERYWHERE): "places below the gateway's own root",
    (r"\w+_temp_path .*;", EVERYWHERE): "places below the gateway's own root",
    (r"send_timeout .*;", EVERYWHERE): "whoever does not read an answer holds up nobody else",
    (r"proxy_(connect|send|read)_timeout .*;", EVERYWHERE): "how long a caller waits at most",
    (r"location @denied \{", INGRESS): "without it there is no answer at all to who is refused",
    (r"default_type text/plain;", INGRESS): "what a refusal looks like",
    (r"proxy_set_header Host .*;", EVERYWHERE): "who is called is verified by proxy_ssl_name",
    (r'proxy_set_header Connection "";', INGRESS): "connections to the application on this host",
    (r"keepalive 16;", UPSTREAM_IN): "connections to the application on this host",
    (r"keepalive_time(out)? .*;", UPSTREAM_IN): "connections to the application here",
    (r"keepalive_timeout .*;", UPSTREAM_OUT): "keepalive_time bounds the connection",
}

_BIND, _FAR = r"(bind .* ssl .*)", r"(server upstream .* ssl .*)"
_HAPROXY = (
    # -- the process and what is common ---------------------------------------------------
    Line(r"user .*", "probe: unprivileged"),
    Line(r"log (?:stdout .*|global)", _FIELD),
    Line(r"hard-stop-after .*", _DELAY),
    Line(r"set-var proc\.since date", "probe: age towards a far end"),
    Line(r"(ssl-default-(?:bind|server)-options ssl-min-ver) \S+(.*)", _VERSION, r"\1 TLSv1.1\2"),
    Line(r"(ssl-default-(?:bind|server)-ciphers .*)", _CIPHER, r"\1:AES128-SHA"),
    Line(r"ssl-default-(?:bind|server)-ciphersuites .*", _CIPHER),
    Line(r"(ssl-default-(?:bind|server)-curves .*)", _CIPHER, r"\1:X448"),
    Line(r"tune\.ssl\.cachesize 0", _DELAY),
    Line(r"option http-restrict-req-hdr-names delete", _WHO),
    # -- each listener -----------------------------------------------------------------------
    Line(r"maxconn .*", _LIMIT, side=INGRESS),
    Line(r"maxconn .*", _LIMIT, side=EGRESS),
    Line(r"stick-table .*", _LIMIT),
    Line(r"log-format .*", _FIELD),
    Line(r"tcp-request connection set-var\(sess\.since\) date", _DELAY, side=INGRESS),
    Line(r"http-after-response set-header Connection close .*", _DELAY, side=INGRESS),
    Line(r"http-request set-var\(txn\.path\) path", _FIELD, "http-request set-var(txn.path) url"),
    Line(r"http-response set-var\(txn\.upstream_status\) status", _FIELD),
    Line(r"http-request track-sc0 src", _LIMIT),
    Line(r"http-request deny deny_status (?:429|413) .*", _LIMIT),
    Line(r"http-request return status 411 .*", _LIMIT),
    Line(r"http-request deny deny_status 405 .*", "probe: connect", side=INGRESS),
    Line(r"http-request del-header upgrade", "probe: upgrade", side=INGRESS),
    Line(r"default_backend .*", _POINT),
    Line(r"(server upstream) \S+(.*)", _POINT, r"\1 192.0.2.66:443\2"),
    # -- an ingress ----------------------------------------------------------------------------
    Line(_BIND, _CHANNEL, lambda found: found.group(1).replace(" ssl ", " ")),
    Line(_BIND, _RELEASE, lambda found: re.sub(r" crt \S+", " crt /tmp/c.pem", found.group(1))),
    Line(_BIND, _CHAIN, lambda found: re.sub(r" ca-file \S+", " ca-file /tmp/c", found.group(1))),
    Line(_BIND, _REVOKED, lambda found: re.sub(r" crl-file \S+", "", found.group(1))),
    Line(_BIND, _MUTUAL, lambda found: found.group(1).replace("verify optional", "verify none")),
    Line(r"acl (?:shown|verified|verified_leaf|verified_chain) .*", _MUTUAL),
    Line(r"acl second_name .*", _SUBJECT),
    Line(r"acl (issuer_1) .*", _ISSUER, r"acl \1 ssl_c_used"),
    Line(r"acl (subject_1) .*", _SUBJECT, r"acl \1 ssl_c_used"),
    Line(r"http-request set-var(?:-fmt)?\(txn\.verify\) .*", _WHO),
    Line(r"(http-request set-var\(txn\.allowed\)) str\(no\)", _SUBJECT, r"\1 str(yes)"),
    Line(r"(http-request set-var\(txn\.allowed\) str\(yes\)) .*", _SUBJECT, r"\1"),
    Line(r"http-request deny deny_status 403 .*", _SUBJECT),
    Line(r"http-request del-header (?:x-forwarded -m beg|forwarded|x-real-ip)", _WHO),
    Line(
        r"http-request set-header (X-Client-\S+|X-Forwarded-\S+) .*",
        _WHO,
        r"http-request set-header \1 %[req.hdr(x-who)]",
    ),
    Line(r"http-request set-header Host .* unless .*", "DIP-12.3-NAME"),
    # -- an egress -----------------------------------------------------------------------------
    Line(r"bind \[::1\]:(\d+) v6only", _CHANNEL, r"bind [::]:\1 v6only"),
    Line(r"http-request set-header X-API-KEY .*", _POINT),
    Line(r"http-request disable-l7-retry .*", "probe: once"),
    Line(r"http-request set-header Connection close if .*", _DELAY),
    Line(_FAR, _CHANNEL, lambda found: found.group(1).replace(" ssl ", " ")),
    Line(_FAR, _RELEASE, lambda found: re.sub(r" crt \S+", " crt /tmp/c.pem", found.group(1))),
    Line(_FAR, _CHAIN, lambda found: re.sub(r" ca-file \S+", " ca-file /tmp/c", found.group(1))),
    Line(_FAR, _REVOKED, lambda found: re.sub(r" crl-file \S+", "", found.group(1))),
    Line(_FAR, _MUTUAL, lambda found: found.group(1).replace("verify required", "verify none")),
    Line(
        _FAR,
        "DIP-12.3-NAME",
        lambda found: re.sub(r" verifyhost \S+", " verifyhost a.b", found.group(1)),
    ),
    Line(_FAR, "DIP-12.3-NAME", lambda found: re.sub(r" sni \S+", "", found.group(1))),
    Line(_FAR, _DELAY, lambda found: found.group(1).replace(" no-ssl-reuse", "")),
    Line(
        _FAR,
        "DIP-4.1.1-POOLING",
        lambda found: re.sub(r" pool-max-conn \S+", " pool-max-conn 0", found.group(1)),
    ),
)

_HAPROXY_OTHER: Mapping[tuple[str, str], str] = {
    (r"(global|defaults|frontend \w+|backend \w+)", EVERYWHERE): "a frame for other lines",
    (r"group .*", EVERYWHERE): "goes with the user, whose line is looked after",
    (r"noreuseport", EVERYWHERE): "tells of a port that is taken",
    (r"maxconn .*", COMMON): "the sum of what listeners may have",
    (r"tune\.bufsize .*", EVERYWHERE): "the answer 431 bounds a header, too",
    (r"http-request return status 431 .*", EVERYWHERE): "the buffer's size bounds a header, too",
    (r"tune\.maxrewrite .*", EVERYWHERE): "room for the headers that are added",
    (r"mode http", EVERYWHERE): "without it nothing of all this is accepted",
    (r"timeout (connect|server|tunnel) .*", EVERYWHERE): "how long a caller waits at most",
    (r"timeout (client|http-request|http-keep-alive) .*", EVERYWHERE): "each stands in for another",
    (r"retries 2", EVERYWHERE): "how often a connection is attempted",
    (r"error-log-format .*", EVERYWHERE): "what a failed handshake looks like in the log",
    (r"http-request del-header x-client -m beg", INGRESS): "each of these is set afterwards",
    (r"http-request deny deny_status 405 .*", EGRESS): "callers of this host",
    (r"http-request del-header upgrade", EGRESS): "callers of this host",
    (r"tcp-request connection set-var.*", EGRESS): "how long callers of this host stay connected",
    (r"http-after-response .*", EGRESS): "callers of this host are asked to come anew",
    (r"http-reuse .*", EVERYWHERE): "connections are reused without it, if more cautiously",
    (r"http-request set-header Host \S+", EGRESS): "who is called is verified by verifyhost",
    (
        r"retry-on .*",
        EGRESS,
    ): "only what it leaves is repeated, and nothing unsafe by the next line",
}

SECURITY: Mapping[str, Sequence[Line]] = {"nginx": _NGINX, "haproxy": _HAPROXY}
OTHER: Mapping[str, Mapping[tuple[str, str], str]] = {
    "nginx": _NGINX_OTHER,
    "haproxy": _HAPROXY_OTHER,
}


def excused(product: str, spot: Spot) -> list[str]:
    """The reasons why a line keeps nothing safe."""
    return [
        reason
        for (pattern, side), reason in OTHER[product].items()
        if Line(pattern, reason, side=side).takes(spot.text, spot.side)
    ]
