# SPDX-License-Identifier: GPL-3.0-or-later
"""The words for what :mod:`.gateway_check` finds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import HostError


@dataclass(frozen=True)
class Place:
    """Of which gateway and listener, and in which file."""

    gateway: str
    listener: str
    file: str = ""

    def of(self, file: str) -> Place:
        return replace(self, file=file)

    def __str__(self) -> str:
        return self.file or f"listener {self.listener}"


_RELEASE = (
    "nothing was changed: compare the certificate's files with the release and stage it again"
)
_TRUST = "nothing was changed: correct the trust set in the inventory and run again"
_CRL = "nothing was changed and the set in use stays: fetch the CRLs of every CA again"

# Fault: what is wrong, what is expected, what to do.
_WORDS = {
    "CERTIFICATE-FILE": ("the certificate's file cannot be read", "a file in PEM", _RELEASE),
    "CERTIFICATE-GARBAGE": (
        "the certificate's file is damaged",
        "the certificate and its chain in PEM",
        _RELEASE,
    ),
    "KEY-FILE": ("the private key's file cannot be read", "a file in PEM", _RELEASE),
    "KEY-GARBAGE": ("the private key cannot be used", "a private key in PEM", _RELEASE),
    "KEY-ENCRYPTED": (
        "the private key is encrypted, and nobody could enter its passphrase",
        "a key in the clear that only root can read",
        _RELEASE,
    ),
    "KEY-MATCH": (
        "key and certificate do not belong together",
        "the key of the first certificate",
        _RELEASE,
    ),
    "CHAIN-ORDER": (
        "the chain is in the wrong order",
        "the certificate first, then each one's issuer",
        _RELEASE,
    ),
    "CHAIN-INCOMPLETE": (
        "the chain is not whole: peers could not verify it",
        "every certificate up to one that a root issued",
        _RELEASE,
    ),
    "CHAIN-INVALID": ("the chain cannot be verified", "a chain of valid signatures", _RELEASE),
    "EXPIRED": (
        "a certificate that would be shown is not valid now",
        "a certificate valid today",
        "nothing was changed: correct this host's clock, or deploy a valid certificate",
    ),
    "PURPOSE": (
        "the certificate may not be used for this",
        "an extended key usage that fits the listener's direction",
        "nothing was changed: name a certificate for this purpose in the gateway's model",
    ),
    "CA-FILE": ("the file of CA certificates cannot be read", "a file in PEM", _TRUST),
    "CA-EMPTY": ("the file of CA certificates is empty", "CA certificates in PEM", _TRUST),
    "CA-GARBAGE": ("the file of CA certificates is damaged", "CA certificates in PEM", _TRUST),
    "CA-EXPIRED": (
        "a CA certificate is not valid now: one is enough to lock every peer out",
        "CA certificates valid today",
        "nothing was changed: take it out of the trust set, or correct this host's clock",
    ),
    "CA-FOREIGN": (
        "CA certificates and CRLs do not belong together",
        "CRLs of the very CAs that are trusted",
        _TRUST,
    ),
    "CRL-FILE": ("the file of CRLs cannot be read", "a file in PEM", _CRL),
    "CRL-EMPTY": ("the file of CRLs is empty", "a CRL of every CA in PEM", _CRL),
    "CRL-GARBAGE": ("the file of CRLs holds none", "a CRL of every CA in PEM", _CRL),
    "CRL-TRUNCATED": ("the file of CRLs is cut off", "a CRL of every CA in PEM", _CRL),
    "CRL-ABSENT": ("the CRL of a CA is missing", "a CRL of every CA", _CRL),
    "CRL-SIGNATURE": ("a CRL is not signed by its CA", "the signature of the CA's key", _CRL),
    "CRL-EXPIRED": (
        "a CRL is not valid now: every peer would be locked out",
        "a CRL valid today",
        _CRL,
    ),
    "PROTOCOL": (
        "a TLS version is configured that is not allowed",
        "",
        "nothing was changed: correct tls_protocols in the policy, or the template",
    ),
}


def fault(rule: str, place: Place, found: str, expected: str = "") -> HostError:
    """The error for one fault; ``rule`` is the end of its id."""
    message, usual, next_step = _WORDS[rule]
    return HostError(
        f"listener {place.listener}: {message}",
        rule=f"GATEWAY-CHECK-{rule}",
        found=found,
        expected=expected or usual,
        where=str(place),
        next_step=next_step,
    )
