"""Event loops for pools whose slots are threads: an ``async def`` task works in every pool."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable

logger = logging.getLogger("celeriac.worker")


def run_until_stopped(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until ``loop.stop()``, whatever the coroutines on it raise.

    Two exceptions fall through ``run_forever`` and would end the loop under all the others; the
    coroutine that raised them has them as its failure all the same.
    """
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            logger.debug("A coroutine raised %r; its event loop goes on", error)
        else:
            return


class MainLoop:
    """One event loop for the thread that made it, kept from job to job.

    Clients that belong to a loop (HTTP sessions, database pools) survive between tasks.
    """

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def __call__(self, awaitable: Awaitable[Any]) -> Any:
        """Run ``awaitable`` to its end and return its result."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        # The context of this job, not the one that the runner was made in.
        return self._runner.run(_await(awaitable), context=contextvars.copy_context())

    def close(self) -> None:
        """Cancel what the tasks left on the loop, and close it."""
        if self._runner is not None:
            self._runner.close()


class SharedLoop:
    """One event loop in a thread of its own, for the slots of a threads pool."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __call__(self, awaitable: Awaitable[Any]) -> Any:
        """Run ``awaitable`` on the loop; wait in the calling thread and return its result."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=run_until_stopped,
                    args=(self._loop,),
                    name="event-loop",
                    daemon=True,
                )
                self._thread.start()
        return asyncio.run_coroutine_threadsafe(_await(awaitable), self._loop).result()

    def close(self) -> None:
        """Stop the loop and close it."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
