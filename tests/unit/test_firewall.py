# SPDX-License-Identifier: GPL-3.0-or-later
"""From the inventory's words to a packet filter: what is declared passes, nothing else."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from pki import firewall, firewall_text
from pki.errors import PkiError
from unit.test_architecture import ROOT

HOST = firewall.Host("gw1", ("gateways", "dmz"))
GATEWAYS: list[dict[str, Any]] = [
    {
        "name": "dip",
        "product": "any",
        "hosts": "gateways",
        "ingress": [
            {"name": "webhook", "listen": "0.0.0.0:443", "upstream": "http://127.0.0.1:8080"}
        ],
        "egress": [
            {
                "name": "api",
                "listen": "127.0.0.1:8443",
                "upstream": {"host": "api.example", "address": "api.example", "port": 444},
            }
        ],
    }
]
WORDS: dict[str, Any] = {
    "operators": ["192.0.2.0/28"],
    "ingress_from": {"default": ["198.51.100.0/24", "2001:db8:1::/48"]},
    "names": {"api.example": ["203.0.113.7", "2001:db8::7"], "vault.example": ["192.0.2.20"]},
    "vault_address": "https://vault.example:8200",
}


def rules(gateways: Any = None, host: firewall.Host = HOST, **words: Any) -> str:
    settings = firewall.Settings(**{**WORDS, **words})
    return firewall_text.render(firewall.build(settings, gateways or GATEWAYS, host))


def chain(text: str, name: str) -> list[str]:
    """The rules of one chain; comments and the chain's own line left out."""
    (body,) = re.findall(rf"\tchain {name} \{{\n(.*?)\n?\t\}}\n", text, re.DOTALL)
    return [line.strip() for line in body.splitlines() if "type filter" not in line]


def edited(change: Any) -> list[dict[str, Any]]:
    entry = copy.deepcopy(GATEWAYS)
    change(entry[0])
    return entry


def refusal(**words: Any) -> PkiError:
    with pytest.raises(PkiError) as caught:
        rules(**words)
    assert caught.value.rule == "INVENTORY"
    assert caught.value.expected
    assert caught.value.where.startswith("group_vars/all/")
    return caught.value


# -- what passes -----------------------------------------------------------------------


def test_every_base_chain_drops_what_is_left() -> None:
    text = rules()
    for hook in ("input", "forward", "output"):
        assert f"type filter hook {hook} priority filter; policy drop;" in text
    assert "policy accept" not in text
    assert not [line for line in chain(text, "forward") if "accept" in line]


def test_the_table_is_replaced_in_one_transaction() -> None:
    loaded = [line for line in rules().splitlines() if not line.startswith("#")]
    assert loaded[:3] == ["table inet pki", "delete table inet pki", "table inet pki {"]


def test_operators_may_log_in_and_ping_and_nobody_else_may() -> None:
    text = rules(ssh_port=2222)
    assert 'ip saddr { 192.0.2.0/28 } tcp dport 2222 accept comment "firewall_operators"' in chain(
        text, "input"
    )
    assert [line for line in chain(text, "input") if "echo-request" in line] == [
        'ip saddr { 192.0.2.0/28 } icmp type echo-request accept comment "firewall_operators"'
    ]
    assert "dport 22 " not in text


def test_an_ingress_port_is_open_to_those_who_are_declared_in_both_families() -> None:
    opened = [line for line in chain(rules(), "input") if "dport 443" in line]
    assert opened == [
        'ip saddr { 198.51.100.0/24 } tcp dport 443 accept comment "gateways: dip/webhook"',
        'ip6 saddr { 2001:db8:1::/48 } tcp dport 443 accept comment "gateways: dip/webhook"',
    ]


def test_a_listener_s_own_list_is_used_instead_of_the_default() -> None:
    text = rules(ingress_from={"default": ["198.51.100.0/24"], "webhook": ["192.0.2.99"]})
    assert [line.split(" tcp")[0] for line in chain(text, "input") if "dport 443" in line] == [
        "ip saddr { 192.0.2.99 }"
    ]


def test_the_whole_internet_is_written_as_its_family() -> None:
    opened = [line for line in chain(rules(ingress_from=["0.0.0.0/0", "::/0"]), "input")
              if "dport 443" in line]  # fmt: skip
    assert [line.split(" tcp")[0] for line in opened] == [
        "meta nfproto ipv4",
        "meta nfproto ipv6",
    ]


def test_overlapping_networks_become_one_because_a_set_may_not_overlap() -> None:
    text = rules(operators=["10.0.0.0/9", "10.128.0.0/9", "10.1.2.3"])
    assert "ip saddr { 10.0.0.0/8 } tcp dport 22" in text


def test_only_declared_upstreams_and_vault_can_be_reached() -> None:
    declared = [line for line in chain(rules(), "output") if "dport" in line]
    assert declared == [
        "ip daddr { 203.0.113.7 } tcp dport 444 accept "
        'comment "gateways: dip/api upstream api.example"',
        "ip6 daddr { 2001:db8::7 } tcp dport 444 accept "
        'comment "gateways: dip/api upstream api.example"',
        'ip daddr { 192.0.2.20 } tcp dport 8200 accept comment "release_vault"',
    ]


def test_an_ingress_upstream_on_another_host_can_be_reached() -> None:
    gateways = edited(lambda entry: entry["ingress"][0].update(upstream="http://192.0.2.80:8080"))
    assert "ip daddr { 192.0.2.80 } tcp dport 8080 accept" in rules(gateways)


@pytest.mark.parametrize("address", ["https://127.0.0.1:8200", "http://[::1]:8200", ""])
def test_a_vault_on_loopback_or_none_needs_no_rule(address: str) -> None:
    assert "release_vault" not in rules(vault_address=address)


def test_an_address_of_vault_without_port_means_that_of_the_scheme() -> None:
    assert "{ 192.0.2.20 } tcp dport 443 accept" in rules(vault_address="https://vault.example")


def test_a_listener_on_loopback_opens_nothing_and_needs_no_peers() -> None:
    gateways = edited(lambda entry: entry["ingress"][0].update(listen="127.0.0.1:443"))
    assert "dport 443" not in rules(gateways, ingress_from={})


def test_a_gateway_of_other_hosts_opens_nothing_here() -> None:
    text = rules(host=firewall.Host("other", ("apps",)), ingress_from={"webhook": ["192.0.2.1"]})
    assert "gateways:" not in text
    assert "firewall_operators" in text


@pytest.mark.parametrize("hosts", ["gw1", "dmz", "all"])
def test_a_gateway_is_this_host_s_by_name_by_group_and_by_all(hosts: str) -> None:
    assert "dport 443" in rules(edited(lambda entry: entry.update(hosts=hosts)))


def test_free_entries_pass_in_their_direction_only() -> None:
    text = rules(
        inbound=[{"name": "metrics", "protocol": "tcp", "port": "9100-9110", "from": ["10.1.0.1"]}],
        outbound=[{"name": "ntp", "protocol": "udp", "port": 123, "to": ["10.2.0.1", "fd00::1"]}],
    )
    assert (
        'ip saddr { 10.1.0.1 } tcp dport 9100-9110 accept comment "firewall_in: metrics"'
        in chain(text, "input")
    )
    assert [line for line in chain(text, "output") if "ntp" in line] == [
        'ip daddr { 10.2.0.1 } udp dport 123 accept comment "firewall_out: ntp"',
        'ip6 daddr { fd00::1 } udp dport 123 accept comment "firewall_out: ntp"',
    ]
    assert not [line for line in chain(text, "input") if "ntp" in line]


def test_connections_older_than_the_table_go_on_but_none_is_opened_that_way() -> None:
    text = rules()
    assert (
        'ip daddr { 192.0.2.0/28 } tcp sport 22 accept comment "resumed firewall_operators"'
        in chain(text, "resumed_output")
    )
    assert 'ip saddr { 192.0.2.20 } tcp sport 8200 accept comment "resumed release_vault"' in chain(
        text, "resumed_input"
    )
    for hook in ("input", "output"):
        jumps = [line for line in chain(text, hook) if "jump" in line]
        assert jumps == [f"tcp flags & syn == 0 jump resumed_{hook}"]


def test_only_named_users_and_root_may_connect_to_egress_listeners() -> None:
    output = chain(rules(egress_users=["dip-app"]), "output")
    (guard,) = [line for line in output if "skuid" in line]
    assert "ip daddr 127.0.0.1 tcp dport 8443 " in guard
    assert 'meta skuid != { "root", "dip-app" } reject with tcp reset' in guard
    assert output.index(guard) < output.index('oif "lo" accept comment "loopback"')


def test_without_named_users_loopback_is_free() -> None:
    assert "skuid" not in rules()


def test_a_name_in_the_inventory_cannot_write_rules_of_its_own() -> None:
    gateways = edited(lambda entry: entry.update(name='x" ; }\n table inet evil { '))
    text = rules(gateways)
    assert text.count('"') == rules().count('"')
    assert "table inet evil" not in [line.strip() for line in text.splitlines()]
    assert "\n table" not in text


def test_a_comment_stays_below_what_the_kernel_takes() -> None:
    text = rules(edited(lambda entry: entry.update(name="n" * 300)))
    assert max(len(comment) for comment in re.findall(r'comment "([^"]*)"', text)) <= 120


def test_the_order_of_operators_does_not_change_the_text() -> None:
    assert rules(operators=["10.0.0.1", "10.9.0.1"]) == rules(operators=["10.9.0.1", "10.0.0.1"])


# -- what is refused -------------------------------------------------------------------


def test_nobody_being_able_to_log_in_is_refused_unless_it_is_wanted() -> None:
    assert "nobody could log in" in refusal(operators=[]).message
    assert "firewall_operators" not in rules(operators=[], without_operators=True)


@pytest.mark.parametrize(
    "network",
    ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "any", "FILL-IN/24", "", "::ffff:10.0.0.1",
     "fe80::1%eth0", "10.0.0", 10, None, {"a": 1}],
)  # fmt: skip
def test_what_is_no_network_is_refused(network: object) -> None:
    assert "firewall_operators[0]" in refusal(operators=[network]).message


@pytest.mark.parametrize("port", ["0", 65536, "8010-8000", "1-", "http", -1, True, "1-70000", 1.5])
def test_what_is_no_port_or_range_is_refused(port: object) -> None:
    entry = {"name": "x", "protocol": "tcp", "port": port, "to": ["10.0.0.1"]}
    assert "firewall_out[0].port" in refusal(outbound=[entry]).message


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "icmp"},
        {"name": "Not a name"},
        {"to": []},
        {"to": "10.0.0.1"},
        {"from": ["10.0.0.1"]},
        {"prot": "tcp"},
        {"port": None},
    ],
    ids=str,
)
def test_an_entry_that_is_not_exactly_as_described_is_refused(change: dict[str, Any]) -> None:
    entry = {"name": "x", "protocol": "tcp", "port": 1, "to": ["10.0.0.1"]}
    rules(outbound=[entry])
    assert "firewall_out[0]" in refusal(outbound=[{**entry, **change}]).message


def test_two_entries_of_one_name_are_refused() -> None:
    entry = {"name": "x", "protocol": "tcp", "port": 1, "to": ["10.0.0.1"]}
    assert "share one name" in refusal(outbound=[entry, entry]).message


@pytest.mark.parametrize("sources", [{}, [], {"default": []}, {"webhook": []}])
def test_a_listener_that_nobody_is_declared_to_call_is_refused(sources: object) -> None:
    assert "firewall_ingress_from" in refusal(ingress_from=sources).message


def test_a_list_for_a_listener_that_does_not_exist_is_refused() -> None:
    sources = {"default": ["10.0.0.1"], "webhok": ["10.0.0.1"]}
    error = refusal(ingress_from=sources)
    assert error.found == "webhok"
    assert "webhook" in error.expected


def test_a_name_without_declared_addresses_is_refused_never_resolved() -> None:
    error = refusal(names={"vault.example": ["192.0.2.20"]})
    assert "api.example" in error.message
    assert "firewall_names" in error.where


@pytest.mark.parametrize(
    "address", ["vault:8200", "ftp://vault", "https://:8200", "https://v:99999"]
)
def test_an_address_of_vault_that_is_no_url_is_refused(address: str) -> None:
    refusal(vault_address=address)


@pytest.mark.parametrize("user", ["a b", 'x" }', "0root", "", "-"])
def test_what_is_no_user_s_name_is_refused(user: str) -> None:
    refusal(egress_users=[user])


@pytest.mark.parametrize("gateways", [{"a": 1}, ["x"], [{"name": "x"}]])
def test_gateways_that_are_none_are_refused(gateways: object) -> None:
    with pytest.raises(PkiError):
        rules(gateways)


# -- through Ansible -------------------------------------------------------------------


def filter_rules() -> Any:
    import importlib.util

    spec = importlib.util.spec_from_file_location(
        "pki_firewall_filter", ROOT / "filter_plugins/pki_firewall.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FilterModule().filters()["pki_firewall_rules"]


def test_the_filter_says_the_same_and_refuses_in_ansible_s_words() -> None:
    host = {"name": HOST.name, "groups": list(HOST.groups)}
    assert filter_rules()(GATEWAYS, settings=WORDS, host=host) == rules()
    with pytest.raises(AnsibleFilterError, match="nobody could log in"):
        filter_rules()(GATEWAYS, settings={**WORDS, "operators": []}, host=host)


@pytest.mark.parametrize("environment", ["nonprod", "prod"])
def test_the_inventory_to_fill_in_is_refused_until_it_is_filled_in(environment: str) -> None:
    folder = ROOT / "inventories" / environment / "group_vars" / "all"
    text = (folder / "firewall.yml").read_text()
    gateways = yaml.safe_load((folder / "gateways.yml").read_text().replace("FILL-IN", "a.example"))

    def built(filled: str) -> firewall.Ruleset:
        words = yaml.safe_load(filled)
        settings = firewall.Settings(
            operators=words["firewall_operators"],
            ingress_from=words["firewall_ingress_from"],
            names=words["firewall_names"],
            inbound=words["firewall_in"],
            outbound=words["firewall_out"],
            egress_users=words["firewall_egress_users"],
        )
        return firewall.build(settings, gateways["gateways"], HOST)

    with pytest.raises(PkiError):
        built(text)
    filled = text.replace("FILL-IN/24", "192.0.2.0/24").replace("  FILL-IN:", "  a.example:")
    assert len(built(re.sub(r"- FILL-IN\n", "- 192.0.2.1\n", filled)).rules) == 9
