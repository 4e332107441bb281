"""Never run: mypy --strict and pyright must refuse exactly the lines marked ``# error``."""

from __future__ import annotations

from typing import Any

from celeriac import Celeriac, Task, shared_task

app = Celeriac("typed", broker="memory://", backend="memory://")


@app.task
def add(x: int, y: int = 1) -> int:
    return x + y


@app.task(bind=True)
def bound(self: Task[..., Any], x: int) -> int:
    return x


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@shared_task
def shared(x: int) -> int:
    return x


add.delay("x")  # error
add.delay(1, z=2)  # error
add.delay()  # error
add.delay(1, 2, 3)  # error
add("x")  # error
bound.delay("x")  # error
bound.delay(None, 1)  # error
fetch.delay(1)  # error
shared.delay("x")  # error
text: str = add.delay(1).get()  # error
number: int = fetch.delay("u").get()  # error
add.apply_async((1,), contdown=3)  # error


async def on_a_loop() -> None:
    await add.adelay("x")  # error
    await add(1)  # error


def body() -> None: ...


app.task(exponential_backoff=5)(body)  # error
app.task(max_retries="many")(body)  # error
shared_task(acks_lat=True)(body)  # error
