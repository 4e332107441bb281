"""Celery's names, provided by celeriac."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from celeriac import Celeriac as Celery
from celeriac import Task, current_app, current_task, shared_task
from celeriac import __version__ as __celeriac_version__
from celeriac.identifier import uuid
from celery import _later


class version_info_t(NamedTuple):  # noqa: N801 - Celery's name
    """A version in five parts."""

    major: int
    minor: int
    micro: int
    releaselevel: str
    serial: str


#: The version of Celery whose API this is; `__celeriac_version__` is what runs.
VERSION = version_info_t(5, 7, 0, "", "")
version_info = VERSION
__version__ = "5.7.0"
VERSION_BANNER = f"{__version__} (celeriac {__celeriac_version__})"

if not TYPE_CHECKING:
    __getattr__ = _later.guard(__name__)

# Tracers take submodules as attributes after a mere `import celery`.
from celery import _state, app, exceptions, result, signals, states, utils  # noqa: E402

__all__ = [
    "VERSION",
    "VERSION_BANNER",
    "Celery",
    "Task",
    "_state",
    "app",
    "current_app",
    "current_task",
    "exceptions",
    "result",
    "shared_task",
    "signals",
    "states",
    "utils",
    "uuid",
    "version_info",
]
