# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML that a person wrote is read with the line of everything, or refused at a line."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki.marked_yaml import MAXIMUM_BYTES, Marked, Unreadable, load

TEXT = """\
# a comment
one: 1
list:
  - a
  - name: b
    deep: [x,
      y]
text: >-
  folded
  text
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 2),
        (("one",), 2),
        (("list",), 3),
        (("list", 0), 4),
        (("list", 1), 5),
        (("list", 1, "name"), 5),
        (("list", 1, "deep"), 6),
        (("list", 1, "deep", 0), 6),
        (("list", 1, "deep", 1), 7),
        (("text",), 8),
        (("list", 1, "absent", "deeper"), 5),
        (("absent",), 2),
    ],
)
def test_everything_has_its_line_and_what_is_absent_that_of_what_is_around(
    path: tuple[str | int, ...], line: int
) -> None:
    assert load(TEXT).line(*path) == line


def test_the_value_is_what_yaml_says() -> None:
    assert load(TEXT).value == {
        "one": 1,
        "list": ["a", {"name": "b", "deep": ["x", "y"]}],
        "text": "folded text",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-06-28", "2024-06-28"),
        ("2024-02-31", "2024-02-31"),
        ("2024-06-28T10:00:00Z", "2024-06-28T10:00:00Z"),
        ("1.5", 1.5),
        ("0x1F", 31),
        ("yes", True),
        ("~", None),
        ("'1'", "1"),
        ("", None),
        ("# nothing", None),
        ("1: a", {"1": "a"}),
        ("yes: a", {"yes": "a"}),
    ],
)
def test_dates_and_keys_stay_text_and_the_rest_is_yaml(text: str, value: object) -> None:
    assert load(text).value == value


REFUSED = {
    "a key twice": ("a: 1\nb: 2\na: 3\n", 3, "the key a twice"),
    "a key twice, deeper": ("x:\n  a: 1\n  a: 1\n", 3, "the key a twice"),
    "the same key in two ways": ("1: x\n'1': y\n", 2, "twice"),
    "an alias": ("a: &x 1\nb: *x\n", 2, "alias"),
    "an alias that refers to itself": ("a: &x [*x]\n", 1, "alias"),
    "a merge": ("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "alias"),
    "a tag that calls": ("a: 1\nb: !!python/object/apply:os.system [id]\n", 2, "tag"),
    "a tag of one's own on text": ("a: !vault text\n", 1, "the tag !vault"),
    "a tag of one's own on a list": ("a:\n  b: !mine [1]\n", 2, "tag"),
    "a tag of one's own on a map": ("a: !mine {b: 1}\n", 1, "the tag !mine"),
    "a key that is a list": ("a: 1\n? [b]\n: c\n", 2, "a key that is not text"),
    "two documents": ("a: 1\n---\nb: 2\n", 2, ""),
    "an open bracket": ("a: [1,\n", 2, ""),
    "a tab": ("a:\n\tb: 1\n", 2, ""),
    "a wrong indent": ("a: 1\n  b: 2\n", 2, ""),
    "a control character": ("a: \x07\n", 0, ""),
    "lists in lists without end": ("- " * 60_000 + "a", 1, "more than 100 values"),
    "maps in maps without end": ("{a: " * 9_000 + "1" + "}" * 9_000, 1, "more than 100 values"),
    "brackets that are never closed": ("[" * 60_000, 1, "more than 100 values"),
    "no number after all": ("a: !!int text\n", 1, "no value"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_plain_yaml_is_refused_at_its_line(name: str) -> None:
    text, line, words = REFUSED[name]
    with pytest.raises(Unreadable) as caught:
        load(text)
    assert caught.value.line == line, caught.value
    assert words in str(caught.value)
    expected = f"line {line}, column {caught.value.column}" if line else "unknown line"
    assert caught.value.place == expected


def test_a_list_may_say_of_itself_that_it_is_one() -> None:
    assert load("!!seq [1]").value == [1]
    assert load("a: !!str 1").value == {"a": "1"}


def test_size_and_depth_are_bounded() -> None:
    with pytest.raises(Unreadable, match="more than"):
        load("a" * (MAXIMUM_BYTES + 1))
    with pytest.raises(Unreadable):
        load("[" * 20_000)
    with pytest.raises(Unreadable):
        load("[" * 5_000 + "]" * 5_000)


@given(st.text(max_size=60))
def test_whatever_the_text_it_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(Unreadable):
        assert isinstance(load(text), Marked)
