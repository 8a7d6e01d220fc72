# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about domains: the TXT records by which the portal knows whose a domain is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import names
from ..documents import Collected, Declaration, Document
from .scene import Collector, Scene

KIND = "dns"
_SECONDS = 10.0


def collect(scene: Scene) -> Collected:
    """A document for every entry that tells the TXT value of its domain.

    ``stand_ins.dns`` (``reason``, ``records``: TXT values by name) takes the place of the DNS, and
    marks the documents.
    """
    declarations, documents = [], []
    stand_in = scene.stand_ins.get(KIND) or {}
    reason = str(stand_in.get("reason", "")) if "records" in stand_in else ""
    for name, (certificate, *_) in scene.inputs.declared.entries.items():
        if not certificate.domain_txt:
            continue
        place = scene.place("certificates", name)
        values, problem = _values(certificate.domain, stand_in)
        facts = {
            "name": certificate.domain,
            "expected": certificate.domain_txt,
            "values": values,
            "problem": problem,
        }
        declarations.append(Declaration(KIND, name, certificate.policy, place))
        documents.append(Document(KIND, name, certificate.policy, facts, place, reason))
    return scene.collected(declarations, documents)


def _values(domain: str, stand_in: Mapping[str, Any]) -> tuple[list[str], str]:
    if "records" not in stand_in:
        return look_up(domain)
    found: Sequence[Any] = stand_in["records"].get(domain, ())
    return [str(value) for value in found], "" if found else "no such record in the stand-in"


def look_up(domain: str) -> tuple[list[str], str]:
    """The TXT values of a name by the system's own resolvers, and why there are none."""
    # Here, because only this needs it: it costs a third of a second in every other run.
    import dns.exception
    import dns.resolver

    try:
        answer = dns.resolver.Resolver().resolve(domain, "TXT", lifetime=_SECONDS)
    except dns.resolver.NXDOMAIN:
        return [], "there is no such name"
    except dns.resolver.NoAnswer:
        return [], "the name has no TXT record"
    except (dns.exception.DNSException, OSError) as exc:
        return [], f"no answer: {type(exc).__name__}"
    values = [b"".join(one.strings).decode("utf-8", "replace") for one in answer]
    return sorted(names.printable(value, 4000) for value in values), ""


COLLECTOR = Collector(kinds=frozenset({KIND}), scopes=frozenset({"live"}), collect=collect)
