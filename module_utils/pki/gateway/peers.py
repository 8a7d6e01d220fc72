# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is let in by an ingress: which subject of which issuing CA, and no other pair.

A plain chain accepts every certificate below the root, so a peer is a subject together with the
issuing CAs it may come from (Code of Connection 12.3.2, steps 5a and 5b).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography import x509

from .. import names
from ..trust_files import LoadedTrust
from . import trust as trusted
from .reading import HOST, error, mapping, matching

_COMMON_NAME = re.compile(r"[ -~]{1,64}")
_LONGEST_SUBJECT = 1000
_OIDS = {short: x509.ObjectIdentifier(oid) for oid, short in names.SHORT_NAMES.items()}
# The inventory's word for a peer, and the model's.
_KINDS = {"CN": "cn", "subject": "subject", "dns": "dns"}

Subject = dict[str, str]


def allowed(raw: object, trust: LoadedTrust, where: str) -> dict[str, Any]:
    """The pairs that are let in: ``subjects``, ``issuers``, and ``pairs`` of their numbers.

    ``pairs`` are [issuer, subject], counted from 1; a peer that names no issuer is let in from
    every issuing CA of the trust set.
    """
    if not isinstance(raw, list | tuple) or not raw:
        raise error(where, "nobody would be let in", raw, "at least one {CN: exact name}")
    by_name = trusted.issuers(trust)
    issuers = [text for texts in by_name.values() for text in texts]
    subjects: list[Subject] = []
    pairs: set[tuple[int, int]] = set()
    for index, item in enumerate(raw):
        subject, from_whom = _peer(item, by_name, f"{where}[{index}]")
        if subject not in subjects:
            subjects.append(subject)
        at = subjects.index(subject) + 1
        pairs |= {(issuers.index(issuer) + 1, at) for issuer in from_whom or issuers}
    return {
        "subjects": subjects,
        "issuers": issuers,
        "pairs": [list(pair) for pair in sorted(pairs)],
    }


def _peer(
    raw: object, by_name: Mapping[str, Sequence[str]], where: str
) -> tuple[Subject, Sequence[str]]:
    entry = mapping(raw, where, (), (*_KINDS, "issuer"))
    named = [word for word in _KINDS if entry[word] is not None]
    if len(named) != 1:
        raise error(where, "not one peer", ", ".join(named) or "nothing", "one of CN, subject, dns")
    (word,) = named
    value = entry[word]
    read = {"CN": _common_name, "subject": _whole_subject, "dns": _dns_name}[word]
    subject = {"kind": _KINDS[word], "value": read(value, f"{where}.{word}")}
    if entry["issuer"] is None:
        return subject, ()
    if str(entry["issuer"]) not in by_name:
        raise error(
            f"{where}.issuer",
            "not an issuing CA of the listener's trust set",
            ascii(entry["issuer"]),
            "the common name of one of: " + ", ".join(map(ascii, by_name)),
        )
    return subject, by_name[str(entry["issuer"])]


def _common_name(value: object, where: str) -> str:
    if not isinstance(value, str) or not _COMMON_NAME.fullmatch(value):
        raise error(where, "not usable", ascii(value), "printable ASCII")
    return value


def _dns_name(value: object, where: str) -> str:
    if len(str(value)) > names.MAX_DOMAIN:
        raise error(where, "too long", value, f"at most {names.MAX_DOMAIN} characters")
    return matching(value, HOST, where, "a whole host name in lower case, without wildcards")


def _whole_subject(value: object, where: str) -> str:
    """A subject exactly as gateways print it; whatever else it could be written as is refused."""
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_SUBJECT:
        raise error(where, "not usable", ascii(value), "a name such as CN=x,O=y,C=GB")
    try:
        printed = names.rfc2253(x509.Name.from_rfc4514_string(value, _OIDS))
    except ValueError:
        raise error(
            where, "not a distinguished name", ascii(value), "RFC 2253, as in CN=x,O=y,C=GB"
        ) from None
    if printed != value:
        # Gateways compare text: what they would print otherwise would keep the peer out.
        raise error(where, "not written as gateways print it", ascii(value), printed)
    return value
