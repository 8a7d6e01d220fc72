# SPDX-License-Identifier: GPL-3.0-or-later
"""What one host does with a model, from what was staged on it: files, links, probes, waiting."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from .models import depends_on

Probe = dict[str, Any]

_SHOWN = ("ingress", "egress", "certificates", "trusts", "api_keys")


def deployment(
    model: Mapping[str, Any],
    releases: Iterable[Mapping[str, Any]],
    crl_sets: Iterable[Mapping[str, Any]],
    out_of_service: Collection[str] = (),
    api_keys: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Files, links and probes of a model, from what the installs say is on the host.

    ``releases``, ``crl_sets`` and ``api_keys`` are what ``pki_release``, ``pki_crl_install`` and
    ``pki_api_key`` returned. ``waits_for`` names what is not there yet; a gateway with an entry in
    it is not touched.

    ``out_of_service`` are certificates whose keys are compromised. A listener of one that has no
    release here, so no version with another key either, is left out of what comes back; so is then
    one whose certificate is not there yet, as the gateway must not be left as it is. Nor does it
    then wait for CRLs: those on the host stay. ``closed`` are the listeners left out, ``stopped``
    says that none remains, ``out`` tells of each in a sentence.
    """
    by_certificate = {str(item["certificate"]): item for item in releases}
    by_trust = {str(item["trust"]): item for item in crl_sets}
    by_key = {str(item["name"]): item for item in api_keys if item.get("link")}
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
    waits += [f"an API key {name}" for name in model["api_keys"] if name not in by_key]
    links: list[dict[str, str]] = []
    probes: list[dict[str, Any]] = []
    if not waits:
        links = [
            {key: str(value) for key, value in source[name]["link"].items()}
            for source, wanted in (
                (by_certificate, model["certificates"]),
                (by_trust, model["trusts"]),
                (by_key, model["api_keys"]),
            )
            for name in wanted
            if name in source
        ]
        probes = [_of_ingress(item, by_certificate) for item in model["ingress"]]
        probes += [_of_egress(item) for item in model["egress"]]
    files = [{"path": path, "content": text} for path, text in model["trust_files"].items()]
    remaining = [*model["ingress"], *model["egress"]]
    return {
        **{name: model[name] for name in _SHOWN},
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
    needed = depends_on([*ingress, *egress])
    return {
        "ingress": ingress,
        "egress": egress,
        **needed,
        "trust_files": {
            path: text
            for path, text in model["trust_files"].items()
            if path in {f"trust/{trust}.pem" for trust in needed["trusts"]}
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


def _of_ingress(item: Mapping[str, Any], releases: Mapping[str, Mapping[str, Any]]) -> Probe:
    """Our own certificate must pass chain and CRLs, and then be no peer; see ``pki_gateway``."""
    return {
        **_closed(item),
        "kind": "ingress",
        "server_name": item["server_name"],
        "certificate_sha256": str(releases[item["certificate"]]["certificate_sha256"]),
        "own": {
            "fullchain": item["fullchain"],
            "key": item["key"],
            "issuers": list(item["allowed"]["issuers"]),
        },
        **({"client": dict(item["probe"])} if item["probe"] else {}),
    }


def _of_egress(item: Mapping[str, Any]) -> Probe:
    return {**_closed(item), "kind": "egress", "path": item["probe"]["path"]}
