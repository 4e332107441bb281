"""``celeriac worker``: run tasks."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import click

from celeriac import __version__, signal
from celeriac.cli.application import suggest
from celeriac.cli.option import Command, option
from celeriac.cli.parameter import Names, ParamType
from celeriac.cli.problem import USAGE, Problem
from celeriac.worker.log import level
from celeriac.worker.setting import POOL_ALIASES, POOLS, WorkerSettings, plan
from celeriac.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.app import Celeriac
    from celeriac.cli.session import Session

logger = logging.getLogger("celeriac.worker")

#: Celery's options that come in later versions: names, and whether they take a value.
LATER: tuple[tuple[tuple[str, ...], bool], ...] = (
    (("--autoscale",), True),
    (("-B", "--beat"), False),
    (("-s", "--schedule-filename", "--schedule"), True),
    (("--scheduler",), True),
    (("-D", "--detach"), False),
    (("-S", "--statedb"), True),
    (("--max-memory-per-child",), True),
    (("--max-tasks-per-child",), True),
    (("--pool-start-method",), True),
    (("--executable",), True),
    (("--uid",), True),
    (("--gid",), True),
    (("--umask",), True),
)

#: Celery's options for what celeriac does otherwise or has no need of.  A unit file that has them
#: must go on working.
NEEDLESS: tuple[tuple[tuple[str, ...], bool], ...] = (
    (("-O", "--optimization"), True),
    (("--without-gossip",), False),
    (("--without-mingle",), False),
    (("--without-heartbeat",), False),
    (("--heartbeat-interval",), True),
)

_CURES = {
    "beat": "run the schedule with another program for now",
    "autoscale": "--concurrency sets a fixed size",
    "detach": "let systemd, supervisord or a container start it",
    "gevent": "--pool asyncio runs async def tasks, --pool threads blocking ones",
}
_CURES |= {"eventlet": _CURES["gevent"], "custom": f"there are {', '.join(POOLS)}"}


class Pool(ParamType):
    """The name of a pool."""

    name = "pool"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return our name of the pool."""
        pool: str = POOL_ALIASES.get(value, value)
        if value in {"gevent", "eventlet", "custom"}:
            raise _unavailable(f"the {value} pool", value)
        if pool not in POOLS:
            self.fail(f"there is no pool {value!r}; choose one of {', '.join(POOLS)}", param, ctx)
        return pool


def _unavailable(what: str, key: str) -> Problem:
    return Problem(
        f"{what} is not part of celeriac {__version__} yet", hint=_CURES.get(key), code=USAGE
    )


def _refuse(ctx: click.Context, param: click.Parameter, value: object) -> None:
    del ctx
    if value is not None:
        raise _unavailable(f"the option {param.opts[-1]}", param.opts[-1].lstrip("-"))


def _celery_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Accept the options of `LATER`, with an error, and those of `NEEDLESS`, quietly."""
    for table, callback in ((LATER, _refuse), (NEEDLESS, None)):
        for names, takes_value in table:
            flag = {} if takes_value else {"is_flag": True, "default": None}
            function = option(*names, hidden=True, expose_value=False, callback=callback, **flag)(
                function
            )
    return function


@click.command(cls=Command)
@option("-n", "--hostname", help="Name of this node; %h host, %n its name, %d its domain.")
@option("-P", "--pool", type=Pool(), help=f"How tasks run side by side: {', '.join(POOLS)}.")
@option("-c", "--concurrency", type=click.IntRange(min=1), help="How many tasks run at once.")
@option("--processes", type=click.IntRange(min=1), help="How many processes; multiplies -c.")
@option("-Q", "--queues", type=Names(), default="", help="Queues to consume, a,b,c.")
@option("-X", "--exclude-queues", type=Names(), default="", help="Queues not to consume.")
@option("-I", "--include", type=Names(), default="", help="Modules with tasks to import too.")
@option("-l", "--loglevel", default="WARNING", help="debug, info, warning, error, or a number.")
@option("-f", "--logfile", help="Log to this file; %n %h %d %p %i %I are filled in.")
@option("--pidfile", help="Write the process id to this file.")
@option(
    "--prefetch-multiplier",
    type=click.IntRange(min=0),
    help="Cap on reserved messages: N per slot.",
)
@option("--disable-prefetch", is_flag=True, help="Reserve no message before a slot is free.")
@option("--grace", type=click.FloatRange(min=0), help="Seconds for running tasks at shutdown.")
@option("--time-limit", type=click.FloatRange(min=0), help="Hard time limit of a task, seconds.")
@option("--soft-time-limit", type=click.FloatRange(min=0), help="Soft time limit, seconds.")
@option("--purge", "--discard", is_flag=True, help="Delete all waiting messages first.")
@option("-E", "--task-events", "--events", is_flag=True, help="Send task events.")
@_celery_options
@click.pass_obj
@click.pass_context
def command(ctx: click.Context, session: Session, /, **given: Any) -> None:
    """Run tasks until told to stop.

    For example: celeriac -A tasks worker --loglevel info --concurrency 8
    """
    # Before anything is imported: a wrong level is a wrong command line.
    level(given["loglevel"])
    if not (session.has_app or session.config or given["include"]):
        raise Problem(
            "a worker needs an application, to know its tasks",
            hint=suggest(session.prog),
            code=USAGE,
        )
    app = session.app
    _configure(app, given)
    settings = _settings(app, session, given)
    if given["purge"]:
        for queue in plan(app, settings).queues:
            app.broker.purge(queue)
    if given["task_events"]:
        # Kept alive by the signal; said once logging is set up.
        signal.worker_init.connect(_no_events, weak=False, dispatch_uid="celeriac.cli.worker")
    # What a stream of ours still holds is written before the children inherit it.
    if sys.stdout is not None:  # closed, as under some service managers
        sys.stdout.flush()
    ctx.exit(Worker(app, settings).run())


def _configure(app: Celeriac, given: dict[str, Any]) -> None:
    if given["include"]:
        app.conf.include = (*app.conf.include, *given["include"])
    for name in ("time_limit", "soft_time_limit"):
        if given[name] is not None:
            app.conf[f"task_{name}"] = given[name]


def _settings(app: Celeriac, session: Session, given: dict[str, Any]) -> WorkerSettings:
    settings = WorkerSettings(
        pool=given["pool"],
        concurrency=given["concurrency"],
        processes=given["processes"],
        queues=given["queues"],
        exclude=given["exclude_queues"],
        hostname=given["hostname"],
        loglevel=given["loglevel"],
        logfile=given["logfile"],
        pidfile=given["pidfile"],
        grace=given["grace"],
        color=False if session.no_color else None,
        quiet=session.quiet,
        app_name=session.app_name or "",
    )
    return _with_prefetch(app, settings, given)


def _with_prefetch(
    app: Celeriac, settings: WorkerSettings, given: dict[str, Any]
) -> WorkerSettings:
    """Turn Celery's multiplier, messages per slot, into the limit of a child."""
    multiplier = 1 if given["disable_prefetch"] else given["prefetch_multiplier"]
    if not multiplier:
        # 0 is Celery's word for no limit; our own limit stays.
        return settings
    import msgspec

    # Celery counts what runs too.
    waiting = (multiplier - 1) * plan(app, settings).slots
    return msgspec.structs.replace(settings, prefetch_limit=waiting)


def _no_events(**_: object) -> None:
    logger.debug("--task-events has no effect: celeriac %s sends no task events yet", __version__)
