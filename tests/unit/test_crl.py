# SPDX-License-Identifier: GPL-3.0-or-later
"""A CRL is read whole or not at all, and searched the same way however long and however often."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from pki import crl, revocation
from pki.crl import Crl
from pki.errors import PkiError
from unit import large_crl
from unit import pki_factory as factory
from unit.pki_factory import NOW, idp

CA = factory.authority("Example CA")
OTHER = factory.authority("Other CA")
ASKED = 20  # more questions than are answered without an index


def search(data: bytes, serials: list[int]) -> list[bool]:
    """Whether each serial is listed; asked so often that the later answers come from an index."""
    found = Crl.parse(data)
    return [found.entry(serial) is not None for serial in serials]


@settings(max_examples=60, deadline=None)
@given(
    listed=st.lists(st.integers(1, 2**159 - 1) | st.integers(1, 40), max_size=30),
    asked=st.lists(st.integers(1, 2**159 - 1) | st.integers(1, 40), max_size=30),
)
def test_an_index_finds_what_looking_through_the_list_finds(
    listed: list[int], asked: list[int]
) -> None:
    data = large_crl.crl(CA, [large_crl.entry(serial) for serial in listed])
    serials = [0] * ASKED + listed + asked
    assert search(data, serials) == [serial in listed for serial in serials]


def test_serials_that_differ_in_their_high_bits_only_are_told_apart() -> None:
    serials = [(number << 64) + 5 for number in range(1, 8000)]
    data = large_crl.crl(CA, [large_crl.entry(serial) for serial in serials])
    wanted = [0] * ASKED + serials + [serial + 1 for serial in serials]
    listed, start = set(serials), time.process_time()
    assert search(data, wanted) == [serial in listed for serial in wanted]
    assert time.process_time() - start < 2


@pytest.mark.parametrize("before", [0, ASKED], ids=["looked through", "indexed"])
def test_of_several_entries_of_a_serial_every_one_is_seen(before: int) -> None:
    removed = large_crl.entry(5, large_crl.reason(8))
    revoked = large_crl.entry(5, large_crl.reason(1))
    delta = large_crl.extension("2.5.29.27", b"\x02\x01\x01", critical=True)
    data = large_crl.crl(CA, [removed, removed, revoked, removed], extensions=delta)
    found = Crl.parse(data)
    for _ in range(before):
        assert found.entry(6) is None
    entry = found.entry(5)
    assert entry is not None
    assert crl.reason_of(entry) == "keyCompromise"


def test_a_serial_that_comes_a_hundred_thousand_times_is_no_trouble() -> None:
    data = large_crl.crl(CA, [large_crl.entry(5)] * 100_000)
    start = time.process_time()
    assert search(data, [6] * ASKED + [5, 6]) == [False] * ASKED + [True, False]
    assert time.process_time() - start < 5


# --- what is read --------------------------------------------------------------------------------


def test_first_lines_without_a_last_one_are_read_in_one_pass() -> None:
    start = time.process_time()
    assert revocation.parse_crls(b"-----BEGIN X509 CRL-----\n" * 40_000) == ()
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "field",
    [0x02, 0x17],
    ids=["serial", "date"],
)
def test_a_list_with_one_entry_that_is_none_is_not_read(field: int) -> None:
    entry = large_crl.entry(6)
    broken = entry.replace(bytes([field]), b"\x04", 1)
    assert broken != entry
    data = large_crl.crl(CA, [large_crl.entry(5), broken, large_crl.entry(7)])
    with pytest.raises(PkiError) as caught:
        Crl.parse(data)
    assert caught.value.rule == "DIP-3.5.2.5-RP-CHECK"


def test_the_bytes_of_a_crl_are_the_ones_that_were_given() -> None:
    data = CA.crl([5])
    assert Crl.parse(data).der is data
    assert Crl.parse(revocation.to_pem(data)).der == data


def test_more_bytes_than_the_limit_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    data = CA.crl()
    monkeypatch.setattr(crl, "MAX_CRL_BYTES", len(data))
    assert Crl.parse(data).number == 1
    monkeypatch.setattr(crl, "MAX_CRL_BYTES", len(data) - 1)
    with pytest.raises(PkiError) as caught:
        Crl.parse(data)
    assert "are the limit" in caught.value.found


@pytest.mark.parametrize("extensions", [[], [idp(only_contains_user_certs=True)]])
def test_a_long_list_and_its_extensions_are_told_from_entries(extensions: list[Any]) -> None:
    """A critical extension of the list itself is none of an entry."""
    for revoked in ((), (5, 6)):
        assert Crl.parse(CA.crl(revoked, extensions=extensions)).unknown_in_entries == ""


def test_an_accidental_true_in_a_serial_is_no_critical_extension() -> None:
    serial = int.from_bytes(b"\x05" * 8 + b"\x06\x03\x01\x01\xff\x01\x01\xff", "big")
    data = large_crl.crl(CA, [large_crl.entry(serial), large_crl.entry(7)])
    assert Crl.parse(data).unknown_in_entries == ""


# --- who signed it -------------------------------------------------------------------------------


def test_a_signature_is_checked_once_for_each_issuer(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[x509.Certificate] = []
    check = crl._not_vouched_for

    def counted(parsed: x509.CertificateRevocationList, issuer: x509.Certificate) -> str:
        checked.append(issuer)
        return check(parsed, issuer)

    monkeypatch.setattr(crl, "_not_vouched_for", counted)
    twin = factory.authority("Example CA", key_name="twin")
    found = Crl.parse(CA.crl())
    for _ in range(5):
        assert found.signed_by(CA.der)
        assert not found.signed_by(twin.der)
        assert not found.signed_by(OTHER.der)
    assert checked == [CA.certificate, twin.certificate], "another name needs no signature"


def test_what_was_found_of_one_issuer_is_never_told_of_another() -> None:
    twins = [
        factory.authority("Example CA", key_name=f"twin {n % 3}", serial=n + 1) for n in range(40)
    ]
    found = Crl.parse(CA.crl())
    for _ in range(2):
        assert not any(found.signed_by(twin.der) for twin in twins)
        assert found.signed_by(CA.der)
    assert len(found._faults) <= 16


def test_two_crls_are_never_equal_and_never_compared_by_their_bytes() -> None:
    data = CA.crl()
    one, other = Crl.parse(data), Crl.parse(data)
    assert one != other
    assert len({one, other, one}) == 2
    assert repr(data) not in repr(one)
    assert len(repr(Crl.parse(CA.crl(range(1, 500))))) < 2000


# --- a million entries ---------------------------------------------------------------------------

MEASURE = """
import json, resource, sys, time
from pki import revocation
crl, ca, leaf, listed = (open(name, "rb").read() for name in sys.argv[1:5])
from datetime import datetime
now = datetime.fromisoformat(sys.argv[5])
def used():
    one = resource.getrusage(resource.RUSAGE_SELF)
    return one.ru_utime + one.ru_stime
start, wall = used(), time.monotonic()
parsed = revocation.Crl.parse(crl)
verdicts = [revocation.check([one, ca], [parsed], now)[0].verdict for one in (leaf, listed)]
single = used() - start, time.monotonic() - wall
start = used()
first = int(sys.argv[6])
found = sum(parsed.entry(first + number) is not None for number in range(10_000))
with open("/proc/self/status") as status:  # getrusage counts the parent's memory as well
    peak = next(int(one.split()[1]) for one in status if one.startswith("VmHWM")) * 1024
print(json.dumps({
    "verdicts": verdicts, "found": found, "cpu": single[0], "wall": single[1],
    "batch": used() - start,
    "peak": peak,
}))
"""


def measured(folder: Path, size: int) -> dict[str, Any]:
    """What a process of its own needs to load, verify and search a CRL of ``size`` entries."""
    leaf, listed = CA.leaf(), CA.leaf(serial=large_crl.serial(size - 1))
    files = {
        "crl": large_crl.large(CA, size),
        "ca": CA.der,
        "leaf": leaf,
        "listed": listed,
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            MEASURE,
            *(folder / name for name in files),
            NOW.isoformat(),
            str(large_crl.serial(size - 1)),
        ],
        env={"PYTHONPATH": str(Path(crl.__file__).parents[1]), "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_million_entries_are_loaded_verified_and_searched_in_three_seconds_and_400_mb(
    tmp_path: Path,
) -> None:
    found = measured(tmp_path, 1_000_000)
    assert found["verdicts"] == ["good", "revoked"]
    assert found["found"] == 1
    assert found["cpu"] < 3, found
    assert found["peak"] < 400_000_000, found
    # Ten thousand more questions cost one index and no ten thousand walks.
    assert found["batch"] < 6, found
