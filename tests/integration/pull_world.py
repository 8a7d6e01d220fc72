# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts with certificates of their own and one that both share, all fetched by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_der_public_key
from integration.host_identities import Hosts
from integration.openbao_server import OpenBao
from integration.release_world import DAY, NOW, Ran, ReleaseWorld
from pki import keystores, public_state, request_stage, session
from pki.inventory import Certificate
from unit import pki_factory

OWN, SHARED = "pull-own", "pull-shared"
HOSTS = ("gw1", "gw2")


class PullWorld(ReleaseWorld):
    """``auth`` is each host's login; ``root(host)`` its release root."""

    def __init__(self, base: Path, openbao: OpenBao, delivery: str = "pull") -> None:
        self.base, self.openbao, self.delivery = base, openbao, delivery
        self.name = OWN
        self.root = pki_factory.authority("Pull Root", start=NOW - DAY, end=NOW + 900 * DAY)
        self.issuing = self.root.authority("Pull Issuing", start=NOW - DAY, end=NOW + 800 * DAY)
        self.inputs = session.load(self.parameters())
        self.actions: list[dict[str, Any]] = []
        self.leaves: dict[str, bytes] = {}
        for certificate in self.inputs.declared.certificates.values():
            self._certify(certificate)
        self._crls()
        (base / "identities").mkdir()
        self.hosts = Hosts(openbao, base / "identities")
        self.auth = {host: self.hosts.approle(host, self.mapping(host)) for host in HOSTS}

    def mapping(self, host: str) -> dict[str, str]:
        """The metadata of a host's entity: its own key and the shared one."""
        return {"mtls_key_nonprod_1": f"{OWN}_{host}", "mtls_key_nonprod_2": SHARED}

    def parameters(self) -> dict[str, Any]:
        raw = super().parameters()
        (entry,) = raw["certificates"]
        key = {"store": "transit", "delivery": self.delivery}
        own = {**entry, "name": OWN, "key": key, "per_host": True}
        shared = {**entry, "name": SHARED, "key": key, "domain": "shared.example-energy.co.uk"}
        return {**raw, "certificates": [own, shared], "groups": {"gateways": list(HOSTS)}}

    def _certify(self, certificate: Certificate) -> None:
        """Key, request and reply of a first version."""
        rules = self.inputs.policies["mhhs-dip"]
        with self.openbao.client("pipeline") as client:
            store = keystores.Stores(client, self.inputs.policies).of(certificate)
            record = store.ensure(certificate.key_name, 1)
            written = request_stage.build(
                certificate, rules, store, record, 1, self.base / "certificates"
            )
        public_state.write(written.directory, written.contents)
        leaf = self.issuing.leaf(
            certificate.common_name,
            public=load_der_public_key(record.versions[1].spki_der),
            start=NOW - DAY / 24,
            end=NOW + 397 * DAY,
        )
        reply = pki_factory.pem(leaf) + self.issuing.pem
        public_state.write(written.directory, {"reply.pem": reply})
        self.leaves[certificate.name] = pki_factory.pem(leaf)

    # -- one run -----------------------------------------------------------------------

    def root_of(self, host: str) -> Path:
        return self.base / "roots" / host

    def key_files(self, host: str) -> dict[str, Path]:
        """A host's keys, by certificate."""
        return {
            entry: path
            for entry in (OWN, SHARED)
            for path in (self.root_of(host) / entry).glob("releases/*/key.pem")
        }

    def run(
        self,
        *arguments: str,
        auth: dict[str, dict[str, str]] | None = None,
        changes: dict[str, Any] | None = None,
        **options: Any,
    ) -> Ran:
        """The release role on both hosts, each with its own root and login."""
        actions = [
            {"kind": "deploy", "certificate": f"{OWN}/{host}", "version": 1, "hosts": host}
            for host in HOSTS
        ]
        actions.append({"kind": "deploy", "certificate": SHARED, "version": 1, "hosts": "gateways"})
        logins = self.auth if auth is None else auth
        own = {
            host: {
                "release_root": str(self.root_of(host)),
                **({"release_host_auth": logins[host]} if host in logins else {}),
            }
            for host in HOSTS
        }
        values = {"release_actions": actions, **(changes or {})}
        return self.ansible(own, values, *arguments, **options)

    def values(self) -> dict[str, Any]:
        # The root is each host's own; the groups are those of the run.
        return {k: v for k, v in super().values().items() if k not in ("release_root", "groups")}
