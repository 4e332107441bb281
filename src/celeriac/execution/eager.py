"""Run a task in the process that called it, through the same `run` and `decide` as a worker."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from celeriac import state
from celeriac.context import Context
from celeriac.error import Ignore, Reject
from celeriac.execution.decide import Policy, decide
from celeriac.execution.job import Job
from celeriac.execution.outcome import Failure, Outcome, Rejected, Retrying, Success
from celeriac.execution.run import run as run_job
from celeriac.message import Delivery
from celeriac.result import EagerResult

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from celeriac.app import Celeriac
    from celeriac.task import Task


def run(app: Celeriac, task: Task[Any, Any], request: Context, throw: bool) -> EagerResult[Any]:
    """Run ``task`` here and now; a retry runs at once too.

    Args:
        app: whose settings hold.
        task: what to run.
        request: of the run; the arguments are in it.
        throw: raise what the task raises.

    Raises:
        BaseException: with ``throw``, whatever the task raised.
    """
    while True:
        job = Job(
            id=request.id or "",
            delivery=Delivery("", "", None),
            task=task,
            options=task.options(app),
            request=request,
            args=tuple(request.args),
            kwargs=dict(request.kwargs),
            ignore_result=bool(request.ignore_result),
        )
        outcome = run_job(job, _resolve)
        if isinstance(outcome, Retrying) and isinstance(outcome.retry.sig, Context):
            request = outcome.retry.sig
            continue
        break
    if throw and isinstance(outcome, Failure):
        raise outcome.error
    if task.store_eager_result or app.conf.task_store_eager_result:
        _store(app, job, outcome)
    name, value, traceback = _told(outcome)
    return EagerResult(job.id, value, name, traceback=traceback, name=task.name)


def _told(outcome: Outcome) -> tuple[str, Any, str | None]:
    match outcome:
        case Success(value):
            return state.SUCCESS, value, None
        case Failure(error, traceback):
            return state.FAILURE, error, traceback
        case Retrying(retry, traceback):
            return state.RETRY, retry.exc or retry, traceback
        case Rejected(reason, requeue):
            return state.REJECTED, Reject(reason, requeue), None
        case _:
            return state.IGNORED, Ignore(), None


def _store(app: Celeriac, job: Job, outcome: Outcome) -> None:
    policy = Policy.of(app, str(job.request.hostname))
    record = decide(job, outcome, policy, app.clock.time()).result
    if record is not None and app.store.enabled:
        app.store.put([record])


def _resolve(awaitable: Awaitable[Any]) -> Any:
    """Run a coroutine to its end, also where an event loop is running in this thread."""

    async def finish() -> Any:
        return await awaitable

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(finish())
    here = contextvars.copy_context()
    with ThreadPoolExecutor(1, "eager-task") as thread:
        return thread.submit(here.run, asyncio.run, finish()).result()
