# SPDX-License-Identifier: GPL-3.0-or-later
"""What a failed Vault call means, in words, and whether it may be repeated.

Pure: plain values in, a :class:`Fault` out. Only the server's own error texts are
quoted; a request's body or headers never come here, because they carry secrets.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import PkiError

MAX_QUOTED = 300
# What looks like a secret is not quoted, whoever says it: a proxy or a broken server may send
# back what it was given, or the very answer that should have been wrapped.
SECRET_LIKE = re.compile(
    r"-----BEGIN.*?(?:-----END[^-]*-----|$)"  # PEM, however its lines are joined
    r"|\b(?:hv[sbr]|[sbr])\.[\w-]{20,}"  # tokens
    r"|[\w+/=-]{40,}"  # what may be an encoding: ENCODED tells it from a long path
)
# base64 of both alphabets, hexadecimal. One of them anywhere in a run hides the whole run: its
# rest, beyond a character of the other alphabet, is secret, too.
ENCODED = re.compile(r"[A-Za-z0-9+/=]{40}|[\w=-]{40}")
CAPABILITY = {"get": "read", "list": "list", "post": "create or update"}


class Retry(enum.Enum):
    """May the same call be sent again?"""

    NEVER = "the answer would be the same"
    UNPROCESSED = "the server did not act on it: any call may be repeated"
    UNCERTAIN = "the server may have acted on it: only idempotent calls may be repeated"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table. ``patience``: seconds worth waiting for it to pass."""

    rule: str
    message: str
    expected: str
    next_step: str
    retry: Retry = Retry.NEVER
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class Fault:
    """A failed call: the error to show, and how to go on."""

    error: PkiError
    retry: Retry
    patience: float


SEALED = Kind(
    "VAULT-SEALED",
    "Vault is sealed",
    "an unsealed, active server",
    "unseal the server, then run again",
    Retry.UNPROCESSED,
    5.0,
)
UNINITIALISED = Kind(
    "VAULT-UNINITIALISED",
    "Vault has never been initialised",
    "an initialised, unsealed server",
    "initialise the server, or check that the address is the one you mean",
)
NO_LEADER = Kind(
    "VAULT-NO-LEADER",
    "the Vault cluster has no active node",
    "an elected leader",
    "an election may be under way: look at the cluster's health, then run again",
    Retry.UNPROCESSED,
    30.0,
)
UNAVAILABLE = Kind(
    "VAULT-UNAVAILABLE",
    "Vault, or a proxy in front of it, does not serve at the moment",
    "an active server",
    "look at the server's and the proxy's health, then run again",
    Retry.UNPROCESSED,
    10.0,
)
GATEWAY = Kind(
    "VAULT-UNAVAILABLE",
    "a proxy in front of Vault got no answer from it",
    "an active server",
    "look at the server's and the proxy's health, then run again",
    Retry.UNCERTAIN,
    10.0,
)
RATE = Kind(
    "VAULT-RATE",
    "Vault's rate limit is reached",
    "fewer calls a second",
    "run again later, or raise the rate limit quota for this path",
    Retry.UNPROCESSED,
    30.0,
)
NOT_YET = Kind(
    "VAULT-NOT-YET",
    "this Vault node has not caught up with the cluster",
    "a node that knows the latest write",
    "run again; if it stays, look at the replication's health",
    Retry.UNPROCESSED,
    10.0,
)
PLAIN_HTTP = Kind(
    "VAULT-TLS",
    "plain http was spoken to a TLS port of Vault",
    "https://",
    "write https:// in the Vault address",
)
NO_MOUNT = Kind(
    "VAULT-NO-MOUNT",
    "no secrets engine is mounted there",
    "a mount at the path's beginning, in this namespace",
    "check the mount's name and the namespace; nothing is mounted by this program",
)
NO_NAMESPACE = Kind(
    "VAULT-NAMESPACE",
    "the Vault namespace does not exist",
    "an existing namespace",
    "correct the namespace (option namespace, BAO_NAMESPACE or VAULT_NAMESPACE)",
)
NOT_FOUND = Kind(
    "VAULT-NOT-FOUND",
    "Vault has nothing under this name",
    "an existing object",
    "check the name and the version; a run of the playbook makes missing keys",
)
WRAP_USED = Kind(
    "VAULT-WRAP-USED",
    "the wrapping token was used already or has expired",
    "a token that nobody has unwrapped, within its time to live",
    "treat it as a possible interception: look in the audit log for who unwrapped it, "
    "and replace the key if it was not you",
)
LOGIN = Kind(
    "VAULT-LOGIN",
    "Vault refused the login",
    "a role id and a secret id that belong together and are still valid",
    "is the secret id used up, expired or bound to another address? issue a new one",
)
UPGRADING = Kind(
    "VAULT-UNAVAILABLE",
    "the KV engine was just made and is getting ready",
    "an engine that is ready",
    "wait a moment, then run again",
    Retry.UNPROCESSED,
    10.0,
)
CAS = Kind(
    "VAULT-CAS",
    "somebody else wrote this Vault entry first",
    "the version that was read before",
    "read the entry again and repeat the change",
)
DENIED = Kind(
    "VAULT-DENIED",
    "Vault denied the call",
    "",
    "give the policy of this identity what it lacks, or use another identity",
)
REQUEST = Kind(
    "VAULT-REQUEST",
    "Vault refused the request as wrong",
    "a request the server accepts",
    "read the server's words above; repeating the same request cannot help",
)
SERVER = Kind(
    "VAULT-SERVER",
    "Vault could not carry the request out",
    "success",
    # Vault answers 500 to many mistakes of the caller, so this one is not repeated.
    "read the server's words above and the server's log; it may be the request's fault",
)
REDIRECT = Kind(
    "VAULT-REDIRECT",
    "the Vault server sends us to another server",
    "an answer from the address given",
    # A followed redirect would hand the token to whoever is named in it.
    "write the address of the active server; redirects are not followed, with a token at stake",
    Retry.UNPROCESSED,
    5.0,
)
# A standby that takes a dead node for the active one sends us there until the next is elected.
STANDBY = Kind(
    "VAULT-NO-LEADER",
    "none of the Vault addresses is the cluster's active node",
    "the active node among the addresses given",
    "an election may be under way: look at the cluster's health, then run again; if it is well, "
    "give the addresses of all its nodes, as redirects are not followed",
    Retry.UNPROCESSED,
    30.0,
)
ANSWER = Kind(
    "VAULT-ANSWER",
    "what answered does not speak like Vault",
    "Vault's JSON",
    "check the address: a proxy or another program may listen there",
)
NOT_WRAPPED = Kind(
    "VAULT-NOT-WRAPPED",
    "the answer came unwrapped and was thrown away",
    "a wrapping token instead of the data",
    "a proxy seems to drop the X-Vault-Wrap-TTL header: reach Vault directly, and treat "
    "what was asked for as seen by that proxy",
)
UNREACHABLE = Kind(
    "VAULT-UNREACHABLE",
    "Vault cannot be reached",
    "a connection to host and port",
    "check the address and port, name resolution, the firewall, and that the server runs",
    Retry.UNPROCESSED,
    5.0,
)
LOST = Kind(
    "VAULT-UNREACHABLE",
    "the connection to Vault broke before the answer came",
    "an answer",
    "the server may have restarted: look at its health, then run again",
    Retry.UNCERTAIN,
    30.0,
)
TIMEOUT = Kind(
    "VAULT-TIMEOUT",
    "Vault did not answer in time",
    "an answer within the timeout",
    "making RSA keys is slow: raise the option timeout and run again; that is safe, "
    "what was made meanwhile is found and used",
    Retry.UNCERTAIN,
    30.0,
)
SPEAKS_HTTP = Kind(
    "VAULT-TLS",
    "the server at the Vault address does not speak TLS",
    "TLS",
    "check host and port; plain http is accepted on a loopback address only",
)
UNTRUSTED = Kind(
    "VAULT-TLS",
    "the Vault server's certificate is not trusted",
    "a certificate that chains to the pinned CA file and carries the address's name",
    "set ca_cert (or BAO_CACERT, VAULT_CACERT) to the CA that issued the server's "
    "certificate; never skip verification",
)
WANTS_CERTIFICATE = Kind(
    "VAULT-TLS",
    "the Vault server does not let us in without a client certificate that it trusts",
    "a client certificate of a CA that the listener trusts (tls_client_ca_file)",
    "set client_cert and client_key (or BAO_CLIENT_CERT and BAO_CLIENT_KEY, VAULT_CLIENT_CERT "
    "and VAULT_CLIENT_KEY); if they are set, another CA issued the certificate, or it has ended",
)
BAD_CA_FILE = Kind(
    "VAULT-TLS",
    "the CA file for Vault cannot be used",
    "a readable file of PEM certificates",
    "correct ca_cert (or BAO_CACERT, VAULT_CACERT); never skip verification",
)

# First match wins: (HTTP status, a piece of the server's words in lower case, meaning).
TEXTS: tuple[tuple[int, str, Kind], ...] = (
    (503, "sealed", SEALED),
    (503, "not initialized", UNINITIALISED),
    (500, "local node not active", NO_LEADER),
    (400, "http request to an https server", PLAIN_HTTP),
    (404, "no handler for route", NO_MOUNT),
    (404, "namespace not found", NO_NAMESPACE),
    (400, "key not found", NOT_FOUND),
    (400, "key with provided name", NOT_FOUND),
    (400, "version does not exist", NOT_FOUND),
    (400, "wrapping token is not valid or does not exist", WRAP_USED),
    (400, "invalid role", LOGIN),
    (400, "invalid secret id", LOGIN),
    (400, "check-and-set parameter", CAS),
    (400, "upgrading from non-versioned", UPGRADING),
)
STATUSES: dict[int, Kind] = {
    400: REQUEST,
    401: DENIED,
    403: DENIED,
    404: NOT_FOUND,
    405: REQUEST,
    412: NOT_YET,
    413: REQUEST,
    429: RATE,
    500: SERVER,
    501: UNINITIALISED,
    502: GATEWAY,
    503: UNAVAILABLE,
    504: GATEWAY,
}


def classify(status: int, errors: Iterable[str]) -> Kind:
    """The meaning of an HTTP answer that is not a success."""
    text = " ".join(errors).lower()
    for known_status, piece, kind in TEXTS:
        if status == known_status and piece in text:
            return kind
    if 300 <= status < 400:
        return REDIRECT
    return STATUSES.get(status, ANSWER)


def quote(errors: Iterable[str], secrets: Iterable[str] = ()) -> str:
    """The server's words on one line, shortened, without what is or looks like a secret."""
    text = " ".join(" ".join(errors).split())
    for secret in secrets:
        text = text.replace(secret, "[removed]")
    text = SECRET_LIKE.sub(_hidden, text)
    return text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + "..."


def _hidden(found: re.Match[str]) -> str:
    run = found.group()
    is_path = re.fullmatch(r"[\w+/=-]+", run) and not ENCODED.search(run)
    return run if is_path else "[removed]"


def fault(kind: Kind, found: str, where: str, *, expected: str = "") -> Fault:
    """A row of the table with this case's particulars."""
    error = PkiError(
        kind.message,
        rule=kind.rule,
        found=found,
        expected=expected or kind.expected,
        where=where,
        next_step=kind.next_step,
    )
    return Fault(error, kind.retry, kind.patience)


def may_repeat(verdict: Retry, *, idempotent: bool) -> bool:
    """Whether a call that met this fault may be sent again."""
    return verdict is Retry.UNPROCESSED or (verdict is Retry.UNCERTAIN and idempotent)
