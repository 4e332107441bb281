"""A child without its process: receives, runs and acknowledges in this one."""

from __future__ import annotations

import os
import threading
import uuid
from typing import TYPE_CHECKING

from celeriac.identifier import machine, process_start
from celeriac.message import Owner
from celeriac.worker.child import Child
from celeriac.worker.setting import WorkerSettings, plan
from celeriac.worker.slot import SlotTable

if TYPE_CHECKING:
    from celeriac import Celeriac

#: Seconds after which a child that does not run its tasks is stopped.
PATIENCE = 30.0

_ran = threading.Semaphore(0)


def step() -> None:
    """Tell `consume` that a task ran; a signal of ours would count against the budget."""
    _ran.release()


def consume(app: Celeriac, count: int) -> None:
    """Run a child for the ``count`` tasks `step` that are in the queue, and no others."""
    settings = plan(app, WorkerSettings(pool="solo"))
    owner = Owner(
        id=f"calls-{uuid.uuid4().hex[:12]}",
        node=settings.node,
        machine=machine(),
        pid=os.getpid(),
        start=process_start(os.getpid()) or "",
        queues=settings.queues,
    )
    app.broker.register(owner)
    capacity = settings.slots + settings.prefetch_limit
    table = SlotTable(capacity, app.broker.capabilities.receipt_size)
    child = Child(app, settings, owner, table)

    def drain() -> None:
        for _ in range(count):
            if not _ran.acquire(timeout=PATIENCE):
                break
        child.drain()

    watcher = threading.Thread(target=drain)
    watcher.start()
    child.run()
    watcher.join()
    app.broker.unregister(owner.id)
