# SPDX-License-Identifier: GPL-3.0-or-later
"""A host is made to watch its CRLs, and to stop; what is wrong there is said in sentences."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import ssl
from pathlib import Path
from typing import Any

import pytest
from pki_host import crl_alarms, crl_program, crl_setup, crl_units, files
from pki_host.crl_watch import Watch
from pki_host.errors import HostError
from pki_host.probed import Probe
from unit.controller_world import load_file
from unit.test_host_crl_switch import recorded
from unit.test_host_crl_watch import WATCH

TRUST = next(iter(WATCH["trusts"]))
NOW = 1_800_000_000.0
TICK = "2027-01-15T08:00:00Z"  # NOW


@pytest.fixture(scope="module", autouse=True)
def own_once() -> Any:
    """Reading the programs from the running code is the same for every test."""
    program = crl_program.own()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(crl_program, "own", lambda: program)
        yield


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    raw = copy.deepcopy(WATCH)
    raw["gateway_root"] = str(tmp_path / "gateway")
    raw["metrics_dir"] = str(tmp_path / "crl" / "metrics")
    return Watch.of(raw)


def setup(tmp_path: Path, watch: Watch | None, service: str = "systemd") -> crl_setup.Setup:
    return crl_setup.of(
        watch,
        crl_root=str(tmp_path / "crl"),
        service=service,
        program_dir=str(tmp_path / "program"),
        units_dir=str(tmp_path / "units"),
    )


def run(one: crl_setup.Setup, *, check: bool = False) -> list[str]:
    done = [one.keep_watch(check=check), one.arrange(check=check)]
    return [change for arranged in done for change in arranged.changes]


def tree(tmp_path: Path) -> dict[str, str]:
    return {
        str(path.relative_to(tmp_path)): os.readlink(path) if path.is_symlink() else ""
        for path in tmp_path.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_a_first_run_puts_everything_there_and_a_second_finds_nothing_to_do(
    tmp_path: Path, watch: Watch
) -> None:
    predicted = run(setup(tmp_path, watch), check=True)
    assert tree(tmp_path) == {}
    assert run(setup(tmp_path, watch)) == predicted
    there = tree(tmp_path)
    assert {"crl/watch.json", "units/pki-crl-guard.timer", "program/current"} <= set(there)
    assert (tmp_path / "crl" / "metrics").is_dir()
    assert (tmp_path / "gateway").is_dir()  # a unit can write to what is there when it starts
    assert run(setup(tmp_path, watch)) == []
    assert run(setup(tmp_path, watch), check=True) == []


LEAF = b"what a gateway serves"
(LOST,) = WATCH["trusts"][TRUST]["known"]
NEXT = "b0b"
OLDER, NEWER = "2026-12-31T00:00:00Z", "2028-12-31T00:00:00Z"


@pytest.mark.parametrize(
    ("served", "told", "kept"),
    [
        pytest.param(LEAF, None, True, id="the controller knows none of its versions"),
        pytest.param(LEAF, OLDER, True, id="the controller knows only the version before it"),
        pytest.param(LEAF, NEWER, False, id="replaced, and switched away from by this run"),
        pytest.param(b"another", None, False, id="no gateway serves it"),
    ],
)
def test_what_a_gateway_serves_stays_watched_when_the_controller_lost_sight_of_it(
    tmp_path: Path, served: bytes, told: str | None, kept: bool
) -> None:
    raw = copy.deepcopy(WATCH)
    raw["gateway_root"] = str(tmp_path / "gateway")
    (known,) = raw["trusts"][TRUST]["known"]
    known["pem"] = ssl.DER_cert_to_PEM_cert(LEAF)
    setup(tmp_path, Watch.of(raw)).keep_watch(check=False)
    before = (tmp_path / "crl/watch.json").read_bytes()
    probe = Probe(
        "in", "ingress", "127.0.0.1", 8443, certificate_sha256=hashlib.sha256(served).hexdigest()
    )
    link = str(tmp_path / "crl" / TRUST / "current")
    recorded(tmp_path, probes=(probe,), uses=(link,), loaded={link: "sets/0"})

    other = {**known, "serial": NEXT, "not_after": told}
    raw["trusts"][TRUST]["known"] = [other] if told else []
    changes = setup(tmp_path, Watch.of(raw)).keep_watch(check=False).changes

    now = Watch.load(str(tmp_path / "crl"))
    assert now is not None
    serials = [int(LOST["serial"], 16)] * kept + [int(NEXT, 16)] * bool(told)
    assert [one.serial for one in now.trusts[TRUST].known] == serials
    same = kept and not told
    assert (not changes, (tmp_path / "crl/watch.json").read_bytes() == before) == (same, same)


@pytest.mark.parametrize("path", ["crl/watch.json", "units/pki-crl-refresh.service"])
def test_an_edit_is_named_and_put_back(tmp_path: Path, watch: Watch, path: str) -> None:
    run(setup(tmp_path, watch))
    before = (tmp_path / path).read_bytes()
    (tmp_path / path).write_bytes(before + b"\n")
    (change,) = run(setup(tmp_path, watch), check=True)
    assert str(tmp_path / path) in change
    run(setup(tmp_path, watch))
    assert (tmp_path / path).read_bytes() == before


def test_a_mask_is_a_problem_in_every_run_and_no_change(tmp_path: Path, watch: Watch) -> None:
    run(setup(tmp_path, watch))
    (tmp_path / "units" / "pki-crl-guard.timer").unlink()
    (tmp_path / "units" / "pki-crl-guard.timer").symlink_to("/dev/null")
    done = setup(tmp_path, watch).arrange(check=False)
    assert done.changes == ()
    assert "CRL-UNIT-MASKED" in done.problems[0]
    assert "systemctl unmask pki-crl-guard.timer" in done.problems[0]


def test_without_a_service_manager_only_the_file_is_kept(tmp_path: Path, watch: Watch) -> None:
    run(setup(tmp_path, watch, "daemon"))
    assert set(tree(tmp_path)) == {"crl/watch.json", "crl/.lock"}
    assert run(setup(tmp_path, watch, "daemon")) == []


def test_without_a_service_manager_a_run_refuses_what_is_too_old(
    tmp_path: Path, watch: Watch
) -> None:
    one = setup(tmp_path, watch, "daemon")
    run(one)
    assert one.look(check=True) == crl_setup.Arranged()
    # There is no set at all, and egress only alarms.
    assert one.look(check=False).changes == (f"{tmp_path}/crl/dip-nonprod/ingress: refuses now",)
    assert one.look(check=False).changes == ()
    assert setup(tmp_path, watch).look(check=False) == crl_setup.Arranged()  # its timer does it


def test_a_host_that_loses_its_service_manager_loses_timers_and_program(
    tmp_path: Path, watch: Watch
) -> None:
    run(setup(tmp_path, watch))
    assert run(setup(tmp_path, watch, "daemon"))
    assert set(tree(tmp_path)) == {"crl/watch.json", "crl/.lock"}


def test_a_host_that_watches_nothing_any_more_uses_its_sets_as_they_are(
    tmp_path: Path, watch: Watch
) -> None:
    run(setup(tmp_path, watch))
    root = tmp_path / "crl"
    (root / "dip-nonprod").mkdir()
    (root / "dip-nonprod" / "ingress").symlink_to("../refusal")
    (root / "dip-nonprod" / "egress").symlink_to("current")
    (root / "guard.json").write_text("{}")
    (root / "metrics" / "pki_crl_guard.prom").write_text("")
    assert run(setup(tmp_path, None), check=True) == run(setup(tmp_path, None))
    left = tree(tmp_path)
    assert left.pop("crl/dip-nonprod/ingress") == "current"
    assert left.pop("crl/dip-nonprod/egress") == "current"
    assert set(left) <= {"crl/.lock", "crl/refusal/crl.pem"}
    assert run(setup(tmp_path, None)) == []


def test_a_path_that_no_unit_can_name_is_refused_before_anything_is_written(
    tmp_path: Path, watch: Watch
) -> None:
    one = setup(tmp_path / "with space", watch)
    with pytest.raises(HostError) as caught:
        one.keep_watch(check=False)
    assert caught.value.rule == "SERVICE-MANAGER"
    assert not (tmp_path / "with space").exists()


# -- alarms ---------------------------------------------------------------------------------------


def guard(**trust: Any) -> dict[str, Any]:
    entry = {
        "age_seconds": 60,
        "next_update_left_seconds": 9999,
        "used_percent": 1,
        "alarm_percent": 0,
        "clock": "steady",
        "grace": None,
        "directions": {
            name: {"in_force": "current", "why": "", "since": TICK}
            for name in ("ingress", "egress")
        },
        **trust,
    }
    return {"ran_at": TICK, "trusts": {"dip-nonprod": entry}, "stopped": {}, "loaded": {}}


def alarms(tmp_path: Path, watch: Watch, record: Any, later: float = 0) -> list[str]:
    files.write(str(tmp_path / "guard.json"), json.dumps(record).encode())
    return crl_alarms.alarms(str(tmp_path), watch, ticking=True, now=NOW + later)


def test_nothing_is_said_of_a_host_that_is_well(tmp_path: Path, watch: Watch) -> None:
    assert alarms(tmp_path, watch, guard()) == []


REFUSING = {"in_force": "refusal", "why": "its CRLs are 90000 s old", "since": TICK}
GRACE = {"by": "A. Admin", "reason": "the CA is down", "granted_at": TICK, "until": TICK}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"directions": {"ingress": REFUSING}}, "everybody is refused on ingress: its CRLs are"),
        ({"alarm_percent": 50, "used_percent": 60}, "60 % of the age that its CRLs may have"),
        ({"clock": "jumped"}, "check the time service"),
        ({"grace": GRACE}, "by A. Admin (the CA is down)"),
    ],
)
def test_what_the_guard_saw_is_said(
    tmp_path: Path, watch: Watch, entry: dict[str, Any], said: str
) -> None:
    (alarm,) = alarms(tmp_path, watch, guard(**entry))
    assert said in alarm


def test_a_gateway_that_the_guard_ended_is_named(tmp_path: Path, watch: Watch) -> None:
    record = {**guard(), "stopped": {"gw-in": "it did not load the refusal"}}
    assert "gateway gw-in was ended" in alarms(tmp_path, watch, record)[0]


def test_a_guard_that_does_not_run_comes_first(tmp_path: Path, watch: Watch) -> None:
    said = alarms(tmp_path, watch, guard(alarm_percent=25, used_percent=30), later=1000)
    assert "the guard of CRLs has not run" in said[0]
    assert len(said) == 2


@pytest.mark.parametrize("record", [{}, [], {"ran_at": 1, "trusts": []}])
def test_a_record_nobody_can_read_is_no_traceback(
    tmp_path: Path, watch: Watch, record: Any
) -> None:
    assert "has not run" in alarms(tmp_path, watch, record)[0]


def test_what_the_refresh_saw_is_said_without_its_notices(tmp_path: Path, watch: Watch) -> None:
    status = {"outcome": "failed", "why": "Issuing: no answer", "authorities": []}
    files.write(str(tmp_path / "dip-nonprod" / "status.json"), json.dumps(status).encode())
    (alarm,) = alarms(tmp_path, watch, guard())
    assert "Issuing: no answer" in alarm


def test_a_run_prints_what_hosts_said_with_their_names() -> None:
    told = load_file("filter_plugins/pki_crl.py").FilterModule().filters()["pki_crl_told"]
    hostvars = {
        "gw1": {"crl_cache_install_result": {"alarms": ["too old"], "problems": ["masked"]}},
        "gw2": {"crl_cache_install_result": {"unreachable": True}},
        "gw3": {},
    }
    assert told(hostvars, hostvars, "alarms") == ["gw1: too old"]
    assert told(hostvars, hostvars, "problems") == ["gw1: masked"]


def test_units_of_a_test_are_none_of_this_host() -> None:
    assert crl_units.observed("/nowhere") == {"refresh": "none", "guard": "none"}
