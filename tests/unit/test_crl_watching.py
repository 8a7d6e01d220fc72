# SPDX-License-Identifier: GPL-3.0-or-later
"""What each host is to watch of CRLs: CAs in the controller's order, addresses, ages, serials."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pki import crl_cache, crl_watching, policy_files, session
from pki.policy import Policy
from pki.trust_files import Ca, LoadedTrust
from pki.trust_generations import Own
from pki_host import crl_watch
from pki_host.errors import HostError
from unit import gateway_entry
from unit import pki_factory as factory
from unit.controller_world import REPOSITORY, TRUST, World, load_file
from unit.pki_factory import CDP, NOW
from unit.test_controller_modules import Module, run

FETCH = load_file("library/pki_crl_fetch.py")
WATCH = load_file("filter_plugins/pki_crl.py").FilterModule().filters()["pki_crl_watch"]
ROOT = factory.authority("Root")
ISSUING = ROOT.authority("Issuing")
OTHER = ROOT.authority("Other Issuing")
OCSP = "http://ocsp.example/"
HOUR, DAY = 3600, 86400
PLACES = {"gateway_root": "/etc/pki/gateway", "metrics_dir": "/var/lib/pki-crl/metrics"}


@pytest.fixture(scope="module")
def policies() -> Any:
    return policy_files.load_policies(REPOSITORY / "policies", ["mhhs-dip", "nhs-mesh"])


def ca(authority: factory.Authority, *urls: str) -> Ca:
    return Ca(authority.der, authority.pem, authority.sha256, authority.certificate.subject
              .get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value, urls)  # fmt: skip


def trust(*issuers: Ca, anchor: Ca | None = None) -> LoadedTrust:
    return LoadedTrust("dip", (anchor or ca(ROOT),), issuers or (ca(ISSUING),))


def own(version: int = 1, signer: factory.Authority = ISSUING, **options: Any) -> Own:
    return Own("dip-nonprod", version, x509.load_der_x509_certificate(signer.leaf(**options)))


def model(*listeners: tuple[str, str, int], hosts: str = "gateways") -> dict[str, Any]:
    """A gateway with listeners of (direction, trust, age); the name is the place in the list."""
    sides: dict[str, list[dict[str, Any]]] = {"ingress": [], "egress": []}
    budget = []
    for at, (direction, used, age) in enumerate(listeners):
        sides[direction].append({"name": str(at), "trust": used})
        budget.append({"direction": direction, "listener": str(at), "crl_age_seconds": age})
    return {"hosts": hosts, "budget": budget, **sides}


def told(
    policy: Policy, *models: Any, trusted: LoadedTrust | None = None, ours: tuple[Own, ...] = ()
) -> dict[str, Any]:
    return crl_watching.told(
        {"dip": trusted or trust()}, {"dip": policy}, {"dip": ours}, models
    )  # fmt: skip


def on_host(everything: dict[str, Any], *groups: str, **options: Any) -> dict[str, Any]:
    host = {"name": "gw1", "groups": groups or ("gateways",)}
    found: dict[str, Any] = WATCH(everything, host=host, **PLACES, **options)
    return found


@pytest.fixture
def dip(policies: Any) -> Policy:
    found: Policy = policies["mhhs-dip"]
    return found


BOTH = (("ingress", "dip", 20 * HOUR), ("egress", "dip", 30 * HOUR))


# --- what is told ---------------------------------------------------------------------------


def test_the_cas_come_in_the_order_of_the_controllers_set_and_each_once(dip: Policy) -> None:
    """A host's file is then byte for byte the controller's."""
    trusted = trust(ca(OTHER), ca(ISSUING), ca(OTHER))
    entry = told(dip, trusted=trusted)["trusts"]["dip"]
    assert [one["sha256"] for one in entry["authorities"]] == [
        OTHER.sha256, ISSUING.sha256, ROOT.sha256,
    ]  # fmt: skip
    assert [one["needs"] for one in entry["authorities"]] == ["user", "user", "ca"]
    assert [one.sha256 for one in trusted.authorities] == [
        one["sha256"] for one in entry["authorities"]
    ]


def test_configured_addresses_come_before_those_of_certificates_and_each_once(dip: Policy) -> None:
    certificates = (own(cdp="http://b.example/x.crl"), own(2, cdp="http://a.example/x.crl"))
    trusted = trust(ca(ISSUING, "http://a.example/x.crl", "https://c.example/x.crl"))
    (issuing, root) = told(dip, trusted=trusted, ours=certificates)["trusts"]["dip"]["authorities"]
    assert issuing["urls"] == [
        "http://a.example/x.crl", "https://c.example/x.crl", "http://b.example/x.crl",
    ]  # fmt: skip
    assert root["urls"] == []


@pytest.mark.parametrize(
    "certificate",
    {
        "of another CA": own(signer=factory.authority("Foreign"), cdp=CDP),
        "without an address": own(cdp=None),
        "with an address of a file": own(cdp="file:///etc/passwd"),
        "with an address of a directory service": own(cdp="ldap://a.example/cn=x"),
    }.values(),
)
def test_no_address_is_taken_from_a_certificate(dip: Policy, certificate: Own) -> None:
    entry = told(dip, ours=(certificate,))["trusts"]["dip"]
    assert [one["urls"] for one in entry["authorities"]] == [[], []]


def test_a_pinned_ca_says_where_the_crl_of_the_ca_above_it_is(dip: Policy) -> None:
    below = x509.load_der_x509_certificate(ROOT.leaf(cn="Below", ca=True, cdp="http://r.example/"))
    der = below.public_bytes(Encoding.DER)
    pinned = Ca(der, b"pem", "5" * 64, "Below", ())
    entry = told(dip, trusted=trust(pinned))["trusts"]["dip"]
    assert [one["urls"] for one in entry["authorities"]] == [[], ["http://r.example/"]]


def test_our_certificates_and_every_ca_below_another_are_known_by_serial(dip: Policy) -> None:
    access = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(
                x509.AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(OCSP)
            )
        ]
    )
    mine = own(serial=0xABCDEF, extra=((access, False),))
    foreign = own(2, signer=factory.authority("Foreign"))
    ours, above = told(dip, ours=(mine, foreign))["trusts"]["dip"]["known"]
    assert (ours["what"], ours["certificate"], ours["kind"], ours["serial"], ours["ocsp_urls"]) == (
        "our certificate dip-nonprod v1", "dip-nonprod", "ours", "abcdef", [OCSP],
    )  # fmt: skip
    assert ours["issuer"] == ISSUING.sha256
    assert (above["kind"], above["issuer"]) == ("ca", ROOT.sha256)
    assert int(above["serial"], 16) == ISSUING.certificate.serial_number


# --- what a host gets -----------------------------------------------------------------------


def test_a_host_watches_what_its_gateways_use_in_the_directions_that_they_use(dip: Policy) -> None:
    everything = told(
        dip, model(*BOTH[:1], hosts="gw1"), model(*BOTH, hosts="others"), model(hosts="all")
    )
    assert set(on_host(everything)["trusts"]["dip"]["directions"]) == {"ingress"}
    assert set(on_host(everything, "others")["trusts"]["dip"]["directions"]) == {
        "ingress", "egress",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ages", "expected"), [((20 * HOUR, 10 * HOUR), 10 * HOUR), ((90 * HOUR,), DAY)]
)
def test_the_strictest_listener_and_the_policy_bound_the_age(
    dip: Policy, ages: tuple[int, ...], expected: int
) -> None:
    everything = told(dip, *(model(("ingress", "dip", age)) for age in ages))
    (direction,) = on_host(everything)["trusts"]["dip"]["directions"].values()
    assert direction == {"on_stale": "refuse", "max_age_seconds": expected}


def test_mesh_is_called_on_with_old_crls_and_the_dip_is_not(policies: Any) -> None:
    """The guidance of MESH is silent; the Code demands that every certificate is checked."""
    found = {}
    for name in ("mhhs-dip", "nhs-mesh"):
        (entry,) = on_host(told(policies[name], model(*BOTH)))["trusts"].values()
        found[name] = {side: one["on_stale"] for side, one in entry["directions"].items()}
    assert found == {
        "mhhs-dip": {"ingress": "refuse", "egress": "refuse"},
        "nhs-mesh": {"ingress": "refuse", "egress": "alarm"},
    }


def changed(policy: Policy, **values: Any) -> Policy:
    items = {name: replace(policy.parameters[name], value=value) for name, value in values.items()}
    return replace(policy, parameters={**policy.parameters, **items})


def test_of_several_policies_on_a_host_the_strictest_value_counts(dip: Policy) -> None:
    busy = changed(
        dip, crl_refresh_period_seconds=600, crl_alarm_percents=[10, 50], fetch_attempts=5,
        crl_guard_period_seconds=90, fetch_first_wait_seconds=0.1,
    )  # fmt: skip
    everything = crl_watching.told(
        {"dip": trust(), "other": trust()}, {"dip": dip, "other": busy}, {},
        [model(*BOTH, ("egress", "other", HOUR))],
    )  # fmt: skip
    found = on_host(everything)
    assert found["refresh"]["period_seconds"] == 600
    assert found["guard"]["period_seconds"] == 60
    assert found["alarm_percents"] == [10, 25, 50, 75]
    assert (found["fetch"]["attempts"], found["fetch"]["first_wait_seconds"]) == (5, 0.5)


def test_what_a_host_does_not_use_does_not_make_it_poll_more_often(dip: Policy) -> None:
    busy = changed(dip, crl_refresh_period_seconds=600)
    everything = crl_watching.told(
        {"dip": trust(), "other": trust()}, {"dip": dip, "other": busy}, {}, [model(*BOTH)]
    )
    assert on_host(everything)["refresh"]["period_seconds"] == HOUR


def test_a_certificate_that_the_same_run_accepts_is_watched_at_once(dip: Policy) -> None:
    """Else the next run would change the host, though nothing happened since."""
    before = told(dip, model(*BOTH))
    after = told(dip, model(*BOTH), ours=(own(cdp="http://b.example/x.crl"),))
    accepted = crl_watching.of_certificates(
        {"dip": trust()}, {"dip": (own(cdp="http://b.example/x.crl", serial=7),)}
    )
    found = on_host(before, accepted=accepted)
    assert found == on_host(found_again(after, accepted))
    assert [one["kind"] for one in found["trusts"]["dip"]["known"]] == ["ours", "ca"]


def found_again(after: dict[str, Any], accepted: dict[str, Any]) -> dict[str, Any]:
    """What the next night's fetch tells, with the very certificate that was accepted."""
    (entry,) = after["trusts"].values()
    (_, *above) = entry["known"]
    return {**after, "trusts": {"dip": {**entry, "known": [*accepted["dip"]["ours"], *above]}}}


@pytest.mark.parametrize("everything", [{}, None])
def test_where_nothing_was_fetched_nothing_is_watched(everything: Any) -> None:
    assert on_host(everything) == {}


def test_a_host_without_gateways_has_nothing_to_watch(dip: Policy) -> None:
    assert on_host(told(dip, model(*BOTH, hosts="others"))) == {}


@pytest.mark.parametrize(
    "proxy",
    [
        "http://me:c4n4ry@proxy.example:3128",
        "https://c4n4ry.example:3128",
        "c4n4ry",
        "http://c4n4ry x",
    ],
)
def test_a_proxy_with_a_password_is_refused_before_it_is_an_argument_and_not_shown(
    dip: Policy, proxy: str
) -> None:
    everything = told(dip, model(*BOTH), ours=(own(),))
    with pytest.raises(AnsibleFilterError) as caught:
        on_host(everything, proxy=proxy)
    assert "crl_cache_proxy" in str(caught.value)
    assert "c4n4ry" not in str(caught.value)
    raw = on_host(everything)
    raw["fetch"]["proxy"] = proxy
    with pytest.raises(HostError) as refused:
        crl_watch.Watch.of(raw)
    assert refused.value.rule == "CRL-WATCH"
    assert "c4n4ry" not in str(refused.value)


def test_the_host_can_read_what_it_is_given(dip: Policy) -> None:
    everything = told(dip, model(*BOTH), ours=(own(),))
    raw = on_host(everything, proxy="http://proxy.example:3128")
    found = crl_watch.Watch.of(raw)
    assert found.fetch.proxy == "http://proxy.example:3128"
    assert [one.name for one in found.trusts["dip"].authorities] == ["Issuing", "Root"]
    assert (
        found.encode() == crl_watch.Watch.of(on_host(everything, proxy=found.fetch.proxy)).encode()
    )


# --- the module and the real model ----------------------------------------------------------


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(FETCH.session, "load", functools.partial(session.load, now=NOW))
    world = World(tmp_path)
    world.request()
    world.reply()
    world.crls()
    world.keep()

    def fetch(gateways: Any) -> dict[str, Any]:
        published = {"/issuing": world_crl("issuing"), "/root": world_crl("root")}
        monkeypatch.setattr(
            crl_cache, "download", lambda url, _patience: published["/" + url.rpartition("/")[2]]
        )
        return run(FETCH, Module(world.params()), gateways=gateways)

    return fetch


def world_crl(name: str) -> bytes:
    from unit import controller_world

    authority = {"issuing": controller_world.ISSUING, "root": controller_world.ROOT}[name]
    return authority.crl()


def gateways() -> list[dict[str, Any]]:
    entry = copy.deepcopy(gateway_entry.ENTRY)
    for listener in (*entry["ingress"], *entry["egress"]):
        listener.update(certificate="dip-nonprod", trust=TRUST)
    return [entry]


def test_the_fetch_tells_what_hosts_watch_with_the_budget_of_their_gateways(fetched: Any) -> None:
    result = fetched(gateways())
    found = crl_watch.Watch.of(on_host(result["watch"]))
    watched = found.trusts[TRUST]
    assert [one.name for one in watched.authorities] == ["Example Issuing", "Example Root"]
    assert watched.authorities[0].urls == ("http://crl.example/issuing", CDP)
    assert [one.what for one in watched.known] == [
        "our certificate dip-nonprod v1", "the CA Example Issuing",
    ]  # fmt: skip
    assert set(watched.directions) == {"ingress", "egress"}
    assert 0 < watched.directions["ingress"].max_age_seconds < DAY


def test_gateways_that_cannot_be_used_keep_no_crl_from_being_fetched(fetched: Any) -> None:
    result = fetched([{"name": "gw", "product": "nginx"}])
    assert result["sets"][0]["complete"]
    with pytest.raises(AnsibleFilterError, match=r"`hosts` is missing"):
        on_host(result["watch"])
