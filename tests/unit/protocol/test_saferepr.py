"""The bounded repr."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.protocol.repr import saferepr

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
SMALL = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.tuples()
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=2)
    ),
    max_leaves=5,
).filter(lambda value: len(repr(value)) <= 1024)


def levels(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(levels, (*value, *value.values())), default=-1)
    if isinstance(value, list | tuple):
        return 1 + max(map(levels, value), default=-1)
    return 0


@given(SMALL.filter(lambda value: levels(value) <= 6))
def test_small_values_look_as_repr_shows_them(value: Any) -> None:
    assert saferepr(value) == repr(value)


@given(st.sets(st.integers() | st.text()), st.frozensets(st.integers()))
def test_sets_look_as_repr_shows_them(values: set[Any], frozen: frozenset[int]) -> None:
    assert saferepr(values, 10_000) == repr(values)
    assert saferepr(frozen, 10_000) == repr(frozen)


@given(SMALL, st.integers(1, 40))
def test_the_text_is_bounded(value: Any, size: int) -> None:
    text = saferepr(value, size)
    assert len(text) <= size + len("...")
    if levels(value) <= 6:
        assert text == repr(value) if len(repr(value)) <= size else text.endswith("...")


class Counted:
    calls = 0

    def __repr__(self) -> str:
        Counted.calls += 1
        return "counted"


def test_no_more_is_shown_than_there_is_room_for() -> None:
    assert saferepr(["x" * 10_000_000], 10) == "['xxxxxxxx..."
    assert saferepr(([0] * 1_000_000,), 10) == "([0, 0, 0,..."
    saferepr([Counted()] * 1_000_000, 90)
    assert Counted.calls <= 11


def test_deep_and_endless_values_are_cut() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert saferepr(loop) == "[[[[[[[...]]]]]]]"
    assert saferepr({1: {2: {3: {4: {5: {6: {7: 8}}}}}}}).endswith("{6: {...}}}}}}}")
    deep: Any = ()
    for _ in range(100_000):
        deep = (deep,)
    assert saferepr(deep) == "((((((" + "(...,)" + ",)" * 6


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Endless:
    def __repr__(self) -> str:
        return repr(self)


class Wrong:
    def __repr__(self) -> str:
        return 5  # type: ignore[return-value]


@pytest.mark.parametrize("cls", [Broken, Endless, Wrong])
def test_a_failing_repr_is_told_and_not_raised(cls: type) -> None:
    assert saferepr((1, cls())).startswith(f"(1, <{cls.__name__} without repr: ")


def test_an_integer_too_long_to_print_does_not_fail() -> None:
    assert "without repr" in saferepr((10**5000,))
    assert saferepr((2**64,)) == f"({2**64},)"


def test_the_repr_of_a_subclass_is_respected() -> None:
    class Secret(str):
        def __repr__(self) -> str:
            return "***"

    assert saferepr((Secret("x"), [Secret("y")])) == "(***, [***])"
    assert saferepr({Secret("x"): Secret("y")}) == "{***: ***}"
