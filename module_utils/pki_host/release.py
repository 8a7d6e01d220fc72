# SPDX-License-Identifier: GPL-3.0-or-later
"""Release directories: key, certificate and chain of one version, kept together.

Layout below the release root, one directory per certificate::

    <certificate>/releases/v<version>-<16 hex of the certificate's SHA-256>/
        key.pem (0600)  certificate.pem  chain.pem  fullchain.pem  release.json (0644)
        fullchain.pem.key -> key.pem    (where some gateways look for a chain's key)
    <certificate>/current -> releases/<id>        (switched by the gateway's transaction)

The id is made of the content, so files of one id are always the same bytes and a broken
one is healed in place. The key comes from its store only, by a token for this host.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import compromised, files, openssl
from . import key as host_key
from .errors import HostError
from .pull import Session
from .unwrap import unwrap_key, unwrap_passphrase
from .vault_http import VaultAddress

KEY = "key.pem"
KEY_LINK = "fullchain.pem.key"
WRAPPED, PULL, LOCAL = "wrapped", "pull", "local"
PUBLIC_NAMES = ("certificate.pem", "chain.pem", "fullchain.pem", "release.json")
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ID = re.compile(r"v[1-9][0-9]*-[0-9a-f]{16}")


@dataclass(frozen=True)
class Release:
    """One release as the controller made it from an accepted certificate.

    ``contents`` are the public files' texts by name. ``key_path`` is where the key is
    exported: ``<mount>/export/signing-key/<key name>/<version>``. ``key_source`` is how it gets
    here: ``wrapped`` in a token, ``pull`` by the host itself, or ``local``: it was made here, and
    what may have to come is the passphrase at ``passphrase_path``.
    """

    certificate: str
    version: int
    id: str
    contents: Mapping[str, str]
    key_path: str
    key_source: str = WRAPPED
    passphrase_path: str = ""

    @staticmethod
    def of(raw: Mapping[str, Any]) -> Release:
        """A release from module parameters; refuses names that would leave the root."""
        release = Release(
            certificate=str(raw["certificate"]),
            version=int(raw["version"]),
            id=str(raw["id"]),
            contents={str(name): str(text) for name, text in raw["files"].items()},
            key_path=str(raw["key_path"]),
            key_source=str(raw.get("key_source") or WRAPPED),
            passphrase_path=str(raw.get("passphrase_path") or ""),
        )
        if not _SAFE_NAME.fullmatch(release.certificate) or not _ID.fullmatch(release.id):
            raise _malformed(release, "a name or id with other characters")
        if sorted(release.contents) != sorted(PUBLIC_NAMES):
            raise _malformed(release, "files " + ", ".join(sorted(release.contents)))
        if not release.id.endswith("-" + release.certificate_sha256[:16]):
            raise _malformed(release, "an id of another certificate")
        return release

    @property
    def certificate_sha256(self) -> str:
        """SHA-256 of the leaf's DER, lower-case hex: what a listener must serve."""
        try:
            der = ssl.PEM_cert_to_DER_cert(self.contents["certificate.pem"])
        except ValueError:
            raise _malformed(self, "a certificate.pem that is not PEM") from None
        return files.sha256(der)

    @property
    def relative(self) -> str:
        """The target of ``current``: relative, so that the root can be moved."""
        return f"releases/{self.id}"

    def directory(self, root: str) -> str:
        return os.path.join(root, self.certificate, "releases", self.id)

    def current(self, root: str) -> str:
        return os.path.join(root, self.certificate, "current")


@dataclass
class State:
    """What one release directory lacks, found without changing it."""

    release: Release
    contents: list[str] = field(default_factory=list)
    modes: list[str] = field(default_factory=list)
    needs_key: bool = False
    needs_link: bool = False
    needs_passphrase: bool = False
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    refused: HostError | None = None

    @property
    def right(self) -> bool:
        return not self.problems

    def as_refused(self) -> dict[str, Any]:
        """For the module's result: why it is not staged here, whoever asks."""
        return {
            "certificate": self.release.certificate,
            "version": self.release.version,
            "id": self.release.id,
            "error": self.refused.as_result() if self.refused else {},
            "text": str(self.refused or ""),
        }

    def as_result(self, root: str) -> dict[str, Any]:
        """For the module's result: where the release is and what was wrong with it."""
        release = self.release
        return {
            "certificate": release.certificate,
            "version": release.version,
            "id": release.id,
            "certificate_sha256": release.certificate_sha256,
            "needs_key": self.needs_key,
            "needs_passphrase": self.needs_passphrase,
            "problems": list(self.problems),
            "changed": not self.right,
            "link": {"path": release.current(root), "target": release.relative},
            "current": files.link_target(release.current(root)) or "",
        }


def inspect(root: str, release: Release) -> State:
    """Compare the directory with the release: bytes, modes, and whose key it is.

    A release whose key is on the host's list is refused, and then nothing is compared.
    """
    files.require_own(root, release.certificate, "releases", release.id)
    state = State(release)
    directory = release.directory(root)
    leaf = release.contents["certificate.pem"].encode()
    listed = compromised.of_certificate(compromised.read(root), leaf)
    if listed is not None:
        found = f"version {release.version}, which the controller wants to be staged"
        state.refused = compromised.refusal(directory, listed, found)
        return state
    for name in PUBLIC_NAMES:
        _inspect_public(state, os.path.join(directory, name), name)
    _inspect_key(state, os.path.join(directory, KEY))
    _inspect_link(state, os.path.join(directory, KEY_LINK))
    if state.needs_key and release.key_source == LOCAL:
        name, version = release.certificate, release.version
        state.needs_passphrase = host_key.needs_passphrase(root, name, version)
    return state


def present(
    root: str,
    release: Release,
    vault: VaultAddress | None,
    token: str | None,
    session: Session | None = None,
) -> State:
    """Make the directory right and return what was wrong before.

    Raises HostError when a key is needed and neither token nor login came, and everything that
    :func:`~.unwrap.unwrap_key` and :meth:`~.pull.Session.key` raise. The key goes first: without
    it there is no release, and a half release is never linked by anybody.
    """
    state = inspect(root, release)
    directory = release.directory(root)
    files.sweep(directory)
    if state.refused is not None:
        return state
    if state.needs_key:
        key = _delivered_key(root, release, vault, token, session)
        files.write(os.path.join(directory, KEY), key, files.PRIVATE)
    for name in state.contents:
        data = release.contents[name].encode()
        files.write(os.path.join(directory, name), data, files.PUBLIC)
    for name in state.modes:
        mode = files.PRIVATE if name == KEY else files.PUBLIC
        files.set_mode(os.path.join(directory, name), mode)
    if state.needs_link:
        files.sweep_links(directory)
        files.link(os.path.join(directory, KEY_LINK), KEY)
    return state


def _inspect_public(state: State, path: str, name: str) -> None:
    data, mode = files.read(path), files.mode_of(path)
    if data is None or data != state.release.contents[name].encode():
        state.contents.append(name)
        state.problems.append(f"{name} is {'missing' if data is None else 'not what was accepted'}")
    elif mode != files.PUBLIC:
        state.modes.append(name)
        state.problems.append(f"{name} has mode {mode:04o}, not {files.PUBLIC:04o}")


def _inspect_key(state: State, path: str) -> None:
    key, mode = files.read(path), files.mode_of(path)
    if key is None or mode is None:
        state.needs_key = True
        state.problems.append(f"{KEY} is missing")
        return
    if mode & 0o077:
        state.warnings.append(
            f"{path} had mode {mode:04o}: others on this host could read the private key. "
            "The mode is put right, but who read it meanwhile is not known: consider "
            "reissuing with a new key."
        )
    if not _key_fits(state.release, key):
        state.needs_key = True
        state.problems.append(f"{KEY} is not the certificate's key")
    elif mode != files.PRIVATE:
        state.modes.append(KEY)
        state.problems.append(f"{KEY} has mode {mode:04o}, not {files.PRIVATE:04o}")


def _inspect_link(state: State, path: str) -> None:
    if files.link_target(path) == KEY:
        return
    state.needs_link = True
    # One that leads elsewhere is another key, and a file may be a copy that nobody looks after.
    found = "leads elsewhere" if os.path.lexists(path) else "is missing"
    state.problems.append(f"{KEY_LINK} {found}")


def _key_fits(release: Release, key: bytes) -> bool:
    return openssl.belongs_together(key, release.contents["certificate.pem"].encode())


def _delivered_key(
    root: str,
    release: Release,
    vault: VaultAddress | None,
    token: str | None,
    session: Session | None,
) -> bytes:
    if release.key_source == PULL:
        key = _pulled(release, session)
    elif release.key_source == LOCAL:
        key = _made_here(root, release, vault, token)
    else:
        key = _unwrapped(release, vault, token)
    if not _key_fits(release, key):
        raise HostError(
            f"{release.certificate}: the delivered key does not belong to the certificate",
            rule="RELEASE-KEY-MATCH",
            found=f"the key of {release.key_path}",
            expected="the key the accepted certificate was issued for",
            where=f"{release.certificate} version {release.version}",
            next_step="compare the version of the request with the key's versions in the "
            "store; nothing was written",
        )
    return key


def _unwrapped(release: Release, vault: VaultAddress | None, token: str | None) -> bytes:
    if vault is None or not token:
        raise HostError(
            f"{release.certificate}: the private key is not on this host and none was delivered",
            rule="RELEASE-NO-KEY",
            found="no wrap token for this release",
            expected="a token wrapped for this host in this task",
            where=release.key_path,
            next_step="run the release role; the module alone cannot make a token",
        )
    return unwrap_key(vault, token, release.key_path)


def _made_here(root: str, release: Release, vault: VaultAddress | None, token: str | None) -> bytes:
    passphrase = None
    if vault is not None and token:
        passphrase = unwrap_passphrase(vault, token, release.passphrase_path)
    return host_key.private_key(root, release.certificate, release.version, passphrase)


def _pulled(release: Release, session: Session | None) -> bytes:
    if session is None:
        raise HostError(
            f"{release.certificate}: this host is to fetch its key, and has no login",
            rule="RELEASE-NO-LOGIN",
            found="no host_vault.auth",
            expected="address, ca_pem and auth of the key server, as this host reaches it",
            where=release.key_path,
            next_step="set release_host_auth (method and files on the host), or delivery: wrapped "
            "for this certificate; nothing was written",
        )
    return session.key(release.key_path)


def _malformed(release: Release, found: str) -> HostError:
    return HostError(
        "the release handed to this host is malformed",
        rule="RELEASE-MALFORMED",
        found=found,
        expected="plain names, id v<version>-<16 hex>, files " + ", ".join(PUBLIC_NAMES),
        where=f"{release.certificate} {release.id}",
        next_step="use the release role; it makes releases from accepted certificates only",
    )
