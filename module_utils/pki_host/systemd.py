# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway that systemd runs, in a unit of its own.

The unit is a file of the transaction like every other: written with the configuration,
taken back with it. It is a real file in systemd's directory and no link to one below
the gateway's root: at boot systemd reads its units before other file systems are there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from . import log_rotation, systemctl
from .errors import HostError
from .gateways.base import Adapter
from .service import Daemon, run_program

UNITS = "/etc/systemd/system"
_RUNNING = "/run/systemd/system"  # there exactly while systemd is the init of this host
_WANTED_BY = "multi-user.target.wants"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")

_UNIT = """\
# Managed by Ansible: the unit of gateway {name}.
# An edit here is found and put back by the next run; a drop-in is yours.
[Unit]
Description=mTLS gateway {name}
Wants=network-online.target
After=network-online.target nss-lookup.target remote-fs.target time-sync.target
# A name that cannot be resolved yet, or an address that is not there yet, is no reason to give up.
StartLimitIntervalSec=0

[Service]
{start}ExecReload=/bin/kill -s {reload_signal} $MAINPID
{environment}KillMode=mixed
KillSignal={stop_signal}
TimeoutStartSec=30
TimeoutStopSec=10
Restart=on-failure
RestartSec=2

# The master stays root to read keys and bind ports; it needs nothing else root may do.
CapabilityBoundingSet={capabilities}
NoNewPrivileges=yes
UMask=0027
ProtectSystem=strict
ReadWritePaths={writable}
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""

_DAEMON = """\
Type=forking
PIDFile={pid_file}
# What a power cut left there may by now be the number of another process.
ExecStartPre=/bin/rm -f -- {pid_file}
ExecStart={command}
# It writes that file a moment after ExecStart has ended. Waiting here needs no inotify, which a
# busy host may have used up: the start would fail.
ExecStartPost=/bin/sh -c 'until test -s {pid_file}; do sleep 0.1; done'
"""
_FOREGROUND = """\
Type={service_type}
# A program may take the append mode away from its standard output: after a restart it would write
# over the first lines, after a rotation behind a hole. So what it says goes through a pipe.
ExecStartPre=/bin/sh -c 'rm -f -- {pipe} && mkfifo -m 600 -- {pipe}'
ExecStart=/bin/sh -c 'cat {pipe} & exec {command} >{pipe}'
StandardOutput=append:{access_log}
StandardError=append:{error_log}
"""


@dataclass(frozen=True)
class State:
    """What systemd says about the unit."""

    active: str
    main_pid: int
    unread: bool

    @staticmethod
    def parse(output: str) -> State:
        fields = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
        return State(
            fields.get("ActiveState", ""),
            int(fields.get("MainPID") or 0),
            fields.get("NeedDaemonReload") == "yes" or fields.get("LoadState") != "loaded",
        )

    @property
    def settled(self) -> bool:
        """True when there is nothing to stop."""
        return self.active in ("inactive", "failed", "")


class Unit(Daemon):
    """One gateway as a service of systemd. Needs root."""

    kind = "systemd"

    def __init__(
        self, adapter: Adapter, program: str, root: str, name: str, log_days: int = 0
    ) -> None:
        super().__init__(adapter, program, root)
        if not _NAME.fullmatch(name):
            raise _unusable("its name fits no unit", name, "letters, digits, - and .")
        self.name = f"pki-gateway-{name}.service"
        self._gateway = name
        self._log_days = log_days

    @property
    def own_files(self) -> Mapping[str, bytes]:
        return {**self.started_from, **self._log_files}

    @property
    def started_from(self) -> Mapping[str, bytes]:
        return {os.path.join(UNITS, self.name): self._text().encode()}

    @property
    def _log_files(self) -> Mapping[str, bytes]:
        name, root = self._gateway, self._root
        return log_rotation.own_files(name, self.name, root, self._log_days, self._adapter)

    @property
    def own_links(self) -> Mapping[str, str]:
        # What `systemctl enable` would make; as a link of ours it is taken back like the others.
        return {os.path.join(UNITS, _WANTED_BY, self.name): f"../{self.name}"}

    def _text(self) -> str:
        root, adapter = self._root, self._adapter
        start = _DAEMON if adapter.detaches else _FOREGROUND
        return _UNIT.format(
            name=self._gateway,
            start=start.format(
                pid_file=adapter.pid_file(root),
                command=" ".join(self.start_command()),
                service_type=adapter.service_type,
                access_log=adapter.access_log(root),
                error_log=adapter.error_log(root),
                pipe=f"{root}/run/access.pipe",
            ),
            capabilities=" ".join(adapter.capabilities),
            reload_signal=adapter.reload_signal.name,
            stop_signal=adapter.stop_signal.name,
            environment="".join(
                f"Environment={name}={value}\n"
                for name, value in sorted(self.environment().items())
            ),
            writable=" ".join(f"{root}/{name}" for name in adapter.written_directories),
        )

    def require_usable(self) -> None:
        if not os.path.isdir(_RUNNING):
            raise _unusable("this host is not run by systemd", f"no {_RUNNING}", "systemd")
        if os.geteuid() != 0:
            raise _unusable("a service of the system needs root", f"uid {os.geteuid()}", "uid 0")
        for path in (self._root, self._program):
            _require_visible(path)

    def problems(self) -> list[str]:
        found = []
        if self.is_foreign():
            found.append("the gateway runs outside its service")
        elif self._state().unread:
            found.append(f"systemd has not read {self.name} as it is")
        if self._log_days and self._is_outdated(log_rotation.SERVICE):
            found.append(f"systemd has not read {log_rotation.SERVICE} as it is")
        return found

    def _is_outdated(self, unit: str) -> bool:
        """Whether systemd knows the unit otherwise than it is on disk; not one that is absent."""
        return self._systemctl("show", unit, "--property=NeedDaemonReload").strip().endswith("=yes")

    def is_foreign(self) -> bool:
        master = self.master()
        return master is not None and self._state().main_pid != master.pid

    def refresh(self) -> None:
        if self._state().unread or self._is_outdated(log_rotation.SERVICE):
            self._systemctl("daemon-reload")

    def forget(self) -> None:
        self.refresh()
        # A unit that failed stays listed, without a file, until this is said.
        if self._state().active == "failed":
            self._systemctl("reset-failed", self.name)

    def stop(self) -> None:
        if not self._state().settled:
            self._systemctl("stop", self.name)
        super().stop()  # one that runs outside its unit

    def cut(self) -> None:
        try:
            self.stop()  # what has not ended after TimeoutStopSec is killed, workers included
        finally:
            super().cut()  # also where systemd does not do what it is told

    def _launch(self) -> tuple[int, str]:
        # restart: a unit that waits to be started again by itself counts as active.
        code, output = _run("systemctl", "restart", self.name)
        return (0, "") if code == 0 else (code, self._journal() or output)

    def _journal(self) -> str:
        """What the program itself said; systemctl only says that it failed."""
        launch = self._systemctl("show", self.name, "--property=InvocationID", "--value").strip()
        options = ("--lines=50", "--output=cat", "--no-pager", "--quiet")
        _, output = _run("journalctl", *options, f"_SYSTEMD_INVOCATION_ID={launch}")
        return "\n".join(self._adapter.start_failures(output))

    def _state(self) -> State:
        names = ("LoadState", "ActiveState", "MainPID", "NeedDaemonReload")
        return State.parse(self._systemctl("show", self.name, f"--property={','.join(names)}"))

    def _systemctl(self, *arguments: str) -> str:
        return systemctl.ask(*arguments, about=self.name)


def _require_visible(path: str) -> None:
    if systemctl.is_hidden(path):
        raise _unusable("it could not see this path", path, f"not in {', '.join(systemctl.HIDDEN)}")
    if not systemctl.PLAIN.fullmatch(path):
        raise _unusable("a path that does not fit into a unit", path, "letters, digits, _/.,:=@+-")


def _run(program: str, *arguments: str) -> tuple[int, str]:
    return run_program([program, *arguments], "/")


def _unusable(message: str, found: str, expected: str) -> HostError:
    return HostError(
        f"the gateway cannot be a service of this host: {message}",
        rule="SERVICE-MANAGER",
        found=found,
        expected=expected,
        where="service: systemd",
        next_step="correct that, or set gateway_service to daemon for this host",
    )
