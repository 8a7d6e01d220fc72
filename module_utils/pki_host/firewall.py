# SPDX-License-Identifier: GPL-3.0-or-later
"""Confirm or roll back: rules stay only if somebody could log in through them.

``applied`` arms a timer of systemd that puts the previous rules back, then loads the new
ones. ``confirmed`` is called over a new connection: it disarms the timer, and only then
writes what the host loads at boot. Whatever is killed in between, the timer or a reboot
leads back to the previous rules.

``<run>/armed.json`` exists from before the timer is armed until the rules are confirmed
or rolled back. It lies in /run: after a reboot neither it nor the rules it speaks of exist.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from typing import Any

from . import files, nft, programs
from .errors import HostError

ROLLBACK = "pki-firewall-rollback"
UNIT = "pki-firewall.service"
# Beyond its deadline, how long a timer may take: its service has a whole table to load.
_GRACE = 30.0

_UNIT_TEXT = """\
# Written by Ansible; the next run undoes a change made here.
[Unit]
Description=Packet filter of the mTLS gateways
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
RequiresMountsFor={root}
# The distribution's own service empties the whole packet filter when it starts or reloads.
After=nftables.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
StandardInput=null
ProtectSystem=full
ProtectHome=yes
ExecStart={nft} -f {root}/rules.nft
ExecReload={nft} -f {root}/rules.nft
# No ExecStop: stopping the unit must not open the host.

[Install]
WantedBy=sysinit.target
"""


@dataclass(frozen=True)
class Places:
    """Where things are. ``root`` survives a reboot, ``run`` does not."""

    root: str
    run: str = "/run/pki-firewall"
    systemd: str = "/etc/systemd/system"

    @property
    def rules(self) -> str:
        return os.path.join(self.root, "rules.nft")

    @property
    def record(self) -> str:
        return os.path.join(self.root, "confirmed.json")

    @property
    def unit(self) -> str:
        return os.path.join(self.systemd, UNIT)

    @property
    def wanted(self) -> str:
        return os.path.join(self.systemd, "sysinit.target.wants", UNIT)

    @property
    def lock(self) -> str:
        return os.path.join(self.run, ".lock")

    @property
    def armed(self) -> str:
        return os.path.join(self.run, "armed.json")

    @property
    def candidate(self) -> str:
        return os.path.join(self.run, "candidate.nft")

    @property
    def previous(self) -> str:
        return os.path.join(self.run, "previous.nft")

    def boot_files(self, rules: str) -> dict[str, bytes]:
        """What the host loads its rules from at boot."""
        program = programs.find("nft") or "/usr/sbin/nft"
        unit = _UNIT_TEXT.format(root=self.root, nft=program)
        return {self.rules: rules.encode(), self.unit: unit.encode()}


@dataclass(frozen=True)
class Armed:
    """A rule set that nobody has confirmed yet.

    ``table`` is the listing of what was there before, ``loaded`` the digest of the new
    rules' listing (empty while they are not loaded).
    """

    desired: str
    seconds: int
    table: str | None
    loaded: str = ""

    @staticmethod
    def read(places: Places) -> Armed | None:
        raw = _json(places.armed)
        try:
            return None if raw is None else Armed(**raw)
        except TypeError:
            raise _damaged(places.armed) from None

    def write(self, places: Places) -> None:
        files.write(places.armed, json.dumps(asdict(self), sort_keys=True).encode())


@dataclass(frozen=True)
class Seen:
    """How the host differs from what is declared, in words."""

    table: tuple[str, ...]
    boot: tuple[str, ...]
    before: str

    @property
    def reasons(self) -> list[str]:
        return [*self.table, *self.boot]


# -- looking ---------------------------------------------------------------------------


def look(places: Places, rules: str) -> Seen:
    """Compare; nothing is changed. Rules nobody confirmed count as gone already."""
    armed = Armed.read(places)
    table = armed.table if armed else nft.listing()
    record = _json(places.record) or {}
    confirmed = files.read(places.rules)
    known = table is not None and record.get("table") == _digest(table)
    reasons = []
    if table is None:
        reasons.append("there is no table inet pki")
    elif not known:
        reasons.append("the table inet pki is not as it was confirmed")
    if table is not None and record.get("rules") != _digest(rules):
        reasons.append("other rules are declared")
    # The text that was confirmed reads better than numbers, as long as it is what is in force.
    readable = confirmed.decode("utf-8", "replace") if known and confirmed else table or ""
    return Seen(tuple(reasons), tuple(_boot_reasons(places, rules)), readable)


def _boot_reasons(places: Places, rules: str) -> list[str]:
    reasons = [
        f"{path} is not as declared"
        for path, data in places.boot_files(rules).items()
        if files.read(path) != data
    ]
    if not os.path.islink(places.wanted):
        reasons.append(f"{UNIT} is not enabled")
    elif not reasons and not _is_active(UNIT):
        reasons.append(f"{UNIT} is not active")
    return reasons


# -- applying --------------------------------------------------------------------------


def applied(places: Places, rules: str, seconds: int, check: bool) -> dict[str, Any]:
    """Load the declared rules with a timer armed that takes them back after ``seconds``."""
    if check:
        seen = look(places, rules)
        return _result(seen, rules, armed=bool(seen.table))
    _require_systemd()
    undone = _settle(places)
    with files.HostLock(places.lock):
        files.require_own(places.root)
        files.sweep(places.run)
        seen = look(places, rules)
        if seen.table:
            _load_armed(places, rules, seconds)
        elif seen.boot:
            # What is in force was confirmed; only the way to it after a reboot is damaged.
            _make_permanent(places, rules)
    result = _result(seen, rules, armed=bool(seen.table))
    result["reasons"] = undone + result["reasons"]
    result["changed"] = result["changed"] or bool(undone)
    return result


def _result(seen: Seen, rules: str, armed: bool) -> dict[str, Any]:
    return {
        "changed": bool(seen.reasons),
        "armed": armed,
        "reasons": seen.reasons,
        "diff": {
            "before_header": "table inet pki",
            "after_header": "table inet pki",
            "before": seen.before,
            "after": rules if seen.reasons else seen.before,
        },
    }


def _load_armed(places: Places, rules: str, seconds: int) -> None:
    before = nft.listing()
    files.write(places.candidate, rules.encode())
    nft.check(places.candidate)
    files.write(places.previous, nft.restoring(before).encode())
    nft.check(places.previous)
    # Without a marker a timer is a stray of a run that was killed; it would undo this one.
    _disarm()
    armed = Armed(_digest(rules), seconds, before)
    armed.write(places)
    try:
        _arm(places, seconds)
        nft.load(places.candidate)
    except HostError:
        _disarm()
        files.remove(places.armed)
        raise
    now = nft.listing()
    Armed(armed.desired, seconds, before, _digest(now or "")).write(places)


def _arm(places: Places, seconds: int) -> None:
    done = programs.run(
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit={ROLLBACK}",
        "--description=Put the previous packet filter rules back",
        f"--on-active={seconds}s",
        "--timer-property=AccuracySec=100ms",
        "--property=Type=oneshot",
        f"--property=ExecStartPost={programs.find('rm')} -f {places.armed}",
        programs.find("nft"),
        "-f",
        places.previous,
    )
    if done.code:
        raise _systemd_failed("the timer that takes the rules back cannot be armed", done.told)


def _disarm() -> None:
    """End the timer and what it may just be running; units that do not exist are fine."""
    programs.run("systemctl", "stop", f"{ROLLBACK}.timer", f"{ROLLBACK}.service")


# -- rolling back ----------------------------------------------------------------------


def _settle(places: Places) -> list[str]:
    """Wait until rules that an earlier run left unconfirmed are gone; what was undone, in words.

    As long as its timer runs, that run may still come to confirm them: it is left alone.
    """
    found, deadline = False, 0.0
    while True:
        with files.HostLock(places.lock):
            armed = Armed.read(places)
            if armed is None:
                break
            found, deadline = True, deadline or time.monotonic() + armed.seconds + _GRACE
            if not _is_active(f"{ROLLBACK}.timer") and not _is_active(f"{ROLLBACK}.service"):
                _roll_back(places)
                break
        if time.monotonic() > deadline:
            raise _busy(places, armed.seconds)
        time.sleep(0.5)
    return ["rules of an earlier run were not confirmed; they were waited for"] if found else []


def _roll_back(places: Places) -> None:
    nft.load(places.previous)
    files.remove(places.armed)


# -- confirming ------------------------------------------------------------------------


def confirmed(places: Places, rules: str, check: bool) -> dict[str, Any]:
    """Disarm the timer and make the rules permanent; HostError when they are gone already."""
    if check:
        boot = _boot_reasons(places, rules)
        return {"changed": bool(boot), "armed": False, "reasons": boot}
    with files.HostLock(places.lock):
        armed = Armed.read(places)
        if armed is None or armed.desired != _digest(rules):
            raise _not_confirmed(places)
        _disarm()
        if not armed.loaded or _digest(nft.listing() or "") != armed.loaded:
            _roll_back(places)
            raise _not_confirmed(places)
        boot = _boot_reasons(places, rules)
        _make_permanent(places, rules)
        files.remove(places.armed)
    return {"changed": bool(boot), "armed": False, "reasons": boot}


def _make_permanent(places: Places, rules: str) -> None:
    for path, data in places.boot_files(rules).items():
        if files.read(path) != data:
            files.write(path, data, files.PUBLIC)
    for words in (("daemon-reload",), ("enable", "--quiet", UNIT), ("restart", UNIT)):
        done = programs.run("systemctl", *words)
        if done.code:
            raise _systemd_failed(f"systemctl {' '.join(words)} failed", done.told)
    record = {"rules": _digest(rules), "table": _digest(nft.listing() or "")}
    files.write(places.record, json.dumps(record, indent=2).encode() + b"\n", files.PUBLIC)


# -- small things ----------------------------------------------------------------------


def _is_active(unit: str) -> bool:
    """Running, waiting or just being started."""
    if not programs.find("systemctl"):
        return False
    return programs.run("systemctl", "is-active", unit).output.strip() in (
        "active",
        "activating",
        "deactivating",
        "reloading",
    )


def _require_systemd() -> None:
    if not os.path.isdir("/run/systemd/system"):
        raise _systemd_failed("this host was not booted with systemd", "another init")


def _digest(text: str) -> str:
    return files.sha256(text.encode())


def _json(path: str) -> dict[str, Any] | None:
    data = files.read(path)
    if data is None:
        return None
    with contextlib.suppress(ValueError):
        raw = json.loads(data)
        if isinstance(raw, dict):
            return raw
    raise _damaged(path)


def _damaged(path: str) -> HostError:
    # Only a hand can do this: the file is written whole or not at all.
    return HostError(
        "a record of the packet filter is damaged",
        rule="FIREWALL-RECORD",
        found="text that is no such record",
        expected="the record as it was written",
        where=path,
        next_step="remove that file and run again",
    )


def _busy(places: Places, seconds: int) -> HostError:
    return HostError(
        "another run's rules are neither confirmed nor rolled back",
        rule="FIREWALL-ARMED",
        found=f"still armed after more than {seconds} s",
        expected="its timer puts the previous rules back",
        where=places.armed,
        next_step=f"read journalctl -u {ROLLBACK}, then run nft -f {places.previous}",
    )


def _not_confirmed(places: Places) -> HostError:
    return HostError(
        "the new packet filter rules were rolled back: no new connection confirmed them in time",
        rule="FIREWALL-NOT-CONFIRMED",
        found="the previous rules are in force again",
        expected="a new connection of this run through the new rules",
        where=places.rules,
        next_step="add the network this run comes from to firewall_operators (and check "
        "firewall_ssh_port), or raise firewall_confirm_seconds; then run again",
    )


def _systemd_failed(message: str, found: str) -> HostError:
    return HostError(
        message,
        rule="FIREWALL-SYSTEMD",
        found=found,
        expected="systemd takes the order",
        where="systemd",
        next_step="read journalctl -xe on the host and run again",
    )
