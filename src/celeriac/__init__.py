"""celeriac: a distributed task queue with Celery's API that loses nothing by default."""

from __future__ import annotations

from celeriac.app import Celeriac
from celeriac.current import current_app, current_task
from celeriac.identifier import uuid
from celeriac.shared import shared_task
from celeriac.task import Task

#: Celery's name of the application class.
Celery = Celeriac

__version__ = "0.1.0"

__all__ = [
    "Celeriac",
    "Celery",
    "Task",
    "__version__",
    "current_app",
    "current_task",
    "shared_task",
    "uuid",
]
