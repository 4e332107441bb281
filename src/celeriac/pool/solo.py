"""One slot in the main thread: the executor of ``prefork`` and ``solo`` children."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from celeriac.pool.base import Executor, Work
from celeriac.pool.loop import MainLoop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeriac.execution.job import Job


class SoloExecutor(Executor):
    """Runs one job after the other in the thread that calls `run`."""

    def __init__(self, slots: int, work: Work) -> None:
        super().__init__(slots, work)
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._stopped = False

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs."""
        for job in jobs:
            self._jobs.put(job)

    def withdraw(self) -> list[Job]:
        """Take back the jobs that have not been started."""
        return drain(self._jobs)

    def run(self) -> None:
        """Run jobs until `stop`."""
        resolve = MainLoop()
        execute = self.work.execute
        take = self._jobs.get
        try:
            while (job := take()) is not None:
                if self._stopped:
                    self._jobs.put(job)  # leave it to `withdraw`
                    break
                execute(job, resolve)
        finally:
            resolve.close()

    def stop(self) -> None:
        """Start nothing more."""
        self._stopped = True
        self._jobs.put(None)


def drain(jobs: SimpleQueue[Job | None]) -> list[Job]:
    """Empty a queue of jobs; marks of the end that lie between them are put back."""
    taken: list[Job] = []
    ends = 0
    while True:
        try:
            job = jobs.get_nowait()
        except Empty:
            break
        if job is None:
            ends += 1
        else:
            taken.append(job)
    for _ in range(ends):
        jobs.put(None)
    return taken
