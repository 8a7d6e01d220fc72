# SPDX-License-Identifier: GPL-3.0-or-later
"""The project's reading of CEL is the engine's: what is read and written again means the same."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pki import cel_engine as cel
from pki import cel_text
from pki.cel_text import NotCel, parse
from pki.cel_tree import (
    Binary,
    Call,
    Choice,
    Each,
    Has,
    Index,
    ListOf,
    Literal,
    MapOf,
    Member,
    Name,
    Node,
    Unary,
    text,
    walk,
)
from pki.policy_files import load_policies, policy_names
from pki.shipped import DIRECTORY

# Maps have one entry: the engine goes through them in no fixed order.
FACTS = {
    "n": 3,
    "d": 2.5,
    "t": "text",
    "b": True,
    "l": [1, 2, 3],
    "w": ["a", "bc"],
    "m": {"in_it": {"deep": [True]}},
}


def value_of(expression: str) -> Any:
    """What the engine makes of an expression over FACTS, an error by its kind."""
    try:
        program = cel.compile_expression(expression)
    except ValueError:
        return "does not compile"
    context = cel.Context(functions={"join": lambda items, by: by.join(map(str, items))})
    for name, value in FACTS.items():
        context.add_variable(name, value)
    try:
        return repr(program.execute(context))
    except Exception as exc:  # whatever the engine raises, it must be the same twice
        return type(exc).__name__


TREES = {
    "a.b.c": Member(Member(Name("a"), "b"), "c"),
    "a[0].b": Member(Index(Name("a"), Literal(0)), "b"),
    "1 + 2 * 3": Binary("+", Literal(1), Binary("*", Literal(2), Literal(3))),
    "1 - 2 - 3": Binary("-", Binary("-", Literal(1), Literal(2)), Literal(3)),
    "a || b && c": Binary("||", Name("a"), Binary("&&", Name("b"), Name("c"))),
    "!a.b": Unary("!", Member(Name("a"), "b")),
    "!(a in b)": Unary("!", Binary("in", Name("a"), Name("b"))),
    "-1": Unary("-", Literal(1)),
    "a ? b : c ? d : e": Choice(Name("a"), Name("b"), Choice(Name("c"), Name("d"), Name("e"))),
    "has(a.b)": Has(Member(Name("a"), "b")),
    "a.all(x, x > 1)": Each("all", Name("a"), "x", (Binary(">", Name("x"), Literal(1)),)),
    "a.map(x, x > 1, x)": Each(
        "map", Name("a"), "x", (Binary(">", Name("x"), Literal(1)), Name("x"))
    ),
    "size(a)": Call("size", None, (Name("a"),)),
    "a.startsWith('b')": Call("startsWith", Name("a"), (Literal("b"),)),
    "[1, 'a',]": ListOf((Literal(1), Literal("a"))),
    "{'a': 1, 'b': [2]}": MapOf(
        ((Literal("a"), Literal(1)), (Literal("b"), ListOf((Literal(2),))))
    ),
    "0x1F": Literal(31),
    "7u": Literal(7, unsigned=True),
    "1.5e3": Literal(1500.0),
    r"'\n\x41\u00e9\101\''": Literal("\nAéA'"),
    r"r'\d+'": Literal(r"\d+"),
    '"""a\n"b"""': Literal('a\n"b'),
    r"b'\xffé'": Literal(b"\xff\xc3\xa9"),
    "a // the rest\n + b": Binary("+", Name("a"), Name("b")),
    "null": Literal(None),
}


@pytest.mark.parametrize("expression", TREES)
def test_an_expression_is_read_as_its_grammar_says(expression: str) -> None:
    assert parse(expression) == TREES[expression]


REFUSED = {
    "": "the end is not expected",
    "a.": "the end",
    "a b": "b is not expected",
    "(a": "where ) should be",
    "a &&": "the end",
    "a & b": "unknown character '&'",
    "'open": "text without an end",
    "'a\nb'": "text without an end",
    r"'\q'": "unknown escape",
    r"'\ud800'": "unknown escape",
    "a.?b": "no field's name",
    "Message{a: 1}": "not expected",
    "has(a)": "takes one field",
    "l.all(x)": "takes a variable",
    "l.all(x, y, true)": "takes a variable",
    "l.all(1, true)": "takes a variable",
    "in": "reserved word",
    "package.a": "reserved word",
    "a.in": "no field's name",
    "!-a": "in a row",
    "!!a": "in a row",
    "--1": "in a row",
    "a ? b": "where : should be",
}


@pytest.mark.parametrize("expression", REFUSED)
def test_what_is_no_expression_is_refused_with_its_place(expression: str) -> None:
    with pytest.raises(NotCel, match=r"character [0-9]+$") as caught:
        parse(expression)
    assert REFUSED[expression] in str(caught.value)


def test_length_and_depth_are_bounded() -> None:
    with pytest.raises(NotCel, match="longer than"):
        parse("a" * (cel_text.LONGEST + 1))
    with pytest.raises(NotCel, match="deeper than"):
        parse("(" * (cel_text.DEEPEST + 1) + "a" + ")" * (cel_text.DEEPEST + 1))


def test_a_part_knows_where_it_stood() -> None:
    places = {n.name: n.at for n in walk(parse("one.two +  three")) if isinstance(n, Name)}
    assert places == {"one": 0, "three": 11}


def shipped() -> list[str]:
    policies = load_policies(DIRECTORY, policy_names(DIRECTORY)).values()
    rules = [rule for policy in policies for rule in policy.rules]
    return sorted({program.source for rule in rules for program in rule.expressions.values()})


def test_every_expression_of_the_policies_is_read_and_written_as_the_same() -> None:
    expressions = shipped()
    assert expressions
    for expression in expressions:
        written = text(parse(expression))
        assert parse(written) == parse(expression)
        before = cel.compile_expression(expression)
        after = cel.compile_expression(written)
        assert after.references() == before.references(), expression
        assert value_of(written) == value_of(expression)


NAMES = st.sampled_from([*FACTS]).map(Name)
LITERALS = st.one_of(
    st.integers(0, 2**63 - 1),
    st.floats(0, allow_nan=False, allow_infinity=False, allow_subnormal=False),
    st.text(max_size=5),
    st.booleans(),
    st.none(),
).map(Literal)
LEAVES = st.one_of(
    NAMES,
    LITERALS,
    st.integers(0, 2**63 - 1).map(lambda n: Literal(n, unsigned=True)),
    st.just(Member(Member(Name("m"), "in_it"), "deep")),
    st.just(Has(Member(Name("m"), "k"))),
)


def compound(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    operators = ["||", "&&", "==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*", "/", "%"]
    macros = ["all", "exists", "exists_one", "filter", "map"]
    return st.one_of(
        st.builds(Binary, st.sampled_from(operators), inner, inner),
        st.builds(Unary, st.sampled_from("!-"), inner),
        st.builds(Choice, inner, inner, inner),
        st.builds(Index, inner, inner),
        st.builds(ListOf, st.lists(inner, max_size=3).map(tuple)),
        st.builds(MapOf, st.lists(st.tuples(inner, inner), max_size=1).map(tuple)),
        st.builds(Member, inner, st.sampled_from(["k", "in_it", "absent"])),
        st.builds(Call, st.sampled_from(["size", "string", "int"]), st.none(), st.tuples(inner)),
        st.builds(Call, st.just("contains"), inner, st.tuples(inner)),
        st.builds(Each, st.sampled_from(macros), inner, st.just("x"), st.tuples(inner)),
        st.builds(
            Each, st.sampled_from(macros), NAMES, st.just("x"), st.tuples(st.just(Name("x")))
        ),
        st.builds(Each, st.just("map"), inner, st.just("x"), st.tuples(inner, st.just(Name("x")))),
    )


def bracketed(node: Node) -> str:
    """The node with brackets around everything: no rule of precedence is needed to read it."""
    match node:
        case Binary(operator, left, right):
            return f"(({bracketed(left)}) {operator} ({bracketed(right)}))"
        case Unary(operator, operand):
            return f"({operator}({bracketed(operand)}))"
        case Choice(condition, then, otherwise):
            parts = map(bracketed, (condition, then, otherwise))
            return "(({}) ? ({}) : ({}))".format(*parts)
        case Index(target, index):
            return f"({bracketed(target)})[{bracketed(index)}]"
        case Member(target, name):
            return f"({bracketed(target)}).{name}"
        case ListOf(items):
            return f"[{', '.join(map(bracketed, items))}]"
        case MapOf(entries):
            pairs = (f"({bracketed(key)}): ({bracketed(value)})" for key, value in entries)
            return "{" + ", ".join(pairs) + "}"
        case Call(function, None, arguments):
            return f"{function}({', '.join(map(bracketed, arguments))})"
        case Call(function, target, arguments):
            return f"({bracketed(target)}).{function}({', '.join(map(bracketed, arguments))})"
        case Each(macro, over, variable, bodies):
            inside = ", ".join(map(bracketed, bodies))
            return f"({bracketed(over)}).{macro}({variable}, {inside})"
    return text(node)


@settings(max_examples=300, deadline=None)
@given(st.recursive(LEAVES, compound, max_leaves=8))
def test_a_tree_written_and_read_is_the_same_tree_and_the_same_value(node: Node) -> None:
    written = text(node)
    assert parse(written) == node
    assert parse(bracketed(node)) == node
    assert value_of(written) == value_of(bracketed(node))


@given(st.text(max_size=30))
def test_text_is_the_same_text_after_writing_and_reading(value: str) -> None:
    assert parse(text(Literal(value))) == Literal(value)
    assert value_of(text(Literal(value))) == repr(value)


@settings(max_examples=500, deadline=None)
@given(st.text(st.sampled_from("nlm.()[]{}'\"\\?:!&|<=-+*/,01ux \n"), max_size=20))
def test_whatever_the_text_the_reader_reads_it_or_says_why_not(expression: str) -> None:
    try:
        written = text(parse(expression))
    except NotCel:
        return
    assert parse(written) == parse(expression)
    assert value_of(written) == value_of(expression)


@given(st.floats(0, allow_nan=False, allow_infinity=False))
def test_a_number_with_a_fraction_stays_one(value: float) -> None:
    read = parse(text(Literal(value)))
    assert isinstance(read, Literal)
    assert isinstance(read.value, float)
    assert math.isclose(read.value, value, rel_tol=0)
