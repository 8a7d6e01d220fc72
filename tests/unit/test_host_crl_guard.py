# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard: what is in force follows from age alone, whatever happened before, whoever waits."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pki_host import crl_guard, crl_refusal
from pki_host.errors import HostError
from unit import pki_factory
from unit.guarded_host import DAY, HOUR, ISSUING, TRUST, GuardedHost, fresh

MODULES = Path(__file__).parents[2] / "module_utils"
SET = {"ingress": "current", "egress": "current"}
REFUSED = {"ingress": "../refusal", "egress": "../refusal"}


@pytest.fixture
def host(tmp_path: Path) -> GuardedHost:
    return fresh(tmp_path)


def tick(host: GuardedHost, seconds: float = 0) -> list[str]:
    """One tick so many seconds from now; what it told."""
    return [str(line) for line in crl_guard.tick(host.root, host.now + seconds).lines]


def recorded(host: GuardedHost) -> dict[str, Any]:
    record = json.loads((host.base / "crl/guard.json").read_text())
    return dict(record["trusts"][TRUST])


def series(host: GuardedHost) -> dict[str, float]:
    lines = (host.metrics / "pki_crl_guard.prom").read_text().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


# -- what is in force ----------------------------------------------------------------------


def test_what_is_in_force_is_made_once_and_changed_by_age_alone(host: GuardedHost) -> None:
    assert crl_guard.put_in_force(host.root, TRUST, host.now) == SET
    assert crl_guard.put_in_force(host.root, TRUST, host.now) == {}
    assert host.in_force() == SET
    later = host.now + DAY + 2
    assert crl_guard.put_in_force(host.root, TRUST, later) == REFUSED
    assert crl_guard.put_in_force(host.root, TRUST, later) == {}
    assert host.in_force() == REFUSED
    assert (host.place / "ingress/crl.pem").read_text() == crl_refusal.PEM
    assert crl_guard.put_in_force(host.root, TRUST, host.now) == SET


def no_facts(host: GuardedHost) -> None:
    (host.place / "current/set.json").write_text("{}")


def half_a_file(host: GuardedHost) -> None:
    (host.place / "fetched.json").write_text('{"' + "a" * 64)


def other_crl(host: GuardedHost) -> None:
    (host.place / "fetched.json").write_text("{}")


@pytest.mark.parametrize(
    ("arrange", "in_force"),
    [
        pytest.param(lambda h: h.confirm(ago=DAY - 60), SET, id="a minute left"),
        pytest.param(lambda h: h.confirm(ago=0, root_ago=DAY + 60), REFUSED, id="one is too old"),
        pytest.param(lambda h: h.confirm(ago=-DAY, boot="another"), REFUSED, id="from the future"),
        pytest.param(lambda h: h.stage(left=-1), REFUSED, id="past its next update"),
        pytest.param(no_facts, REFUSED, id="no facts of the set"),
        pytest.param(half_a_file, REFUSED, id="confirmations that cannot be read"),
        pytest.param(other_crl, REFUSED, id="a CRL that nobody confirmed"),
        pytest.param(lambda h: (h.place / "current").unlink(), REFUSED, id="no set at all"),
    ],
)
def test_what_is_not_known_to_be_fresh_is_refused(
    host: GuardedHost, arrange: Callable[[GuardedHost], Any], in_force: dict[str, str]
) -> None:
    arrange(host)
    crl_guard.put_in_force(host.root, TRUST, host.now)
    assert host.in_force() == in_force


def test_each_direction_follows_its_own_word_and_what_nobody_watches_its_set(
    tmp_path: Path,
) -> None:
    host = GuardedHost(tmp_path, on_stale={"ingress": "refuse", "egress": "alarm"})
    host.stage()
    host.confirm(ago=2 * DAY)
    assert crl_guard.put_in_force(host.root, TRUST, host.now) == SET  # no watch.json
    host.watch()
    assert crl_guard.put_in_force(host.root, TRUST, host.now) == {"ingress": "../refusal"}
    host.on_stale = {"egress": "refuse"}
    host.watch()
    crl_guard.put_in_force(host.root, TRUST, host.now)
    assert host.in_force() == {"ingress": "current", "egress": "../refusal"}


@pytest.mark.parametrize(
    ("grace", "left", "in_force"),
    [
        pytest.param({"seconds": 4 * HOUR}, 7 * DAY, SET, id="it runs"),
        pytest.param({"seconds": HOUR, "granted": -HOUR}, 7 * DAY, REFUSED, id="it ended"),
        pytest.param({"seconds": 4 * HOUR, "granted": HOUR}, 7 * DAY, REFUSED, id="not yet"),
        pytest.param({"seconds": 4 * HOUR}, -1, REFUSED, id="past the next update"),
        pytest.param(
            {"seconds": 9 * DAY, "granted": -DAY}, 7 * DAY, REFUSED, id="longer than allowed"
        ),
    ],
)
def test_a_grace_excuses_age_while_it_runs_and_nothing_else(
    host: GuardedHost, grace: dict[str, float], left: float, in_force: dict[str, str]
) -> None:
    host.confirm(ago=2 * DAY)
    host.stage(left=left)
    host.grace(**grace)
    crl_guard.put_in_force(host.root, TRUST, host.now)
    assert host.in_force() == in_force


@pytest.mark.parametrize("text", ["{}", "[", '{"by": "Ada", "until": "2099-01-01T00:00:00Z"}'])
def test_a_grace_that_does_not_say_all_of_it_is_none(host: GuardedHost, text: str) -> None:
    host.confirm(ago=2 * DAY)
    (host.place / "grace.json").write_text(text)
    crl_guard.put_in_force(host.root, TRUST, host.now)
    assert host.in_force() == REFUSED


# -- the refusal ---------------------------------------------------------------------------


def test_the_refusal_is_put_back_when_somebody_changed_it(host: GuardedHost) -> None:
    assert crl_refusal.ensure(host.root)
    assert not crl_refusal.ensure(host.root)
    for spoil in (lambda path: path.write_text(""), lambda path: path.chmod(0o600)):
        spoil(Path(crl_refusal.path(host.root)))
        crl_guard.put_in_force(host.root, TRUST, host.now)
        assert not crl_refusal.ensure(host.root)


def test_the_refusal_is_a_whole_crl_of_nobody_long_expired_that_revokes_nothing() -> None:
    crl = x509.load_pem_x509_crl(crl_refusal.PEM.encode())
    assert crl.issuer.rfc4514_string() == "CN=revocation information is too old"
    assert crl.next_update_utc is not None
    assert crl.next_update_utc < datetime.now(UTC) - timedelta(days=365)
    assert len(crl) == 0
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 1


def test_with_the_refusal_a_tls_library_accepts_no_certificate(tmp_path: Path) -> None:
    root = pki_factory.authority("root")
    issuing = root.authority("issuing")
    leaf = pki_factory.pem(issuing.leaf())
    crls = b"".join(
        x509.load_der_x509_crl(der).public_bytes(serialization.Encoding.PEM)
        for der in (root.crl(), issuing.crl())
    )
    for name, data in {
        "ca": root.pem + issuing.pem,
        "leaf": leaf,
        "set": crls,
        "refusal": crl_refusal.PEM.encode(),
    }.items():
        (tmp_path / name).write_bytes(data)
    assert verify(tmp_path, "set") == (0, "")
    code, said = verify(tmp_path, "refusal")
    assert code != 0
    assert "unable to get certificate CRL" in said


def verify(directory: Path, crl: str) -> tuple[int, str]:
    at = str(int(pki_factory.NOW.timestamp()))
    options = ["-crl_check_all", "-attime", at, "-CAfile", "ca", "-CRLfile", crl]
    done = subprocess.run(
        ["openssl", "verify", *options, "leaf"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


# -- a tick --------------------------------------------------------------------------------


def test_a_healthy_tick_tells_nothing_and_writes_only_what_it_saw(host: GuardedHost) -> None:
    tick(host)
    before = {
        path: (path.lstat().st_ino, path.lstat().st_mtime_ns)
        for path in sorted((host.base / "crl").rglob("*"))
        if path.name != "guard.json" and not path.is_dir()
    }
    assert tick(host, 60) == []
    assert all((p.lstat().st_ino, p.lstat().st_mtime_ns) == seen for p, seen in before.items())
    told = recorded(host)
    assert (told["age_seconds"], told["used_percent"], told["alarm_percent"]) == (60, 0, 0)
    assert told["clock"] == "steady"
    assert told["grace"] is None
    assert told["directions"]["ingress"]["in_force"] == "current"


def test_alarms_are_told_when_reached_and_the_highest_every_hour(host: GuardedHost) -> None:
    told = {hour: tick(host, hour * HOUR + 2) for hour in range(26)}
    assert {hour: [line[:3] for line in lines] for hour, lines in told.items() if lines} == {
        6: ["<5>"],
        12: ["<4>"],
        **{hour: ["<3>"] for hour in range(18, 24)},
        24: ["<1>", "<1>", "<1>"],
        25: ["<1>"],
    }
    assert "25 % of the age" in told[6][0]
    assert ISSUING in told[6][0]
    assert all("crl_refresh.yml" in line for lines in told.values() for line in lines)
    assert tick(host, 25 * HOUR + 62) == []  # not each minute
    host.now += 25 * HOUR + 122
    host.confirm()
    assert [line[:3] for line in tick(host)] == ["<6>", "<6>", "<6>"]
    assert tick(host, 60) == []


def test_a_clock_that_was_set_is_told_once_and_stays_on_record(host: GuardedHost) -> None:
    host.confirm(ago=HOUR)
    stamps = json.loads((host.place / "fetched.json").read_text())
    for stamp in stamps.values():
        stamp["monotonic"] -= 5 * HOUR
    (host.place / "fetched.json").write_text(json.dumps(stamps))
    (line, *_) = [line for line in tick(host) if "clock" in line]
    assert line.startswith("<4>")
    assert not [line for line in tick(host, 60) if "clock" in line]
    assert recorded(host)["clock"] == "jumped"
    assert recorded(host)["age_seconds"] // HOUR == 6
    assert series(host)[f'pki_crl_clock_jumped{{trust="{TRUST}"}}'] == 1


def test_a_grace_is_told_when_it_begins_and_when_it_ends(host: GuardedHost) -> None:
    host.confirm(ago=2 * DAY)
    assert len(tick(host)) == 3
    host.grace(HOUR)
    begun = tick(host, 60)
    assert [line[:3] for line in begun] == ["<6>", "<6>", "<4>"]
    assert "the CA moves its CRLs" in begun[2]
    assert recorded(host)["grace"]["by"] == "Ada Admin"
    until = f'pki_crl_grace_until_timestamp_seconds{{trust="{TRUST}"}}'
    assert series(host)[until] == int(host.now) + HOUR
    assert [line[:3] for line in tick(host, HOUR + 1)] == ["<1>", "<1>", "<4>", "<1>"]
    assert host.in_force() == REFUSED
    assert series(host)[until] == 0


def test_every_series_is_there_from_the_first_tick_on(host: GuardedHost) -> None:
    tick(host)
    first = series(host)
    tick(host, 2 * DAY)
    second = series(host)
    assert first.keys() == second.keys()
    refusing = f'pki_crl_refusing{{direction="ingress",trust="{TRUST}"}}'
    assert (first[refusing], second[refusing]) == (0, 1)
    assert first[f'pki_crl_age_budget_seconds{{direction="ingress",trust="{TRUST}"}}'] == DAY
    assert first["pki_crl_guard_last_tick_timestamp_seconds"] == int(host.now)
    assert second[f'pki_crl_age_alarm_percent{{trust="{TRUST}"}}'] == 100


def test_what_is_not_watched_any_more_is_as_its_set_is(host: GuardedHost) -> None:
    host.confirm(ago=2 * DAY)
    tick(host)
    assert host.in_force() == REFUSED
    (host.base / "crl/watch.json").unlink()
    assert tick(host) == []
    assert host.in_force() == SET


def test_a_watch_that_cannot_be_used_leaves_in_force_what_is(host: GuardedHost) -> None:
    host.confirm(ago=2 * DAY)
    tick(host)
    (host.base / "crl/watch.json").write_text("{")
    with pytest.raises(HostError, match="not usable"):
        tick(host)
    assert host.in_force() == REFUSED
    assert crl_guard.main(["--root", host.root]) == 1


@pytest.mark.parametrize("spoil", ["{", "[]", '{"ran_at": 1, "trusts": []}'])
def test_a_record_that_cannot_be_read_does_not_keep_the_guard_from_its_work(
    host: GuardedHost, spoil: str
) -> None:
    (host.base / "crl/guard.json").write_text(spoil)
    tick(host, 2 * DAY)
    assert host.in_force() == REFUSED
    assert recorded(host)["alarm_percent"] == 100


def test_what_cannot_be_told_does_not_keep_the_guard_from_its_work(host: GuardedHost) -> None:
    host.metrics.write_text("no directory")
    (host.base / "crl/guard.json").mkdir()
    lines = tick(host, 2 * DAY)
    assert host.in_force() == REFUSED
    assert len([line for line in lines if "cannot write" in line]) == 2


def test_one_trust_entry_in_trouble_does_not_keep_another_from_being_refused(
    host: GuardedHost,
) -> None:
    raw = host.watch()
    raw["trusts"] = {"another": raw["trusts"][TRUST], **raw["trusts"]}
    (host.base / "crl/watch.json").write_text(json.dumps(raw))
    (host.base / "crl/another/ingress").mkdir(parents=True)
    lines = tick(host, 2 * DAY)
    assert host.in_force() == REFUSED
    assert "<1>another: what is in force could not be changed" in "\n".join(lines)


def test_it_waits_for_no_lock(host: GuardedHost) -> None:
    locks = [host.base / "crl/.lock", host.gateway_root / ".lock"]
    host.gateway_root.mkdir()
    held = [os.open(lock, os.O_RDWR | os.O_CREAT) for lock in locks]
    try:
        for descriptor in held:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        begun = time.monotonic()
        tick(host, 2 * DAY)
        assert time.monotonic() - begun < 2
        assert host.in_force() == REFUSED
    finally:
        for descriptor in held:
            os.close(descriptor)


def test_killed_anywhere_it_leaves_one_or_the_other_and_the_next_tick_makes_it_good(
    host: GuardedHost,
) -> None:
    """Dies before each call that changes a file; what a reader finds is never anything else."""
    tick(host)
    for number in range(40):
        host.confirm()
        tick(host)
        died = dies_at(number, host, 2 * DAY)
        assert {*host.in_force().values()} <= {"current", "../refusal"}
        for name in SET:
            assert (host.place / name).exists()
        tick(host, 2 * DAY)
        assert host.in_force() == REFUSED
        if not died:
            break
    assert number >= 12  # link, rename, fsync of two links and two files


def dies_at(number: int, host: GuardedHost, seconds: float) -> bool:
    """A tick that dies before its change of this number; False if it makes fewer."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = [number]

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if not left[0]:
                os._exit(9)
            left[0] -= 1
            return real(*arguments)

        return call

    try:
        for name in ("symlink", "rename", "fsync"):
            setattr(os, name, dying(getattr(os, name)))
        tick(host, seconds)
        os._exit(0)
    finally:
        os._exit(1)


_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.integers(-(10**18), 10**18),
    st.sampled_from(("", "current", "a" * 64, "9999-12-31T23:59:59Z", "0001-01-01", "1e999")),
)
_names = st.sampled_from(
    ("crls", "sha256", "next_update", "fetched_at", "boot", "monotonic", "by", "reason", "until",
     "granted_at", "ran_at", "trusts", "directions", "ingress", "in_force", "told", "percent", "at",
     "loaded", "stamps", "stopped", "a" * 64, TRUST)
)  # fmt: skip
_anything = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=6)
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(("current/set.json", "fetched.json", "grace.json", "../guard.json")), _anything
)
def test_whatever_its_files_say_it_goes_on_and_nothing_is_fresh_by_it(
    host: GuardedHost, name: str, raw: Any
) -> None:
    host.stage()
    host.confirm(ago=2 * DAY)
    (host.place / "grace.json").unlink(missing_ok=True)
    (host.place / name).write_text(json.dumps(raw))
    tick(host)
    assert host.in_force() == REFUSED
    assert series(host)[f'pki_crl_age_alarm_percent{{trust="{TRUST}"}}'] == 100


# -- the program ---------------------------------------------------------------------------


def run(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    command = ["-c", code] if code else ["-m", "pki_host.crl_guard", *arguments]
    return subprocess.run(
        [sys.executable, "-s", "-S", *command],  # no site: an environment may load what it likes
        env={"PYTHONPATH": str(MODULES), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_program_loads_no_network_code(host: GuardedHost) -> None:
    code = (
        "import sys; from pki_host import crl_guard; "
        f"print(crl_guard.main(['--root', {host.root!r}])); "
        "print(sorted({'urllib', 'http', 'ssl', 'email', 'ftplib'} & {*sys.modules}), "
        "'urllib.request' in sys.modules)"
    )
    assert run(code=code).stdout.splitlines() == ["0", "[] False"]


def test_the_program_speaks_to_the_journal_and_its_exit_code_says_whether_all_is_well(
    host: GuardedHost,
) -> None:
    assert (run("--root", host.root).returncode, run("--root").returncode) == (0, 2)
    assert run("--root", "relative").stderr.startswith("usage: ")
    host.confirm(ago=2 * DAY)
    done = run("--root", host.root)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith(f"<1>{TRUST}: everybody is refused on ingress")
    (host.base / "crl/watch.json").write_text("{")
    done = run("--root", host.root)
    assert (done.returncode, done.stderr[:3]) == (1, "<1>")
    assert "Traceback" not in done.stderr


def test_a_healthy_tick_costs_little(host: GuardedHost) -> None:
    run("--root", host.root)
    before = os.times()
    assert run("--root", host.root).returncode == 0
    after = os.times()
    spent = after.children_user + after.children_system
    assert spent - before.children_user - before.children_system < 1
