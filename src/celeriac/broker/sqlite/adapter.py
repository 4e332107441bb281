"""The SQLite broker."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import msgspec

from celeriac.broker.base import Broker, Capabilities
from celeriac.broker.publisher import BatchingPublisher
from celeriac.broker.sqlite import statement
from celeriac.broker.sqlite.completion import carry_out, plan
from celeriac.broker.sqlite.consumer import SQLiteConsumer
from celeriac.broker.sqlite.recovery import Recovery
from celeriac.broker.sqlite.row import arrivals, insert, lease_key, row
from celeriac.engine.sqlite import Bell, Database, Faults, Location
from celeriac.engine.sqlite.location import parse
from celeriac.engine.sqlite.setting import settings
from celeriac.error import BrokerRefused, BrokerUnavailable, PublishRejected, PublishUnknown
from celeriac.message import DeadLetter, Owner, QueueDepth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeriac.broker.base import BrokerOptions
    from celeriac.message import Completion, Delivery, Outgoing
    from celeriac.store.base import Store

#: Rows removed in one transaction, so that no other writer waits for long.
_BATCH = 5000


class SQLiteBroker(Broker):
    """Carries messages in one SQLite file: see ``docs/brokers/sqlite.md``."""

    capabilities = Capabilities(priorities=10, transactional=True, receipt_size=32)

    def __init__(self, url: str, options: BrokerOptions) -> None:
        """Take the URL and the settings; connect to nothing.

        Raises:
            ImproperlyConfigured: malformed URL, or unknown option.
        """
        self.location, given = parse(url)
        self.options = options
        self.display = self.location.display
        self._settings = settings(url, {**given, **options.transport_options})
        self._database = self._open()
        self._bell = Bell(self.location.wake)
        self._publisher = BatchingPublisher(self.publish)
        self._recovery = Recovery(self._database, options)

    # -- sending -------------------------------------------------------------------------------

    def publish(self, batch: Sequence[Outgoing]) -> None:
        """Send all messages of the batch in one transaction.

        Raises:
            PublishRejected: too large, or the disk is full.
            PublishUnknown: the disk failed during the commit.
            BrokerUnavailable: other writers were busy for ``publish_timeout`` seconds.
            BrokerRefused: the file cannot be used; the message names the cure.
        """
        if not batch:
            return
        rows = [row(outgoing, self.options.max_message_bytes) for outgoing in batch]
        now = self.options.clock.time()
        self._database.write(
            lambda connection: insert(connection, rows, now),
            full=PublishRejected,
            doubt=PublishUnknown,
        )
        self._bell.ring(arrivals(rows, now))

    async def apublish(self, batch: Sequence[Outgoing]) -> None:
        """Do what `publish` does without blocking the running event loop."""
        await self._publisher.publish(batch)

    # -- consuming -----------------------------------------------------------------------------

    def consumer(self, queues: Sequence[str], owner: str) -> SQLiteConsumer:
        """Return a consumer that leases from ``queues`` in the name of ``owner``."""
        return SQLiteConsumer(self._open(), self.options, queues, owner)

    def settle(self, batch: Sequence[Completion]) -> list[bool]:
        """Carry out completions with their results and follow-ups, all in one transaction.

        Raises:
            PublishRejected: a follow-up is too large; nothing was carried out.
            BrokerUnavailable: it may or may not have been carried out; settle again.
            BrokerRefused: trying again won't help.
        """
        if not batch:
            return []
        now = self.options.clock.time()
        plans = [plan(completion, self.options.max_message_bytes, now) for completion in batch]
        held = self._database.write(
            lambda connection: [carry_out(connection, one, now) for one in plans], urgent=True
        )
        queues: dict[str, int] = {}
        for one, holds in zip(plans, held, strict=True):
            if holds:
                for queue, count in one.arrivals.items():
                    queues[queue] = queues.get(queue, 0) + count
        written = [
            one.result.id for one, holds in zip(batch, held, strict=True) if holds and one.result
        ]
        if queues or written:
            self._bell.ring(queues, written)
        return held

    def mark_started(self, receipts: Sequence[str]) -> list[bool]:
        """Note that these deliveries must not begin again; tell whether each lease held."""
        if not receipts:
            return []

        def mark(connection: sqlite3.Connection) -> list[bool]:
            return [
                connection.execute(statement.MARK_STARTED, lease_key(receipt)).rowcount == 1
                for receipt in receipts
            ]

        return self._database.write(mark, urgent=True)

    def commits(self, store: Store) -> bool:
        """Tell whether ``store`` is in the same file."""
        location = getattr(store, "location", None)
        return isinstance(location, Location) and location == self.location

    # -- leases --------------------------------------------------------------------------------

    def register(self, owner: Owner) -> None:
        """Announce a process that is about to lease."""
        values = (
            owner.id,
            owner.node,
            owner.machine,
            owner.pid,
            owner.start,
            msgspec.json.encode(owner.queues).decode(),
            self.options.clock.time() + self.options.lease_ttl,
        )
        self._database.keep_ballast()
        self._database.write(
            lambda connection: connection.execute(statement.REGISTER, values), urgent=True
        )

    def unregister(self, owner: str) -> None:
        """Forget an owner that holds nothing any more."""
        self._database.write(
            lambda connection: connection.execute(statement.UNREGISTER, (owner,)), urgent=True
        )

    def owners(self) -> list[Owner]:
        """Return the registered owners, those included that died without a word."""
        return [owner for owner, _ in self._recovery.owners()]

    def renew(self, owner: str, receipts: Sequence[str]) -> list[str]:
        """Keep the owner and these leases alive for another ``lease_ttl``; return the lost ones."""
        deadline = self.options.clock.time() + self.options.lease_ttl

        def renew(connection: sqlite3.Connection) -> list[str]:
            connection.execute(statement.RENEW_OWNER, (deadline, owner))
            return [
                receipt
                for receipt in receipts
                if connection.execute(statement.RENEW, (deadline, *lease_key(receipt))).rowcount
                == 0
            ]

        return self._database.write(renew, urgent=True)

    def adopt(self, owner: str, by: str) -> list[Delivery]:
        """Take over everything that ``owner``, which is known to be dead, holds."""
        return self._recovery.adopt(owner, by)

    def adopt_expired(self, by: str) -> list[Delivery]:
        """Take over leases that nobody has renewed."""
        return self._recovery.adopt_expired(by)

    # -- administration ------------------------------------------------------------------------

    def depth(self, queues: Sequence[str]) -> dict[str, QueueDepth]:
        """Count the messages of each queue."""

        def count(connection: sqlite3.Connection) -> dict[str, QueueDepth]:
            return {
                queue: QueueDepth(*connection.execute(statement.DEPTH, {"queue": queue}).fetchone())
                for queue in queues
            }

        return self._database.read(count)

    def purge(self, queue: str) -> int:
        """Remove the ready and delayed messages of a queue; return how many there were."""
        values = {"queue": queue, "limit": _BATCH}
        total = 0
        while True:
            count = self._database.write(
                lambda connection: connection.execute(statement.PURGE, values).rowcount,
                urgent=True,
            )
            total += count
            if count < _BATCH:
                return total

    def dead_letters(self, limit: int = 100, offset: int = 0) -> list[DeadLetter]:
        """Return dead letters, the latest first."""
        values = (self._oldest_dead(), limit, offset)
        rows = self._database.read(
            lambda connection: connection.execute(statement.DEAD_LETTERS, values).fetchall()
        )
        return [DeadLetter(*one) for one in rows]

    def dead_letter(self, id: str) -> DeadLetter | None:  # noqa: A002
        """Return one dead letter."""
        values = (self._oldest_dead(), id)
        one = self._database.read(
            lambda connection: connection.execute(statement.DEAD_LETTER, values).fetchone()
        )
        return DeadLetter(*one) if one else None

    def replay(self, ids: Sequence[str]) -> list[str]:
        """Put dead letters back into their queues with their counts at zero."""
        if not ids:
            return []
        oldest = self._oldest_dead()

        def replay(connection: sqlite3.Connection) -> dict[str, str]:
            queues: dict[str, str] = {}
            for key in ids:
                found = connection.execute(statement.REPLAY, (oldest, key)).fetchone()
                if found:
                    connection.execute(statement.FORGET_DEAD, (key,))
                    (queues[key],) = found
            return queues

        queues = self._database.write(replay, full=PublishRejected)
        found = list(queues.values())
        self._bell.ring({queue: found.count(queue) for queue in found})
        return list(queues)

    def forget_dead(self, ids: Sequence[str] | None = None) -> int:
        """Delete these dead letters, or all; return how many there were."""

        def forget(connection: sqlite3.Connection) -> int:
            if ids is None:
                return connection.execute(statement.FORGET_ALL_DEAD).rowcount
            return sum(connection.execute(statement.FORGET_DEAD, (key,)).rowcount for key in ids)

        return self._database.write(forget, urgent=True)

    def ping(self) -> str:
        """Open the file; return the version of the SQLite library."""
        self._database.data_version()
        return f"SQLite {sqlite3.sqlite_version}"

    def close(self) -> None:
        """Give up the connection; it is made anew when needed."""
        self._publisher.close()
        self._bell.close()
        self._database.close()

    def _open(self) -> Database:
        return Database(
            self.location,
            self._settings,
            Faults(BrokerUnavailable, BrokerRefused),
            self.options.publish_timeout,
        )

    def _oldest_dead(self) -> float:
        return self.options.clock.time() - self.options.dead_letter_ttl
