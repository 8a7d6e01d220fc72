# SPDX-License-Identifier: GPL-3.0-or-later
"""What may pass a gateway host's packet filter: from the inventory's words to rules.

Pure and strict: an unknown key, a range that is none or a list that lets nobody in is a
:class:`PkiError`. Names are never resolved here: what an answer of DNS can change is not declared.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .errors import PkiError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_CIDR = re.compile(r"[0-9A-Fa-f.:]+(?:/[0-9]{1,3})?")
_NAME = re.compile(r"[a-z0-9]+(?:[-._][a-z0-9]+)*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_PORTS = re.compile(r"(?P<first>[0-9]{1,5})(?:-(?P<last>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that may pass. ``ports`` are first and last of the side that is connected to."""

    direction: str  # "in" or "out"
    protocol: str  # "tcp", "udp", or "ping": an echo request
    ports: tuple[int, int]
    peers: tuple[Network, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Guard:
    """A listener on loopback that only these users may connect to."""

    address: str
    port: int
    users: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Ruleset:
    rules: tuple[Rule, ...]
    guards: tuple[Guard, ...]


@dataclass(frozen=True, slots=True)
class Host:
    """Which gateways are this host's: those of its name, its groups, or ``all``."""

    name: str
    groups: Collection[str]

    def has(self, hosts: str) -> bool:
        return hosts in ("all", self.name) or hosts in self.groups


@dataclass(frozen=True, slots=True)
class Settings:
    """The words of ``firewall.yml``, unread."""

    operators: object = ()
    without_operators: bool = False
    ssh_port: object = 22
    ingress_from: object = field(default_factory=dict)
    names: object = field(default_factory=dict)
    inbound: object = ()
    outbound: object = ()
    egress_users: object = ()
    vault_address: str = ""


def build(settings: Settings, gateways: object, host: Host) -> Ruleset:
    """The rules of one host."""
    names = _names(settings.names)
    mine = _gateways(gateways, host)
    rules = [
        *_operators(settings),
        *_ingress(mine, _Sources.read(settings.ingress_from, gateways)),
        *_upstreams(mine, names),
        *_vault(settings.vault_address, names),
        *_listed(settings.inbound, "in"),
        *_listed(settings.outbound, "out"),
    ]
    return Ruleset(tuple(rules), _guards(mine, settings.egress_users))


# -- the people ------------------------------------------------------------------------


def _operators(settings: Settings) -> list[Rule]:
    where = "firewall_operators"
    if not settings.operators and settings.without_operators:
        return []
    if not settings.operators:
        raise _error(
            where,
            "nobody could log in to the host any more",
            "an empty list",
            "the networks of the people and the pipeline, or firewall_without_operators: true",
        )
    peers = _networks(settings.operators, where)
    port = _port(settings.ssh_port, "firewall_ssh_port")
    return [
        Rule("in", "tcp", (port, port), peers, where),
        Rule("in", "ping", (0, 0), peers, where),
    ]


# -- the gateways ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Listener:
    """What this file needs of one entry of ``gateways``."""

    kind: str  # "ingress" or "egress"
    name: str
    listen: tuple[str, int]
    upstream: tuple[str, int]
    where: str
    source: str


def _gateways(raw: object, host: Host) -> list[_Listener]:
    found = []
    for index, gateway in enumerate(_items(raw, "gateways")):
        where = f"gateways[{index}]"
        if host.has(str(_get(gateway, "hosts", where))):
            found += _listeners(gateway, where)
    return found


def _listeners(gateway: object, where: str) -> list[_Listener]:
    name = str(_get(gateway, "name", where))
    found = []
    for kind in ("ingress", "egress"):
        entries = gateway.get(kind) if isinstance(gateway, Mapping) else None
        for at, entry in enumerate(_items(entries or (), f"{where}.{kind}")):
            place = f"{where}.{kind}[{at}]"
            listener = str(_get(entry, "name", place))
            found.append(
                _Listener(
                    kind,
                    listener,
                    _endpoint(str(_get(entry, "listen", place)), f"{place}.listen"),
                    _upstream(kind, _get(entry, "upstream", place), f"{place}.upstream"),
                    place,
                    f"gateways: {name}/{listener}",
                )
            )
    return found


def _upstream(kind: str, raw: object, where: str) -> tuple[str, int]:
    if kind == "ingress":
        return _url(str(raw), where)
    return str(_get(raw, "address", where)), _port(_get(raw, "port", where), f"{where}.port")


@dataclass(frozen=True, slots=True)
class _Sources:
    """Who may call which ingress listener."""

    default: tuple[Network, ...]
    by_listener: Mapping[str, tuple[Network, ...]]

    @classmethod
    def read(cls, raw: object, gateways: object) -> _Sources:
        """A list for every listener, or a map by listener name, ``default`` for the others."""
        where = "firewall_ingress_from"
        if not isinstance(raw, Mapping):
            return cls(_networks(raw, where) if raw else (), {})
        known = {"default", *_ingress_names(gateways)}
        for name in raw:
            if str(name) not in known:
                raise _error(where, "no such ingress listener", name, ", ".join(sorted(known)))
        read = {str(key): _networks(value, f"{where}.{key}") for key, value in raw.items()}
        return cls(read.pop("default", ()), read)

    def of(self, listener: _Listener) -> tuple[Network, ...]:
        peers = self.by_listener.get(listener.name, self.default)
        if not peers:
            raise _error(
                "firewall_ingress_from",
                f"who may call the listener {listener.name} is not declared",
                "nothing",
                f"networks under `{listener.name}` or `default`",
            )
        return peers


def _ingress_names(gateways: object) -> set[str]:
    """Of every host: what is declared for a listener elsewhere is no mistake here."""
    return {
        listener.name
        for index, gateway in enumerate(_items(gateways, "gateways"))
        for listener in _listeners(gateway, f"gateways[{index}]")
        if listener.kind == "ingress"
    }


def _ingress(listeners: Sequence[_Listener], sources: _Sources) -> list[Rule]:
    return [
        Rule("in", "tcp", (port, port), sources.of(listener), listener.source)
        for listener in listeners
        for address, port in (listener.listen,)
        if listener.kind == "ingress" and not _is_loopback(address)
    ]


def _upstreams(listeners: Sequence[_Listener], names: _Names) -> list[Rule]:
    rules = []
    for listener in listeners:
        address, port = listener.upstream
        if not _is_loopback(address):
            peers = names.networks(address, f"{listener.where}.upstream")
            rules.append(
                Rule("out", "tcp", (port, port), peers, f"{listener.source} upstream {address}")
            )
    return rules


def _guards(listeners: Sequence[_Listener], raw: object) -> tuple[Guard, ...]:
    users = tuple(str(user) for user in _items(raw, "firewall_egress_users"))
    for at, user in enumerate(users):
        if not _USER.fullmatch(user):
            raise _error(f"firewall_egress_users[{at}]", "not usable", user, "a user's name")
    if not users:
        return ()
    # Root could be kept out as little as it could be by a file mode; the probe runs as root.
    allowed = tuple(dict.fromkeys(("root", *users)))
    return tuple(
        Guard(_loopback(listener), listener.listen[1], allowed, listener.source)
        for listener in listeners
        if listener.kind == "egress"
    )


def _loopback(listener: _Listener) -> str:
    address = listener.listen[0]
    if not _is_loopback(address) or address == "localhost":
        where = f"{listener.where}.listen"
        raise _error(where, "an egress listener must not leave the host", address, "127.0.0.1")
    return address


# -- the rest of the world -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Names:
    """DNS names and the addresses that were declared for them."""

    addresses: Mapping[str, tuple[Network, ...]]

    def networks(self, host: str, where: str) -> tuple[Network, ...]:
        try:
            return (ipaddress.ip_network(host),)
        except ValueError:
            pass
        if host not in self.addresses:
            raise _error(
                "firewall_names",
                f"the addresses of {host} are not declared ({where})",
                ", ".join(sorted(self.addresses)) or "nothing",
                f"{host}: [its addresses]",
            )
        return self.addresses[host]


def _names(raw: object) -> _Names:
    if not isinstance(raw, Mapping):
        raise _error("firewall_names", "not a map", type(raw).__name__, "name: [addresses]")
    return _Names(
        {str(name): _networks(value, f"firewall_names.{name}") for name, value in raw.items()}
    )


def _vault(address: str, names: _Names) -> list[Rule]:
    if not address:
        return []
    host, port = _url(address, "release_vault.address")
    if _is_loopback(host):
        return []
    return [
        Rule("out", "tcp", (port, port), names.networks(host, "release_vault"), "release_vault")
    ]


def _listed(raw: object, direction: str) -> list[Rule]:
    variable, peer = {"in": ("firewall_in", "from"), "out": ("firewall_out", "to")}[direction]
    rules: list[Rule] = []
    for index, item in enumerate(_items(raw, variable)):
        where = f"{variable}[{index}]"
        entry = _strict(item, ("name", "protocol", "port", peer), where)
        name = str(entry["name"])
        if not _NAME.fullmatch(name):
            raise _error(f"{where}.name", "not usable", name, "lower case letters, digits, - . _")
        source = f"{variable}: {name}"
        if source in {rule.source for rule in rules}:
            raise _error(f"{where}.name", "two entries share one name", name, "a name each")
        if entry["protocol"] not in ("tcp", "udp"):
            raise _error(f"{where}.protocol", "not usable", entry["protocol"], "tcp or udp")
        ports = _range(entry["port"], f"{where}.port")
        peers = _networks(entry[peer], f"{where}.{peer}")
        rules.append(Rule(direction, str(entry["protocol"]), ports, peers, source))
    return rules


# -- strict reading --------------------------------------------------------------------


def _items(raw: object, where: str) -> Sequence[object]:
    if not isinstance(raw, list | tuple):
        raise _error(where, "not a list", type(raw).__name__, "a list")
    return raw


def _get(raw: object, key: str, where: str) -> Any:
    """A field of ``gateways``, whose other fields the gateway role judges."""
    if not isinstance(raw, Mapping) or raw.get(key) is None:
        raise _error(where, f"`{key}` is missing", "nothing", key)
    return raw[key]


def _strict(raw: object, fields: Sequence[str], where: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise _error(where, "not a map", type(raw).__name__, "a map")
    entry = {str(key): value for key, value in raw.items()}
    for key in sorted(set(entry) - set(fields)):
        raise _error(where, f"unknown key `{key}`", key, ", ".join(fields))
    for key in fields:
        _get(entry, key, where)
    return entry


def _networks(raw: object, where: str) -> tuple[Network, ...]:
    """Networks without overlaps, IPv4 first; an empty list lets nobody through and is refused."""
    items = _items(raw, where)
    if not items:
        raise _error(where, "nobody would be let through", "an empty list", "at least one network")
    read = [_network(item, f"{where}[{at}]") for at, item in enumerate(items)]
    four = [item for item in read if isinstance(item, ipaddress.IPv4Network)]
    six = [item for item in read if isinstance(item, ipaddress.IPv6Network)]
    return (*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six))


def _network(raw: object, where: str) -> Network:
    text, expected = str(raw), "an address or network such as 192.0.2.0/24 or 2001:db8::/32"
    try:
        if not _CIDR.fullmatch(text):
            raise ValueError(text)
        network = ipaddress.ip_network(text)
    except ValueError:
        raise _error(where, "not a network", text, expected) from None
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped:
        # No packet on the wire carries such an address, so the rule would never match.
        raise _error(where, "an IPv4 network in IPv6 clothes", text, "its IPv4 form")
    return network


def _range(raw: object, where: str) -> tuple[int, int]:
    match = _PORTS.fullmatch(str(raw))
    if match is None:
        raise _error(where, "not a port or range", raw, "a port, or a range such as 8000-8010")
    first = _port(match["first"], where)
    last = _port(match["last"] or match["first"], where)
    if last < first:
        raise _error(where, "the range ends before it begins", raw, f"{last}-{first}")
    return first, last


def _port(raw: object, where: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", str(raw)) or not 0 < int(str(raw)) < 65536:
        raise _error(where, "not a port", raw, "1 to 65535")
    return int(str(raw))


def _endpoint(text: str, where: str) -> tuple[str, int]:
    address, separator, port = text.rpartition(":")
    if not separator:
        raise _error(where, "no port", text, "address:port")
    return address.strip("[]"), _port(port, where)


def _url(text: str, where: str) -> tuple[str, int]:
    try:
        parts = urlsplit(text)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        raise _error(where, "not usable", text, "http(s)://address:port") from None
    if not parts.hostname:
        raise _error(where, "no host in it", text, "http(s)://address:port")
    return parts.hostname, port


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _error(where: str, message: str, found: object, expected: str) -> PkiError:
    file = "gateways.yml" if where.startswith("gateways") else "firewall.yml"
    return PkiError(
        f"{where}: {message}",
        rule="INVENTORY",
        found=str(found),
        expected=expected,
        where=f"group_vars/all/{file}: {where}",
        next_step="correct the inventory and run again; nothing was changed",
    )
