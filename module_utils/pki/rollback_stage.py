# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges the releases that a host keeps, with what there is at two in the morning.

No key server and no network: the committed files and the ledger beside them, the CRLs of the
controller's cache and, while they are fresh, those the host itself has. A certificate of which
nobody then says that it is not revoked is refused, as ever: the far end asks the same question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from cryptography import x509

from . import acceptance, certs, crl_cache, csr, names, public_state, session
from .crl import Crl, parse_crls
from .errors import PkiError, shown
from .public_state import VersionFiles
from .reply import Accepted
from .revocation_sources import Fetched
from .rollback import Release


def look(inputs: session.Inputs, seen: Mapping[str, Any], host: str) -> list[Release]:
    """Every release of what ``seen`` (the host's answer) tells, judged, oldest first.

    Raises:
        PkiError: committed files that cannot be read.
    """
    found = [
        _release(inputs, entry, kept, host)
        for entry in seen["certificates"]
        for kept in entry["releases"]
    ]
    open_questions = [(one.certificate, one.version) for one in found if not one.refused]
    judged = _judged(inputs, open_questions, seen["crl_sets"])
    return [one if one.refused else replace(one, refused=_verdict(one, judged)) for one in found]


def believed(inputs: session.Inputs, sets: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The CAs that the host's gateways can believe, by trust: those its CRLs in service are of.

    Whoever goes back at night brings no CRLs along. A CA whose first day came since the last
    delivery, or that was retired and taken off the host, would be in the bundle without its CRL.
    A set that cannot be read is left out: then every CA of that trust counts.
    """
    found: dict[str, list[str]] = {}
    for one in sets:
        trust = inputs.trust.get(str(one["trust"]))
        try:
            crls = parse_crls(str(one["pem"]).encode("ascii"))
        except (PkiError, UnicodeEncodeError):
            continue
        if trust is not None and crls:
            found[trust.name] = sorted(
                {ca.sha256 for ca in trust.authorities for crl in crls if crl.signed_by(ca.der)}
            )
    return found


def barred_here(inputs: session.Inputs, name: str, version: int) -> str:
    """Why the records of one version keep it out of service; empty when they do not."""
    files = _files(inputs, name, version)
    return barred(files) if files else f"nothing of v{version} is committed"


def barred(files: VersionFiles) -> str:
    """Why a version's records beside the inventory keep it out of service; empty without one."""
    outcome, retired = files.outcome_record, files.retired_record
    if outcome is not None:
        return f"its request was {shown(str(outcome.get('outcome')))}"
    if retired is not None:
        return f"it is retired, its key {shown(str(retired.get('key')))}"
    told = public_state.recorded_revocation(files)
    if told is not None:
        return f"its revocation is recorded ({told.as_lifecycle().cause})"
    return "" if files.certificate is not None else "no certificate of it is committed"


def _release(
    inputs: session.Inputs, entry: Mapping[str, Any], kept: Mapping[str, Any], host: str
) -> Release:
    """One kept release with every reason that needs no judgement of its chain."""
    declared = inputs.declared.of_host(str(entry["certificate"]), host)
    hold = entry["held"]
    one = Release(
        certificate=declared.name if declared else str(entry["certificate"]),
        entry=str(entry["certificate"]),
        id=str(kept["id"]),
        version=int(kept["version"]),
        certificate_sha256=str(kept["certificate_sha256"]),
        current=kept["id"] == entry["current"],
        held=bool(hold and hold["release"] == kept["id"]),
    )
    leaf = _leaf(str(kept["pem"]))
    if leaf is None:
        return replace(one, refused=str(kept["problem"]) or "its certificate cannot be read")
    one = replace(
        one,
        common_name=_common_name(leaf),
        serial=f"{leaf.serial_number:x}",
        not_after=f"{leaf.not_valid_after_utc:%Y-%m-%d}",
        days_left=(leaf.not_valid_after_utc - inputs.now).days,
    )
    why = _dates(leaf, inputs.now) or str(kept["problem"])
    if not why and declared is None:
        why = "the inventory declares no such certificate"
    return replace(one, refused=why or _recorded(inputs, one, leaf))


def _recorded(inputs: session.Inputs, one: Release, leaf: x509.Certificate) -> str:
    """What the committed files and the ledger say of it."""
    files = _files(inputs, one.certificate, one.version)
    if files is None:
        return f"nothing of v{one.version} is committed"
    compromised = inputs.compromised.get(_key_digest(leaf))
    if compromised:
        return f"its key is compromised ({shown(compromised)})"
    why = barred(files)
    if why:
        return why
    committed = _leaf((files.certificate or b"").decode("ascii", "replace"))
    same = committed is not None and certs.sha256(committed) == one.certificate_sha256
    return "" if same else "the committed certificate of this version is another one"


def _files(inputs: session.Inputs, name: str, version: int) -> VersionFiles | None:
    versions = public_state.scan(inputs.certificates_dir, name)
    return next((files for files in versions if files.number == version), None)


def _dates(leaf: x509.Certificate, now: datetime) -> str:
    if leaf.not_valid_after_utc < now:
        return f"it expired on {leaf.not_valid_after_utc:%Y-%m-%d}"
    if leaf.not_valid_before_utc > now:
        return f"it is not valid before {certs.stamp(leaf.not_valid_before_utc)}"
    return ""


def _judged(
    inputs: session.Inputs, keys: Sequence[acceptance.Key], sets: Iterable[Mapping[str, Any]]
) -> acceptance.Outcome[str]:
    """The acceptance itself, as for a delivery: chain, names, policy, revocation."""
    more = Fetched(crls=tuple(_of_the_host(inputs, sets)))
    evidence = acceptance.evidence(inputs, {}, more)
    return acceptance.run(inputs.declared, keys, inputs.certificates_dir, evidence, _digest)


def _digest(name: str, files: VersionFiles, accepted: Accepted) -> str:
    return accepted.certificate_sha256


def _verdict(one: Release, outcome: acceptance.Outcome[str]) -> str:
    if (one.certificate, one.version) in outcome.accepted:
        return ""
    errors = [
        refusal.error
        for refusal in outcome.refused
        if (refusal.certificate, refusal.version) == (one.certificate, one.version)
    ]
    return "; ".join(f"{error.message} ({error.rule}: {error.found})" for error in errors)


def _of_the_host(inputs: session.Inputs, sets: Iterable[Mapping[str, Any]]) -> Iterable[Crl]:
    """The CRLs that the host has in service, those it polled within the policy's age."""
    for one in sets:
        name = str(one["trust"])
        if name not in inputs.trust or not _is_fresh(inputs, name, str(one["fetched_at"])):
            continue
        try:
            found = crl_cache.given(
                inputs.trust[name], str(one["pem"]).encode("ascii"), now=inputs.now
            )
            yield from map(Crl.parse, found.crls)
        except (PkiError, UnicodeEncodeError):
            continue


def _is_fresh(inputs: session.Inputs, trust: str, fetched_at: str) -> bool:
    rules = inputs.policies[inputs.declared.trust[trust].policy]
    try:
        moment = datetime.fromisoformat(fetched_at.replace("Z", "+00:00"))
        age = inputs.now - moment
    except (ValueError, TypeError):
        return False
    return age <= session.crl_max_age(rules)


def _leaf(pem: str) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(pem.encode("ascii"))
    except (*certs.DECODE_ERRORS, UnicodeEncodeError):
        return None


def _key_digest(leaf: x509.Certificate) -> str:
    try:
        return sha256(csr.spki_der(leaf.public_key())).hexdigest()
    except certs.DECODE_ERRORS:
        return ""


def _common_name(leaf: x509.Certificate) -> str:
    try:
        found = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return names.printable(str(found[0].value)) if found else ""
    except certs.DECODE_ERRORS:
        return ""
