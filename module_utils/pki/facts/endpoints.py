# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about what listeners and far ends really do, from the handshakes of their hosts."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from cryptography import x509

from .. import certs, download, gather, ocsp_query, public_state, session
from ..certificate_facts import NOT_ASKED
from ..certs import DECODE_ERRORS
from ..documents import Collected, Declaration, Document
from ..errors import PkiError
from ..inventory import Certificate
from ..public_state import VersionFiles
from . import listeners, presented
from .listeners import Listener
from .responders import Responders
from .scene import Collector, Scene

KIND = "endpoint"
#: What a gateway itself answers when it does not trust a far end, or finds none; 0 is no answer.
_REFUSALS = (0, 500, 502, 503, 504)
_UNTRIED = {"tried": False, "status": 0, "alert": -1}


def collect(scene: Scene) -> Collected:
    """A document for every listener of a host that could be asked."""
    responders = Responders(scene.inputs.now)
    found = list(listeners.listeners(scene))
    crls = session.cached_crls(scene.inputs, {str(one.entry["trust"]) for one in found})
    declarations, documents = [], []
    for listener in found:
        policy = scene.inputs.policy_of(str(listener.entry["certificate"])).name
        place = listener.place
        declarations.append(Declaration(KIND, listener.label, policy, place))
        raw = _raw(scene, listener)
        if raw is not None:
            known = crls[str(listener.entry["trust"])].crls
            facts = _facts(scene, listener, raw, known, responders)
            documents.append(Document(KIND, listener.label, policy, facts, place))
    return scene.collected(declarations, documents)


def _raw(scene: Scene, listener: Listener) -> Mapping[str, Any] | None:
    for raw in scene.hosts.get(listener.host, {}).get("endpoints") or ():
        if (raw["gateway"], raw["listener"]) == (listener.gateway, listener.entry["name"]):
            return dict(raw)
    return None


def _facts(
    scene: Scene,
    listener: Listener,
    raw: Mapping[str, Any],
    crls: tuple[bytes, ...],
    responders: Responders,
) -> dict[str, Any]:
    trust = scene.inputs.trust[str(listener.entry["trust"])]
    shown = presented.describe(
        _chain(raw["chain"]), trust, crls, str(raw["server_name"]), scene.inputs.now
    )
    ingress = listener.direction == "ingress"
    in_use = bool(raw["chain"]) and (ingress or not _refused(raw))
    accepted = _accepted(scene, listener) if ingress else ()
    return {
        "direction": listener.direction,
        "reached": bool(raw["reached"]),
        "problem": str(raw["problem"]),
        "in_use": in_use,
        "protocols": list(raw["protocols"]),
        "protocols_unknown": list(raw["protocols_unknown"]),
        "ciphers": list(raw["ciphers"]),
        "ciphersuites": list(raw["ciphersuites"]),
        "client_certificate_requested": bool(raw["requested"]),
        "resumed": list(raw["resumed"]),
        "anonymous": _caller(raw["anonymous"]),
        "stranger": _caller(_UNTRIED if _is_own_peer(scene, listener) else raw["stranger"]),
        "server_name": str(raw["server_name"]).lower(),
        "expected_sha256": next(iter(accepted), ""),
        "kept_sha256": list(accepted[1:]),
        "certificate": shown.certificate,
        "chain": shown.chain,
        "ocsp": _ocsp(scene, listener, shown.verified if in_use else (), responders),
    }


def _chain(encoded: list[str]) -> list[bytes]:
    try:
        return [base64.b64decode(one, validate=True) for one in encoded]
    except (binascii.Error, ValueError):
        return [b""]


def _caller(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {"tried": bool(raw["tried"]), "status": int(raw["status"]), "alert": int(raw["alert"])}


def _refused(raw: Mapping[str, Any]) -> bool:
    """Whether a far end that the host itself would refuse was refused by the gateway, too."""
    return bool(raw["refused_here"]) and int(raw["call_status"]) in _REFUSALS


def _is_own_peer(scene: Scene, listener: Listener) -> bool:
    """Whether the gateway's own certificate, with which it is tried, is among its peers'."""
    own = scene.inputs.declared.like(str(listener.entry["certificate"]))
    name = f"CN={own.common_name}"
    return any(
        own.common_name == subject["value"]
        if subject["kind"] == "cn"
        else f"{subject['value']},".startswith(f"{name},")
        for subject in (listener.entry.get("allowed") or {}).get("subjects", ())
    )


def _accepted(scene: Scene, listener: Listener) -> tuple[str, ...]:
    """SHA-256 of the accepted certificates that the host may serve: the newest, and the one before
    it while that waits for its deployment window. Nothing where nothing is accepted."""
    own = scene.inputs.declared.of_host(str(listener.entry["certificate"]), listener.host)
    if own is None:
        return ()
    # The collector of certificates tells what is wrong with the files.
    found: list[VersionFiles] = []
    with suppress(PkiError):
        versions = public_state.scan(scene.inputs.certificates_dir, own.name)
        found = [one for one in versions if one.certificate and one.accepted_record is not None]
    served = found[-1:]
    with suppress(PkiError):
        served += _kept(scene, own, found)
    digests = []
    for files in served:
        with suppress(*DECODE_ERRORS):
            digests.append(certs.sha256(x509.load_pem_x509_certificate(files.certificate or b"")))
    return tuple(digests)


def _kept(scene: Scene, own: Certificate, found: list[VersionFiles]) -> list[VersionFiles]:
    """The version before the newest, while the newest waits."""
    versions = [public_state.observed_version(files) for files in found]
    kept = gather.kept(scene.inputs, own, versions)
    return [files for files in found if kept is not None and files.number == kept.number]


def _ocsp(
    scene: Scene,
    listener: Listener,
    chain: tuple[x509.Certificate, ...],
    responders: Responders,
) -> dict[str, Any]:
    """What the responders of a certificate say; only one with a verified path is looked at."""
    if not chain:
        return {"responders": [], "verdict": "unknown", "why": ""}
    named = list(ocsp_query.responders(chain[0]))
    policy = scene.inputs.policy_of(str(listener.entry["certificate"]))
    found = responders.ask(chain[0], chain[1], download.Patience.of(policy)) if named else NOT_ASKED
    verdict = found.status if found.asked else "unknown"
    return {"responders": named, "verdict": verdict, "why": found.why}


COLLECTOR = Collector(kinds=frozenset({KIND}), scopes=frozenset({"live"}), collect=collect)
