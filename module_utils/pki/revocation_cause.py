# SPDX-License-Identifier: GPL-3.0-or-later
"""What happened to a certificate, and which of the portal's reasons (Table 5) that is.

Pure. Causes are finer than reasons: a lost key, a stolen laptop and a leaked key are one reason in
the portal and three different nights. The numbers of the CRL (RFC 5280, 5.3.1) and who may use a
reason are the policy's; a policy that knows no portal has RFC 5280's own numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .errors import PkiError
from .policy import Policy

RULE = "REVOKE"
#: The rules of the documents that this file speaks for before there are facts to judge.
RULE_REASON = "DIP-6.1.3-REASON"
RULE_MANAGER = "DIP-6.1.3-CESSATION"

#: CRLReason of RFC 5280, 5.3.1, by the reasons of Table 5.
_RFC_5280 = {
    "key_compromise": 1,
    "affiliation_changes": 3,
    "certificate_superseded": 4,
    "cessation_of_operation": 5,
    "withdrawal_of_privilege": 9,
}


@dataclass(frozen=True, slots=True)
class Cause:
    """What happened, as a person says it.

    Attributes:
        name: the word for it ("key_lost").
        reason: the portal's reason, as the policy names it (Table 5).
        why: a sentence for the portal and the letters.
        leaked: the key may never be used again: it goes into the ledger and out of service.
        incident: others may have the key, so DIP Manager and authority are told (3.6.1, 5.6.2).
        replaced: another key and request are asked for.
        final: no certificate is to follow: the holder may not have one any more.
    """

    name: str
    reason: str
    why: str
    leaked: bool = False
    incident: bool = False
    replaced: bool = False
    final: bool = False

    @property
    def shown(self) -> str:
        """The portal's reason for a person."""
        return self.reason.replace("_", " ")


CAUSES: Mapping[str, Cause] = {
    one.name: one
    for one in (
        Cause("key_compromise", "key_compromise", "its key is, or may be, known to others",
              leaked=True, incident=True, replaced=True),
        # Table 5 has a key that was lost or permanently deleted under key compromise.
        Cause("key_lost", "key_compromise", "its key was lost or permanently deleted",
              leaked=True, replaced=True),
        Cause("media_compromise", "key_compromise",
              "what holds its key is, or may be, in other hands",
              leaked=True, incident=True, replaced=True),
        # Table 5 has no reason of its own for it; a right one takes its place, "for any reason".
        Cause("inaccurate", "certificate_superseded", "it says what is not so", replaced=True),
        Cause("leaver", "affiliation_changes",
              "somebody with access to it or its key has left the organisation", replaced=True),
        Cause("superseded", "certificate_superseded", "another certificate took its place"),
        Cause("ineligible", "withdrawal_of_privilege",
              "its holder may not have DIP certificates any more", final=True),
        Cause("cessation", "cessation_of_operation", "its holder stops operating", final=True),
    )
}  # fmt: skip

_RECLAIM = (
    "removal_from_crl",
    "remove_from_crl",
    "removefromcrl",
    "removal",
    "reclaim",
    "unrevoke",
)


def of(name: str) -> Cause:
    """A cause by its name.

    Raises:
        PkiError: REVOKE for a word that is none; DIP-6.1.3-REASON for the reason of Table 5 that
            exists for certificates on hold only (resolution 20).
    """
    word = "_".join(name.split()).lower().replace("-", "_")
    if word in CAUSES:
        return CAUSES[word]
    if word in _RECLAIM:
        raise PkiError(
            "a certificate cannot be taken off a CRL again",
            rule=RULE_REASON,
            found="removal from CRL",
            expected="a reason for which a certificate is revoked; RFC 5280 takes off a list only "
            "what was on hold, in delta CRLs, and here nothing is: a revoked certificate cannot be "
            "reclaimed (6.1.3)",
            where="the command line",
            next_step="ask for a new certificate with playbooks/renew.yml; it costs one more of "
            "the organisation's quota; nothing was changed",
        )
    raise PkiError(
        "it is not said why the certificate is to be revoked",
        rule=RULE,
        found=name or "nothing",
        expected=", ".join(CAUSES),
        where="the command line",
        next_step="say what happened with -e cause=...; nothing was changed",
    )


def through_portal(policy: Policy) -> bool:
    """Whether the policy's certificates are revoked in the DIP portal, for a reason of its list."""
    return "revocation_reasons" in policy.parameters


def code(cause: Cause, policy: Policy) -> int:
    """The CRL reason code of a cause under a policy."""
    reasons = policy.parameters.get("revocation_reasons")
    return int(reasons.value[cause.reason] if reasons is not None else _RFC_5280[cause.reason])


def of_manager(cause: Cause, policy: Policy) -> bool:
    """Whether only the DIP Manager may revoke for it (resolution 21)."""
    return through_portal(policy) and cause.reason in policy.strings("revocation_reasons_manager")


def contact(policy: Policy) -> str:
    """The address that everything about certificates is sent to; empty without a portal."""
    return policy.strings("pki_contacts")[0] if "pki_contacts" in policy.parameters else ""
