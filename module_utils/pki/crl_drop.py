# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs and OCSP responses that a person put beside the inventory. An edge: files.

For a controller that cannot reach its CAs' addresses. A file here is worth what it says and no
more: it is verified like one from the network, and its time of writing is the time of its poll.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from . import ocsp_response, plain_files, revocation
from .certs import name_bytes
from .crl import Crl
from .errors import PkiError
from .trust_files import Ca

#: The directory's name beside the inventory.
FOLDER = "crls"
MOST_FILES = 200
RULE = "CRL-DROP"
_KINDS = (".crl", ".pem", ".der", ".ocsp")
_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Dropped:
    """One CRL of a file, and when the file was put there (aware UTC)."""

    path: Path
    crl: Crl
    put_at: datetime

    def is_of(self, ca: Ca) -> bool:
        """Whether it bears the CA's name; whether the CA signed it is another question."""
        return self.crl.issuer == name_bytes(x509.load_der_x509_certificate(ca.der), "subject")

    def too_old(self, now: datetime, max_age: timedelta) -> PkiError | None:
        """Why the file's own time keeps it from serving: written too long ago, or not yet."""
        if -_SKEW <= now - self.put_at <= max_age:
            return None
        hours = max_age.total_seconds() / 3600
        return remark(
            self.path,
            f"written {self.put_at:%Y-%m-%d %H:%M:%SZ}",
            f"a file written in the last {hours:g} hours: its time counts as the time of a poll",
            "fetch the CRL again and put it there anew, without keeping the old file's time",
        )


@dataclass(frozen=True, slots=True)
class Drop:
    """Everything in the directory. ``problems`` are files of which nothing can be read."""

    crls: tuple[Dropped, ...] = ()
    ocsp: tuple[bytes, ...] = ()
    problems: tuple[PkiError, ...] = ()

    def strangers(self, authorities: Iterable[Ca]) -> Iterator[PkiError]:
        """A remark for each file with the CRL of a CA that no trust set pins."""
        known = tuple(authorities)
        for one in self.crls:
            if not any(one.is_of(ca) for ca in known):
                yield remark(
                    one.path,
                    one.crl.describe(),
                    "a CRL of a CA that a trust set pins",
                    "remove the file; or pin its CA in group_vars/all/trust.yml",
                )


def read(base_dir: Path) -> Drop:
    """What lies in the directory beside the inventory; nothing when there is none."""
    folder = base_dir / FOLDER
    try:
        paths = sorted(path for path in folder.iterdir() if _counts(path))
    except FileNotFoundError:
        return Drop()
    except OSError as exc:
        return Drop(problems=(_unreadable(folder, exc.strerror or "unreadable"),))
    crls: list[Dropped] = []
    ocsp: list[bytes] = []
    problems = [
        _unreadable(path, f"more than {MOST_FILES} files") for path in paths[MOST_FILES:][:1]
    ]
    for path in itertools.islice(paths, MOST_FILES):
        try:
            content, put_at = _content(path)
        except OSError as exc:
            problems.append(_unreadable(path, exc.strerror or "unreadable"))
            continue
        found = _crls(content)
        if found:
            crls += (Dropped(path, crl, put_at) for crl in found)
        elif not ocsp_response.parse_all([content])[1]:
            ocsp.append(content)
        else:
            problems.append(_unreadable(path, "neither a CRL nor an OCSP response"))
    return Drop(tuple(crls), tuple(ocsp), tuple(problems))


def _counts(path: Path) -> bool:
    return not path.name.startswith((".", "README"))


def _content(path: Path) -> tuple[bytes, datetime]:
    if path.suffix.lower() not in _KINDS:
        raise OSError(0, f"a name that does not end in {', '.join(_KINDS)}")
    content = plain_files.read(path, revocation.MAX_CRL_BYTES)
    return content, datetime.fromtimestamp(int(path.lstat().st_mtime), UTC)


def _crls(content: bytes) -> tuple[Crl, ...]:
    try:
        return revocation.parse_crls(content)
    except PkiError:
        return ()


def remark(path: Path, found: str, expected: str, next_step: str) -> PkiError:
    """What is wrong with one file; it is not used, and nothing else suffers."""
    return PkiError(
        f"{FOLDER}/{path.name} is not used",
        rule=RULE,
        found=found,
        expected=expected,
        where=str(path),
        next_step=next_step,
    )


def _unreadable(path: Path, found: str) -> PkiError:
    return remark(
        path,
        found,
        f"a CRL (DER or PEM) or an OCSP response (DER) in a file named {', '.join(_KINDS)}",
        "replace it with what the CA publishes, or remove it",
    )
