# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that lose power while a gateway's transaction is held at a known point.

The product has no hooks for this. What holds it is outside: a slow configuration test, by a
mount over the gateway's program, and a packet filter rule of the test's own that swallows the
probe. Both are gone after the power cut, as everything in memory is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scenarios.faults_controller import ControllerRun
from scenarios.scenario import Scenario

_SECONDS = 240
_PROGRAM = "/usr/sbin/nginx"
_HELD = "/usr/local/sbin/held-nginx"
_ORIGINAL = "/usr/local/sbin/original-nginx"

_HOLD_TEST = f"""
cp {_PROGRAM} {_ORIGINAL}
cat > {_HELD} <<'END'
#!/bin/sh
case " $* " in *" -t "*) touch /run/test-is-held; sleep 600 ;; esac
exec {_ORIGINAL} "$@"
END
chmod 0755 {_HELD}
mount --bind {_HELD} {_PROGRAM}
"""
_HOLD_PROBE = """
nft -f - <<'END'
table inet held {
  chain input {
    type filter hook input priority -300;
    iif "lo" tcp dport 8443 counter drop
  }
}
END
"""


@dataclass(frozen=True)
class Hold:
    """How a transaction is held: set up by ``script``; ``reached`` is a command that succeeds
    as soon as it is held."""

    script: str
    reached: str


# The links are switched and the configuration is written; nothing was reloaded.
BEFORE_THE_RELOAD = Hold(_HOLD_TEST, "test -e /run/test-is-held")
# New workers serve the new release; nobody has looked at it, nothing was recorded.
BEFORE_THE_PROBE = Hold(_HOLD_PROBE, "nft list table inet held | grep -q 'packets [1-9]'")


@dataclass(frozen=True)
class Power:
    """Hosts of a scenario that can be cut off and started again; their addresses stay."""

    scenario: Scenario

    def hold(self, host: str, hold: Hold) -> None:
        self.scenario.host(host).run_expect([0], hold.script)

    def cut_when_held(self, holds: dict[str, Hold], run: ControllerRun) -> None:
        """kill -9 for everything on each host, at the moment its transaction is held."""
        waiting = dict(holds)
        deadline = time.monotonic() + _SECONDS
        while waiting:
            assert time.monotonic() < deadline, f"never held: {', '.join(waiting)}"
            assert not run.over, run.output[-8000:]
            for name, hold in list(waiting.items()):
                if self.scenario.host(name).run(hold.reached).rc == 0:
                    container = self.scenario.container(name)
                    self.scenario.podman("kill", "--signal", "KILL", container).succeeded()
                    waiting.pop(name)
            time.sleep(0.05)

    def on(self, host: str) -> None:
        """Boot, and wait until systemd has started what it is to start."""
        self.scenario.podman("start", self.scenario.container(host)).succeeded()
        until(lambda: self._booted(self.scenario.host(host)), f"{host} has booted")
        self.scenario.host(host).run_expect([0], f"rm -f {_HELD} {_ORIGINAL}")

    @staticmethod
    def _booted(host: Any) -> bool:
        state = host.run("systemctl is-system-running --wait").stdout.strip()
        return state in ("running", "degraded")


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait for a condition; the test fails when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)
