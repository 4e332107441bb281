"""Celery's celery.exceptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.error import (
    AlreadyRegistered,
    CeleryError,
    CeleryWarning,
    ChordError,
    Ignore,
    ImproperlyConfigured,
    InvalidTaskError,
    MaxRetriesExceededError,
    NotRegistered,
    OperationalError,
    Reject,
    Retry,
    SecurityError,
    SoftTimeLimitExceeded,
    TaskError,
    TaskPredicate,
    TaskRevokedError,
    Terminated,
    TimeLimitExceeded,
    TimeoutError,  # noqa: A004
    WorkerLostError,
    WorkerShutdown,
    WorkerTerminate,
)
from celery import _later

if not TYPE_CHECKING:
    __getattr__ = _later.guard(__name__)

__all__ = [
    "AlreadyRegistered",
    "CeleryError",
    "CeleryWarning",
    "ChordError",
    "Ignore",
    "ImproperlyConfigured",
    "InvalidTaskError",
    "MaxRetriesExceededError",
    "NotRegistered",
    "OperationalError",
    "Reject",
    "Retry",
    "SecurityError",
    "SoftTimeLimitExceeded",
    "TaskError",
    "TaskPredicate",
    "TaskRevokedError",
    "Terminated",
    "TimeLimitExceeded",
    "TimeoutError",
    "WorkerLostError",
    "WorkerShutdown",
    "WorkerTerminate",
]
