"""A `repr` that is bounded and never fails, for names in logs, events and headers."""

from __future__ import annotations

from typing import Any

#: The setting of Celery's ``argsrepr_maxsize``, characters.
MAX_SIZE = 1024

_MAX_DEPTH = 6
_SCALARS = frozenset({int, float, bool, type(None), complex})
_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}

_CONTAINERS = frozenset({tuple, list, dict})


def saferepr(value: object, max_size: int = MAX_SIZE) -> str:
    """Return ``repr(value)``, cut to about ``max_size`` characters.

    Never raises, whatever the ``__repr__`` of a part does, and does no more work than the text
    needs: a list of a million elements costs as much as its first hundreds.
    """
    if _is_plain(value, max_size):
        text = repr(value)
        if len(text) <= max_size:
            return text
    writer = _Writer(max_size)
    try:
        writer.write(value, _MAX_DEPTH)
    except _FullError:
        writer.parts.append("...")
    return "".join(writer.parts)


def _is_plain(value: Any, room: int) -> bool:
    """Tell whether `repr` is certain to succeed and be short: the usual arguments."""
    kind = type(value)
    if kind not in _CONTAINERS or len(value) > room:
        return False
    for item in (*value, *value.values()) if kind is dict else value:
        kind = type(item)
        if kind is str:
            room -= len(item)
        elif kind is int:
            if item.bit_length() > 64:  # Python refuses to print very long integers
                return False
        elif kind not in _SCALARS:
            return False
    return room >= 0


class _FullError(Exception):
    """There is no room for more text."""


class _Writer:
    """Collects text until there is no room left."""

    def __init__(self, room: int) -> None:
        self.parts: list[str] = []
        self.room = room

    def add(self, text: str) -> None:
        if len(text) > self.room:
            self.parts.append(text[: self.room])
            raise _FullError
        self.parts.append(text)
        self.room -= len(text)

    def write(self, value: Any, levels: int) -> None:
        kind = type(value)
        if kind is str or kind is bytes:
            # A longer piece than there is room for is cut anyway.
            self.add(repr(value[: self.room + 1]))
        elif kind is dict:
            self.write_dict(value, levels)
        elif kind in _BRACKETS and (value or kind in (list, tuple)):
            self.write_sequence(value, levels)
        else:
            self.add(_guarded(value))

    def write_dict(self, value: dict[Any, Any], levels: int) -> None:
        if value and not levels:
            self.add("{...}")
            return
        self.add("{")
        separator = ""
        for key, item in value.items():
            self.add(separator)
            self.write(key, levels - 1)
            self.add(": ")
            self.write(item, levels - 1)
            separator = ", "
        self.add("}")

    def write_sequence(self, value: Any, levels: int) -> None:
        begin, end = _BRACKETS[type(value)]
        if type(value) is tuple and len(value) == 1:
            end = ",)"
        if value and not levels:
            self.add(f"{begin}...{end}")
            return
        self.add(begin)
        separator = ""
        for item in value:
            self.add(separator)
            self.write(item, levels - 1)
            separator = ", "
        self.add(end)


def _guarded(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - the __repr__ of a user raises anything
        return f"<{type(value).__qualname__} without repr: {type(error).__name__}>"
