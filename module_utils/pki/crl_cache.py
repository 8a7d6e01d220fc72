# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's CRL cache: fetch, verify, keep; never replace good with worse.

An edge: network and files. What a CRL says is judged by :mod:`.revocation`. CRLs are
fetched only from the locations configured beside a pinned CA, never from an address that
an unverified certificate names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from . import crl_drop, plain_files, public_state, revocation
from .crl import older
from .download import MAXIMUM_BYTES, Patience, download
from .errors import PkiError
from .trust_files import Ca, LoadedTrust

Fetch = Callable[[str], bytes]
_NOTHING = crl_drop.Drop()


@dataclass(frozen=True, slots=True)
class CrlSet:
    """The verified CRLs of every CA of a trust set.

    ``crls`` are DER, in the order of ``LoadedTrust.authorities``; ``fetched_at`` is the oldest
    successful poll, ``next_update`` the earliest end. ``warnings`` are polls that failed
    while another copy still serves; ``problems`` are CAs without a usable CRL. ``remarks`` name
    files that somebody put beside the inventory and that are not used.
    """

    trust: str
    crls: tuple[bytes, ...]
    pem: bytes
    fetched_at: datetime | None
    next_update: datetime | None
    changed: bool
    warnings: tuple[PkiError, ...]
    problems: tuple[PkiError, ...]
    remarks: tuple[PkiError, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every CA of the set has a verified, fresh CRL."""
        return not self.problems

    @property
    def sha256(self) -> str:
        """Digest of the PEM bundle: the identity of the set."""
        return hashlib.sha256(self.pem).hexdigest()


@dataclass(frozen=True, slots=True)
class _Kept:
    info: revocation.CrlInfo
    fetched_at: datetime


def refresh(
    trust: LoadedTrust,
    cache_dir: str | Path,
    *,
    now: datetime,
    max_age: timedelta,
    patience: Patience | None = None,
    fetch: Fetch | None = None,
    drop: crl_drop.Drop = _NOTHING,
    save: bool = True,
) -> CrlSet:
    """Poll every CA's CRL and return the set; the cache is updated unless ``save`` is off.

    Of network, ``drop`` and cache the newest valid one of each CA serves. How long is waited
    says ``patience``, unless ``fetch`` brings CRLs in a way of its own.
    """
    folder = Path(cache_dir) / trust.name
    polls = _polls(folder)
    source = fetch or _downloads(patience)
    kept: list[_Kept] = []
    changed = False
    warnings: list[PkiError] = []
    problems: list[PkiError] = []
    dropped = _ByHand(drop.crls, now, max_age)
    for ca in trust.authorities:
        cached = _cached(folder, ca, polls, now, max_age)
        floor = _floor(folder, ca)
        fresh, error = _fetched(ca, floor, source, now)
        chosen = _newest([fresh, *dropped.of(ca, floor), cached])
        if error is not None and (ca.crl_urls or chosen is None):
            (warnings if chosen else problems).append(error)
        if chosen is None:
            continue
        dropped.outdone(ca, chosen)
        kept.append(chosen)
        if cached is None or cached.info.sha256 != chosen.info.sha256:
            changed = True
            if save:
                public_state.write(folder, {_file(ca): chosen.info.der})
        polls[ca.sha256] = public_state.iso(chosen.fetched_at)
    if save and kept:
        public_state.write(folder, {"poll.json": json.dumps(polls, sort_keys=True).encode()})
    result = _set(trust.name, kept, changed, warnings, problems)
    return replace(result, remarks=dropped.remarks())


def _newest(candidates: Iterable[_Kept | None]) -> _Kept | None:
    """The newest CRL; of two that are equally new the one that was polled last."""
    best: _Kept | None = None
    for one in candidates:
        if one is not None and (best is None or _better(one, best)):
            best = one
    return best


def _better(one: _Kept, than: _Kept) -> bool:
    if older(than.info, one.info):
        return True
    return not older(one.info, than.info) and one.fetched_at > than.fetched_at


@dataclass(slots=True)
class _ByHand:
    """The CRLs beside the inventory, and what is to be said of those that do not serve."""

    crls: Sequence[crl_drop.Dropped]
    now: datetime
    max_age: timedelta
    faults: dict[Path, PkiError] = field(default_factory=dict)
    good: dict[Path, revocation.CrlInfo] = field(default_factory=dict)

    def of(self, ca: Ca, floor: revocation.CrlInfo | None) -> Iterator[_Kept]:
        """Those of a CA that could serve."""
        for one in self.crls:
            if not one.is_of(ca):
                continue
            late = one.too_old(self.now, self.max_age)
            try:
                info = revocation.verify_crl(one.crl, ca.der, self.now)
                _not_older(ca, info, floor, str(one.path))
                if late is not None:
                    raise late
            except PkiError as exc:
                fault = crl_drop.remark(one.path, exc.found, exc.expected, exc.next_step)
                self.faults.setdefault(one.path, fault)
                continue
            self.good[one.path] = info
            yield _Kept(info, one.put_at)

    def outdone(self, ca: Ca, chosen: _Kept) -> None:
        """Name each good file that an even newer CRL makes useless."""
        for one in self.crls:
            info = self.good.get(one.path)
            if info is not None and one.is_of(ca) and older(info, chosen.info):
                del self.good[one.path]
                self.faults[one.path] = crl_drop.remark(
                    one.path,
                    _age(info),
                    f"not older than the one in use: {_age(chosen.info)}",
                    "remove the file, or replace it with a newer one",
                )

    def remarks(self) -> tuple[PkiError, ...]:
        """Of each file that serves no CA, why."""
        return tuple(fault for path, fault in self.faults.items() if path not in self.good)


def _downloads(patience: Patience | None) -> Fetch:
    if patience is None:
        raise ValueError("a download needs to know how long to wait")

    def fetch(url: str) -> bytes:
        return download(url, patience)

    return fetch


def load(trust: LoadedTrust, cache_dir: str | Path, *, now: datetime, max_age: timedelta) -> CrlSet:
    """The cached set as it is, verified again; no network."""
    folder = Path(cache_dir) / trust.name
    polls = _polls(folder)
    kept: list[_Kept] = []
    problems: list[PkiError] = []
    for ca in trust.authorities:
        cached = _cached(folder, ca, polls, now, max_age)
        if cached is None:
            problems.append(_no_crl(ca, "no fresh CRL in the cache", str(folder)))
        else:
            kept.append(cached)
    return _set(trust.name, kept, False, [], problems)


def kept(trust: LoadedTrust, cache_dir: str | Path) -> dict[str, tuple[bytes, str]]:
    """What the cache has of each CA, by its SHA-256: a CRL, fresh or not, and when it was polled.

    Nothing is judged here. No CRL is empty bytes, and no poll an empty text.
    """
    folder = Path(cache_dir) / trust.name
    polls = _polls(folder)
    return {ca.sha256: (_content(folder, ca), polls.get(ca.sha256, "")) for ca in trust.authorities}


def _content(folder: Path, ca: Ca) -> bytes:
    try:
        return plain_files.read(folder / _file(ca), MAXIMUM_BYTES)
    except OSError:
        return b""


def given(trust: LoadedTrust, pem: bytes, *, now: datetime) -> CrlSet:
    """The set of CRLs somebody fetched a moment ago and did not keep: check mode's way."""
    crls = revocation.parse_crls(pem)
    kept: list[_Kept] = []
    problems: list[PkiError] = []
    for ca in trust.authorities:
        fitting = [info for crl in crls if (info := _verified(crl.der, ca, now)) is not None]
        if fitting:
            kept.append(_Kept(fitting[0], now))
        else:
            problems.append(_no_crl(ca, "none among the fetched ones", "this run"))
    return _set(trust.name, kept, False, [], problems)


def _verified(crl: bytes, ca: Ca, now: datetime) -> revocation.CrlInfo | None:
    try:
        return revocation.verify_crl(crl, ca.der, now)
    except PkiError:
        return None


def _set(
    name: str,
    kept: list[_Kept],
    changed: bool,
    warnings: list[PkiError],
    problems: list[PkiError],
) -> CrlSet:
    return CrlSet(
        trust=name,
        crls=tuple(item.info.der for item in kept),
        pem=b"".join(revocation.to_pem(item.info.der) for item in kept),
        fetched_at=min((item.fetched_at for item in kept), default=None),
        next_update=min((item.info.next_update for item in kept), default=None),
        changed=changed,
        warnings=tuple(warnings),
        problems=tuple(problems),
    )


def _file(ca: Ca) -> str:
    return f"{ca.sha256[:16]}.crl"


def _polls(folder: Path) -> dict[str, str]:
    """Last successful poll per CA; a damaged record counts as never polled."""
    try:
        raw: Any = json.loads(plain_files.read(folder / "poll.json", MAXIMUM_BYTES))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in raw.items()} if isinstance(raw, dict) else {}


def _cached(
    folder: Path, ca: Ca, polls: Mapping[str, str], now: datetime, max_age: timedelta
) -> _Kept | None:
    """The cached CRL if it is still right and young enough; None for anything else."""
    try:
        content = plain_files.read(folder / _file(ca), MAXIMUM_BYTES)
        fetched_at = datetime.fromisoformat(polls[ca.sha256].replace("Z", "+00:00"))
        info = revocation.verify_crl(content, ca.der, now)
        age = now - fetched_at
    except (OSError, KeyError, TypeError, ValueError, PkiError):
        return None  # TypeError: a poll time without a zone
    return (
        _Kept(info, fetched_at)
        if timedelta(0) <= age + timedelta(minutes=5) and age <= max_age
        else None
    )


def _floor(folder: Path, ca: Ca) -> revocation.CrlInfo | None:
    """The CRL that was kept last, however old: nothing older may follow it.

    It is verified as of its own date. A stale one does not serve any more, but forgetting
    it would let an older one, still inside its dates, bring a revoked certificate back.
    """
    try:
        content = plain_files.read(folder / _file(ca), MAXIMUM_BYTES)
        own_date = revocation.Crl.parse(content).this_update
        return revocation.verify_crl(content, ca.der, own_date)
    except (OSError, PkiError):
        return None


def _fetched(
    ca: Ca, floor: revocation.CrlInfo | None, source: Fetch, now: datetime
) -> tuple[_Kept | None, PkiError | None]:
    if not ca.crl_urls:
        return None, _no_crl(ca, "no CRL location is configured", "group_vars/all/trust.yml")
    error: PkiError | None = None
    for url in ca.crl_urls:
        try:
            info = revocation.verify_crl(source(url), ca.der, now)
            _not_older(ca, info, floor, url)
        except PkiError as exc:
            error = _at(exc, ca, url)
            continue
        return _Kept(info, now), None
    return None, error


def _not_older(
    ca: Ca, info: revocation.CrlInfo, floor: revocation.CrlInfo | None, url: str
) -> None:
    """A CRL that goes back could bring a revoked certificate back to life."""
    if floor is None or not older(info, floor):
        return
    raise PkiError(
        f"the CRL of {ca.common_name} is older than the last one that was kept",
        rule="DIP-3.6.1-POLL",
        found=_age(info),
        expected=f"not older than {_age(floor)}",
        where=url,
        next_step="ask the CA why its CRL went back; if that is right, remove the cached one",
    )


def _age(info: revocation.CrlInfo) -> str:
    number = "no CRL number" if info.number is None else f"CRL number {info.number}"
    return f"{number}, from {public_state.iso(info.this_update)}"


def _at(exc: PkiError, ca: Ca, url: str) -> PkiError:
    return PkiError(
        exc.message if ca.common_name in exc.message else f"{ca.common_name}: {exc.message}",
        rule=exc.rule,
        found=exc.found,
        expected=exc.expected,
        where=url,
        next_step=exc.next_step,
    )


def _no_crl(ca: Ca, found: str, where: str) -> PkiError:
    return PkiError(
        f"there is no fresh CRL of {ca.common_name}",
        rule="DIP-3.5.2.5-RP-CHECK",
        found=found,
        expected="a verified CRL of every CA in the chain",
        where=where,
        next_step="check the CRL location and the way to it, then run again; where there is no "
        f"way, put the CRL into {crl_drop.FOLDER}/ beside the inventory",
    )
