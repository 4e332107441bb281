"""Event loops outlive what coroutines raise on them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from celeriac.pool.loop import MainLoop, SharedLoop, run_until_stopped


async def quit_(kind):
    raise kind


async def answer():
    return 42


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("loop", [MainLoop, SharedLoop])
def test_the_next_coroutine_runs_whatever_one_has_raised(loop, kind):
    resolve = loop()
    with pytest.raises(kind):
        resolve(quit_(kind))
    assert resolve(answer()) == 42
    resolve.close()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_loop_runs_until_it_is_stopped(kind):
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=run_until_stopped, args=(loop,))
    thread.start()
    raised = asyncio.run_coroutine_threadsafe(quit_(kind), loop)
    with pytest.raises(kind):
        raised.result(10)
    assert asyncio.run_coroutine_threadsafe(answer(), loop).result(10) == 42
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
