"""The memory store: results in this process, for tests and together with the memory broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from celeriac.engine import memory
from celeriac.engine.memory import Space, Watch
from celeriac.store.base import AsyncWatcher, Store, StoreOptions, Watcher

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from celeriac.message import ResultRecord


class MemoryStore(Store):
    """Results in the memory of this process; ``memory://name`` as for the broker."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        """Take the URL and the settings; transport options are ignored."""
        self.options = options
        self.display = url
        self.space = memory.space(url)

    def put(self, records: Sequence[ResultRecord]) -> None:
        """Write results and wake those who watch them."""
        with self.space.condition:
            self.space.store(records, self.options.clock.time())
            self.space.condition.notify_all()

    def get(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the payloads of those ids that have one and have not expired."""
        with self.space.condition:
            now = self.options.clock.time()
            found = ((key, self.space.result(key, now)) for key in ids)
            return {key: record.payload for key, record in found if record is not None}

    def forget(self, ids: Sequence[str]) -> None:
        """Delete results."""
        with self.space.condition:
            for key in ids:
                self.space.results.pop(key, None)

    def watch(self, ids: Sequence[str]) -> Watcher:
        """Begin to watch results."""
        return MemoryWatcher(self.space, ids)

    def awatch(self, ids: Sequence[str]) -> AsyncWatcher:
        """Watch results on an event loop."""
        return AsyncMemoryWatcher(self.space, ids)

    async def aget(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Do what `get` does, which never blocks for long."""
        return self.get(ids)

    def sweep(self) -> int:
        """Delete expired results; return how many."""
        with self.space.condition:
            now = self.options.clock.time()
            old = [key for key in self.space.results if self.space.result(key, now) is None]
            for key in old:
                del self.space.results[key]
            return len(old)

    def close(self) -> None:
        """Do nothing: there are no connections, and the results stay."""


class MemoryWatcher(Watcher):
    """Watches results of one space."""

    def __init__(self, space: Space, ids: Sequence[str]) -> None:
        self._space = space
        self._watch = Watch(ids, alert=space.condition.notify_all)
        with space.condition:
            space.watch(self._watch)

    def wait(self, timeout: float | None) -> frozenset[str]:
        """Wait until results may have changed; return their ids."""
        changed = self._watch.changed
        with self._space.condition:
            self._space.condition.wait_for(lambda: changed, timeout)
            found = frozenset(changed)
            changed.clear()
            return found

    def close(self) -> None:
        """Stop watching."""
        with self._space.condition:
            self._space.unwatch(self._watch)


class AsyncMemoryWatcher(AsyncWatcher):
    """Watches results of one space from an event loop."""

    def __init__(self, space: Space, ids: Sequence[str]) -> None:
        self._space = space
        self._watch = Watch(ids, alert=self._alert)
        self._changed = asyncio.Event()

    def _alert(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    async def wait(self, timeout: float | None) -> frozenset[str]:
        """Wait until results may have changed, without blocking the event loop."""
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return frozenset()
        with self._space.condition:
            self._changed.clear()
            found = frozenset(self._watch.changed)
            self._watch.changed.clear()
            return found

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        with self._space.condition:
            self._space.watch(self._watch)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._space.condition:
            self._space.unwatch(self._watch)
