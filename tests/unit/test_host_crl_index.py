# SPDX-License-Identifier: GPL-3.0-or-later
"""What two CRLs differ in is told from their indexes; what is gone is sorted by what it means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pki_host import crl_der, crl_index, crl_numbers
from pki_host.crl_index import Difference
from pki_host.crl_watch import Known
from pki_host.errors import HostError
from unit import large_crl
from unit import pki_factory as factory
from unit.large_crl import entry, extension
from unit.pki_factory import DAY, NOW

CA = factory.authority("Example CA")
LONGEST = 398
TODAY = NOW.timestamp()


def write(folder: Path, name: str, entries: Sequence[bytes]) -> None:
    (folder / f"{name}.der").write_bytes(large_crl.crl(CA, entries))
    crl_der.read(str(folder / f"{name}.der"), str(folder / f"{name}.index"))


def compared(folder: Path, old: Sequence[bytes], new: Sequence[bytes]) -> Difference:
    write(folder, "old", old)
    write(folder, "new", new)
    return crl_index.difference(str(folder / "old.index"), str(folder / "new.index"))


serials = st.sets(st.integers(0, 2**159 - 1) | st.integers(0, 60), max_size=40)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(old=serials, new=serials, twice=st.booleans())
def test_a_difference_is_that_of_two_sets(
    old: set[int], new: set[int], twice: bool, tmp_path: Path
) -> None:
    listed = [entry(one) for one in old] * (2 if twice else 1)
    found = compared(tmp_path, listed, [entry(one) for one in new])
    assert (found.added, found.removed) == (len(new - old), len(old - new))
    gone = crl_index.removed_serials(str(tmp_path / "old.der"), found)
    assert sorted(one.serial for one in gone) == sorted(old - new)
    assert {crl_numbers.number_of(one) for one in old - new} == set(found.removed_hashes)
    assert all(crl_numbers.number_of(one) not in found.removed_hashes for one in new)


SIZES = [(0, 0), (1, 100_000), (100_000, 1), (100_000, 0), (40_000, 100_000)]


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_lists_of_very_different_sizes_are_compared(old: int, new: int, tmp_path: Path) -> None:
    entries = [entry(large_crl.serial(number)) for number in range(max(old, new))]
    found = compared(tmp_path, entries[:old], entries[:new])
    assert (found.added, found.removed) == (max(new - old, 0), max(old - new, 0))


def test_serials_that_share_their_low_digits_are_told_apart(tmp_path: Path) -> None:
    listed = [entry((number << 64) + 5) for number in range(1, 5000)]
    found = compared(tmp_path, listed, listed[1:-1])
    assert (found.added, found.removed) == (0, 2)


def test_a_serial_that_comes_a_hundred_thousand_times_is_one(tmp_path: Path) -> None:
    found = compared(tmp_path, [entry(5)] * 100_000, [entry(6)])
    assert (found.added, found.removed) == (1, 1)
    assert len(crl_index.removed_serials(str(tmp_path / "old.der"), found)) == 1


def test_serials_in_a_row_and_odd_entries_are_in_the_index(tmp_path: Path) -> None:
    odd = extension("1.2.3.4", b"\x05\x00")
    listed = [entry(number, odd if number % 3 else b"") for number in range(300)]
    found = compared(tmp_path, listed, listed[:100])
    gone = crl_index.removed_serials(str(tmp_path / "old.der"), found)
    assert [one.serial for one in gone] == list(range(100, 300))


def test_an_index_is_eight_octets_an_entry(tmp_path: Path) -> None:
    write(tmp_path, "old", [entry(number) for number in range(1000)])
    assert (tmp_path / "old.index").stat().st_size == 16 + 8 * 1000


def known(serial: int, not_after: str, issuer: str = CA.sha256) -> Known:
    return Known(f"number {serial}", "dip", "ours", serial, issuer, not_after, (), "")


LATER, EARLIER = "2027-01-01T00:00:00Z", "2026-11-01T00:00:00Z"
CLASSES = {
    # serial 5, what the host knows of it, days since it was revoked: expired, known, uncertain
    "nobody knows it, and it was revoked lately": ((), 3, (0, 0, 1)),
    "nobody knows it, and it was revoked longer ago than anything lives": ((), 399, (1, 0, 0)),
    "it is ours and not expired": ((known(5, LATER),), 3, (0, 1, 0)),
    "it is ours and has expired": ((known(5, EARLIER),), 3, (1, 0, 0)),
    "it is ours and not expired, though revoked long ago": ((known(5, LATER),), 399, (0, 1, 0)),
    "it is ours, revoked long ago, and when it ends is not known": (
        (known(5, ""),),
        399,
        (1, 0, 0),
    ),
    "it is ours, and when it ends is not known": ((known(5, ""),), 3, (0, 1, 0)),
    "the same serial of another CA is ours": ((known(5, LATER, "0" * 64),), 3, (0, 0, 1)),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_removed_serial_is_expired_or_an_alarm_or_uncertain(name: str, tmp_path: Path) -> None:
    mine, days, expected = CLASSES[name]
    old = [entry(5, when=NOW - days * DAY), entry(6)]
    found = compared(tmp_path, old, [entry(6)])
    classes = crl_index.classify(str(tmp_path / "old.der"), found, mine, CA.sha256, LONGEST, TODAY)
    assert (classes.expired, len(classes.known), classes.uncertain) == expected
    assert all(one.serial == 5 for one in classes.known)


BROKEN = {
    "empty": lambda data: b"",
    "cut short": lambda data: data[:-1],
    "too long": lambda data: data + b"\0" * 8,
    "something else": lambda data: b"x" * len(data),
}


@pytest.mark.parametrize("name", [*BROKEN, "missing"])
def test_what_is_no_index_is_refused(name: str, tmp_path: Path) -> None:
    write(tmp_path, "old", [entry(5)])
    path = tmp_path / "old.index"
    if name == "missing":
        path.unlink()
    else:
        path.write_bytes(BROKEN[name](path.read_bytes()))
    with pytest.raises(HostError) as caught:
        crl_index.difference(str(path), str(path))
    assert caught.value.rule == "CRL-INDEX"


def test_an_index_that_is_there_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "old.index").write_bytes(b"half")
    write(tmp_path, "old", [entry(5)])
    path = str(tmp_path / "old.index")
    assert crl_index.difference(path, path).removed == 0


def test_no_index_is_left_of_what_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "x.der").write_bytes(CA.crl([5])[:-1])
    with pytest.raises(HostError):
        crl_der.read(str(tmp_path / "x.der"), str(tmp_path / "x.index"))
    assert not (tmp_path / "x.index").exists()
