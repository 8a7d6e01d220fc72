# SPDX-License-Identifier: GPL-3.0-or-later
"""Old versions are retired: real playbooks, a real key server."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_public_key
from integration.canary import Scanner, explain
from integration.openbao_server import TLS_MOUNT, OpenBao
from integration.test_renew import DAY, NOW, PROJECT, Desk, Ran
from pki import (
    acceptance,
    accepted_record,
    crl_cache,
    keystores,
    public_state,
    request_stage,
    session,
)
from pki.errors import PkiError
from pki.stores.transit import TransitStore
from pki_host import files
from unit import controller_world, pki_factory

pytestmark = pytest.mark.integration


class HostDesk(Desk):
    """The same desk with one gateway host: keys of 2048 bits, two versions, both deployed."""

    @property
    def root(self) -> Path:
        # Beside the inventory and not in it: Ansible reads whatever lies below an inventory.
        return self.base.with_name(f"{self.base.name}-host")

    def _write(self, root: pki_factory.Authority, issuing: pki_factory.Authority, web: Any) -> None:
        super()._write(root, issuing, web)
        self.issuing, self.authority = issuing, root
        folder = self.base / "group_vars" / "all"
        values = {
            "release_vault": self.openbao.options("release"),
            "retire_vault": self.openbao.options("retire"),
            "gateways": [],
            "release_root": str(self.root),
            "crl_cache_root": str(self.root / "crls"),
            "firewall_manage": False,
        }
        (folder / "places.yml").write_text(yaml.safe_dump(values))
        hosts = yaml.safe_load((self.base / "hosts.yml").read_text())
        here = hosts["all"]["hosts"]["localhost"]
        hosts["all"]["children"]["gateways"]["hosts"] = {"gw1": here}
        (self.base / "hosts.yml").write_text(yaml.safe_dump(hosts))
        smaller = {
            "value": 2048,
            "reason": "tests make many keys",
            "approver": "the tests",
            "expires": f"{NOW + 300 * DAY:%Y-%m-%d}",
        }
        (self.base / "policy").mkdir()
        (self.base / "policy" / "mhhs-dip.yml").write_text(
            yaml.safe_dump({"parameters": {"key_bits": smaller}})
        )

    def answer(self, version: int) -> None:
        """The CA's answer to a request, saved beside it."""
        request = self.request(version)
        leaf = self.issuing.leaf(
            request.common_name,
            public=load_der_public_key(request.spki_der),
            start=NOW - DAY / 24,
            end=NOW + 397 * DAY,
        )
        public_state.write(
            self.base / "certificates" / self.name / str(version),
            {"reply.pem": pki_factory.pem(leaf) + self.issuing.pem},
        )

    def two_versions(self, count: int = 2) -> None:
        """As many accepted and deployed versions, as runs of site.yml leave them."""
        for number in range(1, count + 1):
            self._make(number)
            self.answer(number)
            self.accept(number)
            self._deploy(number)
        self.serve(count)

    def inputs(self) -> session.Inputs:
        """What every module of a run is given."""
        given = [
            yaml.safe_load(path.read_text())
            for path in (self.base / "group_vars" / "all").glob("*.yml")
        ]
        values = {name: value for one in given for name, value in one.items()}
        names = ("organisations", "certificates", "trust")
        return session.load(
            {
                **{name: values[name] for name in names},
                "policy_dir": str(PROJECT / "policies"),
                "base_dir": str(self.base),
                "certificates_dir": str(self.base / "certificates"),
                "crl_cache_dir": str(self.base / ".crl-cache"),
            }
        )

    def _make(self, number: int) -> None:
        inputs = self.inputs()
        certificate = inputs.declared.certificates[self.name]
        policy = inputs.policy_of(self.name)
        with self.openbao.client("pipeline") as client:
            store = keystores.Stores(client, inputs.policies).of(certificate)
            record = store.ensure(self.name, number)
            written = request_stage.build(
                certificate, policy, store, record, number, inputs.certificates_dir
            )
        public_state.write(written.directory, written.contents)

    def accept(self, number: int) -> None:
        """The answer, judged and kept."""
        inputs = self.inputs()
        window = {"start": NOW - DAY / 24, "end": NOW + DAY}
        crls = {"root": self.authority.crl(**window), "issuing": self.issuing.crl(**window)}
        crl_cache.refresh(
            inputs.trust["dip-nonprod"],
            inputs.crl_cache_dir,
            now=NOW,
            max_age=DAY,
            fetch=lambda url: crls[url.rsplit("/", 1)[-1]],
        )
        outcome = acceptance.run(
            inputs.declared,
            [(self.name, number)],
            inputs.certificates_dir,
            acceptance.evidence(inputs, {}),
            functools.partial(accepted_record.of, inputs),
        )
        assert outcome.refused == ()
        outcome.accepted[(self.name, number)].save()

    def _deploy(self, number: int) -> None:
        with self.openbao.client("operator") as client:
            export = f"{TLS_MOUNT}/export/signing-key/{self.name}/{number}"
            key = (client.read(export) or {})["keys"][str(number)]
        release = self.root / self.name / "releases" / f"v{number}-{number:016x}"
        files.write(str(release / "key.pem"), key.encode(), files.PRIVATE)
        certificate = self.read(number, "certificate.pem")
        files.write(str(release / "certificate.pem"), certificate, files.PUBLIC)

    def serve(self, version: int) -> None:
        """As the gateway's transaction switches."""
        (release,) = (self.root / self.name / "releases").glob(f"v{version}-*")
        files.link(str(self.root / self.name / "current"), f"releases/{release.name}")

    def releases(self) -> dict[str, bytes]:
        folder = self.root / self.name / "releases"
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in found}

    def serial(self, version: int) -> str:
        leaf = x509.load_pem_x509_certificate(self.read(version, "certificate.pem"))
        return f"{leaf.serial_number:x}"

    def key(self) -> dict[str, Any]:
        with self.openbao.client("operator") as client:
            return client.read(f"{TLS_MOUNT}/keys/{self.name}") or {}

    def bring_back(self) -> None:
        """As an operator does with a version that was withdrawn."""
        bounds = {"min_decryption_version": 1, "min_encryption_version": 0}
        with self.openbao.client("operator") as client:
            client.write(f"{TLS_MOUNT}/keys/{self.name}/config", bounds)

    def record(self, version: int, name: str = "retired.yml") -> dict[str, Any]:
        return dict(yaml.safe_load(self.read(version, name)))

    def retire(self, *arguments: str, code: int = 0, **extra: str) -> Ran:
        return self.play("retire", *arguments, code=code, certificate=self.name, **extra)


@pytest.fixture(scope="module")
def site() -> Iterator[controller_world.Web]:
    with controller_world.web() as web:
        yield web


@pytest.fixture(scope="module")
def desk(
    tmp_path_factory: pytest.TempPathFactory, openbao: OpenBao, site: controller_world.Web
) -> HostDesk:
    """Two versions, the newer one in service. The tests stand in the order of its life."""
    made = HostDesk(tmp_path_factory.mktemp("retire"), openbao, site)
    made.two_versions()
    return made


def flat(run: Ran) -> str:
    """What was printed, wherever lines were folded."""
    return " ".join(run.output.split())


def denied(call: Callable[[], object]) -> PkiError:
    with pytest.raises(PkiError) as caught:
        call()
    return caught.value


def test_nothing_is_retired_while_the_old_version_is_in_service(desk: HostDesk) -> None:
    desk.serve(1)
    before = (desk.files(), desk.releases(), desk.key())
    refused = desk.retire(code=2)
    assert "an old version is still in service" in flat(refused), refused.output
    assert (desk.files(), desk.releases(), desk.key()) == before
    desk.serve(2)


def test_a_check_says_what_would_be_done_and_does_nothing(desk: HostDesk) -> None:
    before = (desk.files(), desk.releases(), desk.key())
    told = desk.retire("--check", "--diff")
    assert told.changed == 3  # the key, the host, the record
    assert "versions below 2 neither sign nor are released any more" in flat(told), told.output
    assert "are removed with their keys" in flat(told), told.output
    assert "superseded_by: 2" in flat(told), told.output
    assert (desk.files(), desk.releases(), desk.key()) == before


def test_the_old_version_ends_and_the_one_in_service_does_not_notice(desk: HostDesk) -> None:
    live = {name: content for name, content in desk.releases().items() if name.startswith("v2-")}
    kept = desk.files()
    done = desk.retire(reason="v2 is in service", by="Ada")
    assert done.changed == 3
    assert f"have serial {desk.serial(1)} revoked as superseded" in flat(done), done.output

    # The host has the live release, bit by bit, and nothing else.
    assert desk.releases() == live
    # The archived version neither signs nor is exported; the live one does both.
    with desk.openbao.client("pipeline") as client:
        store = TransitStore(client, TLS_MOUNT, "rsa-2048", exportable=True)
        assert denied(lambda: store.signing_key(desk.name, 1)).rule == "KEY-VERSION"
        body = {"input": "aGVsbG8=", "key_version": 1, "signature_algorithm": "pkcs1v15"}
        path = f"{TLS_MOUNT}/sign/{desk.name}/sha2-256"
        denied(lambda: client.write(path, body))
        assert client.write(path, {**body, "key_version": 2})["signature"]
    with desk.openbao.client("release") as client:
        export = f"{TLS_MOUNT}/export/signing-key/{desk.name}"
        denied(lambda: client.wrap(f"{export}/1", 60))
        assert client.wrap(f"{export}/2", 60).token
    # The record, and the text for the portal.
    assert desk.record(1) == {
        "schema": 1,
        "certificate": desk.name,
        "version": 1,
        "date": desk.record(1)["date"],
        "reason": "v2 is in service",
        "key": "withdrawn",
        "superseded_by": 2,
        "by": "Ada",
    }
    text = desk.read(1, "revocation.txt").decode()
    assert desk.serial(1) in text
    assert "certificate superseded (CRL reason code 4)" in text
    assert "Sign in as a Certificate Admin of" in text
    new = {f"{desk.name}/1/{name}" for name in ("retired.yml", "revocation.txt")}
    assert set(desk.files()) - set(kept) == new
    assert desk.files().items() >= kept.items()


def test_a_second_run_changes_nothing(desk: HostDesk) -> None:
    before = (desk.files(), desk.releases(), desk.key())
    assert desk.retire(reason="said differently").changed == 0
    assert (desk.files(), desk.releases(), desk.key()) == before


@pytest.mark.parametrize("left", [("text", "record", "key file"), ("store", "record")])
def test_a_run_that_was_killed_anywhere_is_finished_by_the_next(
    desk: HostDesk, left: tuple[str, ...]
) -> None:
    """States as they are left between two steps, or within one."""
    version = desk.base / "certificates" / desk.name / "1"
    whole = desk.read(1, "revocation.txt")
    for name in ("text", "record"):
        if name in left:
            (version / {"text": "revocation.txt", "record": "retired.yml"}[name]).unlink()
    if "store" in left:
        desk.bring_back()
    if "key file" in left:
        old = desk.root / desk.name / "releases" / "v1-0123456789abcdef"
        files.write(str(old / "chain.pem"), b"left")
    assert desk.retire().changed > 0
    assert desk.record(1)["key"] == "withdrawn"
    assert desk.read(1, "revocation.txt") == whole
    assert desk.key()["min_decryption_version"] == 2
    assert all(name.startswith("v2-") for name in desk.releases())


def test_nothing_secret_is_printed_however_loud_a_run_is_and_however_it_ends(
    desk: HostDesk,
) -> None:
    scanner = Scanner()
    for role in ("pipeline", "release", "retire"):
        for part in ("role_id", "secret_id"):
            secret = (desk.openbao.directory / f"{role}.{part}").read_text().strip()
            scanner.add_text(f"{role} {part}", secret)
    (release,) = (desk.root / desk.name / "releases").glob("v2-*")
    scanner.add_key("live key", (release / "key.pem").read_bytes())
    login = desk.base / "another_login.yml"
    login.write_text(yaml.safe_dump({"retire_vault": desk.openbao.options("pipeline")}))
    desk.bring_back()
    loud = ("-vvvv", "--diff")
    runs = [
        desk.retire(*loud, "-e", f"@{login}", code=2),
        desk.retire(*loud),
        desk.retire(*loud, code=2, reason="two" + chr(10) + "lines"),
    ]
    assert "VAULT-DENIED" in flat(runs[0])
    assert "neither sign nor are released" in flat(runs[1])
    assert "is not one line of text" in flat(runs[2])
    found = scanner.scan_text("".join(run.output for run in runs))
    assert not found, explain(found)


def test_a_key_is_not_destroyed_before_the_overlap_is_over(desk: HostDesk) -> None:
    before = (desk.files(), desk.key())
    refused = desk.retire(code=2, destroy="true")
    assert "the overlap is not over" in flat(refused), refused.output
    assert (desk.files(), desk.key()) == before


def test_a_destroyed_version_is_gone_and_the_live_one_still_signs(desk: HostDesk) -> None:
    why = {"destroy": "true", "early": "the auditor asks for it"}
    assert "destroyed for good" in desk.retire("--check", **why).output
    assert desk.key().get("min_available_version", 0) < 2
    assert desk.retire(**why).changed == 2  # the key, the record
    key = desk.key()
    assert key["min_available_version"] == 2
    assert sorted(key["keys"]) == ["2"]
    assert desk.record(1)["key"] == "destroyed"
    assert desk.retire(**why).changed == 0
    # An operator cannot bring it back, whatever he sets.
    with desk.openbao.client("operator") as client:
        config = f"{TLS_MOUNT}/keys/{desk.name}/config"
        denied(lambda: client.write(config, {"min_decryption_version": 1}))


def test_the_pipelines_login_may_not_retire(desk: HostDesk) -> None:
    with desk.openbao.client("pipeline") as client:
        config = f"{TLS_MOUNT}/keys/{desk.name}/config"
        error = denied(lambda: client.write(config, {"min_decryption_version": 2}))
        assert error.rule == "VAULT-DENIED"
