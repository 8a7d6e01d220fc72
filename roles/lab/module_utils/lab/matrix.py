# SPDX-License-Identifier: GPL-3.0-or-later
"""From a running lab's files to the matrix: gather, prove, see that nothing was touched."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.pki import probe
from ansible.module_utils.pki.errors import PkiError
from ansible.module_utils.pki.vault import Client, Settings
from ansible.module_utils.pki_host.gateways.base import Adapter
from cryptography import x509

from . import material, proof, scratch
from .rehearsal import Edit, Stage, dn, rehearse, unchanged

# row id -> (port of our listener, port of the far end, whose certificate the far end shows)
WAYS = {
    "egress-good": ("egress", "dip", "dip-server"),
    "egress-wrong-name": ("egress_wrong_name", "dip_wrong_name", "dip-wrong-name"),
    "egress-revoked": ("egress_revoked", "dip_revoked", "dip-revoked"),
    "egress-expired": ("egress_expired", "dip_expired", "dip-expired"),
}
FAR_END_NAME = "api.nonprod.dip.example"


@dataclass(frozen=True, slots=True)
class Lab:
    """A running lab, as its own record describes it.

    Attributes:
        home: the lab's directory.
        ports: port numbers by name.
        program: the gateway's program.
        anchors_pem: the root, in PEM.
        issuers: names (RFC 2253) of the issuing CAs the product may accept.
        vault: how to reach Vault as the CA's own role.
    """

    home: Path
    ports: Mapping[str, int]
    program: str
    anchors_pem: str
    issuers: tuple[str, ...]
    vault: Mapping[str, str]

    @property
    def scratch(self) -> Path:
        return self.home / "scratch"

    @property
    def far_end_log(self) -> Path:
        return self.home / "log" / "farend-access.log"

    def peer(self, name: str) -> probe.ClientIdentity:
        folder = self.home / "peers" / name
        return probe.ClientIdentity(str(folder / "fullchain.pem"), str(folder / "key.pem"))


def load(home: Path) -> Lab:
    """Read the lab's record. Raises PkiError when there is no lab."""
    try:
        record: dict[str, Any] = json.loads((home / "lab.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise PkiError(
            "there is no lab to prove anything in",
            rule="LAB-ABSENT",
            found=type(exc).__name__,
            expected="the record that a started lab writes",
            where=str(home / "lab.json"),
            next_step="run playbooks/lab.yml -t up first",
        ) from None
    secrets = home / "secrets"
    return Lab(
        home=home,
        ports=record["ports"],
        program=record["programs"]["nginx"],
        anchors_pem=_pem(home, record["trust"]["anchors"]),
        issuers=tuple(
            dn(x509.load_pem_x509_certificate(_pem(home, [one]).encode()))
            for one in record["trust"]["issuers"]
        ),
        vault={
            "address": record["vault"]["address"],
            "ca_cert": record["vault"]["ca_cert"],
            "auth_method": "approle",
            "role_id_file": str(secrets / "lab-ca.role_id"),
            "secret_id_file": str(secrets / "lab-ca.secret_id"),
        },
    )


def _pem(home: Path, ca_files: Iterable[Mapping[str, Any]]) -> str:
    return "".join((home / str(one["file"])).read_text(encoding="ascii") for one in ca_files)


def target(
    lab: Lab, name: str, server_name: str, own_serial: str, moved: Mapping[int, int] | None = None
) -> proof.Target:
    """The gateway to try; ``moved`` gives the ports of a copy instead of the deployed ones."""

    def port(of: str) -> int:
        return (moved or {}).get(lab.ports[of], lab.ports[of])

    def local(of: str, called: str) -> proof.Endpoint:
        return proof.Endpoint("127.0.0.1", port(of), called)

    return proof.Target(
        name=name,
        ingress=local("ingress", server_name),
        control=proof.Endpoint("127.0.0.1", lab.ports["control"], server_name),
        anchors_pem=lab.anchors_pem,
        own_serial=own_serial,
        peers={peer: lab.peer(peer) for peer in proof.PEERS},
        egress={
            row: proof.Egress(
                local(listener, FAR_END_NAME),
                proof.Endpoint("127.0.0.1", lab.ports[far_end], FAR_END_NAME),
                lab.far_end_log,
                proof.serial_of(lab.peer(peer).certificate_file),
            )
            for row, (listener, far_end, peer) in WAYS.items()
        },
    )


def rehearsal(
    lab: Lab, adapter: Adapter, deployed: scratch.Deployed, name: str, edit: Edit = unchanged
) -> Callable[[], tuple[proof.Rehearsal, ...]]:
    """The revoke-then-resume proof, ready to be run; ``edit`` breaks its copy on purpose."""

    def run() -> tuple[proof.Rehearsal, ...]:
        good = Path(lab.peer(proof.GOOD).certificate_file).read_bytes()
        client = x509.load_pem_x509_certificate(good)
        with Client(Settings.resolve(lab.vault, {})) as vault:
            return rehearse(
                Stage(
                    adapter=adapter,
                    program=lab.program,
                    deployed=deployed,
                    directory=lab.scratch / name,
                    anchors_pem=lab.anchors_pem,
                    issuers=lab.issuers,
                    common_name=material.common_name(client),
                    ingress_port=lab.ports["ingress"],
                    server_name=server_name(deployed),
                    distribution=f"http://127.0.0.1:{lab.ports['pki_http']}/v1",
                    vault=vault,
                    edit=edit,
                )
            )

    return run


def server_name(deployed: scratch.Deployed) -> str:
    """The name the gateway answers to."""
    return next(words[0] for words in deployed.values("server_name") if words[0] not in ("", "_"))


def run(
    lab: Lab,
    adapter: Adapter,
    name: str,
    gateway_root: Path,
    certificate_file: Path,
    watched: Mapping[str, Path],
) -> tuple[proof.Target, tuple[proof.Row, ...]]:
    """Prove the deployed gateway. Raises PkiError when proving it changed a watched directory."""
    deployed = scratch.read_deployed(gateway_root, adapter)
    scratch.sweep(adapter, lab.program, lab.scratch)
    before = scratch.digest(watched)
    gateway = target(lab, name, server_name(deployed), proof.serial_of(certificate_file))
    try:
        rows = proof.prove(gateway, rehearsal(lab, adapter, deployed, "revocation"))
    finally:
        scratch.sweep(adapter, lab.program, lab.scratch)
    touched = [which for which, old in before.items() if scratch.digest(watched)[which] != old]
    if touched:
        raise PkiError(
            "proving the gateway changed what is deployed",
            rule="LAB-TOUCHED",
            found="changed: " + ", ".join(touched),
            expected="the same files before and after",
            where=", ".join(str(watched[which]) for which in touched),
            next_step="run playbooks/site.yml, which repairs it, and report this fault",
        )
    return gateway, rows


def record(home: Path, gateway: proof.Target, rows: Iterable[proof.Row]) -> Path:
    """Write matrix.json by rename, so that a reader never sees half of it."""
    path = home / "matrix.json"
    fresh = home / f".matrix.json.{os.getpid()}"
    text = json.dumps(proof.document(gateway, rows, datetime.now(UTC)), indent=2) + "\n"
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
    return path
