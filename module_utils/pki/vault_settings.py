# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Vault is and who we are there: options and environment in, checked values out.

Nothing here talks to the network. Resolving is pure (the environment is an argument);
only :func:`read_secret` touches a file, and it is called at the moment of login.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .errors import PkiError

RULE = "VAULT-SETTINGS"
OPTIONS = (
    "address",
    "ca_cert",
    "namespace",
    "auth_method",
    "role_id_file",
    "secret_id_file",
    "token_file",
    "timeout",
)
# OpenBao's own family wins: who sets both has an old VAULT_ profile lying about.
ENVIRONMENT = {
    "address": ("BAO_ADDR", "VAULT_ADDR"),
    "ca_cert": ("BAO_CACERT", "VAULT_CACERT"),
    "namespace": ("BAO_NAMESPACE", "VAULT_NAMESPACE"),
    "token": ("BAO_TOKEN", "VAULT_TOKEN"),
}
# Making one RSA-4096 key took 19 s on a busy server; hvac's own 30 s is not enough.
DEFAULT_TIMEOUT_SECONDS = 120.0
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# A credential is a line. Whatever is longer is the wrong file.
MAX_SECRET_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach Vault and log in.

    Attributes:
        addresses: base URLs in the order they are tried, without a slash at the end.
        ca_cert: PEM file of the CAs that may vouch for the server; None: public CAs.
        namespace: Vault namespace, None for the root one.
        auth_method: ``approle`` or ``token``.
        role_id_file, secret_id_file, token_file: 0600 files, read when needed.
        token: a token from the environment, never shown.
        timeout: seconds one request may take.
        patience: the most seconds spent on repeating a call after a passing fault.
    """

    addresses: tuple[str, ...]
    ca_cert: str | None
    namespace: str | None
    auth_method: str
    role_id_file: str | None
    secret_id_file: str | None
    token_file: str | None
    token: str | None = field(repr=False)
    timeout: float = DEFAULT_TIMEOUT_SECONDS
    patience: float = 30.0

    @classmethod
    def resolve(cls, options: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
        """Options over ``BAO_*`` over ``VAULT_*``; an empty value counts as not given.

        Raises:
            PkiError: rule VAULT-SETTINGS, naming the option and its variables.
        """
        _refuse_unknown(options)
        chosen = {name: _option(options, name) for name in OPTIONS}
        variables = {name: _from_environment(environ, name) for name in ENVIRONMENT}
        address = chosen["address"] or variables["address"]
        method = _auth_method(chosen)
        settings = cls(
            addresses=_addresses(address),
            ca_cert=chosen["ca_cert"] or variables["ca_cert"],
            namespace=(chosen["namespace"] or variables["namespace"] or "").strip("/") or None,
            auth_method=method,
            role_id_file=chosen["role_id_file"],
            secret_id_file=chosen["secret_id_file"],
            token_file=chosen["token_file"],
            # A token of the environment is another identity: AppRole never picks it up.
            token=None if chosen["token_file"] or method != "token" else variables["token"],
            timeout=_timeout(chosen["timeout"]),
        )
        _require_credentials(settings)
        return settings


def _refuse_unknown(options: Mapping[str, object]) -> None:
    unknown = sorted(str(name) for name in options if str(name) not in OPTIONS)
    if unknown:
        raise PkiError(
            f"unknown Vault option {', '.join(unknown)}",
            rule=RULE,
            found=", ".join(unknown),
            expected="only " + ", ".join(OPTIONS),
            where="Vault options",
            next_step="correct the option's name",
        )


def _option(options: Mapping[str, object], name: str) -> str | None:
    # str(): values from Ansible are tagged subclasses of str, which stay on this side.
    value = options.get(name)
    return str(value).strip() or None if value is not None else None


def _from_environment(environ: Mapping[str, str], name: str) -> str | None:
    values = (str(environ.get(variable, "")).strip() for variable in ENVIRONMENT[name])
    return next((value for value in values if value), None)


def place_of(name: str) -> str:
    """Both places a setting can come from, as a person would look for them."""
    variables = ENVIRONMENT.get(name)
    suffix = f" or environment variable {' or '.join(variables)}" if variables else ""
    return f"Vault option {name}{suffix}"


def _addresses(text: str | None) -> tuple[str, ...]:
    parts = [part.strip().rstrip("/") for part in (text or "").split(",")]
    addresses = tuple(dict.fromkeys(part for part in parts if part))
    if not addresses:
        raise PkiError(
            "no Vault address is given",
            rule=RULE,
            found="nothing",
            expected="https://host:port, several separated by commas",
            where=place_of("address"),
            next_step="set the address",
        )
    for address in addresses:
        _check_address(address)
    return addresses


def _check_address(address: str) -> None:
    """Refuse what would send the token in clear or to a place nobody meant."""
    problem = _address_problem(address)
    if problem:
        found, expected = problem
        raise PkiError(
            "the Vault address cannot be used",
            rule=RULE,
            found=found,
            expected=expected,
            where=place_of("address"),
            next_step="correct the address",
        )


def _address_problem(address: str) -> tuple[str, str] | None:
    try:
        url = urlsplit(address)
        host, _port = url.hostname, url.port
    except ValueError:
        return "a text that is not a URL", "https://host:port"
    if url.username is not None or url.password is not None:
        # Not shown: the part before the @ may be a password.
        return "a user name or password inside the address", "credentials in files only"
    if url.query or url.fragment:
        return f"a query or fragment in {url.scheme}://{url.netloc}", "https://host:port"
    if url.scheme not in ("https", "http") or not host:
        return address, "https://host:port"
    if url.scheme == "http" and host not in LOOPBACK:
        return address, "https:// (plain http only to this very host: a token must not travel)"
    return None


def _auth_method(chosen: Mapping[str, str | None]) -> str:
    method = chosen["auth_method"]
    if method is None:
        return "approle" if chosen["role_id_file"] else "token"
    if method not in ("approle", "token"):
        raise PkiError(
            f"unknown Vault login method {method}",
            rule=RULE,
            found=method,
            expected="approle or token",
            where=place_of("auth_method"),
            next_step="choose one of the two methods",
        )
    return method


def _timeout(text: str | None) -> float:
    try:
        seconds = float(text) if text is not None else DEFAULT_TIMEOUT_SECONDS
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        raise PkiError(
            "the Vault timeout is not a time",
            rule=RULE,
            found=str(text),
            expected=f"seconds above 0; {DEFAULT_TIMEOUT_SECONDS:.0f} by default",
            where=place_of("timeout"),
            next_step="give whole seconds, 120 or more where keys are made",
        )
    return seconds


def _require_credentials(settings: Settings) -> None:
    if settings.auth_method == "approle":
        needed = {
            "role_id_file": settings.role_id_file,
            "secret_id_file": settings.secret_id_file,
        }
        missing = [name for name, value in needed.items() if value is None]
        expected = "role_id_file and secret_id_file, two files of mode 0600"
        where = "; ".join(place_of(name) for name in missing)
    else:
        missing = [] if settings.token_file or settings.token else ["token"]
        expected = "a token file of mode 0600, or a token in the environment"
        where = f"Vault option token_file or {' or '.join(ENVIRONMENT['token'])}"
    if settings.token is not None and not _is_credential(settings.token):
        raise PkiError(
            "the Vault token of the environment is not a token",
            rule=RULE,
            found="blanks or characters outside ASCII",
            expected="one word",
            where=" or ".join(ENVIRONMENT["token"]),
            next_step="set the variable again; its value is not shown here",
        )
    if missing:
        raise PkiError(
            f"Vault login by {settings.auth_method} lacks its credentials",
            rule=RULE,
            found=f"no {' and no '.join(missing)}",
            expected=expected,
            where=where,
            next_step="name the credential file; never put the secret itself into an option",
        )


def _is_credential(text: str) -> bool:
    """One ASCII word: anything else would break the header, or out of it."""
    return text.isascii() and text.isprintable() and len(text.split()) == 1


def read_secret(path: str, option: str) -> str:
    """The one line of a credential file, refused when others could have read it.

    Judged on the open file, so that what is checked is what is read.

    Raises:
        PkiError: rule VAULT-CREDENTIALS.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _bad_credential(path, option, os.strerror(error.errno or 0)) from None
    try:
        _check_private(os.fstat(descriptor), path, option)
        data = os.read(descriptor, MAX_SECRET_BYTES + 1)
    finally:
        os.close(descriptor)
    try:
        secret = data.decode("ascii").strip()
    except UnicodeDecodeError:
        raise _bad_credential(path, option, "bytes that are not ASCII text") from None
    if len(data) > MAX_SECRET_BYTES or not _is_credential(secret):
        raise _bad_credential(path, option, f"{len(secret.split())} words of text")
    return secret


def _check_private(status: os.stat_result, path: str, option: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _bad_credential(path, option, "not a regular file")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise _bad_credential(path, option, f"mode {mode:04o}", f"chmod 600 {path}")
    if status.st_uid not in (os.geteuid(), 0):
        raise _bad_credential(path, option, f"owned by user id {status.st_uid}")


def _bad_credential(path: str, option: str, found: str, next_step: str = "") -> PkiError:
    return PkiError(
        f"the Vault credential file {path} cannot be used",
        rule="VAULT-CREDENTIALS",
        found=found,
        expected="a regular file of mode 0600, yours or root's, with the secret on one line",
        where=f"{path} (Vault option {option})",
        next_step=next_step or "put the credential there; nothing was sent to Vault",
    )
