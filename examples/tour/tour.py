"""The tasks of the tour.  No broker is named, so queue and results live in ``celeriac.db``."""

from __future__ import annotations

import asyncio
import os
import signal

from celeriac import Celeriac, Task

app = Celeriac("tour")


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def divide(x: int, y: int) -> float:
    return x / y


@app.task
async def greet(name: str) -> str:
    await asyncio.sleep(0.1)  # other tasks run meanwhile
    return f"Hello, {name}!"


@app.task(bind=True)
def crash(self: Task[..., str]) -> str:
    if self.request.deaths == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"run {self.request.attempt}: still here"
