"""A child without a process of its own."""

from __future__ import annotations

import os
import threading

import pytest

from celeriac import Celeriac
from celeriac.identifier import machine, process_start, token
from celeriac.message import Owner
from celeriac.testing.deadline import eventually
from celeriac.worker.child import Child
from celeriac.worker.setting import POOLS, WorkerSettings, plan
from celeriac.worker.slot import SlotTable


@pytest.mark.parametrize("pool", POOLS)
def test_a_child_may_be_told_to_stop_before_it_runs(pool):
    name = f"memory://{token()}"
    with Celeriac("child", broker=name, backend=name) as app:
        settings = plan(app, WorkerSettings(pool=pool, concurrency=1))
        start = process_start(os.getpid()) or ""
        owner = Owner("child.1", settings.node, machine(), os.getpid(), start, settings.queues)
        app.broker.register(owner)
        child = Child(app, settings, owner, SlotTable(1, app.broker.capabilities.receipt_size))
        stopper = threading.Thread(target=child.drain)
        stopper.start()
        eventually(lambda: child.fetcher._stopped)
        child.run()
        stopper.join()
