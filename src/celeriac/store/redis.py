"""Results on Redis 6.2 or later, and on Valkey, in Celery's keys."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Self, TypeVar

import hiredis

from celeriac.engine.redis.address import parse
from celeriac.engine.redis.fault import Fault, Kind, from_reply
from celeriac.engine.redis.layout import Layout
from celeriac.engine.redis.poll import Poll
from celeriac.engine.redis.runner import AsyncRunner, Runner, call
from celeriac.engine.redis.script import Script
from celeriac.error import StoreRefused, StoreUnavailable
from celeriac.state import SUCCESS
from celeriac.store.base import AsyncWatcher, Store, Watcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from celeriac.engine.redis.connection import AsyncConnection, Connection
    from celeriac.engine.redis.runner import Plan
    from celeriac.message import ResultRecord
    from celeriac.store.base import StoreOptions

T = TypeVar("T")

_ENGINE = "celeriac.engine.redis"
_PUT = Script((_ENGINE, "result"), (_ENGINE, "put"), allow_oom=True)

#: The most that one call carries, so that none blocks the server for long.
_MOST, _MOST_BYTES = 1000, 4 * 1024 * 1024
_SPARE = 4  # watching connections kept for the next watch
_QUIET = 25.0  # seconds without news after which a watcher asks whether the server lives
_PAUSE = 0.2  # seconds between attempts to reconnect


def _translate(fault: Fault) -> Exception:
    kind = StoreRefused if fault.kind is Kind.REFUSED else StoreUnavailable
    return kind(fault.text)


class RedisStore(Store):
    """Results in Redis or Valkey, shared with Celery clients and workers."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        self.address = parse(url, options.transport_options)
        self.options = options
        self.display = self.address.display
        self.layout = Layout(self.address)
        self.runner = Runner(self.address)
        self.async_runner = AsyncRunner(self.address)
        self._spare: deque[Connection] = deque()

    def _run(self, plan: Plan[T]) -> T:
        try:
            return self.runner.run(plan, self.options.timeout)
        except Fault as fault:
            raise _translate(fault) from fault

    def put(self, records: Sequence[ResultRecord]) -> None:
        """See the port."""
        for batch in _batches(records):
            keys = [self.layout.result(record.id) for record in batch]
            arguments = [part for record in batch for part in self._arguments(record)]
            self._run(call(_PUT, keys, arguments))

    def _arguments(self, record: ResultRecord) -> tuple[Any, ...]:
        ttl = "0" if record.ttl is None else f"{max(record.ttl * 1000, 1):.0f}"
        won = "1" if record.state == SUCCESS else "0"
        return record.payload, ttl, won, self.layout.success + record.id

    def get(self, ids: Sequence[str]) -> dict[str, bytes]:
        """See the port."""
        return self._run(self._get(ids)) if ids else {}

    async def aget(self, ids: Sequence[str]) -> dict[str, bytes]:
        """See the port."""
        if not ids:
            return {}
        try:
            return await self.async_runner.run(self._get(ids), self.options.timeout)
        except Fault as fault:
            raise _translate(fault) from fault

    def _get(self, ids: Sequence[str]) -> Plan[dict[str, bytes]]:
        found: dict[str, bytes] = {}
        for start in range(0, len(ids), _MOST):
            part = ids[start : start + _MOST]
            (values,) = yield [("MGET", *map(self.layout.result, part))]
            found.update((id, value) for id, value in zip(part, values, strict=True) if value)  # noqa: A001
        return found

    def forget(self, ids: Sequence[str]) -> None:
        """See the port."""
        for start in range(0, len(ids), _MOST):
            self._run(self._forget(ids[start : start + _MOST]))

    def _forget(self, ids: Sequence[str]) -> Plan[None]:
        marks = (self.layout.success + id for id in ids)  # noqa: A001
        yield [("DEL", *map(self.layout.result, ids), *marks)]

    def watch(self, ids: Sequence[str]) -> Watcher:
        """See the port."""
        watcher = RedisWatcher(self, ids)
        try:
            watcher.subscribe()
        except Fault as fault:
            watcher.close()
            raise _translate(fault) from fault
        return watcher

    def awatch(self, ids: Sequence[str]) -> AsyncWatcher:
        """See the port."""
        return AsyncRedisWatcher(self, ids)

    def sweep(self) -> int:
        """See the port: Redis deletes what has expired by itself."""
        return 0

    def close(self) -> None:
        """See the port."""
        self.runner.close()
        while self._spare:
            self._spare.pop().close()

    def take(self) -> Connection:
        """Return a connection to watch with."""
        while self._spare:
            connection = self._spare.pop()
            if connection.usable:
                return connection
            connection.close()
        return self.runner.open(self.options.timeout)

    def give(self, connection: Connection) -> None:
        """Keep a connection without subscriptions for the next watch."""
        if len(self._spare) < _SPARE:
            self._spare.append(connection)
        else:
            connection.close()


def _batches(records: Sequence[ResultRecord]) -> Iterator[list[ResultRecord]]:
    batch: list[ResultRecord] = []
    size = 0
    for record in records:
        if batch and (len(batch) >= _MOST or size + len(record.payload) > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record.payload)
    if batch:
        yield batch


class _News:
    """What both watchers share: from replies of the server to ids of results."""

    def __init__(self, store: RedisStore, ids: Sequence[str]) -> None:
        self.ids = frozenset(ids)
        layout = store.layout
        self._skip = len(layout.task_meta.encode())
        self._channels = [layout.result(id) for id in self.ids]  # noqa: A001
        #: Confirmations of the server that are still to come.
        self.awaited = 0
        self.changed: set[str] = set()

    def commands(self, verb: str) -> list[tuple[str, ...]]:
        """Return what (un)subscribes, in portions; the server confirms each channel."""
        self.awaited += len(self._channels)
        return [
            (verb, *self._channels[i : i + _MOST]) for i in range(0, len(self._channels), _MOST)
        ]

    def read(self, replies: list[Any]) -> None:
        """Sort replies into confirmations and changes.

        Raises:
            Fault: the server said no.
        """
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise from_reply(str(reply))
            if reply[0] == b"message":
                self.changed.add(reply[1][self._skip :].decode())
            elif reply[0] != b"pong":
                self.awaited -= 1

    def take(self) -> frozenset[str]:
        """Return the changes and forget them."""
        changed = self.ids & self.changed
        self.changed = set()
        return changed


class RedisWatcher(Watcher):
    """Watches by subscribing to the channels of the results."""

    def __init__(self, store: RedisStore, ids: Sequence[str]) -> None:
        self._store = store
        self._news = _News(store, ids)
        self._connection: Connection | None = None
        self._pid = os.getpid()

    def subscribe(self) -> None:
        """Subscribe on a fresh connection; return when the server has confirmed.

        Raises:
            Fault: it could not.
        """
        self._news.awaited = 0
        self._connection = self._store.take()
        self._converse("SUBSCRIBE")

    def _converse(self, verb: str) -> None:
        connection, news = self._connection, self._news
        timeout = self._store.options.timeout
        if connection is None or not news.ids:
            return
        connection.send(news.commands(verb), timeout)
        while news.awaited > 0:
            news.read(connection.collect(timeout))

    def wait(self, timeout: float | None) -> frozenset[str]:
        """See the port."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                if self._connection is None:
                    self.subscribe()
                    return self._news.ids
                if changed := self._news.take():
                    return changed
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return frozenset()
                self._listen(self._connection, left)
            except Fault as fault:
                self._disconnect()
                if fault.kind is Kind.REFUSED:
                    raise _translate(fault) from fault
                if deadline is not None and time.monotonic() + _PAUSE >= deadline:
                    raise _translate(fault) from fault
                time.sleep(_PAUSE)
            except BaseException:
                self._disconnect()
                raise

    def _listen(self, connection: Connection, timeout: float | None) -> None:
        """Read what comes; ask the server for a sign of life when nothing does."""
        patience = _QUIET if timeout is None else min(timeout, _QUIET)
        if Poll(connection.fileno()).wait(patience):
            self._news.read(connection.collect(self._store.options.timeout))
        elif patience >= _QUIET:
            connection.send([("PING",)], self._store.options.timeout)
            self._news.read(connection.collect(self._store.options.timeout))

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """See the port."""
        if self._connection is None:
            return
        if self._pid == os.getpid() and not self._connection.closed:
            try:
                self._converse("UNSUBSCRIBE")
            except Fault:
                self._disconnect()
            else:
                self._store.give(self._connection)
                self._connection = None
        else:
            self._disconnect()


class AsyncRedisWatcher(AsyncWatcher):
    """Watches from an event loop."""

    def __init__(self, store: RedisStore, ids: Sequence[str]) -> None:
        self._store = store
        self._news = _News(store, ids)
        self._connection: AsyncConnection | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._subscribe()
        except Fault as fault:
            raise _translate(fault) from fault
        return self

    async def _subscribe(self) -> None:
        self._news.awaited = 0
        self._connection = await self._store.async_runner.take(self._store.options.timeout)
        try:
            await self._converse("SUBSCRIBE")
        except BaseException:
            await self._disconnect()
            raise

    async def _converse(self, verb: str) -> None:
        connection, news = self._connection, self._news
        if connection is None or not news.ids:
            return
        await connection.send(news.commands(verb), self._store.options.timeout)
        try:
            async with asyncio.timeout(self._store.options.timeout):
                while news.awaited > 0:
                    news.read(await connection.collect())
        except TimeoutError as error:
            raise Fault("Redis did not confirm a subscription in time") from error

    async def wait(self, timeout: float | None) -> frozenset[str]:
        """See the port."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                if self._connection is None:
                    await self._subscribe()
                    return self._news.ids
                if changed := self._news.take():
                    return changed
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return frozenset()
                await self._listen(self._connection, left)
            except Fault as fault:
                await self._disconnect()
                if fault.kind is Kind.REFUSED:
                    raise _translate(fault) from fault
                if deadline is not None and time.monotonic() + _PAUSE >= deadline:
                    raise _translate(fault) from fault
                await asyncio.sleep(_PAUSE)

    async def _listen(self, connection: AsyncConnection, timeout: float | None) -> None:
        patience = _QUIET if timeout is None else min(timeout, _QUIET)
        try:
            async with asyncio.timeout(patience):
                self._news.read(await connection.collect())
        except TimeoutError:
            if patience < _QUIET:
                return
            await connection.send([("PING",)], self._store.options.timeout)
            try:
                async with asyncio.timeout(self._store.options.timeout):
                    self._news.read(await connection.collect())
            except TimeoutError as error:
                raise Fault("Redis does not answer") from error

    async def _disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection is None:
            return
        try:
            await self._converse("UNSUBSCRIBE")
        except Fault:
            await self._disconnect()
        except BaseException:
            await self._disconnect()
            raise
        else:
            await self._store.async_runner.give(self._connection)
            self._connection = None
