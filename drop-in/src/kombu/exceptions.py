"""Kombu's kombu.exceptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.error import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    OperationalError,
    SerializationError,
)
from celery import _later

if not TYPE_CHECKING:
    __getattr__ = _later.guard(__name__)

__all__ = [
    "ContentDisallowed",
    "DecodeError",
    "EncodeError",
    "OperationalError",
    "SerializationError",
]
