# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job needs of Vault, compared with what a token has."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from pki import preflight
from pki.errors import PkiError
from pki.preflight import Mount

TLS = Mount("transit-nonprod-tls", ("dip-a", "dip-b"), exportable=True)
SIGNING = Mount("transit-nonprod-signing", ("seal",), exportable=False)
LEDGER = "kv-nonprod"


class Vault:
    """A server that grants what it was given, by path, and counts the questions."""

    def __init__(self, granted: dict[str, tuple[str, ...]] | None = None) -> None:
        self.granted = granted or {}
        self.asked: list[list[str]] = []

    def capabilities(self, paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
        self.asked.append(list(paths))
        return {path: self.granted.get(path, ("deny",)) for path in self.asked[-1]}


def generous(*jobs: str) -> Vault:
    """Exactly what these jobs need, and no more."""
    granted: dict[str, set[str]] = {}
    for job in jobs:
        for need in preflight.needs(job, [TLS, SIGNING], [LEDGER]):
            granted.setdefault(need.asked, set()).update(need.capabilities)
    return Vault({path: tuple(words) for path, words in granted.items()})


NEEDED = [
    # job, path, capabilities
    ("plan", "transit-nonprod-tls/keys", "list"),
    ("plan", "transit-nonprod-signing/keys/+", "read"),
    ("plan", "kv-nonprod/metadata/compromised", "list"),
    ("request", "transit-nonprod-tls/keys/+", "read update"),
    ("request", "transit-nonprod-tls/keys/+/rotate", "update"),
    ("request", "transit-nonprod-signing/sign/+/sha2-256", "update"),
    ("ledger", "kv-nonprod/data/compromised/+", "create"),
    ("release", "transit-nonprod-tls/export/signing-key/+/1", "read"),
    ("retire", "transit-nonprod-tls/keys/+/config", "update"),
    ("retire", "transit-nonprod-tls/keys/+/trim", "update"),
    ("import", "transit-nonprod-tls/wrapping_key", "read"),
    ("import", "transit-nonprod-tls/keys/+/import", "update"),
    ("import", "transit-nonprod-tls/keys/+/import_version", "update"),
]


@pytest.mark.parametrize(("job", "path", "capabilities"), NEEDED)
def test_a_job_needs_what_its_calls_need(job: str, path: str, capabilities: str) -> None:
    found = {need.path: need for need in preflight.needs(job, [TLS, SIGNING], [LEDGER])}
    assert found[path].capabilities == tuple(capabilities.split())


@pytest.mark.parametrize("job", preflight.JOBS)
def test_who_has_exactly_what_a_job_needs_lacks_nothing(job: str) -> None:
    wanted = preflight.needs(job, [TLS, SIGNING], [LEDGER])
    assert wanted
    preflight.require(generous(job), wanted)


@pytest.mark.parametrize("job", preflight.JOBS)
def test_each_single_capability_that_is_taken_away_is_missed_by_path_and_name(job: str) -> None:
    wanted = preflight.needs(job, [TLS, SIGNING], [LEDGER])
    for need in wanted:
        for word in need.capabilities:
            vault = generous(job)
            left = tuple(one for one in vault.granted[need.asked] if one != word)
            vault.granted[need.asked] = left
            with pytest.raises(PkiError) as caught:
                preflight.require(vault, wanted)
            assert caught.value.rule == "VAULT-PREFLIGHT"
            assert caught.value.expected == f"capability {word} on {need.path}"
            assert caught.value.also == ()
            assert f'path "{need.path}"' in caught.value.next_step


def test_a_missing_capability_is_told_in_one_sentence() -> None:
    wanted = preflight.needs("request", [TLS])
    vault = generous("request")
    for name in TLS.names:
        del vault.granted[f"transit-nonprod-tls/keys/{name}/rotate"]
    rows = [row for row in preflight.check(vault, wanted) if row.lacks]
    assert [str(row) for row in rows] == [
        "rotate on transit-nonprod-tls/keys/+/rotate (dip-a, dip-b): needs update, "
        "the token has deny"
    ]


def test_a_policy_that_knows_names_is_told_which_of_them_it_lacks() -> None:
    vault = generous("request")
    vault.granted["transit-nonprod-tls/sign/dip-b/sha2-256"] = ("deny",)
    rows = preflight.check(vault, preflight.needs("request", [TLS]))
    assert [row.names for row in rows if row.lacks] == [("dip-b",)]
    assert [row.names for row in rows if not row.lacks][-1] == ("dip-a",)


def test_of_many_keys_a_few_are_named_and_the_rest_counted() -> None:
    many = Mount("transit-nonprod-tls", tuple(f"k{n}" for n in range(100)), exportable=True)
    row = preflight.check(Vault(), preflight.needs("release", [many]))[0]
    assert "(k0, k1, k2 and 97 more)" in str(row)
    assert len(row.names) == 100


def test_everything_is_asked_in_one_call_and_no_path_twice() -> None:
    vault = generous(*preflight.JOBS)
    wanted = [n for job in preflight.JOBS for n in preflight.needs(job, [TLS, SIGNING], [LEDGER])]
    preflight.require(vault, wanted)
    assert len(vault.asked) == 1
    assert len(set(vault.asked[0])) == len(vault.asked[0])


def test_where_nothing_is_needed_nothing_is_asked() -> None:
    vault = Vault()
    preflight.require(vault, preflight.needs("request", []))
    assert vault.asked == []


def test_a_root_token_lacks_nothing() -> None:
    wanted = preflight.needs("retire", [TLS])
    preflight.require(Vault({need.asked: ("root",) for need in wanted}), wanted)


def test_keys_that_are_never_released_need_no_release() -> None:
    assert preflight.needs("release", [SIGNING]) == ()


def test_every_further_lack_stands_behind_the_first() -> None:
    with pytest.raises(PkiError) as caught:
        preflight.require(Vault(), preflight.needs("request", [TLS]))
    assert [error.where for error in caught.value.also] == [
        "transit-nonprod-tls/keys/+/rotate",
        "transit-nonprod-tls/sign/+/sha2-256",
    ]


@pytest.mark.parametrize(("rule", "told"), [("VAULT-DENIED", True), ("VAULT-SEALED", False)])
def test_a_login_that_may_not_ask_is_told_of_the_policy_default(rule: str, told: bool) -> None:
    class Denying(Vault):
        def capabilities(self, paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
            raise PkiError("no", rule=rule, found="HTTP 403", where="v")

    with pytest.raises(PkiError) as caught:
        preflight.require(Denying(), preflight.needs("plan", [TLS]))
    assert (caught.value.rule == "VAULT-PREFLIGHT") is told
    assert ("policy default" in caught.value.next_step) is told
