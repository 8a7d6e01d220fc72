# SPDX-License-Identifier: GPL-3.0-or-later
"""What the transaction needs to know about a gateway product, and nothing more.

An adapter is pure: it answers with names, command lines and yes or no. Running the
commands, reading ``/proc`` and waiting is the service's work, the same for all products.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from signal import Signals
from typing import Any, Dict

from ..errors import HostError

# RFC 9110, 5.5 and 5.6.2: what a field's name may be, and a value of one line without the edges
# that a parser would take away.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]{0,4094}[!-~])?")


class Adapter(ABC):
    """One gateway product that runs as a master process with workers.

    As it comes, an adapter speaks of a current version; :meth:`of_build` gives the one
    for what a host has installed.

    ``root`` is the absolute directory of one gateway: configuration, trust, logs, pid
    file and temporary files all live below it, so that no privilege is needed.
    """

    product: str
    config_file: str
    directories: tuple[str, ...]
    #: Those of them that the running gateway itself writes to.
    written_directories: tuple[str, ...]
    reload_signal: Signals
    stop_signal: Signals
    #: What makes the master open its logs again; of no use where it cannot (``log_reopen``).
    reopen_signal: Signals = Signals.SIGUSR1
    #: Named functions for the product's template: text in, text safe for its place out.
    text: Mapping[str, Callable[[str], str]]
    #: Files below the root that only a start reads: a change of them is a restart.
    start_files: tuple[str, ...] = ()
    #: What a current version can do and this one cannot, by names the templates know.
    lacks: frozenset[str] = frozenset()
    #: True when the start command returns and leaves a daemon behind. Where it does not, whoever
    #: starts the program gives it a session of its own, :meth:`access_log` as standard output and
    #: :meth:`error_log` as standard error.
    detaches: bool = True
    #: How a program that stays in the foreground tells systemd that it serves: a service type.
    service_type: str = "simple"
    #: True when a worker's title says that it retires. Where none does, a worker retires when it
    #: has no listening socket any more.
    shows_retiring: bool = True
    #: What of root's powers the master needs, as systemd calls them.
    capabilities: tuple[str, ...]
    #: Feature -> one sentence: what this product cannot do, and what holds instead. Features:
    #: ``peer_dns``, ``connection_age``, ``retry``, ``unsafe_retry``, ``backoff``,
    #: ``chunked_body``, ``log_reopen``, ``client_ocsp``.
    cannot: Mapping[str, str]
    #: True when its TLS library looks for a CRL for every CA certificate of a chain, the root's own
    #: included; False when it looks for the leaf's only.
    whole_chain_crls: bool = True
    #: Name of the file, readable by root only, that adds the API key to requests.
    secret_file: str

    @abstractmethod
    def version_command(self, program: str) -> list[str]:
        """Command line that prints version and build, and does nothing else."""

    @abstractmethod
    def of_build(self, program: str, output: str) -> Adapter:
        """The adapter for the build that printed ``output``; HostError for one unfit."""

    @abstractmethod
    def environment(self, root: str) -> dict[str, str]:
        """Environment variables that the program needs for this build."""

    @abstractmethod
    def test_command(self, program: str, root: str) -> list[str]:
        """Command line that checks the configuration and changes nothing."""

    @abstractmethod
    def start_command(self, program: str, root: str) -> list[str]:
        """Command line that starts the gateway; :attr:`detaches` says how."""

    @abstractmethod
    def pid_file(self, root: str) -> str:
        """Where the running master writes its process id."""

    def access_log(self, root: str) -> str:
        """Where requests are logged."""
        return f"{root}/log/access.log"

    def error_log(self, root: str) -> str:
        """Where a failed reload leaves its reason."""
        return f"{root}/log/error.log"

    @abstractmethod
    def tls_library(self, output: str) -> str:
        """Name and version of the TLS library in use, e.g. ``OpenSSL 3.0.22``.

        ``output`` is what :meth:`version_command` printed; empty when it does not say.
        """

    @abstractmethod
    def is_master(self, title: str, root: str) -> bool:
        """True when a process of this title may be the master of the gateway at ``root``.

        Its workers may have the same title: then the one that is nobody's child is the master.
        """

    @abstractmethod
    def is_worker(self, title: str) -> bool:
        """True when a process of this title may be a worker, retiring ones included."""

    def is_retiring(self, title: str) -> bool:
        """True when the title says that a worker only finishes what it has begun."""
        return False

    @abstractmethod
    def reload_failures(self, log: str) -> list[str]:
        """Lines of freshly written error log that say the new configuration was refused.

        None before the gateway is back on the old one.
        """

    def start_failures(self, log: str) -> list[str]:
        """Lines of it that say why the gateway did not start."""
        return self.reload_failures(log)

    @abstractmethod
    def secret_text(self, header: str, value: str) -> bytes:
        """Content of :attr:`secret_file`: requests get ``header`` with ``value``.

        Raises:
            HostError: GATEWAY-SECRET for a value that no header can carry; it is not told.
        """

    @abstractmethod
    def read(self, files: Mapping[str, str]) -> Dict[str, Any]:
        """What the configuration means, as :class:`~.description.Description` puts it.

        ``files``: the text of :attr:`config_file` and of those :attr:`start_files` that
        are there, by path below the root. HostError GATEWAY-CONFIG for text that the
        product would not load either.
        """


def require_header(header: str, value: str, unfit: str = "") -> None:
    """HostError GATEWAY-SECRET unless a request can carry the header; the value is not told.

    ``unfit``: characters that have no place in this product's file.
    """
    fits = _HEADER_NAME.fullmatch(header) and _HEADER_VALUE.fullmatch(value)
    if fits and not {*unfit} & {*header, *value}:
        return
    raise HostError(
        "a secret cannot be written as a request's header",
        rule="GATEWAY-SECRET",
        found=f"{len(value)} characters, or one among them that does not fit",
        expected="a few characters to some thousand, printable ASCII, no space at either end"
        + (f", none of {unfit}" if unfit else ""),
        where=f"header {header[:100]!a}",
        next_step="store the key again as the other side gave it, without line ends",
    )
