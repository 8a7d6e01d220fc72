# SPDX-License-Identifier: GPL-3.0-or-later
"""The reviews of a batch: of what was newly accepted, and of replies that were refused.

A refused reply is foreign bytes still, so it is read in a supervised worker as it was judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cryptography import x509

from . import acceptance, certificate_facts, csr, public_state, request_facts, review, supervised
from .acceptance import Evidence, Key, Refusal
from .certs import DECODE_ERRORS
from .errors import PkiError
from .expectation import Expectation
from .history import place
from .inventory import Certificate, Declared
from .key_hygiene import Limits
from .policy import Policy
from .public_state import VersionFiles
from .reading import read

MOST = 1000  # refused replies that are shown in full; there is nobody who compares more

#: The policy's parameters that say which usages a purpose wants, where it has them.
_USAGES = {"mtls": "extended_key_usage_mtls", "signing": "key_usage_signing"}


def of_accepted(
    name: str, files: VersionFiles, facts: Mapping[str, Any], rules: Policy, environment: str
) -> str:
    """The review of a certificate that was accepted; ``facts`` are those it was judged by."""
    request = _request(files, _expectation(files, environment), rules)
    return review.text(place(name, files.number), request, facts, usages(rules))


def of_refused(
    declared: Declared,
    refused: Sequence[Refusal],
    files: Mapping[Key, VersionFiles],
    evidence: Evidence,
) -> dict[Key, str]:
    """The reviews of refused replies, as far as there is a certificate in them to be read.

    A certificate in service that is refused now was compared when it came.
    """
    keys = [
        (one.certificate, one.version)
        for one in refused
        if one.error.rule != supervised.RULE_OVERRUN
        and _is_reply(files.get((one.certificate, one.version)))
    ][:MOST]

    def work(key: Key) -> str:
        return _of_reply(key[0], files[key], declared.certificates[key[0]], evidence)

    limits = supervised.Limits(evidence.seconds, acceptance.MEMORY)
    found = supervised.run(keys, work, limits)
    return {key: one for key, one in zip(keys, found, strict=True) if isinstance(one, str)}


def _is_reply(files: VersionFiles | None) -> bool:
    return files is not None and files.certificate is None and bool(files.replies)


def _of_reply(name: str, files: VersionFiles, entry: Certificate, evidence: Evidence) -> str:
    expectation = _expectation(files, entry.environment)
    rules = evidence.policies.get(expectation.policy, evidence.policies[entry.policy])
    request = csr.parse(files.request or b"")
    around = certificate_facts.Around(
        expectation=expectation,
        now=evidence.now,
        limits=Limits.of(rules.parameter),
        request=request,
    )
    leaf = _leaf(read(files.presented), request.spki_der, around)
    return review.text(
        place(name, files.number), _request(files, expectation, rules), leaf, usages(rules)
    )


def _leaf(
    certificates: Sequence[x509.Certificate], spki: bytes, around: certificate_facts.Around
) -> dict[str, Any]:
    """The facts of the request's own certificate, else of the first that is no CA's."""
    own = [one for one in certificates if _spki(one) == spki]
    documents = [certificate_facts.document(one, around) for one in (own or certificates)]
    return next((one for one in documents if not one["ca"]), documents[0])


def _spki(certificate: x509.Certificate) -> bytes:
    try:
        return csr.spki_der(certificate.public_key())
    except DECODE_ERRORS:
        return b""


def _expectation(files: VersionFiles, environment: str) -> Expectation:
    if files.request_record is None:
        raise PkiError("there is no record of a request", rule="REVIEW")
    asked = public_state.intent(files.request_record, files.path / "request.yml")
    return Expectation(
        common_name=asked.common_name,
        subject=asked.subject,
        purposes=asked.purposes,
        policy=asked.policy,
        environment=environment,
    )


def _request(files: VersionFiles, expectation: Expectation, rules: Policy) -> dict[str, Any]:
    beside = request_facts.Beside(expectation=expectation, limits=Limits.of(rules.parameter))
    return request_facts.document(files.request, beside)


def usages(rules: Policy) -> dict[str, tuple[str, ...]]:
    """The usages that the policy wants for each purpose; nothing where it says nothing."""
    found: dict[str, tuple[str, ...]] = {}
    for purpose, name in _USAGES.items():
        if name in rules.parameters:
            value = rules.parameter(name)
            found[purpose] = tuple(value) if isinstance(value, list | tuple) else (str(value),)
    return found
