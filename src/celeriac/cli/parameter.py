"""Kinds of values that options take."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    ParamType = click.ParamType[Any]
else:
    # Generic for type checkers only: older versions of click cannot be subscripted.
    ParamType = click.ParamType


class Json(ParamType):
    """JSON text of one type.

    Args:
        expected: the type.
        example: shown to whoever gets it wrong.
    """

    name = "json"

    def __init__(self, expected: type, example: str) -> None:
        self._expected = expected
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value that the text stands for."""
        if isinstance(value, self._expected):
            return value
        try:
            found = json.loads(value)
        except ValueError as error:
            self.fail(f"{value!r} is not JSON ({error}); write {self._example}", param, ctx)
        if not isinstance(found, self._expected):
            self.fail(f"{value!r} is JSON of another kind; write {self._example}", param, ctx)
        return found


class Time(ParamType):
    """A time in ISO 8601, or seconds from now where that is allowed.

    Args:
        seconds: a number is allowed too.
    """

    name = "time"

    def __init__(self, *, seconds: bool = False) -> None:
        self._seconds = seconds

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | float:
        """Return a ``datetime`` (naive when the text names no zone), or seconds."""
        if isinstance(value, datetime | float):
            return value
        if self._seconds:
            try:
                return float(value)
            except ValueError:
                pass  # a time, then
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            also = " or seconds from now" if self._seconds else ""
            self.fail(f"{value!r} is not a time; write 2030-12-31T23:59:00+00:00{also}", param, ctx)


class Names(ParamType):
    """Names with commas between them."""

    name = "names"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the names."""
        del param, ctx
        return split_names([value]) if isinstance(value, str) else tuple(value)


def split_names(values: Sequence[str]) -> tuple[str, ...]:
    """Return the names in texts with commas between names, each once, in their order."""
    names = (name.strip() for value in values for name in value.split(","))
    return tuple(dict.fromkeys(name for name in names if name))
