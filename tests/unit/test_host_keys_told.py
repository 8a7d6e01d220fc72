# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts tell of their keys, and what a controller does with it."""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from hypothesis import given
from hypothesis import strategies as st
from pki import csr, host_keys, passphrases
from pki.errors import PkiError
from pki.inventory import Certificate, Declared
from pki.stores.base import KeyRecord
from pki.stores.host import HostStore
from unit import pki_factory
from unit.controller_world import OTHER, World, certificate_entry

ENTRY = "dip-hosts"
CREATED = "2026-11-22T12:00:00Z"
GROUPS = {"gateways": ["gw1", "gw2"], "all": ["gw1", "gw2", "elsewhere"]}
REPOSITORY = Path(__file__).resolve().parents[2]


def refused(call: Callable[[], object], rule: str) -> PkiError:
    with pytest.raises(PkiError) as caught:
        call()
    assert caught.value.rule == rule, caught.value
    for name, text in caught.value.as_result().items():
        assert text, f"nothing in {name}"
    return caught.value


def spki(label: str = "leaf") -> bytes:
    return csr.spki_der(pki_factory.key(label).public_key())


def version(number: int = 1, label: str = "leaf", **changes: Any) -> dict[str, Any]:
    return {
        "version": number,
        "created": CREATED,
        "public": base64.b64encode(spki(label)).decode(),
        "encrypted": False,
        "imported": False,
        **changes,
    }


def result(*versions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"entry": ENTRY, "versions": list(versions), "changed": False, **changes}


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Declared:
    own = certificate_entry(ENTRY, key={"store": "host"}, per_host=True)
    shared = certificate_entry(OTHER)
    world = World(tmp_path_factory.mktemp("told"), certificates=[own, shared], groups=GROUPS)
    return world.inputs().declared


@pytest.fixture(scope="module")
def mine(declared: Declared) -> Certificate:
    return declared.certificates[f"{ENTRY}/gw1"]


# -- what is told ----------------------------------------------------------------------------


def test_a_key_that_a_host_tells_is_known_by_the_name_of_entry_and_host(declared: Declared) -> None:
    told = {"gw1": [result(version(1), version(2, "other", imported=True))]}
    known = host_keys.read(declared, told)
    assert set(known) == {f"{ENTRY}_gw1"}
    record = known[f"{ENTRY}_gw1"]
    assert record is not None
    assert (record.type, record.exportable, record.imported) == ("rsa-2048", False, True)
    assert [one.spki_der for one in record.versions.values()] == [spki(), spki("other")]
    assert record.versions[1].created == datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_no_key_is_something_else_than_no_answer(declared: Declared) -> None:
    known = host_keys.read(declared, {"gw1": [result()], "gw2": []})
    assert known == {f"{ENTRY}_gw1": None}


def test_a_version_is_described_as_itself_beside_others(mine: Certificate) -> None:
    both = result(version(1), version(2, "large-1", imported=True))
    first = host_keys.of_version(mine, both, 1)
    assert (set(first.versions), first.type, first.imported) == ({1}, "rsa-2048", False)
    refused(lambda: host_keys.of_version(mine, both, 3), "HOST-KEY")


ODD: dict[str, Any] = {
    "an error": [{**result(version()), "error": {"rule": "KEY-DAMAGED"}}],
    "no versions": [{"entry": ENTRY}],
    "versions that are no list": [result(versions={})],
    "a version that is no map": [{"entry": ENTRY, "versions": ["1"]}],
    "a version without a key": [result({"version": 1})],
    "a number that is text": [result(version("1"))],  # type: ignore[arg-type]
    "a number that is true": [result(version(True))],
    "version 0": [result(version(0))],
    "a date in another form": [result(version(created="22.11.2026"))],
    "a key that is no base64": [result(version(public="*"))],
    "a key that is none": [result(version(public="AAAA"))],
    "a key that is too long": [result(version(public="A" * 10_000))],
    "a key of another kind": [
        result(
            version(
                public=base64.b64encode(
                    csr.spki_der(ec.generate_private_key(ec.SECP256R1()).public_key())
                ).decode()
            )
        )
    ],
    "an origin that is no word": [result(version(imported="no"))],
    "a thousand and one versions": [result(*[version(number) for number in range(1, 1002)])],
    "another entry": [{**result(version()), "entry": OTHER}],
    "text": "keys",
    "a number": 1,
    "a map": {"entry": ENTRY},
    "nothing": None,
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_not_usable_is_not_known_and_hides_no_other_host(
    odd: str, declared: Declared
) -> None:
    known = host_keys.read(declared, {"gw1": ODD[odd], "gw2": [result(version())]})
    assert set(known) == {f"{ENTRY}_gw2"}


def test_a_host_speaks_for_its_own_keys_only(declared: Declared) -> None:
    lies = [{**result(version()), "entry": f"{ENTRY}/gw2"}, {**result(version()), "entry": OTHER}]
    assert host_keys.read(declared, {"gw1": lies, "elsewhere": [result(version())]}) == {}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(ENTRY),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["entry", "versions", "version", "public", "created"]), inner
            )
        ),
    )
)
def test_nothing_that_a_host_says_stops_the_run(declared: Declared, said: Any) -> None:
    known = host_keys.read(declared, {"gw1": said, "gw2": [result(version())]})
    assert known.get(f"{ENTRY}_gw2") is not None
    assert known.get(f"{ENTRY}_gw1") is None


# -- the store -------------------------------------------------------------------------------


class Desk:
    """A host that makes the factory's keys."""

    def __init__(self, record: KeyRecord) -> None:
        self.record = record
        self.made: list[int] = []

    def make(self, name: str, version: int) -> KeyRecord:
        self.made.append(version)
        return self.record

    def sign(self, name: str, version: int, digest: bytes, algorithm: str) -> bytes:
        hashed = {"sha256": hashes.SHA256(), "sha512": hashes.SHA512()}[algorithm]
        return pki_factory.key("leaf").sign(digest, padding.PKCS1v15(), Prehashed(hashed))


@pytest.fixture
def desk(mine: Certificate) -> Desk:
    return Desk(host_keys.of_version(mine, result(version()), 1))


def test_a_key_that_is_there_is_not_made(mine: Certificate, desk: Desk) -> None:
    store = HostStore({mine.key_name: desk.record}, desk)
    assert store.foresee(mine.key_name, 1) is desk.record
    assert store.ensure(mine.key_name, 1) is desk.record
    assert desk.made == []


def test_a_missing_version_is_made_on_the_host_and_known_from_then_on(
    mine: Certificate, desk: Desk
) -> None:
    store = HostStore({mine.key_name: None}, desk)
    assert store.foresee(mine.key_name, 1) is None
    assert store.ensure(mine.key_name, 1) is desk.record
    assert store.describe(mine.key_name) is desk.record
    assert desk.made == [1]


def test_a_host_that_makes_another_version_is_refused(mine: Certificate, desk: Desk) -> None:
    store = HostStore({mine.key_name: None}, desk)
    refused(lambda: store.ensure(mine.key_name, 2), "KEY-NOT-FOUND")


def test_a_request_is_signed_by_the_host_and_checked_at_once(mine: Certificate, desk: Desk) -> None:
    key = HostStore({mine.key_name: desk.record}, desk).signing_key(mine.key_name, 1)
    pem = csr.build(key, mine.common_name, mine.subject)
    assert csr.parse(pem).signature_valid
    assert pem == csr.build(pki_factory.key("leaf"), mine.common_name, mine.subject)
    other = Desk(host_keys.of_version(mine, result(version(1, "other")), 1))
    wrong = HostStore({mine.key_name: other.record}, other).signing_key(mine.key_name, 1)
    refused(lambda: csr.build(wrong, mine.common_name, mine.subject), "KEY-SIGNATURE")


def test_a_store_without_its_host_says_where_such_keys_are_made(
    mine: Certificate, desk: Desk
) -> None:
    name = mine.key_name
    store = HostStore({name: desk.record})
    for call in (
        lambda: store.ensure(name, 2),
        lambda: store.signing_key(name, 1),
        lambda: store.release_path(name, 1),
        lambda: store.wrap(name, 1, 60),
        lambda: store.retire(name, 1),
        lambda: HostStore({}).foresee(name, 1),
    ):
        assert "site.yml" in refused(call, "KEY-OPERATION").next_step
    assert store.names() == {name}
    refused(lambda: HostStore({name: None}, desk).signing_key(name, 1), "KEY-NOT-FOUND")


# -- passphrases -----------------------------------------------------------------------------


class Vault:
    """A KV engine of version 2 that may be listed and created in, and not read."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def read(self, path: str) -> dict[str, Any] | None:
        assert path.startswith("sys/internal/ui/mounts/"), "a passphrase was read back"
        return {"type": "kv", "options": {"version": "2"}}

    def list(self, path: str) -> list[str]:
        assert path == "kv-nonprod/metadata/passphrases"
        return [name.rpartition("/")[2] for name in self.kept]

    def write(self, path: str, data: Any = None, idempotent: bool = False) -> dict[str, Any]:
        assert data["options"] == {"cas": 0}
        self.kept.setdefault(path, data["data"])
        return {}


def test_a_passphrase_is_made_once_for_each_key_and_never_looked_at(declared: Declared) -> None:
    vault = Vault()
    one, two = (declared.certificates[f"{ENTRY}/{host}"] for host in ("gw1", "gw2"))
    assert passphrases.ensure(vault, one)
    before = dict(vault.kept)
    assert not passphrases.ensure(vault, one)
    assert vault.kept == before
    assert passphrases.ensure(vault, two)
    assert set(vault.kept) == {passphrases.path(one), passphrases.path(two)}
    texts = {entry["passphrase"] for entry in vault.kept.values()}
    assert len(texts) == 2
    assert {len(bytes.fromhex(text)) for text in texts} == {32}


# -- the filters -----------------------------------------------------------------------------


def plugin() -> ModuleType:
    path = REPOSITORY / "filter_plugins" / "pki_host_keys.py"
    spec = importlib.util.spec_from_file_location("pki_host_keys_filter", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FILTERS = plugin().FilterModule().filters()


def test_only_hosts_of_entries_with_keys_of_their_own_are_asked() -> None:
    entries = [
        certificate_entry("own", key={"store": "host"}, per_host=True),
        certificate_entry("away", key={"store": "host"}, per_host=True, hosts="elsewhere"),
        certificate_entry("shared"),
        certificate_entry("each", per_host=True),
        {"name": "broken", "per_host": True, "key": "host"},
        {"per_host": True},
        "text",
    ]
    asked = {host: FILTERS["pki_host_key_entries"](entries, GROUPS, host) for host in GROUPS["all"]}
    assert asked == {
        "gw1": [{"entry": "own"}],
        "gw2": [{"entry": "own"}],
        "elsewhere": [{"entry": "away"}],
    }


def test_a_host_is_asked_for_keys_of_an_entry_that_has_moved_elsewhere(tmp_path: Path) -> None:
    entries = [certificate_entry("each", per_host=True)]
    record = tmp_path / "each/gw1/1/request.yml"
    record.parent.mkdir(parents=True)
    record.write_text("key:\n  store: host\n")
    ask = FILTERS["pki_host_key_entries"]
    assert ask(entries, GROUPS, "gw1", str(tmp_path)) == [{"entry": "each"}]
    assert ask(entries, GROUPS, "gw2", str(tmp_path)) == []


def test_what_was_made_in_this_run_stands_for_what_was_told_before_it() -> None:
    hostvars = {
        "gw1": {
            "certificates_host_keys": {"keys": [{"entry": "a"}, {"entry": "b"}]},
            "certificates_host_requests": {"keys": [{"entry": "b", "versions": [1]}]},
        },
        "gw2": {"certificates_host_keys": {"unreachable": True, "msg": "no route"}},
        "gw3": {},
        "gw4": {"certificates_host_keys": {"keys": [{"entry": "a", "text": "a is damaged"}]}},
    }
    told = FILTERS["pki_host_keys"]([*hostvars, "gw5"], hostvars)
    assert told == {
        "gw1": [{"entry": "a"}, {"entry": "b", "versions": [1]}],
        "gw4": [{"entry": "a", "text": "a is damaged"}],
    }
    problems = FILTERS["pki_host_key_problems"](list(hostvars), hostvars)
    assert problems == ["gw4: a is damaged"]
