"""Slots that are threads."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from celeriac.pool.base import Executor, Work
from celeriac.pool.loop import SharedLoop
from celeriac.pool.solo import drain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeriac.execution.job import Job


class ThreadsExecutor(Executor):
    """Runs each job in one of ``slots`` threads; ``async def`` bodies share one event loop."""

    def __init__(self, slots: int, work: Work) -> None:
        super().__init__(slots, work)
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._stopped = False
        self._resolve = SharedLoop()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs."""
        for job in jobs:
            self._jobs.put(job)

    def withdraw(self) -> list[Job]:
        """Take back the jobs that have not been started."""
        return drain(self._jobs)

    def run(self) -> None:
        """Run jobs until `stop`."""
        threads = [
            threading.Thread(target=self._slot, name=f"slot-{number}", daemon=True)
            for number in range(1, self.slots + 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._resolve.close()

    def _slot(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._stopped:
                # Lost the race against `stop`: leave it to `withdraw`.
                self._jobs.put(job)
                return
            self.work.execute(job, self._resolve)

    def stop(self) -> None:
        """Start nothing more."""
        self._stopped = True
        for _ in range(self.slots):
            self._jobs.put(None)
