# SPDX-License-Identifier: GPL-3.0-or-later
"""What requests and certificates have in common as facts: plain JSON values from raw DER.

Facts have bounds (``policies/facts/*.json``). What exceeds them is cut and named among the
faults, so that a document always fits its schema and nothing that was cut is ever approved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, padding

from . import csr, der_faults, key_hygiene, x509_der
from .certs import DECODE_ERRORS, check_signature_octets
from .der import why
from .expectation import Expectation
from .x509_der import Extension, Name

TEXT, WORD, ITEMS, NAMES = 1000, 200, 50, 1000
LARGEST_KEY = 1_000_000  # bits; every policy refuses such a key
#: Extensions whose value is DER that this project reads.
_READ = frozenset(x509_der.EXTENSION_NAMES.values()) - {"signedCertificateTimestamps"}
_T = TypeVar("_T")


def text(value: str, limit: int = TEXT) -> str:
    """A text cut to what facts can hold; a cut one never equals what was asked for."""
    return value if len(value) <= limit else f"{value[: limit - 1]}…"


def expected(expectation: Expectation) -> dict[str, Any]:
    """The ``expected`` object of every kind."""
    return {
        "common_name": text(str(expectation.common_name), WORD),
        "subject": vetted(expectation.subject),
    }


def vetted(subject: Mapping[str, str]) -> dict[str, str]:
    """A subject of inventory or record as text."""
    return {
        text(str(key), WORD): text(str(value), WORD) for key, value in list(subject.items())[:10]
    }


def subject(name: Name) -> dict[str, Any]:
    """The fields that describe a subject."""
    values: dict[str, str] = {}
    for item in name.attributes:
        earlier = f"{values[item.short_name]}\n" if item.short_name in values else ""
        values[item.short_name] = earlier + item.value()
    common_name = values.pop("CN", "")
    attributes = name.attributes[:ITEMS]
    return {
        "common_name": text(common_name),
        "subject": {text(key, WORD): text(value) for key, value in list(values.items())[:ITEMS]},
        "subject_attributes": [text(item.short_name, WORD) for item in attributes],
        "subject_strings": [x509_der.string_type(item) for item in attributes],
        "subject_multi_valued": min(name.multi_valued, ITEMS),
    }


def key(public: Callable[[], Any]) -> dict[str, Any]:
    """The fields of a public key; a key that cannot be read is ``unreadable``."""
    try:
        value = public()
        return {
            "algorithm": csr.key_algorithm(value),
            "bits": min(csr.key_bits(value), LARGEST_KEY),
            "exponent": min(csr.key_exponent(value), x509_der.LARGEST),
        }
    except DECODE_ERRORS:
        return {"algorithm": "unreadable", "bits": 0, "exponent": 0}


def weakness(spki: bytes, limits: key_hygiene.Limits) -> dict[str, Any]:
    """The fields of what is wrong with a public key; ``spki`` empty for one that is unreadable."""
    found = key_hygiene.of_key(spki, limits)
    return {
        "small_factor": found.small_factor,
        "fermat_rounds": found.fermat_rounds,
        "roca": found.roca,
    }


def places(names: Sequence[str]) -> list[str]:
    """A list of versions, or of those who say something about one."""
    return [text(name, WORD) for name in names[:100]]


def signature(signed: Any, identifier: bytes) -> dict[str, str]:
    """The fields of a signature's algorithm, of a certificate or a request."""
    return {
        "signature_algorithm": text(x509_der.algorithm_oid(identifier), 100),
        "signature_hash": csr.signature_hash(signed),
        "signature_padding": _padding(signed),
    }


def _padding(signed: Any) -> str:
    try:
        parameters = signed.signature_algorithm_parameters
    except DECODE_ERRORS:
        return "unknown"
    kinds: tuple[tuple[type[object], str], ...] = (
        (padding.PKCS1v15, "pkcs1v15"),
        (padding.PSS, "pss"),
        (ec.ECDSA, "ecdsa"),
    )
    return next((name for kind, name in kinds if isinstance(parameters, kind)), "none")


def extensions(found: Sequence[Extension]) -> list[dict[str, Any]]:
    """The ``extensions`` field."""
    return [{"name": text(item.name, 100), "critical": item.critical} for item in found[:ITEMS]]


def alternative_names(found: Sequence[Extension], faults: list[str]) -> list[dict[str, str]]:
    """The ``san`` field: the names of every subjectAltName extension there is."""
    every = decoded(found, "subjectAltName", x509_der.general_names, faults)
    shown = [{"type": name.type, "value": text(name.value)} for one in every for name in one]
    if len(shown) > NAMES:
        faults.append(f"{len(shown)} subject alternative names, where {NAMES} are the limit")
    return shown[:NAMES]


def decoded(
    found: Sequence[Extension], name: str, read: Callable[[bytes], _T], faults: list[str]
) -> list[_T]:
    """The values of every extension of a name; what does not decode is noted as a fault."""
    result: list[_T] = []
    for value in x509_der.values(found, name):
        try:
            result.append(read(value))
        except ValueError:
            faults.append(f"{name} cannot be read")
    return result


def encoding_faults(data: bytes, name: Name, found: Sequence[Extension]) -> list[str]:
    """Where the bytes are no DER, inside the known extensions, too; and what exceeds bounds."""
    faults = list(der_faults.faults(data))
    try:
        check_signature_octets(data)
    except ValueError as exc:
        faults.append(why(exc))
    for item in found:
        if item.name in _READ:
            faults += [f"{item.name}: {fault}" for fault in der_faults.faults(item.value)]
    for count, what in ((len(name.attributes), "subject attributes"), (len(found), "extensions")):
        if count > ITEMS:
            faults.append(f"{count} {what}, where {ITEMS} are the limit")
    return faults


def listed(items: Sequence[str], faults: list[str], what: str, limit: int = ITEMS) -> list[str]:
    """A list of texts cut to what facts can hold."""
    if len(items) > limit:
        faults.append(f"{len(items)} {what}, where {limit} are the limit")
    return [text(item) for item in items[:limit]]


def shown_faults(faults: Sequence[str]) -> list[str]:
    """The ``encoding_faults`` field."""
    return [text(fault, WORD) for fault in faults[:ITEMS]]
