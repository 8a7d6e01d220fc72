# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of kind ``request``: a PKCS #10 request from its raw DER, and what lies beside it.

Pure. The request stage judges with them before anybody sees a request, the collector
afterwards what is committed. Nothing here judges or raises: what cannot be read is a fact.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509

from . import csr, days, observed, submission, x509_der
from .der import why
from .errors import PkiError
from .expectation import Expectation
from .key_hygiene import Limits

_BLOCK = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]{1,60})-----(?:\r\n|\r|\n)(.*?)-----END \1-----", re.DOTALL
)
#: Wanted, recorded or shown alternative names; an entry has no more.
_NAMES = 100
_ENDS = (("crlf", re.compile(rb"\r\n")), ("lf", re.compile(rb"(?<!\r)\n")))


@dataclass(frozen=True, slots=True)
class Beside:
    """What is known around a request.

    Attributes:
        expectation: what was to be asked for.
        limits: how far weaknesses of its key are looked for.
        certificate_admins: names in today's roster.
        record: the content of request.yml, None when there is none.
        submission: the bytes of submission.txt, None when there is none.
        compromised: keys that must never be used again, by SPKI digest, and who says so.
        settled: whether the request was answered and that answer recorded.
        age_days: whole days since it was made; days.NEVER when no record says, or right then.
    """

    expectation: Expectation
    limits: Limits
    certificate_admins: Sequence[str] = ()
    record: Mapping[str, Any] | None = None
    submission: bytes | None = None
    compromised: Mapping[str, str] = field(default_factory=dict)
    settled: bool = False
    age_days: int = days.NEVER


def document(data: bytes | None, beside: Beside) -> dict[str, Any]:
    """The facts of one request; ``data`` is the file's content, None when it is missing."""
    return {**_around(data or b"", beside), **_content(data, beside)}


def _content(data: bytes | None, beside: Beside) -> dict[str, Any]:
    if data is None:
        return _unreadable("there is no request.csr", beside)
    try:
        request = csr.parse(data)
        der = _der(data)
        return {"problem": "", **_read(request, der, beside)}
    except PkiError as exc:
        return _unreadable(f"{exc.message}: {exc.found}", beside)
    except ValueError as exc:
        return _unreadable(why(exc), beside)


def _read(request: csr.Request, der: bytes, beside: Beside) -> dict[str, Any]:
    raw, signed = x509_der.request(der), x509.load_der_x509_csr(der)
    faults = observed.encoding_faults(der, raw.subject, raw.extensions)
    names = observed.alternative_names(raw.extensions, faults)
    attributes = observed.listed(raw.attributes, faults, "attributes")
    return {
        "version": raw.version,
        **observed.subject(raw.subject),
        "key": {
            **observed.key(signed.public_key),
            "spki_sha256": request.spki_sha256,
            "compromised_in": observed.places(_says(beside.compromised, request.spki_sha256)),
            **observed.weakness(request.spki_der, beside.limits),
        },
        **observed.signature(signed, raw.algorithm),
        "signature_valid": request.signature_valid,
        "attributes": attributes,
        "extensions": observed.extensions(raw.extensions),
        "san": names,
        "encoding_faults": observed.shown_faults(faults),
    }


def _unreadable(problem: str, beside: Beside) -> dict[str, Any]:
    return {
        "state": "unreadable",
        "problem": observed.text(problem or "nothing could be read", 500),
        "version": -1,
        **observed.subject(x509_der.Name(())),
        "key": {
            "algorithm": "",
            "bits": 0,
            "exponent": 0,
            "spki_sha256": "",
            "compromised_in": [],
            **observed.weakness(b"", beside.limits),
        },
        "signature_algorithm": "",
        "signature_hash": "",
        "signature_padding": "none",
        "signature_valid": False,
        "attributes": [],
        "extensions": [],
        "san": [],
        "encoding_faults": [],
    }


def _says(compromised: Mapping[str, str], digest: str) -> list[str]:
    return [compromised[digest]] if digest in compromised else []


def _der(data: bytes) -> bytes:
    """The bytes inside the PEM as they stand, trailing ones included, which no loader shows."""
    block = _BLOCK.search(data)
    if data[:1] == b"\x30" or block is None:
        return data
    try:
        return base64.b64decode(b"".join(block[2].split()), validate=True)
    except binascii.Error:
        raise ValueError("the PEM block is not base64") from None


def _around(data: bytes, beside: Beside) -> dict[str, Any]:
    return {
        "state": "settled" if beside.settled else "open",
        "environment": observed.text(str(beside.expectation.environment), 63),
        "purposes": sorted(str(purpose) for purpose in beside.expectation.purposes),
        "age_days": min(beside.age_days, days.LONGEST),
        "expected": {
            **observed.expected(beside.expectation),
            "san": _names(beside.expectation.san),
        },
        "file": _file(data),
        "record": _record(beside.record),
        "submission": _submission(beside.submission, data),
        "certificate_admins": [
            observed.text(str(name), observed.WORD) for name in beside.certificate_admins
        ][: observed.NAMES],
    }


def _file(data: bytes) -> dict[str, Any]:
    block = _BLOCK.search(data)
    outside = data if block is None else data[: block.start()] + data[block.end() :]
    ends = [name for name, pattern in _ENDS if pattern.search(data)]
    return {
        "label": block[1].decode("ascii") if block else "",
        "line_ends": "none"
        if not ends or block is None
        else ends[0]
        if len(ends) == 1
        else "mixed",
        "longest_line": max((len(line) for line in data.splitlines()), default=0) if block else 0,
        "outside_bytes": len(outside.strip(b"\r\n")) if block else 0,
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _record(record: Mapping[str, Any] | None) -> dict[str, Any]:
    content = record or {}
    key, subject = content.get("key"), content.get("subject")

    def word(value: object, limit: int = observed.WORD) -> str:
        return observed.text("" if value is None else str(value), limit)

    return {
        "present": record is not None,
        "common_name": word(content.get("common_name")),
        "subject": observed.vetted(subject) if isinstance(subject, Mapping) else {},
        "spki_sha256": word(key.get("spki_sha256")) if isinstance(key, Mapping) else "",
        "request_sha256": word(content.get("request_sha256")),
        "san": _names(san if isinstance(san := content.get("san"), list) else ()),
        "environment": word(content.get("environment"), 63),
        "policy": word(content.get("policy"), 63),
    }


def _submission(content: bytes | None, request: bytes) -> dict[str, Any]:
    told = submission.read(content or b"")
    return {
        "present": content is not None,
        "holds_request": content is not None and submission.holds(content, request),
        "common_name": observed.text(told.common_name, observed.WORD),
        "subject": observed.vetted(told.subject),
        "san": _names(told.san),
        "submitters": [observed.text(name, observed.WORD) for name in told.submitters[:100]],
    }


def _names(names: Sequence[object]) -> list[str]:
    """Alternative names as text; of more than fit the number no longer is the request's."""
    return [observed.text(str(name)) for name in names[:_NAMES]]
