# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about the CRLs of every trust set, on the controller and on each gateway host."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from cryptography import x509

from .. import crl_cache, crl_watching, revocation, session
from ..documents import Collected, Declaration, Document
from ..download import Patience
from ..errors import PkiError
from ..policy import Policy
from ..revocation import Crl
from ..trust_files import Ca, LoadedTrust
from . import crl_watched, listeners
from .moments import hours_since, moment
from .scene import Collector, Scene

KIND = "crl"
_NEVER = -1.0
_NO_FETCH = {"attempts": 0, "waits_seconds": [], "growth": 0.0}


def collect(scene: Scene) -> Collected:
    """The controller's set of every trust set in use, and each host's sets of its gateways."""
    declarations, documents = [], []
    for name, trust in scene.inputs.trust.items():
        policy = scene.inputs.policies.get(scene.inputs.declared.trust[name].policy)
        if policy is None or not policy.of_kind(KIND):  # used by nobody, or not judged
            continue
        place = scene.place("trust", name)
        label = f"controller/{name}"
        declarations.append(Declaration(KIND, label, policy.name, place))
        facts = _controller(scene, trust, policy)
        documents.append(Document(KIND, label, policy.name, facts, place))
        for host in _users(scene, name):
            label = f"{host}/{name}"
            declarations.append(Declaration(KIND, label, policy.name, place))
            raw = _raw(scene, host, name)
            if raw is not None:
                on_host = {
                    **_on_host(scene, trust, raw),
                    **crl_watched.facts(
                        raw,
                        scene.hosts[host].get("crl_timers") or {},
                        crl_watching.on_stale(policy),
                        scene.inputs.now,
                    ),
                }
                documents.append(Document(KIND, label, policy.name, on_host, place))
    return scene.collected(declarations, documents)


def _users(scene: Scene, trust: str) -> Iterator[str]:
    for host in scene.hosts:
        if any(trust in model["trusts"] for model in listeners.on_host(scene, host)):
            yield host


def _raw(scene: Scene, host: str, trust: str) -> Mapping[str, Any] | None:
    for raw in scene.hosts[host].get("crls") or ():
        if raw["trust"] == trust:
            return dict(raw)
    return None


def _controller(scene: Scene, trust: LoadedTrust, policy: Policy) -> dict[str, Any]:
    inputs = scene.inputs
    given = inputs.given_crls.get(trust.name)
    if given is not None:  # fetched a moment ago and not kept: check mode's way
        crls, problem = _parsed(given)
        fetched = [inputs.now]
    else:
        kept = crl_cache.kept(trust, inputs.crl_cache_dir)
        read = [_parsed(content) for content, _ in kept.values() if content]
        crls = tuple(crl for found, _ in read for crl in found)
        problem = "; ".join(why for _, why in read if why)
        moments = [moment(text) for _, text in kept.values()]
        fetched = [one for one in moments if one is not None]
        if len(fetched) < len(moments):
            fetched = []
    identity = _identity(b"".join(revocation.to_pem(crl.der) for crl in crls))
    return {
        "place": "controller",
        "problem": problem,
        "fetched_age_hours": hours_since(min(fetched), inputs.now) if fetched else _NEVER,
        "in_service": identity,
        "latest": identity,
        **_contents(trust, crls, inputs.now),
        "unknown_is": _without_crls(trust, inputs.now),
        "fetch": _patience(Patience.of(policy)),
        **crl_watched.NOTHING,
    }


def _on_host(scene: Scene, trust: LoadedTrust, raw: Mapping[str, Any]) -> dict[str, Any]:
    here = session.cached_crls(scene.inputs, [trust.name])[trust.name]
    same = bool(raw["sha256"]) and raw["sha256"] == here.sha256
    crls, problem = _parsed(here.pem if same else str(raw["pem"]).encode("ascii", "replace"))
    contents = _contents(trust, crls, scene.inputs.now)
    if raw["sha256"] and not same and not raw["pem"]:
        told = _told(trust, raw, scene.inputs.now)
        problem = "" if told else f"a set of {raw['size']} bytes, too large to look at"
        contents = {**contents, "authorities": told} if told else contents
    fetched = moment(str(raw["poll"]["fetched_at"]))
    controller = _contents(trust, _parsed(here.pem)[0], scene.inputs.now)
    return {
        "place": "host",
        "problem": str(raw["problem"]) or problem,
        "fetched_age_hours": hours_since(fetched, scene.inputs.now) if fetched else _NEVER,
        "in_service": str(raw["sha256"])[:16],
        "latest": _latest(here, raw, controller["authorities"], contents["authorities"]),
        **contents,
        "unknown_is": "not tried",
        "fetch": dict(_NO_FETCH),
    }


def _latest(
    here: crl_cache.CrlSet,
    raw: Mapping[str, Any],
    controller: Sequence[Mapping[str, Any]],
    host: Sequence[Mapping[str, Any]],
) -> str:
    """The set that the last poll brought: ours, or what the host itself fetched since.

    An incomplete set of ours is not handed on; then the host's own note of its last one counts.
    """
    if not here.complete:
        return str(raw["poll"]["set"])
    newer = all(
        theirs["signature_valid"] and _issue(theirs) >= _issue(ours)
        for ours, theirs in zip(controller, host, strict=True)
    )
    return str(raw["sha256"])[:16] if newer else here.sha256[:16]


def _issue(authority: Mapping[str, Any]) -> tuple[float, int]:
    """What is greater of a newer CRL: when it was issued, then its number."""
    number = str(authority["number"])
    return -authority["this_update_age_hours"], int(number) if number.isdecimal() else 0


def _told(trust: LoadedTrust, raw: Mapping[str, Any], now: datetime) -> list[dict[str, Any]]:
    """What the host's last poll tells of a set that is too large to be sent; empty without one.

    The host judged each CRL before it kept it, signature and scope included.
    """
    status = raw.get("refresh")
    listed = status.get("authorities") if isinstance(status, Mapping) else None
    entries = [one for one in listed or () if isinstance(one, Mapping)]
    told = {str(one.get("sha256")): one for one in entries if one.get("crl_sha256")}
    issuing = {ca.sha256 for ca in trust.issuers}
    if any(ca.sha256 not in told for ca in trust.authorities):
        return []
    return [
        {
            **_as_told(ca, "user" if ca.sha256 in issuing else "ca", told[ca.sha256], now),
            "kept_after": ca.retire_after if ca.sha256 in trust.kept else "",
        }
        for ca in trust.authorities
    ]


def _as_told(ca: Ca, needs: str, entry: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    begun, ends = moment(str(entry.get("this_update"))), moment(str(entry.get("next_update")))
    return {
        "name": ca.common_name,
        "needs": needs,
        "present": True,
        "signature_valid": True,
        "this_update_age_hours": hours_since(begun, now) if begun else _NEVER,
        "next_update_left_hours": -hours_since(ends, now) if ends else _NEVER,
        "number": str(entry.get("number") or "")[:60],
        "scope": needs,
        "distribution_points": [],
    }


def _parsed(content: bytes) -> tuple[tuple[Crl, ...], str]:
    try:
        return revocation.parse_crls(content), ""
    except PkiError as exc:
        return (), exc.found


def _contents(trust: LoadedTrust, crls: Sequence[Crl], now: datetime) -> dict[str, Any]:
    issuing = {ca.sha256 for ca in trust.issuers}
    unique = {ca.sha256: ca for ca in trust.authorities}
    foreign = [crl for crl in crls if not any(crl.signed_by(ca.der) for ca in unique.values())]
    return {
        "foreign": len(foreign),
        "authorities": [
            {
                **_authority(ca, "user" if digest in issuing else "ca", crls, now),
                "kept_after": ca.retire_after if digest in trust.kept else "",
            }
            for digest, ca in unique.items()
        ],
    }


def _authority(ca: Ca, needs: str, crls: Sequence[Crl], now: datetime) -> dict[str, Any]:
    """What the set has of one CA: the newest CRL that it signed, else that one has its name."""
    named = [crl for crl in crls if crl.issuer == _subject(ca)]
    own = [crl for crl in named if crl.signed_by(ca.der)]
    facts = {
        "name": ca.common_name,
        "needs": needs,
        "present": bool(named),
        "signature_valid": bool(own),
        "this_update_age_hours": _NEVER,
        "next_update_left_hours": _NEVER,
        "number": "",
        "scope": "none",
        "distribution_points": [],
    }
    if not own:
        return facts
    newest = max(own, key=lambda crl: (crl.this_update, crl.number or 0))
    left = _NEVER if newest.next_update is None else -hours_since(newest.next_update, now)
    return {
        **facts,
        "this_update_age_hours": hours_since(newest.this_update, now),
        "next_update_left_hours": left,
        "number": "" if newest.number is None else str(newest.number),
        "scope": newest.scope,
        "distribution_points": list(newest.distribution_points),
    }


def _subject(ca: Ca) -> bytes:
    return x509.load_der_x509_certificate(ca.der).subject.public_bytes()


def _without_crls(trust: LoadedTrust, now: datetime) -> str:
    """What our own judge does when nobody says whether a CA of this set is revoked."""
    chain = (trust.issuers[0].der, trust.anchors[0].der)
    try:
        revocation.require_good(revocation.check(chain, (), now))
    except PkiError:
        return "refused"
    return "accepted"


def _patience(patience: Patience) -> dict[str, Any]:
    waits = patience.waits
    steps = [
        after / before
        for before, after in itertools.pairwise(waits)
        if after < patience.longest_wait and before > 0
    ]
    return {
        "attempts": patience.attempts,
        "waits_seconds": list(waits),
        "growth": float(min(steps, default=patience.factor)),
    }


def _identity(pem: bytes) -> str:
    return hashlib.sha256(pem).hexdigest()[:16] if pem else ""


COLLECTOR = Collector(kinds=frozenset({KIND}), scopes=frozenset({"live"}), collect=collect)
