# SPDX-License-Identifier: GPL-3.0-or-later
"""What OCSP responders say of certificates whose path was verified. An edge: network.

An address is opened only for such a certificate, since anybody can write one. One that does not
answer is not asked again by the same collector: a dead responder costs one wait, not one for each
certificate. What comes back is judged like any other answer, signature, dates and all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509

from .. import certs, ocsp_query, revocation
from ..certificate_facts import Ocsp
from ..download import Patience
from ..errors import PkiError

_LONGEST_RUN = timedelta(hours=1)


@dataclass(slots=True)
class Responders:
    """The responders of one run; ``now`` is its moment."""

    now: datetime
    silent: dict[str, str] = field(default_factory=dict)

    def ask(self, certificate: x509.Certificate, issuer: x509.Certificate, wait: Patience) -> Ocsp:
        """The first answer that says something; else why there is none."""
        found = Ocsp()
        for address in ocsp_query.responders(certificate):
            found = self._of(address, certificate, issuer, wait)
            if found.status != "unknown":
                return found
        return found

    def _of(
        self,
        address: str,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
        wait: Patience,
    ) -> Ocsp:
        if address in self.silent:
            return Ocsp(True, "unknown", address, self.silent[address])
        try:
            answers = ocsp_query.ask(certificate, issuer, [address], wait)
        except PkiError as exc:
            self.silent[address] = exc.found
            return Ocsp(True, "unknown", address, exc.found)
        return self._judged(address, (certificate, issuer), answers)

    def _judged(
        self, address: str, pair: Sequence[x509.Certificate], answers: Sequence[bytes]
    ) -> Ocsp:
        ders = [certs.to_der(one) for one in pair]
        (status,) = revocation.check(ders, (), self._moment(), ocsp=answers)
        return Ocsp(True, status.verdict, address, status.why or status.reason)

    def _moment(self) -> datetime:
        """When an answer came: a responder dates it when it is asked, after the run's moment."""
        later = datetime.now(UTC)
        return later if timedelta(0) <= later - self.now < _LONGEST_RUN else self.now
