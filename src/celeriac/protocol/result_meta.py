"""Result metas: what a result store keeps about a task, in Celery's format."""

from __future__ import annotations

from typing import Any

import msgspec

from celeriac.error import DecodeError
from celeriac.protocol import exception
from celeriac.serialization.registry import Serialization, serializer_for
from celeriac.state import EXCEPTION_STATES

_COMPRESSED = b"\x00celery-compressed\x00"


class ResultMeta(msgspec.Struct):
    """What is known of one task.

    Attributes:
        id: the task id.
        state: its state.
        result: the value returned; for FAILURE, RETRY and REVOKED the exception; for custom
            states what was reported.
        traceback: the text of the traceback.
        children: the tasks it called, as nested lists ``[[id, parent], members]``; None if that
            is not known.
        date_done: when it ended, ISO 8601 with ``+00:00``; None while it has not.
        group_id: the group it belongs to.
        parent_id: the task that called it.
        extended: everything else, in its order: ``name``, ``args``, ``kwargs``, ``worker``,
            ``retries``, ``queue``, ``stamped_headers`` and the stamps.
    """

    id: str
    state: str
    result: Any = None
    traceback: str | None = None
    children: list[Any] | None = None
    date_done: str | None = None
    group_id: str | None = None
    parent_id: str | None = None
    extended: dict[str, Any] = {}


def encode(meta: ResultMeta, serialization: Serialization, serializer: str = "json") -> bytes:
    """Return the payload for a result store.

    Raises:
        EncodeError: the result cannot be written; the message tells which part of it.
    """
    result = meta.result
    if isinstance(result, BaseException):
        result = exception.dump(result, lambda value: serialization.encodable(value, serializer))
    fields: dict[str, Any] = {
        "status": meta.state,
        "result": result,
        "traceback": meta.traceback,
        "children": meta.children,
        "date_done": meta.date_done,
    }
    if meta.group_id is not None:
        fields["group_id"] = meta.group_id
    if meta.parent_id is not None:
        fields["parent_id"] = meta.parent_id
    if meta.extended:
        fields.update(meta.extended)
    fields["task_id"] = meta.id
    return serialization.dumps(fields, serializer).body


def decode(payload: bytes, serialization: Serialization, serializer: str = "json") -> ResultMeta:
    """Return what a payload tells.

    Raises:
        DecodeError: it is not a result meta.
        ContentDisallowed: ``serializer`` is not accepted.
        LimitExceeded: it is too large or nested too deep.
        SecurityError: it names something that is not an exception as its exception.
    """
    if payload.startswith(_COMPRESSED):
        raise DecodeError("the result is compressed; unset result_compression where it is written")
    kind = serializer_for(serializer)
    fields = serialization.loads(payload, kind.content_type, kind.content_encoding)
    if not isinstance(fields, dict):
        raise DecodeError(f"a result meta must be an object, not {type(fields).__name__}")
    state = fields.pop("status", None)
    task_id = fields.pop("task_id", None)
    if not isinstance(state, str) or not isinstance(task_id, str):
        raise DecodeError("a result meta must have the texts 'status' and 'task_id'")
    result = fields.pop("result", None)
    if state in EXCEPTION_STATES and isinstance(result, dict) and "exc_type" in result:
        result = exception.load(result)
    return ResultMeta(
        id=task_id,
        state=state,
        result=result,
        traceback=_text(fields, "traceback"),
        children=_list(fields, "children"),
        date_done=_text(fields, "date_done"),
        group_id=_text(fields, "group_id"),
        parent_id=_text(fields, "parent_id"),
        extended=fields,
    )


def _text(fields: dict[str, Any], key: str) -> str | None:
    value = fields.pop(key, None)
    if value is not None and not isinstance(value, str):
        raise DecodeError(f"{key!r} of a result meta must be text, not {type(value).__name__}")
    return value


def _list(fields: dict[str, Any], key: str) -> list[Any] | None:
    value = fields.pop(key, None)
    if value is not None and not isinstance(value, list):
        raise DecodeError(f"{key!r} of a result meta must be a list, not {type(value).__name__}")
    return value
