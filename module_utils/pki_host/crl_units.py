# SPDX-License-Identifier: GPL-3.0-or-later
"""The two timers of a host and what they start, as units of systemd.

Neither waits for the other, nor names it: the guard has to work when fetching is disabled, masked,
stopped or hangs. Both units are ours and an edit is put back; a drop-in beside them is the
administrator's, and so is a mask, which is told and never undone here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from . import crl_program, crl_watch, files, gateways, systemctl
from .errors import HostError
from .service import run_program

UNITS_DIR = "/etc/systemd/system"
RUNNING = "/run/systemd/system"  # there exactly while systemd is the init of this host
REFRESH, GUARD = "pki-crl-refresh", "pki-crl-guard"
_WANTED_BY = "timers.target.wants"
_MASK = "/dev/null"
_HOUR, _DAY = 3600, 86400

_HEAD = """\
# Managed by Ansible: {what}.
# An edit here is found and put back by the next run; a drop-in is yours.
"""

_HARDENED = """\
NoNewPrivileges=yes
UMask=0022
ProtectSystem=strict
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
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""

_REFRESH_SERVICE = (
    _HEAD
    + """\
[Unit]
Description=Fetch the CRLs that mTLS gateways use
Wants=network-online.target
After=network-online.target nss-lookup.target
RequiresMountsFor={mounts}
# A poll that fails is told by its own alarms; systemd must not stop trying.
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={python} {options} {program}/refresh.py --root {crl_root}
# All transfers one after the other, then the test and the reload of every gateway.
TimeoutStartSec={refresh_seconds}
TimeoutStopSec=10
Restart=no
Nice=10
IOSchedulingPriority=7
# The test of a gateway's product loads every CRL for every listener, as the gateway itself does.
MemoryMax=50%

# What the masters need, whose configuration test runs here; KILL and SYS_PTRACE to reload them and
# to see that their workers, which have another user, were replaced.
CapabilityBoundingSet={capabilities}
ReadWritePaths={crl_root} -{gateway_root} -{metrics_dir}
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
"""
    + _HARDENED
)

_GUARD_SERVICE = (
    _HEAD
    + """\
[Unit]
Description=Refuse peers once revocation information is too old
RequiresMountsFor={mounts}
# It comes back whatever happens to one of its runs.
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={python} {options} {program}/guard.py --root {crl_root}
# Each gateway may take a while to load what is in force, or to end. A run that hangs, or that
# somebody stopped, is killed then, and the next one looks.
TimeoutStartSec=300
TimeoutStopSec=10
Restart=no
OOMScoreAdjust=-500
MemoryMax=256M
TasksMax=64

# No network at all. It speaks with systemd and the journal over sockets in the file system.
PrivateNetwork=yes
IPAddressDeny=any
RestrictAddressFamilies=AF_UNIX
# To reload and end gateways, to see that their workers, which have another user, were replaced, and
# to read what belongs to others.
CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_KILL CAP_SYS_PTRACE
# The gateways' root for the records of what they have loaded, where no run holds the lock.
ReadWritePaths={crl_root} -{gateway_root} -{metrics_dir}
"""
    + _HARDENED
)

_REFRESH_TIMER = (
    _HEAD
    + """\
[Unit]
Description=Fetch the CRLs that mTLS gateways use, every {period} s

[Timer]
# At once after a boot and after a change of this unit, then by the period.
OnActiveSec=0
{when}
# Both together stay within the declared delay of {delay} s.
RandomizedDelaySec={random}
AccuracySec={accuracy}

[Install]
WantedBy=timers.target
"""
)

# By the time since the last run and not by the calendar: a clock that is put back must not make it
# wait.
_GUARD_TIMER = (
    _HEAD
    + """\
[Unit]
Description=Look at the age of revocation information, every {guard_period} s

[Timer]
OnActiveSec=0
OnUnitActiveSec={guard_period}
AccuracySec=1

[Install]
WantedBy=timers.target
"""
)


@dataclass(frozen=True)
class Places:
    """Where everything is on this host; absolute paths without characters a unit would read."""

    crl_root: str
    program_dir: str = crl_program.PROGRAM_DIR
    units_dir: str = UNITS_DIR
    python: str = ""

    @property
    def interpreter(self) -> str:
        return self.python or crl_program.interpreter()


def texts(watch: crl_watch.Watch, places: Places) -> dict[str, str]:
    """The four units by name. HostError SERVICE-MANAGER for a path that fits into none."""
    for path in (
        places.crl_root,
        places.program_dir,
        places.interpreter,
        watch.gateway_root,
        watch.metrics_dir,
    ):
        _require_plain(path)
        if _is_system(places.units_dir):
            _require_visible(path)
    timer = watch.refresh
    values = {
        "python": places.interpreter,
        "options": crl_program.OPTIONS,
        "program": os.path.join(places.program_dir, crl_program.CURRENT),
        "crl_root": places.crl_root,
        "gateway_root": watch.gateway_root,
        "metrics_dir": watch.metrics_dir,
        "mounts": " ".join((places.crl_root, places.program_dir, watch.gateway_root)),
        "capabilities": " ".join(_capabilities()),
        "refresh_seconds": _longest_refresh(watch),
        "period": timer.period_seconds,
        "delay": timer.delay_seconds,
        "random": max(0, timer.delay_seconds - timer.accuracy_seconds),
        "accuracy": max(1, min(timer.accuracy_seconds, timer.delay_seconds)),
        "when": _when(timer.period_seconds),
        "guard_period": watch.guard_period_seconds,
    }
    fetch, guard = "polls of the CAs of this host", "the guard over the age of CRLs"
    return {
        f"{REFRESH}.service": _REFRESH_SERVICE.format(what=fetch, **values),
        f"{REFRESH}.timer": _REFRESH_TIMER.format(what=fetch, **values),
        f"{GUARD}.service": _GUARD_SERVICE.format(what=guard, **values),
        f"{GUARD}.timer": _GUARD_TIMER.format(what=guard, **values),
    }


def _when(period: int) -> str:
    """When polls start, as systemd says it.

    A calendar entry where the period divides a minute, an hour or a day: only that can be
    ``Persistent``, and makes good what a suspended or stopped host missed. Any other period is
    counted from one start to the next.
    """
    calendar = ""
    if 60 % period == 0:
        calendar = f"*-*-* *:*:00/{period}" if period < 60 else "minutely"
    elif period % 60 == 0 and _HOUR % period == 0:
        calendar = f"*-*-* *:00/{period // 60}:00" if period < _HOUR else "hourly"
    elif period % _HOUR == 0 and _DAY % period == 0:
        calendar = f"*-*-* 00/{period // _HOUR}:00:00" if period < _DAY else "daily"
    if calendar:
        return f"OnCalendar={calendar}\nPersistent=true"
    return f"OnUnitActiveSec={period}"


def _longest_refresh(watch: crl_watch.Watch) -> int:
    """Seconds after which a refresh is ended, whatever it waits for."""
    addresses = sum(
        len(entry.urls) for trust in watch.trusts.values() for entry in trust.authorities
    ) + sum(len(known.ocsp_urls) for trust in watch.trusts.values() for known in trust.known)
    return 600 + int(addresses * watch.fetch.total_seconds)


def _capabilities() -> list[str]:
    masters = {name for product in gateways.products() for name in _needed(product)}
    return sorted({*masters, "CAP_KILL", "CAP_SYS_PTRACE"})


def _needed(product: str) -> tuple[str, ...]:
    return gateways.adapter(product).capabilities


# -- what is on this host -------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What is not as it should be: put right by the next step, or left to a person."""

    changes: tuple[str, ...]
    masked: tuple[str, ...]


def look(wanted: Mapping[str, str], units_dir: str = UNITS_DIR) -> Found:
    """Compare files, boot links and what systemd knows with ``wanted``. Reads only."""
    changes, masked = [], []
    for name, text in wanted.items():
        path = os.path.join(units_dir, name)
        if files.link_target(path) == _MASK:
            masked.append(name)
        elif files.read(path) != text.encode() or files.mode_of(path) != files.PUBLIC:
            changes.append(f"{path}: {'changed' if os.path.lexists(path) else 'not there'}")
    for name in _timers(wanted):
        path = os.path.join(units_dir, _WANTED_BY, name)
        if files.link_target(path) != f"../{name}" and name not in masked:
            changes.append(f"{name}: not started at boot")
    if not changes and _is_system(units_dir):
        for name in (name for name in wanted if name not in masked):
            changes.extend(_known(name))
    return Found(tuple(changes), tuple(masked))


def install(wanted: Mapping[str, str], units_dir: str = UNITS_DIR) -> None:
    """Write the units, let the timers start at boot, and have them run. Masked ones are left."""
    masked = look(wanted, units_dir).masked
    fresh = []
    for name, text in wanted.items():
        path = os.path.join(units_dir, name)
        if name in masked:
            continue
        if files.read(path) != text.encode() or files.mode_of(path) != files.PUBLIC:
            files.write(path, text.encode(), files.PUBLIC)
            fresh.append(name)
    for name in _timers(wanted):
        if name not in masked:
            files.link(os.path.join(units_dir, _WANTED_BY, name), f"../{name}")
    if not _is_system(units_dir):
        return
    systemctl.ask("daemon-reload", about=f"{GUARD}.timer")
    for name in _timers(wanted):
        if name in masked:
            continue
        # A timer counts by what it was when it was started.
        verb = "restart" if name in fresh else "start"
        systemctl.ask(verb, name, about=name)


def remove(units_dir: str = UNITS_DIR) -> bool:
    """Stop both timers and what they started, and take the units away; True if one was there."""
    names = [f"{name}.{kind}" for name in (REFRESH, GUARD) for kind in ("timer", "service")]
    paths = [os.path.join(units_dir, name) for name in names]
    links = [os.path.join(units_dir, _WANTED_BY, name) for name in names]
    there = [path for path in (*paths, *links) if os.path.lexists(path)]
    if not there:
        return False
    if _is_system(units_dir):
        for path in paths:
            if os.path.lexists(path) and files.link_target(path) != _MASK:
                systemctl.ask("stop", os.path.basename(path), about=os.path.basename(path))
    for path in there:
        files.remove(path)
    if _is_system(units_dir):
        systemctl.ask("daemon-reload", about=f"{GUARD}.timer")
        # One that failed stays listed, without a file, until this is said; there may be none.
        run_program(["systemctl", "reset-failed", *names], "/")
    return True


def present(units_dir: str = UNITS_DIR) -> bool:
    """Whether one of the units is on this host."""
    names = (f"{name}.{kind}" for name in (REFRESH, GUARD) for kind in ("timer", "service"))
    return any(os.path.lexists(os.path.join(units_dir, name)) for name in names)


def observed(units_dir: str = UNITS_DIR) -> dict[str, str]:
    """Whether each timer runs: ``active``, ``inactive``, or ``none`` where there is none."""
    return {"refresh": _observed(REFRESH, units_dir), "guard": _observed(GUARD, units_dir)}


def _observed(name: str, units_dir: str) -> str:
    if not os.path.isdir(RUNNING):
        return "none"
    if not os.path.lexists(os.path.join(units_dir, f"{name}.timer")):
        return "none"
    code, _ = run_program(["systemctl", "is-active", "--quiet", f"{name}.timer"], "/")
    return "active" if code == 0 else "inactive"


def require_usable(places: Places) -> None:
    """HostError unless this host can have the units at all. Reads only."""
    if not _is_system(places.units_dir):
        return
    if not os.path.isdir(RUNNING):
        raise _unusable("this host is not run by systemd", f"no {RUNNING}", "systemd")
    if os.geteuid() != 0:
        raise _unusable("a unit of the system needs root", f"uid {os.geteuid()}", "uid 0")


def masked_sentence(name: str) -> str:
    """What a run says of a unit that a person masked."""
    means = (
        "nobody refuses peers once CRLs are too old"
        if name.startswith(GUARD)
        else "CRLs are fetched by runs only, and peers are refused once they are too old"
    )
    return (
        f"CRL-UNIT-MASKED: somebody masked {name}, so {means}. It was left as it is. Next: find "
        f"out why, then run systemctl unmask {name} on the host and site.yml"
    )


def _timers(wanted: Mapping[str, str]) -> list[str]:
    return [name for name in wanted if name.endswith(".timer")]


def _is_system(units_dir: str) -> bool:
    """False for a directory of a test, which no systemd reads."""
    return units_dir == UNITS_DIR


def _known(name: str) -> list[str]:
    """What systemd knows of a unit otherwise than the files say."""
    fields = ("LoadState", "ActiveState", "NeedDaemonReload")
    output = systemctl.ask("show", name, f"--property={','.join(fields)}", about=name)
    state = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    if state.get("NeedDaemonReload") == "yes" or state.get("LoadState") != "loaded":
        return [f"{name}: systemd has not read it as it is"]
    if name.endswith(".timer") and state.get("ActiveState") != "active":
        return [f"{name}: does not run"]
    return []


def _require_visible(path: str) -> None:
    if systemctl.is_hidden(path):
        raise _unusable(
            "they could not see this path", path, f"not in {', '.join(systemctl.HIDDEN)}"
        )


def _require_plain(path: str) -> None:
    if not os.path.isabs(path) or not systemctl.PLAIN.fullmatch(path):
        raise _unusable("a path that does not fit into a unit", path, "letters, digits, _/.,:=@+-")


def _unusable(message: str, found: str, expected: str) -> HostError:
    return HostError(
        f"the CRL timers cannot be units of this host: {message}",
        rule="SERVICE-MANAGER",
        found=found,
        expected=expected,
        where="service: systemd",
        next_step="correct that, or set crl_cache_service to daemon for this host: then only runs "
        "fetch CRLs and look at their age",
    )
