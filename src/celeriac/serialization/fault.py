"""Finds what a serializer refused, so that the error can name it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from enum import Enum
from os import PathLike
from typing import Any

from celeriac.error import EncodeError

#: Levels that the search goes down.
_REACH = 250

_PLAIN_KEYS = (str, int, float, bool, type(None))

_CURES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((set, frozenset), "send sorted(value) or list(value)"),
    (timedelta, "send value.total_seconds()"),
    (Enum, "send value.value"),
    (PathLike, "send str(value)"),
    ((bytearray, memoryview), "send bytes(value)"),
    (BaseException, "send str(value)"),
    (Iterator, "send list(value)"),
)


def refusal(
    value: object, dumps: Callable[[Any], bytes], serializer: str, names: Sequence[str] = ()
) -> EncodeError:
    """Return the error that tells which part of ``value`` cannot be written, why, and the cure.

    Args:
        value: what was refused.
        dumps: the serializer that refused it.
        serializer: its name.
        names: what to call the elements of ``value``, which then is a tuple.
    """
    name, path = "the value", ""
    if names and isinstance(value, tuple):
        for candidate, part in zip(names, value, strict=True):
            if _error(part, dumps) is not None:
                name, value = candidate, part
                break
    seen: set[int] = set()
    while id(value) not in seen and len(seen) < _REACH:
        seen.add(id(value))
        for step, child in _children(value):
            if _error(child, dumps) is not None:
                value = child
                path += step
                break
        else:
            return EncodeError(
                f"{name}{path} cannot be written as {serializer}: {_reason(value, dumps)}"
            )
    if len(seen) < _REACH:
        reason = "it contains itself; send data without cycles"
    else:
        path, reason = "", "it is nested too deep; send it in a flatter form"
    return EncodeError(f"{name}{path} cannot be written as {serializer}: {reason}")


def _error(value: object, dumps: Callable[[Any], bytes]) -> Exception | None:
    try:
        dumps(value)
    except Exception as error:  # noqa: BLE001 - encoders of users raise anything
        return error
    return None


def _children(value: object) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield f"[{key!r}]", child
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield f"[{index}]", child


def _reason(value: object, dumps: Callable[[Any], bytes]) -> str:
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, _PLAIN_KEYS):
                return f"its key {key!r} is of type {type(key).__qualname__}; use text for keys"
    return f"{_error(value, dumps)}; {_cure(value)}"


def _cure(value: object) -> str:
    for cls, cure in _CURES:
        if isinstance(value, cls):
            return cure
    if hasattr(value, "__dataclass_fields__"):
        return "send dataclasses.asdict(value)"
    return (
        "send plain data (for a database row its primary key), or register the type with"
        " celeriac.serialization.json.register_type"
    )
