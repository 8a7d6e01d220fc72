# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules say of their changes: the one shape, on hosts as well, and in failures, too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import unit.lab_imports  # noqa: F401 - lets ansible.module_utils.pki_ansible be found
from ansible.module_utils.pki_ansible import failure, telling
from pki import trail
from pki.errors import PkiError
from pki_host import trail as host_trail
from pki_host.errors import HostError

ROOT = Path(__file__).parents[2]
#: These look, or write what is a copy and no change: caches, reports, tables.
LOOKS = {
    "pki_audit_log", "pki_check", "pki_explain", "pki_facts", "pki_gateway_info", "pki_history",
    "pki_host_facts", "pki_host_status", "pki_parties", "pki_plan", "pki_preflight", "pki_trail",
}  # fmt: skip
#: Modules whose work is done by an action plugin of the same name.
ACTIONS = {path.stem for path in (ROOT / "action_plugins").glob("*.py")}


def test_a_hosts_event_is_one_of_the_controllers() -> None:
    told = host_trail.event("release staged", "dip", 2, {"chain.pem": "ab" * 32}, "missing")
    assert trail.checked(told) == told
    assert list(told) == list(trail.FIELDS)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "library").glob("*.py")), ids=lambda path: path.stem
)
def test_every_module_that_changes_something_tells_it(path: Path) -> None:
    text = path.read_text()
    action = ROOT / "action_plugins" / path.name
    work = text + (action.read_text() if action.exists() else "")
    assert (path.stem in LOOKS) is not bool(re.search(r'"trail": ', work))
    assert (path.stem in LOOKS) is not ("\ntrail:\n" in text), "RETURN says what is returned"


def fails(error: BaseException) -> dict[str, object]:
    try:
        with telling() as happened:
            happened.append(trail.event("key made"))
            raise error
    except type(error) as caught:
        return failure(caught)


@pytest.mark.parametrize(
    "error",
    [
        PkiError("x", rule="X"),
        HostError("x", rule="X", found="", expected="", where="", next_step=""),
        OSError(28, "full"),
        KeyboardInterrupt(),
    ],
)
def test_what_happened_before_a_failure_is_told_by_it(error: BaseException) -> None:
    assert fails(error)["trail"] == [trail.event("key made")]


def test_a_failure_before_anything_happened_tells_of_nothing() -> None:
    with pytest.raises(ValueError) as caught, telling():
        raise ValueError
    assert "trail" not in failure(caught.value)


def test_a_gateway_tells_of_the_releases_it_switched_to_and_of_no_other_link(
    tmp_path: Path,
) -> None:
    release = tmp_path / "dip" / "releases" / "v2-0123456789abcdef"
    release.mkdir(parents=True)
    (release / "certificate.pem").write_text("public")
    links = {
        str(tmp_path / "dip" / "current"): "releases/v2-0123456789abcdef",
        str(tmp_path / "same" / "current"): "releases/v1-0123456789abcdef",
        str(tmp_path / "crl" / "current"): "sets/0123456789abcdef",
    }
    before = host_trail.targets(links)
    assert set(before.values()) == {""}
    before[str(tmp_path / "same" / "current")] = "releases/v1-0123456789abcdef"
    (told,) = host_trail.of_links("gw", before, links)
    assert (told["certificate"], told["version"]) == ("dip", 2)
    assert list(told["artefacts"]) == ["certificate.pem"]
