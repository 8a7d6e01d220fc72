# SPDX-License-Identifier: GPL-3.0-or-later
"""nginx: command lines, process titles and versions.

What its configuration says is :mod:`.reader`'s work, how names are written in it
:mod:`.names`'.
"""

from __future__ import annotations

import re
import signal
from types import MappingProxyType
from typing import Any, Dict, Mapping

from ...errors import HostError
from .. import base
from . import reader
from .names import cn, escape_value, exact, literal, peer, quote, subject

__all__ = ["Adapter", "cn", "escape_value", "exact", "literal", "peer", "quote", "subject"]

# Since when nginx can do what the template and the command lines would like to use.
_SINCE = {
    "ssl_ocsp": (1, 19, 0),
    "ssl_conf_command": (1, 19, 4),
    "error_log_option": (1, 19, 5),
    "keepalive_time": (1, 19, 10),
}
_OLDEST = (1, 18, 0)
_OLDEST_OPENSSL = (1, 1, 1)  # the first with TLS 1.3
# Modules the template needs. The first is built only when asked for, the others are left out
# only when asked for.
_ASKED_FOR = "ssl"
_LEFT_OUT = ("proxy", "map", "rewrite", "upstream_keepalive", "limit_req", "limit_conn")


class Adapter(base.Adapter):
    """nginx with everything below ``root``, started as a daemon."""

    product = "nginx"
    config_file = "nginx.conf"
    directories = ("trust", "log", "run")
    written_directories = ("log", "run")
    start_files = ("openssl.cnf",)
    reload_signal = signal.SIGHUP
    stop_signal = signal.SIGQUIT
    # DAC_OVERRIDE: whoever rotates logs gives them to the workers' user, and a reload opens them.
    capabilities = (
        "CAP_NET_BIND_SERVICE",
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
    )
    secret_file = "api-key.conf"  # noqa: S105, a name
    cannot = MappingProxyType(
        {
            "peer_dns": "nginx knows a peer by its subject only, not by its alternative names: "
            "name it by CN or by its whole subject.",
            "unsafe_retry": "nginx repeats no request that may change something once it was sent: "
            "the caller has to, with a key that makes it safe.",
            "backoff": "nginx tries again at once or not at all: the caller has to wait between "
            "attempts.",
        }
    )
    text = {"cn": cn, "subject": subject, "exact": exact, "quote": quote, "literal": literal}  # noqa: RUF012

    def __init__(self, lacks: frozenset[str] = frozenset()) -> None:
        self.lacks = lacks

    def version_command(self, program: str) -> list[str]:
        return [program, "-V"]

    def of_build(self, program: str, output: str) -> Adapter:
        version = _version(r"^nginx version: \S+?/(\d+)\.(\d+)\.(\d+)", output)
        library = _version(r"^built with OpenSSL (\d+)\.(\d+)\.(\d+)", output)
        if version < _OLDEST:
            raise _unfit_build(
                program, f"nginx {_dotted(version)}", f"nginx {_dotted(_OLDEST)} or later"
            )
        if library < _OLDEST_OPENSSL:
            raise _unfit_build(
                program,
                f"OpenSSL {_dotted(library)}" if any(library) else "another TLS library",
                f"nginx built with OpenSSL {_dotted(_OLDEST_OPENSSL)} or later",
            )
        missing = _missing_modules(output.split())
        if missing:
            raise _unfit_build(
                program,
                f"nginx {_dotted(version)} without {', '.join(missing)}",
                f"nginx with the http modules {', '.join((_ASKED_FOR, *_LEFT_OUT))}",
            )
        return Adapter(frozenset(name for name, since in _SINCE.items() if version < since))

    def environment(self, root: str) -> dict[str, str]:
        # Without ssl_conf_command the suites of TLS 1.3 and the groups of outgoing
        # connections can only be set where OpenSSL itself reads its defaults.
        if "ssl_conf_command" not in self.lacks:
            return {}
        return {"OPENSSL_CONF": f"{root}/openssl.cnf"}

    def test_command(self, program: str, root: str) -> list[str]:
        return [*self.start_command(program, root), "-t", "-q"]

    def start_command(self, program: str, root: str) -> list[str]:
        command = [program, "-p", root]
        if "error_log_option" not in self.lacks:
            # Without it the log compiled in is opened before the configuration is read.
            command += ["-e", self.error_log(root)]
        return [*command, "-c", f"{root}/{self.config_file}"]

    def pid_file(self, root: str) -> str:
        return f"{root}/run/nginx.pid"

    def tls_library(self, output: str) -> str:
        found = re.search(r"^built with (?:.*\(running with )?(\w+ [0-9][\w.]*)", output, re.M)
        return found.group(1) if found else ""

    def is_master(self, title: str, root: str) -> bool:
        return title.startswith("nginx: master process ") and f" -p {root} " in f"{title} "

    def is_worker(self, title: str) -> bool:
        return title.startswith("nginx: worker process")

    def is_retiring(self, title: str) -> bool:
        return title.startswith("nginx: worker process is shutting down")

    def read(self, files: Mapping[str, str]) -> Dict[str, Any]:
        return reader.read(
            files[self.config_file],
            # Where OpenSSL's own file is not in force, what it says does not count.
            files.get(self.start_files[0], "") if "ssl_conf_command" in self.lacks else "",
            self.config_file,
        ).as_settings()

    def reload_failures(self, log: str) -> list[str]:
        return [line for line in log.splitlines() if " [emerg] " in line]

    def secret_text(self, header: str, value: str) -> bytes:
        # A dollar sign would begin a variable and cannot be escaped.
        base.require_header(header, value, unfit="$")
        return f"proxy_set_header {quote(header)} {quote(value)};\n".encode()


def _missing_modules(words: list[str]) -> list[str]:
    missing = [] if f"--with-http_{_ASKED_FOR}_module" in words else [_ASKED_FOR]
    return missing + [name for name in _LEFT_OUT if f"--without-http_{name}_module" in words]


def _version(pattern: str, output: str) -> tuple[int, ...]:
    """The version after this pattern; zeros when it is not said, which is older than any."""
    found = re.search(pattern, output, re.MULTILINE)
    return tuple(int(part) for part in found.groups()) if found else (0, 0, 0)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def _unfit_build(program: str, found: str, expected: str) -> HostError:
    return HostError(
        "the gateway program installed on this host cannot do what is needed",
        rule="GATEWAY-BUILD",
        found=found,
        expected=expected,
        where=program,
        next_step="install a newer nginx, or name the program of one in gateway_programs",
    )
