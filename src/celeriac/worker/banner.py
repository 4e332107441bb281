"""What a worker says when it starts."""

from __future__ import annotations

import msgspec


class Introduction(msgspec.Struct, frozen=True, kw_only=True):
    """What the banner tells.

    Attributes:
        version: of celeriac.
        node: ``name@host``.
        pid: of the supervisor.
        app: how to import the application, and its file: ``tasks:app (/srv/tasks.py)``.
        broker: its URL without the password, and what it is: ``redis://h:6379/0 (Redis 7.2.4)``.
        results: the store in the same way, or ``disabled``.
        pool: kind, size and why: ``prefork, 8 processes (8 CPUs)``.
        queues: consumed.
        tasks: how many are registered.
    """

    version: str
    node: str
    pid: int
    app: str
    broker: str
    results: str
    pool: str
    queues: tuple[str, ...]
    tasks: int


def banner(introduction: Introduction) -> str:
    """Return the lines that introduce a worker; `ready_line` follows once it consumes."""
    it = introduction
    rows = (
        ("celeriac", f"{it.version}, {it.node}, pid {it.pid}"),
        ("app", it.app),
        ("broker", it.broker),
        ("results", it.results),
        ("pool", it.pool),
        ("queues", ", ".join(it.queues)),
        ("tasks", f"{it.tasks} registered"),
    )
    return "\n".join(f"{name:<9} {text}" for name, text in rows)


def ready_line(seconds: float) -> str:
    """Return the last line of the banner.

    Args:
        seconds: from the start of the command until the worker consumes.
    """
    took = f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
    return f"ready in {took} \N{EM DASH} Ctrl-C to stop gracefully, twice to stop now"
