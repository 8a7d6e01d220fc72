# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy: command lines, process titles and versions.

What its configuration says is :mod:`.reader`'s work, how values are written in it :mod:`.names`'.

A reload is a signal to the master, which starts itself anew, hands the listening sockets to a new
worker and tells the former one to finish. The runtime API is never used, and there is no socket
for it: some versions crash when certificates and CRLs are changed through it.
"""

from __future__ import annotations

import re
import signal
from types import MappingProxyType
from typing import Any, Dict, Mapping

from ...errors import HostError
from .. import base
from . import reader
from .names import expression, quote, resolution, token

__all__ = ["Adapter"]

# Since when HAProxy can do what the template would like to use. That sockets are handed over
# without a socket for statistics is what makes 2.6 the oldest.
_SINCE = {"server_curves": (3, 0, 0)}
# No version has a directive for how many tickets TLS 1.3 sends: none could be used, but each shows
# how to ask for resumption.
_NEVER = frozenset({"ticket_count"})
_OLDEST = (2, 6, 0)
_OLDEST_OPENSSL = (1, 1, 1)  # the first with TLS 1.3
# After "HAProxy version 2.6.12-..." the second number is all there may be of a development version.
_VERSION = re.compile(r"^HA-?Proxy version (\d+)\.(\d+)(?:\.(\d+))?", re.MULTILINE)
_LIBRARY = re.compile(r"^Running on OpenSSL version : (\w+ (\d+)\.(\d+)\.(\d+)\w*)", re.MULTILINE)
_TITLE = re.compile(r" -Ws? -f \S+/haproxy\.cfg ")
_ALERT = re.compile(r"^\[ALERT\] .*", re.MULTILINE)
# The master is back with the former worker. Before, that worker may not even listen: it makes
# room for about two seconds while the new configuration tries to take a port that is taken.
_KEPT = re.compile(r"^\[\w+\] .*(?:Loading failure!|Failed to load worker)", re.MULTILINE)


class Adapter(base.Adapter):
    """HAProxy as a master with one worker, in the foreground."""

    product = "haproxy"
    config_file = "haproxy.cfg"
    directories = ("trust", "log", "run")
    written_directories = ("log", "run")
    start_files = ("openssl.cnf",)
    reload_signal = signal.SIGUSR2
    stop_signal = signal.SIGUSR1
    text = MappingProxyType(
        {"quote": quote, "token": token, "expression": expression, "resolution": resolution}
    )
    detaches = False
    shows_retiring = False
    # KILL: the master tells workers of another user to finish. DAC_OVERRIDE: keys and logs may
    # belong to others.
    capabilities = (
        "CAP_NET_BIND_SERVICE",
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_KILL",
        "CAP_DAC_OVERRIDE",
    )
    secret_file = "api-key.map"  # noqa: S105, a name
    cannot = MappingProxyType(
        {
            "peer_dns": "HAProxy knows a peer by its subject only, not by its alternative names: "
            "name it by CN or by its whole subject.",
            "unsafe_retry": "HAProxy repeats only GET, HEAD and OPTIONS once they were sent: for "
            "everything else the caller has to, with a key that makes it safe.",
            "backoff": "HAProxy tries again within a second and up to twice: the caller has to "
            "wait between attempts.",
            "chunked_body": "HAProxy cannot limit a body whose length is not said: a request with "
            "one is answered with 411.",
            "client_ocsp": "HAProxy asks no OCSP responder about a caller: the CRL alone decides.",
            "log_reopen": "HAProxy keeps its log file open: it is copied and truncated, and a line "
            "written in between is lost.",
        }
    )

    def __init__(self, lacks: frozenset[str] = frozenset(), service_type: str = "notify") -> None:
        self.lacks = lacks | _NEVER
        self.service_type = service_type

    def version_command(self, program: str) -> list[str]:
        return [program, "-vv"]

    def of_build(self, program: str, output: str) -> Adapter:
        said = _VERSION.search(output)
        version = tuple(int(part or 0) for part in said.groups()) if said else (0, 0, 0)
        if version < _OLDEST:
            raise _unfit_build(
                program, f"HAProxy {_dotted(version)}", f"HAProxy {_dotted(_OLDEST)} or later"
            )
        library = _LIBRARY.search(output)
        numbers = tuple(int(part) for part in library.groups()[1:]) if library else (0, 0, 0)
        if numbers < _OLDEST_OPENSSL or not self.tls_library(output).startswith("OpenSSL "):
            raise _unfit_build(
                program,
                self.tls_library(output) or "another TLS library",
                f"HAProxy built with OpenSSL {_dotted(_OLDEST_OPENSSL)} or later",
            )
        # Later versions tell systemd without a library for it.
        notifies = "+SYSTEMD" in output.split() or version >= (3, 0, 0)
        lacks = frozenset(name for name, since in _SINCE.items() if version < since)
        return Adapter(lacks, "notify" if notifies else "simple")

    def tls_library(self, output: str) -> str:
        found = _LIBRARY.search(output)
        return found.group(1) if found else ""

    def environment(self, root: str) -> dict[str, str]:
        # What there is no directive for can only be set where OpenSSL itself reads its defaults.
        return {"OPENSSL_CONF": f"{root}/openssl.cnf"}

    def test_command(self, program: str, root: str) -> list[str]:
        return [program, "-c", "-f", f"{root}/{self.config_file}"]

    def start_command(self, program: str, root: str) -> list[str]:
        mode = "-Ws" if self.service_type == "notify" else "-W"
        return [program, mode, "-f", f"{root}/{self.config_file}", "-p", self.pid_file(root)]

    def pid_file(self, root: str) -> str:
        return f"{root}/run/haproxy.pid"

    def is_master(self, title: str, root: str) -> bool:
        return self.is_worker(title) and f" -f {root}/{self.config_file} " in f"{title} "

    def is_worker(self, title: str) -> bool:
        # After a reload there are more words in between; the program may have any name.
        return bool(_TITLE.search(f"{title} "))

    def read(self, files: Mapping[str, str]) -> Dict[str, Any]:
        return reader.read(
            files[self.config_file], files.get(self.start_files[0], ""), self.config_file
        ).as_settings()

    def reload_failures(self, log: str) -> list[str]:
        return self.start_failures(log) if _KEPT.search(log) else []

    def start_failures(self, log: str) -> list[str]:
        return _ALERT.findall(log)

    def secret_text(self, header: str, value: str) -> bytes:
        base.require_header(header, value)
        # A line of a map: a key, a space, and the value up to the end of the line. The header's
        # name is in the configuration.
        return f"key {value}\n".encode()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def _unfit_build(program: str, found: str, expected: str) -> HostError:
    return HostError(
        "the gateway program installed on this host cannot do what is needed",
        rule="GATEWAY-BUILD",
        found=found,
        expected=expected,
        where=program,
        next_step="install a newer HAProxy, or name the program of one in gateway_programs",
    )
