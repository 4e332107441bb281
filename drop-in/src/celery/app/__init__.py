"""Celery's celery.app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac import Celeriac as Celery
from celeriac import current_app, current_task, shared_task
from celery import _later

if not TYPE_CHECKING:
    __getattr__ = _later.guard(__name__)

from celery.app import base, task

__all__ = [
    "Celery",
    "base",
    "current_app",
    "current_task",
    "shared_task",
    "task",
]
