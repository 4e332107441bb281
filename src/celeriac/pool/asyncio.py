"""Slots that are coroutines on one event loop in the main thread."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from celeriac.pool.base import Executor, Work
from celeriac.pool.loop import run_until_stopped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from celeriac.execution.job import Job


class AsyncioExecutor(Executor):
    """Runs ``async def`` bodies on the loop and plain functions in threads beside it."""

    def __init__(self, slots: int, work: Work) -> None:
        super().__init__(slots, work)
        self._waiting: deque[Job] = deque()
        self._running: set[asyncio.Future[None]] = set()
        self._stopped = False
        self._loop = asyncio.new_event_loop()
        # One for each slot, since what waits for a thread could not be given back.
        self._threads = ThreadPoolExecutor(slots, "plain")

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs."""
        self._waiting.extend(jobs)
        self._tell(self._start)

    def withdraw(self) -> list[Job]:
        """Take back the jobs that have not been started."""
        taken: list[Job] = []
        while self._waiting:
            try:
                taken.append(self._waiting.popleft())
            except IndexError:
                break  # the loop started the last one meanwhile
        return taken

    def run(self) -> None:
        """Run jobs until `stop`."""
        asyncio.set_event_loop(self._loop)
        try:
            run_until_stopped(self._loop)
            while self._running:
                ended = self._loop.create_task(_wait(set(self._running)))
                ended.add_done_callback(lambda _: self._loop.stop())
                run_until_stopped(self._loop)
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._threads.shutdown()
            asyncio.set_event_loop(None)
            self._loop.close()

    def stop(self) -> None:
        """Start nothing more."""
        self._stopped = True
        self._tell(self._loop.stop)

    def _tell(self, action: Callable[[], object]) -> None:
        # A closed loop has stopped: what was submitted is left to `withdraw`.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(action)

    def _start(self) -> None:
        while not self._stopped and self._waiting and len(self._running) < self.slots:
            try:
                job = self._waiting.popleft()
            except IndexError:
                return  # withdrawn meanwhile
            running: asyncio.Future[None]
            if job.task.is_async:
                running = self._loop.create_task(self.work.aexecute(job))
            else:
                running = self._loop.run_in_executor(
                    self._threads, self.work.execute, job, self._resolve
                )
            self._running.add(running)
            running.add_done_callback(partial(self._ended, job))

    def _ended(self, job: Job, running: asyncio.Future[None]) -> None:
        self._running.discard(running)
        if running.cancelled():
            # Some body has cancelled all that is on the loop, and this one had not begun.
            self._waiting.appendleft(job)
        self._start()

    def _resolve(self, awaitable: Awaitable[Any]) -> Any:
        # A plain function, in a thread, that returned a coroutine.
        return asyncio.run_coroutine_threadsafe(_await(awaitable), self._loop).result()


async def _wait(running: set[asyncio.Future[None]]) -> None:
    await asyncio.wait(running)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
