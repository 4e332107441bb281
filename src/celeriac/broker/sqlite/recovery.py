"""Taking over what the dead held."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from celeriac.broker.sqlite import statement
from celeriac.broker.sqlite.row import deliver, lease_key
from celeriac.message import Owner

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from celeriac.broker.base import BrokerOptions
    from celeriac.engine.sqlite import Database
    from celeriac.message import Delivery

#: Leases taken over, and rows swept, by one call.
_BATCH = 1000

#: Seconds between two sweeps.
_SWEEP = 60.0

#: What was seen of a lease, (seq, generation), or of an owner, (id,): its deadline.
_Sight = tuple[int, int] | tuple[str]


class _Seen(NamedTuple):
    deadline: float
    since: float


class Recovery:
    """Takes over leases; remembers what it has seen of them.

    Args:
        database: where they are.
        options: how long a lease lives, and how long it must have been seen dead.
    """

    def __init__(self, database: Database, options: BrokerOptions) -> None:
        self._database = database
        self._options = options
        self._seen: dict[_Sight, _Seen] = {}
        self._failures = 0
        self._next_sweep = 0.0

    def owners(self) -> list[tuple[Owner, float]]:
        """Return the registered owners, and when each has to give a sign of life."""
        rows = self._database.read(
            lambda connection: connection.execute(statement.OWNERS).fetchall()
        )
        return [
            (
                Owner(
                    key, node, host, pid, start, msgspec.json.decode(queues, type=tuple[str, ...])
                ),
                deadline,
            )
            for key, node, host, pid, start, queues, deadline in rows
        ]

    def adopt(self, owner: str, by: str) -> list[Delivery]:
        """Take over everything that ``owner`` holds, and forget it."""

        def adopt(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
            connection.execute(statement.UNREGISTER, (owner,))
            return self._take_whole(connection, owner, by)

        return self._deliver(self._database.write(adopt, urgent=True))

    def adopt_expired(self, by: str) -> list[Delivery]:
        """Take over what nobody has renewed, of the queues that ``by`` has registered with."""
        self._sweep()
        now = self._options.clock.time()
        expired = self._database.read(
            lambda connection: connection.execute(statement.EXPIRED, (now, _BATCH)).fetchall()
        )
        owners = self.owners()
        mine = {queue for owner, _ in owners if owner.id == by for queue in owner.queues}
        doomed: dict[_Sight, float] = {
            (seq, generation): at
            for seq, generation, queue, at in expired
            if not mine or queue in mine
        }
        doomed |= {
            (owner.id,): deadline
            for owner, deadline in owners
            if owner.id != by
            and deadline <= now
            and not (mine and owner.queues and mine.isdisjoint(owner.queues))
        }
        ripe = self._observe(doomed)
        if not ripe:
            return []

        def adopt(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
            rows: list[tuple[object, ...]] = []
            for sight, deadline in ripe.items():
                if len(sight) == 1:
                    rows += self._take_owner(connection, sight[0], deadline, by)
            for sight, deadline in ripe.items():
                if len(sight) == 2:
                    rows += self._take_one(connection, sight, deadline, by)
            return rows

        return self._deliver(self._database.write(adopt, urgent=True))

    def _observe(self, doomed: Mapping[_Sight, float]) -> dict[_Sight, float]:
        """Note what is past its time; return what has been seen so, unchanged, for long enough."""
        now = self._options.clock.monotonic()
        if self._database.failures != self._failures:
            # While the file could not be used its owners could not renew either.
            self._failures = self._database.failures
            self._seen.clear()
        before = self._seen
        self._seen = {}
        ripe: dict[_Sight, float] = {}
        for sight, deadline in doomed.items():
            seen = before.get(sight)
            if seen is None or seen.deadline != deadline:
                self._seen[sight] = _Seen(deadline, now)
            elif now - seen.since < self._options.recovery_grace:
                self._seen[sight] = seen
            else:
                ripe[sight] = deadline
        return ripe

    def _take_owner(
        self, connection: sqlite3.Connection, owner: str, seen: float, by: str
    ) -> list[tuple[object, ...]]:
        if connection.execute(statement.FORGET_OWNER, (owner, seen)).rowcount == 0:
            return []
        return self._take_whole(connection, owner, by)

    def _take_whole(
        self, connection: sqlite3.Connection, owner: str, by: str
    ) -> list[tuple[object, ...]]:
        values = {"owner": owner, "by": by, "deadline": self._deadline()}
        rows = connection.execute(statement.ADOPT, values).fetchall()
        rows.sort(key=lambda row: row[0])
        return rows

    def _take_one(
        self, connection: sqlite3.Connection, sight: tuple[int, int], seen: float, by: str
    ) -> list[tuple[object, ...]]:
        values = {
            "seq": sight[0],
            "generation": sight[1],
            "seen": seen,
            "by": by,
            "deadline": self._deadline(),
        }
        return connection.execute(statement.ADOPT_ONE, values).fetchall()

    def _sweep(self) -> None:
        """Delete, once a minute, what has been kept for long enough."""
        now = self._options.clock.monotonic()
        if now < self._next_sweep:
            return
        self._next_sweep = now + _SWEEP
        wall = self._options.clock.time()

        def sweep(connection: sqlite3.Connection) -> None:
            connection.execute(statement.SWEEP_SENT, (wall, _BATCH))
            oldest = wall - self._options.dead_letter_ttl
            connection.execute(statement.SWEEP_DEAD, (oldest, _BATCH))

        self._database.write(sweep, urgent=True)

    def _deadline(self) -> float:
        return self._options.clock.time() + self._options.lease_ttl

    def _deliver(self, rows: list[tuple[object, ...]]) -> list[Delivery]:
        adopted = [deliver(row, self._options.max_message_bytes) for row in rows]
        for delivery in adopted:
            seq, generation = lease_key(delivery.receipt)
            delivery.previous = f"{seq}:{generation - 1}"
        return adopted
