"""What every executor does, whatever its slots are."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

from celeriac.pool import EXECUTORS, executor_class
from celeriac.pool.base import Work


class Recorder(Work):
    """Runs callables in place of jobs."""

    def __init__(self):
        self.done = []
        self.threads = set()

    def execute(self, job, resolve):
        self.threads.add(threading.current_thread())
        value = job.body()
        self.done.append(resolve(value) if asyncio.iscoroutine(value) else value)

    async def aexecute(self, job):
        self.done.append(await job.body())


def job(body):
    task = SimpleNamespace(is_async=asyncio.iscoroutinefunction(body))
    return SimpleNamespace(body=body, task=task)


def started(pool, slots=1):
    work = Recorder()
    executor = executor_class(pool)(slots, work)
    thread = threading.Thread(target=executor.run)
    thread.start()
    return executor, work, thread


@pytest.mark.parametrize("pool", EXECUTORS)
def test_plain_and_async_jobs_run_in_order_in_one_slot(pool):
    executor, work, thread = started(pool)
    ended = threading.Event()

    async def coroutine():
        await asyncio.sleep(0)
        return "async"

    executor.submit([job(lambda: "plain"), job(coroutine), job(ended.set)])
    assert ended.wait(10)
    executor.stop()
    thread.join(10)
    assert work.done == ["plain", "async", None]


@pytest.mark.parametrize("pool", EXECUTORS)
def test_what_has_not_begun_is_withdrawn_in_order_and_what_has_begun_ends(pool):
    executor, work, thread = started(pool)
    entered, leave = threading.Event(), threading.Event()

    def body():
        entered.set()
        leave.wait(10)
        return "ended"

    waiting = [job(lambda: "never") for _ in range(5)]
    executor.submit([job(body), *waiting])
    assert entered.wait(10)
    executor.stop()
    assert executor.withdraw() == waiting
    assert executor.withdraw() == []
    leave.set()
    thread.join(10)
    assert not thread.is_alive()
    assert work.done == ["ended"]


@pytest.mark.parametrize("pool", EXECUTORS)
def test_stop_before_any_job(pool):
    executor, work, thread = started(pool)
    executor.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert work.done == []


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_the_body_runs_in_the_thread_that_called_run(pool):
    executor, work, thread = started(pool)
    ended = threading.Event()
    executor.submit([job(ended.set)])
    assert ended.wait(10)
    executor.stop()
    thread.join(10)
    assert work.threads == {thread}


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_as_many_run_at_once_as_there_are_slots_and_no_more(pool):
    executor, work, thread = started(pool, slots=3)
    barrier = threading.Barrier(3)
    running = []
    most = []
    lock = threading.Lock()

    def body():
        with lock:
            running.append(1)
            most.append(len(running))
        barrier.wait(10)
        with lock:
            running.pop()

    executor.submit([job(body) for _ in range(9)])
    while len(work.done) < 9:
        thread.join(0.01)
    executor.stop()
    thread.join(10)
    assert max(most) == 3


def test_coroutines_interleave_on_one_loop():
    executor, work, thread = started("asyncio", slots=100)
    gate = []

    async def body():
        gate.append(1)
        while len(gate) < 100:
            await asyncio.sleep(0)
        return 1

    executor.submit([job(body) for _ in range(100)])
    while len(work.done) < 100:
        thread.join(0.01)
    executor.stop()
    thread.join(10)
    assert work.done == [1] * 100


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_the_loop_is_kept_from_job_to_job(pool):
    executor, work, thread = started(pool)

    async def body():
        return id(asyncio.get_running_loop())

    executor.submit([job(body), job(body), job(body)])
    while len(work.done) < 3:
        thread.join(0.01)
    executor.stop()
    thread.join(10)
    assert len(set(work.done)) == 1
