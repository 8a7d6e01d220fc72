# SPDX-License-Identifier: GPL-3.0-or-later
"""Passphrases of exported keys: made of what, worth how much, and never the same."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pki import export_passphrase
from pki.errors import PkiError
from pki.export_passphrase import Passphrase

WORDS = export_passphrase.words()
SIGNS = "23456789abcdefghjkmnpqrstuvwxyz"


class Kv:
    """A KV engine that makes an entry once, as check-and-set 0 has it."""

    def __init__(self) -> None:
        self.entries: dict[str, Any] = {}
        self.deleted: set[str] = set()
        self._lock = threading.Lock()

    def read(self, path: str) -> dict[str, Any] | None:
        found = None if path in self.deleted else self.entries.get(path)
        return None if found is None else {"data": found}

    def list(self, path: str) -> list[str]:
        base = path.replace("/metadata/", "/data/") + "/"
        return [one.removeprefix(base) for one in self.entries if one.startswith(base)]

    def write(
        self, path: str, data: Mapping[str, Any] | None = None, idempotent: bool = False
    ) -> dict[str, Any]:
        assert (data or {})["options"] == {"cas": 0}
        with self._lock:
            if path in self.entries:
                raise PkiError("there", rule="VAULT-CAS")
            self.entries[path] = (data or {})["data"]
        return {}


def test_the_words_are_the_effs_without_those_that_hold_a_hyphen() -> None:
    assert len(WORDS) == len(set(WORDS)) == 7776 - 4
    assert all(word.isascii() and word.isalpha() and word.islower() for word in WORDS)


def test_another_list_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    export_passphrase.words.cache_clear()
    monkeypatch.setattr(export_passphrase, "_LIST_SHA256", "0" * 64)
    with pytest.raises(PkiError, match="not the one it should be"):
        export_passphrase.words()


@given(st.integers(0, 8), st.integers(1, 256), st.booleans())
def test_what_it_is_made_of_can_be_read_back_so_its_entropy_is_that_of_the_choices(
    count: int, bits: int, plain: bool
) -> None:
    made = export_passphrase.make(count, bits, letters_and_digits=plain)
    words, signs = parts(made, plain)
    assert len(words) == made.words == count
    assert set(words) <= set(WORDS)
    assert set(signs) <= set(SIGNS)
    worth = count * math.log2(len(WORDS)) + len(signs) * math.log2(len(SIGNS))
    assert made.bits == math.floor(worth) >= bits
    assert made.text.isalnum() or not plain
    assert made.as_facts() == {
        "length": len(made.text),
        "words": count,
        "entropy_bits": made.bits,
        "letters_and_digits": plain or not count,
    }
    assert made.text not in repr(made)


def parts(made: Passphrase, plain: bool) -> tuple[list[str], str]:
    if not plain:
        *words, signs = made.text.split("-")
        return words, signs
    first = next((n for n, sign in enumerate(made.text) if sign.isupper()), len(made.text))
    starts = [n for n, sign in enumerate(made.text) if sign.isupper()]
    ends = [*starts, len(made.text)][1:]
    words = [made.text[a:b].lower() for a, b in zip(starts, ends, strict=True)]
    return words, made.text[:first]


def test_three_words_and_64_bits_never_come_twice() -> None:
    made = {export_passphrase.make(3, 64, letters_and_digits=False).text for _ in range(5000)}
    assert len(made) == 5000


@settings(max_examples=5, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4))
def test_the_ledger_takes_each_passphrase_once(texts: list[str]) -> None:
    kv = Kv()
    seen: set[str] = set()
    for text in texts:
        assert export_passphrase.register(kv, "nonprod", text) is (text not in seen)
        seen.add(text)


def test_the_ledger_holds_no_passphrase_and_differs_from_every_other_ledger() -> None:
    one, other = Kv(), Kv()
    for kv in (one, other):
        export_passphrase.register(kv, "nonprod", "alpha-beta-gamma-7k2m9q")
    assert "alpha" not in repr(one.entries)
    base = "kv-nonprod/data/passphrases/used"
    digests = [{path for path in kv.entries if path != f"{base}/salt"} for kv in (one, other)]
    assert digests[0].isdisjoint(digests[1])
    assert all(path.startswith(f"{base}/") for path in one.entries)


def test_of_two_runs_at_once_with_the_same_passphrase_one_gets_it() -> None:
    kv, got = Kv(), []
    start = threading.Barrier(4)

    def run() -> None:
        start.wait()
        got.append(export_passphrase.register(kv, "nonprod", "the same for all of them"))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(got) == [False, False, False, True]


def test_one_that_was_used_is_never_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    used, new = Passphrase("used before", 3, 64), Passphrase("new to all", 3, 64)
    coming = iter([used, used, new])
    monkeypatch.setattr(export_passphrase, "make", lambda *_, **__: next(coming))
    kv = Kv()
    export_passphrase.register(kv, "nonprod", used.text)
    assert export_passphrase.fresh(kv, "nonprod", 3, 64, letters_and_digits=False) is new


def test_a_source_of_chance_that_repeats_itself_ends_the_export(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = Passphrase("always the same", 3, 64)
    monkeypatch.setattr(export_passphrase, "make", lambda *_, **__: used)
    kv = Kv()
    export_passphrase.register(kv, "nonprod", used.text)
    with pytest.raises(PkiError) as caught:
        export_passphrase.fresh(kv, "nonprod", 3, 64, letters_and_digits=False)
    assert caught.value.rule == "EXPORT-PASSPHRASE"
    assert used.text not in str(caught.value)


def test_a_ledger_that_lost_its_salt_ends_the_export() -> None:
    kv = Kv()
    export_passphrase.register(kv, "nonprod", "before")
    kv.deleted.add("kv-nonprod/data/passphrases/used/salt")
    with pytest.raises(PkiError, match="has lost its salt"):
        export_passphrase.register(kv, "nonprod", "after")
