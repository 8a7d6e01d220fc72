# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release a host goes back to, and what is said of those it keeps. Pure.

Somebody who types this is tired and in trouble: what is kept is always listed with why it may or
may not be used, and with the command for each; and one command without a release number goes back
to the newest good one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import commands
from .errors import PkiError, shown
from .report import aligned, short

RULE = "ROLLBACK"
RULE_REFUSED = "ROLLBACK-REFUSED"
PREVIOUS = "previous"
COLUMNS = ("certificate", "release", "issued to", "serial", "valid until", "days left", "state")


@dataclass(frozen=True, slots=True)
class Release:
    """A release that a host keeps, as it was judged a moment ago.

    ``certificate`` is the declared name, ``entry`` its directory on hosts. ``not_after`` is an ISO
    date, empty where the certificate cannot be read. ``refused`` is why it may not be used.
    """

    certificate: str
    entry: str
    id: str
    version: int
    certificate_sha256: str
    current: bool = False
    held: bool = False
    common_name: str = ""
    serial: str = ""
    not_after: str = ""
    days_left: int | None = None
    refused: str = ""

    @property
    def label(self) -> str:
        return f"v{self.version} ({self.id})"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person typed: ``release`` is an id, a version, ``previous`` or empty."""

    host: str
    certificate: str = ""
    release: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is done: the release that is to stay, and the one in service now, if any.

    ``done`` says that it is in service and held already.
    """

    release: Release
    before: Release | None
    done: bool


def choose(releases: Sequence[Release], wish: Wish) -> Choice:
    """What a person's words mean on this host.

    Without a release: the newest good one older than what is in service. A certificate that is
    rolled back already is not taken back further by the same words: what is held stays.

    Args:
        releases: those the host keeps, oldest first.
        wish: the words.

    Raises:
        PkiError: ROLLBACK where the words name nothing, or more than one thing;
            ROLLBACK-REFUSED for a release that may not be used.
    """
    mine = _of_certificate(releases, wish)
    named = wish.release not in ("", PREVIOUS)
    wanted = _named(mine, wish) if named else _previous(mine, wish)
    if wanted.refused:
        raise PkiError(
            f"{wish.host}: {wanted.certificate} {wanted.label} may not be put into service again",
            rule=RULE_REFUSED,
            found=wanted.refused,
            expected="a release that is good today",
            where=f"{wanted.entry}/releases/{wanted.id} on {wish.host}",
            next_step=_others(mine, wish),
        )
    before = next((one for one in mine if one.entry == wanted.entry and one.current), None)
    return Choice(wanted, before, wanted.current and wanted.held)


def _of_certificate(releases: Sequence[Release], wish: Wish) -> list[Release]:
    """Those of the certificate that is meant: the named one, or the only one with a way back."""
    if wish.certificate:
        names = (wish.certificate, wish.certificate.partition("/")[0])
        mine = [one for one in releases if names[0] == one.certificate or one.entry == names[0]]
        if mine:
            return mine
        raise _unclear(wish, "this host keeps no release of it", wish.certificate, releases)
    entries = sorted({one.entry for one in releases})
    if len(entries) > 1:
        entries = sorted({one.entry for one in releases if _way_back(one, releases) or one.held})
    if len(entries) == 1:
        return [one for one in releases if one.entry == entries[0]]
    if not entries:
        raise _nothing(wish, releases)
    raise _unclear(wish, "which certificate?", ", ".join(entries), releases)


def _way_back(one: Release, releases: Sequence[Release]) -> bool:
    current = [other for other in releases if other.entry == one.entry and other.current]
    return not one.refused and not one.current and all(one.version < c.version for c in current)


def _named(mine: Sequence[Release], wish: Wish) -> Release:
    text = wish.release
    number = text.removeprefix("v")
    found = [one for one in mine if text == one.id or number == str(one.version)]
    if len(found) == 1:
        return found[0]
    if found:
        raise _unclear(
            wish, "that version is there twice", ", ".join(one.id for one in found), mine
        )
    raise _unclear(wish, "this host keeps no such release", text, mine)


def _previous(mine: Sequence[Release], wish: Wish) -> Release:
    """The newest good one before what is in service; what is held, where something is."""
    held = [one for one in mine if one.held]
    if held:
        return held[0]
    back = [one for one in mine if _way_back(one, mine)]
    if back:
        return back[-1]
    raise _nothing(wish, mine)


def _nothing(wish: Wish, releases: Sequence[Release]) -> PkiError:
    """No way back: every release that might have been one, and why it is none."""
    refused = [
        f"{one.certificate} {one.label}: {one.refused}"
        for one in releases
        if one.refused and not one.current
    ]
    found = "; ".join(refused) or "no older release is kept on this host"
    return _unclear(wish, "there is nothing to go back to", found, releases, rule=RULE_REFUSED)


def _unclear(
    wish: Wish,
    message: str,
    found: str,
    releases: Sequence[Release],
    *,
    rule: str = RULE,
) -> PkiError:
    return PkiError(
        f"{wish.host}: {message}",
        rule=rule,
        found=found,
        expected="a certificate and a release that this host keeps and that is good today",
        where=f"options certificate and release: {wish.certificate or 'none'}, "
        f"{wish.release or 'none'}",
        next_step=_others(releases, wish),
    )


def _others(releases: Sequence[Release], wish: Wish) -> str:
    """What else would work, as commands; and what when nothing would."""
    good = [one for one in releases if not one.refused and not one.current]
    if good:
        return "; or ".join(_command(one, wish.host) for one in reversed(good))
    names = sorted({one.certificate for one in releases}) or ["NAME"]
    return (
        "there is no good older release here: ask for a new certificate, "
        f"{commands.renew(names[0])}; nothing was changed"
    )


def _command(one: Release, host: str) -> str:
    return commands.rollback(one.certificate, host, f"v{one.version}")


# --- what is kept ------------------------------------------------------------------------------


def listing(
    host: str, releases: Sequence[Release], holds: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Every release that a host keeps, a line each, and then the commands."""
    if not releases:
        return [f"{host} keeps no release. Next: {commands.deploy()}"]
    rows = [COLUMNS, *(_row(one, holds) for one in _newest_first(releases))]
    back = [one for one in _newest_first(releases) if _way_back(one, releases)]
    held = [one for one in releases if one.held]
    lines = [f"{host} keeps:", *aligned(rows).splitlines()]
    lines += [f"next: to go back: {_command(one, host)}" for one in back]
    lines += [f"next: to release: {commands.let_go(one.certificate, host)}" for one in held]
    if not back and not held:
        lines.append(f"next: {_others(releases, Wish(host))}")
    return lines


def _newest_first(releases: Sequence[Release]) -> list[Release]:
    return sorted(releases, key=lambda one: (one.certificate, -one.version, one.id))


def _row(one: Release, holds: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    return (
        one.certificate,
        one.id,
        one.common_name or "-",
        short(one.serial) if one.serial else "-",
        one.not_after or "-",
        "-" if one.days_left is None else str(one.days_left),
        state(one, holds.get(one.entry)),
    )


def state(one: Release, hold: Mapping[str, Any] | None) -> str:
    """Whether it is in service and held, and whether it may be used."""
    words = ["in service"] if one.current else []
    if one.held and hold:
        words.append(held_by(hold))
    if one.refused:
        words.append(f"refused: {one.refused}")
    return ", ".join(words) or "good"


def held_by(hold: Mapping[str, Any]) -> str:
    """Who holds a release, since when and why, in half a sentence."""
    by = f" by {shown(str(hold['by']))}" if hold.get("by") else ""
    return f"held{by} since {hold['since']}: {shown(str(hold['reason']))}"
