"""Celery's celery._state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.context import get_current_task
from celeriac.current import current_app, current_task, get_current_app, set_default_app
from celery import _later

if not TYPE_CHECKING:
    __getattr__ = _later.guard(__name__)

__all__ = [
    "current_app",
    "current_task",
    "get_current_app",
    "get_current_task",
    "set_default_app",
]
