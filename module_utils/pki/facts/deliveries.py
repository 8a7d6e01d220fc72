# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about keys that left their store, as the key server's audit log tells them.

Live, and only where a log was given (``scene.audit``): ``look`` is what ``pki_audit_log``
returned, ``roles`` the logins that may have keys wrapped, ``addresses`` by host those it reaches
the key server from, ``problem`` what kept the log from being read.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .. import api_keys, deliveries, gateway, observed, public_state
from ..deliveries import Delivery, Told, Use
from ..documents import Collected, Declaration, Document
from ..errors import PkiError
from ..inventory import Certificate
from .scene import Collector, Scene

KIND = "delivery"
_KEY = re.compile(r"([^/]+)/export/signing-key/([^/]+)/([1-9][0-9]{0,8})")
_PASSPHRASE = re.compile(r"([^/]+)/data/passphrases/([^/]+)")
_RELEASE = re.compile(r"v([1-9][0-9]{0,8})-")
#: The facts' bounds. What goes beyond is counted, so that nobody hides one event behind others.
_ROLES, _ADDRESSES, _DELIVERIES, _USES = 1000, 100, 500, 5


@dataclass(frozen=True, slots=True)
class Secret:
    """What a path in the log is to the inventory.

    Attributes:
        label: how the object is called.
        declared: whether anything of the inventory uses it.
        delivery: how it is brought to hosts; none for a secret that nothing names.
        hosts: the hosts that use it.
        certificate: whose it is; an API key is no certificate's.
    """

    label: str
    declared: bool = False
    delivery: str = "none"
    hosts: frozenset[str] = frozenset()
    certificate: Certificate | None = None


def collect(scene: Scene) -> Collected:
    """A document for every secret that the log knows to have left."""
    audit = scene.audit
    if audit is None:
        return scene.collected((), ())
    if audit.get("problem"):
        raise _not_read(str(audit["problem"]))
    look = audit["look"]
    end = deliveries.moment(look["last"])
    declarations, documents = [], []
    sent = _api_keys(scene)
    for path, told in deliveries.read(look["events"]).items():
        secret = sent.get(path) or _of_certificate(scene, path)
        policy = _policy(scene, secret.certificate)
        if policy is None:
            continue
        entry = secret.certificate.entry if secret.certificate else ""
        place = scene.place("certificates", entry)
        declarations.append(Declaration(KIND, secret.label, policy, place))
        facts = _facts(scene, path, told, secret, end)
        documents.append(Document(KIND, secret.label, policy, facts, place))
    return scene.collected(declarations, documents)


def _api_keys(scene: Scene) -> dict[str, Secret]:
    """The API keys that gateways send, by path, with the hosts of those gateways.

    Without usable gateways none is known, and a delivery of one is that of an unknown secret; what
    is wrong with the gateways is told where they are judged.
    """
    inputs = scene.inputs
    try:
        models = gateway.check(
            scene.gateways or [], inputs.declared, inputs.trust, inputs.policies, now=inputs.now
        )
        keys = api_keys.declared(models, inputs.declared.entries)
    except PkiError:
        return {}
    hosts = {str(model["name"]): _hosts(scene, str(model["hosts"])) for model in models}
    return {
        key.path: Secret(
            label=f"API key {key.name}",
            declared=True,
            delivery="wrapped",
            hosts=frozenset(
                host for one in key.listeners for host in hosts[one.rpartition("/")[0]]
            ),
        )
        for key in keys
    }


def _of_certificate(scene: Scene, path: str) -> Secret:
    """What a path is to the certificate whose secret it is, if it is any's."""
    by_key = {one.key_name: one for one in scene.inputs.declared.certificates.values()}
    key, passphrase = _KEY.fullmatch(path), _PASSPHRASE.fullmatch(path)
    match = key or passphrase
    mine = by_key.get(match[2]) if match else None
    if mine is None or match is None or not _of_class(match[1], mine):
        return Secret(observed.text(path, 200))
    return Secret(
        label=f"{mine.name} v{key[3]}" if key else f"{mine.name} passphrase",
        declared=True,
        delivery=observed.text(mine.delivery, 40),
        hosts=frozenset({mine.host}) if mine.host else _hosts(scene, mine.hosts),
        certificate=mine,
    )


def _of_class(mount: str, certificate: Certificate) -> bool:
    """Whether a mount is one of the certificate's environment class."""
    return f"-{certificate.environment_class}" in f"{mount}-"


def _policy(scene: Scene, certificate: Certificate | None) -> str | None:
    """Who judges it; what no entry names is judged by the first policy that can."""
    declared = scene.inputs.declared.certificates.values()
    names = [certificate.policy] if certificate else [one.policy for one in declared]
    return next((n for n in names if scene.inputs.policies[n].of_kind(KIND)), None)


def _facts(scene: Scene, path: str, told: Told, secret: Secret, end: datetime) -> dict[str, Any]:
    audit = scene.audit or {}
    match = _KEY.fullmatch(path)
    return {
        "path": observed.text(path, 300),
        "declared": secret.declared,
        "delivery": secret.delivery,
        "roles": sorted(observed.text(str(role), 200) for role in audit["roles"])[:_ROLES],
        "addresses": sorted(_addresses(audit["addresses"], secret.hosts))[:_ADDRESSES],
        "holders": _holders(scene, secret, int(match[3]) if match else 0),
        "deliveries": [_delivery(one, end) for one in told.deliveries[:_DELIVERIES]],
        "clear": [
            {
                "when": public_state.iso(one.when),
                "identity": observed.text(one.identity, 200),
                "from": observed.text(one.address, 100),
            }
            for one in told.clear[:_DELIVERIES]
        ],
        "left_out": _left_out(told),
    }


def _left_out(told: Told) -> int:
    uses = [len(use) for one in told.deliveries for use in (one.taken, one.refused)]
    lists = (len(told.deliveries), len(told.clear))
    return sum(max(0, size - _DELIVERIES) for size in lists) + sum(
        max(0, size - _USES) for size in uses
    )


def _delivery(one: Delivery, end: datetime) -> dict[str, Any]:
    return {
        "when": public_state.iso(one.when),
        "identity": observed.text(one.identity, 200),
        "from": observed.text(one.address, 100),
        "ttl": min(one.ttl, 1_000_000_000),
        "open": one.is_open(end),
        "again": one.again,
        "taken": [_use(use) for use in one.taken[:_USES]],
        "refused": [_use(use) for use in one.refused[:_USES]],
    }


def _use(use: Use) -> dict[str, Any]:
    return {
        "from": observed.text(use.address, 100),
        "when": public_state.iso(use.when),
        "how": use.how,
    }


def _hosts(scene: Scene, wanted: str) -> frozenset[str]:
    """The gateway hosts of this name or group."""
    return frozenset(
        host
        for host, told in scene.hosts.items()
        if wanted in (host, "all", *(told.get("groups") or ()))
    )


def _addresses(given: Mapping[str, Iterable[str]], hosts: Iterable[str]) -> set[str]:
    """The addresses of some hosts; a name stands for all that it resolves to now."""
    found: set[str] = set()
    for host in hosts:
        for text in given.get(host, ()):
            found |= _resolved(str(text))
    return found


def _resolved(text: str) -> set[str]:
    try:
        return {str(ipaddress.ip_address(text))}
    except ValueError:
        pass
    try:
        answers = socket.getaddrinfo(text, None, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        return set()
    return {str(answer[4][0]) for answer in answers}


def _holders(scene: Scene, secret: Secret, version: int) -> int:
    """How many hosts hold a file with a certificate's key."""
    certificate = secret.certificate
    if certificate is None:
        return 0
    return sum(
        any(_holds(release, certificate, version) for release in _releases(scene, host))
        for host in secret.hosts
    )


def _releases(scene: Scene, host: str) -> list[Mapping[str, Any]]:
    releases = scene.hosts.get(host, {}).get("releases")
    return [one for one in releases if isinstance(one, Mapping)] if releases else []


def _holds(release: Mapping[str, Any], certificate: Certificate, version: int) -> bool:
    match = _RELEASE.match(str(release.get("release", "")))
    return (
        release.get("certificate") == certificate.entry
        and match is not None
        and int(match[1]) == version
        and bool((release.get("key") or {}).get("mode"))
    )


def _not_read(problem: str) -> PkiError:
    return PkiError(
        "the key server's audit log was not looked at",
        rule="AUDIT-LOG",
        found=observed.text(problem, 500),
        expected="the log that verify_audit_log names",
        where="verify_audit_log",
        next_step="correct verify_audit_log or verify_audit_host, and run again",
    )


COLLECTOR = Collector(kinds=frozenset({KIND}), scopes=frozenset({"live"}), collect=collect)
