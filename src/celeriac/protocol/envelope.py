"""The envelope in which kombu wraps a message on brokers that only know bytes.

A JSON object of ``body``, ``content-encoding``, ``content-type``, ``headers`` and ``properties``,
written with kombu's type tags and spacing.  The body is base64.
"""

from __future__ import annotations

import binascii
from typing import Any, NamedTuple

import msgspec

from celeriac.error import DecodeError, LimitExceeded
from celeriac.identifier import uuid
from celeriac.message import Message, Outgoing
from celeriac.serialization import json, limit
from celeriac.serialization.fault import refusal

#: The longest task id and task name read; they become keys and log lines.
MAX_NAME = 1024

DEATHS = "x-celeriac-deaths"
LOSSES = "x-celeriac-losses"
REDELIVERED = "redelivered"

#: The properties that belong to one sending; `encode` sets them anew each time.
OF_ONE_SENDING = ("delivery_info", "priority", "body_encoding", "delivery_tag")

_COUNT_LIMIT = 2**31


class Counts(NamedTuple):
    """What the marks on a message tell of earlier tries."""

    redelivered: bool
    deaths: int
    losses: int


class _Envelope(msgspec.Struct, gc=False):
    body: str
    content_encoding: str | None = msgspec.field(name="content-encoding", default=None)
    content_type: str | None = msgspec.field(name="content-type", default=None)
    headers: dict[str, Any] | None = None
    properties: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(_Envelope)


def encode(outgoing: Outgoing) -> bytes:
    """Return the envelope of a message, with a new delivery tag.

    Raises:
        EncodeError: a header or property cannot be written as JSON; the message names it.
    """
    message = outgoing.message
    routing_key = outgoing.routing_key
    if not routing_key and not outgoing.exchange:
        routing_key = outgoing.queue
    properties = {
        **message.properties,
        "delivery_info": {"exchange": outgoing.exchange, "routing_key": routing_key},
        "priority": outgoing.priority,
        "body_encoding": "base64",
        "delivery_tag": uuid(),
    }
    envelope = {
        "body": binascii.b2a_base64(message.body, newline=False).decode("ascii"),
        "content-encoding": message.content_encoding,
        "content-type": message.content_type,
        "headers": message.headers,
        "properties": properties,
    }
    try:
        return json.dumps(envelope)
    except Exception as error:
        parts = (message.headers, properties)
        raise refusal(parts, json.dumps, "json", ("headers", "properties")) from error


def decode(
    raw: bytes, *, max_bytes: int = limit.MAX_BYTES, max_depth: int = limit.MAX_DEPTH
) -> Message:
    """Return the message in an envelope.

    A message of protocol 1 has its id and name in the body: its ``id`` then is the correlation id,
    or empty, and its ``task`` is empty.

    Args:
        raw: the envelope.
        max_bytes: the longest envelope read, bytes.
        max_depth: how deep it may be nested.

    Raises:
        LimitExceeded: it is too large, nested too deep, or its id or task name is too long.
        DecodeError: it is not an envelope.
    """
    # Once for each message received: what is right of nearly all of them is tested here, without
    # a call.
    if len(raw) > max_bytes or raw.count(b"[") + raw.count(b"{") > max_depth:
        limit.check(raw, max_bytes, max_depth)
    envelope = _parse(raw)
    headers = envelope.headers or {}
    properties = envelope.properties or {}
    task_id, task = headers.get("id"), headers.get("task")
    if type(task_id) is not str or not 0 < len(task_id) <= MAX_NAME or not task_id.isascii():
        task_id = _name(headers, "id") or _name(properties, "correlation_id")
    if type(task) is not str or not 0 < len(task) <= MAX_NAME or not task.isascii():
        task = _name(headers, "task")
    return Message(
        task_id,
        task,
        _body(envelope.body, properties.get("body_encoding")),
        json.CONTENT_TYPE if envelope.content_type is None else envelope.content_type,
        envelope.content_encoding or json.CONTENT_ENCODING,
        headers,
        properties,
    )


def counts(message: Message) -> Counts:
    """Return the marks of earlier tries; what is missing or makes no sense counts as none."""
    headers = message.headers
    redelivered = headers.get(REDELIVERED) is True
    if not redelivered:
        info = message.properties.get("delivery_info")
        redelivered = isinstance(info, dict) and info.get(REDELIVERED) is True
    if DEATHS in headers or LOSSES in headers:
        return Counts(redelivered, _count(headers.get(DEATHS)), _count(headers.get(LOSSES)))
    return Counts(redelivered, 0, 0)


def patch(raw: bytes, *, redelivered: bool, deaths: int, losses: int) -> bytes:
    """Return an envelope with other marks of earlier tries, and everything else as it was.

    Args:
        raw: the envelope.
        redelivered: it was delivered before; noted where kombu notes it.
        deaths: how often the process running it died; 0 removes the mark.
        losses: how often its lease expired; 0 removes the mark.

    Raises:
        DecodeError: ``raw`` is not an envelope.
    """
    envelope = json.loads(raw, tags=False)
    if not isinstance(envelope, dict):
        raise DecodeError("not a message envelope: not a JSON object")
    headers = _part(envelope, "headers")
    info = _part(_part(envelope, "properties"), "delivery_info")
    _mark(headers, REDELIVERED, redelivered)
    _mark(info, REDELIVERED, redelivered)
    _mark(headers, DEATHS, deaths)
    _mark(headers, LOSSES, losses)
    return json.dumps(envelope)


def _parse(raw: bytes) -> _Envelope:
    if b"__type__" not in raw:
        try:
            return _decoder.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return _parse_slowly(raw)
    return _parse_slowly(raw)


def _parse_slowly(raw: bytes) -> _Envelope:
    """Parse what has type tags, or what kombu can write and msgspec does not read."""
    try:
        return msgspec.convert(json.loads(raw), _Envelope)
    except msgspec.ValidationError as error:
        raise DecodeError(f"not a message envelope: {error}") from error


def _body(text: str, encoding: object) -> bytes:
    if encoding == "base64":
        try:
            return binascii.a2b_base64(text, strict_mode=True)
        except ValueError as error:
            raise DecodeError(f"the body is not base64: {error}") from error
    if encoding:
        raise DecodeError(f"unknown body_encoding {encoding!r:.80}; base64 or none is read")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise DecodeError(f"the body is not text: {error}") from error


def _name(fields: dict[str, Any], key: str) -> str:
    name = fields.get(key)
    if name is None:
        return ""
    if not isinstance(name, str):
        raise DecodeError(f"{key!r} must be text, not {type(name).__name__}")
    if len(name) > MAX_NAME:
        raise LimitExceeded(f"{key!r} is longer than {MAX_NAME} characters")
    if not is_text(name):
        raise DecodeError(f"{key!r} is not text: it has half a surrogate pair")
    return name


def is_text(name: str) -> bool:
    """Tell whether a name can be written as UTF-8, as a key or in a log."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _count(value: object) -> int:
    if type(value) is int and 0 <= value < _COUNT_LIMIT:
        return value
    return 0


def _part(fields: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the object under ``key``, put there if there is none."""
    part = fields.get(key)
    if not isinstance(part, dict):
        part = fields[key] = {}
    return part


def _mark(fields: dict[str, Any], key: str, value: int) -> None:
    if value:
        fields[key] = value
    else:
        fields.pop(key, None)
