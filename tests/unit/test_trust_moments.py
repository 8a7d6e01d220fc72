# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the pinned CAs count on which day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki import inventory_trust, trust_files
from pki.errors import PkiError
from pki.inventory import CaFile, Declared, TrustSet
from pki.trust_files import Ca, LoadedTrust
from unit import pki_factory as factory
from unit.pki_factory import DAY, NOW, Authority

OLD_ROOT = factory.authority("Old Root", end=NOW + 40 * DAY)
OLD = OLD_ROOT.authority("Old Issuing", end=NOW + 30 * DAY)
NEW_ROOT = factory.authority("New Root")
NEW = NEW_ROOT.authority("New Issuing")
#: The new root once more, signed by the old one: how a CA introduces its next generation.
CROSS = factory.authority("New Root", issuer=OLD_ROOT)


def ca(authority: Authority, trusted_from: str = "", retire_after: str = "") -> Ca:
    name = authority.certificate.subject.rfc4514_string().removeprefix("CN=")
    digest = authority.sha256
    return Ca(authority.der, authority.pem, digest, name, (), trusted_from, retire_after)


def overlap(old: str = "", new: str = "") -> LoadedTrust:
    """Both generations: the old one retires after a day, the new one is trusted from another."""
    return LoadedTrust(
        "dip",
        (ca(OLD_ROOT, retire_after=old), ca(NEW_ROOT, new)),
        (ca(OLD, retire_after=old), ca(NEW, new)),
    )


def names(trust: LoadedTrust) -> list[str]:
    return [one.common_name for one in trust.authorities]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


BOTH = ["Old Issuing", "New Issuing", "Old Root", "New Root"]
OLD_ONLY, NEW_ONLY = ["Old Issuing", "Old Root"], ["New Issuing", "New Root"]
DAYS = {
    "the last second before the new one's first day": ("2026-11-30T23:59:59", OLD_ONLY),
    "the first second of the new one's first day": ("2026-12-01T00:00:00", BOTH),
    "the last second of the old one's last day": ("2026-12-10T23:59:59", BOTH),
    "the first second after the old one's last day": ("2026-12-11T00:00:00", NEW_ONLY),
}


@pytest.mark.parametrize("day", DAYS)
def test_both_generations_count_in_the_overlap_and_one_outside_of_it(day: str) -> None:
    when, expected = DAYS[day]
    assert names(overlap("2026-12-10", "2026-12-01").at(moment(when))) == expected


def test_an_expired_ca_is_never_there_whatever_depends_on_it() -> None:
    trust = overlap(old="2026-12-10")
    everything = {one.sha256 for one in trust.authorities}
    assert names(trust.at(NOW + 31 * DAY, everything)) == ["New Issuing", "Old Root", "New Root"]
    assert names(trust.at(NOW + 41 * DAY, everything)) == NEW_ONLY
    assert names(trust.whole_at(NOW + 41 * DAY)) == NEW_ONLY


def test_a_ca_whose_own_dates_have_not_begun_is_not_there() -> None:
    early = factory.authority("Early Root", start=NOW + DAY)
    trust = LoadedTrust("dip", (ca(OLD_ROOT), ca(early)), (ca(OLD),))
    assert names(trust.at(NOW)) == OLD_ONLY


def test_a_retired_ca_that_something_depends_on_stays_and_says_so() -> None:
    trust = overlap(old="2026-11-20")
    kept = trust.at(NOW, {OLD.sha256, OLD_ROOT.sha256})
    assert names(kept) == BOTH
    assert kept.kept == {OLD.sha256, OLD_ROOT.sha256}
    assert names(kept.for_new) == NEW_ONLY
    assert kept.whole_at(NOW) == kept
    assert names(trust.at(NOW)) == NEW_ONLY


def test_who_does_not_know_what_depends_on_them_keeps_retired_cas() -> None:
    trust = overlap(old="2026-11-20", new="2026-11-25")
    assert names(trust.whole_at(NOW)) == OLD_ONLY
    assert names(trust.whole_at(NOW).for_new) == []


def test_a_view_of_some_cas_has_those_and_no_others() -> None:
    trust = overlap()
    one = trust.issuers[0]
    assert trust.only([one.sha256]).authorities == (one,)
    assert trust.only([ca.sha256 for ca in trust.authorities]) == trust


def test_an_issuing_ca_goes_with_the_only_anchor_it_leads_to() -> None:
    root = ca(OLD_ROOT, retire_after="2026-11-20")
    trust = LoadedTrust("dip", (root, ca(NEW_ROOT)), (ca(OLD), ca(NEW)))
    assert names(trust.at(NOW)) == NEW_ONLY


def test_an_issuing_ca_below_one_that_is_not_pinned_stays() -> None:
    middle = NEW_ROOT.authority("Policy CA")
    deep = middle.authority("Deep Issuing")
    assert names(LoadedTrust("dip", (ca(NEW_ROOT),), (ca(deep),)).at(NOW)) == [
        "Deep Issuing",
        "New Root",
    ]


@pytest.mark.parametrize(
    ("trust", "found"),
    [
        (
            LoadedTrust("dip", (ca(OLD_ROOT, retire_after="2026-11-20"),), (ca(OLD),)),
            "Old Issuing is trusted, but leads to no anchor that is; "
            "Old Root is retired since 2026-11-20",
        ),
        (
            LoadedTrust("dip", (ca(NEW_ROOT),), (ca(NEW, "2026-11-22"),)),
            "New Issuing is not trusted yet, but from 2026-11-22; New Root is trusted, "
            "but leads to no anchor that is",
        ),
    ],
    ids=["no anchor", "no issuing CA"],
)
def test_a_set_of_which_nothing_usable_remains_is_an_error(trust: LoadedTrust, found: str) -> None:
    with pytest.raises(PkiError) as caught:
        trust.at(NOW)
    assert (caught.value.rule, caught.value.where) == (
        "TRUST-EMPTY",
        "group_vars/all/trust.yml: trust.dip",
    )
    assert caught.value.found == found


@given(
    old=st.dates(NOW.date() - 50 * DAY, NOW.date() + 50 * DAY),
    new=st.dates(NOW.date() - 50 * DAY, NOW.date() + 50 * DAY),
    after=st.integers(-60, 60),
    live=st.sets(st.sampled_from([OLD.sha256, OLD_ROOT.sha256, NEW.sha256, NEW_ROOT.sha256])),
)
def test_no_view_holds_what_does_not_count(old: Any, new: Any, after: int, live: set[str]) -> None:
    trust, when = overlap(old.isoformat(), new.isoformat()), NOW + after * DAY
    try:
        view = trust.at(when, live)
    except PkiError:
        return  # nothing usable is left, which has a test of its own
    for one in view.authorities:
        assert one.certificate.not_valid_before_utc <= when <= one.certificate.not_valid_after_utc
        assert not one.trusted_from or when.date().isoformat() >= one.trusted_from
        late = bool(one.retire_after) and when.date().isoformat() > one.retire_after
        assert not late or one.sha256 in live & view.kept
    assert not {one.sha256 for one in view.for_new.authorities} & view.kept
    assert view.at(when, view.kept) == view


# --- what may be pinned where ------------------------------------------------------------


def pinned(base: Path, anchors: list[Authority], issuers: list[Authority]) -> LoadedTrust:
    files: dict[str, list[CaFile]] = {"anchors": [], "issuers": []}
    for kind, authorities in (("anchors", anchors), ("issuers", issuers)):
        for one in authorities:
            (base / f"{one.sha256}.pem").write_bytes(one.pem)
            files[kind].append(CaFile(f"{one.sha256}.pem", one.sha256, ()))
    trust = TrustSet("dip", "mhhs-dip", "nonprod", tuple(files["anchors"]), tuple(files["issuers"]))
    return trust_files.load_all(Declared({}, {}, {"dip": trust}), base)["dip"]


@pytest.mark.parametrize(
    ("anchor", "issuer"),
    [(OLD, "Old Root"), (CROSS, "Old Root")],
    ids=["an issuing CA", "a cross-signed root"],
)
def test_what_is_not_self_signed_is_no_anchor(
    tmp_path: Path, anchor: Authority, issuer: str
) -> None:
    with pytest.raises(PkiError) as caught:
        pinned(tmp_path, [OLD_ROOT, anchor], [OLD])
    assert caught.value.rule == "TRUST-ANCHOR"
    assert caught.value.found == f"a certificate issued by {issuer}"
    assert caught.value.where == "group_vars/all/trust.yml: trust.dip.anchors[1]"


def test_a_cross_signed_root_may_stand_below_the_anchors(tmp_path: Path) -> None:
    trust = pinned(tmp_path, [OLD_ROOT], [OLD, CROSS])
    assert len(trust.at(NOW).issuers) == 2


def test_a_root_among_the_issuing_cas_would_be_an_anchor_of_gateways(tmp_path: Path) -> None:
    with pytest.raises(PkiError, match="is pinned as an issuing CA only, and is a root"):
        pinned(tmp_path, [OLD_ROOT], [NEW_ROOT])
    assert pinned(tmp_path, [NEW_ROOT], [NEW_ROOT]).at(NOW).issuers


# --- how the inventory says it -----------------------------------------------------------


def entry(**days: Any) -> dict[str, Any]:
    one = {"file": "a.pem", "sha256": "0" * 64, "crl_urls": []}
    return {
        "policy": "mhhs-dip",
        "environment_class": "nonprod",
        "anchors": [one],
        "issuers": [{**one, **days}],
    }


def test_days_may_be_written_as_yaml_reads_them() -> None:
    first = NOW.date()
    trust = inventory_trust.trust_set("dip", entry(trusted_from=first, retire_after="2027-01-31"))
    (issuer,) = trust.issuers
    assert (issuer.trusted_from, issuer.retire_after) == (first.isoformat(), "2027-01-31")
    assert trust.anchors[0].retire_after == ""


@pytest.mark.parametrize(
    ("days", "field"),
    [
        ({"trusted_from": "soon"}, "trusted_from"),
        ({"retire_after": "2026-02-30"}, "retire_after"),
        ({"retire_after": 20261231}, "retire_after"),
        ({"trusted_from": "2026-12-02", "retire_after": "2026-12-01"}, "retire_after"),
    ],
    ids=["no day", "a day that is not", "a number", "retired before it is trusted"],
)
def test_other_days_are_refused_with_their_place(days: dict[str, Any], field: str) -> None:
    with pytest.raises(PkiError) as caught:
        inventory_trust.trust_set("dip", entry(**days))
    assert caught.value.where == f"group_vars/all/trust.yml: trust.dip.issuers[0].{field}"


def test_a_moment_in_another_zone_is_a_moment_of_utc() -> None:
    trust = overlap(old="2026-12-10")
    west = timezone(timedelta(hours=-5))
    assert names(trust.at(datetime(2026, 12, 10, 20, 0, tzinfo=west))) == NEW_ONLY
