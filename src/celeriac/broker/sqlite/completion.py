"""Carrying out a completion inside a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from celeriac.broker.sqlite import statement
from celeriac.broker.sqlite.row import Row, arrivals, insert, lease_key, row
from celeriac.engine.sqlite import result
from celeriac.engine.sqlite.schema import DELAYED, READY
from celeriac.identifier import uuid
from celeriac.message import Completion, Verdict

if TYPE_CHECKING:
    import sqlite3


class Plan(NamedTuple):
    """A completion and what can be prepared before the transaction.

    Attributes:
        completion: what to do.
        rows: the follow-ups.
        arrivals: how many consumers to wake if it is carried out, by queue.
    """

    completion: Completion
    rows: list[Row]
    arrivals: dict[str, int]


def plan(completion: Completion, max_bytes: int, now: float) -> Plan:
    """Return what is to be done.

    Raises:
        PublishRejected: a follow-up is too large.
    """
    rows = [row(outgoing, max_bytes) for outgoing in completion.publish]
    counts = arrivals(rows, now)
    if completion.verdict is Verdict.RELEASE and completion.delay <= 0:
        queue = completion.delivery.queue
        counts[queue] = counts.get(queue, 0) + 1
    return Plan(completion, rows, counts)


def carry_out(connection: sqlite3.Connection, plan: Plan, now: float) -> bool:
    """Carry out one completion, unless its lease was lost; tell whether it held."""
    completion = plan.completion
    # The verdict comes first, since it tells whether the lease holds.
    if not _pronounce(connection, completion, now):
        return False
    if completion.result is not None:
        result.save(connection, completion.result, now)
    if plan.rows:
        insert(connection, plan.rows, now)
    return True


def _pronounce(connection: sqlite3.Connection, completion: Completion, now: float) -> bool:
    delivery = completion.delivery
    seq, generation = lease_key(delivery.receipt)
    if completion.verdict is Verdict.ACK:
        return connection.execute(statement.ACK, (seq, generation)).rowcount == 1
    values: dict[str, object] = {
        "seq": seq,
        "generation": generation,
        "deaths": completion.deaths,
        "losses": completion.losses,
    }
    if completion.verdict is Verdict.RELEASE:
        delayed = completion.delay > 0
        values["state"] = DELAYED if delayed else READY
        values["due"] = now + completion.delay if delayed else None
        return connection.execute(statement.RELEASE, values).rowcount == 1
    values |= {
        "key": uuid(),
        "task": delivery.message.task if delivery.message else "",
        "reason": completion.reason,
        "detail": completion.detail,
        "died": now,
    }
    if connection.execute(statement.BURY, values).rowcount == 0:
        return False
    connection.execute(statement.ACK, (seq, generation))
    return True
