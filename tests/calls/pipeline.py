"""A child without its process: receives, runs and acknowledges in this one."""

from __future__ import annotations

import os
import threading
import uuid
from typing import TYPE_CHECKING

from celeriac.identifier import machine, process_start
from celeriac.message import Owner
from celeriac.signal import task_postrun
from celeriac.worker.child import Child
from celeriac.worker.setting import WorkerSettings, plan
from celeriac.worker.slot import SlotTable

if TYPE_CHECKING:
    from celeriac import Celeriac

#: Seconds after which a child that does not end is told to.
PATIENCE = 60.0


def consume(app: Celeriac, count: int) -> None:
    """Run a child until it has run ``count`` tasks, which are in the queue already."""
    settings = plan(app, WorkerSettings(pool="solo", loglevel="ERROR"))
    start = process_start(os.getpid()) or ""
    owner = Owner(
        f"calls-{uuid.uuid4().hex[:12]}",
        settings.node,
        machine(),
        os.getpid(),
        start,
        settings.queues,
    )
    app.broker.register(owner)
    table = SlotTable(
        settings.prefetch_limit + settings.slots, app.broker.capabilities.receipt_size
    )
    child = Child(app, settings, owner, table)
    done = threading.Semaphore(0)

    def ran(**_: object) -> None:
        done.release()

    def drain() -> None:
        for _ in range(count):
            if not done.acquire(timeout=PATIENCE):
                break
        child.drain()

    task_postrun.connect(ran)
    try:
        watcher = threading.Thread(target=drain)
        watcher.start()
        child.run()
        watcher.join()
    finally:
        task_postrun.disconnect(ran)
        app.broker.unregister(owner.id)
