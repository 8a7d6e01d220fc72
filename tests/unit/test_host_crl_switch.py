# SPDX-License-Identifier: GPL-3.0-or-later
"""Which set a gateway's CRL path leads to, who uses it, which of two is newer, and who waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki_host import crl_links, crl_switch, crl_users, files, gateway_check
from pki_host.crl_links import Place
from pki_host.desired import APPLIED, Applied, Desired
from pki_host.errors import HostError
from pki_host.gateway_check_faults import Place as Where
from pki_host.gateways import adapter
from pki_host.service import Generation
from pki_host.undo import Undo, Wanted
from unit.gateway_entry import PROJECT

ONE, OTHER = "sets/1111111111111111", "sets/2222222222222222"
Ages = dict[str, tuple[str, str]]


def stage(base: Path, target: str, ages: Ages | None = None, text: str = "crl") -> None:
    """A set below ``dca``; ``ages`` are number and date of the CRL of each CA."""
    folder = base / "crl/dca" / target
    files.write(str(folder / "crl.pem"), text.encode(), files.PUBLIC)
    if ages is not None:
        crls = [
            {"authority": ca, "number": number, "this_update": date}
            for ca, (number, date) in ages.items()
        ]
        files.write(str(folder / "set.json"), json.dumps({"crls": crls}).encode(), files.PUBLIC)


def desired(base: Path, target: str = ONE, **fields: Any) -> Desired:
    raw = {
        "name": "gw", "product": "nginx", "program": "/usr/sbin/nginx",
        "root": str(base / "gateway/gw"), "files": [], "probes": [], "keep_releases": 2,
        "links": [{"path": str(base / "crl/dca/current"), "target": target}],
    }  # fmt: skip
    return Desired.of({**raw, **fields})


def recorded(base: Path, name: str = "gw", **fields: Any) -> Path:
    """The record of a gateway's last change; the file."""
    root = base / "gateway" / name
    wanted = desired(base, root=str(root), name=name)
    applied = Applied(
        wanted.digest, (), (), Generation("m", ("w",)), uses=tuple(wanted.links),
        gateway=wanted.identity, loaded=dict(wanted.links),
    )  # fmt: skip
    files.write(str(root / APPLIED), replace(applied, **fields).encode(), files.PUBLIC)
    return root / APPLIED


# -- the links ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "target", "found"),
    [
        ("/c/dca/current", ONE, Place("/c", "dca")),
        ("/c/dca/current", "releases/v1-1111111111111111", None),
        ("/c/dca/current", "sets/../../x", None),
        ("/c/dca/other", ONE, None),
    ],
)
def test_a_link_to_a_set_is_told_from_those_to_releases(
    path: str, target: str, found: Place | None
) -> None:
    assert crl_links.place(path, target) == found
    ways = crl_links.ways(path, target)
    if found is None:
        assert ways == (path,)
    else:
        assert ways == ("/c/dca/current", "/c/dca/ingress", "/c/dca/egress")


@pytest.mark.parametrize(
    ("link", "refuses"), [("../refusal", True), ("current", False), (ONE, False), (None, False)]
)
def test_a_direction_refuses_exactly_when_its_link_says_so(
    tmp_path: Path, link: str | None, refuses: bool
) -> None:
    (tmp_path / "dca").mkdir()
    if link:
        (tmp_path / "dca/ingress").symlink_to(link)
    assert crl_links.refuses(str(tmp_path / "dca/ingress/crl.pem")) is refuses
    assert crl_links.refuses("") is False


def test_a_configuration_without_its_link_of_a_direction_has_something_to_do(
    tmp_path: Path,
) -> None:
    stage(tmp_path, ONE)
    links = desired(tmp_path).links
    ingress = f"{tmp_path}/crl/dca/ingress"
    text = f"ssl_crl {ingress}/crl.pem;".encode()
    assert crl_links.absent(links, [text]) == [ingress]
    os.symlink("../refusal", ingress)
    assert crl_links.absent(links, [text]) == []
    os.unlink(ingress)
    os.symlink(ONE, ingress)
    assert crl_links.absent(links, [text]) == [ingress]
    assert crl_links.absent(links, [b"nothing of it"]) == []


@pytest.mark.parametrize("way", ["current", "ingress", "egress"])
@pytest.mark.parametrize("in_force", ["current", "../refusal", None])
def test_crls_are_judged_as_the_set_that_is_switched_to_whatever_is_in_force(
    tmp_path: Path, way: str, in_force: str | None
) -> None:
    stage(tmp_path, ONE, text="new")
    stage(tmp_path, OTHER, text="old")
    files.write(str(tmp_path / "crl/refusal/crl.pem"), b"refusal", files.PUBLIC)
    os.symlink(OTHER, tmp_path / "crl/dca/current")
    if in_force is not None:
        for direction in ("ingress", "egress"):
            os.symlink(in_force, tmp_path / "crl/dca" / direction)
    path = str(tmp_path / "crl/dca" / way / "crl.pem")
    where = Where("gw", "one", path)
    assert gateway_check._content(desired(tmp_path), path, where, "CRL-FILE") == b"new"


# -- which set is newer ------------------------------------------------------------------------

OLD: Ages = {"root": ("4", "2026-01-01T00:00:00Z"), "ca": ("7", "2026-02-01T00:00:00Z")}
NEWER: dict[str, Ages] = {
    "a number of one": {**OLD, "ca": ("8", "2026-02-01T00:00:00Z")},
    "the date of one": {**OLD, "ca": ("7", "2026-02-02T00:00:00Z")},
    "a number of ten digits": {**OLD, "ca": ("1000000000", "2026-02-02T00:00:00Z")},
}
NO_NEWER: dict[str, Ages | None] = {
    "the same": OLD,
    "older for one, newer for another": {
        "root": ("5", "2026-01-02T00:00:00Z"), "ca": ("6", "2026-01-31T00:00:00Z")
    },
    "a CA more": {**NEWER["a number of one"], "third": ("1", "2026-02-01T00:00:00Z")},
    "a CA less": {"ca": ("9", "2026-03-01T00:00:00Z")},
    "a number back, a date ahead": {**OLD, "ca": ("6", "2026-03-01T00:00:00Z")},
    "no facts": None,
    "no number at all": {**OLD, "ca": ("", "2026-03-01T00:00:00Z")},
    "garbage": {**OLD, "ca": ("x", "2026-03-01T00:00:00Z")},
}  # fmt: skip


@pytest.mark.parametrize("kind", NEWER)
def test_a_newer_set_that_is_in_place_stays(tmp_path: Path, kind: str) -> None:
    stage(tmp_path, ONE, OLD)
    stage(tmp_path, OTHER, NEWER[kind])
    os.symlink(OTHER, tmp_path / "crl/dca/current")
    followed = crl_links.following(desired(tmp_path))
    assert followed.links == {str(tmp_path / "crl/dca/current"): OTHER}
    assert followed.digest == desired(tmp_path).digest


@pytest.mark.parametrize("kind", NO_NEWER)
def test_a_set_in_place_that_is_not_newer_in_all_is_replaced(tmp_path: Path, kind: str) -> None:
    stage(tmp_path, ONE, OLD)
    stage(tmp_path, OTHER, NO_NEWER[kind])
    os.symlink(OTHER, tmp_path / "crl/dca/current")
    assert crl_links.following(desired(tmp_path)) == desired(tmp_path)


def test_a_newer_set_whose_file_is_gone_is_replaced(tmp_path: Path) -> None:
    stage(tmp_path, ONE, OLD)
    stage(tmp_path, OTHER, NEWER["a number of one"])
    (tmp_path / "crl/dca" / OTHER / "crl.pem").unlink()
    os.symlink(OTHER, tmp_path / "crl/dca/current")
    assert crl_links.following(desired(tmp_path)) == desired(tmp_path)


_AGE = st.tuples(st.integers(0, 3).map(str), st.sampled_from(["2026-01", "2026-02"]))
_SETS = st.dictionaries(st.sampled_from(["a", "b"]), _AGE, min_size=1)


@given(one=_SETS, other=_SETS)
def test_of_two_sets_at_most_one_is_newer(
    tmp_path_factory: pytest.TempPathFactory, one: Ages, other: Ages
) -> None:
    base = tmp_path_factory.mktemp("sets", numbered=True)
    stage(base, ONE, one)
    stage(base, OTHER, other)
    place = Place(str(base / "crl"), "dca")
    assert not (crl_links.is_newer(place, ONE, OTHER) and crl_links.is_newer(place, OTHER, ONE))
    assert not crl_links.is_newer(place, ONE, ONE)


# -- what a process has loaded -----------------------------------------------------------------


def test_what_was_loaded_is_kept_beside_the_digest_and_the_digest_knows_no_targets(
    tmp_path: Path,
) -> None:
    one, other = desired(tmp_path, ONE), desired(tmp_path, OTHER)
    assert one.digest == other.digest
    applied = Applied.parse(recorded(tmp_path).read_bytes())
    assert applied is not None
    assert applied.loaded == dict(one.links)
    assert Applied.parse(applied.encode()) == applied


def test_a_record_from_before_says_that_nothing_is_known_to_be_loaded(tmp_path: Path) -> None:
    path = recorded(tmp_path)
    raw = json.loads(path.read_text())
    del raw["loaded"]
    applied = Applied.parse(json.dumps(raw).encode())
    assert applied is not None
    assert applied.loaded == {}


# -- who uses a set ----------------------------------------------------------------------------


def users(base: Path, trust: str = "dca") -> list[crl_users.User]:
    return crl_users.users(str(base / "gateway"), str(base / "crl"), trust)


def test_users_are_those_whose_record_names_the_set(tmp_path: Path) -> None:
    recorded(tmp_path, "a")
    recorded(tmp_path, "b", uses=("/elsewhere/current",))
    recorded(tmp_path, "stopped", uses=())
    recorded(tmp_path, "unknown", gateway={})
    (tmp_path / "gateway/garbage").mkdir()
    (tmp_path / "gateway/garbage" / APPLIED).write_text("{")
    (found,) = users(tmp_path)
    assert (found.name, found.product, found.service) == ("a", "nginx", "daemon")
    assert found.links == (str(tmp_path / "crl/dca/current"),)
    assert found.loaded(found.links[0]) == ONE
    assert crl_users.daemon(found).kind == "daemon"
    assert users(tmp_path, "other") == []
    assert crl_users.users(str(tmp_path / "nowhere"), str(tmp_path / "crl"), "dca") == []


@pytest.mark.parametrize("before", [True, False], ids=["a later change", "a first change"])
def test_a_gateway_in_the_middle_of_a_change_is_a_user_all_the_same(
    tmp_path: Path, before: bool
) -> None:
    path = recorded(tmp_path)
    if not before:
        path.unlink()
    wanted = desired(tmp_path)
    undo = Undo.load(str(tmp_path / "gateway"))
    undo.register({wanted.root: Wanted([APPLIED], [], wanted.identity, wanted.links)})
    path.unlink(missing_ok=True)
    (found,) = users(tmp_path)
    assert (found.name, found.program) == ("gw", "/usr/sbin/nginx")
    assert (found.applied is not None) is before


def test_a_damaged_undo_record_hides_nobody_whose_own_record_is_there(tmp_path: Path) -> None:
    recorded(tmp_path)
    files.write(str(tmp_path / "gateway/.transaction/transaction.json"), b"{")
    assert [user.name for user in users(tmp_path)] == ["gw"]


CONFIGURATION = """
events {}
http {
  server {
    listen 127.0.0.1:8443 ssl; server_name a.example; ssl_certificate c; ssl_certificate_key k;
    ssl_client_certificate ca.pem; ssl_crl BASE/crl/dca/ingress/crl.pem; ssl_verify_client on;
    location / { proxy_pass http://127.0.0.1:1; }
  }
  server {
    listen 127.0.0.1:9443;
    location / {
      proxy_pass https://192.0.2.1:443; proxy_ssl_name far.example; proxy_ssl_verify on;
      proxy_ssl_trusted_certificate trust/ca.pem; proxy_ssl_crl BASE/crl/dca/egress/crl.pem;
    }
  }
}
"""


@pytest.mark.parametrize(
    ("ingress", "egress", "refusing"),
    [
        ("current", "current", set()),
        ("../refusal", "current", {8443}),
        ("current", "../refusal", {9443}),
        ("../refusal", "../refusal", {8443, 9443}),
    ],
)
def test_which_listeners_refuse_everybody_is_read_from_configuration_and_links(
    tmp_path: Path, ingress: str, egress: str, refusing: set[int]
) -> None:
    (tmp_path / "crl/dca").mkdir(parents=True)
    os.symlink(ingress, tmp_path / "crl/dca/ingress")
    os.symlink(egress, tmp_path / "crl/dca/egress")
    (tmp_path / "nginx.conf").write_text(CONFIGURATION.replace("BASE", str(tmp_path)))
    found = crl_users.configured(str(tmp_path), adapter("nginx"))
    assert set(found.refusing) == refusing
    (far,) = found.far_ends[9443]
    assert (far.address, far.name) == ("192.0.2.1:443", "far.example")
    assert far.ca_file == str(tmp_path / "trust/ca.pem")


@pytest.mark.parametrize("text", [None, "", "http { garbage"])
def test_a_configuration_that_cannot_be_read_says_nothing(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "nginx.conf").write_text(text)
    assert crl_users.configured(str(tmp_path), adapter("nginx")).refusing == frozenset()


@pytest.mark.parametrize("module", ["crl_users", "crl_links"])
def test_who_only_looks_loads_no_network_code(module: str) -> None:
    program = f"import pki_host.{module}, sys; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(PROJECT / "module_utils")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = {name.split(".")[0] for name in told.stdout.split()}
    assert "pki_host" in loaded
    assert not loaded & {"urllib", "http", "ssl", "_ssl", "ftplib", "smtplib"}


# -- switching, where no gateway runs ----------------------------------------------------------


def switch(base: Path, target: str, **more: Any) -> crl_switch.Switched:
    return crl_switch.switch(str(base / "crl"), "dca", target, str(base / "gateway"), **more)


def test_without_gateways_the_link_is_switched_and_directions_follow(tmp_path: Path) -> None:
    stage(tmp_path, ONE)
    done = switch(tmp_path, ONE)
    assert (done.changed, done.reloaded, done.held, done.failure) == (True, (), "", None)
    directory = tmp_path / "crl/dca"
    links = {one.name: os.readlink(one) for one in directory.iterdir() if one.is_symlink()}
    assert links == {"current": ONE, "ingress": "current", "egress": "current"}
    assert switch(tmp_path, ONE) == crl_switch.Switched()


@pytest.mark.parametrize("target", [OTHER, "sets/../../x", "", "releases/v1-1111111111111111"])
def test_what_is_no_set_on_this_host_is_a_failure_and_changes_nothing(
    tmp_path: Path, target: str
) -> None:
    stage(tmp_path, ONE)
    switch(tmp_path, ONE)
    done = switch(tmp_path, target)
    assert done.failure is not None
    assert done.failure.rule == "CRL-SET"
    assert "nothing was changed" in done.failure.message
    assert os.readlink(tmp_path / "crl/dca/current") == ONE


def test_another_runs_lock_is_waited_for_and_then_nothing_is_touched(tmp_path: Path) -> None:
    stage(tmp_path, ONE)
    with files.HostLock(str(tmp_path / "gateway/.lock")):
        done = switch(tmp_path, ONE, wait_seconds=0.2)
    assert "another run is changing this host" in done.held
    assert (done.changed, done.failure) == (False, None)
    assert not (tmp_path / "crl/dca/current").is_symlink()


def test_an_open_change_is_left_alone_and_said(tmp_path: Path) -> None:
    stage(tmp_path, ONE)
    wanted = desired(tmp_path)
    Undo.load(str(tmp_path / "gateway")).register({wanted.root: Wanted([APPLIED], [])})
    done = switch(tmp_path, ONE)
    assert "a change of gw was broken off" in done.held
    assert "the next run of playbooks/site.yml makes it good" in done.held
    assert not (tmp_path / "crl/dca/current").is_symlink()


def test_a_damaged_undo_record_is_a_failure_with_what_to_do(tmp_path: Path) -> None:
    stage(tmp_path, ONE)
    files.write(str(tmp_path / "gateway/.transaction/transaction.json"), b"{")
    done = switch(tmp_path, ONE)
    assert isinstance(done.failure, HostError)
    assert done.failure.rule == "GATEWAY-UNDO"
    assert done.failure.next_step


def test_a_gateway_that_does_not_run_is_told_and_keeps_its_record(tmp_path: Path) -> None:
    stage(tmp_path, OTHER)
    record = recorded(tmp_path)
    before = record.read_bytes()
    done = switch(tmp_path, OTHER)
    assert (done.changed, done.reloaded, done.failure) == (True, (), None)
    assert done.notes == ("gw: it does not run",)
    assert record.read_bytes() == before
    assert os.readlink(tmp_path / "crl/dca/current") == OTHER
