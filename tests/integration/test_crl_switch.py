# SPDX-License-Identifier: GPL-3.0-or-later
"""CRL sets that come between two runs: into service on every gateway, or not at all."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from gateways.products import HAPROXY, NGINX, Product
from gateways.servers import serving
from integration import gateway_world as gw
from integration.dying import die
from integration.gateway_pair import Pair, leaf
from pki_host import crl_guard, crl_switch, files, probe, transaction
from pki_host.crl_switch import Switched
from pki_host.desired import APPLIED, Applied
from pki_host.transaction import Desired

pytestmark = pytest.mark.integration

DEATHS = 10
HOST = "api.dip.example"


class Host(Pair):
    """Both gateways of one host, and the sets that its timer fetched.

    ``calls``: whether the egress is looked at, too, which takes seconds while the far end is away.
    """

    calls = False

    def all_arguments(self) -> list[dict[str, Any]]:
        entries = super().all_arguments()
        for entry in entries:
            entry["probes"] = [
                one for one in entry["probes"] if self.calls or one["kind"] == "ingress"
            ]
        return entries

    def switch(self, crl_set: dict[str, Any] | None = None) -> Switched:
        target = (crl_set or self.crl_set)["link"]["target"]
        root = str(self.base / "crl")
        return crl_switch.switch(root, "dip-nonprod", target, str(self.base / "gateway"))

    def fetched(self, *revoked: x509.Certificate, number: int = 0) -> dict[str, Any]:
        """A set that revokes these, with what its CRLs say of themselves."""
        staged = self.stage_crls(*revoked)
        if number:
            self.tell(staged, number)
        return staged

    def tell(self, staged: dict[str, Any], number: int) -> None:
        issued = gw.NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
        told = [
            {
                "authority": ca, "name": ca, "sha256": "0" * 64, "number": str(number),
                "entries": 0, "this_update": issued, "next_update": "2199-01-01T00:00:00Z",
            }
            for ca in ("root", "issuing")
        ]  # fmt: skip
        path = self.trust / staged["link"]["target"] / "set.json"
        files.write(str(path), json.dumps({"crls": told}).encode(), files.PUBLIC)

    @property
    def trust(self) -> Path:
        return self.base / "crl/dip-nonprod"

    @property
    def in_place(self) -> str:
        return os.readlink(self.trust / "current")

    def loaded(self) -> list[str]:
        """What each gateway's record says that it has loaded of the CRLs."""
        link = str(self.trust / "current")
        found = [Applied.parse(files.read(f"{root}/{APPLIED}")) for root in self.roots]
        return [one.loaded[link] if one else "" for one in found]

    @property
    def roots(self) -> list[str]:
        return [str(self.base / "gateway" / name) for name in ("dip", "second")]

    def generations(self) -> list[object]:
        return [daemon.generation() for daemon in self.daemons()]

    def peer(self) -> tuple[x509.Certificate, Path]:
        certificate = leaf("peer", gw.PEER)
        return certificate, self.client(certificate, "peer")

    def statuses(self, client: Path) -> list[int]:
        """What a client gets at both ingresses."""
        return [self.get(client, port=port).status for port in (self.ingress, self.second)]


@pytest.fixture(scope="module", params=[NGINX, HAPROXY], ids=str)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    product: Product = request.param
    if product.missing and os.environ.get("CI") != "true":
        pytest.skip(f"not run: {product.name} - {product.missing}")
    host = Host(tmp_path_factory.mktemp("switch"), product)
    with serving(host.app):
        try:
            host.apply()
            yield host
        finally:
            host.stop()


@pytest.fixture
def host(served: Host) -> Host:
    """As the run before left it: the first set, and nothing to do."""
    served.calls = False
    for name in ("set.json", "watch.json", "guard.json"):
        for path in (served.base / "crl").rglob(name):
            path.unlink()
    served.crl_set = served.stage_crls()
    served.apply()
    assert served.apply()["changed"] is False
    return served


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong answer does not get better."""
    monkeypatch.setattr(probe, "PATIENCE", 1.0)


def test_a_revoked_peer_is_refused_on_every_gateway_and_the_next_run_has_nothing_to_do(
    host: Host,
) -> None:
    certificate, client = host.peer()
    assert host.statuses(client) == [200, 200]
    masters = [daemon.master() for daemon in host.daemons()]
    host.crl_set = host.fetched(certificate)
    done = host.switch()
    assert (done.changed, done.reloaded, done.failure) == (True, ("dip", "second"), None)
    assert host.statuses(client) == [403, 403]
    assert host.loaded() == [host.crl_set["link"]["target"]] * 2
    generations = host.generations()
    assert host.switch() == Switched()
    assert host.apply()["changed"] is False
    assert host.generations() == generations
    assert [daemon.master() for daemon in host.daemons()] == masters


def test_a_run_that_has_not_heard_of_a_newer_set_leaves_it_in_service(host: Host) -> None:
    certificate, client = host.peer()
    host.tell(host.crl_set, 4)
    newer = host.fetched(certificate, number=5)
    assert host.switch(newer).failure is None
    assert host.apply()["changed"] is False
    host.renew(int.from_bytes(os.urandom(3), "big") + 2)
    assert host.apply()["changed"] is True
    assert host.in_place == newer["link"]["target"]
    assert host.loaded() == [newer["link"]["target"]] * 2
    assert host.get(None).leaf == host.release["certificate_sha256"]
    assert host.statuses(client) == [403, 403]
    # What a run brings that is newer still does come.
    host.crl_set = host.fetched(certificate, leaf("other"), number=6)
    host.apply()
    assert host.in_place == host.crl_set["link"]["target"]


def test_crls_that_revoke_our_own_certificate_stay_in_service_and_are_told(host: Host) -> None:
    host.crl_set = host.fetched(host.certificate)
    done = host.switch()
    assert done.failure is None
    assert "dip: webhook: our own certificate is revoked, or a CA above it is" in done.notes
    assert host.loaded() == [host.crl_set["link"]["target"]] * 2
    assert host.apply()["changed"] is False


def test_crls_that_revoke_the_far_end_or_a_client_of_ours_stay_in_service_and_are_told(
    host: Host,
) -> None:
    certificate, client = host.peer()
    far = gw.issue(gw.name(HOST), "far", gw.name("issuing"), "issuing", host=HOST)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(host.client(far, "far"))
    host.calls = True
    arguments = host.all_arguments()
    for entry in arguments:
        for one in entry["probes"]:
            if one["kind"] == "ingress":
                one["client"] = {"certificate": str(client), "key": str(client)}
        entry["files"].append({"path": "trust/more.txt", "content": "x"})  # to have it recorded
    with serving(host.dip, context):
        transaction.run_all([Desired.of(entry) for entry in arguments], check=False)
        host.crl_set = host.fetched(certificate, far)
        done = host.switch()
    assert done.failure is None
    told = " ".join(done.notes)
    assert f"webhook: the client {client} is revoked" in told
    assert "dip: api: the far end's certificate is revoked" in told
    assert host.statuses(client) == [403, 403]


def locking_out(host: Host) -> dict[str, Any]:
    """Valid CRLs that a TLS library takes for others': the root's names another URL."""
    point = x509.IssuingDistributionPoint(
        [x509.UniformResourceIdentifier("http://crl.example/other.crl")],
        None, False, False, None, False, False,
    )  # fmt: skip
    builder = x509.CertificateRevocationListBuilder().issuer_name(gw.name("root"))
    builder = builder.last_update(gw.NOW).next_update(gw.NOW.replace(year=gw.NOW.year + 1))
    signed = builder.add_extension(point, critical=True).sign(gw.key("root"), hashes.SHA256())
    text = signed.public_bytes(serialization.Encoding.PEM).decode()
    return host.stage_crl_text(host.authorities.crl("issuing") + text)


def test_a_set_that_would_lock_good_clients_out_goes_back_and_is_told_each_time(
    host: Host,
) -> None:
    _, client = host.peer()
    before = host.in_place
    bad = locking_out(host)
    for _ in range(2):
        done = host.switch(bad)
        assert done.failure is not None
        assert done.failure.rule == "GATEWAY-PROBE-OWN"
        assert "the step 'probe' failed for dip" in done.failure.message
        assert "the set before is back in service" in done.failure.message
        assert host.in_place == before
        assert host.loaded() == [before] * 2
    assert host.statuses(client) == [200, 200]
    assert host.apply()["changed"] is False


def test_a_set_that_a_product_cannot_load_goes_back_before_any_reload(host: Host) -> None:
    before, generations = host.in_place, host.generations()
    done = host.switch(
        host.stage_crl_text("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    )
    assert done.failure is not None
    assert done.failure.rule == "GATEWAY-CONFIG-TEST"
    assert "the step 'test' failed" in done.failure.message
    assert (done.changed, host.in_place, host.generations()) == (False, before, generations)
    assert host.apply()["changed"] is False


def test_a_gateway_with_broken_files_keeps_no_revocation_from_its_neighbour(host: Host) -> None:
    certificate, client = host.peer()
    (config,) = (Path(host.roots[1]) / name for name in (host.product.config_file,))
    text = config.read_text()
    config.write_text(f"{text}\nnonsense\n")
    before, host.crl_set = host.in_place, host.fetched(certificate)
    done = host.switch()
    assert done.failure is not None
    assert "second cannot load what is on disk, with the set before neither" in str(done.failure)
    assert done.reloaded == ("dip",)
    assert host.statuses(client) == [403, 200]
    assert host.loaded() == [host.crl_set["link"]["target"], before]
    config.write_text(text)
    assert host.switch().reloaded == ("second",)
    assert host.statuses(client) == [403, 403]
    assert host.apply()["changed"] is False


def test_a_record_from_before_costs_one_reload(host: Host) -> None:
    for root in host.roots:
        path = Path(root) / APPLIED
        raw = json.loads(path.read_text())
        del raw["loaded"]
        path.write_text(json.dumps(raw))
    reasons = [one["reasons"] for one in host.apply()["gateways"]]
    assert reasons == [["the running gateway has not loaded this model"]] * 2
    assert host.apply()["changed"] is False


def test_a_link_of_a_direction_that_is_gone_comes_back(host: Host) -> None:
    (host.trust / "ingress").unlink()
    (reasons, _) = (one["reasons"] for one in host.apply()["gateways"])
    assert reasons == [f"{host.trust}/ingress does not lead to CRLs"]
    assert os.readlink(host.trust / "ingress") == "current"
    assert host.apply()["changed"] is False


# -- while a direction refuses -----------------------------------------------------------------


def watched(host: Host, directions: dict[str, dict[str, Any]]) -> None:
    """What this host watches: enough to enforce an age."""
    ca = {
        "name": "issuing", "pem": gw.pem(host.authorities.issuing), "urls": [], "needs": "user",
        "sha256": host.authorities.issuing.fingerprint(hashes.SHA256()).hex(),
    }  # fmt: skip
    trust = {
        "authorities": [ca],
        "directions": directions,
        "known": [],
        "longest_validity_days": 398,
    }
    fetch = {
        "attempts": 1, "first_wait_seconds": 1, "wait_factor": 2, "longest_wait_seconds": 2,
        "timeout_seconds": 2, "total_seconds": 5, "largest_bytes": 1 << 20, "proxy": "",
    }  # fmt: skip
    watch = {
        "version": 1, "trusts": {"dip-nonprod": trust}, "fetch": fetch,
        "alarm_percents": [25, 50, 75], "clock_tolerance_seconds": 300,
        "refresh": {"period_seconds": 3600, "delay_seconds": 300, "accuracy_seconds": 60},
        "guard": {"period_seconds": 60}, "ocsp_period_seconds": 86400,
        "grace_longest_seconds": 86400, "gateway_root": str(host.base / "gateway"),
        "metrics_dir": str(host.base / "crl/metrics"),
    }  # fmt: skip
    files.write(str(host.base / "crl/watch.json"), json.dumps(watch).encode(), files.PUBLIC)


def test_a_renewal_while_everybody_is_refused_is_installed_with_notes(host: Host) -> None:
    """No CRL of the set was ever confirmed, so its age is unknown: the next switch refuses."""
    _, client = host.peer()
    stale = {"on_stale": "refuse", "max_age_seconds": 3600}
    watched(host, {"ingress": stale, "egress": stale})
    host.calls = host.product is NGINX  # the other one asks the far end three more times
    host.renew(int.from_bytes(os.urandom(3), "big") + 2)
    gateways = host.apply()["gateways"]
    notes = [note for one in gateways for note in one["notes"]]
    assert "webhook: it refuses everybody until its CRLs are fresh" in notes
    if host.calls:
        assert any(note.startswith("api: it refuses every far end until") for note in notes)
    assert host.statuses(client) == [403, 403]
    assert host.get(None).leaf == host.release["certificate_sha256"]
    assert host.apply()["changed"] is False
    # Another set, as stale as the first: in place, and refused all the same.
    host.crl_set = host.fetched(leaf("other"))
    assert host.switch().failure is None
    assert host.statuses(client) == [403, 403]
    # Nobody enforces an age any more: one call, and peers are let in.
    (host.base / "crl/watch.json").unlink()
    done = host.switch()
    assert (done.changed, done.reloaded, done.failure) == (True, ("dip", "second"), None)
    assert host.statuses(client) == [200, 200]


def test_a_refusal_of_the_guard_and_its_end_leave_the_next_run_nothing_to_do(host: Host) -> None:
    _, client = host.peer()
    root = str(host.base / "crl")
    stale = {"on_stale": "refuse", "max_age_seconds": 3600}
    watched(host, {"ingress": stale, "egress": stale})
    crl_guard.tick(root)
    assert host.statuses(client) == [403, 403]
    assert host.apply()["changed"] is False
    # While another run holds the lock the guard waits for nothing, and the next run reloads once.
    watched(host, {"ingress": {**stale, "on_stale": "alarm"}})
    with files.HostLock(str(host.base / "gateway/.lock")):
        crl_guard.tick(root)
        assert host.statuses(client) == [200, 200]
    reasons = [one["reasons"] for one in host.apply()["gateways"]]
    assert reasons == [["the gateway was restarted or reloaded by somebody else"]] * 2


def test_damage_to_what_is_watched_keeps_no_change_from_gateways_and_is_noted(host: Host) -> None:
    _, client = host.peer()
    (host.base / "crl/watch.json").write_text("{")
    host.renew(int.from_bytes(os.urandom(3), "big") + 2)
    notes = [note for one in host.apply()["gateways"] for note in one["notes"]]
    assert any("what is in force of dip-nonprod stays as it is" in note for note in notes)
    assert host.statuses(client) == [200, 200]


# -- dying -------------------------------------------------------------------------------------


@pytest.mark.parametrize("served", [NGINX], indirect=True, ids=str)
def test_a_kill_anywhere_leaves_the_old_or_the_new_set_and_the_next_call_heals(
    host: Host,
) -> None:
    certificate, client = host.peer()
    sets = [host.crl_set, host.fetched(certificate)]
    targets = {one["link"]["target"]: status for one, status in zip(sets, (200, 403), strict=True)}
    operations = die(lambda: host.switch(sets[1])).operations
    for turn in range(DEATHS):
        at = 1 + turn * (len(operations) - 1) // (DEATHS - 1)
        wanted = sets[turn % 2]
        die(lambda wanted=wanted: host.switch(wanted), at)
        assert host.in_place in targets
        assert {*host.statuses(client)} <= {200, 403}
        healed = host.switch(wanted)
        assert healed.failure is None, str(healed.failure)
        target = wanted["link"]["target"]
        assert host.in_place == target
        assert host.loaded() == [target] * 2
        assert host.statuses(client) == [targets[target]] * 2
        assert host.switch(wanted) == Switched()
        assert not [one for one in host.trust.iterdir() if one.name.startswith(".link-")]
    assert os.path.exists(host.trust / "ingress/crl.pem")
