"""The run that the current code belongs to: `current_task`, and the `Context` behind `request`.

Runs are kept in a context variable, so every thread and every coroutine sees its own.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from celeriac.message import Delivery, Message, Outgoing
    from celeriac.protocol.task import Call
    from celeriac.task import Task


class Context:
    """What is known of one run: ``task.request``.

    Every header of the message is an attribute, under its name on the wire.

    Attributes:
        id: the task id.
        args: the positional arguments.
        kwargs: the keyword arguments.
        retries: how often the task has asked to be run again.
        deaths: how often the process running it died before.
        losses: how often its lease was lost before.
        attempt: which run of this message this is, from 1.
        called_directly: the function was called, not the task sent.
        is_eager: it runs in the process that called it, by ``apply()``.
        hostname: the worker, ``name@host``.
        delivery_info: ``exchange``, ``routing_key``, ``priority`` and ``redelivered``.
        followups: messages to be sent when this run is completed, with its acknowledgement.
    """

    _children: list[Any] | None = None
    _headers: Any = None
    #: What arrived, for `Task.retry`.
    _message: Message | None = None
    _protected = 0

    args: Any = None
    called_directly: bool = True
    callbacks: Any = None
    chain: Any = None
    chord: Any = None
    correlation_id: str | None = None
    deaths: int = 0
    delivery_info: Any = None
    followups: Sequence[Outgoing] = ()
    #: The body was entered: from now on calling the task means calling its function.
    entered: bool = False
    errbacks: Any = None
    eta: str | None = None
    expires: str | None = None
    group: str | None = None
    group_index: int | None = None
    hostname: str | None = None
    id: str | None = None
    ignore_result: bool | None = False
    is_eager: bool = False
    kwargs: Any = None
    logfile: str | None = None
    loglevel: int | None = None
    losses: int = 0
    origin: str | None = None
    parent_id: str | None = None
    properties: Any = None
    replaced_task_nesting: int = 0
    reply_to: str | None = None
    retries: int = 0
    root_id: str | None = None
    shadow: str | None = None
    soft_time_limit: float | None = None
    stamped_headers: Any = None
    stamps: Any = None
    task: str | None = None
    taskset: str | None = None
    time_limit: float | None = None
    timelimit: Any = None
    utc: bool | None = None

    def __init__(self, *others: Mapping[str, Any], **values: Any) -> None:
        self.update(*others, **values)

    @classmethod
    def received(cls, call: Call, delivery: Delivery, node: str) -> Context:
        """Return the context of a run of a delivered message.

        Args:
            call: what the message says.
            delivery: the message.
            node: the name of this worker.
        """
        message = delivery.message
        properties = {} if message is None else message.properties
        self = cls.__new__(cls)
        headers = call.headers
        # A header must not replace a method, nor what we keep of the run.
        values = dict(headers) if _OURS.isdisjoint(headers) else _harmless(headers)
        info = properties.get("delivery_info")
        if not info or not isinstance(info, dict):
            info = {"exchange": "", "routing_key": None}
        nested = headers.get("headers")
        values.update(
            _headers=nested if isinstance(nested, dict) else None,
            _message=message,
            id=call.id,
            task=call.task,
            args=call.args,
            kwargs=call.kwargs,
            callbacks=call.callbacks,
            errbacks=call.errbacks,
            chain=call.chain,
            chord=call.chord,
            called_directly=False,
            hostname=node,
            deaths=delivery.deaths,
            losses=delivery.losses,
            properties=properties,
            correlation_id=properties.get("correlation_id"),
            reply_to=properties.get("reply_to"),
            delivery_info={
                **info,
                "priority": properties.get("priority"),
                "redelivered": delivery.redelivered,
                "queue": delivery.queue,
            },
        )
        retries = values.get("retries")
        if not isinstance(retries, int):
            values["retries"] = 0
        self.__dict__ = values
        return self

    def update(self, *others: Mapping[str, Any], **values: Any) -> None:
        """Set attributes."""
        for other in (*others, values):
            for name, value in other.items():
                setattr(self, name, value)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or ``default`` when there is none."""
        return getattr(self, name, default)

    def clear(self) -> None:
        """Forget everything."""
        self.__dict__.clear()

    @property
    def attempt(self) -> int:
        """Which run of this message this is, from 1."""
        return 1 + self.deaths + self.losses

    @property
    def headers(self) -> Any:
        """The user's headers: the nested ``headers`` header, else all that are not the protocol's.

        None when there are none.
        """
        if self._headers is None and not self.called_directly:
            custom = {k: v for k, v in self.__dict__.items() if k not in _PROTOCOL}
            self._headers = custom or None
        return self._headers

    @headers.setter
    def headers(self, value: Any) -> None:
        self._headers = value

    @property
    def children(self) -> list[Any]:
        """The results of the tasks that this run has sent."""
        if self._children is None:
            self._children = []
        return self._children

    @children.setter
    def children(self, value: Iterable[Any]) -> None:
        self._children = list(value)

    def follow_up(self, outgoing: Outgoing) -> None:
        """Have a message sent when this run is completed, with its acknowledgement."""
        self.followups = [*self.followups, outgoing]

    def trail(self) -> list[Any]:
        """Return the children as they are written into the result."""
        return [child.as_tuple() for child in self._children or ()]

    def as_execution_options(self) -> dict[str, Any]:
        """Return the options that would send this task again the same way."""
        hard, soft = self.timelimit or (None, None)
        return {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "soft_time_limit": soft,
            "time_limit": hard,
            "headers": self.headers,
            "retries": self.retries,
            "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting,
            "origin": self.origin,
        }

    def __repr__(self) -> str:
        return f"<Context: {self.__dict__!r}>"


#: Names that no header may take: methods, and what is true of this run whatever the sender says.
_OURS = frozenset(
    name
    for name, value in vars(Context).items()
    if callable(value) or isinstance(value, property | classmethod)
) | {"_children", "_protected", "entered", "followups", "is_eager"}
#: What a header means to the protocol; every other is the user's.
_PROTOCOL = frozenset(
    {name for name in vars(Context) if not name.startswith("__")}
    | set(Context.__annotations__)
    | {"lang", "argsrepr", "kwargsrepr", "compression", "redelivered", "_headers"}
)


def _harmless(headers: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in headers.items() if name not in _OURS}


# -- the current run -----------------------------------------------------------------------


class Run(msgspec.Struct, frozen=True):
    """One entry of the stack of runs."""

    task: Any
    request: Context
    outer: Run | None


_run: ContextVar[Run | None] = ContextVar("celeriac_run", default=None)

#: The innermost run of this thread or coroutine, or None.
current_run = _run.get


def push(task: Task[Any, Any], request: Context) -> Token[Run | None]:
    """Begin a run; hand the token to `pop` in the same context."""
    return _run.set(Run(task, request, _run.get()))


def pop(token: Token[Run | None]) -> None:
    """End the run that the token stands for."""
    _run.reset(token)


def get_current_task() -> Task[Any, Any] | None:
    """Return the task whose body is being run here, or None."""
    run = _run.get()
    return None if run is None else run.task


def running() -> Run | None:
    """Return the run of a sent task that this code belongs to, or None.

    Functions called directly inside a task do not count: what they send is sent by the task.
    """
    run = _run.get()
    while run is not None and run.request.called_directly:
        run = run.outer
    return run
