# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's steps of ``playbooks/revoke.yml``: what is marked, written and withdrawn.

The texts for people come first and the ledger in Vault next, which nobody's run takes back. Every
step looks at everything again and does only what is left, so that a run that was killed anywhere is
finished by the next one. A Vault that cannot be reached keeps nothing else from being done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from . import (
    gather,
    key_place,
    key_withdrawal,
    keystores,
    ledger,
    outcomes,
    plain_files,
    public_state,
    revocation_cause,
    revocation_record,
    revocation_targets,
    session,
    trail,
    vault_ids,
)
from .errors import PkiError
from .revocation_record import STEPS
from .revocation_targets import Wish, World
from .revoking import Revoking
from .vault import Client

NOW = "now"
OpenVault = Callable[[], AbstractContextManager[Client]]


@dataclass(slots=True)
class Done:
    """What a step did, or in a check would do; ``problem`` is what could not be done."""

    sentences: list[str] = field(default_factory=list)
    diffs: list[dict[str, str]] = field(default_factory=list)
    trail: list[dict[str, Any]] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)
    problem: str = ""
    changed: bool = False


# --- what was said --------------------------------------------------------------------------------


def wish(raw: Mapping[str, Any]) -> Wish:
    """A person's word from a module's options.

    Raises:
        PkiError: REVOKE, or DIP-6.1.3-REASON, for a word that cannot be understood.
    """
    steps = {name: str(raw.get(name) or "") for name in STEPS}
    incident = steps.pop("incident")
    given = {name: _moment(name, text) for name, text in steps.items() if text}
    if incident:
        given["incident"] = _moment("raised", str(raw.get("raised") or NOW))
    cause, noticed = str(raw.get("cause") or ""), str(raw.get("noticed") or "")
    return Wish(
        certificate=str(raw.get("certificate") or ""),
        version=int(raw.get("version") or 0),
        organisation=str(raw.get("organisation") or ""),
        leaver=str(raw.get("leaver") or ""),
        host=str(raw.get("host") or ""),
        cause=_cause(raw, cause, bool(given)),
        text=str(raw.get("reason") or "").strip(),
        by=str(raw.get("by") or "").strip(),
        manager=raw.get("by_role") == revocation_record.MANAGER,
        noticed=_moment("noticed", noticed) if noticed else None,
        steps=given,
        reference=incident,
    )


def _cause(raw: Mapping[str, Any], name: str, steps: bool) -> revocation_cause.Cause | None:
    if not name and raw.get("leaver"):
        name = revocation_targets.LEAVER
    return None if steps and not name else revocation_cause.of(name)


def _moment(name: str, text: str) -> datetime | None:
    """A moment; None for now. A time without its zone could be an hour wrong in summer."""
    if text.strip().lower() == NOW:
        return None
    with suppress(ValueError):
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        if moment.tzinfo is not None:
            return moment.replace(microsecond=0)
    raise revocation_targets.refused(
        f"{name} is not a moment",
        found=text,
        expected="now, or a time with its zone like 2026-11-22T02:10:00Z",
    )


# --- what is known --------------------------------------------------------------------------------


def world(inputs: session.Inputs, said: Wish, groups: Mapping[str, Sequence[str]]) -> World:
    """What is known of the certificates that a word may be about; no key store is asked.

    Which version is in service does not depend on keys, and at such a time nothing that may be
    down is waited for.
    """
    declared = inputs.declared
    if said.certificate:
        entry = said.certificate.partition("/")[0]
        own = {name: c for name, c in declared.certificates.items() if c.entry == entry}
        inputs = replace(inputs, declared=replace(declared, certificates=own))
    names = list(inputs.declared.certificates)
    versions = {name: public_state.scan(inputs.certificates_dir, name) for name in names}
    plans = {plan.name: plan for plan in gather.plans(inputs, gather.Keys(), {})}
    return World(
        declared=declared,
        versions=versions,
        plans=plans,
        committed=inputs.compromised,
        groups=groups,
        directory=inputs.certificates_dir,
        now=inputs.now,
        submissions=_submissions(versions) if not said.certificate else {},
    )


def _submissions(versions: Mapping[str, Sequence[public_state.VersionFiles]]) -> dict[Path, bytes]:
    found = {}
    for own in versions.values():
        for one in own:
            try:
                path = one.path / "submission.txt"
                found[one.path] = plain_files.read(path, public_state.MAXIMUM_BYTES)
            except OSError:
                continue
    return found


# --- prepare --------------------------------------------------------------------------------------


def prepare(
    inputs: session.Inputs, found: Sequence[Revoking], open_vault: OpenVault, *, check: bool
) -> Done:
    """Write the texts, mark the keys in both ledgers, then write the records."""
    done = Done()
    for one in found:
        _write(one, done, texts=True, check=check)
    leaked = [one for one in found if one.cause.leaked]
    if leaked:
        _mark_in_vault(leaked, open_vault, done, check=check)
        _mark_beside(inputs.base_dir, leaked, done, check=check)
    for one in found:
        _write(one, done, texts=False, check=check)
        for record in one.records:
            if record.changed:
                done.changed = True
                done.diffs.append(record.diff())
                if not check:
                    record.save()
                done.trail.append(
                    trail.event(
                        record.told, one.target.name, record.version,
                        {record.name: _digest(record.content or b"")},
                        *_word(one),
                    )
                )  # fmt: skip
            done.sentences.append(record.sentence())
    if check:
        done.trail.clear()
    return done


def _write(one: Revoking, done: Done, *, texts: bool, check: bool) -> None:
    """The texts of a version, or its record."""
    name = revocation_record.FILE
    wanted = {file: text for file, text in one.contents().items() if (file != name) is texts}
    new = {file: wanted[file] for file in public_state.differing(one.files.path, wanted)}
    if not new:
        return
    done.changed = True
    for file, text in new.items():
        done.diffs.append(_diff(one.files.path / file, text))
    if not check:
        public_state.write(one.files.path, new)
    artefacts = {file: _digest(text) for file, text in new.items()}
    event = "texts for a revocation written" if texts else _event(one)
    done.trail.append(
        trail.event(event, one.target.name, one.target.version, artefacts, *_word(one))
    )
    if not texts:
        done.sentences.append(one.sentence())


def _event(one: Revoking) -> str:
    """What the record newly says."""
    if one.before is None or one.record is None:
        return f"revocation prepared: {one.cause.name}"
    new = [name for name in STEPS if one.before.step(name) != one.record.step(name)]
    return f"revocation recorded: {', '.join(new)}"


def _word(one: Revoking) -> tuple[str, str]:
    record = one.record
    return (record.by, record.text) if record else ("", str(one.entry.get("reason", "")))


def _mark_in_vault(
    found: Sequence[Revoking], open_vault: OpenVault, done: Done, *, check: bool
) -> None:
    try:
        with vault_ids.noted() as ids, open_vault() as client:
            classes = {one.certificate.environment_class for one in found}
            there = ledger.stored(client, classes)
            new = [one for one in found if one.spki_sha256 not in there]
            for one in new:
                mount = one.certificate.environment_class
                if not check:
                    ledger.mark(client, mount, one.spki_sha256, one.entry)
                place = f"{ledger.mount_of(mount)}/{ledger.FOLDER}"
                done.sentences.append(f"{one.target}: the key is marked as compromised in {place}")
    except PkiError as exc:
        # Everything else goes on: the host, the texts and the other ledger need no Vault.
        done.problem = f"the key is not marked in Vault: {exc}"
        return
    done.changed |= bool(new)
    for one in new:
        name, number = one.target.name, one.target.version
        done.trail.append(
            trail.event("key marked as compromised in Vault", name, number,
                        {"public key": one.spki_sha256}, *_word(one), list(ids))
        )  # fmt: skip


def _mark_beside(base_dir: Path, found: Sequence[Revoking], done: Done, *, check: bool) -> None:
    """The ledger beside the inventory; what a person wrote there stays as it is."""
    path = base_dir / ledger.FILE
    try:
        before = plain_files.read(path, ledger.MAXIMUM_BYTES).decode("utf-8")
    except FileNotFoundError:
        before = ""
    after, new = before, {}
    for one in found:
        if not one.known and one.spki_sha256 not in new:
            after = ledger.extended(after, one.spki_sha256, one.entry)
            new[one.spki_sha256] = one
    if not new:
        return
    done.changed = True
    done.sentences.append(f"the key is named in {path}; commit it")
    done.diffs.append({**_diff(path, after.encode()), "before": before})
    if not check:
        public_state.write(path.parent, {path.name: after.encode()})
    for one in new.values():
        artefacts = {path.name: _digest(after.encode()), "public key": one.spki_sha256}
        name, number = one.target.name, one.target.version
        done.trail.append(
            trail.event("key marked as compromised", name, number, artefacts, *_word(one))
        )


def out_of_service(found: Iterable[Revoking]) -> list[dict[str, Any]]:
    """The keys that hosts may not use any more, an entry each, as the role release takes them."""
    keys: dict[str, list[str]] = {}
    for one in found:
        if one.cause.leaked:
            keys.setdefault(one.certificate.entry, []).append(one.spki_sha256)
    return [{"certificate": name, "spki_sha256": own} for name, own in keys.items()]


def asked(found: Iterable[Revoking]) -> list[dict[str, str]]:
    """The wishes for another key, as the plan takes them."""
    return [
        {"certificate": one.target.name, "reason": f"v{one.target.version}: {one.cause.why}"}
        for one in found
        if one.asked is not None
    ]


# --- finish ---------------------------------------------------------------------------------------


def finish(
    inputs: session.Inputs,
    found: Sequence[Revoking],
    hosts: Mapping[str, str],
    groups: Mapping[str, Sequence[str]],
    open_vault: OpenVault | None,
    *,
    check: bool,
) -> Done:
    """Withdraw the keys in their stores, and record when nothing uses them any more.

    ``hosts`` is by host why it still may; empty text where it does not. Without ``open_vault``
    there is no login that may withdraw.
    """
    done = Done()
    problems = []
    for one in found:
        if not one.cause.leaked:
            continue
        silent = [f"{host}: {why}" for host, why in _of_hosts(one, hosts, groups) if why]
        if silent:
            done.by_hand += [
                f"{one.target}: its key may still be in use at {why}" for why in silent
            ]
        try:
            withdrawn = _withdraw(inputs, one, open_vault, done, check=check)
        except PkiError as exc:
            withdrawn = False
            problems.append(f"{one.target}: the key is not withdrawn in its store: {exc}")
        if withdrawn and not silent:
            _record_end(one, inputs.now, done, check=check)
    done.problem = "\n\n".join(problems)
    if check:
        done.trail.clear()
    return done


def _of_hosts(
    one: Revoking, hosts: Mapping[str, str], groups: Mapping[str, Sequence[str]]
) -> list[tuple[str, str]]:
    certificate = one.certificate
    if "mtls" not in certificate.purposes or certificate.store == key_place.EXTERNAL:
        return []
    own = groups.get(certificate.hosts, [certificate.hosts])
    names = [certificate.host] if certificate.host else [str(name) for name in own]
    return [(name, hosts.get(name, "it was not asked in this run")) for name in names]


def _withdraw(
    inputs: session.Inputs,
    one: Revoking,
    open_vault: OpenVault | None,
    done: Done,
    *,
    check: bool,
) -> bool:
    """Whether the store does not use the key any more."""
    name, number = one.target.name, one.target.version
    versions = public_state.scan(inputs.certificates_dir, name)
    compromised = {**inputs.compromised, one.spki_sha256: "this run"}
    soon = outcomes.next_version(versions) if check and one.asked is not None else 0
    wanted = key_withdrawal.decide(
        one.certificate, versions, number, compromised, _in_force(inputs, versions), soon
    )
    if wanted.by_hand:
        done.by_hand.append(wanted.by_hand)
        return False
    if not wanted.keep:
        return True
    if open_vault is None:
        done.by_hand.append(
            f"{one.target}: no login may withdraw keys (retire_vault), so an operator does it: bao "
            f"write {wanted.place}/config min_decryption_version={wanted.keep} "
            f"min_encryption_version={wanted.keep}"
        )
        return False
    if soon and soon == wanted.keep:
        done.sentences.append(
            f"{one.target}: the key is withdrawn from {wanted.place} once v{soon} is made"
        )
        done.changed = True
        return True
    with vault_ids.noted() as ids, open_vault() as client:
        store = keystores.Stores(client, inputs.policies).at(one.certificate, wanted.place)
        lines = store.retire(wanted.place.name, wanted.keep, check=check)
    done.sentences += lines
    done.diffs += [{"before": "", "after": f"{line}\n"} for line in lines]
    done.changed |= bool(lines)
    if lines:
        done.trail.append(
            trail.event("compromised key withdrawn in its store", name, number,
                        {"public key": one.spki_sha256}, *_word(one), list(ids))
        )  # fmt: skip
    return True


def _in_force(inputs: session.Inputs, versions: Sequence[public_state.VersionFiles]) -> list[int]:
    seen = [public_state.observed_version(one) for one in versions]
    return [one.number for one in seen if one.accepted and one.accepted.not_after >= inputs.now]


def _record_end(one: Revoking, now: datetime, done: Done, *, check: bool) -> None:
    """Record when nothing used the key any more, once."""
    if one.record is None or one.record.out_of_service is not None:
        return
    after = replace(one, before=one.record, record=one.record.with_step("out_of_service", now))
    _write(after, done, texts=False, check=check)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _diff(path: Path, after: bytes) -> dict[str, str]:
    try:
        before = plain_files.read(path, public_state.MAXIMUM_BYTES).decode("utf-8", "replace")
    except OSError:
        before = ""
    header = str(path)
    return {
        "before_header": header, "after_header": header, "before": before, "after": after.decode(),
    }  # fmt: skip
