# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a key may be handed out: to whom, on whose word, which version, out of which store. Pure.

Everything that needs no key is decided here, before one is touched. Whether the certificate is
still good is :mod:`.acceptance`'s to say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from . import key_place, public_state
from .desk import Desk
from .errors import PkiError
from .export_records import FILE, ID, WAYS, Export, Receipt
from .inventory import Certificate
from .key_place import KeyPlace
from .public_state import VersionFiles
from .stores.transit import mount_for

RULE = "EXPORT"
RULE_UNIQUE = "DIP-4.1.2-UNIQUE-PER-DCP"
RULE_OWN_TLS = "DIP-4.1.2-DCP-TLS"
RULE_ROLE = "DIP-5.4.3-ROLES"

Exports = Mapping[int, Sequence[Export]]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks for: ``version`` 0 is the newest accepted one, an empty ``id`` is made."""

    recipient: str
    by: str
    version: int = 0
    id: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done.

    Attributes:
        files: the version whose key is handed out.
        place: where that key is.
        id: the export's; also its name in Vault and its file's.
        recipient: key of the organisation that gets it.
        by: the Certificate Admin's name, as the roster has it.
        done: the export of this id, when it was made before; then there is nothing to do.
    """

    files: VersionFiles
    place: KeyPlace
    id: str
    recipient: str
    by: str
    done: Export | None = None

    @property
    def file(self) -> str:
        """Name of the PKCS #12 file."""
        return f"{self.id}.p12"


def decide(
    desk: Desk, wish: Wish, organisations: Collection[str], exports: Exports, mark: str
) -> Decision:
    """Decide about one wish.

    Args:
        desk: the certificate with its versions.
        wish: what is asked for.
        organisations: the keys of every declared organisation.
        exports: what was handed out of each version before.
        mark: a few random characters that make an id unique.

    Raises:
        PkiError: DIP-5.4.3-ROLES for somebody who is no Certificate Admin of the holder;
            DIP-4.1.2-UNIQUE-PER-DCP for another provider than the entry's, or than the one that
            has the key; DIP-4.1.2-DCP-TLS for another party's TLS key; KEY-OPERATION for a key
            that its store does not give out; EXPORT for everything else.
    """
    certificate = desk.certificate
    by = _admin(certificate, wish.by)
    if wish.id and not ID.fullmatch(wish.id):
        raise _refused(desk, "the id cannot be a file's name", wish.id, "letters, digits and ._-")
    _known(desk, wish.recipient, organisations)
    files = _version(desk, wish.version)
    before = _made_before(desk, wish, files, exports)
    _may_have_it(desk, wish.recipient, files, exports.get(files.number, ()))
    place = key_place.of_version(certificate, files)
    _can_be_taken_out(desk, place, files)
    made = f"{certificate.key_name}-v{files.number}-{desk.now:%Y%m%dT%H%M%SZ}-{mark}"
    return Decision(files, place, wish.id or made, wish.recipient, by, before)


def _admin(certificate: Certificate, said: str) -> str:
    """The Certificate Admin on whose word it is done (5.4.3), as the roster spells the name."""
    admins = [person.name for person in certificate.organisation.certificate_admins]
    wanted = _folded(said)
    for name in admins:
        if wanted and _folded(name) == wanted:
            return name
    raise PkiError(
        f"{certificate.name}: only a Certificate Admin has a key handed out",
        rule=RULE_ROLE,
        found=said.strip() or "nobody named",
        expected=" or ".join(admins) or "a Certificate Admin",
        where=f"organisations.yml, {certificate.organisation.key}.roster",
        next_step="have one of them run it and say who: -e \"by='...'\"; nothing was exported",
    )


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _known(desk: Desk, recipient: str, organisations: Collection[str]) -> None:
    if recipient not in organisations:
        others = ", ".join(sorted(organisations))
        problem = "the recipient is no organisation of this inventory"
        raise _refused(desk, problem, recipient or "nobody", others)


def _version(desk: Desk, wanted: int) -> VersionFiles:
    """The version that is asked for, or the newest one; it has a certificate and is not ended."""
    accepted = {
        files.number: files
        for files in desk.versions
        if files.certificate is not None and files.accepted_record is not None
    }
    number = wanted or max(accepted, default=0)
    files = accepted.get(number)
    if files is None:
        known = ", ".join(f"v{one}" for one in accepted) or "no accepted certificate"
        expected = f"v{wanted}" if wanted else "an accepted certificate"
        raise _refused(desk, "there is no certificate to hand out with a key", known, expected)
    if files.retired_record is not None:
        raise _refused(desk, f"v{number} was retired", f"{files.path}/retired.yml", "a newer one")
    return files


def _made_before(desk: Desk, wish: Wish, files: VersionFiles, exports: Exports) -> Export | None:
    """The export of this very id: the same word said again is no second export."""
    for version, made in exports.items():
        for one in made:
            if not wish.id or one.id != wish.id:
                continue
            if (version, one.recipient) == (files.number, wish.recipient):
                return one
            found = f"v{version} to {one.recipient} on {one.date}"
            raise _refused(desk, "an export of this id is another one", found, "an id of its own")
    return None


def _may_have_it(desk: Desk, recipient: str, files: VersionFiles, before: Sequence[Export]) -> None:
    """One certificate for each provider (4.1.2), and nobody else's TLS key."""
    certificate = desk.certificate
    holder = certificate.organisation.key
    record = files.request_record or {}
    asked_for = str(record.get("provider", "")) or certificate.provider
    if recipient != (asked_for or holder) or recipient != (certificate.provider or holder):
        expected = certificate.provider or asked_for or holder
        raise _unique(
            desk,
            f"the certificate is not {recipient}'s to use",
            f"v{files.number} was asked for {asked_for or f'{holder} itself'}",
            expected if recipient == holder else f"{expected}, or a certificate for {recipient}",
            f"give each provider an entry of its own, with provider: {recipient}",
        )
    others = sorted({one.recipient for one in before} - {recipient, holder})
    if others:
        raise _unique(
            desk,
            f"the key of v{files.number} was handed to another provider",
            f"{', '.join(others)} ({files.path / FILE})",
            "one certificate for each provider",
            f"make an entry of its own for {recipient}",
        )
    purposes = record.get("purposes")
    if recipient != holder and "mtls" in (purposes if isinstance(purposes, list) else ()):
        raise PkiError(
            f"{certificate.name}: a key that serves TLS is not handed to another party",
            rule=RULE_OWN_TLS,
            found=f"purposes {', '.join(map(str, purposes or ()))}",
            expected="a certificate that only signs; each party has a TLS certificate of its own",
            where=str(files.path / "request.yml"),
            next_step="declare an entry with purposes: [signing] and key: {store: transit, "
            "handover: true}; nothing was exported",
        )


def _unique(desk: Desk, problem: str, found: str, expected: str, next_step: str) -> PkiError:
    return PkiError(
        f"{desk.certificate.name}: {problem}",
        rule=RULE_UNIQUE,
        found=found,
        expected=expected,
        where=f"certificates.yml, {desk.certificate.entry}.provider",
        next_step=f"{next_step}; nothing was exported",
    )


def _can_be_taken_out(desk: Desk, place: KeyPlace, files: VersionFiles) -> None:
    certificate, rounds = desk.certificate, desk.rules.number("p12_iterations")
    if place.store == key_place.HOST:
        raise _not_given(
            desk,
            place,
            "the key never left the host that made it, and does not leave it through here",
            f"on host {certificate.host}, as its owner: openssl pkcs12 -export -inkey "
            f"{certificate.entry}/keys/{files.number}/key.pem -in certificate.pem -certfile "
            f"chain.pem -keypbe AES-256-CBC -certpbe AES-256-CBC -macalg sha256 -iter {rounds} "
            f"-out {certificate.key_name}.p12",
        )
    if place.store == key_place.EXTERNAL:
        raise _not_given(
            desk, place, "the key is in a device", "export it there, if the device allows it"
        )
    if place.mount == mount_for(certificate.environment_class, ("signing",)):
        raise _not_given(
            desk,
            place,
            "the key was made never to leave Vault",
            "write key: {store: transit, handover: true} and provider into the entry: the next "
            "run asks for a new key and certificate that can be handed over",
        )


def _not_given(desk: Desk, place: KeyPlace, problem: str, next_step: str) -> PkiError:
    return PkiError(
        f"{desk.certificate.name}: {problem}",
        rule="KEY-OPERATION",
        found=str(place),
        expected=f"a key in {mount_for(desk.certificate.environment_class, ('mtls',))}",
        where=f"certificates.yml, {desk.certificate.entry}.key",
        next_step=f"{next_step}; nothing was exported",
    )


def _refused(desk: Desk, problem: str, found: str, expected: str) -> PkiError:
    return PkiError(
        f"{desk.certificate.name}: {problem}",
        rule=RULE,
        found=found,
        expected=expected,
        where="the command line",
        next_step="correct the command and run it again; nothing was exported",
    )


# --- facts ------------------------------------------------------------------------------------


def facts(look: Mapping[str, Any], mode: int, password: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a file: its format, its permissions, and its passphrase without the text."""
    return {
        "format": look["format"],
        "mode": f"{mode:04o}",
        **{name: value for name, value in look.items() if name != "format"},
        # Nobody else has it: the ledger would not have let it pass.
        "password": {**password, "earlier_uses": 0},
    }


# --- the receipt ------------------------------------------------------------------------------


def receipt(
    desk: Desk, exports: Exports, id: str, sent_with: str, received_by: str, now: datetime
) -> tuple[Path, Receipt | None]:
    """The receipt of an export as it is to be recorded; None when it is there.

    Raises:
        PkiError: EXPORT for an export that nobody knows, a way that is none, no name, or a
            receipt that says something else than the one there.
    """
    found = [(n, one) for n, made in exports.items() for one in made if one.id == id]
    if not found:
        known = ", ".join(one.id for made in exports.values() for one in made)
        raise _refused(desk, "there is no such export", id or "no id", known or "an export first")
    ((version, export),) = found
    who = received_by.strip()
    if sent_with not in WAYS:
        raise _refused(
            desk, "it is not said how the passphrase went", sent_with or "nothing",
            "sent_with=separate for another way than the file's, or sent_with=file",
        )  # fmt: skip
    if not who or len(who) > 200 or not who.isprintable():
        raise _refused(desk, "it is not said who received it", who or "nobody", "a person's name")
    path = desk.directory / desk.certificate.name / str(version)
    new = Receipt(public_state.iso(now), sent_with, who)
    old = export.receipt
    if old is None:
        return path, new
    if (old.sent_with, _folded(old.received_by)) == (sent_with, _folded(who)):
        return path, None
    told = f"{old.sent_with}, received by {old.received_by} on {old.date}"
    raise _refused(desk, "the receipt is there and says something else", told, "the same words")
