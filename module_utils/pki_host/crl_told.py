# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of CRLs: lines for the journal, series for Prometheus. No network code, no clock.

A line starts with the priority that the journal reads from standard error (``<4>``) and is one
sentence that ends in what to do. Series are a textfile for the node exporter. Their names are
``x509_crl_*`` where exporters of CRL files already have one (``_this_update``, ``_next_update``,
``_number``, ``_stale``, ``_revoked_certificates``) and ``pki_crl_*`` elsewhere. All of them
exist from the first run on, so that a rule never waits for a series that has not happened yet.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import files
from .crl_watch import TrustWatch, Watch
from .errors import HostError, shown

ALERT, ERROR, WARNING, INFO = 1, 3, 4, 6
GAUGE, COUNTER = "gauge", "counter"
REFRESH_FILE = "pki_crl_refresh.prom"
POLL_OUTCOMES = ("304", "same", "new", "failed")
OUTCOMES = ("unchanged", "changed", "failed", "held")
OCSP_STATUSES = ("good", "revoked", "unknown", "none")
_SHORT = 16


# -- lines ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One line for the journal: its priority (0 to 7, as syslog has them) and its sentence."""

    priority: int
    text: str

    def __str__(self) -> str:
        return f"<{self.priority}>{shown(self.text)}"


def say(lines: Iterable[Line]) -> None:
    """Write lines to standard error, which the journal reads."""
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def reason(error: HostError) -> str:
    """An error in one line, without what to do."""
    told = f"{error.message}: {error.found}" if error.found else error.message
    return f"{told} ({error.expected} is wanted)" if error.expected else told


def sentence(what: str, error: HostError) -> str:
    """An error as the sentence of a line: what failed, why, what to do."""
    step = error.next_step or "see docs/crl.md"
    return f"{what}: {reason(error)}; {step}"


def lines(trust: str, status: Mapping[str, Any]) -> list[Line]:
    """What the journal gets of one refresh of a trust entry, the most urgent first."""
    told = [_revoked(trust, one) for one in _each(status, "revoked")]
    told += [_vanished(trust, one) for one in _each(status, "vanished")]
    if status.get("why"):
        told.append(_not_done(trust, status))
    for authority in _each(status, "authorities"):
        told += _authority_lines(trust, authority)
    told += [_unanswered(trust, one) for one in _each(status, "ocsp") if one["status"] == "none"]
    told += [
        Line(WARNING, f"{trust}: {note}; see docs/crl.md") for note in status.get("notes") or ()
    ]
    return [*told, _summary(trust, status)]


def texts(told: Iterable[Line], first: int, last: int) -> list[str]:
    """The sentences of these priorities, the most urgent first."""
    wanted = [line for line in told if first <= line.priority <= last]
    return [line.text for line in sorted(wanted, key=lambda line: line.priority)]


def table(trusts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The status of every CA for a person, a line each."""
    rows = [("TRUST", "CA", "POLL", "NUMBER", "ENTRIES", "CONFIRMED", "NEXT UPDATE", "SET")]
    for trust, status in trusts.items():
        for one in _each(status, "authorities"):
            rows.append(
                (
                    trust,
                    str(one["name"]),
                    str(one["outcome"]),
                    str(one["number"] or "-"),
                    str(one["entries"]),
                    str(one["fetched_at"] or "never"),
                    str(one["next_update"] or "-"),
                    str(status.get("outcome") or "-"),
                )
            )
        if not status:
            rows.append((trust, "-", "not yet", "-", "-", "never", "-", "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        shown("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())  # noqa: B905
        for row in rows
    ]


def _each(status: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return [one for one in status.get(name) or () if isinstance(one, Mapping)]


def _revoked(trust: str, one: Mapping[str, Any]) -> Line:
    """The top alarm: peers refuse it, or soon will."""
    since = f" since {one['since']}" if one.get("since") else ""
    why = f" ({one['reason']})" if one.get("reason") else ""
    text = f"{trust}: {one['what']}, serial {one['serial']}, is REVOKED{since}{why}"
    return Line(ALERT, f"{text}, says {one['source']}; next: {one['next_step']}")


def _vanished(trust: str, one: Mapping[str, Any]) -> Line:
    text = (
        f"{trust}: {one['what']}, serial {one['serial']}, was revoked, is good until "
        f"{one['not_after']} and is not in its CA's CRL any more since {one['since']}"
    )
    return Line(ERROR, f"{text}; ask the CA why, and do not let it back in before they answer")


def _not_done(trust: str, status: Mapping[str, Any]) -> Line:
    if status.get("outcome") == OUTCOMES[3]:
        return Line(WARNING, f"{trust}: nothing was switched: {status['why']}")
    text = f"{trust}: CRLs were not all refreshed: {status['why']}"
    return Line(ERROR, f"{text}; what is in service stays until it is too old; see docs/crl.md")


def _authority_lines(trust: str, one: Mapping[str, Any]) -> list[Line]:
    told = []
    if one["outcome"] != POLL_OUTCOMES[3]:
        told = [
            Line(
                WARNING,
                f"{trust}: {failed['url']} has no good CRL of {one['name']}: {failed['why']}; "
                f"{one['url']} had one; correct or remove that address",
            )
            for failed in one["tries"]
            if failed["why"]
        ]
    if one["outcome"] == "new":
        text = (
            f"{trust}: new CRL of {one['name']}, number {one['number'] or 'none'}: "
            f"{one['entries']} entries, {one['added']} added, {one['removed']} removed"
        )
        told.append(Line(INFO, f"{text}; nothing to do"))
    if one["removed_uncertain"]:
        text = (
            f"{trust}: {one['removed_uncertain']} serials are not in the CRL of {one['name']} any "
            "more, and a CRL does not say whether their certificates have expired"
        )
        told.append(Line(WARNING, f"{text}; ask the CA if that is more than a few"))
    return told


def _unanswered(trust: str, one: Mapping[str, Any]) -> Line:
    text = f"{trust}: no OCSP answer about {one['what']}: {one.get('why') or 'no reason is known'}"
    return Line(WARNING, f"{text}; the CRL counts; it is asked again with the next refresh")


def _summary(trust: str, status: Mapping[str, Any]) -> Line:
    names = [one["name"] for one in _each(status, "gateways") if one["outcome"] == "reloaded"]
    reloaded = f"; reloaded: {', '.join(names)}" if names else ""
    count = len(_each(status, "authorities"))
    return Line(INFO, f"{trust}: {status.get('outcome')}, CRLs of {count} CAs{reloaded}")


# -- series --------------------------------------------------------------------------------


@dataclass
class Metric:
    """One family of series. ``put`` sets the value of a label set; the last one put counts."""

    name: str
    kind: str
    help: str
    samples: dict[tuple[tuple[str, str], ...], float] = field(default_factory=dict)

    def put(self, value: float, **labels: str) -> Metric:
        self.samples[tuple(sorted(labels.items()))] = value
        return self

    def encode(self) -> str:
        """The family in the text format, HELP and TYPE first."""
        lines = [f"# HELP {self.name} {_escaped(self.help, quotes=False)}"]
        lines.append(f"# TYPE {self.name} {self.kind}")
        for labels, value in self.samples.items():
            inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
            lines.append(f"{self.name}{'{' + inside + '}' if inside else ''} {_number(value)}")
        return "\n".join(lines) + "\n"


def encode(metrics: Iterable[Metric]) -> bytes:
    """A whole textfile."""
    return "".join(metric.encode() for metric in metrics).encode()


def write(metrics_dir: str, name: str, metrics: Iterable[Metric]) -> None:
    """Replace a textfile atomically: the exporter reads the old one or the new one."""
    files.write(os.path.join(metrics_dir, name), encode(metrics), files.PUBLIC)


def _escaped(text: str, *, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(value: float) -> str:
    if isinstance(value, int) or (math.isfinite(value) and value == int(value)):
        return str(int(value))
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")


def _decimal(text: object) -> float:
    """A CRL number as a sample; it loses what a float does not hold."""
    try:
        return float(str(text or 0))
    except ValueError:
        return 0


def seconds(moment: str) -> float:
    """Seconds since 1970 of an ISO moment; 0 for none."""
    try:
        return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0


# -- the refresh ---------------------------------------------------------------------------


def refresh_metrics(
    watch: Watch, told: Mapping[str, Mapping[str, Any]], now: float
) -> list[Metric]:
    """The series of one refresh; ``told`` is the status of each trust as ``status.json`` has it.

    A trust without a status has its series all the same, at zero.
    """
    families = _Families()
    families.last_run.put(int(now))
    for name, trust in watch.trusts.items():
        families.add(trust, told.get(name, {}), now)
    return families.all()


class _Families:
    """All families of the refresh, and how one trust's status fills them."""

    def __init__(self) -> None:
        self._made: list[Metric] = []
        gauge, counter = self._gauge, self._counter
        self.last_run = gauge(
            "pki_crl_refresh_last_run_timestamp_seconds", "When the CRL refresh last ran."
        )
        self.last_success = gauge(
            "pki_crl_refresh_last_success_timestamp_seconds",
            "When every CA of the trust entry last had a CRL confirmed by its source.",
        )
        self.outcome = gauge(
            "pki_crl_refresh_outcome", "1 for what the last refresh of the trust entry came to."
        )
        self.runs = counter("pki_crl_refresh_runs_total", "Refreshes of the trust entry.")
        self.failures = counter(
            "pki_crl_refresh_failures_total", "Refreshes in which a CA had no good CRL."
        )
        self.polls = counter("pki_crl_polls_total", "Polls of a CA's CRL by what they came to.")
        self.fetched = gauge(
            "pki_crl_confirmed_timestamp_seconds",
            "When the CRL at hand was last confirmed by its source.",
        )
        self.this_update = gauge("x509_crl_this_update", "thisUpdate of the CRL at hand.")
        self.next_update = gauge("x509_crl_next_update", "nextUpdate of the CRL at hand.")
        self.number = gauge("x509_crl_number", "cRLNumber of the CRL at hand.")
        self.stale = gauge("x509_crl_stale", "1 once nextUpdate of the CRL at hand has passed.")
        self.entries = gauge("x509_crl_revoked_certificates", "Entries of the CRL at hand.")
        self.added = counter("pki_crl_serials_added_total", "Serials that newer CRLs added.")
        self.removed = counter("pki_crl_serials_removed_total", "Serials that newer CRLs left out.")
        self.vanished = gauge(
            "pki_crl_removed_unexpired",
            "Known certificates that were revoked, have not expired and are not listed any more.",
        )
        self.own = gauge("pki_crl_own_revoked", "Certificates of ours and CAs that are revoked.")
        self.ocsp = gauge("pki_crl_ocsp_answers", "What OCSP responders last said of ours.")

    def _gauge(self, name: str, text: str) -> Metric:
        return self._family(name, GAUGE, text)

    def _counter(self, name: str, text: str) -> Metric:
        return self._family(name, COUNTER, text)

    def _family(self, name: str, kind: str, text: str) -> Metric:
        self._made.append(Metric(name, kind, text))
        return self._made[-1]

    def all(self) -> list[Metric]:
        return self._made

    def add(self, trust: TrustWatch, status: Mapping[str, Any], now: float) -> None:
        of = {"trust": trust.name}
        self.last_success.put(seconds(str(status.get("last_success_at") or "")), **of)
        for outcome in OUTCOMES:
            self.outcome.put(int(status.get("outcome") == outcome), outcome=outcome, **of)
        self.runs.put(int(status.get("polls") or 0), **of)
        self.failures.put(int(status.get("failures") or 0), **of)
        self.own.put(len(status.get("revoked") or ()), **of)
        self.vanished.put(len(status.get("vanished") or ()), **of)
        answers = [str(one.get("status")) for one in status.get("ocsp") or ()]
        for answer in OCSP_STATUSES:
            self.ocsp.put(answers.count(answer), status=answer, **of)
        told = {str(one.get("sha256")): one for one in status.get("authorities") or ()}
        for authority in trust.authorities:
            labels = {
                **of,
                "authority": authority.sha256[:_SHORT],
                "issuer_CN": authority.name,
            }
            self._add_authority(labels, told.get(authority.sha256, {}), now)

    def _add_authority(
        self, labels: Mapping[str, str], told: Mapping[str, Any], now: float
    ) -> None:
        polls = told.get("polls") or {}
        for outcome in POLL_OUTCOMES:
            self.polls.put(int(polls.get(outcome) or 0), outcome=outcome, **labels)
        ends = seconds(str(told.get("next_update") or ""))
        self.fetched.put(seconds(str(told.get("fetched_at") or "")), **labels)
        self.this_update.put(seconds(str(told.get("this_update") or "")), **labels)
        self.next_update.put(ends, **labels)
        self.number.put(_decimal(told.get("number")), **labels)
        self.stale.put(int(ends <= now), **labels)
        self.entries.put(int(told.get("entries") or 0), **labels)
        self.added.put(int(told.get("added_total") or 0), **labels)
        self.removed.put(int(told.get("removed_total") or 0), **labels)
