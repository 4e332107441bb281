"""From messages to rows and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from celeriac.broker.sqlite import statement
from celeriac.engine.sqlite.schema import DELAYED, READY
from celeriac.error import DecodeError, PublishRejected
from celeriac.message import Delivery
from celeriac.protocol import envelope

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from celeriac.message import Message, Outgoing

#: Seconds for which a sender may repeat a message and have it recognised.
REMEMBERED = 3600.0

#: Bytes; more would not be two integers of SQLite.
_MAX_RECEIPT = 20

#: A delayed message due sooner than this wakes a consumer, which then knows when to wake by itself.
_SOON = 1.0


class Row(NamedTuple):
    """A message that is about to be inserted."""

    id: str
    retries: int
    queue: str
    priority: int
    due: float | None
    raw: bytes
    dedupe: bool


def row(outgoing: Outgoing, max_bytes: int) -> Row:
    """Return the row of a message.

    Raises:
        PublishRejected: it is too large.
        EncodeError: its headers cannot be written.
    """
    message = outgoing.message
    raw = envelope.encode(outgoing)
    if len(raw) > max_bytes:
        raise PublishRejected(
            f"{message.task}[{message.id}]: {len(raw)} bytes are more than the limit of "
            f"{max_bytes} (setting max_message_bytes); pass large data by reference"
        )
    return Row(
        message.id,
        _retries(message),
        outgoing.queue,
        outgoing.priority,
        outgoing.due,
        raw,
        outgoing.dedupe and bool(message.id),
    )


def insert(connection: sqlite3.Connection, rows: Iterable[Row], now: float) -> None:
    """Insert messages inside a transaction, in their order, repetitions left out."""
    values = [_values(one, now) for one in rows if not one.dedupe or _is_new(connection, one, now)]
    connection.executemany(statement.INSERT, values)


def arrivals(rows: Iterable[Row], now: float) -> dict[str, int]:
    """Return how many messages consumers should be woken for, by queue."""
    counts: dict[str, int] = {}
    for one in rows:
        if one.due is None or one.due - now < _SOON:
            counts[one.queue] = counts.get(one.queue, 0) + 1
    return counts


def deliver(row: tuple[Any, ...], max_bytes: int) -> Delivery:
    """Return the delivery of a leased row, as the statements return it."""
    seq, generation, queue, redelivered, deaths, losses, started, raw = row
    message, problem = None, None
    try:
        message = envelope.decode(raw, max_bytes=max_bytes)
    except DecodeError as error:
        problem = str(error) or type(error).__name__
    return Delivery(
        receipt=f"{seq}:{generation}",
        queue=queue,
        message=message,
        raw=raw,
        problem=problem,
        redelivered=bool(redelivered),
        deaths=deaths,
        losses=losses,
        started=bool(started),
    )


def lease_key(receipt: str) -> tuple[int, int]:
    """Return the seq and generation in a receipt; of a foreign one what no lease has."""
    seq, _, generation = receipt.partition(":")
    if seq.isdecimal() and generation.isdecimal() and len(receipt) < _MAX_RECEIPT:
        return int(seq), int(generation)
    return -1, -1


def _is_new(connection: sqlite3.Connection, row: Row, now: float) -> bool:
    """Tell whether the row was not sent before, and remember that it is sent now."""
    key = {"id": row.id, "retries": row.retries, "expires": now + REMEMBERED, "now": now}
    if connection.execute(statement.REMEMBER_SENT, key).rowcount == 0:
        return False
    return connection.execute(statement.IS_THERE, (row.id, row.retries)).fetchone() is None


def _values(row: Row, now: float) -> tuple[object, ...]:
    delayed = row.due is not None and row.due > now
    return (
        row.id,
        row.retries,
        row.queue,
        row.priority,
        DELAYED if delayed else READY,
        row.due if delayed else None,
        row.raw,
    )


def _retries(message: Message) -> int:
    retries = message.headers.get("retries", 0)
    return retries if isinstance(retries, int) and 0 <= retries < 2**31 else 0
