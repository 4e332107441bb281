"""Celery's celery.app.task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac import Task
from celeriac.context import Context
from celery import _later

if not TYPE_CHECKING:
    __getattr__ = _later.guard(__name__)

__all__ = [
    "Context",
    "Task",
]
