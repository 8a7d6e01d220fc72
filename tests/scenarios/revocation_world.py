# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to the hosts of the scenario ``revocation``: revocations, clocks, a cut way."""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from scenarios.calls import PEERS, PORT, ROOT_CA, SERVER_NAME, call
from scenarios.faults_power import until
from scenarios.scenario import Done, Scenario

SITE = "playbooks/site.yml"
TRUST = "dip-nonprod"
CACHE = "/var/lib/pki-crl"
REFRESH, GUARD = "pki-crl-refresh", "pki-crl-guard"
# host: gateway
GATEWAYS = {"gateway-haproxy": "dip-haproxy", "gateway-nginx": "dip-nginx"}
CALLER = "/root/revocation_peer.py"
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


@dataclass(frozen=True)
class Hosts:
    """The gateway hosts, and the far end's, which publishes the CRLs and calls."""

    scenario: Scenario

    def on(self, name: str) -> Any:
        return self.scenario.host(name)

    def address(self, name: str) -> str:
        return str(self.scenario.addresses["hosts"][name])

    def play(self, path: str, *options: str, **variables: object) -> Done:
        extra = ("-e", json.dumps(variables)) if variables else ()
        return self.scenario.playbook(path, *options, *extra)

    def run(self, host: str, command: str) -> str:
        done = self.on(host).run(command)
        assert done.rc == 0, f"{host}: {command}: {done.stdout}{done.stderr}"
        return str(done.stdout)

    def read(self, host: str, path: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(host, f"cat {path}"))
        return found

    # -- who gets in --------------------------------------------------------------------------

    def accepted(self, host: str, peer: str = "dip-client") -> bool:
        return call(self.on("dip"), self.address(host), peer).status == 200

    def wait(self, accepted: bool, seconds: float, why: str) -> None:
        """Every gateway lets the good client in, or none does."""
        word = "lets a good client in" if accepted else "refuses everybody"
        for host in GATEWAYS:
            until(lambda h=host: self.accepted(h) is accepted, f"{host} {word}: {why}", seconds)

    def in_force(self, host: str, direction: str = "ingress") -> str:
        return self.run(host, f"readlink {CACHE}/{TRUST}/{direction}").strip()

    # -- the CA -------------------------------------------------------------------------------

    def write(self, path: str, **values: object) -> dict[str, Any]:
        with self.scenario.lab.client("lab-ca") as client:
            return client.write(path, values) or {}

    def publish_for_days(self) -> None:
        """Lists that outlast the tests' clocks; the lab's own last for a day."""
        for mount in ("pki-root", "pki-dca"):
            self.write(f"{mount}/config/crl", expiry="96h")
            self.publish(mount)

    def publish(self, mount: str) -> None:
        """Have the CA make its list anew."""
        with self.scenario.lab.client("lab-ca") as client:
            client.read(f"{mount}/crl/rotate")

    def revoke(self, serial: int) -> None:
        """The CA revokes a certificate, and its list says so from the moment this returns."""
        digits = f"{serial:x}"
        octets = bytes.fromhex(digits.zfill(len(digits) + len(digits) % 2))
        self.write("pki-dca/revoke", serial_number=octets.hex(":"))
        self.publish("pki-dca")

    def new_peer(self, name: str, scratch: Path) -> int:
        """Another client with the name that is let in, on the far end's host; its serial number."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, "energydip-nonprod.dip.example")]
        )
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        request = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
        made = self.write("pki-dca/sign/peer", csr=request, ttl="90d")
        chain = "\n".join([made["certificate"], made["issuing_ca"], ""])
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self.run("dip", f"mkdir -p {PEERS}/{name}")
        for file, text in (("fullchain.pem", chain), ("key.pem", secret)):
            (scratch / file).write_text(text)
            self.put("dip", scratch / file, f"{PEERS}/{name}/{file}")
        return x509.load_pem_x509_certificate(made["certificate"].encode()).serial_number

    def put(self, host: str, source: Path, target: str) -> None:
        container = self.scenario.container(host)
        self.scenario.podman("cp", str(source), f"{container}:{target}").succeeded()

    def call_until_refused(self, host: str, peer: str, seconds: int) -> None:
        """The peer calls this gateway in every way, in the background."""
        words = (self.address(host), str(PORT), SERVER_NAME, f"{PEERS}/{peer}", ROOT_CA)
        program = shlex.join(["python3", CALLER, *words, str(seconds)])
        out = f"/root/{host}.json"
        self.run("dip", f"nohup {program} >{out}.part 2>{out}.err </dev/null && : &")

    def calls(self, host: str) -> dict[str, Any]:
        """What came of it; empty as long as it goes on."""
        said = self.on("dip").run(f"cat /root/{host}.json.part").stdout.strip()
        return dict(json.loads(said)) if said else {}

    # -- what goes wrong ----------------------------------------------------------------------

    @contextlib.contextmanager
    def cdp_away(self) -> Iterator[None]:
        """Nobody reaches the CRLs; calls and the application go on. Packets vanish."""
        port = self.scenario.lab.port("pki_http")
        self.run(
            "dip",
            "nft 'add table inet cdp; add chain inet cdp in { type filter hook input priority 0; };"
            f" add rule inet cdp in iif != lo tcp dport {port} drop'",
        )
        try:
            yield
        finally:
            self.run("dip", "nft delete table inet cdp")

    def confirmed(self, host: str, seconds: float) -> None:
        """As if the CAs had last confirmed their lists so long ago, before the host was started."""
        at = datetime.fromtimestamp(time.time() - seconds, UTC)
        path = f"{CACHE}/{TRUST}/fetched.json"
        entries = self.read(host, path)
        for entry in entries.values():
            entry.update(fetched_at=at.strftime("%Y-%m-%dT%H:%M:%SZ"), boot="another boot")
        text = shlex.quote(json.dumps(entries))
        self.run(host, f"printf %s {text} >{path}.test && mv {path}.test {path}")

    def clock(self, host: str, ahead: int, *units: str) -> None:
        """Move all clocks of these services; 0 takes it back. No other process notices.

        Also those that count since the boot: with a true one beside a moved one Python cannot sleep
        under libfaketime.
        """
        for unit in units:
            drop_in = f"/run/systemd/system/{unit}.service.d"
            if not ahead:
                self.run(host, f"rm -rf {drop_in}")
                continue
            lines = [
                "[Service]",
                f"Environment=LD_PRELOAD={FAKETIME} FAKETIME=+{ahead}s",
                "Environment=FAKETIME_DISABLE_SHM=1 NO_FAKE_STAT=1",
            ]
            text = "\\n".join(lines)
            self.run(host, f"mkdir -p {drop_in} && printf '{text}\\n' >{drop_in}/clock.conf")
        self.run(host, "systemctl daemon-reload")

    def clocks(self, ahead: int, *units: str) -> None:
        for host in GATEWAYS:
            self.clock(host, ahead, *units)
