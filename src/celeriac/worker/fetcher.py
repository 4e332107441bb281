"""The fetcher: leases messages ahead of the slots, looks at them, hands them to the executor."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from celeriac.error import OperationalError
from celeriac.execution.job import Admission, Job, Refused
from celeriac.execution.outcome import Dead
from celeriac.protocol.repr import saferepr
from celeriac.worker.settler import PAUSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.broker.base import Consumer
    from celeriac.message import Delivery
    from celeriac.pool.base import Executor
    from celeriac.worker.settler import Settler
    from celeriac.worker.slot import SlotTable
    from celeriac.worker.window import Window

logger = logging.getLogger("celeriac.worker")
task_log = logging.getLogger("celeriac.task")

#: Seconds that one call waits for a message.
WAIT = 5.0
#: Seconds after which what waits behind a running job goes back to the queue.
STALL = 0.25
#: Seconds that a look at an empty queue waits at most for the jobs at hand.
LULL = 0.002
#: Messages leased in one round trip or transaction at most.
BATCH = 256


class Fetcher(threading.Thread):
    """Leases for one child.

    Args:
        admission: looks at what was leased.
        consumer: where messages come from.
        executor: where jobs go.
        table: where leases are entered before anything else happens to them.
        settler: where deliveries go that are not run.
        window: how far ahead to lease.
        refuse: decides about a delivery that is not run.
        release: gives jobs back that were not started.
        failed: called after each call to the broker that failed.
    """

    def __init__(
        self,
        admission: Admission,
        *,
        consumer: Consumer,
        executor: Executor,
        table: SlotTable,
        settler: Settler,
        window: Window,
        refuse: Callable[[Refused], None],
        release: Callable[[list[Job]], None],
        failed: Callable[[], None],
    ) -> None:
        super().__init__(name="fetcher", daemon=True)
        self._admit = admission.admit
        self._consumer = consumer
        self._executor = executor
        self._table = table
        self._settler = settler
        self._window = window
        self._refuse = refuse
        self._release = release
        self._failed = failed
        self._changed = threading.Event()
        self._stopped = False
        self._quarantined: list[Job] = []
        self._alone = False  # a quarantined job has the child to itself
        self._accepted = 0  # written by this thread only
        self._ended = 0  # the next three are written under the lock
        self._runs = 0  # ended since the window last learned, and their seconds
        self._seconds = 0.0
        self._moved = 0  # ended jobs at the last look for a stall, and when it began to be so many
        self._moved_at = 0.0
        self._wake_at = 0  # the number of ended jobs at which there is room again
        self._lock = threading.Lock()

    # -- the executor's side --------------------------------------------------------------

    def ended(self, runtime: float) -> None:
        """Note that a job left its slot after ``runtime`` seconds."""
        with self._lock:
            self._runs += 1
            self._seconds += runtime
            self._ended += 1
        if self._ended >= self._wake_at:
            self._changed.set()

    def withdrawn(self, count: int) -> None:
        """Note that ``count`` jobs were taken back before they began."""
        with self._lock:
            self._ended += count

    def stop(self) -> None:
        """Lease nothing more; from any thread."""
        self._stopped = True
        self._changed.set()
        self._consumer.wake()

    # -- the thread -----------------------------------------------------------------------

    def run(self) -> None:
        """Lease until `stop`."""
        failures = 0
        while not self._stopped:
            room = self._room()
            if room <= 0:
                self._wait_for_room()
                continue
            behind = self._accepted - self._ended > self._executor.slots
            try:
                deliveries = self._consumer.receive(min(room, BATCH), STALL if behind else WAIT)
            except Exception as error:  # noqa: BLE001 - told in `_pause`
                self._pause(error, failures)
                failures += 1
                continue
            if failures:
                logger.info("The broker is back")
                failures = 0
            self._accept(deliveries)
            if behind:
                self._look_for_stall()
            if deliveries and len(deliveries) < room:
                # The queue is empty: what was leased comes first, the next look can wait for it.
                self._wake_at = self._accepted
                self._changed.clear()
                if self._ended < self._accepted:
                    self._changed.wait(LULL)
        if self._quarantined:
            self._release(self._quarantined)

    def _pause(self, error: Exception, failures: int) -> None:
        """Tell why nothing can be leased, and wait before the next try."""
        if not isinstance(error, OperationalError):  # a bug, or a driver's
            logger.error("Cannot lease, will go on trying", exc_info=error)
        elif not failures:
            logger.info("Lost the broker, will come back: %s", error)
        self._failed()
        self._changed.clear()
        if not self._stopped:
            self._changed.wait(PAUSES[min(failures, len(PAUSES) - 1)])

    def _room(self) -> int:
        """How many messages to lease now; notes in ``_wake_at`` when to ask again if none.

        Leases when a slot is free or half of the window is, not message by message.
        """
        outstanding = self._accepted - self._ended
        if self._quarantined or self._alone:
            self._wake_at = self._accepted
            if outstanding:
                return 0
            self._alone = bool(self._quarantined)
            if self._alone:
                self._submit([self._quarantined.pop(0)])
                self._wake_at = self._accepted
                return 0
        if self._settler.blocked:
            self._wake_at = self._accepted
            return 0
        size = self._learn()
        enough = max(size // 2, self._executor.slots - 1)
        if outstanding > enough:
            self._wake_at = self._accepted - enough
            return 0
        return min(size - outstanding, self._table.room)

    def _learn(self) -> int:
        """Tell the window what has run since the last time; return its size."""
        with self._lock:
            runs, seconds = self._runs, self._seconds
            self._runs, self._seconds = 0, 0.0
        if runs:
            self._window.saw(runs, seconds)
        return self._window.size

    def _wait_for_room(self) -> None:
        self._changed.clear()
        if self._ended >= self._wake_at and not self._settler.blocked:
            if not self._table.room:
                # The settler is at work; it has no time to tell of each lease that it frees.
                self._changed.wait(LULL)
            return
        if not self._changed.wait(STALL):
            self._look_for_stall()

    def _look_for_stall(self) -> None:
        """Give back what waits behind a job that runs long: it may run elsewhere."""
        now, ended, slots = time.monotonic(), self._ended, self._executor.slots
        if ended != self._moved:
            self._moved, self._moved_at = ended, now
        if now - self._moved_at < STALL or self._stopped:
            return
        if self._accepted - ended > slots:
            self._window.stalled()
            self._release(self._executor.withdraw())
        if self._quarantined and (self._alone or slots == 1):
            # With more slots nobody might ever have the child to himself, so there it waits.
            self._window.stalled()
            self._accepted += len(self._quarantined)
            self._release(self._quarantined)
            self._quarantined = []

    def _accept(self, deliveries: list[Delivery]) -> None:
        now = time.time()
        jobs: list[Job] = []
        hold = self._table.hold
        for delivery in deliveries:
            # Before they are looked at, which may take longer than a lease lives.
            hold(delivery.receipt)
        for delivery in deliveries:
            try:
                job = self._admit(delivery, now)
            except Exception as error:
                logger.exception("Cannot look at a message of queue %s", delivery.queue)
                job = _strange(delivery, error)
            if isinstance(job, Refused):
                self._refuse(job)
                continue
            if not job.options.acks_late:
                self._table.early(delivery.receipt)
            if delivery.deaths:  # it has killed a process, or stood by: it runs alone
                self._quarantined.append(job)
            else:
                jobs.append(job)
        if task_log.isEnabledFor(logging.INFO):
            for job in jobs:
                task_log.info("Task %s[%s] received", job.task.name, job.id)
        if jobs:
            self._submit(jobs)

    def _submit(self, jobs: list[Job]) -> None:
        if self._accepted - self._ended <= self._executor.slots:
            self._moved_at = time.monotonic()  # nothing has waited before
        self._accepted += len(jobs)
        self._executor.submit(jobs)


def _strange(delivery: Delivery, error: Exception) -> Refused:
    task_id = delivery.message.id if delivery.message is not None else ""
    return Refused(delivery, task_id, Dead("undecodable", saferepr(error), error))
