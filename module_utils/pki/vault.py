# SPDX-License-Identifier: GPL-3.0-or-later
"""One client for HashiCorp Vault and OpenBao; the only file that speaks HTTP to them.

It stands on hvac's adapter rather than on ``hvac.Client``: the latter fills gaps from
``VAULT_*`` variables and a token file in the home directory behind our back.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import TracebackType
from typing import Any, BinaryIO, Self

import requests
from hvac.adapters import RawAdapter

from . import vault_connection, vault_ids, vault_login
from . import vault_faults as faults
from .errors import PkiError
from .vault_settings import Settings
from .wrapping import WrapInfo

__all__ = ["Client", "Settings", "WrapInfo"]

CONNECT_SECONDS = 10.0
REVOKE_SECONDS = 5.0
# OpenBao refuses JSON with more than a thousand texts in it, as "high complexity".
PATHS_AT_ONCE = 500
FIRST_PAUSE, PAUSE_FACTOR, LONGEST_PAUSE = 0.2, 1.6, 3.0
# Vault answers a LIST of nothing, and a read of nothing, with 404 and no words.
NOT_FOUND = 404
# These verdicts are Vault's own only when they come as JSON; else a proxy spoke.
WORDS_OF_VAULT = (faults.NOT_FOUND, faults.REQUEST, faults.DENIED)
PATH = re.compile(r"[A-Za-z0-9_.@:=+~-]+(/[A-Za-z0-9_.@:=+~-]+)*/?")


@dataclass(frozen=True, slots=True)
class _Call:
    """One request. ``idempotent``: sending it twice does no more than sending it once.

    ``seconds``: it may take so long, whatever the timeout. ``turn`` and ``token`` say which
    address it goes to, and as whom: other threads may move on to others meanwhile.
    """

    method: str
    path: str
    idempotent: bool
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    wrap_ttl: int | None = None
    authenticated: bool = True
    # Statuses whose JSON is the answer, although HTTP calls them errors.
    accepted: frozenset[int] = frozenset()
    seconds: float = 0.0
    turn: int = 0
    token: str = field(default="", repr=False)
    # What does not fit into memory: a file that is the body, and what takes an answer's.
    source: BinaryIO | None = field(default=None, repr=False)
    receive: Callable[[requests.Response], None] | None = None
    # What else the server might quote and we must not.
    secrets: tuple[str, ...] = field(default=(), repr=False)


class Client:
    """A session with Vault: logs in when first needed, revokes its token at the end.

    Use it as a context manager; threads may share it. Every failure is a ``PkiError``
    whose rule begins with ``VAULT-``. No token, credential or request body is ever part
    of one.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session = vault_connection.open_session(settings)
        # One for each address, as threads may be at different ones.
        self._adapters = tuple(
            RawAdapter(
                base_uri=address,
                # A redirect would carry the token to a host that nobody configured.
                allow_redirects=False,
                session=self._session,
                namespace=settings.namespace,
            )
            for address in settings.addresses
        )
        states = frozenset({429, 472, 473, 501, 503})
        self._health = _Call("get", "sys/health", True, authenticated=False, accepted=states)
        self._turn = 0
        self._token = ""
        self._login_lock = threading.Lock()
        self._turn_lock = threading.Lock()
        self._own_token = False
        self._files_checked = False
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._settings!r})"

    # What callers use

    def read(self, path: str) -> dict[str, Any] | None:
        """The ``data`` at a path; None when there is nothing (the mount must exist)."""
        answer = self._send(_Call("get", _checked(path), True, accepted=frozenset({NOT_FOUND})))
        return None if answer is None else _data(answer)

    def list(self, path: str) -> list[str]:
        """The names below a path; empty when there are none."""
        answer = self._send(_Call("list", _checked(path), True, accepted=frozenset({NOT_FOUND})))
        return [] if answer is None else [str(key) for key in _data(answer).get("keys") or ()]

    def write(
        self,
        path: str,
        data: Mapping[str, Any] | None = None,
        idempotent: bool = False,
        *,
        seconds: float = 0.0,
    ) -> dict[str, Any]:
        """Write and return the answer's ``data`` ({} when it has none).

        Without ``idempotent`` a call is repeated only when the server surely never
        acted on it. ``seconds``: wait so long for the answer, even if the timeout is shorter.
        """
        body = _plain(data or {})
        call = _Call("post", _checked(path), idempotent, body=body, seconds=seconds)
        answer = self._send(call)
        vault_ids.note(answer)
        return _data(answer or {})

    def wrap(self, path: str, ttl_seconds: int) -> WrapInfo:
        """Read a path into a single-use token that lives ``ttl_seconds``.

        Not idempotent: a second token, made because the first one's answer was lost,
        would look like theft in the audit log.
        """
        call = _Call("get", _checked(path), False, wrap_ttl=int(ttl_seconds))
        answer = self._send(call) or {}
        info = answer.get("wrap_info")
        if not isinstance(info, Mapping) or not info.get("token"):
            # The answer may hold the very key: nothing of it is looked at or shown.
            raise self._fault(faults.NOT_WRAPPED, "no wrap_info", call).error
        return WrapInfo(
            token=str(info["token"]),
            creation_path=str(info["creation_path"]),
            ttl=int(info["ttl"]),
            creation_time=datetime.fromisoformat(str(info["creation_time"])),
            accessor=str(info.get("accessor", "")),
        )

    def health(self) -> dict[str, Any]:
        """The server's own words on its state (initialized, sealed, standby, version).

        Sealed and standby are answers here, not errors, and no login is needed.
        """
        return self._send(self._health) or {}

    def capabilities(self, paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """What this token may do on each path, asked without side effects."""
        wanted = [_checked(path) for path in paths]
        answers: dict[str, Any] = {}
        for first in range(0, len(wanted), PATHS_AT_ONCE):
            asked = {"paths": wanted[first : first + PATHS_AT_ONCE]}
            call = _Call("post", "sys/capabilities-self", True, body=_plain(asked))
            answers |= _data(self._send(call) or {})
        return {path: tuple(map(str, answers.get(path) or ("deny",))) for path in wanted}

    def close(self) -> None:
        """Revoke the token this client logged in for, as far as the server listens.

        A token that was handed to us is left alone: others may hold it too. Tokens made
        by :meth:`wrap` live on, they are not children of this one.
        """
        if self._closed:
            return
        self._closed = True
        if self._own_token:
            revoke = _Call("post", "auth/token/revoke-self", False, body={})
            self._attempt(self._here(revoke), timeout=REVOKE_SECONDS)
        self._token = ""
        self._session.close()

    # Sending

    def _send(self, call: _Call) -> dict[str, Any] | None:
        """Send with login, retries and address rotation. None: accepted and empty."""
        if self._closed:
            raise RuntimeError("this Vault client is closed")
        begun, attempts, renewed = time.monotonic(), 0, False
        worst: faults.Fault | None = None
        while True:
            if call.authenticated:
                self._login()
            sent = self._here(call)
            answer = self._attempt(sent)
            if not isinstance(answer, faults.Fault):
                return answer
            if answer.error.rule == faults.DENIED.rule and call.authenticated:
                # A denied call did nothing, so it may be sent again by a fresh token.
                if renewed or not self._forget_dead_token(sent.token):
                    raise self._explain_denial(sent, answer)
                renewed = True
                continue
            attempts += 1
            # The addresses of one cluster: a dead node beside one that waits for an election
            # is waited for as long, and what the living one says tells more.
            if worst is None or answer.patience >= worst.patience:
                worst = answer
            if not self._wait_for_next(answer, sent, begun, attempts, worst.patience):
                telling = answer if answer.retry is faults.Retry.NEVER else worst
                raise self._with_addresses(self._of_new_server(telling.error, sent))

    def _wait_for_next(
        self, fault: faults.Fault, call: _Call, begun: float, attempts: int, seconds: float
    ) -> bool:
        """Turn to the next address; pause after each round. False: give up."""
        if not faults.may_repeat(fault.retry, idempotent=call.idempotent):
            return False
        count = len(self._settings.addresses)
        rounds = attempts // count
        pause = 0.0
        if attempts % count == 0:
            pause = min(FIRST_PAUSE * PAUSE_FACTOR ** (rounds - 1), LONGEST_PAUSE)
        patience = min(seconds, self._settings.patience)
        # Every address gets its chance, however long the first ones took to fail.
        if attempts >= count and time.monotonic() - begun + pause > patience:
            return False
        with self._turn_lock:
            # Unless another thread has moved on: two would be back where both of them failed.
            if self._turn == call.turn:
                self._turn = (call.turn + 1) % count
        time.sleep(pause)
        return True

    def _here(self, call: _Call) -> _Call:
        """The call as it is sent now: to the present address, as who we are at present."""
        return replace(call, turn=self._turn, token=self._token if call.authenticated else "")

    def _timeout(self, seconds: float) -> tuple[float, float]:
        """For the connection, and for the answer."""
        whole = self._settings.timeout
        return min(CONNECT_SECONDS, whole), max(whole, seconds)

    def _attempt(
        self, call: _Call, timeout: float | None = None
    ) -> dict[str, Any] | faults.Fault | None:
        """One request, and every way it can fail as a value.

        A value, because a raised error would drag along the HTTP library's exception,
        which holds the request with its headers and body.
        """
        options: dict[str, Any] = {"timeout": timeout or self._timeout(call.seconds)}
        if call.token:
            options["headers"] = {"X-Vault-Token": call.token}
        if call.body is not None:
            options["json"] = dict(call.body)
        if call.wrap_ttl is not None:
            options["wrap_ttl"] = f"{call.wrap_ttl}s"
        if call.receive is not None:
            options["stream"] = True
        if call.source is not None:
            call.source.seek(0)
            options["data"] = call.source
        try:
            self._check_files()
            response = self._adapters[call.turn].request(
                call.method, f"/v1/{call.path}", raise_exception=False, **options
            )
        except requests.exceptions.RequestException as exc:
            kind, found = vault_connection.fault_of(exc)
        except PkiError as error:
            return faults.Fault(error, faults.Retry.NEVER, 0.0)
        else:
            return self._judge(call, response)
        if found == vault_connection.CUT_OFF and call.body is not None:
            # While we write, the reason of a refused handshake is lost; it can be read.
            reason = self._attempt(replace(self._health, turn=call.turn))
            if isinstance(reason, faults.Fault) and reason.error.rule == "VAULT-TLS":
                return reason
        return self._fault(kind, found, call)

    def _judge(
        self, call: _Call, response: requests.Response
    ) -> dict[str, Any] | faults.Fault | None:
        status = response.status_code
        if status == requests.codes.no_content:
            return {}
        if call.receive is not None and response.ok and not response.is_redirect:
            call.receive(response)
            return {}
        document = _document(response)
        if response.ok and not response.is_redirect:
            if document is None:
                return self._fault(faults.ANSWER, f"HTTP {status} without a JSON object", call)
            return document
        errors = _errors(document)
        if status == NOT_FOUND and document is not None and not errors:
            nothing = self._fault(faults.NOT_FOUND, "HTTP 404", call)
            return None if status in call.accepted else nothing
        if status in call.accepted and document is not None and status != NOT_FOUND:
            return document
        kind = faults.classify(status, errors or [_prose(response)])
        if document is None and kind in WORDS_OF_VAULT:
            kind = faults.ANSWER
        if kind is faults.REDIRECT and len(self._settings.addresses) > 1:
            kind = faults.STANDBY
        words = faults.quote(errors, self._known_secrets(call))
        return self._fault(kind, f"HTTP {status}" + (f": {words}" if words else ""), call)

    def _fault(
        self, kind: faults.Kind, found: str, call: _Call, expected: str = ""
    ) -> faults.Fault:
        return faults.fault(kind, found, self._where(call), expected=expected)

    def _where(self, call: _Call) -> str:
        namespace = self._settings.namespace
        suffix = f" (namespace {namespace})" if namespace else ""
        return f"{self._settings.addresses[call.turn]}/v1/{call.path}{suffix}"

    def _of_new_server(self, error: PkiError, call: _Call) -> PkiError:
        """A server that was never initialised calls itself sealed; only its health says more."""
        if error.rule != faults.SEALED.rule:
            return error
        health = self._attempt(replace(self._health, turn=call.turn))
        if isinstance(health, Mapping) and health.get("initialized") is False:
            return self._fault(faults.UNINITIALISED, error.found, call).error
        return error

    def _with_addresses(self, error: PkiError) -> PkiError:
        """Name every address that was tried, when there was more than one."""
        addresses = self._settings.addresses
        if len(addresses) > 1:
            error.found = f"{error.found}; addresses given: {', '.join(addresses)}"
        return error

    def _known_secrets(self, call: _Call) -> Iterator[str]:
        known = (self._token, call.token, self._settings.token, *call.secrets)
        return (str(secret) for secret in known if secret)

    def _check_files(self) -> None:
        """Once: the HTTP library's complaints about a file name no option."""
        if not self._files_checked:
            vault_connection.check_files(self._settings)
            self._files_checked = True

    # Identity

    def _login(self) -> None:
        with self._login_lock:
            if self._token:
                return
            if self._settings.auth_method == "token":
                self._token = vault_login.token(self._settings)
                return
            self._token = self._token_of(vault_login.prepare(self._settings))
            self._own_token = True

    def _token_of(self, login: vault_login.Login) -> str:
        # Repeated after a lost answer: at worst that used up a single-use secret id, and the
        # refusal says so.
        call = _Call("post", login.path, True, login.body, authenticated=False)
        call = replace(call, secrets=login.secrets)
        try:
            answer = self._send(call) or {}
        except PkiError as error:
            meaning = vault_login.refusal(self._settings.auth_method, error.rule, error.found)
            if meaning is None:
                raise
            refused = faults.fault(meaning, error.found, error.where).error
        else:
            token = (answer.get("auth") or {}).get("client_token")
            if token:
                return str(token)
            refused = self._fault(faults.ANSWER, "a login answer without a token", call).error
        raise refused

    def _forget_dead_token(self, used: str) -> bool:
        """True when the token that was used is dead and a login could bring, or brought, a new one.

        Vault says "permission denied" to a bad token and to a good token alike; only a
        token that may not even look at itself is a bad one.
        """
        if self._settings.auth_method == "token":
            return False
        if self._token == used and self._token_facts(used) is not None:
            return False
        with self._login_lock:
            # Another thread may have found it dead before, and have logged in since.
            if self._token == used:
                self._token, self._own_token = "", False
        return True

    def _token_facts(self, token: str) -> Mapping[str, Any] | None:
        """What the server knows of a token; None when it denies it even that."""
        look = _Call("get", "auth/token/lookup-self", True)
        answer = self._attempt(replace(self._here(look), token=token))
        if isinstance(answer, faults.Fault):
            return None if answer.error.rule == faults.DENIED.rule else {}
        return _data(answer or {})

    def _explain_denial(self, call: _Call, denial: faults.Fault) -> PkiError:
        facts = self._token_facts(call.token)
        if facts is None and not self._own_token:
            return PkiError(
                "Vault does not know the token",
                rule="VAULT-TOKEN",
                found=f"{denial.error.found}, also for the token's look at itself",
                expected="a valid token whose role includes the default policy",
                where=denial.error.where,
                next_step="the token is wrong, expired or revoked: issue a new one",
            )
        needed = faults.CAPABILITY[call.method]
        held = self._held(call.path)
        may = any(word in held for word in needed.split(" or "))
        expected = f"capability {needed} on {call.path}"
        if may and call.wrap_ttl is not None:
            expected = f"a wrapping time the policy allows (asked for {call.wrap_ttl} s)"
        elif may and call.method == "post" and "update" not in held:
            # Most engines cannot tell a new name from a known one: all is an update to them.
            expected = f"capability update on {call.path}, or parameters the policy allows"
        elif may:
            expected = "parameters the policy allows, or a wrapped answer where it demands one"
        error = self._fault(faults.DENIED, "", call, expected).error
        if facts is None:
            # A login of a moment ago: it lives, and its role keeps even this look from it.
            error.next_step = f"{error.next_step}; give its role the policy default as well, "
            error.next_step += "so that Vault can tell what it lacks"
        policies = ", ".join(map(str, (facts or {}).get("policies") or ())) or "unknown"
        words = ", ".join(held) or "unknown"
        error.found = f"{denial.error.found}; token's policies: {policies}; it may: {words}"
        return error

    def _held(self, path: str) -> tuple[str, ...]:
        call = _Call("post", "sys/capabilities-self", True, body={"paths": [path]})
        answer = self._attempt(self._here(call))
        if isinstance(answer, faults.Fault) or answer is None:
            return ()
        return tuple(map(str, _data(answer).get(path) or ()))


# Values in, values out


def _checked(path: str) -> str:
    """A Vault path that means what it says, without a leading or trailing slash."""
    text = str(path).strip("/")
    if not PATH.fullmatch(text) or any(part in (".", "..") for part in text.split("/")):
        raise PkiError(
            "a Vault path has characters that do not belong there",
            rule="VAULT-PATH",
            found=repr(text),
            expected="names of letters, digits and . _ - @ : = + ~ between slashes",
            where="Vault path",
            next_step="correct the name it is made of",
        )
    return text


def _plain(value: Any) -> Any:
    """Built-in types only: Ansible's tagged values stop at this border."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _document(response: requests.Response) -> dict[str, Any] | None:
    try:
        document = response.json()
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _data(answer: Mapping[str, Any]) -> dict[str, Any]:
    data = answer.get("data")
    return dict(data) if isinstance(data, Mapping) else {}


def _errors(document: Mapping[str, Any] | None) -> list[str]:
    errors = document.get("errors") if document is not None else None
    return [str(error) for error in errors] if isinstance(errors, list) else []


def _prose(response: requests.Response) -> str:
    """The beginning of an answer that is no JSON: looked at, never shown."""
    return response.text[: faults.MAX_QUOTED]
