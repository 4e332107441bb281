"""What the worker logs about a task: one line, in Celery's words."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from celeriac import signal
from celeriac.execution.outcome import (
    Dead,
    Failure,
    Ignored,
    NotDue,
    Outcome,
    Rejected,
    Retrying,
    Success,
)
from celeriac.protocol.repr import saferepr

if TYPE_CHECKING:
    from celeriac.execution.job import Job, Refused

logger = logging.getLogger("celeriac.task")


def report(job: Job, outcome: Outcome, runtime: float) -> None:
    """Log the end of a run.

    Args:
        job: what ran.
        outcome: how it ended.
        runtime: seconds in the body.
    """
    name = job.task.name
    match outcome:
        case Success(value):
            shown = saferepr(value, job.options.resultrepr_maxsize)
            logger.info("Task %s[%s] succeeded in %.6gs: %s", name, job.id, runtime, shown)
        case Failure(error, traceback):
            expected = isinstance(error, job.options.throws)
            logger.log(
                logging.INFO if expected else logging.ERROR,
                "Task %s[%s] raised %s: %s\n%s",
                name,
                job.id,
                "expected" if expected else "unexpected",
                saferepr(error),
                (traceback or "").rstrip(),
            )
        case Retrying(retry, _):
            logger.info("Task %s[%s] retry: %s", name, job.id, retry)
        case Ignored():
            logger.info("Task %s[%s] ignored", name, job.id)
        case Rejected(reason, requeue):
            logger.warning("Task %s[%s] rejected (requeue=%s): %s", name, job.id, requeue, reason)


def report_refused(refused: Refused) -> None:
    """Log a delivery that was not run, and tell the receivers of the signal for it."""
    outcome = refused.outcome
    message = refused.delivery.message
    name = message.task if message is not None else ""
    if isinstance(outcome, NotDue):
        logger.debug("Task %s[%s] waits in the broker until it is due", name, refused.task_id)
        return
    if outcome.reason == "expired":
        logger.info("Discarding revoked task: %s[%s] expired", name, refused.task_id)
        return
    logger.error(
        "Cannot run message %s of queue %s: %s (it is kept: celeriac dead show %s)",
        refused.task_id or "without an id",
        refused.delivery.queue,
        outcome.detail,
        refused.task_id or "",
    )
    _tell(refused, outcome)


def _tell(refused: Refused, outcome: Dead) -> None:
    message = refused.delivery.message
    if outcome.reason == "unknown_task":
        if signal.task_unknown.receivers:
            signal.task_unknown.send(
                sender=None,
                message=message,
                exc=outcome.error,
                name=message.task if message else "",
                id=refused.task_id,
            )
    elif signal.task_rejected.receivers:
        signal.task_rejected.send(sender=None, message=message, exc=outcome.error)
