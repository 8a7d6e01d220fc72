# SPDX-License-Identifier: GPL-3.0-or-later
"""When a retired CA may really go: not while a certificate or a live peer depends on it. Pure.

Its last day is the inventory's word. What still depends on it then is told by our own committed
certificates, by the far ends that gateways call, and by the newest verified requests in their logs.
Nobody of these is locked out by a date: the CA stays, and a run says for whom, and what to do. What
could not be asked counts as depending on it. Only the CA's own end is stronger than all of that.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509

from . import certs, names
from .certs import DECODE_ERRORS
from .errors import PkiError
from .trust_files import Ca, LoadedTrust, Standing

RULE = "TRUST-RETIRE"


@dataclass(frozen=True, slots=True)
class Own:
    """A certificate of ours in service, and the CAs that were committed with it."""

    certificate: str
    version: int
    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()
    accepted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Dependent:
    """Something that still depends on a retired CA, or may."""

    ca: Ca
    what: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Which CAs of a trust set count now, and for what retired ones are still there."""

    trust: LoadedTrust
    dependents: tuple[Dependent, ...] = ()

    @property
    def findings(self) -> tuple[PkiError, ...]:
        """Why retired CAs stay, each dependent by itself."""
        return tuple(
            PkiError(
                f"{one.ca.common_name} stays trusted after {one.ca.retire_after}: {one.what}",
                rule=RULE,
                found=one.what,
                expected=f"nothing that depends on {one.ca.common_name}",
                where=f"group_vars/all/trust.yml: trust.{self.trust.name}",
                next_step=f"{one.next_step}; it ends by itself on "
                f"{certs.stamp(one.ca.certificate.not_valid_after_utc)}",
            )
            for one in self.dependents
        )


def decide(
    trust: LoadedTrust,
    now: datetime,
    own: Iterable[Own],
    hosts: Mapping[str, Mapping[str, Any] | None],
    peer_age: timedelta,
) -> Decision:
    """The CAs that count at ``now``.

    ``hosts`` is what each gateway host of the trust set told (``watched`` of ``pki_gateway_info``),
    None for one that was not asked or did not answer. ``peer_age`` is how long ago a peer that
    still counts as live was last seen.

    Raises:
        PkiError: TRUST-EMPTY; no CA of the set is left that may be trusted.
    """
    retired = {
        ca.sha256: ca for ca in trust.authorities if ca.standing(now) is Standing.RETIRED
    }.values()
    if not retired:
        return Decision(trust.at(now))
    certificates = tuple(own)
    found = [
        one
        for ca in retired
        for one in (
            *_own_certificates(ca, certificates),
            *_on_hosts(ca, trust, hosts, now - peer_age),
        )
    ]
    live = {one.ca.sha256 for one in found}
    # Whoever sends no CA certificates depends on the CAs above his all the same.
    live |= {ca.sha256 for ca in retired if any(one.sha256 in live for one in _below(ca, trust))}
    return Decision(trust.at(now, live), tuple(found))


def retired_names(trust: LoadedTrust, now: datetime) -> frozenset[str]:
    """Subjects (RFC 2253) of the CAs whose peers would keep a retired one."""
    retired = trust.retired(now)
    return frozenset(
        name for ca in trust.authorities if ca.sha256 in retired for name in _names_below(ca, trust)
    )


def ending(trust: LoadedTrust, now: datetime, notice: timedelta) -> Iterator[str]:
    """A sentence for each CA that ends within ``notice``, by its own date or the inventory's."""
    for ca in {one.sha256: one for one in trust.authorities}.values():
        end = ca.certificate.not_valid_after_utc
        if now <= end <= now + notice:
            yield (
                f"{trust.name}: the CA {ca.common_name} ends on {certs.stamp(end)}, and is trusted "
                "by nobody after that; pin its next generation beside it (docs/trust.md)"
            )
        elif ca.retire_after and ca.standing(now) is Standing.IN_USE:
            left = (datetime.fromisoformat(ca.retire_after).date() - now.date()).days
            if left <= notice.days:
                yield (
                    f"{trust.name}: {ca.retire_after} is the last day of the CA {ca.common_name}; "
                    "what depends on it then keeps it, and is named"
                )


def chains_to(chain: Sequence[x509.Certificate], ca: x509.Certificate) -> bool:
    """Whether a chain, in any order, has the CA or a certificate that it signed."""
    return any(one == ca or certs.issued_by(one, ca) for one in chain)


def _own_certificates(ca: Ca, own: Iterable[Own]) -> Iterator[Dependent]:
    for one in own:
        if chains_to((one.leaf, *one.chain), ca.certificate):
            since = f", since {certs.stamp(one.accepted_at)}" if one.accepted_at else ""
            yield Dependent(
                ca,
                f"our certificate {one.certificate} v{one.version} chains to it{since}",
                f"renew it (playbooks/renew.yml -e certificate={one.certificate}), have the next "
                "one issued by the new generation, and deploy it",
            )


def _on_hosts(
    ca: Ca, trust: LoadedTrust, hosts: Mapping[str, Mapping[str, Any] | None], since: datetime
) -> Iterator[Dependent]:
    below = _names_below(ca, trust)
    for host, told in hosts.items():
        if told is None:
            yield Dependent(
                ca,
                f"{host} did not say whether peers still come with certificates of it",
                "see to it that the host answers, and run playbooks/site.yml again",
            )
            continue
        yield from _peers(ca, host, told, below, since)
        yield from _far_ends(ca, host, told)


def _peers(
    ca: Ca, host: str, told: Mapping[str, Any], below: frozenset[str], since: datetime
) -> Iterator[Dependent]:
    for peer in told.get("peers") or ():
        if str(peer["issuer"]) not in below:
            continue
        seen = _moment(str(peer["time"]))
        if seen is None or seen >= since:
            yield Dependent(
                ca,
                f"{names.printable(str(peer['subject']))} came to {host} "
                f"({peer['gateway']}) with a certificate of {names.printable(str(peer['issuer']))}"
                f", last on {names.printable(str(peer['time']))}",
                "ask the peer for the date on which it changes to the new generation, and move "
                "retire_after behind it",
            )
    for sentence in told.get("unread") or ():
        yield Dependent(
            ca,
            f"{host} cannot say who came with certificates of it: {names.printable(str(sentence))}",
            "look through the older log yourself; to retire the CA without it, take its entry "
            "out of trust.yml",
        )


def _far_ends(ca: Ca, host: str, told: Mapping[str, Any]) -> Iterator[Dependent]:
    for end in told.get("far_ends") or ():
        where = f"the far end of {end['gateway']}/{end['listener']}, as {host} sees it,"
        chain = [one for one in map(_certificate, end["chain"]) if one is not None]
        if not chain:
            why = names.printable(str(end["problem"])) or "what it sent cannot be read"
            yield Dependent(
                ca,
                f"{where} did not show its chain: {why}",
                "run again when it answers",
            )
        elif chains_to(chain, ca.certificate):
            yield Dependent(
                ca,
                f"{where} still serves a chain from it",
                "ask its operator for the date on which it changes, and move retire_after "
                "behind it",
            )


def _below(ca: Ca, trust: LoadedTrust) -> tuple[Ca, ...]:
    """The CA itself, and the pinned issuing CAs that lead to it."""
    below = {ca.sha256: ca}
    while more := {
        one.sha256: one
        for one in trust.issuers
        if one.sha256 not in below
        and any(certs.issued_by(one.certificate, other.certificate) for other in below.values())
    }:
        below |= more
    return tuple(below.values())


def _names_below(ca: Ca, trust: LoadedTrust) -> frozenset[str]:
    """Subjects (RFC 2253) of a CA and the issuing CAs below it.

    A new generation with the name of the old one cannot be told from it in a log: then its peers
    count for both.
    """
    return frozenset(names.rfc2253(one.certificate.subject) for one in _below(ca, trust))


def _certificate(encoded: object) -> x509.Certificate | None:
    try:
        return certs.load(base64.b64decode(str(encoded)))
    except DECODE_ERRORS:
        return None


def _moment(text: str) -> datetime | None:
    """When a request was logged; None, which counts as now, for what cannot be read."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
