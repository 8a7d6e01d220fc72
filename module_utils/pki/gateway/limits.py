# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy's numbers for gateways and listeners; an inventory may only make them stricter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import overlay
from ..policy import Policy
from .reading import error, mapping, whole_number
from .sources import Sources

#: Limits of one listener, and the smallest value that makes sense of each: for some products 0
#: would mean no limit at all, and no request fits into less than a kilobyte of headers.
_SMALLEST = {
    "body_bytes": 1,
    "header_bytes": 1024,
    "requests_per_second": 1,
    "request_burst": 0,
    "connections": 1,
}


def of_listener(raw: object, policy: Policy, where: str, *, ingress: bool) -> dict[str, int]:
    """The policy's limits of a listener, each replaced by what the inventory says of it."""
    limits = {
        "body_bytes": policy.number("gateway_body_bytes"),
        "header_bytes": policy.number("gateway_header_bytes"),
        "connections": policy.number("gateway_connections"),
    }
    if ingress:
        # Our own messages are never held up on their way out.
        limits["requests_per_second"] = policy.number("gateway_requests_per_second")
        limits["request_burst"] = policy.number("gateway_request_burst")
    if raw is None:
        return limits
    for name, value in mapping(raw, where, (), tuple(limits)).items():
        if value is not None:
            limits[name] = _stricter(value, policy, name, f"{where}.{name}")
    return limits


def _stricter(value: object, policy: Policy, name: str, where: str) -> int:
    parameter = policy.parameters[f"gateway_{name}"]
    expected = f"from {_SMALLEST[name]} to {parameter.value} {parameter.unit}".rstrip()
    number = whole_number(value, where, expected)
    if number < _SMALLEST[name]:
        raise error(where, "too small to be a limit", number, expected)
    if not overlay.tightens(parameter, number):
        raise error(
            where,
            f"looser than the policy's gateway_{name}",
            number,
            expected,
            f"make it stricter, or loosen gateway_{name} in the overlay policy/{policy.name}.yml, "
            "with a reason, somebody who approves it and an end",
        )
    return number


def profile(entries: Sequence[Mapping[str, Any]], sources: Sources, where: str) -> dict[str, Any]:
    """The policy's numbers. One process has one profile, so policies must agree."""
    declared = sources.declared.entries
    used = {declared[item["certificate"]][0].policy for item in entries}
    profiles = [_profile(sources.policies[policy]) for policy in sorted(used)]
    if any(profile != profiles[0] for profile in profiles):
        raise error(
            where,
            "the gateway's certificates follow policies with different rules for gateways",
            ", ".join(sorted(used)),
            "one profile per gateway: give each policy a gateway of its own",
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
            "header_bytes": policy.number("gateway_header_bytes"),
            "connection_seconds": policy.number("gateway_connection_seconds"),
            "idle_seconds": policy.number("gateway_idle_seconds"),
            "drain_seconds": policy.number("gateway_drain_seconds"),
            "pooled_connections": policy.number("gateway_pooled_connections"),
            "refused_with": policy.number("mtls_refusal_status"),
        },
        "ocsp": {"ask": policy.parameter("crl_gateway_ocsp") == "on"},
        "log": {"live_days": policy.number("log_live_days")},
    }
