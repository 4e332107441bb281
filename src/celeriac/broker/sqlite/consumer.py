"""Leasing messages, and waiting for them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from celeriac.broker.base import Consumer
from celeriac.broker.sqlite import statement
from celeriac.broker.sqlite.row import deliver
from celeriac.clock import SYSTEM
from celeriac.engine.sqlite import Waiter
from celeriac.engine.sqlite.bell import LOOK, queue_topic

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from celeriac.broker.base import BrokerOptions
    from celeriac.engine.sqlite import Database
    from celeriac.message import Delivery

#: Due messages that one lease moves to the ready ones at least, if there are as many.
_PROMOTED = 256


class SQLiteConsumer(Consumer):
    """Leases messages; has a connection of its own, so that it never waits for a publisher."""

    def __init__(
        self, database: Database, options: BrokerOptions, queues: Sequence[str], owner: str
    ) -> None:
        self._database = database
        self._options = options
        self._queues = list(dict.fromkeys(queues))
        self._owner = owner
        self._waiter: Waiter | None = None
        self._interrupted = False

    def receive(self, limit: int, timeout: float) -> list[Delivery]:
        """Lease up to ``limit`` messages; wait at most ``timeout`` seconds for the first.

        Raises:
            BrokerUnavailable: try again later.
            BrokerRefused: trying again won't help.
        """
        deadline = SYSTEM.monotonic() + timeout
        batch = self._take(limit) if self._look() == 0 else []
        if batch or timeout <= 0:
            return batch
        waiter = self._waiter
        if waiter is None:
            topics = [queue_topic(queue) for queue in self._queues]
            waiter = self._waiter = Waiter(self._database.location.wake, topics)
        waiter.listen()
        try:
            return self._wait(waiter, limit, deadline)
        finally:
            waiter.rest()

    def wake(self) -> None:
        """Make a waiting `receive` return at once."""
        self._interrupted = True
        waiter = self._waiter
        if waiter is not None:
            waiter.interrupt()

    def close(self) -> None:
        """Give up the connection.  Leases held stay held."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.close()
        self._database.close()

    def _wait(self, waiter: Waiter, limit: int, deadline: float) -> list[Delivery]:
        while True:
            # What is committed from here on changes the version, so nothing slips through.
            version = self._database.data_version()
            pause = self._look()
            if pause == 0 and (batch := self._take(limit)):
                return batch
            now = SYSTEM.monotonic()
            if self._interrupted or now >= deadline:
                self._interrupted = False
                return []
            until = min(deadline, now + pause)
            while not waiter.wait(min(LOOK, until - now)):
                now = SYSTEM.monotonic()
                if now >= until or self._database.data_version() != version:
                    break

    def _look(self) -> float:
        """Return the seconds until something may be leased; takes no lock."""

        def look(connection: sqlite3.Connection) -> float:
            soonest = float("inf")
            for queue in self._queues:
                if connection.execute(statement.IS_READY, (queue,)).fetchone():
                    return 0.0
                (due,) = connection.execute(statement.NEXT_DUE, (queue,)).fetchone()
                if due is not None:
                    soonest = min(soonest, due)
            return max(0.0, soonest - self._options.clock.time())

        return self._database.read(look)

    def _take(self, limit: int) -> list[Delivery]:
        """Lease what is ready or due now."""
        rows = self._database.write(lambda connection: self._lease(connection, limit), urgent=True)
        if len(self._queues) > 1:
            # Another queue is the first among equals next time.
            self._queues.append(self._queues.pop(0))
        return [deliver(row, self._options.max_message_bytes) for row in rows]

    def _lease(self, connection: sqlite3.Connection, limit: int) -> list[tuple[object, ...]]:
        now = self._options.clock.time()
        candidates: list[tuple[int, int, int]] = []
        for queue in self._queues:
            values = {"queue": queue, "now": now, "limit": max(limit, _PROMOTED)}
            connection.execute(statement.PROMOTE, values)
            found = connection.execute(statement.CANDIDATES, (queue, limit)).fetchall()
            candidates += [(priority, turn, seq) for turn, (priority, seq) in enumerate(found)]
        if len(self._queues) > 1:
            # Best priority first, and within one the queues take turns.  The sort is stable.
            candidates.sort(key=lambda one: one[:2])
        seqs = [seq for _, _, seq in candidates[:limit]]
        if not seqs:
            return []
        values = {
            "owner": self._owner,
            "deadline": now + self._options.lease_ttl,
            "seqs": json.dumps(seqs),
        }
        place = {seq: index for index, seq in enumerate(seqs)}
        rows = connection.execute(statement.LEASE, values).fetchall()
        rows.sort(key=lambda row: place[row[0]])
        return rows
