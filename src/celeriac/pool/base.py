"""The executor port: runs the jobs of one child, as many at once as it has slots."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celeriac.execution.job import Job

#: Turns the coroutine that an ``async def`` body returned into its result.
Resolve = Callable[[Awaitable[Any]], Any]


class Work(ABC):
    """What an executor does with a job; never raises."""

    @abstractmethod
    def execute(self, job: Job, resolve: Resolve) -> None:
        """Run the job to its end in the calling thread."""

    @abstractmethod
    async def aexecute(self, job: Job) -> None:
        """Run the job, whose body is ``async def``, on the running event loop."""


class Executor(ABC):
    """Runs jobs.

    `submit`, `withdraw` and `stop` may be called from any thread; `run` is called once, in the
    main thread of the child, and returns after `stop`, when the last job has ended.
    """

    def __init__(self, slots: int, work: Work) -> None:
        self.slots = slots
        self.work = work

    @abstractmethod
    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs to be started in this order as slots become free; never blocks."""

    @abstractmethod
    def withdraw(self) -> list[Job]:
        """Take back the jobs that have not been started, in their order."""

    @abstractmethod
    def run(self) -> None:
        """Run jobs until `stop`."""

    @abstractmethod
    def stop(self) -> None:
        """Start nothing more; jobs not started are left to `withdraw`, running ones end."""
