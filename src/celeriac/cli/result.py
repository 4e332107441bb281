"""``celeriac result``: the state and the result of a task."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from celeriac import state
from celeriac.cli.option import Command, json_option, option
from celeriac.cli.problem import Problem
from celeriac.error import TimeoutError as NotReady

if TYPE_CHECKING:
    from celeriac.cli.session import Session
    from celeriac.result import AsyncResult


@click.command(cls=Command)
@click.argument("task_id")
@option("-t", "--task", help="The name of the task.")
@option("--traceback", is_flag=True, help="Print the traceback only.")
@option("--timeout", type=click.FloatRange(min=0), help="Wait so many seconds for the result.")
@json_option
@click.pass_obj
@click.pass_context
def command(
    ctx: click.Context,
    session: Session,
    /,
    *,
    task_id: str,
    task: str | None,
    traceback: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Print the state of the task TASK_ID, and its result or its traceback.

    The exit code is 1 when the task failed, or was not done within --timeout.
    """
    found: AsyncResult[Any]
    if task is None:
        found = session.app.AsyncResult(task_id)
    else:
        session.app.import_tasks()
        found = session.app.tasks[task].AsyncResult(task_id)
    if timeout is not None:
        _wait(found, timeout)
    # Read once: the state must not change between the lines printed.
    now, value, trace = found.state, found.result, found.traceback
    if as_json:
        click.echo(json.dumps(_plain(task_id, now, value, trace), default=repr))
    elif traceback:
        click.echo((trace or "").rstrip("\n"))
    else:
        _print(now, value, trace)
    if now in state.PROPAGATE_STATES:
        ctx.exit(1)


def _wait(found: AsyncResult[Any], timeout: float) -> None:
    try:
        found.get(timeout=timeout, propagate=False)
    except NotReady as error:
        raise Problem(
            f"task {found.id} was not done within {timeout:g} s; its state is {found.state}",
            hint=f"{state.PENDING} is also the state of an id that nobody has sent"
            if found.state == state.PENDING
            else None,
        ) from error


def _plain(task_id: str, now: str, value: Any, trace: str | None) -> dict[str, Any]:
    if isinstance(value, BaseException):
        value = {"type": type(value).__name__, "message": str(value)}
    return {"id": task_id, "state": now, "result": value, "traceback": trace}


def _print(now: str, value: Any, trace: str | None) -> None:
    click.echo(now)
    if trace:
        click.echo(trace.rstrip("\n"))
    elif isinstance(value, BaseException):
        click.echo(f"{type(value).__name__}: {value}")
    elif now == state.SUCCESS or value is not None:
        click.echo(str(value))
