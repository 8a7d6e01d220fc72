# SPDX-License-Identifier: GPL-3.0-or-later
"""API keys: which ones a host needs, which version is the newest, and what a host makes of them."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki import api_keys
from pki.api_keys import ApiKey, Version
from pki.errors import PkiError
from pki_host import api_key, files, trail
from pki_host.api_key import Wanted
from pki_host.errors import HostError
from pki_host.vault_http import VaultAddress

KEY = ApiKey("dip", "kv-nonprod", "X-API-KEY", ("nginx",), ("gw/api",))
CREATED = "2026-11-01T09:00:00.123456789Z"
VALUE = "0123456789abcdef0123456789abcdef"
VAULT = VaultAddress("https://vault.example", "")


# -- which ones ------------------------------------------------------------------------------


def model(name: str, product: str, *egress: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "product": product,
        "egress": [
            {
                "name": listener,
                "certificate": certificate,
                "api_key": {"name": key, "header": "X-API-KEY"} if key else None,
            }
            for listener, certificate, key in egress
        ],
    }


ENTRIES: Any = {
    "ours": (SimpleNamespace(environment_class="nonprod"),),
    "live": (SimpleNamespace(environment_class="prod"),),
}


def test_a_key_that_two_products_send_is_one_key_with_both() -> None:
    models = [
        model("a", "nginx", ("api", "ours", "one"), ("other", "ours", "")),
        model("b", "haproxy", ("api", "ours", "one"), ("more", "live", "two")),
    ]
    one, two = api_keys.declared(models, ENTRIES)
    assert one == ApiKey("one", "kv-nonprod", "X-API-KEY", ("haproxy", "nginx"), ("a/api", "b/api"))
    assert (two.path, two.about) == (
        "kv-prod/data/api-keys/two",
        "kv-prod/metadata/api-keys/two",
    )
    assert ApiKey.of(one.as_json()) == one


def test_one_key_in_two_environment_classes_is_refused() -> None:
    models = [model("a", "nginx", ("api", "ours", "one"), ("more", "live", "one"))]
    with pytest.raises(PkiError) as caught:
        api_keys.declared(models, ENTRIES)
    assert caught.value.rule == "API-KEY"
    assert "kv-nonprod and kv-prod" in caught.value.found
    assert "a/api, a/more" in caught.value.where


def test_gateways_that_send_none_need_none() -> None:
    assert api_keys.declared([model("a", "nginx", ("api", "ours", ""))], ENTRIES) == ()


# -- which version ---------------------------------------------------------------------------


class Vault:
    def __init__(self, answer: dict[str, Any] | None) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def read(self, path: str) -> dict[str, Any] | None:
        self.asked.append(path)
        return self.answer


def about(number: int, **told: Any) -> dict[str, Any]:
    version = {"created_time": CREATED, "deletion_time": "", "destroyed": False, **told}
    return {"current_version": number, "versions": {str(number): version}}


def test_the_newest_version_is_told_by_metadata_alone() -> None:
    vault = Vault(about(3))
    assert api_keys.newest(vault, KEY) == Version(3, CREATED)
    assert vault.asked == ["kv-nonprod/metadata/api-keys/dip"]


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (None, "API-KEY-MISSING"),
        ({"current_version": 0, "versions": {}}, "API-KEY-MISSING"),
        (about(2, deletion_time=CREATED), "API-KEY-DELETED"),
        (about(2, destroyed=True), "API-KEY-DELETED"),
        ({"current_version": 2, "versions": {}}, "API-KEY"),
        ({"keys": ["dip"]}, "API-KEY"),
    ],
)
def test_a_key_that_is_not_there_says_so_and_what_to_do(
    answer: dict[str, Any] | None, rule: str
) -> None:
    with pytest.raises(PkiError) as caught:
        api_keys.newest(Vault(answer), KEY)
    assert caught.value.rule == rule
    assert "docs/api_keys.md" in caught.value.next_step
    assert "gw/api" in caught.value.where


def test_an_entry_that_was_made_anew_is_another_release_than_its_first_version_before() -> None:
    before = api_keys.release_id(KEY.path, Version(1, CREATED))
    after = api_keys.release_id(KEY.path, Version(1, "2026-11-02T09:00:00Z"))
    other = api_keys.release_id("kv-prod/data/api-keys/dip", Version(1, CREATED))
    assert len({before, after, other}) == 3


# -- on the host -----------------------------------------------------------------------------


def raw(version: int = 1, **changes: Any) -> dict[str, Any]:
    made = Version(version, CREATED)
    return {
        "name": "dip",
        "header": "X-API-KEY",
        "products": ["nginx"],
        "path": KEY.path,
        "version": version,
        "created": CREATED,
        "id": api_keys.release_id(KEY.path, made),
        "field": "key",
        **changes,
    }


def test_controller_and_host_name_a_release_alike() -> None:
    assert Wanted.of(raw(7)).id == api_keys.release_id(KEY.path, Version(7, CREATED))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../dip"},
        {"name": "a/b"},
        {"name": ""},
        {"name": ".dip"},
        {"name": "releases"},
        {"name": "current"},
        {"header": "X-API-KEY: x\r\nOther"},
        {"header": ""},
        {"products": []},
        {"id": "v1-0123456789abcdef"},
        {"id": "../../v1-0123456789abcdef"},
        {"path": "kv-prod/data/api-keys/dip"},
        {"created": "another time"},
    ],
)
def test_what_could_leave_its_directory_or_is_another_version_is_refused(
    changes: dict[str, Any],
) -> None:
    with pytest.raises(HostError) as caught:
        Wanted.of(raw(**changes))
    assert caught.value.rule == "API-KEY-MALFORMED"


def opened(monkeypatch: pytest.MonkeyPatch, fields: Any, written: str = f"1 {CREATED}") -> None:
    monkeypatch.setattr(api_key, "unwrap_entry", lambda *_: (fields, written))


def stage(root: Path, wanted: Wanted | None = None, token: str | None = "token") -> api_key.State:
    return api_key.present(str(root), wanted or Wanted.of(raw()), VAULT, token)


def directory(root: Path, wanted: Wanted | None = None) -> Path:
    wanted = wanted or Wanted.of(raw())
    return Path(wanted.base(str(root)), wanted.relative)


@given(st.text(min_size=1, max_size=64))
def test_a_value_is_taken_only_if_every_product_can_send_it_as_it_is(value: str) -> None:
    if not api_key.VALUE.fullmatch(value):
        return
    assert value.isascii()
    assert value.isprintable()
    assert not {*value} & {*" \"'\\$"}
    for text in Wanted.of(raw(products=["haproxy", "nginx"])).contents(value).values():
        assert value.encode() in text


@given(
    st.text(st.sampled_from([chr(n) for n in range(33, 127)]), min_size=8, max_size=512).filter(
        lambda text: not {*text} & {*"\"'\\$"}
    )
)
def test_every_printable_key_that_nothing_takes_for_syntax_is_taken(value: str) -> None:
    assert api_key.VALUE.fullmatch(value)
    sent = Wanted.of(raw(products=["haproxy", "nginx"])).contents(value)
    assert {name for name, text in sent.items() if value.encode() in text} == {
        "api-key.conf",
        "api-key.map",
    }


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, "no such field"),
        ({"password": VALUE}, "no such field"),
        ({"key": [VALUE]}, "no text"),
        ({"key": "short"}, "a text that is too short"),
        ({"key": "x" * 513}, "a text that is too long"),
        ({"key": VALUE + "\n"}, "white space"),
        ({"key": VALUE + '"'}, "other characters"),
        ({"key": VALUE + "$x"}, "other characters"),
        ({"key": VALUE + "\x00"}, "other characters"),
    ],
)
def test_a_bad_value_is_refused_in_general_words_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], found: str
) -> None:
    opened(monkeypatch, fields)
    with pytest.raises(HostError) as caught:
        stage(tmp_path)
    assert caught.value.rule == "API-KEY-VALUE"
    assert caught.value.found == found
    assert VALUE not in str(caught.value)
    assert not directory(tmp_path).exists()


def test_another_version_than_the_wanted_one_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(monkeypatch, {"key": VALUE}, f"2 {CREATED}")
    with pytest.raises(HostError) as caught:
        stage(tmp_path)
    assert caught.value.rule == "API-KEY-VERSION"
    assert not directory(tmp_path).exists()


def test_without_a_token_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(HostError) as caught:
        stage(tmp_path, token=None)
    assert caught.value.rule == "API-KEY-NONE"


def test_everything_that_is_written_is_the_owners_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(monkeypatch, {"key": VALUE})
    assert stage(tmp_path).needs_value
    entries = [*(tmp_path / "api-keys").rglob("*")]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in entries if path.is_file()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "api-keys").stat().st_mode) == 0o700
    assert not stage(tmp_path, token=None).problems, "a second time nothing is needed"


@pytest.mark.parametrize("at", range(3))
def test_a_run_that_was_killed_while_it_wrote_is_made_good_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    opened(monkeypatch, {"key": VALUE})
    real, count = files.write, iter(range(9))

    def dying(path: str, data: bytes, mode: int) -> None:
        if next(count) == at:
            raise KeyboardInterrupt
        real(path, data, mode)

    monkeypatch.setattr(files, "write", dying)
    two = Wanted.of(raw(products=["haproxy", "nginx"]))
    with pytest.raises(KeyboardInterrupt):
        stage(tmp_path, two)
    monkeypatch.setattr(files, "write", real)
    assert stage(tmp_path, two).needs_value
    assert not stage(tmp_path, two, token=None).problems


def test_another_header_or_another_product_needs_the_key_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(monkeypatch, {"key": VALUE})
    stage(tmp_path)
    assert api_key.inspect(str(tmp_path), Wanted.of(raw(header="X-Other"))).needs_value
    (directory(tmp_path) / "delivered.json").write_text("{}")
    assert api_key.inspect(str(tmp_path), Wanted.of(raw())).needs_value


def test_the_record_beside_the_key_is_not_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(monkeypatch, {"key": VALUE})
    stage(tmp_path)
    text = (directory(tmp_path) / "delivered.json").read_text()
    assert VALUE not in text
    assert json.loads(text)["version"] == 1


def unknown() -> Wanted:
    return Wanted.of({"name": "dip", "header": "X-API-KEY", "products": ["nginx"]})


def test_where_the_newest_version_is_not_known_the_one_in_service_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(monkeypatch, {"key": VALUE})
    stage(tmp_path)
    current = Path(Wanted.of(raw()).current(str(tmp_path)))
    assert api_key.kept(str(tmp_path), unknown()).target == "", "nothing is in service yet"
    current.symlink_to(Wanted.of(raw()).relative)
    assert api_key.kept(str(tmp_path), unknown()).target == Wanted.of(raw()).relative
    (directory(tmp_path) / "api-key.conf").write_text("something else")
    assert api_key.kept(str(tmp_path), unknown()).target == ""


@pytest.mark.parametrize("target", ["../../elsewhere", "releases/../x", "/etc", "releases/v1"])
def test_a_link_that_leads_elsewhere_is_nothing_in_service(tmp_path: Path, target: str) -> None:
    current = Path(unknown().current(str(tmp_path)))
    current.parent.mkdir(parents=True)
    current.symlink_to(target)
    assert api_key.kept(str(tmp_path), unknown()).target == ""


def test_a_link_in_the_way_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(monkeypatch, {"key": VALUE})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "root/api-keys").mkdir(parents=True)
    (tmp_path / "root/api-keys/dip").symlink_to(elsewhere)
    with pytest.raises(HostError) as caught:
        stage(tmp_path / "root")
    assert caught.value.rule == "FILE-UNSAFE"
    assert not [*elsewhere.iterdir()]


def test_a_gateway_that_switches_to_a_key_tells_its_name_and_version(tmp_path: Path) -> None:
    link = str(tmp_path / "api-keys/dip/current")
    (event,) = trail.of_links("gw", {link: ""}, {link: "releases/v3-0123456789abcdef"})
    assert event["event"] == "API key dip put into service by gateway gw"
    assert (event["version"], event["certificate"], event["artefacts"]) == (3, "", {})
