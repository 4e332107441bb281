"""Run a job: enter the body, catch whatever comes out, call the hooks.

`run` and `arun` return an `Outcome` and never raise, whatever the body, a hook or a receiver does.
"""

from __future__ import annotations

import logging
import traceback
from types import CoroutineType
from typing import TYPE_CHECKING

from celeriac import context, signal, state
from celeriac.error import Ignore, Reject, Retry
from celeriac.execution.outcome import (
    Failure,
    Ignored,
    Outcome,
    Rejected,
    Retrying,
    Success,
)
from celeriac.protocol.repr import saferepr

if TYPE_CHECKING:
    from contextvars import Token
    from typing import Any

    from celeriac.execution.job import Job
    from celeriac.pool.base import Resolve
    from celeriac.task import Task

logger = logging.getLogger("celeriac.execution")


def run(job: Job, resolve: Resolve) -> Outcome:
    """Run a job in the calling thread.

    Args:
        job: what to run.
        resolve: turns the coroutine of an ``async def`` body into its result.
    """
    token = context.push(job.task, job.request)
    try:
        try:
            if job.task.has_before_start or signal.task_prerun.receivers:
                _begin(job)
            value = job.task(*job.args, **job.kwargs)
            if type(value) is CoroutineType:
                value = resolve(value)
            outcome: Outcome = Success(value)
        except BaseException as error:  # noqa: BLE001 - no task may end its worker
            outcome = _caught(error)
        if type(outcome) is not Success or _observed(job.task):
            _end(job, outcome)
        return outcome
    finally:
        context.pop(token)


async def arun(job: Job) -> Outcome:
    """Run a job whose body is ``async def`` on the running event loop."""
    token: Token[Any] = context.push(job.task, job.request)
    try:
        try:
            if job.task.has_before_start or signal.task_prerun.receivers:
                _begin(job)
            outcome: Outcome = Success(await job.task(*job.args, **job.kwargs))
        except BaseException as error:  # noqa: BLE001 - no task may end its worker
            outcome = _caught(error)
        if type(outcome) is not Success or _observed(job.task):
            _end(job, outcome)
        return outcome
    finally:
        context.pop(token)


def _begin(job: Job) -> None:
    task = job.task
    if signal.task_prerun.receivers:
        signal.task_prerun.send(
            sender=task, task_id=job.id, task=task, args=job.args, kwargs=job.kwargs
        )
    if task.has_before_start:
        task.before_start(job.id, job.args, job.kwargs)


def _caught(error: BaseException) -> Outcome:
    match error:
        case Retry():
            return Retrying(error, _trace(error))
        case Ignore():
            return Ignored()
        case Reject():
            reason = error.reason if isinstance(error.reason, str) else saferepr(error.reason)
            return Rejected(reason, error.requeue)
        case _:
            return Failure(error, _trace(error))


def _trace(error: BaseException) -> str:
    """Return the traceback from the body on: our own frames are left out."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and _ours(frames.tb_frame.f_globals):
        frames = frames.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, frames))
    except Exception as broken:  # noqa: BLE001 - an exception that cannot be printed
        lines = traceback.format_tb(frames)
        return "".join(lines) + f"{type(error).__qualname__}: <cannot be printed: {broken!r}>\n"


def _ours(names: dict[str, Any]) -> bool:
    module = names.get("__name__") or ""
    return module.partition(".")[0] == "celeriac" or module.startswith("asyncio.")


def _observed(task: Task[Any, Any]) -> bool:
    """Tell whether anyone wants to know of a success."""
    return bool(
        task.has_on_success
        or task.has_after_return
        or signal.task_success.receivers
        or signal.task_postrun.receivers
    )


def _end(job: Job, outcome: Outcome) -> None:
    """Tell the hooks and the receivers what came out."""
    try:
        _notify(job, outcome)
    except BaseException:
        logger.exception("A hook of task %s[%s] failed", job.task.name, job.id)


def _notify(job: Job, outcome: Outcome) -> None:
    match outcome:
        case Success(value):
            name, result = state.SUCCESS, value
            _succeeded(job, value)
        case Failure(error):
            name, result = state.FAILURE, error
            _failed(job, error)
        case Retrying(retry):
            name, result = state.RETRY, retry
            _retries(job, retry)
        case Rejected():
            name, result = state.REJECTED, None
        case _:
            name, result = state.IGNORED, None
    task, args, kwargs = job.task, job.args, job.kwargs
    if task.has_after_return:
        task.after_return(name, result, job.id, args, kwargs, None)
    if signal.task_postrun.receivers:
        signal.task_postrun.send(
            sender=task,
            task_id=job.id,
            task=task,
            args=args,
            kwargs=kwargs,
            retval=result,
            state=name,
        )


def _succeeded(job: Job, value: Any) -> None:
    if job.task.has_on_success:
        job.task.on_success(value, job.id, job.args, job.kwargs)
    if signal.task_success.receivers:
        signal.task_success.send(sender=job.task, result=value)


def _failed(job: Job, error: BaseException) -> None:
    trace = error.__traceback__
    if job.task.has_on_failure:
        job.task.on_failure(error, job.id, job.args, job.kwargs, trace)
    if signal.task_failure.receivers:
        signal.task_failure.send(
            sender=job.task,
            task_id=job.id,
            exception=error,
            args=job.args,
            kwargs=job.kwargs,
            traceback=trace,
            einfo=trace,
        )


def _retries(job: Job, retry: Retry) -> None:
    trace = retry.__traceback__
    if job.task.has_on_retry:
        job.task.on_retry(retry.exc or retry, job.id, job.args, job.kwargs, trace)
    if signal.task_retry.receivers:
        signal.task_retry.send(sender=job.task, request=job.request, reason=retry, einfo=trace)
