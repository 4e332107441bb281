"""What only the executor with an event loop has to withstand."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

from celeriac.pool.asyncio import AsyncioExecutor
from celeriac.pool.base import Work

SLOTS = 50


class Doing(Work):
    """Runs a body that is a plain function or a coroutine."""

    def execute(self, job, resolve):
        job.body()

    async def aexecute(self, job):
        await job.body()


@pytest.fixture
def executor():
    made = AsyncioExecutor(SLOTS, Doing())
    thread = threading.Thread(target=made.run)
    made.thread = thread
    thread.start()
    yield made
    made.stop()
    thread.join()


def job(body):
    return SimpleNamespace(
        body=body, task=SimpleNamespace(is_async=asyncio.iscoroutinefunction(body))
    )


def test_what_comes_after_the_end_is_left_to_withdraw(executor):
    executor.stop()
    executor.thread.join()
    late = job(lambda: None)
    executor.submit([late])
    assert executor.withdraw() == [late]


def test_every_slot_can_run_a_plain_function(executor):
    """What would wait for a thread has left the queue and could not be given back."""
    together = threading.Barrier(SLOTS + 1)
    executor.submit([job(lambda: together.wait(10)) for _ in range(SLOTS)])
    together.wait(10)
    assert not together.broken


def test_a_body_that_cancels_all_loses_nobody(executor):
    ended, started = threading.Event(), []

    async def cancel_all():
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def last():
        started.append("last")
        ended.set()

    executor.submit([job(cancel_all), job(last)])
    assert ended.wait(10)
    assert started == ["last"]
