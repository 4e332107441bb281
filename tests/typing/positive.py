"""Never run: mypy --strict and pyright must agree with every line."""

from __future__ import annotations

from typing import Any, assert_type

from celeriac import Celeriac, Task, shared_task
from celeriac.result import AsyncResult, EagerResult

app = Celeriac("typed", broker="memory://", backend="memory://")


@app.task
def add(x: int, y: int = 1) -> int:
    return x + y


@app.task(name="named", acks_late=False, max_retries=None)
def named(text: str, *, upper: bool = False) -> list[str]:
    return [text.upper() if upper else text]


@app.task(bind=True, max_retries=5)
def bound(self: Task[..., Any], x: int) -> str:
    assert_type(self.request.id, str | None)
    return f"{self.name} {x}"


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@app.task(bind=True)
async def bound_fetch(self: Task[..., Any], url: str) -> bytes:
    return url.encode()


class Database(Task[..., Any]):
    connection: str = ""


@app.task(base=Database, bind=True, connection="db")
def query(self: Database, sql: str) -> int:
    return len(self.connection + sql)


@app.task(base=Database)
def plain_query(sql: str) -> int:
    return len(sql)


@shared_task
def shared(x: float) -> float:
    return x


@shared_task(bind=True, ignore_result=True)
def shared_bound(self: Task[..., Any], x: float) -> None: ...


@shared_task(name="async")
async def shared_async(x: float) -> float:
    return x


# The arguments are those of the function, the result is what it returns.
assert_type(add.delay(1, 2), AsyncResult[int])
assert_type(add.delay(1, y=2).get(), int)
assert_type(add(1), int)
assert_type(named.delay("a", upper=True).get(timeout=1.5), list[str])
assert_type(bound.delay(1).get(), str)
assert_type(bound(1), str)
assert_type(query.delay("select").get(), int)
assert_type(plain_query.delay("select").get(), int)
assert_type(shared.delay(1.5).get(), float)
assert_type(shared_bound.delay(1.5).get(), None)

# The result of an async def is the awaited value.
assert_type(fetch.delay("u").get(), bytes)
assert_type(bound_fetch.delay("u").get(), bytes)
assert_type(shared_async.delay(1).get(), float)

assert_type(add.apply_async((1,), {"y": 2}, countdown=3, queue="q"), AsyncResult[int])
assert_type(add.apply((1, 2)), EagerResult[int])
assert_type(add.AsyncResult("id").get(), int)
assert_type(app.send_task("elsewhere", (1,)).get(), Any)


async def on_a_loop() -> None:
    assert_type(await fetch("u"), bytes)
    assert_type(await bound_fetch("u"), bytes)
    assert_type(await (await add.adelay(1, 2)).aget(timeout=1), int)
    assert_type(await add.aapply_async((1, 2)), AsyncResult[int])


# Tasks of one type stand in for each other.
tasks: list[Task[[float], float]] = [shared, shared_async]
