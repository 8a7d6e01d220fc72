# SPDX-License-Identifier: GPL-3.0-or-later
"""What a full handshake costs a gateway, ours beside the least that mTLS needs of the same server.

Both have the same RSA-4096 key, resume nothing and pass one request on for each handshake. What is
counted is the CPU time of the server's own processes, from /proc. Then: how many connections to
the far end sixty requests take.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests")]

from cryptography.hazmat.primitives.asymmetric import rsa
from gateways.load import OK, Caller, Settings, contexts
from gateways.products import PRODUCTS, Product
from integration import gateway_world
from integration.gateway_world import OURS, PEER, World, key_pem, pem
from integration.own_ports import free_ports
from pki_host import files, processes, transaction

HANDSHAKES = 60
ROUNDS = 5
GOAL = 0.9
REQUESTS = 60
CONNECTIONS = 3
HOST = "api.dip.example"
LARGE = "large"

Line = Callable[[str, float, str, float], None]


@contextlib.contextmanager
def large_key() -> Iterator[None]:
    """A key of the size that the DCA wants, for our server's certificate."""
    made = rsa.generate_private_key(65537, 4096)
    small = gateway_world.key
    gateway_world.key = lambda label: made if label == LARGE else small(label)  # type: ignore[assignment]
    try:
        yield
    finally:
        gateway_world.key = small


# -- far end and application ----------------------------------------------------------------


class Server:
    """Answers every request at once, and counts its connections."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def setup(self) -> None:
                outer.connections += 1
                super().setup()

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def far_end(world: World) -> Server:
    """A far end that wants our certificate, as the DIP does."""
    chain = world.base / "far-end.pem"
    leaf = world.authorities.leaf(HOST, "far-end")
    text = pem(leaf) + pem(world.authorities.issuing) + key_pem("far-end")
    files.write(str(chain), text.encode(), files.PRIVATE)
    context = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cadata=pem(world.authorities.root)
    )
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(chain)
    return Server(world.dip, context)


# -- the least that mTLS needs ----------------------------------------------------------------


@dataclass(frozen=True)
class Bare:
    """The same server with the least configuration: certificate, CA, no resumption, upstream."""

    text: Callable[[World, int, Path], str]
    command: Callable[[str, Path], list[str]]
    detaches: bool


def _nginx(world: World, port: int, root: Path) -> str:
    current = world.release["link"]["path"]
    return f"""
daemon on;
worker_processes auto;
pid {root}/pid;
error_log {root}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log {root}/access.log;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    upstream app {{ server 127.0.0.1:{world.app}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate {current}/fullchain.pem;
        ssl_certificate_key {current}/key.pem;
        ssl_client_certificate {root}/ca.pem;
        ssl_verify_client on;
        ssl_session_cache off;
        ssl_session_tickets off;
        location / {{
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass http://app;
        }}
    }}
}}
"""


def _haproxy(world: World, port: int, root: Path) -> str:
    chain = f"{world.release['link']['path']}/fullchain.pem"
    return f"""
global
    log stdout format raw daemon
    tune.ssl.cachesize 0
    ssl-default-bind-options no-tls-tickets
defaults
    mode http
    log global
    option httplog
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend bare
    bind 127.0.0.1:{port} ssl crt {chain} ca-file {root}/ca.pem verify required
    default_backend app
backend app
    server app 127.0.0.1:{world.app}
"""


BARE = {
    "nginx": Bare(
        _nginx,
        lambda program, root: [
            program,
            "-p",
            str(root),
            "-e",
            f"{root}/error.log",
            "-c",
            f"{root}/conf",
        ],
        True,
    ),
    "haproxy": Bare(_haproxy, lambda program, root: [program, "-W", "-f", f"{root}/conf"], False),
}


@contextlib.contextmanager
def bare(world: World, product: Product, port: int) -> Iterator[int]:
    """The bare server; its master's process id."""
    root = world.base / "bare"
    root.mkdir()
    (root / "ca.pem").write_text(pem(world.authorities.root) + pem(world.authorities.issuing))
    made = BARE[product.product]
    (root / "conf").write_text(made.text(world, port, root))
    with (root / "access.log").open("ab") as output:
        started = subprocess.Popen(
            made.command(product.program, root), stdout=output, stderr=output, cwd=root
        )
    if made.detaches:
        assert started.wait() == 0, (root / "access.log").read_text()
        _wait(lambda: (root / "pid").exists() and (root / "pid").read_text().strip() != "")
        master = int((root / "pid").read_text())
    else:
        master = started.pid
    _wait(lambda: bool(processes.listening_inodes("127.0.0.1", port)))
    try:
        yield master
    finally:
        os.kill(master, 15)
        _wait(lambda: processes.process(master) is None)
        started.wait()


def _wait(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise RuntimeError("the server did not get there within five seconds")


# -- measuring ---------------------------------------------------------------------------------


def family(master: int) -> list[int]:
    """The master and its workers."""
    children = [one.pid for one in processes.processes() if one.parent == master]
    return [master, *children]


def seconds(pids: list[int]) -> float:
    """CPU seconds that all threads of these processes have used.

    utime and stime come in hundredths, which is too coarse here; the scheduler's own account,
    their sum, comes in nanoseconds.
    """
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def handshakes(master: int, settings: Settings, context: ssl.SSLContext) -> float:
    """Full handshakes, each with one request, per CPU second of the server."""
    pids = family(master)
    before = seconds(pids)
    for number in range(HANDSHAKES):
        caller = Caller(settings, context)
        caller.connect()
        outcome, _ = caller.ask(str(number), Connection="close")
        caller.close()
        assert outcome == OK, outcome
    spent = seconds(pids) - before
    return HANDSHAKES / spent


def rates(world: World, ours: int, theirs: int, port: int) -> Iterator[tuple[str, float, float]]:
    """For each version of TLS: the medians of rounds that take turns."""
    root_ca = world.base / "root.pem"
    root_ca.write_text(pem(world.authorities.root))
    client = str(world.client(world.authorities.leaf(PEER, "peer"), "peer"))
    here, there = (Settings(one, str(root_ca), client, 0, 0) for one in (world.ingress, port))
    for version, context in zip(("1.2", "1.3"), contexts(here), strict=True):
        pairs = [
            (handshakes(ours, here, context), handshakes(theirs, there, context))
            for _ in range(ROUNDS)
        ]
        yield version, median(one for one, _ in pairs), median(one for _, one in pairs)


def upstream_connections(world: World) -> int:
    """Connections to the far end that a row of requests through the egress takes."""
    end = far_end(world)
    try:
        for _ in range(REQUESTS):
            with urlopen(f"http://127.0.0.1:{world.egress}/", timeout=10) as answer:
                assert answer.read() == b"ok"
        return end.connections
    finally:
        end.close()


def measure(line: Line, product: Product, world: World) -> None:
    transaction.run(world.desired(), check=False)
    master = world.daemon().master()
    assert master is not None
    (port,) = free_ports(1)
    with bare(world, product, port) as theirs:
        for version, ours, least in rates(world, master.pid, theirs, port):
            what = f"{product}: handshakes per CPU second, TLS {version} (goal {GOAL})"
            line(what, ours, "the least mTLS of the same server", least)
    connections = upstream_connections(world)
    line(
        f"{product}: far-end connections for {REQUESTS} requests",
        connections,
        "goal, at most",
        CONNECTIONS,
    )


def report(line: Line) -> None:
    for product in PRODUCTS:
        if product.missing:
            print(f"  not run: {product} - {product.missing}")
            continue
        with tempfile.TemporaryDirectory() as folder, large_key():
            world = World(Path(folder), product)
            world.release = world.stage_release(2, world.authorities.leaf(OURS, LARGE), LARGE)
            application = Server(world.app)
            try:
                measure(line, product, world)
            finally:
                world.stop()
                application.close()


if __name__ == "__main__":
    report(
        lambda what, ours, peer, theirs: print(
            f"{what} {ours:.3f} {peer} {theirs:.3f} {ours / theirs:.2f}"
        )
    )
