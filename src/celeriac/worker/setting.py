"""What one worker was asked to do, from the command line and the configuration."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from celeriac.error import ImproperlyConfigured
from celeriac.identifier import hostname

if TYPE_CHECKING:
    from celeriac.app import Celeriac

POOLS = ("prefork", "threads", "asyncio", "solo")
#: Other names of pools that Celery knows.
POOL_ALIASES = {"processes": "prefork", "thread": "threads", "async": "asyncio"}


class WorkerSettings(msgspec.Struct, frozen=True):
    """The options of ``celeriac worker``; None means: what the configuration says.

    Attributes:
        pool: ``prefork``, ``threads``, ``asyncio`` or ``solo``.
        concurrency: slots in all (prefork: children; threads and asyncio: slots per child).
        processes: children per pool; multiplies the concurrency of ``threads`` and ``asyncio``.
        queues: names of the queues to consume; empty means the configured ones.
        exclude: queues not to consume.
        hostname: the name of the node; ``%h``, ``%n`` and ``%d`` are host, name and domain.
        loglevel: a level name or number.
        logfile: where to log; None means standard error.
        pidfile: where to write the process id.
        prefetch_limit: how many messages may wait in a child behind those that run.
        grace: seconds that running tasks get at shutdown; None means until they are done.
        color: force colours on or off.
        quiet: print no banner.
        app_name: how the application was found, for the banner.
    """

    pool: str | None = None
    concurrency: int | None = None
    processes: int | None = None
    queues: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hostname: str | None = None
    loglevel: str | int = "WARNING"
    logfile: str | None = None
    pidfile: str | None = None
    prefetch_limit: int | None = None
    grace: float | None = None
    color: bool | None = None
    quiet: bool = False
    app_name: str = ""


class Plan(msgspec.Struct, frozen=True):
    """`WorkerSettings` with every question answered.

    Attributes:
        children: how many children.
        slots: how many jobs a child runs at once.
    """

    node: str
    pool: str
    children: int
    slots: int
    queues: tuple[str, ...]
    prefetch_limit: int
    grace: float | None
    lease_heartbeat: float


def node_name(template: str | None) -> str:
    """Return the name of the node: ``celery@<host>`` by default; ``%h %n %d`` are filled in."""
    host = hostname()
    name, _, domain = host.partition(".")
    text = template or "celery@%h"
    text = text.replace("%h", host).replace("%n", name).replace("%d", domain).replace("%%", "%")
    return text if "@" in text else f"{text}@{host}"


def plan(app: Celeriac, settings: WorkerSettings) -> Plan:
    """Answer every question that ``settings`` leaves open from the configuration of ``app``.

    Raises:
        ImproperlyConfigured: unknown pool, a number out of range, no queue left.
    """
    conf = app.conf
    asked = settings.pool or conf.worker_pool or "prefork"
    pool = POOL_ALIASES.get(asked, asked)
    if pool not in POOLS:
        raise ImproperlyConfigured(
            f'no pool "{asked}"; choose one of {", ".join(POOLS)} '
            "(for thousands of waiting tasks: --pool asyncio with async def tasks)"
        )
    concurrency = _number("concurrency", settings.concurrency, conf.worker_concurrency)
    processes = _number("processes", settings.processes, None) or 1
    if pool == "prefork":
        children, slots = (concurrency or _cpus()) * processes, 1
    elif pool == "solo":
        children, slots = processes, 1
    else:
        children, slots = processes, concurrency or (1000 if pool == "asyncio" else _cpus() * 4)
    queues = settings.queues or tuple(app.queue_names())
    queues = tuple(name for name in queues if name not in settings.exclude)
    if not queues:
        raise ImproperlyConfigured("no queue to consume: --exclude-queues names all of --queues")
    limit = settings.prefetch_limit
    if limit is None:
        limit = conf.worker_prefetch_limit
    return Plan(
        node=node_name(settings.hostname),
        pool=pool,
        children=children,
        slots=slots,
        queues=queues,
        prefetch_limit=max(0, limit),
        grace=settings.grace if settings.grace is not None else conf.shutdown_grace,
        lease_heartbeat=conf.lease_heartbeat,
    )


def _number(name: str, given: int | None, configured: Any) -> int | None:
    value = given if given is not None else configured
    if value is None:
        return None
    if value < 1:
        raise ImproperlyConfigured(f"--{name} must be at least 1, not {value}")
    return int(value)


def _cpus() -> int:
    return os.cpu_count() or 1
