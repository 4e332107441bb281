"""The options of a task, and what they are where the task says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from celeriac.config import Settings


class TaskOptions(msgspec.Struct, frozen=True):
    """The options of a task with the settings filled in where the task says nothing.

    Attributes:
        acks_late: acknowledge after the run.
        acks_on_failure_or_timeout: acknowledge failed runs too.
        reject_on_worker_lost: False: not run again after the death of its process.
        ignore_result: store nothing.
        store_errors_even_if_ignored: but store failures.
        track_started: store STARTED.
        serializer: of its messages.
        max_retries: how often `Task.retry` may be called; None means without end.
        default_retry_delay: seconds before a retry that names no time.
        time_limit: hard limit, seconds.
        soft_time_limit: soft limit, seconds.
        priority: of its messages.
        expires: as given.
        throws: exceptions that are expected of it and logged quietly.
        trail: results tell which tasks it sent.
        send_events: send events about it.
        resultrepr_maxsize: the longest result shown in the log, characters.
        max_deaths: deaths of its process that make it a dead letter.
        max_losses: losses of its lease that make it a dead letter.
        queue: where it goes.
        exchange: as sent on the wire.
        routing_key: as sent on the wire.
        rate_limit: as given.
    """

    acks_late: bool
    acks_on_failure_or_timeout: bool
    reject_on_worker_lost: bool | None
    ignore_result: bool
    store_errors_even_if_ignored: bool
    track_started: bool
    serializer: str
    max_retries: int | None
    default_retry_delay: float
    time_limit: float | None
    soft_time_limit: float | None
    priority: int | None
    expires: Any
    throws: tuple[type[BaseException], ...]
    trail: bool
    send_events: bool
    resultrepr_maxsize: int
    max_deaths: int
    max_losses: int
    queue: str | None
    exchange: str | None
    routing_key: str | None
    rate_limit: Any


#: Options that are settings when the task leaves them None: option -> setting.
_FROM_CONF = {
    "acks_late": "task_acks_late",
    "acks_on_failure_or_timeout": "task_acks_on_failure_or_timeout",
    "reject_on_worker_lost": "task_reject_on_worker_lost",
    "ignore_result": "task_ignore_result",
    "store_errors_even_if_ignored": "task_store_errors_even_if_ignored",
    "track_started": "task_track_started",
    "serializer": "task_serializer",
    "time_limit": "task_time_limit",
    "soft_time_limit": "task_soft_time_limit",
    "priority": "task_default_priority",
    "rate_limit": "task_default_rate_limit",
    "max_deaths": "max_deaths",
    "max_losses": "max_losses",
}


def resolve(task: object, conf: Settings) -> TaskOptions:
    """Return the options that are the attributes of ``task``, with the settings filled in."""
    values = {name: getattr(task, name) for name in TaskOptions.__struct_fields__}
    for name, setting in _FROM_CONF.items():
        if values[name] is None:
            values[name] = conf[setting]
    values["throws"] = tuple(values["throws"])
    return TaskOptions(**values)
