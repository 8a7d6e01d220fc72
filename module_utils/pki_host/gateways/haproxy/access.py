# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy: who is let in, worked out from conditions over the certificate.

The handshake succeeds with every certificate, so that a refusal is an answer of HTTP; one rule
then lets through who was marked as allowed. Whatever marks somebody in another form than ours lets
anybody in, as far as is known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from ..description import ANY
from .text import Line

_GUARD = ("unless", "{", "var(txn.allowed)", "-m", "str", "yes", "}")
_MARK = ("http-request", "set-var(txn.allowed)", "str(yes)")
_UNMARK = ("http-request", "set-var(txn.allowed)", "str(no)")
_ISSUER = "ssl_c_i_dn(,0,rfc2253)"
_WHOLE, _NAME = "ssl_c_s_dn(,0,rfc2253)", "ssl_c_s_dn(CN)"
#: There is a certificate, and nothing is wrong with it or with a CA above it.
_VERIFIED = frozenset({"ssl_c_used", "ssl_c_verify 0", "ssl_c_err 0", "ssl_c_ca_err 0"})
_SECOND = "ssl_c_s_dn(CN,2) -m found"
_EXACTLY = ("-m", "str", "--")
# In this order: a later one that holds replaces the earlier.
_VERDICTS = (
    ("set-var(txn.verify)", "str(NONE)"),
    ("set-var-fmt(txn.verify)", "FAILED:%[ssl_c_verify]"),
    ("set-var(txn.verify)", "str(SUCCESS)"),
)
# What may stand before the guard: nothing that answers or sends a request on.
_BEFORE = ("set-var(txn.", "set-var-fmt(txn.")


@dataclass(frozen=True)
class Admission:
    """Who passes a frontend, and how the others are refused.

    Attributes:
        peers, issuers: in the words of :class:`~..description.Route`.
        status: of the refusal; 0 when nobody is refused.
        verified: whether only verified certificates pass.
    """

    peers: Tuple[str, ...] = (ANY,)
    issuers: Tuple[str, ...] = (ANY,)
    status: int = 0
    verified: bool = False


def admission(lines: Sequence[Line]) -> Admission:
    """Who passes the rules of a frontend."""
    rules = [line.words for line in lines if line.words[0] == "http-request"]
    at, status = _guard(rules)
    if at < 0:
        return Admission()
    acls = _acls(lines)
    marks = [rule for rule in rules[:at] if rule[1].startswith("set-var(txn.allowed)")]
    marks += [rule for rule in rules[at:] if rule[1].startswith("set-var(txn.allowed)")]
    pairs: List[Tuple[str, str]] = []
    verified = True
    for rule in marks:
        if rule == _UNMARK:
            continue
        found = _pair(rule, acls)
        verified = verified and found is not None and found.verified
        pairs += found.pairs if found and found.verified else [(ANY, ANY)]
    return _admitted(pairs, status, verified)


def _guard(rules: Sequence[Tuple[str, ...]]) -> Tuple[int, int]:
    """Where the rule stands that refuses who is not marked, and its status; -1 without one."""
    for at, rule in enumerate(rules):
        if rule[1:3] == ("deny", "deny_status") and rule[4:] == _GUARD:
            return at, int(rule[3]) if rule[3].isdecimal() else 0
        if not rule[1].startswith(_BEFORE):
            return -1, 0
    return -1, 0


def _acls(lines: Sequence[Line]) -> Dict[str, List[Tuple[str, ...]]]:
    found: Dict[str, List[Tuple[str, ...]]] = {}
    for line in lines:
        if line.words[0] == "acl" and len(line.words) > 2:
            found.setdefault(line.words[1], []).append(line.words[2:])
    return found


def tells_verdict(lines: Sequence[Line]) -> bool:
    """Whether ``txn.verify`` says what became of the certificate, in nginx's words."""
    rules = [line.words[1:] for line in lines if line.words[0] == "http-request"]
    said = [rule for rule in rules if "(txn.verify)" in rule[0]]
    if [rule[:2] for rule in said] != list(_VERDICTS) or said[0][2:]:
        return False
    acls = _acls(lines)
    conditions = [
        {" ".join(one) for name in rule[3:] for one in acls.get(name, ())} for rule in said
    ]
    one_each = all(len(acls.get(name, ())) == 1 for rule in said for name in rule[3:])
    asked = all(rule[2:3] == ("if",) for rule in said[1:])
    return one_each and asked and conditions[1] == {"ssl_c_used"} and conditions[2] == _VERIFIED


@dataclass(frozen=True)
class _Marked:
    verified: bool
    pairs: List[Tuple[str, str]]


def _pair(rule: Tuple[str, ...], acls: Dict[str, List[Tuple[str, ...]]]) -> Optional[_Marked]:
    """The issuers and subjects that one rule marks as allowed; None for a rule of another form."""
    if rule[:3] != _MARK or rule[3:4] != ("if",) or "or" in rule or "||" in rule or "{" in rule:
        return None
    names = rule[4:]
    wanted = [" ".join(acls[name][0]) for name in names if len(acls.get(name, ())) == 1]
    refused = [one[1:] for one in names if one.startswith("!")]
    alone = any([" ".join(one) for one in acls.get(name, ())] == [_SECOND] for name in refused)
    issuers, subjects = [], []
    for name in names:
        for condition in acls.get(name, ()):
            if condition[0] == _ISSUER:
                issuers += _values(condition, "")
            elif condition[0] == _WHOLE:
                subjects += _values(condition, "subject ")
            elif condition[0] == _NAME:
                subjects += _values(condition, "CN=" if alone else "pattern CN ")
    pairs = [(issuer, peer) for issuer in issuers or [ANY] for peer in subjects or [ANY]]
    return _Marked({*wanted} >= _VERIFIED, pairs)


def _values(condition: Tuple[str, ...], prefix: str) -> List[str]:
    if condition[1:4] == _EXACTLY and len(condition) > 4:
        return [prefix + value for value in condition[4:]]
    return ["pattern " + " ".join(condition)]


def _admitted(pairs: List[Tuple[str, str]], status: int, verified: bool) -> Admission:
    everybody = list(dict.fromkeys(issuer for issuer, _ in pairs))
    peers: List[str] = []
    for subject in dict.fromkeys(subject for _, subject in pairs):
        mine = list(dict.fromkeys(issuer for issuer, one in pairs if one == subject))
        whole = {*mine} == {*everybody}
        peers += [subject] if whole else [f"{subject} from {name}" for name in mine]
    return Admission(tuple(peers), tuple(everybody), status, verified)
