# SPDX-License-Identifier: GPL-3.0-or-later
"""The model of a gateway, independent of its product: what templates and probes need.

Pure: the inventory's entry, pinned CAs and policy numbers in, a dictionary of plain JSON
values out. Entries are read strictly; an unknown key or an open door is an error.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from . import names
from .errors import PkiError
from .inventory import Declared
from .policy import Policy
from .trust_files import Ca, LoadedTrust

_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
_NAME = re.compile(r"[a-z0-9]+(?:[-.][a-z0-9]+)*")
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_COMMON_NAME = re.compile(r"[ -~]{1,64}")
_UPSTREAM = re.compile(r"http://(?P<authority>[^/?#@\s]+)/?")


@dataclass(frozen=True, slots=True)
class Roots:
    """Absolute directories on the target: releases, CRL sets and gateways."""

    release: str
    crl: str
    gateway: str

    def certificate(self, name: str, file: str) -> str:
        """A file of the certificate's release in service; the name never changes."""
        return f"{self.release}/{name}/current/{file}"

    def crl_file(self, trust: str) -> str:
        """The CRL set in service of a trust set."""
        return f"{self.crl}/{trust}/current/crl.pem"


#: Where things would be on a host that is not looked at.
ANYWHERE = Roots("/releases", "/crls", "/gateways")


@dataclass(frozen=True, slots=True)
class Sources:
    """What a model is made from besides its own entry."""

    declared: Declared
    trust: Mapping[str, LoadedTrust]
    policies: Mapping[str, Policy]
    roots: Roots


def build_all(raw: object, sources: Sources) -> list[dict[str, Any]]:
    """The models of every gateway of the inventory; PkiError for the first that is wrong."""
    if not isinstance(raw, list | tuple):
        raise _error("gateways", "gateways is not a list", type(raw).__name__, "a list")
    models = [build(entry, sources, index) for index, entry in enumerate(raw)]
    _unique([str(model["name"]) for model in models], "gateways", "name")
    return models


def check(
    raw: object,
    declared: Declared,
    trust: Mapping[str, LoadedTrust],
    policies: Mapping[str, Policy],
) -> list[dict[str, Any]]:
    """:func:`build_all` without a host: for a run that wants to know before it begins."""
    return build_all(raw, Sources(declared, trust, policies, ANYWHERE))


def build(raw: object, sources: Sources, index: int = 0) -> dict[str, Any]:
    """One gateway's model; see the template of a product for how it is used."""
    where = f"gateways[{index}]"
    entry = _mapping(raw, where, ("name", "product", "hosts", "ingress", "egress"))
    name = _matching(entry["name"], _NAME, f"{where}.name", "lower case letters, digits, - and .")
    where = f"{where} ({name})"
    root = f"{sources.roots.gateway}/{name}"
    ingress = [
        _ingress(item, sources, root, f"{where}.ingress[{at}]")
        for at, item in enumerate(_items(entry["ingress"], f"{where}.ingress"))
    ]
    egress = [
        _egress(item, sources, root, f"{where}.egress[{at}]")
        for at, item in enumerate(_items(entry["egress"], f"{where}.egress"))
    ]
    both = [*ingress, *egress]
    if not both:
        raise _error(where, "the gateway has nothing to do", "no ingress and no egress", "one")
    _unique([item["authority"] for item in both], where, "listen")
    _unique([item["name"] for item in both], where, "name")
    trusts = sorted({item["trust"] for item in both})
    return {
        "name": name,
        "product": _matching(entry["product"], _NAME, f"{where}.product", "a product's name"),
        "hosts": _matching(entry["hosts"], _GROUP, f"{where}.hosts", "a host or group name"),
        "root": root,
        **_profile_of(both, sources, where),
        "ingress": ingress,
        "egress": egress,
        "certificates": sorted({item["certificate"] for item in both}),
        "trusts": trusts,
        "trust_files": {f"trust/{trust}.pem": _bundle(sources.trust[trust]) for trust in trusts},
    }


def _ingress(raw: object, sources: Sources, root: str, where: str) -> dict[str, Any]:
    fields = ("name", "listen", "server_name", "certificate", "trust", "peers", "upstream")
    entry = _mapping(raw, where, fields)
    upstream = _UPSTREAM.fullmatch(str(entry["upstream"]))
    if upstream is None:
        raise _error(f"{where}.upstream", "not usable", entry["upstream"], "http://address:port")
    common = _common(entry, sources, root, where)
    trust = sources.trust[common["trust"]]
    return {
        **common,
        "server_name": _matching(
            entry["server_name"], _HOST, f"{where}.server_name", "a host name"
        ),
        "issuers": [names.rfc2253(_certificate(ca).subject) for ca in trust.issuers],
        "peers": _peers(entry["peers"], f"{where}.peers"),
        "upstream": str(entry["upstream"]),
        "upstream_authority": _authority(*_endpoint(upstream["authority"], f"{where}.upstream")),
    }


def _egress(raw: object, sources: Sources, root: str, where: str) -> dict[str, Any]:
    entry = _mapping(raw, where, ("name", "listen", "certificate", "trust", "upstream"))
    common = _common(entry, sources, root, where)
    if not _is_loopback(common["address"]):
        # Whoever reaches this port speaks with our certificate, without showing one.
        raise _error(
            f"{where}.listen",
            "an egress listener speaks plain http and must not leave the host",
            entry["listen"],
            "a loopback address",
        )
    upstream = _mapping(entry["upstream"], f"{where}.upstream", ("host", "address", "port"))
    host = _matching(upstream["host"], _HOST, f"{where}.upstream.host", "a host name")
    address = _address(str(upstream["address"]), f"{where}.upstream.address")
    port = _port(upstream["port"], f"{where}.upstream.port")
    return {
        **common,
        "host": host,
        "upstream_address": address,
        "upstream_port": port,
        "upstream_authority": _authority(address, port),
    }


def _common(entry: Mapping[str, Any], sources: Sources, root: str, where: str) -> dict[str, Any]:
    entries = sources.declared.entries
    certificate = _known(entry["certificate"], entries, f"{where}.certificate")
    trust = _known(entry["trust"], sources.trust, f"{where}.trust")
    address, port = _endpoint(str(entry["listen"]), f"{where}.listen")
    if entries[certificate][0].environment_class != (
        sources.declared.trust[trust].environment_class
    ):
        raise _error(
            f"{where}.trust",
            "certificate and trust are of different environment classes",
            f"{certificate} with {trust}",
            "both nonprod or both prod",
        )
    return {
        "name": _matching(entry["name"], _NAME, f"{where}.name", "lower case letters, digits, -"),
        "address": address,
        "port": port,
        "authority": _authority(address, port),
        "certificate": certificate,
        "trust": trust,
        "fullchain": sources.roots.certificate(certificate, "fullchain.pem"),
        "key": sources.roots.certificate(certificate, "key.pem"),
        "ca_file": f"{root}/trust/{trust}.pem",
        "crl_file": sources.roots.crl_file(trust),
        "verify_depth": verify_depth(sources.trust[trust]),
    }


def verify_depth(trust: LoadedTrust) -> int:
    """How many CA certificates may stand between a leaf and an anchor, at most.

    The longest way from an allowed issuing CA up to an anchor through the pinned CAs:
    nothing that is not pinned may lengthen a chain.
    """
    by_subject = {_certificate(ca).subject: ca for ca in trust.authorities}
    anchors = {ca.sha256 for ca in trust.anchors}
    return max(_steps(ca, by_subject, anchors) for ca in trust.issuers)


def _steps(ca: Ca, by_subject: Mapping[x509.Name, Ca], anchors: set[str]) -> int:
    steps, seen = 0, set()
    while ca.sha256 not in anchors and ca.sha256 not in seen:
        seen.add(ca.sha256)
        steps += 1
        parent = by_subject.get(_certificate(ca).issuer)
        if parent is None:
            # Its issuer is not pinned: one step more to whatever anchor signed it.
            break
        ca = parent
    return steps


def _certificate(ca: Ca) -> x509.Certificate:
    return x509.load_der_x509_certificate(ca.der)


def _bundle(trust: LoadedTrust) -> str:
    unique = {ca.sha256: ca.pem.decode("ascii") for ca in (*trust.anchors, *trust.issuers)}
    return "".join(pem if pem.endswith("\n") else f"{pem}\n" for pem in unique.values())


def _profile_of(
    entries: Sequence[Mapping[str, Any]], sources: Sources, where: str
) -> dict[str, Any]:
    """The policy's numbers. One process has one profile, so policies must agree."""
    known = sources.declared.entries
    used = {known[item["certificate"]][0].policy for item in entries}
    profiles = [_profile(sources.policies[policy]) for policy in sorted(used)]
    if any(profile != profiles[0] for profile in profiles):
        raise _error(
            where,
            "the gateway's certificates follow policies with different rules for gateways",
            ", ".join(sorted(used)),
            "one profile per gateway",
        )
    return profiles[0]


def _profile(policy: Policy) -> dict[str, Any]:
    return {
        "tls": {
            "protocols": list(policy.strings("tls_protocols")),
            "ciphers": list(policy.strings("tls12_ciphers")),
            "ciphersuites": list(policy.strings("tls13_ciphersuites")),
            "groups": list(policy.strings("tls_groups")),
        },
        "limits": {
            "body_bytes": policy.number("gateway_body_bytes"),
            "connection_seconds": policy.number("gateway_connection_seconds"),
            "idle_seconds": policy.number("gateway_idle_seconds"),
            "drain_seconds": policy.number("gateway_drain_seconds"),
            "pooled_connections": policy.number("gateway_pooled_connections"),
            "refused_with": policy.number("mtls_refusal_status"),
        },
    }


# -- what one host does with a model ---------------------------------------------------


def deployment(
    model: Mapping[str, Any],
    releases: Iterable[Mapping[str, Any]],
    crl_sets: Iterable[Mapping[str, Any]],
    out_of_service: Collection[str] = (),
) -> dict[str, Any]:
    """Files, links and probes of a model, from what the two installs say is on the host.

    ``waits_for`` names what is not there yet; a gateway with an entry in it is not touched.

    ``out_of_service`` are certificates whose keys are compromised. A listener of one that has no
    release here, so no version with another key either, is left out of what comes back; so is then
    one whose certificate is not there yet, as the gateway must not be left as it is. Nor does it
    then wait for CRLs: those on the host stay. ``closed`` are the listeners left out, ``stopped``
    says that none remains, ``out`` tells of each in a sentence.
    """
    by_certificate = {str(item["certificate"]): item for item in releases}
    by_trust = {str(item["trust"]): item for item in crl_sets}
    out = {*out_of_service} - {*by_certificate}
    both = [*model["ingress"], *model["egress"]]
    withdraws = any(item["certificate"] in out for item in both)
    left_out = {
        item["name"]: why
        for item in both
        if withdraws and (why := _why_left_out(item, out, by_certificate))
    }
    model = {**model, **_without(model, left_out)} if left_out else model
    waits = [
        f"an accepted certificate {name}"
        for name in model["certificates"]
        if name not in by_certificate
    ]
    if not withdraws:
        waits += [f"CRLs of {name}" for name in model["trusts"] if name not in by_trust]
    links: list[dict[str, str]] = []
    probes: list[dict[str, Any]] = []
    if not waits:
        links = [
            {key: str(value) for key, value in source[name]["link"].items()}
            for source, wanted in (
                (by_certificate, model["certificates"]),
                (by_trust, model["trusts"]),
            )
            for name in wanted
            if name in source
        ]
        probes = [_probe("ingress", item, by_certificate) for item in model["ingress"]]
        probes += [_probe("egress", item, by_certificate) for item in model["egress"]]
    files = [{"path": path, "content": text} for path, text in model["trust_files"].items()]
    remaining = [*model["ingress"], *model["egress"]]
    return {
        **{name: model[name] for name in ("ingress", "egress", "certificates", "trusts")},
        "waits_for": waits,
        "files": files,
        "links": links,
        "probes": probes,
        "closed": [_closed(item) for item in both if _is_closed(item, left_out, remaining)],
        "stopped": not remaining,
        "out": [
            f"{model['name']}: {name} is out of service: {why}" for name, why in left_out.items()
        ],
    }


def _why_left_out(
    item: Mapping[str, Any], out: Collection[str], releases: Mapping[str, Any]
) -> str:
    certificate = str(item["certificate"])
    if certificate in out:
        return f"the key of {certificate} is compromised, and no certificate with another is there"
    return "" if certificate in releases else f"it waits for an accepted certificate {certificate}"


def _without(model: Mapping[str, Any], left_out: Collection[str]) -> dict[str, Any]:
    """What a model is without some of its listeners."""
    ingress = [item for item in model["ingress"] if item["name"] not in left_out]
    egress = [item for item in model["egress"] if item["name"] not in left_out]
    trusts = sorted({item["trust"] for item in (*ingress, *egress)})
    return {
        "ingress": ingress,
        "egress": egress,
        "certificates": sorted({item["certificate"] for item in (*ingress, *egress)}),
        "trusts": trusts,
        "trust_files": {
            path: text
            for path, text in model["trust_files"].items()
            if path in {f"trust/{trust}.pem" for trust in trusts}
        },
    }


def _is_closed(
    item: Mapping[str, Any],
    left_out: Collection[str],
    remaining: Sequence[Mapping[str, Any]],
) -> bool:
    """Whether nobody of the gateway listens there: not where another listener covers the port."""
    wildcards = {"0.0.0.0", "::"}
    return item["name"] in left_out and not any(
        other["port"] == item["port"] and wildcards & {other["address"], item["address"]}
        for other in remaining
    )


def _closed(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: item[name] for name in ("name", "address", "port")}


def _probe(
    kind: str, item: Mapping[str, Any], releases: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "name": item["name"],
        "kind": kind,
        "address": item["address"],
        "port": item["port"],
        "server_name": item.get("server_name", ""),
        "certificate_sha256": str(releases[item["certificate"]]["certificate_sha256"]),
    }


# -- strict reading --------------------------------------------------------------------


def _mapping(raw: object, where: str, fields: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise _error(where, f"{where} is not a map", type(raw).__name__, "a map")
    optional = {"ingress", "egress"}
    entry = {str(key): value for key, value in raw.items()}
    for key in sorted(set(entry) - set(fields)):
        raise _error(where, f"unknown key `{key}`", key, ", ".join(fields))
    for key in fields:
        if key not in entry and key not in optional:
            raise _error(where, f"`{key}` is missing", "nothing", key)
    return {key: entry.get(key) for key in fields}


def _items(raw: object, where: str) -> Sequence[object]:
    if raw is None:
        return ()
    if not isinstance(raw, list | tuple):
        raise _error(where, "not a list", type(raw).__name__, "a list of listeners")
    return raw


def _peers(raw: object, where: str) -> list[str]:
    if not isinstance(raw, list | tuple) or not raw:
        raise _error(where, "nobody would be let in", raw, "at least one {CN: exact name}")
    peers = []
    for index, item in enumerate(raw):
        common_name = _mapping(item, f"{where}[{index}]", ("CN",))["CN"]
        if not isinstance(common_name, str) or not _COMMON_NAME.fullmatch(common_name):
            raise _error(
                f"{where}[{index}].CN", "not usable", ascii(common_name), "printable ASCII"
            )
        peers.append(str(common_name))
    return peers


def _known(value: object, known: Collection[str], where: str) -> str:
    if str(value) not in known:
        raise _error(where, "no such entry in the inventory", value, ", ".join(sorted(known)))
    return str(value)


def _matching(value: object, pattern: re.Pattern[str], where: str, expected: str) -> str:
    if not pattern.fullmatch(str(value)):
        raise _error(where, "not usable", value, expected)
    return str(value)


def _endpoint(text: str, where: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator:
        raise _error(where, "no port", text, "address:port")
    return _address(host, where), _port(port, where)


def _address(text: str, where: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return _matching(bare, _HOST, where, "an IP address or a host name")


def _port(value: object, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", str(value)) or not 0 < int(str(value)) < 65536:
        raise _error(where, "not a port", value, "1 to 65535")
    return int(str(value))


def _authority(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _unique(values: Sequence[str], where: str, what: str) -> None:
    for value in sorted({value for value in values if values.count(value) > 1}):
        raise _error(where, f"two entries share one {what}", value, f"a {what} of its own each")


def _error(where: str, message: str, found: object, expected: str) -> PkiError:
    return PkiError(
        message if message.startswith("gateways") else f"{where}: {message}",
        rule="INVENTORY",
        found=str(found),
        expected=expected,
        where=f"group_vars/all/gateways.yml: {where}",
        next_step="correct the inventory and run again; nothing was changed",
    )
