"""Kombu's kombu.utils.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celeriac.serialization import json as _json
from celeriac.serialization.json import register_type
from celery import _later


def dumps(value: Any) -> str:
    """Return ``value`` as JSON text, with tags for dates, UUIDs, decimals and bytes."""
    return _json.dumps(value).decode("utf-8")


def loads(text: str | bytes) -> Any:
    """Return the value that JSON text stands for."""
    return _json.loads(text.encode("utf-8") if isinstance(text, str) else text)


if not TYPE_CHECKING:
    __getattr__ = _later.guard(__name__)

__all__ = ["dumps", "loads", "register_type"]
