"""Task messages: protocol 2 written and read, protocol 1 and the hybrid of both read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from celeriac.error import DecodeError, InvalidTaskError
from celeriac.message import Message
from celeriac.protocol.envelope import DEATHS, LOSSES, OF_ONE_SENDING, REDELIVERED, is_text
from celeriac.protocol.repr import saferepr
from celeriac.serialization.registry import Encoded, Serialization

#: The header of a message that has waited in the broker: the ``eta`` it has waited for.
HELD_UNTIL = "x-celeriac-held"

_PARTS = ("args", "kwargs", "embed")
_EMBED = ("callbacks", "errbacks", "chain", "chord")
_NOTHING_AFTER: dict[str, Any] = dict.fromkeys(_EMBED)
_NO_LIMITS = [None, None]

#: What protocol 1 keeps in its body and protocol 2 in its headers, and what it is without either.
_V1_HEADERS: dict[str, Any] = {
    "lang": None,
    "task": None,
    "id": None,
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "retries": 0,
    "timelimit": None,
    "root_id": None,
    "parent_id": None,
    "argsrepr": None,
    "kwargsrepr": None,
    "origin": None,
}

_MAX_RETRIES = 2**31
_MAX_SECONDS = 1e9

Signature = Mapping[str, Any]


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """What a task message is built from.

    Attributes:
        id: the task id.
        task: the registered name.
        args: positional arguments.
        kwargs: keyword arguments.
        group_id: the group it is a member of.
        group_index: its place in the group.
        retries: how often it was retried.
        eta: not to be run before; a naive time is UTC.
        expires: not to be run after; a naive time is UTC.
        time_limit: hard limit, seconds.
        soft_time_limit: soft limit, seconds.
        root_id: the first task of the work flow; its own id by default.
        parent_id: the task that sends it.
        shadow: another name for logs and events.
        argsrepr: what to show of ``args``; made of them by default.
        kwargsrepr: what to show of ``kwargs``; made of them by default.
        origin: the name of the sender, see `celeriac.identifier.origin`.
        ignore_result: do not store the result; None lets the worker's task decide.
        replaced_task_nesting: how often ``replace()`` was called on the way here.
        stamped_headers: the names of the stamps.
        stamps: the stamps.
        callbacks: signatures to call with the result.
        errbacks: signatures to call on failure.
        chain: signatures to follow, the next one last.
        chord: the signature of the chord body this task is a header member of.
        headers: headers of the user; merged last at top level, where they may replace any.
        reply_to: the reply address of the sender.
        delivery_mode: 2 for persistent, 1 for transient.
        expiration: seconds that a broker may keep the message.
        properties: further broker properties.
        serializer: the name of the serializer for the body.
    """

    id: str
    task: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}
    group_id: str | None = None
    group_index: int | None = None
    retries: int = 0
    eta: datetime | None = None
    expires: datetime | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    root_id: str | None = None
    parent_id: str | None = None
    shadow: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    origin: str | None = None
    ignore_result: bool | None = None
    replaced_task_nesting: int = 0
    stamped_headers: Sequence[str] | None = None
    stamps: Mapping[str, Any] = {}
    callbacks: Sequence[Signature] | None = None
    errbacks: Sequence[Signature] | None = None
    chain: Sequence[Signature] | None = None
    chord: Signature | None = None
    headers: Mapping[str, Any] = {}
    reply_to: str | None = None
    delivery_mode: int = 2
    expiration: float | None = None
    properties: Mapping[str, Any] = {}
    serializer: str = "json"


class Call(NamedTuple):
    """A task message, decoded: what to run and what comes after.

    Attributes:
        id: the task id.
        task: the registered name.
        args: positional arguments.
        kwargs: keyword arguments.
        callbacks: signatures to call with the result.
        errbacks: signatures to call on failure.
        chain: signatures to follow, the next one last.
        chord: the signature of the chord body.
        headers: the headers, in the form of protocol 2.
    """

    id: str
    task: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    callbacks: list[dict[str, Any]] | None
    errbacks: list[dict[str, Any]] | None
    chain: list[dict[str, Any]] | None
    chord: dict[str, Any] | None
    headers: dict[str, Any]


class TimeLimits(NamedTuple):
    """Seconds that a task may run; None is no limit."""

    hard: float | None
    soft: float | None


# -- writing -------------------------------------------------------------------------------


def build(fields: Fields, serialization: Serialization) -> Message:
    """Return the message of protocol 2 for a task.

    Raises:
        EncodeError: an argument cannot be written; the message tells which, why, and the cure.
    """
    body = _encode_body(
        fields.args,
        fields.kwargs,
        (fields.callbacks, fields.errbacks, fields.chain, fields.chord),
        fields.serializer,
        serialization,
    )
    headers: dict[str, Any] = {
        "lang": "py",
        "task": fields.task,
        "id": fields.id,
        "shadow": fields.shadow,
        "eta": None if fields.eta is None else fields.eta.isoformat(),
        "expires": None if fields.expires is None else fields.expires.isoformat(),
        "group": fields.group_id,
        "group_index": fields.group_index,
        "retries": fields.retries,
        "timelimit": [fields.time_limit, fields.soft_time_limit],
        "root_id": fields.root_id or fields.id,
        "parent_id": fields.parent_id,
        "argsrepr": fields.argsrepr or (saferepr(fields.args) if fields.args else "()"),
        "kwargsrepr": fields.kwargsrepr or (saferepr(fields.kwargs) if fields.kwargs else "{}"),
        "origin": fields.origin,
        "ignore_result": fields.ignore_result,
        "replaced_task_nesting": fields.replaced_task_nesting,
        "stamped_headers": fields.stamped_headers,
        "stamps": fields.stamps,
    }
    if fields.headers:
        headers.update(fields.headers)
    return Message(fields.id, fields.task, *body, headers, _properties(fields))


def retry(
    message: Message,
    serialization: Serialization,
    *,
    retries: int,
    eta: datetime | None = None,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    headers: Mapping[str, Any] | None = None,
    serializer: str = "json",
) -> Message:
    """Return the message that runs a task again: the same id, everything else kept.

    The body stays as it is, byte for byte, unless arguments are given.  The marks of earlier
    tries belong to the delivery and are left out.

    Args:
        message: the message of the run that asks for the retry.
        serialization: reads the body, and writes it if arguments are given.
        retries: how often the task was retried, this time included.
        eta: not to be run before.
        args: other positional arguments.
        kwargs: other keyword arguments.
        headers: headers to replace, such as ``expires`` or ``timelimit``, in their wire form.
        serializer: what writes the body if arguments are given.

    Raises:
        InvalidTaskError, DecodeError: the body has to be read and cannot be.
        EncodeError: an argument cannot be written.
    """
    message = upgrade(message, serialization)
    body = Encoded(message.body, message.content_type, message.content_encoding)
    fresh: dict[str, Any] = {"retries": retries, "eta": None if eta is None else eta.isoformat()}
    if args is not None or kwargs is not None:
        call = read(message, serialization)
        args = call.args if args is None else args
        kwargs = call.kwargs if kwargs is None else kwargs
        embed = (call.callbacks, call.errbacks, call.chain, call.chord)
        body = _encode_body(args, kwargs, embed, serializer, serialization)
        fresh["argsrepr"], fresh["kwargsrepr"] = saferepr(args), saferepr(kwargs)
    kept = {**message.headers, **fresh, **(headers or {})}
    for mark in (REDELIVERED, DEATHS, LOSSES, HELD_UNTIL):
        kept.pop(mark, None)
    properties = {k: v for k, v in message.properties.items() if k not in OF_ONE_SENDING}
    return Message(message.id, message.task, *body, kept, properties)


def _encode_body(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    embed: tuple[Any, Any, Any, Any],
    serializer: str,
    serialization: Serialization,
) -> Encoded:
    callbacks, errbacks, chain, chord = embed
    after = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain, "chord": chord}
    return serialization.dumps((args, kwargs, after), serializer, names=_PARTS)


def _properties(fields: Fields) -> dict[str, Any]:
    properties: dict[str, Any] = {"correlation_id": fields.id, "reply_to": fields.reply_to}
    if fields.properties:
        properties.update(fields.properties)
    properties["delivery_mode"] = fields.delivery_mode
    if fields.expiration is not None:
        # AMQP wants milliseconds, as text.
        properties["expiration"] = str(int(fields.expiration * 1000))
    return properties


# -- reading -------------------------------------------------------------------------------


def read(message: Message, serialization: Serialization) -> Call:
    """Decode the body of a task message of protocol 2 or 1, or of the hybrid of both.

    Raises:
        InvalidTaskError: it is not a task message; the message tells what is wrong with it.
        ContentDisallowed: its content type is not accepted.
        DecodeError: the body cannot be read.
    """
    payload = _payload(message, serialization)
    if isinstance(payload, dict):
        return _read_v1(message, payload)
    if not message.task:
        raise InvalidTaskError("neither the headers nor the body name a task")
    if not message.id:
        raise InvalidTaskError("the message has no task id")
    if not isinstance(payload, list | tuple) or len(payload) != 3:
        raise InvalidTaskError(
            f"the body must be [args, kwargs, embed], not {_describe(payload)}; see task protocol 2"
        )
    return _call(message.id, message.task, payload, message.headers)


def upgrade(message: Message, serialization: Serialization) -> Message:
    """Return a message of protocol 1 in the form of protocol 2, any other as it is.

    Only a message without a task name is looked into; a hybrid is left to `read`.

    Raises:
        InvalidTaskError, ContentDisallowed, DecodeError: as `read`.
    """
    if message.task:
        return message
    call = read(message, serialization)
    embed = (call.callbacks, call.errbacks, call.chain, call.chord)
    body = _encode_body(call.args, call.kwargs, embed, message.content_type, serialization)
    return Message(call.id, call.task, *body, call.headers, message.properties)


class Times(NamedTuple):
    """When a task may be run: not before ``eta``, not after ``expires``."""

    eta: datetime | None
    expires: datetime | None


def check(message: Message) -> Times:
    """Check the headers that decide about a run, and return its times.

    Raises:
        InvalidTaskError: ``eta``, ``expires``, ``retries`` or ``timelimit`` is not what it must be.
    """
    headers = message.headers
    count = headers.get("retries")
    if type(count) is not int or not 0 <= count < _MAX_RETRIES:
        retries(message)
    if headers.get("timelimit") != _NO_LIMITS:
        time_limits(message)
    return Times(
        None if headers.get("eta") is None else _moment(message, "eta"),
        None if headers.get("expires") is None else _moment(message, "expires"),
    )


def retries(message: Message) -> int:
    """Return how often the task was retried.

    Raises:
        InvalidTaskError: the header is not a count.
    """
    value = message.headers.get("retries")
    if value is None:
        return 0
    if type(value) is int and 0 <= value < _MAX_RETRIES:
        return value
    raise InvalidTaskError(f"header 'retries' must be a count, not {_describe(value)}")


def time_limits(message: Message) -> TimeLimits:
    """Return the time limits the sender set, seconds.

    Raises:
        InvalidTaskError: the header is not a pair of numbers or nulls.
    """
    value = message.headers.get("timelimit")
    if value is None:
        return TimeLimits(None, None)
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InvalidTaskError(f"header 'timelimit' must be [hard, soft], not {_describe(value)}")
    return TimeLimits(_seconds(value[0]), _seconds(value[1]))


def _payload(message: Message, serialization: Serialization) -> Any:
    compression = message.headers.get("compression")
    if compression:
        raise DecodeError(
            f"the body is compressed as {_describe(compression)}, which cannot be read;"
            " unset task_compression where it is sent"
        )
    return serialization.loads(message.body, message.content_type, message.content_encoding)


def _read_v1(message: Message, payload: dict[str, Any]) -> Call:
    if "args" not in payload and "task" not in payload:
        raise InvalidTaskError(
            "the body is an object without 'task' and 'args', so not of task protocol 1,"
            " and task protocol 2 wants [args, kwargs, embed]"
        )
    headers = {key: payload.get(key, default) for key, default in _V1_HEADERS.items()}
    headers["group"] = headers["group"] or payload.get("taskset")
    headers.update(message.headers)
    task_id, task = headers["id"] or message.id, headers["task"]
    for key, value in (("task", task), ("id", task_id)):
        if not isinstance(value, str) or not value or not is_text(value):
            raise InvalidTaskError(f"{key!r} of the body must be text, not {_describe(value)}")
    headers["id"] = task_id
    headers["root_id"] = headers["root_id"] or task_id
    args, kwargs = payload.get("args"), payload.get("kwargs")
    embed = {key: payload.get(key) for key in _EMBED}
    parts = ([] if args is None else args, {} if kwargs is None else kwargs, embed)
    return _call(task_id, task, parts, headers)


def _call(task_id: str, task: str, parts: Sequence[Any], headers: dict[str, Any]) -> Call:
    args, kwargs, embed = parts
    if not isinstance(args, list | tuple):
        raise InvalidTaskError(f"args must be a list, not {_describe(args)}")
    if not isinstance(kwargs, dict):
        raise InvalidTaskError(f"kwargs must be an object, not {_describe(kwargs)}")
    for key in kwargs:
        if type(key) is not str:
            raise InvalidTaskError(f"the names in kwargs must be text, not {_describe(key)}")
    if not embed or embed == _NOTHING_AFTER:
        return Call(task_id, task, tuple(args), kwargs, None, None, None, None, headers)
    if not isinstance(embed, dict):
        raise InvalidTaskError(f"embed must be an object or null, not {_describe(embed)}")
    return Call(
        task_id,
        task,
        tuple(args),
        kwargs,
        _signatures(embed, "callbacks"),
        _signatures(embed, "errbacks"),
        _signatures(embed, "chain"),
        _signature(embed.get("chord"), "chord"),
        headers,
    )


def _signatures(embed: dict[str, Any], key: str) -> list[dict[str, Any]] | None:
    value = embed.get(key)
    if value is None:
        return None
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list | tuple):
        raise InvalidTaskError(f"{key!r} must be a list of signatures, not {_describe(value)}")
    return [one for item in value if (one := _signature(item, key)) is not None]


def _signature(value: Any, key: str) -> dict[str, Any] | None:
    if value is None:
        return None
    if isinstance(value, dict) and isinstance(value.get("task"), str):
        return value
    raise InvalidTaskError(f"{key!r} must hold signatures, not {_describe(value)}")


def _moment(message: Message, key: str) -> datetime:
    """Return a time in UTC; a naive one is in UTC already."""
    value: Any = message.headers[key]
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        if moment.tzinfo is None:
            return moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidTaskError(
            f"header {key!r} must be an ISO 8601 time, not {_describe(value)}"
        ) from error


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    # The comparison also refuses NaN.
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return min(value, _MAX_SECONDS) or None  # as in Celery, 0 is no limit
    raise InvalidTaskError(f"a time limit must be a number of seconds, not {_describe(value)}")


def _describe(value: object) -> str:
    """Return a short text for an error about a received value."""
    return saferepr(value, 60)
