# SPDX-License-Identifier: GPL-3.0-or-later
"""What the transaction needs to know about a gateway product, and nothing more.

An adapter is pure: it answers with names, command lines and yes or no. Running the
commands, reading ``/proc`` and waiting is the service's work, the same for all products.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from signal import Signals
from typing import Any, Dict


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
    #: Named functions for the product's template: text in, text safe for its place out.
    text: Mapping[str, Callable[[str], str]]
    #: Files below the root that only a start reads: a change of them is a restart.
    start_files: tuple[str, ...] = ()
    #: What a current version can do and this one cannot, by names the templates know.
    lacks: frozenset[str] = frozenset()

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
        """Command line that starts the gateway as a daemon and then returns."""

    @abstractmethod
    def pid_file(self, root: str) -> str:
        """Where the running master writes its process id."""

    @abstractmethod
    def error_log(self, root: str) -> str:
        """Where a failed reload leaves its reason."""

    @abstractmethod
    def is_master(self, title: str, root: str) -> bool:
        """True when a process of this title is the master of the gateway at ``root``."""

    @abstractmethod
    def is_worker(self, title: str) -> bool:
        """True when a process of this title is a worker, retiring ones included."""

    @abstractmethod
    def is_retiring(self, title: str) -> bool:
        """True when the worker no longer takes connections and only finishes its own."""

    @abstractmethod
    def reload_failures(self, log: str) -> list[str]:
        """Lines of freshly written error log that say the new configuration was refused."""

    @abstractmethod
    def read(self, files: Mapping[str, str]) -> Dict[str, Any]:
        """What the configuration means, as :class:`~.description.Description` puts it.

        ``files``: the text of :attr:`config_file` and of those :attr:`start_files` that
        are there, by path below the root. HostError GATEWAY-CONFIG for text that the
        product would not load either.
        """
