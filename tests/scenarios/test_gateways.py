# SPDX-License-Identifier: GPL-3.0-or-later
"""One model, two products, on hosts that boot: deployed, renewed, rebooted, rolled back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from scenarios.calls import PORT, call, served_serial
from scenarios.faults_power import until
from scenarios.scenario import Done, Scenario

SITE = "playbooks/site.yml"
# The canary first: the order of the inventory.
CANARY, SECOND = "gateway-haproxy", "gateway-nginx"
# host, gateway, port of its ingress
GATEWAYS = (
    (CANARY, "dip-haproxy", PORT),
    (CANARY, "dip-beside", 8444),
    (SECOND, "dip-nginx", PORT),
)
STATE = "/var/lib/logrotate/status"
DROP_INS = "/etc/systemd/system/logrotate.service.d"


@dataclass(frozen=True)
class Hosts:
    """The two gateway hosts, and the far end's, from which they are called."""

    scenario: Scenario

    def on(self, name: str) -> Any:
        return self.scenario.host(name)

    def address(self, name: str) -> str:
        return str(self.scenario.addresses["hosts"][name])

    def play(self, path: str, *options: str, **variables: object) -> Done:
        extra = ("-e", json.dumps(variables)) if variables else ()
        return self.scenario.playbook(path, *options, *extra)

    def status(self, name: str, port: int) -> int:
        return call(self.on("dip"), self.address(name), port=port).status

    def access_log(self, host: str, gateway: str) -> list[str]:
        log = f"/etc/pki/gateway/{gateway}/log/access.log"
        return list(self.on(host).check_output(f"cat {log}").splitlines())

    def serials(self) -> dict[str, str]:
        """What each gateway serves now, by its name."""
        dip = self.on("dip")
        return {
            gateway: served_serial(dip, self.address(host), port)
            for host, gateway, port in GATEWAYS
        }

    def require_all_serve(self) -> None:
        for host, gateway, port in GATEWAYS:
            until(lambda h=host, p=port: self.status(h, p) == 200, f"{gateway} answers", 60)


def changed(done: Done, host: str) -> int:
    recap = re.search(rf"^{host}\s+:.*\bchanged=(\d+)\b", done.output, re.MULTILINE)
    assert recap, done.output[-4000:]
    return int(recap.group(1))


@pytest.fixture(scope="module")
def virgin() -> Iterator[Scenario]:
    scenario = Scenario("gateways")
    scenario.molecule("destroy").succeeded()
    scenario.molecule("create").succeeded()
    scenario.molecule("prepare").succeeded()
    yield scenario
    scenario.molecule("destroy").succeeded()


@pytest.fixture(scope="module")
def deployed(virgin: Scenario) -> Hosts:
    hosts = Hosts(virgin)
    hosts.play(SITE).succeeded()
    hosts.play("molecule/shared/sign.yml").succeeded()
    hosts.play(SITE).succeeded()
    return hosts


def test_every_gateway_is_as_promised_whatever_its_product(deployed: Hosts) -> None:
    deployed.scenario.molecule("verify").succeeded()


def test_a_second_run_changes_nothing(deployed: Hosts) -> None:
    again = deployed.play(SITE).succeeded()
    assert [changed(again, host) for host in (CANARY, SECOND, "localhost")] == [0, 0, 0]


# -- logs -----------------------------------------------------------------------------------


def rotate(host: Any, name: str) -> Any:
    """A night later: logrotate as its own service runs it."""
    logs = "".join(
        f'"/etc/pki/gateway/{name}/log/{log}.log" 2001-1-1-0:0:0\\n' for log in ("access", "error")
    )
    host.run_expect([0], f"printf 'logrotate state -- version 2\\n{logs}' >{STATE}")
    return host.run("systemctl start logrotate.service")


@pytest.mark.parametrize(("host", "name", "port"), GATEWAYS)
def test_logs_are_rotated_by_the_hosts_own_service_and_written_on(
    deployed: Hosts, host: str, name: str, port: int
) -> None:
    on, access = deployed.on(host), f"/etc/pki/gateway/{name}/log/access.log"
    assert deployed.status(host, port) == 200
    before = on.check_output(f"cat {access}").splitlines()
    main = on.check_output(f"systemctl show -P MainPID pki-gateway-{name}.service")

    assert rotate(on, name).rc == 0

    assert on.check_output(f"cat {access}.1").splitlines()[: len(before)] == before
    assert deployed.status(host, port) == 200
    until(lambda: '"status":"200"' in on.check_output(f"cat {access}"), "a new line", 10)
    # Whoever kept the file open at its old place would leave a hole before the line.
    assert all(json.loads(line) for line in on.check_output(f"cat {access}").splitlines())
    assert on.check_output(f"systemctl show -P MainPID pki-gateway-{name}.service") == main


def test_without_leave_to_write_there_the_hosts_own_service_fails(deployed: Hosts) -> None:
    """What the drop-in is for."""
    on = deployed.on(SECOND)
    on.run_expect([0], f"mv {DROP_INS} /root/drop-ins && systemctl daemon-reload")
    failed = rotate(on, "dip-nginx")
    on.run_expect([0], f"mv /root/drop-ins {DROP_INS} && systemctl daemon-reload")
    on.run_expect([0], "systemctl reset-failed logrotate.service")
    assert failed.rc != 0


def test_the_policy_is_content_with_how_long_logs_stay(deployed: Hosts) -> None:
    deployed.play("playbooks/verify.yml", verify_level="must")
    result = json.loads((deployed.scenario.lab.home / "verify/result.json").read_text())
    judged = {
        one["object"]: one["outcome"]
        for one in result["verdicts"]
        if one["rule"] == "DIP-2.3-LOG-RETENTION"
    }
    assert judged == {CANARY: "passed", SECOND: "passed"}
    of_gateways = {
        one["object"]: one["outcome"]
        for one in result["verdicts"]
        if one["kind"] == "gateway" and one["outcome"] != "passed"
    }
    assert of_gateways == {}


# -- renewal: the canary, the others, and back --------------------------------------------------

# The running gateway does not notice; its program refuses every configuration.
BROKEN = """mv /usr/sbin/haproxy /usr/sbin/haproxy.whole && cat >/usr/sbin/haproxy <<'X'
#!/bin/sh
case " $* " in *" -c "*) echo "[ALERT] refused for the test"; exit 1 ;; esac
exec /usr/sbin/haproxy.whole "$@"
X
chmod 755 /usr/sbin/haproxy"""
MENDED = "mv /usr/sbin/haproxy.whole /usr/sbin/haproxy"


@dataclass(frozen=True)
class Stopped:
    """A delivery that the canary did not take."""

    done: Done
    before: dict[str, str]
    after: dict[str, str]


@pytest.fixture(scope="module")
def stopped(deployed: Hosts) -> Stopped:
    before = deployed.serials()
    asked = {"certificate": "dip-nonprod", "reason": "The yearly exchange", "by": "A. Admin"}
    deployed.play("playbooks/renew.yml", **asked).succeeded()
    deployed.play("molecule/shared/sign.yml").succeeded()
    deployed.on(CANARY).run_expect([0], BROKEN)
    done = deployed.play(SITE)
    deployed.on(CANARY).run_expect([0], MENDED)
    return Stopped(done, before, deployed.serials())


def test_what_the_canary_refuses_reaches_no_other_host(deployed: Hosts, stopped: Stopped) -> None:
    assert stopped.done.returncode != 0
    assert "refused for the test" in stopped.done.output
    assert f"{SECOND}: left as it is, not tried since {CANARY} failed" in stopped.done.output
    assert stopped.after == stopped.before
    assert all(stopped.before.values())
    deployed.require_all_serve()


@pytest.fixture(scope="module")
def renewed(deployed: Hosts, stopped: Stopped) -> dict[str, str]:
    deployed.play(SITE).succeeded()
    return deployed.serials()


def test_the_next_run_renews_every_gateway(
    deployed: Hosts, stopped: Stopped, renewed: dict[str, str]
) -> None:
    assert len(set(renewed.values())) == 1
    assert not set(renewed.values()) & set(stopped.before.values())
    deployed.require_all_serve()


@pytest.fixture(scope="module")
def rebooted(deployed: Hosts, renewed: dict[str, str]) -> dict[str, str]:
    logged = {gateway: deployed.access_log(host, gateway) for host, gateway, _ in GATEWAYS}
    for host in (CANARY, SECOND):
        container = deployed.scenario.container(host)
        deployed.scenario.podman("kill", "--signal", "KILL", container).succeeded()
        deployed.scenario.podman("start", container).succeeded()
    deployed.require_all_serve()
    for host, gateway, _ in GATEWAYS:
        now = deployed.access_log(host, gateway)
        assert now[: len(logged[gateway])] == logged[gateway], "the log was written over"
        assert len(now) > len(logged[gateway])
    return deployed.serials()


def test_after_a_power_cut_every_gateway_comes_up_by_itself(
    renewed: dict[str, str], rebooted: dict[str, str]
) -> None:
    assert rebooted == renewed


@pytest.mark.parametrize("host", [CANARY, SECOND])
def test_one_command_puts_the_certificate_before_back_into_service(
    deployed: Hosts, stopped: Stopped, rebooted: dict[str, str], host: str
) -> None:
    untouched = {one: deployed.serials()[one] for at, one, _ in GATEWAYS if at != host}
    deployed.play("playbooks/rollback.yml", "-l", host, reason="The new one is refused").succeeded()
    now = deployed.serials()
    for at, gateway, _ in GATEWAYS:
        expected = stopped.before[gateway] if at == host else untouched[gateway]
        assert now[gateway] == expected, gateway
    deployed.require_all_serve()
