# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Vault is and who we are there: options and environment in, checked values out.

Pure: the environment is an argument, and no file is touched; credentials are read at the
moment of login (:mod:`.vault_login`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .errors import PkiError
from .vault_credentials import is_credential

RULE = "VAULT-SETTINGS"
OPTIONS = (
    "address",
    "ca_cert",
    "namespace",
    "auth_method",
    "auth_mount",
    "auth_role",
    "role_id_file",
    "secret_id_file",
    "jwt_file",
    "jwt_env",
    "token_file",
    "client_cert",
    "client_key",
    "timeout",
)
# Each login method, and the options of a login that it reads.
METHODS = {
    "approle": ("role_id_file", "secret_id_file", "auth_mount"),
    "jwt": ("jwt_file", "jwt_env", "auth_mount", "auth_role"),
    "cert": ("auth_mount", "auth_role"),
    "token": ("token_file",),
}
# Which of these options mean a method by themselves. A certificate may be there for TLS alone.
TELLING = {
    "role_id_file": "approle",
    "secret_id_file": "approle",
    "jwt_file": "jwt",
    "jwt_env": "jwt",
}
# OpenBao's own family wins: who sets both has an old VAULT_ profile lying about.
ENVIRONMENT = {
    "address": ("BAO_ADDR", "VAULT_ADDR"),
    "ca_cert": ("BAO_CACERT", "VAULT_CACERT"),
    "namespace": ("BAO_NAMESPACE", "VAULT_NAMESPACE"),
    "token_file": ("BAO_TOKEN", "VAULT_TOKEN"),
    "client_cert": ("BAO_CLIENT_CERT", "VAULT_CLIENT_CERT"),
    "client_key": ("BAO_CLIENT_KEY", "VAULT_CLIENT_KEY"),
}
# Making one RSA-4096 key took 19 s on a busy server; hvac's own 30 s is not enough.
DEFAULT_TIMEOUT_SECONDS = 120.0
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach Vault and log in.

    Attributes:
        addresses: base URLs in the order they are tried, without a slash at the end.
        ca_cert: PEM file of the CAs that may vouch for the server; None: public CAs.
        namespace: Vault namespace, None for the root one.
        auth_method: ``approle``, ``jwt``, ``cert`` or ``token``.
        auth_mount: where the method is mounted below ``auth/``; empty for ``token``.
        auth_role: the role of a ``jwt`` or ``cert`` login; None leaves it to the server.
        role_id_file, secret_id_file, jwt_file, token_file: 0600 files, read when needed.
        jwt: an id token from the variable that ``jwt_env`` names, never shown.
        jwt_env: the name of that variable.
        token: a token from the environment, never shown.
        client_cert, client_key: PEM files of the certificate for TLS; the key 0600.
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
    auth_mount: str = ""
    auth_role: str | None = None
    jwt_file: str | None = None
    jwt_env: str | None = None
    jwt: str | None = field(default=None, repr=False)
    client_cert: str | None = None
    client_key: str | None = None
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
            token=None if chosen["token_file"] or method != "token" else variables["token_file"],
            auth_mount=_auth_mount(chosen["auth_mount"], method),
            auth_role=chosen["auth_role"],
            jwt_file=chosen["jwt_file"],
            jwt_env=chosen["jwt_env"],
            jwt=_named_variable(environ, chosen["jwt_env"]),
            client_cert=chosen["client_cert"] or variables["client_cert"],
            client_key=chosen["client_key"] or variables["client_key"],
            timeout=_timeout(chosen["timeout"]),
        )
        _refuse_strays(chosen, method)
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
        return next((means for name, means in TELLING.items() if chosen[name]), "token")
    if method not in METHODS:
        raise PkiError(
            f"unknown Vault login method {method}",
            rule=RULE,
            found=method,
            expected=" or ".join(METHODS),
            where=place_of("auth_method"),
            next_step="choose one of these methods",
        )
    return method


def _auth_mount(text: str | None, method: str) -> str:
    if text is None:
        # As the servers propose it.
        return method if "auth_mount" in METHODS[method] else ""
    if MOUNT.fullmatch(text) and not text.startswith("auth/"):
        return text
    raise PkiError(
        "the mount of the Vault login method cannot be used",
        rule=RULE,
        found=text,
        expected="a path without slashes at its ends, as it stands behind auth/",
        where=place_of("auth_mount"),
        next_step="write jwt-github for auth/jwt-github, for example",
    )


def _named_variable(environ: Mapping[str, str], name: str | None) -> str | None:
    """What the variable holds; its name may be told, and what else stands there may not."""
    if name is None:
        return None
    if not VARIABLE.fullmatch(name):
        raise PkiError(
            "jwt_env does not name a variable",
            rule=RULE,
            found="characters that no name of a variable has",
            expected="the name of an environment variable, not the token itself",
            where=place_of("jwt_env"),
            next_step="name the variable that holds the id token; if the token itself stood "
            "here, take it for known to whoever reads this configuration",
        )
    return str(environ.get(name, "")).strip() or None


def _refuse_strays(chosen: Mapping[str, str | None], method: str) -> None:
    """An option that the method does not read: whoever wrote it means another method."""
    of_login = ("auth_mount", "auth_role", "jwt_file", "jwt_env")
    read = METHODS[method]
    stray = [name for name in of_login if chosen[name] and name not in read]
    if stray:
        raise PkiError(
            f"Vault login by {method} does not read {' and '.join(stray)}",
            rule=RULE,
            found=", ".join(stray),
            expected=f"for {method} only {', '.join(read)}",
            where="; ".join(place_of(name) for name in stray),
            next_step="name the method you mean with auth_method, or take the option out",
        )


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
    missing, expected = _missing(settings)
    if missing:
        raise PkiError(
            f"Vault login by {settings.auth_method} lacks its credentials",
            rule=RULE,
            found=f"no {' and no '.join(missing)}",
            expected=expected,
            where="; ".join(place_of(name) for name in missing),
            next_step="name the credential file; never put the secret itself into an option",
        )
    _require_word("token", settings.token, " or ".join(ENVIRONMENT["token_file"]))
    _require_word("id token", settings.jwt, str(settings.jwt_env))


def _missing(settings: Settings) -> tuple[list[str], str]:
    """Options that are needed and not given, and what is expected of them."""
    certificate = {"client_cert": settings.client_cert, "client_key": settings.client_key}
    needed: dict[str, str | None] = {}
    expected = ""
    if settings.auth_method == "approle":
        needed = {
            "role_id_file": settings.role_id_file,
            "secret_id_file": settings.secret_id_file,
        }
        expected = "role_id_file and secret_id_file, two files of mode 0600"
    elif settings.auth_method == "jwt":
        needed = {"jwt_file": settings.jwt_file or settings.jwt}
        expected = "the pipeline's id token: jwt_file of mode 0600, or jwt_env, a variable's name"
        if settings.jwt_env:
            needed = {"jwt_env": settings.jwt if not settings.jwt_file else None}
            expected = f"an id token in the variable {settings.jwt_env}, and no jwt_file beside it"
    elif settings.auth_method == "token":
        needed = {"token_file": settings.token_file or settings.token}
        expected = "a token file of mode 0600, or a token in the environment"
    if settings.auth_method == "cert" or any(certificate.values()):
        needed |= certificate
        pair = "client_cert and client_key, two PEM files, the key of mode 0600"
        expected = f"{expected}; {pair}" if expected else pair
    return [name for name, value in needed.items() if not value], expected


def _require_word(name: str, value: str | None, where: str) -> None:
    if value is not None and not is_credential(value):
        raise PkiError(
            f"the Vault {name} of the environment is not a token",
            rule=RULE,
            found="blanks or characters outside ASCII",
            expected="one word",
            where=where,
            next_step="set the variable again; its value is not shown here",
        )
