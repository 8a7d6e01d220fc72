# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to log in to Vault: what each of them sends, and what a refusal means.

Credentials are read here, at the moment they are needed: a secret that is not in memory cannot
leak from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from . import vault_faults as faults
from .vault_credentials import read_secret
from .vault_faults import Kind
from .vault_settings import Settings


@dataclass(frozen=True, slots=True)
class Login:
    """One login call. ``secrets``: what of its body must never be quoted."""

    path: str
    body: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


def prepare(settings: Settings) -> Login:
    """The call that logs in, its credentials freshly read; not for ``token``.

    Raises:
        PkiError: VAULT-CREDENTIALS, for a file that cannot be used.
    """
    body: dict[str, str] = {}
    if settings.auth_method == "approle":
        body["role_id"] = read_secret(settings.role_id_file or "", "role_id_file")
        body["secret_id"] = read_secret(settings.secret_id_file or "", "secret_id_file")
    elif settings.auth_method == "jwt":
        body["jwt"] = settings.jwt or read_secret(settings.jwt_file or "", "jwt_file")
    secrets = tuple(body.values())
    if settings.auth_role:
        body["name" if settings.auth_method == "cert" else "role"] = settings.auth_role
    return Login(f"auth/{settings.auth_mount}/login", body, secrets)


def token(settings: Settings) -> str:
    """The token of the method ``token``.

    Raises:
        PkiError: VAULT-CREDENTIALS.
    """
    return settings.token or read_secret(settings.token_file or "", "token_file")


# -- what a refusal means --------------------------------------------------------------------

_CLOCKS = "compare the clocks of whoever issued it and of the Vault server"
_CLAIM = (
    "compare the role's bound_claims with this run's repository, branch and environment: either "
    "the run is one that should not get in, or the role names another"
)
_CERTIFICATE = (
    "look at the certificate: openssl x509 -in CLIENT_CERT -noout -subject -issuer -dates"
)

#: (method, a piece of the server's words in lower case, expected, next step); first match wins.
REFUSALS: tuple[tuple[str, str, str, str], ...] = (
    ("jwt", "does not match any associated bound claim", "claims that the role binds", _CLAIM),
    ("jwt", "error validating claims", "the claims that the role binds", _CLAIM),
    (
        "jwt",
        "audience",
        "an id token for an audience of the role's bound_audiences",
        "ask the forge for the id token with that audience",
    ),
    (
        "jwt",
        "issuer",
        "an id token of the issuer that the mount trusts (bound_issuer)",
        "is auth_mount the mount of this forge?",
    ),
    (
        "jwt",
        "expired",
        "an id token within its few minutes of life",
        "fetch the id token directly before the run; a login that lives longer than the run "
        "(token_ttl of the role) needs no second one",
    ),
    ("jwt", "not yet valid", "an id token whose time has come", _CLOCKS),
    ("jwt", "in the future", "an id token whose time has come", _CLOCKS),
    (
        "jwt",
        "signature",
        "an id token signed by the issuer that the mount trusts",
        "does jwt_file or jwt_env hold an id token of this forge, whole and unchanged?",
    ),
    (
        "jwt",
        "could not be found",
        "a role of this mount",
        "correct auth_role, auth_mount or the namespace",
    ),
    ("jwt", "missing role", "a role", "give auth_role; the mount has no default_role"),
    (
        "jwt",
        "not found in token",
        "an id token with the claim that the role's user_claim names",
        "correct user_claim of the role: sub is in every id token",
    ),
    (
        "cert",
        "no client certificate found",
        "a connection that shows the client certificate",
        "reach Vault directly: a proxy that ends TLS hides the certificate, and so does a "
        "listener with tls_disable_client_certs",
    ),
    (
        "cert",
        "matching all constraints",
        "a certificate with the names that the role allows",
        f"{_CERTIFICATE}; the role's allowed_common_names, allowed_dns_sans and the like decide",
    ),
    (
        "cert",
        "invalid certificate",
        "a certificate of the CA that the role trusts, and a role of this name",
        f"{_CERTIFICATE}; is auth_role a role of this mount, and trusts it this issuer?",
    ),
    (
        "cert",
        "failed to verify client's certificate",
        "a certificate that is valid now",
        f"{_CERTIFICATE}; renew it, or {_CLOCKS}",
    ),
)
#: What is told without more words where there is no such mount, or it does not let us in.
_DENIED = (
    "a login method at this mount and in this namespace that lets this address in",
    "check auth_mount and namespace; are logins bound to other addresses (bound_cidrs)?",
)
_IN_GENERAL = {
    "approle": (faults.LOGIN.expected, faults.LOGIN.next_step),
    "jwt": ("an id token that the role accepts", "compare the id token's claims with the role"),
    "cert": ("a client certificate that the role accepts", _CERTIFICATE),
}
_REFUSED = ("VAULT-DENIED", "VAULT-REQUEST", "VAULT-NO-MOUNT", "VAULT-NOT-FOUND", "VAULT-LOGIN")


def refusal(method: str, rule: str, words: str) -> Kind | None:
    """What a failed login means; None when it is no refusal but another fault.

    Args:
        method: ``approle``, ``jwt`` or ``cert``.
        rule: what the answer would mean to any other call.
        words: what the server said.
    """
    text = words.lower()
    for of_method, piece, expected, next_step in REFUSALS:
        if of_method == method and piece in text:
            return replace(faults.LOGIN, expected=expected, next_step=next_step)
    if rule not in _REFUSED:
        return None
    there = rule not in ("VAULT-DENIED", "VAULT-NO-MOUNT")
    expected, next_step = _IN_GENERAL[method] if there else _DENIED
    return replace(faults.LOGIN, expected=expected, next_step=next_step)
