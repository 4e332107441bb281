"""Results, against the memory store."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest

from celeriac import Celeriac, context, state
from celeriac.clock import ManualClock
from celeriac.context import Context
from celeriac.error import DecodeError, TimeoutError  # noqa: A004
from celeriac.identifier import token
from celeriac.message import ResultRecord
from celeriac.protocol import result_meta
from celeriac.protocol.result_meta import ResultMeta
from celeriac.result import (
    AsyncResult,
    EagerResult,
    allow_join_result,
    denied_join_result,
    result_from_tuple,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def app() -> Iterator[Celeriac]:
    name = f"memory://{token()}"
    with Celeriac("subject", broker=name, backend=name) as made:
        yield made


@pytest.fixture
def store(app: Celeriac) -> Callable[..., None]:
    def put(task_id: str, name: str, result: Any = None, **fields: Any) -> None:
        meta = ResultMeta(task_id, name, result, **fields)
        payload = result_meta.encode(meta, app.serialization)
        app.store.put([ResultRecord(task_id, name, payload)])

    return put


def test_an_unknown_id_is_pending(app: Celeriac) -> None:
    result = app.AsyncResult("nobody")
    assert (result.state, result.status, result.result, result.traceback) == (
        "PENDING",
        "PENDING",
        None,
        None,
    )
    assert not result.ready()
    assert not result.exists()
    assert result.children is None
    assert result.date_done is None
    with pytest.raises(TimeoutError, match="nobody has not ended within 0 seconds"):
        result.get(timeout=0)


def test_success(app: Celeriac, store: Callable[..., None]) -> None:
    store("i", state.SUCCESS, [1, 2], date_done="2030-01-01T00:00:00+00:00", children=[])
    result = app.AsyncResult("i")
    assert result.get() == result.result == result.info == [1, 2]
    assert (result.ready(), result.successful(), result.failed()) == (True, True, False)
    assert result.date_done is not None
    assert result.date_done.year == 2030
    assert result.children == []
    assert result.exists()


def test_what_has_ended_is_asked_for_once(app: Celeriac, store: Callable[..., None]) -> None:
    store("i", state.SUCCESS, 1)
    result = app.AsyncResult("i")
    assert result.get() == 1
    app.store.forget(["i"])
    assert result.state == state.SUCCESS
    result.forget()
    assert result.state == state.PENDING


def test_a_failure_is_raised_with_the_traceback_of_the_worker(
    app: Celeriac, store: Callable[..., None]
) -> None:
    store("i", state.FAILURE, ValueError("no", 1), traceback="Traceback: in the task\n")
    result = app.AsyncResult("i")
    with pytest.raises(ValueError, match="no") as caught:
        result.get()
    assert caught.value.args == ("no", 1)
    assert "in the task" in "".join(caught.value.__notes__)
    with pytest.raises(ValueError, match="no") as again:
        result.get()
    assert len(again.value.__notes__) == 1
    assert isinstance(result.get(propagate=False), ValueError)
    assert (result.ready(), result.successful(), result.failed()) == (True, False, True)
    assert result.traceback == "Traceback: in the task\n"


def test_get_wakes_when_the_result_comes(app: Celeriac, store: Callable[..., None]) -> None:
    result = app.AsyncResult("i")
    seen: list[dict[str, Any]] = []
    calls: list[tuple[str, Any]] = []
    waiting = threading.Event()
    watch = app.store.watch

    def watched(ids: Any) -> Any:
        watcher = watch(ids)
        waiting.set()
        return watcher

    app.store.watch = watched  # type: ignore[method-assign]

    def work() -> None:
        waiting.wait()
        store("i", "PROGRESS", {"done": 1})
        store("i", state.SUCCESS, 5)

    thread = threading.Thread(target=work)
    thread.start()
    value = result.get(
        timeout=30, on_message=seen.append, callback=lambda i, v: calls.append((i, v))
    )
    thread.join()
    assert value == 5
    assert seen[-1]["status"] == state.SUCCESS
    assert calls == [("i", 5)]


def test_on_interval_is_called_while_waiting(app: Celeriac) -> None:
    calls: list[int] = []

    def interval() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        app.AsyncResult("i").get(interval=0.001, on_interval=interval)


def test_timeouts_are_measured_by_the_clock_of_the_application(app: Celeriac) -> None:
    clock = app.clock = ManualClock()
    with pytest.raises(TimeoutError, match="within 100 seconds"):
        app.AsyncResult("i").get(timeout=100, interval=0.001, on_interval=lambda: clock.advance(60))


async def test_on_an_event_loop(app: Celeriac, store: Callable[..., None]) -> None:
    result = app.AsyncResult("i")
    thread = threading.Timer(0, store, ("i", state.SUCCESS, 7))
    thread.start()
    assert await result.aget(timeout=30) == 7
    thread.join()
    assert await result.aget() == 7
    with pytest.raises(TimeoutError):
        await app.AsyncResult("nobody").aget(timeout=0)
    store("f", state.FAILURE, KeyError("k"))
    with pytest.raises(KeyError):
        await app.AsyncResult("f").aget()


def test_waiting_inside_a_task_is_refused(app: Celeriac, store: Callable[..., None]) -> None:
    store("i", state.SUCCESS, 1)
    task = app.task(name="t")(lambda: None)
    stack = context.push(task, Context(id="x", called_directly=False))
    try:
        with pytest.raises(RuntimeError, match="never wait"):
            app.AsyncResult("i").get()
        assert app.AsyncResult("i").get(disable_sync_subtasks=False) == 1
        with allow_join_result():
            assert app.AsyncResult("i").get() == 1
    finally:
        context.pop(stack)
    with denied_join_result(), pytest.raises(RuntimeError):
        app.AsyncResult("i").get()
    assert app.AsyncResult("i").get() == 1


def test_a_failed_parent_is_raised(app: Celeriac, store: Callable[..., None]) -> None:
    store("parent", state.FAILURE, ValueError("first"))
    result = AsyncResult("i", app=app, parent=app.AsyncResult("parent"))
    with pytest.raises(ValueError, match="first"):
        result.get(timeout=0)
    with pytest.raises(TimeoutError):
        result.get(timeout=0, follow_parents=False)
    assert result.as_list() == ["i", "parent"]
    result.forget()
    assert not app.AsyncResult("parent").exists()


def test_extended_facts(app: Celeriac, store: Callable[..., None]) -> None:
    extended = {"name": "t", "args": [1], "kwargs": {}, "worker": "w", "retries": 2, "queue": "q"}
    store("i", state.SUCCESS, 1, extended=extended)
    result = app.AsyncResult("i")
    assert {key: getattr(result, key) for key in extended} == extended


def test_children(app: Celeriac, store: Callable[..., None]) -> None:
    child = app.AsyncResult("child", parent=app.AsyncResult("before"))
    store("i", state.SUCCESS, 1, children=[child.as_tuple()])
    (found,) = app.AsyncResult("i").children or []
    assert found == child
    assert found.parent == app.AsyncResult("before")


def test_as_a_value(app: Celeriac) -> None:
    app.set_current()
    result = app.AsyncResult("i")
    assert (str(result), repr(result), result.task_id) == ("i", "<AsyncResult: i>", "i")
    assert result == AsyncResult("i")
    assert result == "i"
    assert result != AsyncResult("j")
    assert result != 5
    assert len({result, AsyncResult("i")}) == 1
    assert result.as_tuple() == (("i", None), None)
    assert result_from_tuple([["i", [["p", None], None]], None]).parent == AsyncResult("p")
    assert result_from_tuple(["i", None]) == result
    assert result_from_tuple(result) is result
    assert copy.copy(result) == pickle.loads(pickle.dumps(result)) == result
    with pytest.raises(NotImplementedError):
        result_from_tuple([["g", None], [["i", None]]])
    for wrong in ("", None, 5):
        with pytest.raises(ValueError, match="id of a task"):
            AsyncResult(wrong)  # type: ignore[arg-type]


def test_a_result_that_cannot_be_read_says_so(app: Celeriac) -> None:
    app.store.put([ResultRecord("i", state.SUCCESS, b"not json")])
    with pytest.raises(DecodeError):
        app.AsyncResult("i").get(timeout=0)


def test_without_a_backend_asking_explains() -> None:
    app = Celeriac(broker=f"memory://{token()}", set_as_current=False)
    with pytest.raises(NotImplementedError, match="result_backend"):
        app.AsyncResult("i").get(timeout=0)


def test_ignored_results(app: Celeriac) -> None:
    task = app.task(name="quiet", ignore_result=True)(lambda: None)
    result = task.delay()
    assert result.ignored
    result.ignored = False
    assert not result.ignored
    assert not app.AsyncResult("i").ignored


def test_eager_results(app: Celeriac) -> None:
    app.set_current()
    well = EagerResult("i", 5, state.SUCCESS)
    assert (well.get(), well.wait(), well.ready(), well.successful()) == (5, 5, True, True)
    assert repr(well) == "<EagerResult: i>"
    assert pickle.loads(pickle.dumps(well)).get() == copy.copy(well).get() == 5
    broken = EagerResult("i", ValueError("no"), state.FAILURE, "trace")
    with pytest.raises(ValueError, match="no"):
        broken.get()
    assert isinstance(broken.get(propagate=False), ValueError)
    assert broken.traceback == "trace"
    well.forget()
    assert well.get() == 5
