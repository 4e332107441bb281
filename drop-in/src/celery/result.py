"""Celery's celery.result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.result import AsyncResult, EagerResult, allow_join_result
from celery import _later

if not TYPE_CHECKING:
    __getattr__ = _later.guard(__name__)

__all__ = [
    "AsyncResult",
    "EagerResult",
    "allow_join_result",
]
