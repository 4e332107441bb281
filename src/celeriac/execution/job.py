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
    SecurityError,
)
from celeriac.execution.decide import expired
from celeriac.execution.outcome import Dead, NotDue
from celeriac.message import Delivery
from celeriac.protocol import task as protocol
from celeriac.task import Task, TaskOptions

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.message import Message


_NO_CANVAS = (
    "the message has callbacks, a chain or a chord, which this version does not run; it is kept, "
    "and can be replayed by a worker that does"
)


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


class Refused(msgspec.Struct, frozen=True):
    """A delivery that is not run now, and what is known of it."""

    delivery: Delivery
    task_id: str
    outcome: Dead | NotDue
    ignore_result: bool = False


class Admission:
    """Looks at what arrives: decodes it, looks the task up, checks its times.

    Args:
        app: whose tasks are known.
        node: the name of this worker, for ``request.hostname``.
    """

    def __init__(self, app: Celeriac, node: str) -> None:
        self._app = app
        self._tasks = app.tasks
        self._serialization = app.serialization
        self._node = node

    def admit(self, delivery: Delivery, now: float) -> Job | Refused:
        """Return the job that a delivery is, or why it is not run.

        Args:
            delivery: what arrived.
            now: Unix time, seconds.
        """
        message = delivery.message
        if message is None:
            problem = delivery.problem or "unreadable"
            return Refused(delivery, "", Dead("undecodable", problem, DecodeError(problem)))
        try:
            if not message.task:
                message = delivery.message = protocol.upgrade(message, self._serialization)
            call = protocol.read(message, self._serialization)
            eta, expires = protocol.check(message)
        except ContentDisallowed as error:
            return Refused(delivery, message.id, Dead("refused", str(error), error))
        except (DecodeError, InvalidTaskError, SecurityError) as error:
            return Refused(delivery, message.id, Dead("undecodable", str(error), error))
        # Past the look at shared tasks, for those that are known already.
        task = dict.get(self._tasks, call.task) or self._tasks.get(call.task)
        if task is None:
            known = NotRegistered(call.task)
            detail = f'no task named "{call.task}"{self._tasks.hint(call.task)}'
            return Refused(delivery, call.id, Dead("unknown_task", detail, known))
        if call.callbacks or call.errbacks or call.chain or call.chord:
            # To run the task and forget what comes after it would lose that in silence.
            unknown = InvalidTaskError(_NO_CANVAS)
            return Refused(delivery, call.id, Dead("refused", _NO_CANVAS, unknown))
        options = task.options(self._app)
        asked = call.headers.get("ignore_result")
        ignore = options.ignore_result if asked is None else bool(asked)
        if expires is not None and expires.timestamp() <= now:
            return Refused(delivery, call.id, expired(), ignore)
        if eta is not None and eta.timestamp() > now and not _waited(message):
            return Refused(delivery, call.id, NotDue(eta.timestamp()), ignore)
        request = Context.received(call, delivery, self._node)
        return Job(call.id, delivery, task, options, request, call.args, call.kwargs, ignore)


def _waited(message: Message) -> bool:
    held = message.headers.get(protocol.HELD_UNTIL)
    return held is not None and held == message.headers.get("eta")
