# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to Vault: TLS in both directions, and what it means when no answer comes back."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Iterator

import requests
import urllib3.exceptions

from . import vault_credentials
from . import vault_faults as faults
from .vault_settings import Settings

MOST_THREADS = 64
# A server that dies in the middle, or one that refuses our certificate while we still write.
CUT_OFF = "the server cut the TLS connection off"
# What a server says, as an alert of TLS, of a certificate that is absent or not to its taste.
REFUSES_CERTIFICATE = (
    "CERTIFICATE_REQUIRED",
    "BAD_CERTIFICATE",
    "UNKNOWN_CA",
    "CERTIFICATE_EXPIRED",
)
BROKEN = (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError)


def open_session(settings: Settings) -> requests.Session:
    """A session that trusts the pinned CA alone and takes nothing from the environment."""
    session = requests.Session()
    # The environment must not add credentials (.netrc), proxies or other CA files.
    session.trust_env = False
    # On the session, not on the adapter: hvac prefers what the session says.
    session.verify = settings.ca_cert or True
    if settings.client_cert and settings.client_key:
        session.cert = (settings.client_cert, settings.client_key)
    # As many connections as there may be threads: one that is thrown away costs a handshake.
    for scheme in ("https://", "http://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=MOST_THREADS))
    return session


def check_files(settings: Settings) -> None:
    """Read the CA file, and the client's certificate and key, before the HTTP library does.

    Raises:
        PkiError: VAULT-TLS for the CA file, VAULT-CREDENTIALS for the pair.
    """
    if settings.ca_cert is not None:
        _check_ca_file(settings.ca_cert)
    if settings.client_cert and settings.client_key:
        vault_credentials.check_pair(settings.client_cert, settings.client_key)


def _check_ca_file(path: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found = ""
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        found = "no PEM certificate in it"
    except OSError as error:
        found = os.strerror(error.errno or 0)
    if found:
        raise faults.fault(faults.BAD_CA_FILE, found, path).error


def fault_of(
    exc: requests.exceptions.RequestException,
) -> tuple[faults.Kind, str]:
    """The meaning of a request without an answer. Order: special before general."""
    causes = tuple(_chain(exc))
    if isinstance(exc, requests.exceptions.SSLError):
        return _tls_fault(causes)
    if isinstance(exc, requests.exceptions.ReadTimeout):
        return faults.TIMEOUT, "silence until the timeout"
    if any(isinstance(cause, urllib3.exceptions.NameResolutionError) for cause in causes):
        return faults.UNREACHABLE, "the host name does not resolve"
    reason = _system_reason(causes)
    # A NewConnectionError is a ConnectTimeoutError too: the narrower one first.
    if any(isinstance(cause, urllib3.exceptions.NewConnectionError) for cause in causes):
        return faults.UNREACHABLE, reason or "no connection"
    if any(isinstance(cause, urllib3.exceptions.ConnectTimeoutError) for cause in causes):
        return faults.UNREACHABLE, "no connection within the time allowed"
    if isinstance(exc, BROKEN):
        return faults.LOST, reason or "connection closed by the server"
    return faults.ANSWER, type(exc).__name__


def _tls_fault(causes: Iterable[BaseException]) -> tuple[faults.Kind, str]:
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return faults.UNTRUSTED, str(cause.verify_message)
    if any(isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError) for cause in causes):
        return faults.LOST, CUT_OFF
    for cause in causes:
        reason = getattr(cause, "reason", None)
        if isinstance(cause, ssl.SSLError) and isinstance(reason, str):
            if "ALERT" in reason and reason.endswith(REFUSES_CERTIFICATE):
                return faults.WANTS_CERTIFICATE, reason.lower()
            plain = reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
            return (faults.SPEAKS_HTTP if plain else faults.UNTRUSTED), reason.lower()
    return faults.UNTRUSTED, "the TLS handshake failed"


def _system_reason(causes: Iterable[BaseException]) -> str:
    numbers = (cause.errno for cause in causes if isinstance(cause, OSError))
    return next((os.strerror(number).lower() for number in numbers if number), "")


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """An exception and all it was made from, each once."""
    seen: set[int] = set()
    waiting: list[object] = [exc]
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [*current.args, getattr(current, "reason", None)]
        waiting += [current.__cause__, current.__context__]
