# SPDX-License-Identifier: GPL-3.0-or-later
"""A host reads a CRL as the controller does, whatever it holds, and refuses the rest in one way."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path

import pytest
from adversarial import mutations
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pki import crl as controller
from pki.errors import PkiError
from pki_host import crl_der, crl_entries
from pki_host.crl_der import CrlFacts, Entry
from pki_host.errors import HostError
from unit import large_crl
from unit import pki_factory as factory
from unit.large_crl import entry, extension, reason
from unit.pki_factory import NOW, idp, tlv

ROOT = Path(__file__).resolve().parents[2]
CA = factory.authority("Example CA")
INVALIDITY = extension("2.5.29.24", b"\x18\x0f20260101000000Z")
CERTIFICATE_ISSUER = extension("2.5.29.29", b"\x30\x00", critical=True)
UNKNOWN = extension("1.2.3.4", b"\x05\x00", critical=True)
DELTA = extension("2.5.29.27", b"\x02\x01\x01", critical=True)
ANY_TIME = HealthCheck.function_scoped_fixture
# Where this reader is stricter than the controller's, as its docstring says.
STRICTER = (
    "a CRL number that is too long",
    "a serial that is too long",
    "an extension that comes twice",
    "a URI that is no ASCII",
)


def read(folder: Path, data: bytes) -> CrlFacts:
    path = folder / "read.der"
    path.write_bytes(data)
    return crl_der.read(str(path))


def refusal(folder: Path, data: bytes) -> HostError:
    with pytest.raises(HostError) as caught:
        read(folder, data)
    assert caught.value.rule == "CRL-UNREADABLE"
    return caught.value


def outcome(folder: Path, data: bytes) -> tuple[CrlFacts | None, str]:
    """The facts, or None and what was found to be wrong."""
    try:
        return read(folder, data), ""
    except HostError as exc:
        return None, exc.found if exc.rule == "CRL-UNREADABLE" else exc.rule


def seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def require_agreement(theirs: controller.Crl, ours: CrlFacts) -> None:
    """Both readers tell the same of the same CRL."""
    assert ours.issuer == theirs.issuer
    assert ours.this_update == seconds(theirs.this_update)
    assert ours.next_update == seconds(theirs.next_update)
    assert ours.number == theirs.number
    assert ours.entries == len(theirs.parsed)
    assert ours.delta is theirs.is_delta
    assert ours.idp_uris == theirs.distribution_points
    assert ours.algorithm == theirs.parsed.signature_algorithm_oid.dotted_string
    usable = not (ours.delta or ours.indirect or ours.unknown_critical or ours.scope == "none")
    # They may differ where an entry names its issuer without saying that it is critical, and where
    # an extension that is not critical cannot be read.
    stricter = ours.indirect or "cannot be read" in theirs.unknown_in_entries
    assert usable is not bool(theirs.silent or theirs.unknown_in_entries) or stricter
    if not theirs.silent:
        assert ours.scope == theirs.scope


serials = st.integers(0, 2**159 - 1) | st.integers(1, 300) | st.integers(2**160, 2**190)
extras = st.sampled_from(
    [
        *(b"", b"", b"", reason(1), reason(7), reason(8), reason(6, True)),
        *(INVALIDITY, reason(4) + INVALIDITY, CERTIFICATE_ISSUER, UNKNOWN),
        extension("1.2.3.4", b"\x05\x00"),
    ]
)
dates = st.datetimes(datetime(1951, 1, 1), datetime(2049, 12, 31)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)


@settings(max_examples=80, deadline=None, suppress_health_check=[ANY_TIME])
@given(listed=st.lists(st.tuples(serials, extras, dates), max_size=25))
def test_both_readers_tell_the_same_of_a_list_and_of_each_entry(
    listed: list[tuple[int, bytes, datetime]], tmp_path: Path
) -> None:
    data = large_crl.crl(CA, [entry(*one) for one in listed])
    theirs = controller.Crl.parse(data)
    require_agreement(theirs, read(tmp_path, data))
    found = crl_der.find(str(tmp_path / "read.der"), {one for one, _, _ in listed} | {2**200})
    assert set(found) == {one for one, _, _ in listed}
    for serial, one in found.items():
        first = theirs.entry(serial)
        assert first is not None
        since = seconds(first.revocation_date_utc)
        assert one == Entry(serial, since or 0, controller.reason_of(first))


LISTS = {
    "with entries": CA.crl([5, 6], reason=x509.ReasonFlags.superseded),
    "without entries": CA.crl(),
    "of version 1": large_crl.crl(CA, [entry(5)], number=None),
    "with all kinds of entries": large_crl.crl(
        CA, [entry(5), entry(2**159 - 1, reason(1)), entry(7, INVALIDITY), entry(8, UNKNOWN)]
    ),
    "for users at a URL": CA.crl([5], extensions=[idp(factory.CDP, only_contains_user_certs=True)]),
    "for CAs": CA.crl(extensions=[idp(only_contains_ca_certs=True)]),
    "indirect": CA.crl(extensions=[idp(indirect_crl=True)]),
    "for attributes": CA.crl(extensions=[idp(only_contains_attribute_certs=True)]),
    "for a reason": CA.crl(
        extensions=[idp(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise}))]
    ),
    "relative to its issuer": CA.crl(
        extensions=[
            idp(
                relative_name=x509.RelativeDistinguishedName(
                    [x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "part")]
                )
            )
        ]
    ),
    "delta": large_crl.crl(CA, [entry(5)], extensions=DELTA),
    "with an unknown critical extension": large_crl.crl(CA, [entry(5)], extensions=UNKNOWN),
    "without an end": factory.without_next_update(CA.crl([5]), CA.private),
    "signed with SHA-1": factory.with_sha1(CA.crl([5]), CA.private),
    "of another century": CA.crl(
        start=datetime(1990, 1, 1, tzinfo=UTC), end=datetime(2051, 1, 1, tzinfo=UTC)
    ),
    "with a large number": CA.crl(number=2**159 - 1),
}


@pytest.mark.parametrize("name", LISTS)
def test_both_readers_tell_the_same_of_a_list(name: str, tmp_path: Path) -> None:
    require_agreement(controller.Crl.parse(LISTS[name]), read(tmp_path, LISTS[name]))


SCOPES = {
    "with entries": ("all", (), False),
    "for users at a URL": ("user", (factory.CDP,), True),
    "for CAs": ("ca", (), False),
    "for attributes": ("none", (), False),
    "for a reason": ("none", (), False),
    "relative to its issuer": ("none", (), True),
}


@pytest.mark.parametrize("name", SCOPES)
def test_for_whom_a_list_speaks(name: str, tmp_path: Path) -> None:
    facts = read(tmp_path, LISTS[name])
    assert (facts.scope, facts.idp_uris, facts.named) == SCOPES[name]


def test_thousands_of_damaged_lists_end_in_one_refusal_or_in_the_same_facts(
    tmp_path: Path,
) -> None:
    bases, seen = list(LISTS.values()), {"both": 0, "none": 0}
    for seed in range(1500):
        rng = random.Random(seed)
        change = mutations.change_bytes if rng.random() < 0.3 else mutations.change_tree
        data = change(rng, rng.choice(bases), bases)
        if data[:1] != b"\x30":
            continue  # not DER: the controller would look for PEM
        ours, found = outcome(tmp_path, data)
        theirs = None
        with warnings.catch_warnings(), contextlib.suppress(PkiError):
            warnings.simplefilter("ignore")
            theirs = controller.Crl.parse(data)
        if ours is not None and theirs is not None:
            require_agreement(theirs, ours)
            seen["both"] += 1
        elif ours is None and theirs is not None:
            assert found in STRICTER, (seed, found)
        seen["none"] += ours is None and theirs is None
    assert min(seen.values()) > 100, seen


ODD = {
    "a time of the second half of the century": (
        tlv(0x30, b"\x02\x01\x05" + tlv(0x18, b"20510101000000Z")),
        Entry(5, 2556144000, "no reason given"),
    ),
    "a leap day": (entry(5, when=datetime(2024, 2, 29, tzinfo=UTC)), None),
    "a negative serial": (tlv(0x30, b"\x02\x01\x80" + tlv(0x17, b"261121120000Z")), None),
    "a critical reason": (entry(5, reason(1, critical=True)), None),
    "a reason that nobody knows": (
        entry(5, reason(7)),
        Entry(5, int(NOW.timestamp()), "unreadable reason"),
    ),
    "an unknown extension": (entry(5, extension("1.2.3.4", b"\x05\x00")), None),
    "a serial of 40 octets": (entry(2**310), None),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("around", [0, 3, 20_000], ids=["alone", "among few", "among many"])
def test_an_entry_of_no_common_shape_is_read_all_the_same(
    name: str, around: int, tmp_path: Path
) -> None:
    odd, expected = ODD[name]
    others = [entry(large_crl.serial(number)) for number in range(around)]
    data = large_crl.crl(CA, [*others, odd, *others])
    facts = read(tmp_path, data)
    assert (facts.entries, facts.indirect, facts.unknown_critical) == (2 * around + 1, False, ())
    if expected is not None:
        assert crl_der.find(str(tmp_path / "read.der"), [5]) == {5: expected}


@pytest.mark.parametrize("around", [0, 20_000])
def test_what_an_entry_makes_critical_or_of_another_issuer_is_told(
    around: int, tmp_path: Path
) -> None:
    others = [entry(large_crl.serial(number)) for number in range(around)]
    unreadable = extension("2.5.29.21", b"\x05\x00", critical=True)
    odd = [entry(5, UNKNOWN), entry(6, CERTIFICATE_ISSUER), entry(7, unreadable)]
    facts = read(tmp_path, large_crl.crl(CA, [*others, *odd, *others]))
    assert facts.indirect
    assert facts.unknown_critical == ("1.2.3.4", "2.5.29.29", "2.5.29.21")


BROKEN_ENTRIES = {
    "no entry": b"\x05\x00",
    "an empty one": tlv(0x30, b""),
    "without a date": tlv(0x30, b"\x02\x01\x05"),
    "the 30th of February": tlv(0x30, b"\x02\x01\x05" + tlv(0x17, b"260230000000Z")),
    "the 31st of April": tlv(0x30, b"\x02\x01\x05" + tlv(0x17, b"260431000000Z")),
    "a 61st second": tlv(0x30, b"\x02\x01\x05" + tlv(0x17, b"260401000060Z")),
    "a time with a zone": tlv(0x30, b"\x02\x01\x05" + tlv(0x17, b"260401000000+0100")),
    "a date of other digits": tlv(0x30, b"\x02\x01\x05" + tlv(0x17, b"2604010 0000Z")),
    "a padded serial": tlv(0x30, b"\x02\x02\x00\x05" + tlv(0x17, b"260401000000Z")),
    "an empty serial": tlv(0x30, b"\x02\x00" + tlv(0x17, b"260401000000Z")),
    "a long-winded length": b"\x30\x81\x12\x02\x01\x05" + tlv(0x17, b"260401000000Z"),
    "something after the extensions": entry(5, reason(1))[:1]
    + bytes([entry(5, reason(1))[1] + 2])
    + entry(5, reason(1))[2:]
    + b"\x05\x00",
    "the same extension twice": entry(5, reason(1) + reason(1)),
    "a false `critical`": entry(
        5, tlv(0x30, b"\x06\x03\x55\x1d\x15\x01\x01\x00\x04\x03\x0a\x01\x01")
    ),
    "an entry longer than the list": b"\x30\x7f\x02\x01\x05",
    "a serial of 65 octets": entry(2**515),
}


@pytest.mark.parametrize("name", BROKEN_ENTRIES)
def test_a_list_with_a_broken_entry_is_refused(name: str, tmp_path: Path) -> None:
    plain = [entry(number) for number in range(1, 40)]
    refusal(tmp_path, large_crl.crl(CA, [*plain, BROKEN_ENTRIES[name], *plain]))


GOOD = LISTS["with entries"]
BROKEN_FILES = {
    "nothing": b"",
    "one octet": b"\x30",
    "a page": b"<html><body>Sign in</body></html>",
    "a certificate": CA.der,
    "an octet too many": GOOD + b"\0",
    "cut short": GOOD[:-1],
    "cut within the list": GOOD[:60],
    "an indefinite length": b"\x30\x80" + GOOD[4:] + b"\0\0",
    "a length of nine octets": b"\x30\x89" + b"\xff" * 9 + GOOD[4:],
    "a length that is not the shortest": b"\x30\x83\x00" + GOOD[2:],
    "sequences in sequences": b"\x30\x80" * 100_000,
    "unused bits in the signature": GOOD.replace(b"\x03\x82\x01\x01\x00", b"\x03\x82\x01\x01\x01"),
    "two": GOOD + GOOD,
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_what_is_not_one_list_is_refused(name: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, BROKEN_FILES[name]).found


def test_a_file_that_is_none_is_refused_like_one_that_is_broken(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "read.der")
    (tmp_path / "read.der").write_bytes(GOOD)
    for name in ("missing", "link", "."):
        with pytest.raises(HostError, match="cannot be read") as caught:
            crl_der.read(str(tmp_path / name))
        assert caught.value.rule == "CRL-UNREADABLE"


def test_of_several_entries_of_a_serial_the_first_is_told(tmp_path: Path) -> None:
    read(tmp_path, large_crl.crl(CA, [entry(5, reason(1)), entry(5, reason(3)), entry(6)]))
    found = crl_der.find(str(tmp_path / "read.der"), [5, 7])
    assert [one.reason for one in found.values()] == ["keyCompromise"]
    assert crl_der.find(str(tmp_path / "read.der"), []) == {}


def test_the_common_shapes_and_the_careful_way_read_the_same() -> None:
    for serial in (0, 1, 127, 128, 255, 256, 2**63, 2**64, 2**158, 2**159 - 1, 2**160, 2**167 - 1):
        for more in (b"", reason(0), reason(10), INVALIDITY, reason(1) + INVALIDITY):
            encoded = entry(serial, more)
            (batch,) = crl_entries.batches(crl_der.tlv.Bytes(encoded), 0, len(encoded))
            assert batch.plain == [encoded]
            assert batch.odd is None
            assert crl_entries.entry_of(encoded).serial == serial
            assert int.from_bytes(crl_entries.serial_of(encoded), "big") == serial


MILLION = """
import resource, sys
from pki_host import crl_der, crl_index, crl_judge, crl_pem, crl_watch
folder, pem, now = sys.argv[1], open(sys.argv[1] + "/ca.pem").read(), float(sys.argv[2])
facts = crl_der.read(folder + "/new.der", folder + "/new.index")
authority = crl_watch.Authority("Example CA", "", pem, (), "user")
crl_judge.judge(folder + "/new.der", facts, authority, source="controller", now=now, previous=None)
with open(folder + "/crl.pem", "wb") as out:
    crl_pem.append_pem(folder + "/new.der", out)
difference = crl_index.difference(folder + "/old.index", folder + "/new.index")
removed = crl_index.classify(folder + "/old.der", difference, (), "", 398, now)
assert (facts.entries, difference.added, removed.uncertain) == (1_000_000, 1, 1), removed
whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
used = [resource.getrusage(one) for one in whose]
print(sum(one.ru_utime + one.ru_stime for one in used), *(one.ru_maxrss for one in used))
"""
GOAL_SECONDS, GOAL_MEGABYTES = 5, 150


def test_a_million_entries_cost_at_most_five_seconds_and_little_memory(tmp_path: Path) -> None:
    more = entry(5)
    (tmp_path / "old.der").write_bytes(large_crl.large(CA, 999_999, [more]))
    (tmp_path / "new.der").write_bytes(large_crl.large(CA, 1_000_000))
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    crl_der.read(str(tmp_path / "old.der"), str(tmp_path / "old.index"))
    # Started by a small process: the memory of whoever starts one counts as its own.
    launcher = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    own = [sys.executable, "-c", MILLION, str(tmp_path), str(NOW.timestamp())]
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", launcher, *own],
        env={"PYTHONPATH": str(ROOT / "module_utils"), "PATH": "/usr/bin:/bin:/usr/local/bin"},
        stdout=subprocess.PIPE,
        check=True,
    )
    cpu, *kibibytes = map(float, done.stdout.split())
    assert cpu < GOAL_SECONDS
    assert max(kibibytes) * 1024 / 1e6 < GOAL_MEGABYTES
