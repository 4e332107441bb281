"""Celery's celery.utils."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.identifier import uuid
from celery import _later

if not TYPE_CHECKING:
    __getattr__ = _later.guard(__name__)

from celery.utils import log

__all__ = [
    "log",
    "uuid",
]
