# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules as text for ``nft -f``: one table, replaced as a whole in one transaction."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from .firewall import Guard, Network, Rule, Ruleset

# 128 bytes is what a rule's comment may have; the rest is room for "resumed".
_LONGEST_COMMENT = 100

# Error messages are what path MTU discovery and closed ports live on. Neighbour discovery is
# IPv6's ARP; without it no IPv6 packet leaves the host. ARP itself is not filtered here.
_ERRORS = """\
\t\tct state invalid drop
\t\ticmp type { destination-unreachable, time-exceeded, parameter-problem } accept
\t\ticmpv6 type destination-unreachable accept
\t\ticmpv6 type { packet-too-big, time-exceeded, parameter-problem } accept
\t\tip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
"""
_INPUT = f"""\
\t\tiif "lo" accept comment "loopback"
\t\tct state established,related accept comment "answers"
{_ERRORS}\
\t\tip6 hoplimit 255 icmpv6 type nd-router-advert accept
\t\tip6 saddr fe80::/10 icmpv6 type mld-listener-query accept
"""
_OUTPUT = f"""\
\t\toif "lo" accept comment "loopback"
\t\tct state established,related accept comment "answers"
{_ERRORS}\
\t\tip6 hoplimit 255 icmpv6 type nd-router-solicit accept
\t\tip6 hoplimit 1 icmpv6 type {{ mld-listener-report, mld-listener-done }} accept
\t\tip6 hoplimit 1 icmpv6 type mld2-listener-report accept
"""
_RESUMED = """\
\t# Connections that are older than this table: the kernel did not track them yet, so what the
\t# server says first would look new. Segments with SYN, which open connections, never get here.
"""


def render(ruleset: Ruleset) -> str:
    """The whole text; loading it replaces the table without a moment in between."""
    inbound = [rule for rule in ruleset.rules if rule.direction == "in"]
    outbound = [rule for rule in ruleset.rules if rule.direction == "out"]
    return "".join(
        (
            "# Made from the inventory. The next run finds a change made here and undoes it.\n",
            "table inet pki\ndelete table inet pki\ntable inet pki {\n",
            _RESUMED,
            _plain("resumed_input", (line for rule in outbound for line in _mirror(rule))),
            _plain("resumed_output", (line for rule in inbound for line in _mirror(rule))),
            _base("input", _INPUT, (line for rule in inbound for line in _accept(rule))),
            _base("forward", "", ()),
            _base(
                "output",
                "".join(map(_guard, ruleset.guards)) + _OUTPUT,
                (line for rule in outbound for line in _accept(rule)),
            ),
            "}\n",
        )
    )


def _plain(name: str, lines: Iterable[str]) -> str:
    return f"\tchain {name} {{\n{''.join(lines)}\t}}\n"


def _base(hook: str, head: str, lines: Iterable[str]) -> str:
    resumed = "" if hook == "forward" else f"\t\ttcp flags & syn == 0 jump resumed_{hook}\n"
    return (
        f"\tchain {hook} {{\n\t\ttype filter hook {hook} priority filter; policy drop;\n"
        f"{head}{''.join(lines)}{resumed}"
        f'\t\tlimit rate 10/minute burst 20 packets log prefix "pki-firewall {hook}: " level info\n'
        "\t}\n"
    )


def _accept(rule: Rule) -> Iterator[str]:
    """One line an address family."""
    side = "saddr" if rule.direction == "in" else "daddr"
    for family, match in _peers(rule.peers, side):
        yield f"\t\t{match} {_what(rule, family, 'dport')} accept {_comment(rule.source)}\n"


def _mirror(rule: Rule) -> Iterator[str]:
    """The other direction of what an old connection of this rule carries."""
    if rule.protocol != "tcp":
        return
    side = "daddr" if rule.direction == "in" else "saddr"
    for family, match in _peers(rule.peers, side):
        comment = _comment(rule.source, "resumed ")
        yield f"\t\t{match} {_what(rule, family, 'sport')} accept {comment}\n"


def _what(rule: Rule, family: int, side: str) -> str:
    if rule.protocol == "ping":
        return "icmp type echo-request" if family == 4 else "icmpv6 type echo-request"
    first, last = rule.ports
    return f"{rule.protocol} {side} {first if first == last else f'{first}-{last}'}"


def _peers(peers: Iterable[Network], side: str) -> Iterator[tuple[int, str]]:
    for version, word in ((4, "ip"), (6, "ip6")):
        networks = [network for network in peers if network.version == version]
        if any(network.prefixlen == 0 for network in networks):
            yield version, f"meta nfproto ipv{version}"
        elif networks:
            yield version, f"{word} {side} {{ {', '.join(map(_network, networks))} }}"


def _network(network: Network) -> str:
    return str(network if network.num_addresses > 1 else network.network_address)


def _guard(guard: Guard) -> str:
    word = "ip" if ipaddress.ip_address(guard.address).version == 4 else "ip6"
    users = ", ".join(f'"{user}"' for user in guard.users)
    # A reset tells the program at once; a dropped packet would let it wait for minutes.
    return (
        f'\t\toif "lo" {word} daddr {guard.address} tcp dport {guard.port} '
        f"tcp flags & (fin | syn | rst | ack) == syn meta skuid != {{ {users} }} "
        f"reject with tcp reset {_comment(guard.source)}\n"
    )


def _comment(source: str, before: str = "") -> str:
    plain = "".join(
        c if c.isascii() and c.isprintable() and c not in '"\\' else "?" for c in source
    )
    return f'comment "{before}{plain[:_LONGEST_COMMENT]}"'
