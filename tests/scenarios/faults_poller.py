# SPDX-License-Identifier: GPL-3.0-or-later
"""The right client, calling both gateways all the time from its own host.

Every request is a connection of its own, so each one meets whatever the gateway is doing.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

from scenarios import world
from scenarios.calls import PORT, SERVER_NAME
from scenarios.scenario import Scenario
from scenarios.steps import GATEWAYS

_PAUSE = 0.1

# Runs on the client host with its Python, until its input is closed.
_PROGRAM = """
import json, socket, ssl, sys, threading, time
name, port, pause, ca, chain, key, *addresses = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.load_cert_chain(chain, key)
request = ("GET / HTTP/1.1\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n" % name).encode()
over, seen = threading.Event(), {one: {"asked": 0, "failed": []} for one in addresses}

def ask(address):
    with socket.create_connection((address, int(port)), 10) as plain:
        with context.wrap_socket(plain, server_hostname=name) as tls:
            tls.sendall(request)
            return tls.makefile("rb").readline().decode().split(" ")[1]

def call(address):
    while not over.wait(float(pause)):
        try:
            status = ask(address)
        except Exception as problem:
            status = "%s: %s" % (type(problem).__name__, problem)
        seen[address]["asked"] += 1
        if status != "200":
            seen[address]["failed"].append("%s %s" % (time.strftime("%H:%M:%S"), status))

threads = [threading.Thread(target=call, args=(one,)) for one in addresses]
[thread.start() for thread in threads]
print("calling", flush=True)
sys.stdin.read()
over.set()
[thread.join() for thread in threads]
print(json.dumps(seen))
"""


@dataclass
class Calls:
    """What was seen by the time the calling ended, by address of the gateway."""

    asked: dict[str, int] = field(default_factory=dict)
    failed: dict[str, list[str]] = field(default_factory=dict)

    def require_all_served(self, at_least: int = 10) -> None:
        assert not any(self.failed.values()), self.failed
        # Nobody was kept waiting all the time either.
        assert self.asked, "nobody called"
        assert min(self.asked.values()) >= at_least, self.asked


@contextlib.contextmanager
def calling(scenario: Scenario) -> Iterator[Calls]:
    """While the block runs, both gateways are called; the answers are there after it."""
    client = world.Peer("dip-client")
    addresses = [str(scenario.addresses["hosts"][name]) for name in GATEWAYS]
    words = [SERVER_NAME, PORT, _PAUSE, world.ca("root"), client.chain, client.key, *addresses]
    container = scenario.container("client")
    poller = subprocess.Popen(
        ["podman", "exec", "-i", container, "python3", "-c", _PROGRAM, *map(str, words)],
        env=scenario.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert poller.stdout is not None
    calls = Calls()
    try:
        assert poller.stdout.readline() == "calling\n"
        yield calls
    finally:
        said, _ = poller.communicate(timeout=60)
    seen = json.loads(said)
    calls.asked = {address: one["asked"] for address, one in seen.items()}
    calls.failed = {address: one["failed"] for address, one in seen.items() if one["failed"]}
    print(f"calls: {calls.asked}, failed: {sum(map(len, calls.failed.values()))}")
