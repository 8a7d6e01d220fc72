# SPDX-License-Identifier: GPL-3.0-or-later
"""NIST PKITS as cases: its files from ``cryptography-vectors``, its verdicts from our table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import cryptography_vectors
import yaml
from pki import path
from pki.errors import PkiError

HERE = Path(__file__).parent
DATA = Path(cryptography_vectors.__file__).parent / "x509" / "PKITS_data"
NOW = datetime(2022, 5, 1, tzinfo=UTC)  # inside the validity of all that PKITS means to be valid


@dataclass(frozen=True)
class Case:
    """One case: names of files, and whether NIST wants the path accepted."""

    number: str
    good: bool
    leaf: str
    authorities: tuple[str, ...]
    lists: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.number}-{self.leaf}"

    def leaf_der(self) -> bytes:
        return certificate(self.leaf)

    def intermediates(self) -> list[bytes]:
        return [certificate(name) for name in self.authorities]

    def crls(self) -> list[bytes]:
        return [crl("TrustAnchorRootCRL"), *(crl(name) for name in self.lists)]


@cache
def certificate(name: str) -> bytes:
    return (DATA / "certs" / f"{name}.crt").read_bytes()


@cache
def crl(name: str) -> bytes:
    return (DATA / "crls" / f"{name}.crl").read_bytes()


def anchor() -> bytes:
    return certificate("TrustAnchorRootCertificate")


def read(lines: Iterable[str]) -> tuple[Case, ...]:
    return tuple(
        case_of(line) for line in map(str.strip, lines) if line and not line.startswith("#")
    )


def case_of(line: str) -> Case:
    head, _, lists = line.partition(" ! ")
    head, _, authorities = head.partition(" < ")
    number, verdict, leaf = head.split()
    assert verdict in ("accept", "refuse"), line
    good = verdict == "accept"
    return Case(number, good, leaf, tuple(authorities.split()), tuple(lists.split()))


CASES = read((HERE / "pkits_cases.txt").read_text().splitlines())


@dataclass(frozen=True)
class Refusals:
    """Why some cases that NIST wants accepted are refused here, by their numbers."""

    reason: str
    words: str
    cases: tuple[str, ...]


REFUSALS = tuple(
    Refusals(one["reason"], one["words"], tuple(one["cases"]))
    for one in yaml.safe_load((HERE / "pkits_refusals.yml").read_text())
)


def refusal(case: Case) -> PkiError | None:
    """What ``path.validate`` says to a case; None if it finds the path good."""
    try:
        path.validate(case.leaf_der(), case.intermediates(), [anchor()], crls=case.crls(), now=NOW)
    except PkiError as error:
        return error
    return None
