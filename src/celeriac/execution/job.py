"""A job: a delivery accepted by a child, and the look at a delivery that decides it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from celeriac.context import Context
from celeriac.error import (
    ContentDisallowed,
    DecodeError,
    InvalidTaskError,
    NotRegistered,
)
from celeriac.execution.decide import expired
from celeriac.execution.outcome import Dead, NotDue
from celeriac.message import Delivery
from celeriac.protocol import task as protocol
from celeriac.task import Task, TaskOptions

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.message import Message


class Job(msgspec.Struct):
    """A delivery, looked up and decoded.

    Attributes:
        id: the task id.
        begun: monotonic time at which its body was entered.
    """

    id: str
    delivery: Delivery
    task: Task[Any, Any]
    options: TaskOptions
    request: Context
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    ignore_result: bool
    begun: float = 0.0

    @property
    def quarantined(self) -> bool:
        """It has killed a process before, or stood by when one died: it runs alone."""
        return self.delivery.deaths > 0


class Refused(msgspec.Struct, frozen=True):
    """A delivery that is not run now, and what is known of it."""

    delivery: Delivery
    task_id: str
    outcome: Dead | NotDue
    ignore_result: bool = False


def admit(delivery: Delivery, app: Celeriac, node: str, now: float) -> Job | Refused:
    """Look at what arrived: decode it, look the task up, check its times.

    Args:
        delivery: what arrived.
        app: whose tasks are known.
        node: the name of this worker, for ``request.hostname``.
        now: Unix time, seconds.
    """
    message = delivery.message
    if message is None:
        problem = delivery.problem or "unreadable"
        return Refused(delivery, "", Dead("undecodable", problem, DecodeError(problem)))
    try:
        if not message.task:
            message = delivery.message = protocol.upgrade(message, app.serialization)
        call = protocol.read(message, app.serialization)
        eta, expires = protocol.eta(message), protocol.expires(message)
        # What the request shows must be what it seems to be.
        protocol.retries(message)
        protocol.time_limits(message)
    except ContentDisallowed as error:
        return Refused(delivery, message.id, Dead("refused", str(error), error))
    except (DecodeError, InvalidTaskError) as error:
        return Refused(delivery, message.id, Dead("undecodable", str(error), error))
    task = app.tasks.get(call.task)
    if task is None:
        known = NotRegistered(call.task)
        detail = f'no task named "{call.task}"{app.tasks.hint(call.task)}'
        return Refused(delivery, call.id, Dead("unknown_task", detail, known))
    options = task.options(app)
    asked = call.headers.get("ignore_result")
    ignore = options.ignore_result if asked is None else bool(asked)
    if expires is not None and expires.timestamp() <= now:
        return Refused(delivery, call.id, expired(), ignore)
    if eta is not None and eta.timestamp() > now and not _waited(message):
        return Refused(delivery, call.id, NotDue(eta.timestamp()), ignore)
    request = Context.received(call, delivery, node)
    return Job(call.id, delivery, task, options, request, tuple(call.args), call.kwargs, ignore)


def _waited(message: Message) -> bool:
    held = message.headers.get(protocol.HELD_UNTIL)
    return held is not None and held == message.headers.get("eta")
