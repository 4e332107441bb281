"""Long storms, run by ``make storm``: random kills and stops under load, checked by the ledger."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from celeriac import state
from celeriac.testing.deadline import eventually
from celeriac.testing.ledger import Kind, note

TASKS = 3000
FAULTS = 40


@pytest.mark.storm
def test_a_storm_of_kills_loses_nothing(site, monkeypatch):
    """Workers, supervisors and children are killed or stopped at random; every task completes."""
    monkeypatch.setenv("CELERIAC_LEDGER", str(site.directory))
    seed = int(os.environ.get("STORM_SEED") or time.time())
    print(f"STORM_SEED={seed}")
    dice = random.Random(seed)
    # No death counts against a task: all of them are ours.
    site.configure(max_deaths=1000, max_losses=1000)
    workers = [site.worker("-c", "4"), site.worker("-c", "4", "-P", "threads"), site.worker()]
    tasks = []
    for number in range(TASKS):
        tasks.append(site.subject.nap.delay(dice.choice((0, 0.001, 0.05))))
        note(Kind.ACCEPT, tasks[-1].id)
        if number % (TASKS // FAULTS) == 0:
            _strike(site, dice, dice.choice(workers))
    eventually(lambda: len(site.ledger.counts(Kind.END)) == TASKS, timeout=300, interval=0.5)
    assert set(site.ledger.counts(Kind.END)) == {task.id for task in tasks}
    eventually(
        lambda: all(task.state == state.SUCCESS for task in tasks), timeout=120, interval=0.5
    )
    second = site.ledger.counts(Kind.START).total() - TASKS
    print(f"{TASKS} tasks, {FAULTS} faults, {second} second runs")
    # A batch that ran and was not settled yet runs again, so this is a bound, not a count.
    assert second <= FAULTS * 300
    for worker in workers:
        worker.signal_group(signal.SIGCONT)
        assert worker.stop() == 0
    depth = site.app.broker.depth(["celery"])["celery"]
    assert (depth.ready, depth.delayed, depth.leased) == (0, 0, 0)


def _strike(site, dice, worker):
    fault = dice.choice(("worker", "supervisor", "child", "stop"))
    children = worker.children()
    if fault == "worker":
        worker.kill()
        worker.start(wait=False)
    elif fault == "supervisor":
        worker.signal(signal.SIGKILL)
        worker.process.wait(30)
        worker.start(wait=False)
    elif fault == "child" and children:
        os.kill(dice.choice(children), signal.SIGKILL)
    else:
        worker.signal_group(signal.SIGSTOP)
        time.sleep(dice.uniform(0.05, 0.5))  # frozen for a while is what is tested
        worker.signal_group(signal.SIGCONT)
