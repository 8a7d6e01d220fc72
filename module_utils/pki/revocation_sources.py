# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetches the answers that a verified certificate's own addresses promise. An edge: network, files.

Trust sets have CRL locations of their own, which :mod:`.crl_cache` polls. This is for what they
leave open: a certificate whose CRL is elsewhere, or whose CA answers by OCSP. What is opened are
the addresses of a :class:`~.ask.Ask`, and only the judgement of a path that leads to a pinned
anchor makes one (:class:`~.revocation.Unanswered`). The CA of a private network may well name an
address inside it, so no address is refused for where it leads.

Nothing here decides: what is fetched or kept is judged by :mod:`.revocation` like any other file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from cryptography import x509

from . import download as web
from . import ocsp_query, ocsp_response, plain_files, public_state, revocation
from .ask import Ask
from .certs import in_seconds
from .crl import Crl, older
from .errors import PkiError

RULE = "DIP-3.5.2.5-RP-CHECK"
# No trust set can have this name, so the folder is nobody else's.
FOLDER = "_answers"
MOST_BYTES = 256 * 1024 * 1024  # of all CRLs of one fetch, and of one look into the cache
MOST_FILES = 50_000


class Download(Protocol):
    """What brings the bytes of an address: ``download.download``, or a test's own."""

    def __call__(
        self,
        url: str,
        patience: web.Patience,
        *,
        body: bytes | None = None,
        content_type: str = "",
    ) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Fetched:
    """CRLs and OCSP responses (DER) that may be answers, and what could not be had.

    A problem is no refusal: the judgement that follows says what is still missing.
    """

    crls: tuple[Crl, ...] = ()
    ocsp: tuple[bytes, ...] = ()
    problems: tuple[PkiError, ...] = ()

    @property
    def found(self) -> bool:
        """Whether anything came."""
        return bool(self.crls or self.ocsp)

    def as_result(self) -> dict[str, Any]:
        """As plain values, for a run that hands on what it does not keep: check mode."""
        return {
            "crls": [_text(crl.der) for crl in self.crls],
            "ocsp": [_text(response) for response in self.ocsp],
        }

    @classmethod
    def of_result(cls, found: Mapping[str, Any]) -> Fetched:
        """Back from ``as_result``; what is damaged on the way is left out."""
        crls = [_crl(data) for data in _decoded(found.get("crls") or ())]
        return cls(tuple(one for one in crls if one), tuple(_decoded(found.get("ocsp") or ())))


def fetch(
    asks: Iterable[Ask],
    *,
    patience: web.Patience,
    cache_dir: Path | None,
    now: datetime,
    fetch: Download = web.download,
) -> Fetched:
    """Answers to the asks: each address is opened once, and a CRL's before a responder's.

    Whoever asks has had no answer from what is kept (``load``); here it only keeps worse out, and
    ends the search where it revokes.
    ``cache_dir`` is the controller's directory of CRLs; None keeps nothing. ``patience`` is the
    policy's (DIP-4.3.2). Raises nothing for what a network, a server or a full disk does.
    """
    folder = None if cache_dir is None else cache_dir / FOLDER
    found = _Found(folder, patience, in_seconds(now), fetch)
    for ask in dict.fromkeys(asks):
        found.look_for(ask)
    return found.result()


def load(cache_dir: Path, now: datetime) -> Fetched:
    """What earlier fetches kept; no network. A damaged file counts as none.

    CRLs past their time are among them: they still revoke, and keep older ones out. A response
    past its time is not, unless it revokes.
    """
    crls, responses, size = [], [], 0
    moment = in_seconds(now)
    for path in _files(cache_dir / FOLDER):
        content = _content(path)
        size += len(content)
        if size > MOST_BYTES:
            break
        if path.suffix == ".crl":
            crls.append(_crl(content))
        elif ocsp_response.may_serve(content, moment):
            responses.append(content)
    return Fetched(tuple(one for one in crls if one), tuple(responses))


@dataclass(slots=True)
class _Found:
    """One fetch: what was opened, what came, and what is wrong with it."""

    folder: Path | None
    patience: web.Patience
    now: datetime
    download: Download
    crls: dict[str, Crl] = field(default_factory=dict)
    kept: dict[str, Crl | None] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    ocsp: dict[str, bytes] = field(default_factory=dict)
    problems: dict[str, PkiError] = field(default_factory=dict)
    size: int = 0

    def look_for(self, ask: Ask) -> None:
        """The first address that has an answer ends the search."""
        if any(self._crl_answers(url, ask) for url in ask.crl_urls):
            return
        name = f"{hashlib.sha256(ask.certificate).hexdigest()}.ocsp"
        response = self._kept_response(name)
        if response and self._status(ask, ocsp=[response]).verdict == "revoked":
            self.ocsp[name] = response
            return
        any(self._ocsp_answers(url, name, ask) for url in ask.ocsp_urls)

    def result(self) -> Fetched:
        """Everything that came or was kept; the kept CRL of an address beside a new one."""
        kept = [crl for crl in self.kept.values() if crl is not None]
        crls = dict.fromkeys([*kept, *self.crls.values()])
        return Fetched(tuple(crls), tuple(self.ocsp.values()), tuple(self.problems.values()))

    def _crl_answers(self, url: str, ask: Ask) -> bool:
        kept = self._kept_crl(url)
        if kept is not None and self._status(ask, crls=[kept]).verdict == "revoked":
            return True
        crl = self._opened_crl(url)
        if crl is None:
            return False
        if kept is not None and kept.signed_by(ask.issuer) and older(crl, kept):
            self.crls.pop(url, None)
            self._problem(url, f"{crl.describe()}, older than the one that was kept")
            return False
        if not self._answered(ask, url, crls=[crl]):
            return False
        self._keep(_crl_file(url), crl.der)
        return True

    def _opened_crl(self, url: str) -> Crl | None:
        """The CRL of an address, which is opened once however many certificates name it."""
        if url not in self.opened:
            self.opened.add(url)
            try:
                if self.size > MOST_BYTES:
                    raise _too_many(url)
                content = self.download(url, self.patience)
                self.size += len(content)
                self.crls[url] = Crl.parse(content)
            except PkiError as exc:
                self._failed(url, exc)
        return self.crls.get(url)

    def _ocsp_answers(self, url: str, name: str, ask: Ask) -> bool:
        """One question to one responder; one that is silent is not asked about the others."""
        if url in self.silent:
            return False
        certificate = x509.load_der_x509_certificate(ask.certificate)
        issuer = x509.load_der_x509_certificate(ask.issuer)
        body = ocsp_query.request(certificate, issuer)
        try:
            response = self.download(url, self.patience, body=body, content_type=ocsp_query.TYPE)
        except PkiError as exc:
            self.silent.add(url)
            self._failed(url, exc)
            return False
        if not self._answered(ask, url, ocsp=[response]):
            return False
        self.ocsp[name] = response
        self._keep(name, response)
        return True

    def _answered(
        self, ask: Ask, where: str, *, crls: Sequence[Crl] = (), ocsp: Sequence[bytes] = ()
    ) -> bool:
        """Whether what came from an address says something of the certificate; or note why not."""
        status = self._status(ask, crls=crls, ocsp=ocsp)
        if status.verdict == "unknown":
            self._problem(where, status.why)
        return status.verdict != "unknown"

    def _status(
        self, ask: Ask, *, crls: Sequence[Crl] = (), ocsp: Sequence[bytes] = ()
    ) -> revocation.Status:
        chain = (ask.certificate, ask.issuer)
        (status,) = revocation.check(chain, crls, self.now, ocsp=ocsp)
        return status

    def _kept_crl(self, url: str) -> Crl | None:
        if url not in self.kept:
            content = _content(self.folder / _crl_file(url)) if self.folder else b""
            self.kept[url] = _crl(content) if content else None
        return self.kept[url]

    def _kept_response(self, name: str) -> bytes:
        return _content(self.folder / name) if self.folder else b""

    def _keep(self, name: str, content: bytes) -> None:
        """For the next run. A cache that cannot be written takes no answer away."""
        if self.folder is None or _content(self.folder / name) == content:
            return
        try:
            public_state.write(self.folder, {name: content})
        except PkiError as exc:
            self.problems.setdefault(exc.where, exc)

    def _problem(self, url: str, found: str) -> None:
        self.problems.setdefault(
            url,
            PkiError(
                "what came from a revocation address is no answer",
                rule=RULE,
                found=found,
                expected="a CRL or an OCSP response of the certificate's issuer, valid now",
                where=url,
                next_step="ask the CA what it publishes there; or put its CRL beside the inventory",
            ),
        )

    def _failed(self, url: str, exc: PkiError) -> None:
        self.problems.setdefault(
            url,
            PkiError(
                exc.message,
                rule=exc.rule,
                found=exc.found,
                expected=exc.expected,
                where=url,
                next_step=exc.next_step,
            ),
        )


def _too_many(url: str) -> PkiError:
    return PkiError(
        "the CRL was not fetched",
        rule="CRL-FETCH",
        found=f"more than {MOST_BYTES} bytes of other CRLs",
        expected="CRLs that one run can hold",
        where=url,
        next_step="have the CRLs of the trust set polled instead, with crl_urls beside its CAs",
    )


def _crl_file(url: str) -> str:
    return f"{hashlib.sha256(url.encode()).hexdigest()}.crl"


def _files(folder: Path) -> Iterator[Path]:
    try:
        names = sorted(folder.iterdir())
    except OSError:
        return
    yield from (path for path in names[:MOST_FILES] if path.suffix in (".crl", ".ocsp"))


def _content(path: Path) -> bytes:
    limit = revocation.MAX_CRL_BYTES if path.suffix == ".crl" else ocsp_response.MAX_RESPONSE_BYTES
    try:
        return plain_files.read(path, limit)
    except OSError:
        return b""


def _crl(content: bytes) -> Crl | None:
    try:
        return Crl.parse(content)
    except PkiError:
        return None


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _decoded(texts: Iterable[Any]) -> Iterator[bytes]:
    for text in texts:
        try:
            yield base64.b64decode(str(text), validate=True)
        except (binascii.Error, ValueError):
            continue
