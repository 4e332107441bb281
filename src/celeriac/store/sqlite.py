"""The SQLite result store."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Self

from celeriac.clock import SYSTEM
from celeriac.engine.sqlite import Bell, Database, Faults, Waiter
from celeriac.engine.sqlite.bell import LOOK, result_topic
from celeriac.engine.sqlite.location import parse
from celeriac.engine.sqlite.result import save
from celeriac.engine.sqlite.setting import settings
from celeriac.error import StoreRefused, StoreUnavailable
from celeriac.store.base import AsyncWatcher, Store, Watcher

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from celeriac.message import ResultRecord
    from celeriac.store.base import StoreOptions

#: Rows removed in one transaction.
_BATCH = 1000

#: Results read on an event loop without a thread: it takes less time than the way to a thread.
_FEW = 32

_GET = """
    SELECT id, payload FROM result
    WHERE id IN (SELECT value FROM json_each(?)) AND (expires IS NULL OR expires > ?)
"""
_FORGET = "DELETE FROM result WHERE id IN (SELECT value FROM json_each(?))"
_SWEEP = """
    DELETE FROM result WHERE seq IN (
        SELECT seq FROM result WHERE expires <= ? ORDER BY expires LIMIT ?
    )
"""
#: What AUTOINCREMENT has reached; unlike max(seq) it stays when the newest is forgotten.
_LAST = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'result'"
#: Which of some results were written since, found by their ids...
_NEW_OF_FEW = """
    SELECT id FROM result WHERE id IN (SELECT value FROM json_each(?)) AND seq > ?
"""
#: ... and by what was written; the plus sign keeps SQLite from going by the ids.
_NEW_OF_MANY = """
    SELECT id FROM result WHERE seq > ?2 AND +id IN (SELECT value FROM json_each(?1))
"""


class SQLiteStore(Store):
    """Keeps results in one SQLite file, also in that of a SQLite broker."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        """Take the URL and the settings; connect to nothing.

        Raises:
            ImproperlyConfigured: malformed URL, or unknown option.
        """
        self.location, given = parse(url)
        self.options = options
        self.display = self.location.display
        chosen = settings(url, {**given, **options.transport_options})
        faults = Faults(StoreUnavailable, StoreRefused)
        # Readers have a connection of their own, so that they never wait for a commit.
        self._reader = Database(self.location, chosen, faults, options.timeout)
        self._writer = Database(self.location, chosen, faults, options.timeout)
        self._bell = Bell(self.location.wake)

    def put(self, records: Sequence[ResultRecord]) -> None:
        """Write results in one transaction and wake those who watch them."""
        if not records:
            return
        now = self.options.clock.time()

        def put(connection: sqlite3.Connection) -> None:
            for record in records:
                save(connection, record, now)

        self._writer.write(put)
        self._bell.ring(results=[record.id for record in records])

    def get(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the payloads of those ids that have one and have not expired."""
        if not ids:
            return {}
        values = (json.dumps(list(ids)), self.options.clock.time())
        rows = self._reader.read(lambda connection: connection.execute(_GET, values).fetchall())
        return dict(rows)

    def forget(self, ids: Sequence[str]) -> None:
        """Delete results; unknown ids are no error."""
        if ids:
            values = (json.dumps(list(ids)),)
            self._writer.write(lambda connection: connection.execute(_FORGET, values), urgent=True)

    def watch(self, ids: Sequence[str]) -> SQLiteWatcher:
        """Begin to watch results."""
        return SQLiteWatcher(Watch(self._reader, ids))

    def awatch(self, ids: Sequence[str]) -> SQLiteAsyncWatcher:
        """Watch results from ``__aenter__`` on, without blocking the event loop."""
        return SQLiteAsyncWatcher(lambda: Watch(self._reader, ids))

    async def aget(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Do what `get` does without blocking the running event loop."""
        if len(ids) <= _FEW and self._reader.is_open:
            return self.get(ids)
        return await asyncio.to_thread(self.get, ids)

    def sweep(self) -> int:
        """Delete expired results; return how many."""
        values = (self.options.clock.time(), _BATCH)
        total = 0
        while True:
            count = self._writer.write(
                lambda connection: connection.execute(_SWEEP, values).rowcount, urgent=True
            )
            total += count
            if count < _BATCH:
                return total

    def close(self) -> None:
        """Give up the connections; they are made anew when needed."""
        self._bell.close()
        self._reader.close()
        self._writer.close()


class Watch:
    """What a watcher knows: which results, and up to where it has seen them."""

    def __init__(self, database: Database, ids: Sequence[str]) -> None:
        self._database = database
        self._ids = json.dumps(list(ids))
        self._query = _NEW_OF_FEW if len(ids) <= _FEW else _NEW_OF_MANY
        self.waiter = Waiter(database.location.wake, map(result_topic, ids))
        self.waiter.listen()
        try:
            self._version = database.data_version()
            self._last = self._newest()
        except BaseException:
            self.waiter.close()
            raise

    def changed(self) -> frozenset[str]:
        """Return which results were written since the last call, or since the beginning."""
        version = self._database.data_version()
        if version == self._version:
            return frozenset()
        self._version = version
        # Read before the rows: what is written in between is reported once more, not missed.
        newest = self._newest()
        if newest < self._last:
            # Somebody has put another file in its place.
            self._last = 0
        values = (self._ids, self._last)
        rows = self._database.read(
            lambda connection: connection.execute(self._query, values).fetchall()
        )
        self._last = newest
        return frozenset(id for (id,) in rows)  # noqa: A001

    def _newest(self) -> int:
        row = self._database.read(lambda connection: connection.execute(_LAST).fetchone())
        return int(row[0])


class SQLiteWatcher(Watcher):
    """Watches results; used by one thread."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def wait(self, timeout: float | None) -> frozenset[str]:
        """Wait until watched results were written; return their ids."""
        deadline = None if timeout is None else SYSTEM.monotonic() + timeout
        while not (ids := self._watch.changed()):
            left = LOOK if deadline is None else deadline - SYSTEM.monotonic()
            if left <= 0:
                break
            self._watch.waiter.wait(min(LOOK, left))
        return ids

    def close(self) -> None:
        """Stop watching."""
        self._watch.waiter.close()


class SQLiteAsyncWatcher(AsyncWatcher):
    """Watches results from an event loop."""

    def __init__(self, start: Callable[[], Watch]) -> None:
        self._start = start
        self._watch: Watch | None = None

    async def wait(self, timeout: float | None) -> frozenset[str]:
        """Wait until watched results were written; return their ids."""
        watch = self._watch
        if watch is None:
            raise RuntimeError("the watcher is not open: use it as `async with store.awatch(ids)`")
        deadline = None if timeout is None else SYSTEM.monotonic() + timeout
        while not (ids := watch.changed()):
            left = LOOK if deadline is None else deadline - SYSTEM.monotonic()
            if left <= 0:
                break
            await _rung(watch.waiter, min(LOOK, left))
        return ids

    async def __aenter__(self) -> Self:
        # Opening the file for the first time may have to wait for a writer.
        self._watch = await asyncio.to_thread(self._start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.waiter.close()


async def _rung(waiter: Waiter, timeout: float) -> None:
    """Wait until the bell rings, at most ``timeout`` seconds."""
    loop = asyncio.get_running_loop()
    rung = asyncio.Event()
    for one in waiter.sockets():
        loop.add_reader(one, rung.set)
    try:
        async with asyncio.timeout(timeout):
            await rung.wait()
    except TimeoutError:
        return
    finally:
        for one in waiter.sockets():
            loop.remove_reader(one)
        waiter.drain()
