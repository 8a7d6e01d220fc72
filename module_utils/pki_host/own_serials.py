# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a certificate that this host lives by is revoked: our own, a CA's, or a far end's.

The CRL is the floor: it is here, and it is in force. An OCSP responder may know earlier, or know
what a CRL no longer says; one that does not answer is a warning and nothing else.
"""

from __future__ import annotations

import calendar
import contextlib
import os
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from . import crl_der, crl_fetch, openssl
from .crl_entries import NO_REASON, Entry
from .crl_signature import readable
from .crl_watch import Authority, Known, Limits, TrustWatch
from .errors import HostError

GOOD, REVOKED, UNKNOWN, NONE = "good", "revoked", "unknown", "none"
REQUEST_TYPE = "application/ocsp-request"
_SKEW_SECONDS = 300
_OUR_KEY_IS_OUT = ("keyCompromise", "aACompromise")
_STATUS = re.compile(r"^/dev/fd/[0-9]+: (good|revoked|unknown)$", re.MULTILINE)
_NEXT_UPDATE = re.compile(r"^\tNext Update: .", re.MULTILINE)
_REASON = re.compile(r"^\tReason: ([A-Za-z]+)$", re.MULTILINE)
_SINCE = re.compile(r"^\tRevocation Time: (.+) GMT$", re.MULTILINE)
_RESPONDER_ERROR = re.compile(r"^Responder Error: (\w+)", re.MULTILINE)
# Two of the program's complaints that need other words.
_TIMES_INVALID, _VERIFIED = "Status times invalid", "Response verify OK"
_ISO = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Revoked:
    """A certificate of ours, or one we depend on, that its CA has revoked: the top alarm.

    ``serial`` is hexadecimal, ``since`` an ISO time in UTC or empty, ``source`` who says so.
    """

    what: str
    certificate: str
    serial: str
    source: str
    since: str
    reason: str
    next_step: str


@dataclass(frozen=True)
class Asked:
    """What an OCSP responder said of one certificate.

    ``status`` is ``good``, ``revoked``, ``unknown``, or ``none`` with ``why`` there is no answer;
    ``source`` the URL that was asked. The rest is as in :class:`Revoked`, for what is revoked.
    """

    what: str
    certificate: str
    serial: str
    status: str
    source: str = ""
    why: str = ""
    since: str = ""
    reason: str = ""
    next_step: str = ""

    @staticmethod
    def of(known: Known, status: str, source: str = "", why: str = "") -> Asked:
        """An answer about a certificate that is not revoked, as far as this one goes."""
        serial = format(known.serial, "x")
        return Asked(known.what, known.certificate, serial, status, source, why)

    @property
    def revoked(self) -> Revoked | None:
        """The alarm, if it is one."""
        if self.status != REVOKED:
            return None
        return Revoked(
            self.what,
            self.certificate,
            self.serial,
            self.source,
            self.since,
            self.reason,
            self.next_step,
        )


def revoked(trust: TrustWatch, der_of: Mapping[str, str]) -> list[Revoked]:
    """Every known certificate that the CRL of its issuer lists.

    ``der_of``: path of the CRL (DER) by the SHA-256 of the CA. Raises HostError CRL-UNREADABLE.
    """
    found = []
    for issuer, path in der_of.items():
        mine = [one for one in trust.known if one.issuer == issuer]
        entries = crl_der.find(path, [one.serial for one in mine]) if mine else {}
        found += [_listed(one, entries[one.serial]) for one in mine if one.serial in entries]
    return found


def ask_ocsp(trust: TrustWatch, known: Sequence[Known], limits: Limits) -> list[Asked]:
    """What the responders say of these certificates, those without one left out.

    Only addresses that the controller took from verified certificates are opened. The answer's
    signature is judged with this trust entry's CAs, its dates by this host's clock.

    Raises:
        HostError: PROGRAM-MISSING, PROGRAM-FAILED or FILE-REFUSED, this host cannot ask at all.
    """
    with tempfile.TemporaryDirectory(prefix="pki-ocsp-") as folder:
        return [_asked(trust, one, limits, folder) for one in known if one.ocsp_urls]


def _asked(trust: TrustWatch, known: Known, limits: Limits, folder: str) -> Asked:
    issuer = next((one for one in trust.authorities if one.sha256 == known.issuer), None)
    if issuer is None:
        return Asked.of(known, NONE, why="its CA is not among those of this trust entry")
    request = os.path.join(folder, "request")
    why = _make_request(issuer, known, request)
    answer = Asked.of(known, NONE, why=why)
    if why:
        return answer
    with open(request, "rb") as handle:
        body = handle.read()
    for url in known.ocsp_urls:
        answer = _answer(trust, issuer, known, url, body, limits, folder)
        if answer.status in (GOOD, REVOKED):
            break
    return answer


def _make_request(issuer: Authority, known: Known, path: str) -> str:
    """Write the question to ``path``; why that is impossible, or empty."""
    with readable(issuer.pem.encode()) as ca, readable(known.pem.encode()) as certificate:
        about = ["-issuer", f"/dev/fd/{ca}", "-cert", f"/dev/fd/{certificate}"]
        code, _, _ = openssl.tell(
            ["ocsp", *about, "-no_nonce", "-reqout", path], b"", (ca, certificate)
        )
    return "" if code == 0 else "no question can be made of the certificate and its CA"


def _answer(
    trust: TrustWatch,
    issuer: Authority,
    known: Known,
    url: str,
    body: bytes,
    limits: Limits,
    folder: str,
) -> Asked:
    path = os.path.join(folder, "response")
    try:
        crl_fetch.transfer(url, path, limits, body=body, content_type=REQUEST_TYPE)
    except HostError as exc:
        return Asked.of(known, NONE, url, f"{exc.message}: {exc.found}")
    try:
        return judge_response(trust.authorities, issuer, known, url, path)
    finally:
        os.unlink(path)


def judge_response(
    authorities: Sequence[Authority], issuer: Authority, known: Known, url: str, path: str
) -> Asked:
    """What the OCSP response (DER) at ``path`` says of a certificate, if it counts at all."""
    anchors = "".join(one.pem.strip() + "\n" for one in authorities)
    parts = (issuer.pem, known.pem, anchors)
    with contextlib.ExitStack() as stack:
        ca, certificate, trusted = (stack.enter_context(readable(x.encode())) for x in parts)
        about = ["-issuer", f"/dev/fd/{ca}", "-cert", f"/dev/fd/{certificate}"]
        # -partial_chain: every CA of the entry is pinned, with its root or without.
        checks = ["-CAfile", f"/dev/fd/{trusted}", "-no-CApath", "-partial_chain"]
        dates = ["-no_nonce", "-validity_period", str(_SKEW_SECONDS)]
        code, says, complains = openssl.tell(
            ["ocsp", "-respin", path, *about, *checks, *dates], b"", (ca, certificate, trusted)
        )
    why, status = _no_answer(code, says, complains), _STATUS.search(says)
    if why or status is None:
        return Asked.of(known, NONE, url, why)
    if status.group(1) != REVOKED:
        return Asked.of(known, status.group(1), url)
    named = _REASON.search(says)
    reason = named.group(1) if named else NO_REASON
    return replace(
        Asked.of(known, REVOKED, url),
        since=_since(says),
        reason=reason,
        next_step=_next_step(known, reason),
    )


def _no_answer(code: int, says: str, complains: str) -> str:
    """Why a response does not count, or empty."""
    error = _RESPONDER_ERROR.search(says + complains)
    if error is not None:
        return f"the responder says {error.group(1)}"
    if _VERIFIED not in complains:
        return "it is no OCSP response that the CA, or a responder of it, has signed"
    if _TIMES_INVALID in says + complains:
        return "it is not valid now"
    if code != 0 or _STATUS.search(says) is None:  # 1.1.1 ends well all the same
        return "it says nothing about the certificate"
    return "" if _NEXT_UPDATE.search(says) else "it has no end (nextUpdate)"


def _listed(known: Known, entry: Entry) -> Revoked:
    return Revoked(
        known.what,
        known.certificate,
        format(known.serial, "x"),
        "CRL",
        time.strftime(_ISO, time.gmtime(entry.revoked_at)),
        entry.reason,
        _next_step(known, entry.reason),
    )


def _next_step(known: Known, reason: str) -> str:
    if known.kind == "ca":
        return (
            "refuse what this CA issued: ask the operator of the PKI which CA takes its place, and "
            "pin that one; playbooks/renew.yml asks again for ours below it"
        )
    if known.kind == "peer":
        return (
            "tell the far end that its certificate is revoked; nothing of ours can make it good, "
            "and gateways go on refusing it"
        )
    if reason in _OUR_KEY_IS_OUT:
        return (
            "ansible-playbook playbooks/revoke.yml "
            f"-e certificate={known.certificate} -e cause=key_compromise "
            f"-e \"reason='revoked by its CA: {reason}'\" -e \"by='<Certificate Admin>'\" "
            "(takes the key out of service, asks for a new certificate; see docs/revocation.md)"
        )
    return (
        "ansible-playbook playbooks/renew.yml "
        f"-e certificate={known.certificate} -e \"reason='revoked by its CA: {reason}'\" "
        "(asks for a new certificate; where the key may be in other hands, playbooks/revoke.yml)"
    )


def _since(says: str) -> str:
    """The moment of revocation, as the program writes it (Nov  1 00:00:00 2025), in ISO."""
    found = _SINCE.search(says)
    try:
        # The C locale's names of months: nothing here ever sets another one.
        moment = time.strptime(found.group(1).split(".")[0], "%b %d %H:%M:%S %Y") if found else None
    except ValueError:
        moment = None
    return time.strftime(_ISO, time.gmtime(calendar.timegm(moment))) if moment else ""
