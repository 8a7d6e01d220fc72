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
from datetime import datetime
from typing import Any

from .. import deliveries, observed, public_state
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
    for path, told in deliveries.read(look["events"]).items():
        certificate, label = _whose(scene, path)
        policy = _policy(scene, certificate)
        if policy is None:
            continue
        place = scene.place("certificates", certificate.entry if certificate else "")
        declarations.append(Declaration(KIND, label, policy, place))
        facts = _facts(scene, path, told, certificate, end)
        documents.append(Document(KIND, label, policy, facts, place))
    return scene.collected(declarations, documents)


def _whose(scene: Scene, path: str) -> tuple[Certificate | None, str]:
    """The certificate whose secret a path is, and how its object is called."""
    by_key = {one.key_name: one for one in scene.inputs.declared.certificates.values()}
    key, passphrase = _KEY.fullmatch(path), _PASSPHRASE.fullmatch(path)
    match = key or passphrase
    mine = by_key.get(match[2]) if match else None
    if mine is None or match is None or not _of_class(match[1], mine):
        return None, observed.text(path, 200)
    return mine, f"{mine.name} v{key[3]}" if key else f"{mine.name} passphrase"


def _of_class(mount: str, certificate: Certificate) -> bool:
    """Whether a mount is one of the certificate's environment class."""
    return f"-{certificate.environment_class}" in f"{mount}-"


def _policy(scene: Scene, certificate: Certificate | None) -> str | None:
    """Who judges it; what no entry names is judged by the first policy that can."""
    declared = scene.inputs.declared.certificates.values()
    names = [certificate.policy] if certificate else [one.policy for one in declared]
    return next((n for n in names if scene.inputs.policies[n].of_kind(KIND)), None)


def _facts(
    scene: Scene, path: str, told: Told, certificate: Certificate | None, end: datetime
) -> dict[str, Any]:
    audit = scene.audit or {}
    hosts = _hosts(scene, certificate)
    match = _KEY.fullmatch(path)
    return {
        "path": observed.text(path, 300),
        "declared": certificate is not None,
        "delivery": observed.text(certificate.delivery, 40) if certificate else "none",
        "roles": sorted(observed.text(str(role), 200) for role in audit["roles"])[:_ROLES],
        "addresses": sorted(_addresses(audit["addresses"], hosts))[:_ADDRESSES],
        "holders": _holders(scene, certificate, hosts, int(match[3]) if match else 0),
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


def _hosts(scene: Scene, certificate: Certificate | None) -> set[str]:
    """The gateway hosts that use it: its own, or those of its group."""
    if certificate is None:
        return set()
    if certificate.host:
        return {certificate.host}
    return {
        host
        for host, told in scene.hosts.items()
        if certificate.hosts in (host, "all", *(told.get("groups") or ()))
    }


def _addresses(given: Mapping[str, Iterable[str]], hosts: set[str]) -> set[str]:
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


def _holders(scene: Scene, certificate: Certificate | None, hosts: set[str], version: int) -> int:
    """How many hosts hold a file with the key."""
    if certificate is None:
        return 0
    return sum(
        any(_holds(release, certificate, version) for release in _releases(scene, host))
        for host in hosts
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
