# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host watches: CAs and where their CRLs are, ages, periods. No network code, no clock.

The controller decides all of it; ``watch.json`` is how the two timers know between runs. It holds
nothing secret. Every value is judged when it is read: the file decides what is refused.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import files
from .errors import HostError

WATCH = "watch.json"
VERSION = 1
DIRECTIONS = ("ingress", "egress")
REFUSE, ALARM = "refuse", "alarm"
_ON_STALE = (REFUSE, ALARM)
_NEEDS = ("user", "ca")
_KINDS = ("ours", "ca", "peer")
# The last names are those of files and directories of ours beside the trust entries.
_NAME = re.compile(r"(?!(?:refusal|metrics|\w+\.json)$)[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PROXY = re.compile(r"(?:http://[A-Za-z0-9.:\[\]-]+/?)?")
_SERIAL = re.compile(r"[0-9a-f]+")
# Rounds of a year; beyond it a number is a slip, and a float of it may be infinite.
_LONGEST_SECONDS = 366 * 86400
_LARGEST = 2**40


@dataclass(frozen=True)
class Authority:
    """One pinned CA: ``sha256`` of its certificate's DER, and where its CRLs are."""

    name: str
    sha256: str
    pem: str
    urls: tuple[str, ...]
    needs: str  # whose certificates its CRL must cover: "user" or "ca"


@dataclass(frozen=True)
class Direction:
    """What happens to one direction once the set is older than ``max_age_seconds``."""

    on_stale: str
    max_age_seconds: int


@dataclass(frozen=True)
class Known:
    """A certificate whose serial is looked for in every new CRL of its ``issuer`` (SHA-256)."""

    what: str
    certificate: str
    kind: str
    serial: int
    issuer: str
    not_after: str
    ocsp_urls: tuple[str, ...]
    pem: str


@dataclass(frozen=True)
class TrustWatch:
    """One trust entry: its CAs in the order of the set, and the directions that use it."""

    name: str
    authorities: tuple[Authority, ...]
    directions: Mapping[str, Direction]
    known: tuple[Known, ...]
    longest_validity_days: int


@dataclass(frozen=True)
class Limits:
    """What one transfer may cost; ``proxy`` is a URL or empty."""

    attempts: int
    first_wait_seconds: float
    wait_factor: float
    longest_wait_seconds: float
    timeout_seconds: float
    total_seconds: float
    largest_bytes: int
    proxy: str


@dataclass(frozen=True)
class Timer:
    """How often polls start, by how much each is delayed at random, and how exactly."""

    period_seconds: int
    delay_seconds: int
    accuracy_seconds: int


@dataclass(frozen=True)
class Watch:
    """All of ``watch.json``."""

    trusts: Mapping[str, TrustWatch]
    fetch: Limits
    alarm_percents: tuple[int, ...]
    clock_tolerance_seconds: int
    refresh: Timer
    guard_period_seconds: int
    ocsp_period_seconds: int
    grace_longest_seconds: int
    gateway_root: str
    metrics_dir: str

    @staticmethod
    def of(raw: Mapping[str, Any]) -> Watch:
        """A watch from parsed JSON; HostError CRL-WATCH names the field that is not usable."""
        return _watch(_Fields(raw, "watch"))

    @staticmethod
    def load(crl_root: str) -> Watch | None:
        """What this host watches, or None where no run has said so."""
        path = os.path.join(crl_root, WATCH)
        data = files.read(path)
        if data is None:
            return None
        try:
            return Watch.of(json.loads(data))
        except (ValueError, RecursionError):  # ValueError: also bytes that are no UTF-8
            raise _unusable(path, "not JSON", "one JSON object") from None

    def encode(self) -> bytes:
        """The bytes of ``watch.json``; the same watch is always the same bytes."""
        return (json.dumps(_raw(self), indent=1, sort_keys=True) + "\n").encode()


of = Watch.of
load = Watch.load


def _watch(fields: _Fields) -> Watch:
    version = fields.whole("version", 0, _LARGEST)
    if version != VERSION:
        raise _unusable("watch.version", str(version), f"version {VERSION}")
    trusts = fields.below("trusts")
    return Watch(
        {name: _trust(name, trusts.below(name)) for name in trusts.names(_NAME)},
        _limits(fields.below("fetch")),
        tuple(sorted(fields.percents("alarm_percents"))),
        fields.seconds("clock_tolerance_seconds"),
        _timer(fields.below("refresh")),
        fields.below("guard").seconds("period_seconds", 1),
        fields.seconds("ocsp_period_seconds", 1),
        fields.seconds("grace_longest_seconds"),
        fields.path("gateway_root"),
        fields.path("metrics_dir"),
    )


def _trust(name: str, fields: _Fields) -> TrustWatch:
    directions = fields.below("directions")
    authorities = tuple(_authority(entry) for entry in fields.each("authorities"))
    if len({authority.sha256 for authority in authorities}) != len(authorities):
        raise _unusable(f"{name}: authorities", "a CA twice", "every CA once")
    if not authorities:
        # Of no CA there is no CRL; a set without one lets everybody in on some products.
        raise _unusable(f"{name}: authorities", "no CA", "at least one CA")
    return TrustWatch(
        name,
        authorities,
        {
            direction: Direction(
                directions.below(direction).one_of("on_stale", _ON_STALE),
                directions.below(direction).seconds("max_age_seconds", 1),
            )
            for direction in directions.names(re.compile("|".join(DIRECTIONS)))
        },
        tuple(_known(entry) for entry in fields.each("known")),
        fields.whole("longest_validity_days", 1, _LARGEST),
    )


def _authority(fields: _Fields) -> Authority:
    return Authority(
        fields.text("name"),
        fields.matching("sha256", _SHA256),
        fields.text("pem"),
        fields.texts("urls"),
        fields.one_of("needs", _NEEDS),
    )


def _known(fields: _Fields) -> Known:
    return Known(
        fields.text("what"),
        fields.text("certificate"),
        fields.one_of("kind", _KINDS),
        int(fields.matching("serial", _SERIAL), 16),
        fields.matching("issuer", _SHA256),
        fields.text("not_after"),
        fields.texts("ocsp_urls"),
        fields.text("pem"),
    )


def _limits(fields: _Fields) -> Limits:
    return Limits(
        fields.whole("attempts", 1, 100),
        fields.number("first_wait_seconds", 0),
        fields.number("wait_factor", 1),
        fields.number("longest_wait_seconds", 0),
        fields.number("timeout_seconds", 0.001),
        fields.number("total_seconds", 0.001),
        fields.whole("largest_bytes", 1, _LARGEST),
        _proxy(fields),
    )


def _proxy(fields: _Fields) -> str:
    """Not shown when it is wrong: what is wrong may be a password, and this file is public."""
    if not _PROXY.fullmatch(fields.text("proxy")):
        raise _unusable(
            "fetch.proxy", "another address", "http://host:port without a name or password, or none"
        )
    return fields.text("proxy")


def _timer(fields: _Fields) -> Timer:
    return Timer(
        fields.seconds("period_seconds", 1),
        fields.seconds("delay_seconds"),
        fields.seconds("accuracy_seconds", 1),
    )


class _Fields:
    """An object of the file with its place in it, for sentences about what is wrong there."""

    def __init__(self, raw: object, where: str) -> None:
        if not isinstance(raw, Mapping):
            raise _unusable(where, type(raw).__name__, "an object")
        self._raw: Mapping[Any, Any] = raw
        self._where = where

    def _of(self, name: str) -> object:
        if name not in self._raw:
            raise _unusable(f"{self._where}.{name}", "nothing", "a value")
        value: object = self._raw[name]
        return value

    def _wrong(self, name: str, expected: str) -> HostError:
        return _unusable(f"{self._where}.{name}", repr(self._raw[name])[:80], expected)

    def below(self, name: str) -> _Fields:
        return _Fields(self._of(name), f"{self._where}.{name}")

    def each(self, name: str) -> list[_Fields]:
        where = f"{self._where}.{name}"
        return [_Fields(raw, f"{where}[{n}]") for n, raw in enumerate(self._list(name))]

    def _list(self, name: str) -> Sequence[object]:
        value = self._of(name)
        if not isinstance(value, (list, tuple)):
            raise self._wrong(name, "a list")
        return value

    def names(self, pattern: re.Pattern[str]) -> list[str]:
        for name in self._raw:
            if not isinstance(name, str) or not pattern.fullmatch(name):
                raise _unusable(self._where, repr(name)[:80], f"names like {pattern.pattern}")
        return sorted(self._raw)

    def text(self, name: str) -> str:
        value = self._of(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._list(name)
        if not all(isinstance(value, str) for value in values):
            raise self._wrong(name, "a list of texts")
        return tuple(str(value) for value in values)

    def matching(self, name: str, pattern: re.Pattern[str]) -> str:
        value = self.text(name)
        if not pattern.fullmatch(value):
            raise self._wrong(name, pattern.pattern)
        return value

    def one_of(self, name: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name)
        if value not in allowed:
            raise self._wrong(name, " or ".join(allowed))
        return value

    def path(self, name: str) -> str:
        value = self.text(name)
        if not os.path.isabs(value):
            raise self._wrong(name, "an absolute path")
        return os.path.normpath(value)

    def number(self, name: str, least: float, most: float = _LONGEST_SECONDS) -> float:
        value = self._of(name)
        # A bool is an int to Python; to whoever wrote it, it was a slip.
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong(name, "a number")
        if not least <= value <= most:  # NaN is neither
            raise self._wrong(name, f"{least} to {most}")
        return float(value)

    def whole(self, name: str, least: int, most: int) -> int:
        value = self.number(name, least, most)
        if value != int(value):
            raise self._wrong(name, "a whole number")
        return int(value)

    def seconds(self, name: str, least: int = 0) -> int:
        return self.whole(name, least, _LONGEST_SECONDS)

    def percents(self, name: str) -> set[int]:
        numbers = _Fields(dict(enumerate(self._list(name))), f"{self._where}.{name}")
        return {numbers.whole(n, 1, 100) for n in numbers._raw}


def _raw(watch: Watch) -> dict[str, Any]:
    return {
        "version": VERSION,
        "trusts": {name: _raw_trust(trust) for name, trust in watch.trusts.items()},
        "fetch": vars(watch.fetch),
        "alarm_percents": list(watch.alarm_percents),
        "clock_tolerance_seconds": watch.clock_tolerance_seconds,
        "refresh": vars(watch.refresh),
        "guard": {"period_seconds": watch.guard_period_seconds},
        "ocsp_period_seconds": watch.ocsp_period_seconds,
        "grace_longest_seconds": watch.grace_longest_seconds,
        "gateway_root": watch.gateway_root,
        "metrics_dir": watch.metrics_dir,
    }


def _raw_trust(trust: TrustWatch) -> dict[str, Any]:
    return {
        "authorities": [vars(authority) for authority in trust.authorities],
        "directions": {name: vars(entry) for name, entry in trust.directions.items()},
        "known": [{**vars(known), "serial": f"{known.serial:x}"} for known in trust.known],
        "longest_validity_days": trust.longest_validity_days,
    }


def _unusable(where: str, found: str, expected: str) -> HostError:
    return HostError(
        "what this host watches is not usable",
        rule="CRL-WATCH",
        found=found,
        expected=expected,
        where=where,
        next_step="run site.yml for this host; what is in force stays as it is until then",
    )
