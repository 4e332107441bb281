"""`eventually` waits, returns and gives up."""

from __future__ import annotations

import itertools

import pytest

from celeriac.testing.deadline import eventually


def test_returns_what_the_probe_returns() -> None:
    turns = itertools.count()
    assert eventually(lambda: next(turns) >= 3 and "there", interval=0.0) == "there"
    assert next(turns) == 4


def test_gives_up() -> None:
    def never() -> list[int]:
        return []

    with pytest.raises(AssertionError, match=r"never was still \[\] after 0\.02 s"):
        eventually(never, timeout=0.02, interval=0.001)


def test_errors_of_the_probe_come_through() -> None:
    with pytest.raises(ZeroDivisionError):
        eventually(lambda: 1 // 0)
