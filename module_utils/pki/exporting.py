# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes a key out of transit and makes the file it travels in. The key stays in this process.

Not in a file but the encrypted one, not in an argument, an environment, a message or a result. The
order is what a run that dies leaves behind: a passphrase that nothing is locked with, or a record
of a file that was never made; never a file of which no record tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from . import (
    certs,
    csr,
    der,
    export_file,
    export_passphrase,
    export_records,
    export_stage,
    ledger,
    pkcs12_file,
    policy,
    public_state,
)
from .desk import Desk
from .errors import PkiError
from .export_passphrase import Passphrase
from .export_records import Export
from .export_stage import Decision
from .policy import Finding
from .public_state import VersionFiles
from .stores.transit import TransitStore
from .vault import Client
from .vault_kv import Folder

RULE = "EXPORT"
#: Below a class's KV mount: what the receivers read.
FOLDER = "exports"
TERMINAL = "terminal"
#: Seconds in which this process opens the token that it has just made.
_WRAP_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Made:
    """A file that is ready to be put somewhere, and what is kept of it.

    ``version`` is whose key it is, ``findings`` what the policy says of it.
    """

    content: bytes = field(repr=False)
    version: VersionFiles
    export: Export
    findings: tuple[Finding, ...]
    passphrase: Passphrase


def make(
    client: Client,
    store: TransitStore,
    desk: Desk,
    decision: Decision,
    chain: Sequence[bytes],
    *,
    legacy: bool,
    shown: bool,
) -> Made:
    """The encrypted file of a key, opened again and judged; nothing of it is on disk yet.

    ``chain`` is DER from the certificate to the pinned anchor, as the acceptance found it.

    Raises:
        PkiError: EXPORT when the file does not hold what it should, EXPORT-PASSPHRASE, whatever
            the policy refuses, and VAULT-*.
    """
    rules, certificate = desk.rules, desk.certificate
    passphrase = export_passphrase.fresh(
        client,
        certificate.environment_class,
        rules.number("passphrase_words"),
        rules.number("passphrase_bits"),
        letters_and_digits=bool(rules.parameter("passphrase_letters_and_digits")),
    )
    rounds = rules.number("p12_iterations")
    key = _taken(client, store, decision, certificate.name)
    content = pkcs12_file.build(
        key, chain, passphrase.text, name=certificate.key_name, rounds=rounds, legacy=legacy
    )
    del key
    facts = export_stage.facts(
        _looked(content, passphrase, chain, certificate.name).as_facts(),
        pkcs12_file.MODE,
        passphrase.as_facts(),
    )
    place = f"{ledger.mount_of(certificate.environment_class)}/data/{FOLDER}/{decision.id}"
    export = Export(
        id=decision.id,
        date=public_state.iso(desk.now),
        recipient=decision.recipient,
        by=decision.by,
        file=decision.file,
        file_sha256=sha256(content).hexdigest(),
        passphrase_in=TERMINAL if shown else place,
        facts=facts,
    )
    findings = rules.judge("export", export.as_facts(certificate.name, decision.files.number))
    for finding in policy.refused(findings):
        raise _refused(certificate.name, finding.rule, finding.message, finding.found)
    return Made(content, decision.files, export, findings, passphrase)


def _taken(client: Client, store: TransitStore, decision: Decision, name: str) -> rsa.RSAPrivateKey:
    """The key, out of a single-use token that is opened where it was made."""
    version = decision.files.number
    path = store.release_path(decision.place.name, version)
    wrapped = store.wrap(decision.place.name, version, _WRAP_SECONDS)
    if wrapped.creation_path != path:
        raise _refused(name, RULE, "the token holds another answer", wrapped.creation_path)
    # By the token's own body: whoever may look at itself may open what it holds.
    opened = client.write("sys/wrapping/unwrap", {"token": wrapped.token})
    keys = opened.get("keys")
    text = str(keys.get(str(version), "")) if isinstance(keys, Mapping) else ""
    try:
        key = serialization.load_pem_private_key(text.encode("ascii"), password=None)
    except certs.DECODE_ERRORS:
        key = None  # whatever the library says of it could quote it
    wanted = public_state.key_digest(decision.files.request_record or {}, decision.files.path)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise _refused(name, RULE, "Vault gave no RSA key", "something else")
    found = sha256(csr.spki_der(key.public_key())).hexdigest()
    if found != wanted:
        raise _refused(name, RULE, "Vault's key is not the certificate's", f"public key {found}")
    return key


def _looked(
    content: bytes, passphrase: Passphrase, chain: Sequence[bytes], name: str
) -> pkcs12_file.Look:
    """The file opened again: it must hold the certificate's key and its whole chain (6.2)."""
    try:
        look = pkcs12_file.look(content, passphrase.text, chain[-1:])
    except der.Malformed:
        look = None
    if look is None:
        raise _refused(name, RULE, "the file cannot be opened again", "another result")
    whole = look.private_keys == 1 and look.key_matches and look.ends_at_anchor
    if not whole or look.chain_length != len(chain):
        found = f"{look.private_keys} keys, {look.chain_length} certificates"
        raise _refused(name, RULE, "the file does not hold key and chain", found)
    return look


def deliver(
    client: Client, desk: Desk, made: Made, directory: Path, show: Callable[[str], None] | None
) -> Path:
    """Put passphrase, record and file where they belong, in this order; the file's path.

    ``show`` puts text on a person's terminal; None writes the passphrase to Vault.
    """
    certificate, export = desk.certificate, made.export
    if show is None:
        _write_passphrase(client, desk, made)
    path = export_file.write(
        directory,
        export.file,
        made.content,
        lambda: export_records.append(made.version.path, certificate.name, export),
    )
    if show is not None:
        show(f"The passphrase of {path}, shown once:\n\n    {made.passphrase.text}\n")
    return path


def _write_passphrase(client: Client, desk: Desk, made: Made) -> None:
    certificate, export = desk.certificate, made.export
    folder = Folder(client, ledger.mount_of(certificate.environment_class), FOLDER)
    entry = {
        export_passphrase.FIELD: made.passphrase.text,
        "certificate": certificate.name,
        "version": made.version.number,
        "recipient": export.recipient,
        "file": export.file,
        "file_sha256": export.file_sha256,
    }
    if not folder.create(export.id, entry):
        raise _refused(
            certificate.name, RULE, "an export of this id is in Vault already", export.id
        )


def _refused(name: str, rule: str, problem: str, found: str) -> PkiError:
    return PkiError(
        f"{name}: {problem}",
        rule=rule,
        found=found,
        expected="a file with the certificate's key and whole chain, as the policy wants it",
        where="the exported file",
        next_step="report this; no file was made",
    )
