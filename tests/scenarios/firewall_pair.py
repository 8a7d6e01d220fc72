# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway host that is reached over ssh, and a stranger: what confirm-or-rollback is tried on.

Over podman's own connection no rule can cut off the operator, so these hosts are not molecule's.
"""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from scenarios.scenario import Done, Scenario

# Long enough for a busy machine to log in again; where a roll-back is awaited, a test says less.
SECONDS, SOON = 60, 10
WEBHOOK, EGRESS, UPSTREAM, UNDECLARED = 443, 8443, 9443, 9999
# Connects, and says by its exit code whether somebody was there.
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"


class Pair:
    """Two hosts in a network of their own; the inventory is a dictionary a test may change."""

    def __init__(self) -> None:
        self.scenario = Scenario("firewall")
        self.state = self.scenario.state
        self.network = self.scenario.prefix

    def create(self) -> None:
        self.destroy()
        self.scenario.podman("network", "create", self.network).succeeded()
        (net,) = json.loads(self.scenario.podman("network", "inspect", self.network).output)
        subnet = ipaddress.ip_network(net["subnets"][0]["subnet"])
        self.controller, self.gateway, self.client = (str(subnet[at]) for at in (1, 10, 11))
        for name, address in (("gateway", self.gateway), ("client", self.client)):
            self._start(name, address)
        for name in ("gateway", "client"):
            wait(lambda name=name: self.on(name, "systemctl is-system-running").output.strip()
                 in ("running", "degraded"))  # fmt: skip
        self._let_in()
        self._write_inventory()

    def _start(self, name: str, address: str) -> None:
        environment = self.scenario.environment
        self.scenario.podman(
            "run", "-d", "--name", self.scenario.container(name), "--hostname", name,
            "--label", f"mtls-certificates={environment['MOLECULE_STAGE']}",
            "--systemd=always", "--stop-signal", "37", "--cap-add", "NET_ADMIN,SYS_ADMIN",
            # A machine keeps its card; a new one at each start would look dead to its neighbours.
            "--network", self.network, "--ip", address,
            "--mac-address", f"02:00:00:00:00:{int(address.rpartition('.')[2]):02x}",
            environment["MOLECULE_IMAGE"], "/sbin/init",
        ).succeeded()  # fmt: skip

    def _let_in(self) -> None:
        key = self.state / "operator"
        key.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        public = key.with_suffix(".pub").read_text().strip()
        self.on(
            "gateway",
            "ssh-keygen -A && install -d -m 700 /root/.ssh && "
            f"echo '{public}' > /root/.ssh/authorized_keys && systemctl enable --now ssh",
        ).succeeded()

    def _write_inventory(self) -> None:
        options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        variables = {
            "ansible_host": self.gateway,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.state / "operator"),
            "ansible_ssh_common_args": options,
            "ansible_python_interpreter": "/usr/bin/python3",
            "gateways": [self._gateway()],
            "firewall_operators": [self.controller],
            "firewall_ingress_from": {"default": [self.client]},
            "firewall_names": {"api.example": [self.client]},
            "firewall_confirm_seconds": SECONDS,
            "firewall_egress_users": ["www-data"],
        }
        hosts = {"gateways": {"hosts": {"gateway": variables}}}
        self.inventory.write_text(yaml.safe_dump({"all": {"children": hosts}}))

    @staticmethod
    def _gateway() -> dict[str, Any]:
        return {
            "name": "dip",
            "hosts": "gateways",
            "ingress": [
                {
                    "name": "webhook",
                    "listen": f"0.0.0.0:{WEBHOOK}",
                    "upstream": "http://127.0.0.1:80",
                }
            ],
            "egress": [
                {
                    "name": "api",
                    "listen": f"127.0.0.1:{EGRESS}",
                    "upstream": {"host": "api", "address": "api.example", "port": UPSTREAM},
                }
            ],
        }

    @property
    def inventory(self) -> Path:
        return self.state / "pair.yml"

    def destroy(self) -> None:
        for name in ("gateway", "client"):
            self.scenario.podman("rm", "-f", "-t", "0", self.scenario.container(name))
        self.scenario.podman("network", "rm", "-f", self.network)

    # -- acting --------------------------------------------------------------------

    def play(self, *arguments: str, **variables: Any) -> Done:
        """The playbook as an operator runs it, over ssh."""
        return self._ansible("ansible-playbook", "playbooks/firewall.yml", *arguments,
                             "-e", json.dumps(variables))  # fmt: skip

    def apply_and_die(self, rules: str, seconds: int = SOON) -> None:
        """What a run has done on the host when it is killed before it confirms."""
        words = {"rules": rules, "confirm_seconds": seconds}
        self._ansible("ansible", "gateway", "-m", "pki_firewall", "-a",
                      json.dumps(words)).succeeded()  # fmt: skip

    def _ansible(self, program: str, *arguments: str) -> Done:
        return self.scenario.inside(
            program, "-i", str(self.inventory), *arguments, environment=self.scenario.settings
        )

    def on(self, name: str, script: str) -> Done:
        """A shell command on a host, past every packet filter."""
        return self.scenario.podman("exec", self.scenario.container(name), "sh", "-c", script)

    def cut_power(self) -> None:
        container = self.scenario.container("gateway")
        self.scenario.podman("kill", container).succeeded()
        self.scenario.podman("start", container).succeeded()
        wait(lambda: self.on("gateway", "systemctl is-system-running").output.strip()
             in ("running", "degraded"))  # fmt: skip

    def make_virgin(self) -> None:
        self.on(
            "gateway",
            "systemctl disable --now pki-firewall; systemctl stop pki-firewall-rollback.timer; "
            "nft delete table inet pki; "
            "rm -rf /etc/pki /run/pki-firewall /etc/systemd/system/pki-firewall.service; "
            "systemctl daemon-reload",
        )

    # -- looking -------------------------------------------------------------------

    def table(self) -> str:
        """Our table on the gateway, or an empty text."""
        done = self.on("gateway", "nft -s list table inet pki")
        return done.output if done.returncode == 0 else ""

    def declared(self) -> str:
        """The rules as they are kept for the next boot."""
        return self.on("gateway", "cat /etc/pki/firewall/rules.nft").succeeded().output

    def is_armed(self) -> bool:
        return self.on("gateway", "test -e /run/pki-firewall/armed.json").returncode == 0

    def files(self) -> str:
        """Everything of the host that stays, with digests."""
        script = (
            # Not there yet is no complaint: what find says of it comes at any point of the output.
            "places=$(ls -d /etc /usr/local /run/pki-firewall 2>/dev/null); "
            "{ find $places -type f -exec sha256sum {} +; "
            "find /etc/systemd -type l -printf '%p %l\\n'; } | sort"
        )
        return self.on("gateway", script).output

    def reaches(self, name: str, address: str, port: int, user: str = "root") -> bool:
        command = f'setpriv --reuid {user} --clear-groups python3 -c "{CONNECT}" {address} {port}'
        return self.on(name, command).returncode == 0

    def listen(self, name: str, port: int) -> None:
        unit = f"listener-{port}"
        self.on(name, f"systemctl is-active {unit} || systemd-run --collect --unit {unit} "
                f"python3 -m http.server {port}").succeeded()  # fmt: skip
        wait(lambda: self.reaches(name, "127.0.0.1", port))


def changed(done: Done) -> int:
    """How many tasks changed the gateway, as Ansible's recap says."""
    found = re.search(r"^gateway +: .*changed=(\d+)", done.output, re.MULTILINE)
    assert found, done.output[-5000:]
    return int(found[1])


def wait(condition: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.3)
