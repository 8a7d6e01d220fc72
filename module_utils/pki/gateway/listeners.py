# SPDX-License-Identifier: GPL-3.0-or-later
"""One listener of a gateway: an ingress that peers call, or an egress through which we call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..inventory import Certificate
from . import limits, peers
from . import trust as trusted
from .reading import (
    HOST,
    NAME,
    PATH_OF_REQUEST,
    address,
    authority,
    endpoint,
    error,
    file_path,
    is_loopback,
    known,
    mapping,
    matching,
    port,
    whole_number,
)
from .sources import Sources

_UPSTREAM = re.compile(r"http://(?P<authority>[^/?#@\s]+)/?")
_DIP_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


def ingress(raw: object, sources: Sources, root: str, where: str) -> dict[str, Any]:
    """A listener that peers call with a certificate of theirs."""
    fields = ("name", "listen", "server_name", "certificate", "trust", "peers", "upstream")
    entry = mapping(raw, where, fields, ("limits", "probe"))
    upstream = _UPSTREAM.fullmatch(str(entry["upstream"]))
    if upstream is None:
        raise error(f"{where}.upstream", "not usable", entry["upstream"], "http://address:port")
    common = _common(entry, sources, root, where, ingress=True)
    trust = sources.trusted(common["trust"])
    return {
        **common,
        "server_name": matching(entry["server_name"], HOST, f"{where}.server_name", "a host name"),
        "allowed": peers.allowed(entry["peers"], trust, f"{where}.peers"),
        "upstream": str(entry["upstream"]),
        "upstream_authority": authority(*endpoint(upstream["authority"], f"{where}.upstream")),
        "probe": _client(entry["probe"], f"{where}.probe"),
    }


def _client(raw: object, where: str) -> dict[str, Any] | None:
    """The client that a probe can play, on a host that has the files of one; None elsewhere."""
    if raw is None:
        return None
    entry = mapping(raw, where, ("certificate", "key"), ("path", "status"))
    status = 200 if entry["status"] is None else entry["status"]
    if not 100 <= whole_number(status, f"{where}.status", "a status of HTTP") <= 599:
        raise error(f"{where}.status", "not a status of HTTP", status, "100 to 599")
    return {
        "certificate": file_path(entry["certificate"], f"{where}.certificate"),
        "key": file_path(entry["key"], f"{where}.key"),
        "path": _request_path(entry["path"], f"{where}.path"),
        "status": status,
    }


def egress(raw: object, sources: Sources, root: str, where: str) -> dict[str, Any]:
    """A listener on loopback through which callers of this host reach a far end."""
    fields = ("name", "listen", "certificate", "trust", "upstream")
    entry = mapping(raw, where, fields, ("dip_id", "api_key", "limits", "probe"))
    common = _common(entry, sources, root, where, ingress=False)
    if not is_loopback(common["address"]):
        # Whoever reaches this port speaks with our certificate, without showing one.
        raise error(
            f"{where}.listen",
            "an egress listener speaks plain http and must not leave the host",
            entry["listen"],
            "a loopback address",
        )
    upstream = mapping(entry["upstream"], f"{where}.upstream", ("host", "address", "port"))
    far, number = (
        address(str(upstream["address"]), f"{where}.upstream.address"),
        port(upstream["port"], f"{where}.upstream.port"),
    )
    dip_id = _dip_id(entry["dip_id"], common["certificate"], sources, f"{where}.dip_id")
    probe = (
        {} if entry["probe"] is None else mapping(entry["probe"], f"{where}.probe", (), ("path",))
    )
    return {
        **common,
        "host": matching(upstream["host"], HOST, f"{where}.upstream.host", "a host name"),
        "upstream_address": far,
        "upstream_port": number,
        "upstream_authority": authority(far, number),
        "dip_id": dip_id,
        "api_key": _api_key(entry["api_key"], dip_id, common["certificate"], sources, where),
        "probe": {"path": _request_path(probe.get("path"), f"{where}.probe.path")},
    }


def _request_path(value: object, where: str) -> str:
    if value is None:
        return "/"
    return matching(value, PATH_OF_REQUEST, where, "a path such as /health, in plain characters")


def _dip_id(value: object, certificate: str, sources: Sources, where: str) -> str:
    """The DIP ID for which a listener calls; empty when the inventory names none."""
    if value is None:
        return ""
    dip_id = matching(value, _DIP_ID, where, "a DIP ID as it was allocated")
    ids = _dip_ids(sources.declared.entries[certificate][0], sources)
    if ids and dip_id not in ids:
        raise error(
            where,
            "not a DIP ID of the organisation that calls with this certificate",
            dip_id,
            ", ".join(ids),
            "correct it, or add it to the organisation's dip_ids in organisations.yml",
        )
    return dip_id


def _dip_ids(certificate: Certificate, sources: Sources) -> list[str]:
    """The DIP IDs that may be called for: its own, and all here of one that connects for others."""
    own = certificate.organisation
    party = sources.policies[certificate.policy].parties.get(own.party)
    others = sources.declared.organisations.values()
    served = [own, *others] if party is not None and party.connects_for_others else [own]
    return list(dict.fromkeys(dip_id for one in served for dip_id in one.dip_ids))


def _api_key(
    value: object, dip_id: str, certificate: str, sources: Sources, where: str
) -> dict[str, str] | None:
    """Name, header and directory of the API key that a listener adds; None for none (2.3, 8.8)."""
    if value is None:
        return None
    place = f"{where}.api_key"
    name = matching(value, NAME, place, "lower case letters, digits, - and .")
    if not dip_id:
        raise error(place, "an API key belongs to a DIP ID", name, "dip_id beside api_key")
    policy = sources.policies[sources.declared.entries[certificate][0].policy]
    if "api_key_header" not in policy.parameters:
        raise error(place, f"policy {policy.name} knows no API keys", name, "no api_key")
    return {
        "name": name,
        "header": str(policy.parameter("api_key_header")),
        "directory": sources.roots.api_key(name),
    }


def _common(
    entry: Mapping[str, Any], sources: Sources, root: str, where: str, *, ingress: bool
) -> dict[str, Any]:
    entries = sources.declared.entries
    certificate = known(entry["certificate"], entries, f"{where}.certificate")
    trust = known(entry["trust"], sources.trust, f"{where}.trust")
    host, number = endpoint(str(entry["listen"]), f"{where}.listen")
    declared = entries[certificate][0]
    if declared.environment_class != sources.declared.trust[trust].environment_class:
        raise error(
            f"{where}.trust",
            "certificate and trust are of different environment classes",
            f"{certificate} with {trust}",
            "both nonprod or both prod",
        )
    policy = sources.policies[declared.policy]
    return {
        "name": matching(entry["name"], NAME, f"{where}.name", "lower case letters, digits, -"),
        "address": host,
        "port": number,
        "authority": authority(host, number),
        "certificate": certificate,
        "trust": trust,
        "fullchain": sources.roots.certificate(certificate, "fullchain.pem"),
        "key": sources.roots.certificate(certificate, "key.pem"),
        "ca_file": f"{root}/trust/{trust}.pem",
        "crl_file": sources.roots.crl_file(trust, "ingress" if ingress else "egress"),
        "verify_depth": trusted.verify_depth(sources.trusted(trust)),
        "limits": limits.of_listener(entry["limits"], policy, f"{where}.limits", ingress=ingress),
    }
