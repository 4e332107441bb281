"""Kombu's kombu.utils."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import _later

# From the submodule, whose first import would put itself in the place of the function.
from kombu.utils.uuid import uuid

if not TYPE_CHECKING:
    __getattr__ = _later.guard(__name__)

__all__ = [
    "uuid",
]
