"""Celery's celery.utils.log."""

from __future__ import annotations

from logging import getLogger as get_logger  # noqa: N813
from typing import TYPE_CHECKING

from celeriac.log import get_task_logger
from celery import _later

if not TYPE_CHECKING:
    __getattr__ = _later.guard(__name__)

__all__ = [
    "get_logger",
    "get_task_logger",
]
