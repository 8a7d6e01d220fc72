# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose key is it that somebody brings along? Told by a certificate of it, or a request. Pure.

A key says nothing of itself. Taken on trust, another participant's key would speak for us, so
one of which nothing shows whose it is, is refused, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from . import csr, names, reading
from .certs import DECODE_ERRORS, stamp, to_der
from .errors import PkiError
from .inventory import Certificate
from .public_state import VersionFiles

RULE_OWNER = "KEY-OWNER"
RULE_MATCH = "KEY-MATCH"


@dataclass(frozen=True, slots=True)
class Owner:
    """What a certificate or request says of its key's holder.

    Attributes:
        organisation, common_name: of its subject.
        shown_by: where it stands, in words.
        certificate: the one that shows it; None when a request does.
        others: the certificates beside it, its CAs among them, each once.
    """

    organisation: str
    common_name: str
    shown_by: str
    certificate: x509.Certificate | None = None
    others: tuple[x509.Certificate, ...] = ()

    def sentence(self) -> str:
        """Whose key it is, for a person."""
        return (
            f"the key belongs to {names.printable(self.organisation) or 'no organisation'}, "
            f"{names.printable(self.common_name) or 'without a common name'}, "
            f"as {self.shown_by} shows"
        )

    def reply(self, now: datetime) -> bytes | None:
        """Certificate and CAs as PEM, to be judged as a reply; None for one that has ended."""
        if self.certificate is None or self.certificate.not_valid_after_utc < now:
            return None
        every = (self.certificate, *self.others)
        return b"".join(one.public_bytes(Encoding.PEM) for one in every)

    def ended(self, now: datetime) -> str:
        """When its certificate ended; empty for one that has not, and for a request."""
        if self.certificate is None or self.certificate.not_valid_after_utc >= now:
            return ""
        return stamp(self.certificate.not_valid_after_utc)


def of(
    spki_sha256: str,
    given: Mapping[str, Sequence[x509.Certificate]],
    committed: VersionFiles | None,
) -> Owner:
    """The holder of a key, by certificates that were given (place -> certificates) or committed.

    Raises:
        PkiError: KEY-MATCH when certificates were given and none is the key's, KEY-OWNER when
            nothing shows whose key it is.
    """
    beside = [one for certificates in given.values() for one in certificates]
    for place, certificates in given.items():
        found = _by_certificate(spki_sha256, place, certificates, beside)
        if found is not None:
            return found
    if beside:
        raise _no_match(spki_sha256, given)
    found = _by_version(spki_sha256, committed) if committed is not None else None
    if found is None:
        raise _nobodys(spki_sha256)
    return found


def must_be(owner: Owner, certificate: Certificate) -> None:
    """Refuse a key of another participant, or for another name; PkiError KEY-OWNER."""
    wanted = (certificate.subject["O"], certificate.common_name)
    if (owner.organisation, owner.common_name) == wanted:
        return
    if owner.organisation != wanted[0]:
        what = "the key belongs to another participant"
    else:
        what = "the key belongs to another name"
    raise PkiError(
        f"{certificate.name}: {what}",
        rule=RULE_OWNER,
        found=f"organisation {owner.organisation or 'none'}, common name "
        f"{owner.common_name or 'none'}, as {owner.shown_by} shows",
        expected=f"organisation {wanted[0]}, common name {wanted[1]}",
        where="the key file",
        next_step="bring the key that belongs to this entry, or have a new one made; whoever "
        "else's key this is must be told that it is here. Nothing was changed",
    )


def _by_certificate(
    spki_sha256: str,
    place: str,
    certificates: Sequence[x509.Certificate],
    beside: Sequence[x509.Certificate],
) -> Owner | None:
    """By the one among several certificates of the key that ends last."""
    own = [one for one in certificates if _digest(one) == spki_sha256]
    if not own:
        return None
    chosen = max(own, key=lambda one: one.not_valid_after_utc)
    others = {to_der(one): one for one in beside if _digest(one) != spki_sha256}
    return Owner(
        organisation=_organisation(chosen.subject),
        common_name=names.common_names(chosen.subject),
        shown_by=f"the certificate in {place}",
        certificate=chosen,
        others=tuple(others.values()),
    )


def _by_version(spki_sha256: str, files: VersionFiles) -> Owner | None:
    """By what is committed for the version: a reply that waits, or the request."""
    where = f"version {files.number}"
    if files.replies:
        certificates = reading.read([content for _, content in files.replies])
        found = _by_certificate(spki_sha256, f"the reply of {where}", certificates, certificates)
        if found is not None:
            return found
    request = csr.parse(files.request) if files.request is not None else None
    if request is None or request.spki_sha256 != spki_sha256:
        return None
    return Owner(request.subject.get("O", ""), request.common_name, f"the request of {where}")


def _organisation(subject: x509.Name) -> str:
    return names.subject_attributes(subject).get("O", "")


def _digest(certificate: x509.Certificate) -> str:
    """Of the public key; empty for one that cannot be read, which is no key of ours."""
    try:
        return sha256(csr.spki_der(certificate.public_key())).hexdigest()
    except DECODE_ERRORS:
        return ""


def _no_match(spki_sha256: str, given: Mapping[str, Sequence[x509.Certificate]]) -> PkiError:
    keys = [f"{_digest(one) or 'unreadable'}" for each in given.values() for one in each]
    return PkiError(
        "the certificate does not belong to the key",
        rule=RULE_MATCH,
        found=f"certificates of the public keys {', '.join(keys[:8])}",
        expected=f"one of the key that was brought, {spki_sha256}",
        where=" and ".join(place for place, certificates in given.items() if certificates),
        next_step="bring the key and the certificate that belong together; nothing was changed",
    )


def _nobodys(spki_sha256: str) -> PkiError:
    return PkiError(
        "nothing shows whose key this is",
        rule=RULE_OWNER,
        found=f"public key {spki_sha256} without a certificate",
        expected="its certificate, in the same file or beside it, or a committed request with it",
        where="the key file",
        next_step="name its certificate: -e certificate_file=FILE; a key without one is not "
        "taken in: have a new one made instead (playbooks/site.yml). Nothing was changed",
    )
