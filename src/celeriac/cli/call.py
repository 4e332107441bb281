"""``celeriac call``: send a task."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from celeriac import argument
from celeriac.cli.option import Command, json_option, option
from celeriac.cli.parameter import Json, Time
from celeriac.cli.problem import USAGE, Problem

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.cli.session import Session
    from celeriac.result import AsyncResult
    from celeriac.task import Task


@click.command(cls=Command)
@click.argument("name")
@option("-a", "--args", type=Json(list, "'[2, 2]'"), default="[]", help="Positional arguments.")
@option("-k", "--kwargs", type=Json(dict, "'{\"x\": 2}'"), default="{}", help="Keyword arguments.")
@option("--eta", type=Time(), help="Run at this time, ISO 8601.")
@option("--countdown", type=float, help="Run so many seconds from now.")
@option("--expires", type=Time(seconds=True), help="Do not run after this time, or seconds.")
@option("--serializer", help="How to write the arguments; json by default.")
@option("--queue", help="The queue to send to.")
@option("--exchange", help="The exchange to send to.")
@option("--routing-key", help="The routing key to send with.")
@option("--force", is_flag=True, help="Send a task that the application does not know.")
@json_option
@click.pass_obj
def command(
    session: Session,
    /,
    *,
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    eta: datetime | None,
    expires: datetime | float | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Send the task NAME and print its id.

    For example: celeriac -A tasks call tasks.add -a '[2, 2]'
    """
    app = session.app
    options["eta"] = _aware(eta, app)
    options["expires"] = _aware(expires, app)
    given = {key: value for key, value in options.items() if value is not None}
    sent = _send(session, name, args, kwargs, given, force=force)
    click.echo(json.dumps({"id": sent.id, "task": name}) if as_json else sent.id)


def _send(
    session: Session,
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    options: dict[str, Any],
    *,
    force: bool,
) -> AsyncResult[Any]:
    app = session.app
    app.import_tasks()
    task: Task[Any, Any] | None = app.tasks.get(name)
    if task is None and not force:
        raise _unknown(session, name)
    if task is not None and task.typing is not False:
        try:
            argument.fit(name, task.run, args, kwargs)
        except TypeError as error:
            raise Problem(str(error), code=USAGE) from error
    # Somebody waits at the terminal: publishing would go on trying for `publish_timeout`.
    app.broker.ping()
    if task is None:
        return app.send_task(name, args, kwargs, **options)
    return task.apply_async(args, kwargs, **options)


def _unknown(session: Session, name: str) -> Problem:
    if not session.has_app:
        return Problem(
            f'without an application it is not known whether there is a task "{name}"',
            hint=f"{session.prog} -A MODULE call {name}, or send it anyway with --force",
            code=USAGE,
        )
    near = session.app.tasks.hint(name).removeprefix("; ")
    return Problem(
        f'no task named "{name}" is registered in {session.app_name}',
        hint=f"{near or 'is its module imported?'}  (--force sends it anyway; "
        "a worker that does not know it makes it a dead letter)",
        code=USAGE,
    )


def _aware(when: Any, app: Celeriac) -> Any:
    """Take a time without a zone for one in the time zone of the application."""
    if isinstance(when, datetime) and when.tzinfo is None:
        return when.replace(tzinfo=ZoneInfo(app.conf.timezone or "UTC"))
    return when
