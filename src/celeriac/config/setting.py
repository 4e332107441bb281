"""What one setting is: its name, the values it takes, and what it is for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any

import msgspec

from celeriac.error import ImproperlyConfigured


class Kind(msgspec.Struct, frozen=True):
    """The values a setting takes.

    Attributes:
        name: in words, for errors and the reference page.
        parse: returns the value as it is kept, or raises `TypeError` or `ValueError`.
    """

    name: str
    parse: Callable[[Any], Any]


class Setting(msgspec.Struct, frozen=True):
    """One declared setting.

    Attributes:
        name: the canonical name, lower case.
        kind: the values it takes; None is always allowed and means "not set".
        default: the value when nobody sets it.
        doc: one sentence.
        old: names Celery gave it before version 4; still accepted.
    """

    name: str
    kind: Kind
    default: Any
    doc: str
    old: tuple[str, ...] = ()

    def check(self, value: Any) -> Any:
        """Return ``value`` as it is kept.

        Raises:
            ImproperlyConfigured: a value of another kind.
        """
        if value is None:
            return None
        try:
            return self.kind.parse(value)
        except (TypeError, ValueError):
            raise ImproperlyConfigured(
                f"the setting {self.name} must be {self.kind.name}, "
                f"not {value!r} ({type(value).__name__})"
            ) from None


def _bool(value: Any) -> bool:
    if value in (True, False):  # 0 and 1 too
        return bool(value)
    raise TypeError


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise TypeError
    return int(value)


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return value


def _seconds(value: Any) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else _float(value)


def _str(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise TypeError


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Collection) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise TypeError


def _dict(value: Any) -> dict[Any, Any]:
    if isinstance(value, dict):
        return value  # the same object: changing it later changes the setting, as in Celery
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def _url(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Collection) and all(isinstance(item, str) for item in value):
        return ";".join(value)
    raise TypeError


def _any(value: Any) -> Any:
    return value


BOOL = Kind("True or False", _bool)
INT = Kind("a whole number", _int)
FLOAT = Kind("a number", _float)
SECONDS = Kind("a number of seconds or a timedelta", _seconds)
STR = Kind("a string", _str)
NAMES = Kind("a list of strings", _names)
DICT = Kind("a dict", _dict)
URL = Kind("a URL", _url)
ANY = Kind("any value", _any)
