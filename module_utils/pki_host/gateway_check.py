# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a gateway would be of use with what it is about to load; asked before anything changes.

Products test that files can be loaded, and little more: an expired certificate, a chain that is
not whole, a certificate for another purpose, a CRL that is expired or of another CA pass, and
lock every peer out, or let one in. Here the files that the desired configuration names are judged
as they will be after the switch, by the ``openssl`` program.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import crl_age, crl_links, files, openssl, public_objects
from .desired import Desired
from .gateway_check_faults import Place, fault
from .gateways.base import Adapter
from .public_objects import Certificate, Crl

_LARGEST = 256 << 20  # of a file with CRLs; hundreds of thousands of entries are 20 MB
_SERVER, _CLIENT = "sslserver", "sslclient"
_USAGES = {_SERVER: "serverAuth", _CLIENT: "clientAuth"}
# X509_verify_cert's numbers.
_NOT_YET, _EXPIRED, _PURPOSE = 9, 10, 26


@dataclass(frozen=True)
class Side:
    """One side of TLS of a listener: what it shows, whom it believes, what it speaks."""

    where: Place
    tls: Mapping[str, Any]
    purpose: str


class Checker:
    """Judges the gateways of one change; what was found right is not looked at twice."""

    def __init__(self) -> None:
        self._right: set[tuple[str, ...]] = set()

    def require(self, desired: Desired, adapter: Adapter) -> None:
        """HostError GATEWAY-CHECK-... for the first fault; changes nothing.

        Also what the adapter's reader raises for a configuration that cannot be read.
        """
        for side in _sides(desired, adapter):
            _require_protocols(side, desired.tls_protocols)
            cas = self._require_trust(side, desired)
            if side.tls["certificate"]:
                self._require_identity(side, desired, cas)

    # -- whom it believes ----------------------------------------------------------------

    def _require_trust(self, side: Side, desired: Desired) -> list[Certificate]:
        ca_file, crl_file = str(side.tls["ca_file"]), str(side.tls["crl_file"])
        if not ca_file:
            return []
        place = side.where.of(ca_file)
        data = _content(desired, ca_file, place, "CA-FILE")
        cas = _authorities(data, place)
        if side.tls["verification"] == "off":
            return cas
        at = side.where.of(crl_file)
        if not crl_file:
            raise fault("CRL-FILE", at, "no CRL file is configured")
        now = time.time()
        for ca in cas:
            _require_current(ca, "CA-EXPIRED", place, now)
        if _were_judged(cas, _where(desired, crl_file), now):
            return cas
        crl_data = _content(desired, crl_file, at, "CRL-FILE")
        seen = ("trust", files.sha256(data), files.sha256(crl_data))
        if seen not in self._right:
            _require_crls(cas, _crls(crl_data, at), at, now)
            self._right.add(seen)
        return cas

    # -- what it shows -------------------------------------------------------------------

    def _require_identity(self, side: Side, desired: Desired, cas: Sequence[Certificate]) -> None:
        path, key_path = str(side.tls["certificate"]), str(side.tls["key"])
        place, key_place = side.where.of(path), side.where.of(key_path or path)
        data = _content(desired, path, place, "CERTIFICATE-FILE")
        key = _content(desired, key_path or path, key_place, "KEY-FILE")
        believed = files.sha256(b"".join(one.pem for one in cas))
        seen = ("identity", side.purpose, files.sha256(data), files.sha256(key), believed)
        if seen in self._right:
            return
        chain = _chain(data, place)
        _require_key(key, chain, key_place)
        _require_order(chain, place)
        now = time.time()
        for one in chain:
            _require_current(one, "EXPIRED", place, now)
        if not chain[0].allows(_USAGES[side.purpose]):
            found = ", ".join(chain[0].usages)
            raise fault("PURPOSE", place, f"only for {found}", _USAGES[side.purpose])
        _require_whole(chain, cas, place)
        _require_valid(chain, cas, place, side.purpose)
        self._right.add(seen)


def _sides(desired: Desired, adapter: Adapter) -> Iterator[Side]:
    """Every side of TLS that the desired configuration has."""
    names = (adapter.config_file, *adapter.start_files)
    texts = {
        name: desired.config[name].decode("utf-8", "replace")
        for name in names
        if name in desired.config
    }
    listeners = adapter.read(texts)["listeners"] if adapter.config_file in texts else ()
    by_port = {probe.port: probe.name for probe in desired.probes}
    for listener in listeners:
        address = f"{listener['address']}:{listener['port']}"
        place = Place(desired.name, by_port.get(listener["port"], address))
        both = [(listener["tls"], _SERVER)]
        both += [(route["tls"], _CLIENT) for route in listener["routes"]]
        for tls, purpose in both:
            if tls["enabled"]:
                yield Side(place, tls, purpose)


def _content(desired: Desired, path: str, place: Place, rule: str) -> bytes:
    """The bytes of a file as it will be: desired ones, or those a desired link leads to."""
    absolute = os.path.normpath(os.path.join(desired.root, path))
    below = os.path.relpath(absolute, desired.root)
    if below in desired.config:
        return desired.config[below]
    try:
        return _bytes(_where(desired, path))
    except OSError as exc:
        raise fault(rule, place, exc.strerror or "it cannot be read") from None


def _where(desired: Desired, path: str) -> str:
    """Where a file will be: behind a desired link, where that will lead.

    CRLs are judged as the set that is switched to, also while everybody is refused.
    """
    absolute = os.path.normpath(os.path.join(desired.root, path))
    for link, target in desired.links.items():
        ways = (way for way in crl_links.ways(link, target) if absolute.startswith(f"{way}/"))
        way = next(ways, None)
        if way is not None:
            return os.path.join(os.path.dirname(link), target, absolute[len(way) + 1 :])
    return absolute


def _bytes(path: str) -> bytes:
    # A link in the last component is followed, as the gateway will: a product may want a name of
    # its own for the key beside the certificate.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as handle:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is not a file", path)
        data = handle.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise OSError(0, f"it has more than {_LARGEST} bytes", path)
    return data


# -- TLS versions ------------------------------------------------------------------------------


def _require_protocols(side: Side, allowed: Sequence[str]) -> None:
    if not allowed:
        return
    other = [name for name in side.tls["protocols"] if name not in allowed]
    if other:
        raise fault("PROTOCOL", side.where, ", ".join(other), f"only {', '.join(allowed)}")


# -- CA certificates and CRLs ------------------------------------------------------------------


def _authorities(data: bytes, place: Place) -> list[Certificate]:
    if not data.strip():
        raise fault("CA-EMPTY", place, "an empty file")
    blocks = public_objects.certificate_blocks(data)
    found = [public_objects.certificate(block) for block in blocks]
    known = [one for one in found if one is not None]
    if not known or len(known) != len(found) or not public_objects.is_whole(data):
        raise fault("CA-GARBAGE", place, _form(data, "CERTIFICATE"))
    return known


def _crls(data: bytes, place: Place) -> list[Crl]:
    if not data.strip():
        raise fault("CRL-EMPTY", place, "an empty file")
    blocks = public_objects.crl_blocks(data)
    if not public_objects.is_whole(data):
        raise fault("CRL-TRUNCATED", place, "a PEM block without its end")
    found = [public_objects.crl(block) for block in blocks]
    known = [one for one in found if one is not None]
    if not known:
        raise fault("CRL-GARBAGE", place, _form(data, "X509 CRL"))
    if len(known) != len(found):
        raise fault("CRL-TRUNCATED", place, "a PEM block that is not a whole CRL")
    return known


def _were_judged(cas: Sequence[Certificate], path: str, now: float) -> bool:
    """Whether this is a set that was judged when it was staged, of all these CAs, and of today.

    A list of a million entries then costs neither its memory nor a program's; what is wrong with
    any other is found by looking into it.
    """
    known = crl_links.judged(path)
    dates = [known.get(ca.sha256) for ca in cas]
    return bool(known) and all(one is not None and _holds(*one, now) for one in dates)


def _holds(begins: str, ends: str, now: float) -> bool:
    first, last = crl_age.epoch(begins), crl_age.epoch(ends)
    return first is not None and last is not None and first <= now < last


def _form(data: bytes, kind: str) -> str:
    if data[:1] == b"\x30":
        return "DER"
    return "a damaged PEM block" if b"-----BEGIN " in data else f"no PEM block of {kind}"


def _require_current(one: Certificate, rule: str, place: Place, now: float) -> None:
    if now > one.ends:
        raise fault(rule, place, f"{one.subject} ended {_day(one.ends)}")
    if now < one.begins:
        raise fault(rule, place, f"{one.subject} begins {_day(one.begins)}")


def _require_crls(
    cas: Sequence[Certificate], crls: Sequence[Crl], place: Place, now: float
) -> None:
    """One CRL at least for each CA: by its name, with its signature, and of today."""
    names = {ca.subject for ca in cas}
    foreign = sorted({one.issuer for one in crls} - names)
    for ca in cas:
        named = [one for one in crls if one.issuer == ca.subject]
        if not named and foreign:
            raise fault("CA-FOREIGN", place, f"none of {ca.subject}, but {'; '.join(foreign)}")
        if not named:
            raise fault("CRL-ABSENT", place, f"none of {ca.subject}")
        signed = [one for one in named if public_objects.signed_by(one, ca)]
        if not signed:
            raise fault("CRL-SIGNATURE", place, f"one of {ca.subject} with another key's")
        if not any(one.last_update <= now < one.next_update for one in signed):
            ends = max(one.next_update for one in signed)
            begins = min(one.last_update for one in signed)
            told = f"begins {_day(begins)}" if begins > now else f"ended {_day(ends)}"
            raise fault("CRL-EXPIRED", place, f"that of {ca.subject} {told}")


# -- certificate, key and chain ----------------------------------------------------------------


def _chain(data: bytes, place: Place) -> list[Certificate]:
    blocks = public_objects.certificate_blocks(data)
    found = [public_objects.certificate(block) for block in blocks]
    known = [one for one in found if one is not None]
    if not known or len(known) != len(found) or not public_objects.is_whole(data):
        raise fault("CERTIFICATE-GARBAGE", place, _form(data, "CERTIFICATE"))
    return known


def _require_key(key: bytes, chain: Sequence[Certificate], place: Place) -> None:
    public = openssl.public_key_of_key(key)
    if public is None and b"ENCRYPTED" in key:
        raise fault("KEY-ENCRYPTED", place, "an encrypted key")
    if public is None:
        raise fault("KEY-GARBAGE", place, "no private key in PEM")
    if public == chain[0].public_key:
        return
    if any(public == one.public_key for one in chain):
        raise fault("CHAIN-ORDER", place, "the key of a certificate that is not the first")
    raise fault("KEY-MATCH", place, f"not the key of {chain[0].subject}")


def _require_order(chain: Sequence[Certificate], place: Place) -> None:
    for index, one in enumerate(chain[:-1]):
        above = chain[index + 1]
        if one.issuer == above.subject:
            continue
        if any(one.issuer == other.subject for other in chain):
            raise fault("CHAIN-ORDER", place, f"{above.subject} follows {one.subject}")
        raise fault("CHAIN-INCOMPLETE", place, f"no certificate of {one.issuer}")


def _require_whole(chain: Sequence[Certificate], cas: Sequence[Certificate], place: Place) -> None:
    """A peer has roots, and nothing between a root and what is sent."""
    top = chain[-1]
    issuers = [ca for ca in cas if ca.subject == top.issuer]
    if top.self_issued or any(ca.self_issued for ca in issuers):
        return
    if issuers or len(chain) == 1:
        raise fault("CHAIN-INCOMPLETE", place, f"no certificate of {top.issuer}")


def _require_valid(
    chain: Sequence[Certificate], cas: Sequence[Certificate], place: Place, purpose: str
) -> None:
    trusted = [*chain[1:][-1:], *cas] or list(chain)
    found = public_objects.chain_fault(chain, trusted, purpose)
    if found is None:
        return
    number, depth, words = found
    rules = {_NOT_YET: "EXPIRED", _EXPIRED: "EXPIRED", _PURPOSE: "PURPOSE"}
    raise fault(rules.get(number, "CHAIN-INVALID"), place, f"{words} (depth {depth})")


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds)) if seconds else "never"
