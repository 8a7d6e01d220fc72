# SPDX-License-Identifier: GPL-3.0-or-later
"""Private keys that are made on this host and never leave it.

Layout below the release root, one directory per version of an entry's key::

    <entry>/keys/<version>/      (0700)
        key.pem   (0600)         PKCS#8; encrypted with the passphrase of this key, or plain
        key.json  (0600)         when it was made, its public half, what is known of it

A version is filled under another name and gets its own by one rename, so it is there whole or not
at all; a version that exists is never made again. The public half stands in the record because
that of an encrypted key cannot be told without the passphrase.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from . import files, openssl
from .errors import HostError

KEY = "key.pem"
RECORD = "key.json"
ALGORITHMS = ("sha256", "sha384", "sha512")
_PRIVATE_DIRECTORY = 0o700
_ENTRY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_RELEASED = re.compile(r"releases/v([1-9][0-9]{0,8})-[0-9a-f]{16}")
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_DAMAGED_NEXT = (
    "nothing was changed: put the directory back from a backup; if there is none, record the "
    "request of this version as withdrawn, since a version of a key is never made twice"
)


@dataclass(frozen=True)
class HostKey:
    """What may be told of one version. ``created`` is UTC, in seconds, and never changes.

    ``public`` is the SubjectPublicKeyInfo (DER, base64); ``imported`` a key that was brought here.
    """

    version: int
    created: str
    public: str
    encrypted: bool
    imported: bool

    def as_result(self) -> dict[str, Any]:
        return asdict(self)


def inspect(root: str, entry: str) -> list[HostKey]:
    """Every version of an entry's key, oldest first; nothing is changed.

    Raises HostError KEY-DAMAGED for a version that is not whole: whoever wants to know which keys
    there are must not be told of fewer.
    """
    files.require_own(root, _name(entry), "keys")
    return [_read(root, entry, number) for number in versions(root, entry)]


def versions(root: str, entry: str) -> list[int]:
    """The numbers of the versions that are there, in order."""
    parent = _parent(root, entry)
    with files.explained(parent):
        try:
            names = os.listdir(parent)
        except (FileNotFoundError, NotADirectoryError):
            names = []
    return sorted(int(name) for name in names if _VERSION.fullmatch(name))


def digests(root: str, entry: str, version: int) -> set[str]:
    """Every public key (SPKI, SHA-256) that this version may be of, by its record and by its key.

    Of a damaged version what can still be told: whoever asks wants to know whether it may stay.
    """
    directory = _directory(root, entry, version)
    recorded = _recorded(files.read(os.path.join(directory, RECORD)))
    found = {files.sha256(base64.b64decode(recorded.public))} if recorded else set()
    pem = files.read(os.path.join(directory, KEY)) or b""
    if pem and not _is_encrypted(pem):
        found.add(openssl.spki_sha256(openssl.public_key_of_key(pem)))
    return found - {""}


def destroy(root: str, entry: str, version: int) -> None:
    """Remove a version for good. Call it under the root's lock; blocks are not written over."""
    files.require_own(root, _name(entry), "keys")
    files.discard_directory(_directory(root, entry, version))


def wide_modes(root: str, entry: str) -> list[str]:
    """A sentence for each key file that others on this host may read."""
    found = []
    for number in versions(root, entry):
        path = os.path.join(_directory(root, entry, number), KEY)
        mode = files.mode_of(path)
        if mode is not None and mode & 0o077:
            found.append(
                f"{path} has mode {mode:04o}: others on this host can read the private key. Run "
                f"chmod 0600 on it; who read it meanwhile is not known: consider reissuing with a "
                "new key."
            )
    return found


def make(
    root: str, entry: str, version: int, bits: int, passphrase: str | None = None
) -> tuple[HostKey, bool]:
    """The version, made if it is not there, and whether it was made.

    Call it under the root's lock. An existing key stays as it is, whatever its size, and keeps
    its passphrase.
    """
    if int(bits) < 1:
        raise _refused(entry, f"{bits} bits", "the size that the policy wants")

    def generate(descriptor: int) -> None:
        if not openssl.generate_rsa(int(bits), descriptor, passphrase):
            raise HostError(
                f"{entry}: openssl made no key",
                rule="KEY-NOT-MADE",
                found="openssl genpkey failed",
                expected=f"an RSA key of {bits} bits",
                where=_directory(root, entry, version),
                next_step="try the command on the host by hand; nothing is left of the attempt",
            )

    return _present(root, entry, version, generate, passphrase, imported=False)


def place(
    root: str, entry: str, version: int, pem: bytes, passphrase: str | None = None
) -> tuple[HostKey, bool]:
    """A key that somebody brings (one private key in PEM, not encrypted), kept like one made here.

    Call it under the root's lock. KEY-EXISTS when the version is there with another key.
    """
    public = openssl.public_der(pem)
    kept = openssl.clear(pem) if passphrase is None else openssl.encrypted(pem, passphrase)
    if public is None or kept is None:
        raise _refused(entry, "bytes that openssl takes for no key", "one private key, PEM")
    contents = kept

    def copy(descriptor: int) -> None:
        view = memoryview(contents)
        while view:
            view = view[os.write(descriptor, view) :]

    key, made = _present(root, entry, version, copy, passphrase, imported=True)
    if base64.b64decode(key.public) != public:
        raise HostError(
            f"{entry}: version {version} is there already, with another key",
            rule="KEY-EXISTS",
            found=f"public key {files.sha256(base64.b64decode(key.public))}",
            expected=f"public key {files.sha256(public)}, or no version {version}",
            where=_directory(root, entry, version),
            next_step="nothing was changed: a key is never replaced; bring this one as the next "
            "version",
        )
    return key, made


def sign(
    root: str,
    entry: str,
    version: int,
    digest: bytes,
    algorithm: str,
    passphrase: str | None = None,
) -> bytes:
    """The key's PKCS#1 v1.5 signature over a digest."""
    if algorithm not in ALGORITHMS:
        raise _refused(entry, f"a signature over {algorithm}", "one of " + ", ".join(ALGORITHMS))
    key = _read(root, entry, version)
    path = os.path.join(_directory(root, entry, version), KEY)
    used = _needed(key, entry, passphrase)
    signature = openssl.sign_digest(path, digest, algorithm, used)
    if signature is None:
        raise _locked(root, entry, version, "openssl pkeyutl failed")
    return signature


def private_key(root: str, entry: str, version: int, passphrase: str | None = None) -> bytes:
    """The key in the clear, for a release on this very host."""
    key = _read(root, entry, version)
    pem = files.read(os.path.join(_directory(root, entry, version), KEY)) or b""
    used = _needed(key, entry, passphrase)
    if used is None:
        return pem
    plain = openssl.clear(pem, used)
    if plain is None:
        raise _locked(root, entry, version, "a passphrase that does not fit")
    return plain


def needs_passphrase(root: str, entry: str, version: int) -> bool:
    """Whether the version is there and encrypted; False for one that cannot be read, too."""
    return _is_encrypted(files.read(os.path.join(_directory(root, entry, version), KEY)) or b"")


def retire(
    root: str, entry: str, keep: int, *, destroy: bool = False, check: bool = False
) -> tuple[list[str], list[str]]:
    """End the use of every version below ``keep``: what was done (with ``check``: would be), and
    what there is to say otherwise, a sentence each.

    A file cannot be withdrawn in a way that an operator could take back, so without ``destroy``
    nothing is done. Destroyed means removed: blocks are not written over, which disks, snapshots
    and copy-on-write file systems would not honour.
    """
    _must_stay(root, entry, keep)
    older = [number for number in versions(root, entry) if number < int(keep)]
    places = [_directory(root, entry, number) for number in older]
    if not destroy:
        kept = "stays as it is: a key on a host can only be destroyed, and that was not asked for"
        return [], [f"{place}: {kept}" for place in places]
    if not check:
        for place_of_old in places:
            files.discard_directory(place_of_old)
        files.sweep_directories(_parent(root, entry))
    return [f"{one}: the key is destroyed for good" for one in places], []


# --- steps ------------------------------------------------------------------------------------


def _present(
    root: str,
    entry: str,
    version: int,
    fill: Callable[[int], object],
    passphrase: str | None,
    *,
    imported: bool,
) -> tuple[HostKey, bool]:
    files.require_own(root, _name(entry), "keys", str(int(version)))
    parent, directory = _parent(root, entry), _directory(root, entry, version)
    files.make_directory(os.path.dirname(parent))
    files.make_directory(parent, _PRIVATE_DIRECTORY)
    files.sweep_directories(parent)
    if os.path.lexists(directory):
        return _read(root, entry, version), False
    unfinished = files.new_directory(parent)
    try:
        path = os.path.join(unfinished, KEY)
        files.write_new(path, fill)
        key = _described(entry, version, files.read(path) or b"", passphrase, imported)
        record = json.dumps(key.as_result(), indent=2, sort_keys=True) + "\n"
        files.write(os.path.join(unfinished, RECORD), record.encode())
        files.move_directory(unfinished, directory)
    except BaseException:
        files.remove_tree(unfinished)
        raise
    return key, True


def _described(
    entry: str, version: int, pem: bytes, passphrase: str | None, imported: bool
) -> HostKey:
    public = openssl.public_der(pem, passphrase)
    if public is None:
        raise _refused(entry, "bytes that openssl takes for no key", "one private key, PEM")
    return HostKey(
        version=int(version),
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        public=base64.b64encode(public).decode("ascii"),
        encrypted=_is_encrypted(pem),
        imported=imported,
    )


def _read(root: str, entry: str, version: int) -> HostKey:
    """One version; KEY-NOT-FOUND without it, KEY-DAMAGED when it is not as it was made."""
    files.require_own(root, _name(entry), "keys", str(int(version)))
    directory = _directory(root, entry, version)
    if not os.path.lexists(directory):
        raise HostError(
            f"{entry}: this host has no version {version} of the key",
            rule="KEY-NOT-FOUND",
            found="versions " + (", ".join(map(str, versions(root, entry))) or "none"),
            expected=f"version {version}",
            where=directory,
            next_step="put the directory back from a backup, or record the request of this "
            "version as withdrawn",
        )
    pem = files.read(os.path.join(directory, KEY))
    key = _recorded(files.read(os.path.join(directory, RECORD)))
    if pem is None or key is None or key.version != int(version):
        missing = f"no {KEY}" if pem is None else f"no usable {RECORD}"
        raise _damaged(entry, directory, missing)
    if key.encrypted != _is_encrypted(pem):
        raise _damaged(entry, directory, f"{KEY} is not encrypted as {RECORD} says")
    if not key.encrypted and openssl.public_der(pem) != base64.b64decode(key.public):
        raise _damaged(entry, directory, f"{KEY} is not the key of {RECORD}")
    return key


def _recorded(data: bytes | None) -> HostKey | None:
    try:
        raw = json.loads(data or b"")
        base64.b64decode(raw["public"], validate=True)
        datetime.strptime(raw["created"], "%Y-%m-%dT%H:%M:%SZ")
        key = HostKey(**raw)
    except (ValueError, TypeError, KeyError, binascii.Error):
        return None
    kinds = {"version": int, "encrypted": bool, "imported": bool}
    return key if all(type(raw[name]) is kind for name, kind in kinds.items()) else None


def _needed(key: HostKey, entry: str, passphrase: str | None) -> str | None:
    """The passphrase of an encrypted key, which is then needed; None for a plain one."""
    if not key.encrypted:
        return None
    if passphrase:
        return passphrase
    raise HostError(
        f"{entry}: the key is encrypted and no passphrase was delivered",
        rule="KEY-PASSPHRASE",
        found="no wrapped passphrase for this host",
        expected="a token for the passphrase, in the same task",
        where=f"{entry} version {key.version}",
        next_step="run the playbook; the module alone cannot make a token",
    )


def _must_stay(root: str, entry: str, keep: int) -> None:
    files.require_own(root, _name(entry), "keys", str(int(keep)))
    there = versions(root, entry)
    link = files.link_target(os.path.join(root, entry, "current")) or ""
    released = _RELEASED.fullmatch(link)
    if int(keep) in there and not (released and int(released.group(1)) < int(keep)):
        return
    found = f"{link} is in service" if int(keep) in there else f"versions {there or 'none'}"
    raise HostError(
        f"{entry}: version {keep}, which is to stay, is not the one in service here",
        rule="KEY-VERSION",
        found=found,
        expected=f"version {keep} on this host, and no older one in service",
        where=_parent(root, entry),
        next_step="nothing was retired: deploy the new version first",
    )


# --- places and refusals ----------------------------------------------------------------------


def _name(entry: str) -> str:
    if not _ENTRY.fullmatch(str(entry)):
        raise _refused(str(entry), "a name with other characters", "letters, digits, . _ and -")
    return str(entry)


def _parent(root: str, entry: str) -> str:
    return os.path.join(root, _name(entry), "keys")


def _directory(root: str, entry: str, version: int) -> str:
    if not _VERSION.fullmatch(str(int(version))):
        raise _refused(entry, f"version {version}", "a number from 1")
    return os.path.join(_parent(root, entry), str(int(version)))


def _is_encrypted(pem: bytes) -> bool:
    return pem.lstrip().startswith(_ENCRYPTED)


def _refused(entry: str, found: str, expected: str) -> HostError:
    return HostError(
        f"{entry}: the host cannot keep such a key",
        rule="KEY-REFUSED",
        found=found,
        expected=expected,
        where="the task that runs on the host",
        next_step="use the certificates role; nothing was changed",
    )


def _damaged(entry: str, directory: str, found: str) -> HostError:
    return HostError(
        f"{entry}: a key on this host is not as it was made",
        rule="KEY-DAMAGED",
        found=found,
        expected=f"{KEY}, and {RECORD} that belongs to it",
        where=directory,
        next_step=_DAMAGED_NEXT,
    )


def _locked(root: str, entry: str, version: int, found: str) -> HostError:
    return HostError(
        f"{entry}: the key cannot be used",
        rule="KEY-LOCKED",
        found=found,
        expected="the passphrase this version was made with",
        where=_directory(root, entry, version),
        next_step="find out who changed the passphrase in the key server, or the key on this "
        "host; nothing was changed",
    )
