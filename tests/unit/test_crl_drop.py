# SPDX-License-Identifier: GPL-3.0-or-later
"""CRLs put beside the inventory by hand serve where no network does, and never replace better."""

from __future__ import annotations

import configparser
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from pki import crl_cache, crl_drop, download, revocation, session, shipped
from pki.errors import PkiError
from unit import pki_factory as factory
from unit.controller_world import (
    FOREIGN,
    ISSUING,
    MAX_AGE,
    REPOSITORY,
    ROOT,
    SIBLING,
    TRUST,
    Web,
    World,
    content,
    tree,
    web,
    whole,
)
from unit.pki_factory import NOW, SECOND

HOUR = timedelta(hours=1)
PATIENCE = download.Patience.of(shipped.policy("mhhs-dip"))
GOOD = ISSUING.crl(number=5)
DIRECTORY = "crls"


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    with web() as site:
        yield site


@pytest.fixture(autouse=True)
def _no_network_beyond_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)


class Gap:
    """An inventory whose CAs have no address, unless a test gives them one."""

    def __init__(self, base: Path, **urls: list[str]) -> None:
        self.world = World(base, crl_urls={"root": [], "issuing": [], **urls})
        self.trust = self.world.inputs().trust[TRUST]
        self.folder = base / DIRECTORY
        self.folder.mkdir(exist_ok=True)
        self.put("root.crl", ROOT.crl(end=NOW + 90 * HOUR))

    def put(self, name: str, data: bytes, at: datetime = NOW - HOUR) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        os.utime(path, (at.timestamp(), at.timestamp()))
        return path

    def refresh(self, now: datetime = NOW, save: bool = True) -> crl_cache.CrlSet:
        return crl_cache.refresh(
            self.trust,
            self.world.cache,
            now=now,
            max_age=MAX_AGE,
            patience=PATIENCE,
            drop=crl_drop.read(self.world.base),
            save=save,
        )


@pytest.fixture
def gap(tmp_path: Path) -> Gap:
    return Gap(tmp_path)


def only(errors: tuple[PkiError, ...]) -> PkiError:
    (error,) = errors
    return whole(error)


@pytest.mark.parametrize("name", ["issuing.crl", "issuing.pem", "ISSUING.DER"])
def test_a_file_alone_serves_a_ca_without_an_address(gap: Gap, name: str) -> None:
    gap.put(name, revocation.to_pem(GOOD) if name.endswith("pem") else GOOD)
    found = gap.refresh()
    assert found.complete
    assert found.crls[0] == GOOD
    assert (found.warnings, found.problems, found.remarks) == ((), (), ())
    assert found.fetched_at == NOW - HOUR, "the file's time is the time of the poll"
    assert crl_cache.load(gap.trust, gap.world.cache, now=NOW, max_age=MAX_AGE).complete


def test_one_file_may_hold_the_crls_of_several_cas(gap: Gap) -> None:
    (gap.folder / "root.crl").unlink()
    gap.put("all.pem", b"of the DCA\n" + revocation.to_pem(GOOD) + revocation.to_pem(ROOT.crl()))
    assert gap.refresh().complete


def test_without_address_and_file_the_next_step_names_both_ways(gap: Gap) -> None:
    problem = only(gap.refresh().problems)
    assert "no CRL location is configured" in problem.found
    assert "crls/ beside the inventory" in problem.next_step
    assert problem.where == "group_vars/all/trust.yml"


def test_a_file_serves_when_the_network_does_not(tmp_path: Path, server: Web) -> None:
    gap = Gap(tmp_path, issuing=[server.serve("/issuing", content(b"", 404))])
    gap.put("issuing.crl", GOOD)
    found = gap.refresh()
    assert found.complete
    assert found.crls[0] == GOOD
    assert only(found.warnings).found == "HTTP 404, after 1 attempt"


@pytest.mark.parametrize(
    ("network", "dropped", "cached", "wanted"),
    [(7, 6, 5, 7), (5, 7, 6, 7), (None, 6, 7, 7), (None, 7, 6, 7), (None, None, 5, 5)],
)
def test_of_network_file_and_cache_the_newest_serves(
    tmp_path: Path,
    server: Web,
    network: int | None,
    dropped: int | None,
    cached: int,
    wanted: int,
) -> None:
    gap = Gap(tmp_path, issuing=[server.url("/issuing")])
    crls = {number: ISSUING.crl(number=number) for number in (5, 6, 7)}
    server.serve("/issuing", content(crls[cached]))
    gap.refresh()
    # The order of numbers must not depend on what was cached: an older poll is another test.
    server.serve("/issuing", content(crls[network]) if network else content(b"", 404))
    if dropped:
        gap.put("issuing.crl", crls[dropped])
    found = gap.refresh()
    assert found.crls[0] == crls[wanted]
    again = crl_cache.load(gap.trust, gap.world.cache, now=NOW, max_age=MAX_AGE)
    assert again.crls[0] == crls[wanted]


NOT_USED = {
    "stale": (ISSUING.crl(number=9, end=NOW - SECOND), "is stale since"),
    "not valid yet": (ISSUING.crl(number=9, start=NOW + SECOND), "is valid only from"),
    "forged": (ISSUING.crl(number=9, signer=factory.key("thief")), "not signed by the key"),
    "a delta": (
        ISSUING.crl(number=9, extensions=[(x509.DeltaCRLIndicator(1), True)]),
        "is a delta CRL",
    ),
    "older": (ISSUING.crl(number=4), "CRL number 4"),
}


@pytest.mark.parametrize("kind", NOT_USED)
def test_a_file_that_is_no_better_is_named_and_never_used(gap: Gap, kind: str) -> None:
    gap.put("issuing.crl", GOOD)
    gap.refresh()
    data, why = NOT_USED[kind]
    (gap.folder / "issuing.crl").unlink()
    path = gap.put("new.crl", data)
    found = gap.refresh()
    assert found.crls[0] == GOOD
    assert found.complete
    assert not found.changed
    remark = only(found.remarks)
    assert why in remark.found
    assert (remark.rule, remark.where) == ("CRL-DROP", str(path))
    assert "crls/new.crl" in remark.message


@pytest.mark.parametrize("kind", [kind for kind in NOT_USED if kind != "older"])
def test_a_file_that_is_bad_is_no_answer_where_there_is_no_other(gap: Gap, kind: str) -> None:
    gap.put("new.crl", NOT_USED[kind][0])
    found = gap.refresh()
    assert not found.complete
    assert len(found.crls) == 1
    assert NOT_USED[kind][1] in only(found.remarks).found


def test_a_file_that_serves_one_of_two_cas_of_a_name_is_not_called_useless(gap: Gap) -> None:
    twin = ROOT.authority("Example Issuing", path_length=0, key_name="new key")
    issuer = gap.trust.issuers[0]
    second = replace(issuer, der=twin.der, pem=twin.pem, sha256=twin.sha256)
    gap.trust = replace(gap.trust, issuers=(issuer, second))
    gap.put("old-key.crl", GOOD)
    gap.put("new-key.crl", twin.crl(number=1))
    found = gap.refresh()
    assert found.complete
    assert found.crls[:2] == (GOOD, twin.crl(number=1))
    assert found.remarks == ()


def test_an_older_file_beside_a_newer_one_is_named(gap: Gap) -> None:
    gap.put("a.crl", ISSUING.crl(number=4))
    gap.put("b.crl", GOOD)
    found = gap.refresh()
    assert found.crls[0] == GOOD
    assert only(found.remarks).where.endswith("a.crl")


def test_a_stale_crl_in_the_cache_still_keeps_older_files_out(gap: Gap) -> None:
    gap.put("issuing.crl", GOOD)
    gap.refresh()
    later = NOW + 25 * HOUR
    gap.put("issuing.crl", ISSUING.crl(number=4, end=NOW + 90 * HOUR), at=later)
    gap.put("root.crl", ROOT.crl(end=NOW + 90 * HOUR), at=later)
    found = gap.refresh(later)
    assert not found.complete
    assert "CRL number 4" in only(found.remarks).found


@pytest.mark.parametrize(
    ("put_at", "serves"),
    [
        (NOW - MAX_AGE, True),
        (NOW - MAX_AGE - SECOND, False),
        (NOW + timedelta(minutes=4), True),
        (NOW + timedelta(minutes=6), False),
    ],
    ids=["just young enough", "too old", "a clock that is a little fast", "of the future"],
)
def test_a_file_serves_as_long_as_a_poll_of_its_time_would(
    gap: Gap, put_at: datetime, serves: bool
) -> None:
    gap.put("issuing.crl", ISSUING.crl(number=5, end=NOW + 90 * HOUR), at=put_at)
    found = gap.refresh()
    assert found.complete is serves
    if not serves:
        assert "written 2026-11" in only(found.remarks).found
        assert "24 hours" in only(found.remarks).expected


def test_check_mode_uses_a_file_and_keeps_nothing(gap: Gap) -> None:
    gap.put("issuing.crl", GOOD)
    before = tree(gap.world.base)
    found = gap.refresh(save=False)
    assert found.complete
    assert found.changed
    assert tree(gap.world.base) == before


# --- the directory -------------------------------------------------------------------------------


def test_no_directory_is_no_file(tmp_path: Path) -> None:
    assert crl_drop.read(tmp_path) == crl_drop.Drop()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("page.crl", b"<html>please log in</html>"),
        ("empty.crl", b""),
        ("root.pem", ROOT.pem),
        ("crl.txt", GOOD),
        ("cut.der", GOOD[:-1]),
    ],
)
def test_a_file_of_which_nothing_can_be_read_is_named(gap: Gap, name: str, data: bytes) -> None:
    path = gap.put(name, data)
    drop = crl_drop.read(gap.world.base)
    assert [one.path.name for one in drop.crls] == ["root.crl"]
    problem = only(drop.problems)
    assert problem.where == str(path)


def test_a_private_key_in_a_file_is_not_repeated(gap: Gap) -> None:
    secret = (
        b"-----BEGIN PRIVATE KEY-----\nMIICanaryCanaryCanaryCanary\n-----END PRIVATE KEY-----\n"
    )
    gap.put("key.pem", secret)
    assert "anary" not in str(only(crl_drop.read(gap.world.base).problems))


def test_notes_and_hidden_files_are_nobodys_business(gap: Gap) -> None:
    gap.put("README.md", b"how we get them")
    gap.put(".gitkeep", b"")
    assert crl_drop.read(gap.world.base).problems == ()


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_is_no_plain_file_stops_nothing(gap: Gap, tmp_path: Path, kind: str) -> None:
    path = gap.folder / "issuing.crl"
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(GOOD)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    drop = crl_drop.read(gap.world.base)
    assert only(drop.problems).where == str(path)
    assert [one.path.name for one in drop.crls] == ["root.crl"]


def test_a_directory_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / DIRECTORY).write_text("a file")
    assert only(crl_drop.read(tmp_path).problems).where == str(tmp_path / DIRECTORY)


def test_more_files_than_anybody_puts_there_are_not_read(
    gap: Gap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crl_drop, "MOST_FILES", 2)
    for number in range(4):
        gap.put(f"{number}.crl", GOOD)
    drop = crl_drop.read(gap.world.base)
    assert len(drop.crls) == 2
    assert "more than 2 files" in only(drop.problems).found


@pytest.mark.parametrize("crl", [FOREIGN.crl(), SIBLING.crl()], ids=["foreign", "sibling"])
def test_the_crl_of_a_ca_that_nobody_pins_is_named(gap: Gap, crl: bytes) -> None:
    path = gap.put("other.crl", crl)
    drop = crl_drop.read(gap.world.base)
    remark = only(tuple(drop.strangers(gap.trust.authorities)))
    assert remark.where == str(path)
    assert gap.refresh().remarks == ()


def test_an_ocsp_response_in_a_file_answers_a_judgement(gap: Gap) -> None:
    leaf = ISSUING.leaf()
    gap.put("leaf.ocsp", ISSUING.ocsp(leaf))
    inputs = gap.world.inputs()
    found = session.answers(inputs)
    assert crl_drop.read(gap.world.base).problems == ()
    status = revocation.check([leaf, ISSUING.der], found.crls, NOW, ocsp=found.ocsp)[0]
    assert (status.verdict, "OCSP response" in status.source) == ("good", True)


def test_ansible_leaves_the_directory_alone() -> None:
    config = configparser.ConfigParser()
    config.read(REPOSITORY / "ansible.cfg")
    patterns = config["inventory"]["ignore_patterns"].split(",")
    assert any(re.search(pattern.strip(), DIRECTORY) for pattern in patterns)
    assert crl_drop.FOLDER == DIRECTORY
