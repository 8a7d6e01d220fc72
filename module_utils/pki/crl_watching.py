# SPDX-License-Identifier: GPL-3.0-or-later
"""What each gateway host is to watch of CRLs between two runs: CAs, addresses, ages, our serials.

Pure. The controller decides it, from the inventory, the policies and the committed certificates;
a host keeps it as ``watch.json`` and polls, judges and refuses by it without the controller. There
is nothing in it that is not public. :func:`told` is made once a run, :func:`of_host` for each host.

Addresses are the configured ones of a pinned CA, then those that certificates below it name: of
accepted certificates that a pinned CA signed, and of pinned CAs. Serials of peers are not known
here: nobody gave them to us before they call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from . import certs, public_state
from .ask import Ask
from .errors import PkiError
from .policy import Policy
from .trust_files import Ca, LoadedTrust
from .trust_generations import Own

#: What ``watch.json`` is written as; see ``pki_host.crl_watch``.
VERSION = 1
DIRECTIONS = ("ingress", "egress")
_HOUR = 3600
_PROXY = re.compile(r"(?:http://[A-Za-z0-9.:\[\]-]+/?)?")

#: Of several policies on a host, how the strictest of their values is found.
_STRICTEST: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    "attempts": max,
    "first_wait_seconds": max,
    "wait_factor": max,
    "longest_wait_seconds": min,
    "timeout_seconds": min,
    "total_seconds": min,
    "largest_bytes": min,
    "alarm_percents": lambda values: sorted({one for value in values for one in value}),
}


def told(
    trusts: Mapping[str, LoadedTrust],
    policies: Mapping[str, Policy],
    own: Mapping[str, Sequence[Own]],
    models: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """All that hosts may be given, as JSON types: trust sets, and what each gateway asks of them.

    Args:
        trusts: the CAs that count now, by trust set.
        policies: the policy of each of them.
        own: our certificates in service, by trust set.
        models: the gateways, each with its budget.
    """
    return {
        "problem": {},
        "trusts": {
            name: {
                "authorities": _authorities(trust, own.get(name, ())),
                "known": [*_ours(trust, own.get(name, ())), *_above(trust)],
                "longest_validity_days": policies[name].number("validity_days_max"),
                "max_age_seconds": policies[name].number("crl_max_age_hours") * _HOUR,
                "on_stale": on_stale(policies[name]),
                "limits": _limits(policies[name]),
            }
            for name, trust in trusts.items()
        },
        "uses": [use for model in models for use in _uses(model)],
    }


def of_certificates(
    trusts: Mapping[str, LoadedTrust], own: Mapping[str, Sequence[Own]]
) -> dict[str, Any]:
    """What our certificates add, by trust set: their serials, and the addresses that they name.

    For a run that accepts certificates after :func:`told` was made: hosts then watch them at once.
    """
    return {
        name: {
            "ours": list(_ours(trust, own.get(name, ()))),
            "urls": {
                ca.sha256: list(_addresses(ca, trust, own.get(name, ())))
                for ca in trust.authorities
            },
        }
        for name, trust in trusts.items()
    }


def not_told(problem: PkiError) -> dict[str, Any]:
    """Instead of :func:`told` where the gateways are declared in a way that cannot be used."""
    fields = {name: text for name, text in problem.as_result().items() if name != "also"}
    return {"problem": fields, "trusts": {}, "uses": []}


def of_host(
    told: Mapping[str, Any],
    names: Collection[str],
    *,
    gateway_root: str,
    metrics_dir: str,
    proxy: str = "",
    accepted: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What one host writes into ``watch.json``; empty where it has nothing to watch.

    ``names`` are the host's own, its groups' and ``all``. Only trust sets that its gateways use
    are in it, with the directions in use; of several policies the strictest value counts.
    ``accepted`` is what :func:`of_certificates` told since.

    Raises:
        PkiError: the gateways are declared in a way that cannot be used.
    """
    if told["problem"]:
        raise PkiError(**told["problem"])
    mine = [use for use in told["uses"] if use["hosts"] in names]
    used = {
        name: _with(one, (accepted or {}).get(name))
        for name, one in told["trusts"].items()
        if _used(name, mine)
    }
    if not used:
        return {}
    limits = _strictest([one["limits"] for one in used.values()])
    _require_plain(proxy)
    return {
        "version": VERSION,
        "trusts": {name: _watched(one, _used(name, mine)) for name, one in used.items()},
        **limits,
        "fetch": {**limits["fetch"], "proxy": proxy},
        "gateway_root": gateway_root,
        "metrics_dir": metrics_dir,
    }


def _require_plain(proxy: str) -> None:
    """Refuse a proxy with credentials before it is an argument, a log line and a public file."""
    if _PROXY.fullmatch(proxy):
        return
    raise PkiError(
        "the proxy for CRLs cannot be used",
        rule="INVENTORY",
        found="another address (not shown, as it may hold a password)",
        expected="http://host:port without a name or password, or nothing",
        where="crl_cache_proxy",
        next_step="let the hosts through the proxy by their addresses, and correct crl_cache_proxy",
    )


def _with(one: Mapping[str, Any], accepted: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A trust set with our certificates as they are after this run accepted some."""
    if not accepted:
        return one
    above = [known for known in one["known"] if known["kind"] != "ours"]
    urls = accepted["urls"]
    return {
        **one,
        "authorities": [
            {**ca, "urls": list(urls.get(ca["sha256"], ca["urls"]))} for ca in one["authorities"]
        ],
        "known": [*accepted["ours"], *above],
    }


# --- trust sets ---------------------------------------------------------------------------------


def _authorities(trust: LoadedTrust, own: Sequence[Own]) -> list[dict[str, Any]]:
    """The CAs in the order of the controller's set: its bytes are then those of the host's."""
    issuing = {ca.sha256 for ca in trust.issuers}
    return [
        {
            "name": ca.common_name,
            "sha256": ca.sha256,
            "pem": ca.pem.decode("ascii"),
            "urls": list(_addresses(ca, trust, own)),
            "needs": "user" if ca.sha256 in issuing else "ca",
        }
        for ca in trust.authorities
    ]


def _addresses(ca: Ca, trust: LoadedTrust, own: Sequence[Own]) -> tuple[str, ...]:
    """Where its CRL is, each address once: the configured ones, then those in certificates."""
    below = [one.leaf for one in own] + [other.certificate for other in trust.authorities]
    named = [
        url
        for certificate in below
        if _signed_by(certificate, ca)
        for url in Ask.of(certificate, ca.certificate).crl_urls
    ]
    return tuple(dict.fromkeys((*ca.crl_urls, *named)))


def _signed_by(certificate: x509.Certificate, ca: Ca) -> bool:
    """Whether a pinned CA signed somebody else's certificate: then what it names may be opened."""
    return certs.sha256(certificate) != ca.sha256 and certs.issued_by(certificate, ca.certificate)


def _ours(trust: LoadedTrust, own: Sequence[Own]) -> Iterator[dict[str, Any]]:
    for one in own:
        issuer = _issuer(one.leaf, trust)
        if issuer is not None:
            what = f"our certificate {one.certificate} v{one.version}"
            yield _known(one.leaf, issuer, "ours", what, one.certificate)


def _above(trust: LoadedTrust) -> Iterator[dict[str, Any]]:
    """Every pinned CA that another pinned one issued; a root's CRL cannot speak for itself."""
    for ca in trust.authorities:
        issuer = _issuer(ca.certificate, trust)
        if issuer is not None:
            yield _known(ca.certificate, issuer, "ca", f"the CA {ca.common_name}", "")


def _issuer(certificate: x509.Certificate, trust: LoadedTrust) -> Ca | None:
    return next((ca for ca in trust.authorities if _signed_by(certificate, ca)), None)


def _known(
    certificate: x509.Certificate, issuer: Ca, kind: str, what: str, name: str
) -> dict[str, Any]:
    return {
        "what": what,
        "certificate": name,
        "kind": kind,
        "serial": f"{certificate.serial_number:x}",
        "issuer": issuer.sha256,
        "not_after": public_state.iso(certificate.not_valid_after_utc),
        "ocsp_urls": list(Ask.of(certificate, issuer.certificate).ocsp_urls),
        "pem": certificate.public_bytes(Encoding.PEM).decode("ascii"),
    }


# --- numbers ------------------------------------------------------------------------------------


def on_stale(policy: Policy) -> dict[str, str]:
    """What a policy wants of CRLs that are too old, by direction: ``refuse`` or ``alarm``."""
    return {
        "ingress": str(policy.parameter("crl_on_stale_ingress")),
        "egress": str(policy.parameter("crl_on_stale_egress")),
    }


def _limits(policy: Policy) -> dict[str, Any]:
    """What a policy says of polls and of the guard, in the shape of ``watch.json``."""
    return {
        "fetch": {
            "attempts": policy.number("fetch_attempts"),
            "first_wait_seconds": float(policy.parameter("fetch_first_wait_seconds")),
            "wait_factor": float(policy.parameter("fetch_wait_factor")),
            "longest_wait_seconds": float(policy.parameter("fetch_longest_wait_seconds")),
            "timeout_seconds": float(policy.parameter("fetch_timeout_seconds")),
            "total_seconds": float(policy.parameter("fetch_total_seconds")),
            "largest_bytes": policy.number("crl_largest_bytes"),
        },
        "alarm_percents": [int(one) for one in policy.parameter("crl_alarm_percents")],
        "clock_tolerance_seconds": policy.number("crl_clock_tolerance_seconds"),
        "refresh": {
            "period_seconds": policy.number("crl_refresh_period_seconds"),
            "delay_seconds": policy.number("crl_refresh_delay_seconds"),
            "accuracy_seconds": policy.number("crl_refresh_accuracy_seconds"),
        },
        "guard": {"period_seconds": policy.number("crl_guard_period_seconds")},
        "ocsp_period_seconds": policy.number("ocsp_period_seconds"),
        "grace_longest_seconds": policy.number("crl_grace_longest_seconds"),
    }


def _strictest(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of each number the strictest: the shortest period and wait, the most tries and alarms."""
    return {
        name: _strictest([one[name] for one in several])
        if isinstance(value, Mapping)
        else _STRICTEST.get(name, min)([one[name] for one in several])
        for name, value in several[0].items()
    }


# --- gateways -----------------------------------------------------------------------------------


def _uses(model: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What each listener asks: how old the CRLs of its trust set may get, and on which hosts."""
    ages = {(one["direction"], one["listener"]): one["crl_age_seconds"] for one in model["budget"]}
    for direction in DIRECTIONS:
        for listener in model[direction]:
            yield {
                "hosts": model["hosts"],
                "trust": listener["trust"],
                "direction": direction,
                "max_age_seconds": ages[direction, listener["name"]],
            }


def _used(trust: str, uses: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [use for use in uses if use["trust"] == trust]


def _watched(one: Mapping[str, Any], uses: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A trust set with the directions of its users; the strictest listener's age counts."""
    directions = {
        direction: {
            "on_stale": one["on_stale"][direction],
            "max_age_seconds": min(one["max_age_seconds"], *ages),
        }
        for direction in DIRECTIONS
        if (ages := [use["max_age_seconds"] for use in uses if use["direction"] == direction])
    }
    return {
        "authorities": one["authorities"],
        "directions": directions,
        "known": one["known"],
        "longest_validity_days": one["longest_validity_days"],
    }
