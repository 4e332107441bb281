"""Loggers for task bodies, and which task a log record comes from."""

from __future__ import annotations

import logging

from celeriac import context

#: Parent of the loggers of task bodies.  The name is Celery's, so that logging configuration
#: written for Celery goes on working.
TASK_LOGGER = "celery.task"

_RESERVED = frozenset({"celery", TASK_LOGGER})
_NO_TASK = "???"


class TaskFilter(logging.Filter):
    """Puts ``task_id`` and ``task_name`` on each record; both are ``???`` outside a task.

    The loggers of `get_task_logger` and the handlers of the worker have it already.  Add it to
    your own handlers to have the two fields on the records of every logger used inside a task.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Mark ``record``; nothing is ever filtered out."""
        if not hasattr(record, "task_id"):
            run = context.current_run()
            record.task_id = run.request.id if run else _NO_TASK
            record.task_name = run.task.name if run else _NO_TASK
        return True


_FILTER = TaskFilter()


def get_task_logger(name: str) -> logging.Logger:
    """Return the logger ``name`` for use in task bodies, normally called with ``__name__``.

    Its records carry ``task_id`` and ``task_name``, and the worker writes them in
    ``worker_task_log_format``.

    Raises:
        RuntimeError: ``celery`` and ``celery.task`` are the parents of all task loggers.
    """
    if name in _RESERVED:
        raise RuntimeError(f'the logger name "{name}" is reserved; use get_task_logger(__name__)')
    logger = logging.getLogger(name)
    logger.addFilter(_FILTER)
    parent = logging.getLogger(TASK_LOGGER)
    if not _descends(logger, parent):
        logger.parent = parent
    return logger


def _descends(logger: logging.Logger, ancestor: logging.Logger) -> bool:
    current: logging.Logger | None = logger
    while current is not None and current is not ancestor:
        current = current.parent
    return current is ancestor
