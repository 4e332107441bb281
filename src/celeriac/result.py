"""Results of tasks: what `delay` returns."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar, cast

from celeriac import context, current
from celeriac.error import StoreUnavailable, TimeoutError  # noqa: A004 - Celery's public name
from celeriac.protocol import result_meta
from celeriac.protocol.result_meta import ResultMeta
from celeriac.state import PENDING, PROPAGATE_STATES, READY_STATES, SUCCESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celeriac.app import Celeriac
    from celeriac.store.base import Store

R = TypeVar("R")

#: Without an answer the store is asked again after so many seconds, whatever the watcher says.
_SAFETY_INTERVAL = 30.0


class _Joining(threading.local):
    allowed: bool | None = None


_joining = _Joining()


@contextmanager
def _join_rule(allowed: bool) -> Iterator[None]:
    before, _joining.allowed = _joining.allowed, allowed
    try:
        yield
    finally:
        _joining.allowed = before


def allow_join_result() -> Any:
    """Return a context manager inside which a task may wait for results."""
    return _join_rule(True)


def denied_join_result() -> Any:
    """Return a context manager inside which nobody may wait for results."""
    return _join_rule(False)


def assert_will_not_block() -> None:
    """Refuse to wait for a result inside a task.

    Raises:
        RuntimeError: this code runs inside a task, and nobody has allowed it.
    """
    if _joining.allowed is None:
        inside = context.running() is not None
        refused = inside and not _eager()
    else:
        refused = not _joining.allowed
    if refused:
        raise RuntimeError(
            "never wait for a result inside a task: when every slot waits, nothing is left to run "
            "what they wait for.  Send the follow-up as a callback (link=), or, if you are sure, "
            "use get(disable_sync_subtasks=False) or celeriac.result.allow_join_result()"
        )


def _eager() -> bool:
    run = context.running()
    return run is not None and run.request.is_eager


class AsyncResult(Generic[R]):
    """The result of a task, perhaps a future one.

    Args:
        id: the task id.
        backend: Celery's; ignored, the application's store is used.
        task_name: the name of the task.
        app: the application; the current one when not given.
        parent: the result of the task before it.
    """

    TimeoutError = TimeoutError

    def __init__(
        self,
        id: str,  # noqa: A002 - Celery's name
        backend: object = None,
        task_name: str | None = None,
        app: Celeriac | None = None,
        parent: AsyncResult[Any] | None = None,
    ) -> None:
        if not isinstance(id, str) or not id:
            raise ValueError(f"a result needs the id of a task, not {id!r}")
        self.id = id
        self.parent = parent
        self._app = app
        self._task_name = task_name
        #: Kept once the task has ended; nothing changes any more.
        self._meta: ResultMeta | None = None

    # -- what is known ---------------------------------------------------------------------

    @property
    def app(self) -> Celeriac:
        """The application whose store is asked."""
        return self._app or current.get_current_app()

    @property
    def backend(self) -> Store:
        """The store that is asked."""
        return self.app.store

    @property
    def task_id(self) -> str:
        """The task id."""
        return self.id

    @property
    def state(self) -> str:
        """The state; PENDING also when nothing is known of the id."""
        return self._look().state

    status = state

    @property
    def result(self) -> Any:
        """What the task returned; what it raised; or what it reported with `update_state`."""
        return self._look().result

    info = result

    @property
    def traceback(self) -> str | None:
        """The traceback, as text."""
        return self._look().traceback

    @property
    def date_done(self) -> datetime | None:
        """When the task ended."""
        done = self._look().date_done
        return None if done is None else datetime.fromisoformat(done)

    @property
    def children(self) -> list[AsyncResult[Any]] | None:
        """The results of the tasks that this one sent; None while that is not known."""
        children = self._look().children
        if children is None:
            return None
        return [result_from_tuple(child, self.app) for child in children]

    @property
    def name(self) -> str | None:
        """The name of the task; with ``result_extended``, or on the result of a call."""
        return self._extended("name") or self._task_name

    @property
    def args(self) -> Any:
        """The positional arguments, with ``result_extended``."""
        return self._extended("args")

    @property
    def kwargs(self) -> Any:
        """The keyword arguments, with ``result_extended``."""
        return self._extended("kwargs")

    @property
    def worker(self) -> str | None:
        """The worker that ran it, with ``result_extended``."""
        return cast("str | None", self._extended("worker"))

    @property
    def retries(self) -> int | None:
        """How often it was retried, with ``result_extended``."""
        return cast("int | None", self._extended("retries"))

    @property
    def queue(self) -> str | None:
        """The queue it came from, with ``result_extended``."""
        return cast("str | None", self._extended("queue"))

    @property
    def ignored(self) -> bool:
        """The task stores no result."""
        if not hasattr(self, "_ignored"):
            task = self.app.tasks.get(self._task_name) if self._task_name else None
            self._ignored = bool(task and task.options(self.app).ignore_result)
        return self._ignored

    @ignored.setter
    def ignored(self, value: bool) -> None:
        self._ignored = value

    def ready(self) -> bool:
        """Tell whether the task has ended."""
        return self.state in READY_STATES

    def successful(self) -> bool:
        """Tell whether the task has ended well."""
        return self.state == SUCCESS

    def failed(self) -> bool:
        """Tell whether the task has failed."""
        return self.state == "FAILURE"

    def exists(self) -> bool:
        """Tell whether the store knows anything of it."""
        return self._meta is not None or bool(self.app.store.get([self.id]))

    # -- waiting ---------------------------------------------------------------------------

    def get(  # noqa: PLR0917 - Celery's signature
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
        EXCEPTION_STATES: object = None,  # noqa: N803 - Celery's parameter
        PROPAGATE_STATES: object = None,  # noqa: N803 - Celery's parameter
    ) -> R:
        """Wait for the task to end; return what it returned.

        Args:
            timeout: seconds to wait at most; None waits without end.
            propagate: raise what the task raised; False: return it.
            interval: Celery's polling interval; here only how often ``on_interval`` is called.
            no_ack: Celery's; ignored.
            follow_parents: raise what a task before this one raised.
            callback: called with the id and the value.
            on_message: called with every change seen, as a dict.
            on_interval: called about every ``interval`` seconds of waiting.
            disable_sync_subtasks: refuse to wait inside a task.
            EXCEPTION_STATES: Celery's; ignored.
            PROPAGATE_STATES: Celery's; ignored.

        Raises:
            TimeoutError: it has not ended in time.
            RuntimeError: called inside a task.
            NotImplementedError: there is no result backend.
            BaseException: what the task raised, with its traceback as a note.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        meta = self._meta
        if meta is None:
            if propagate and follow_parents:
                self._raise_for_parents()
            meta = self._wait(timeout, interval if on_interval else None, on_interval, on_message)
        return self._hand_over(meta, propagate, callback)

    wait = get

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> R:
        """Do what `get` does without blocking the running event loop.  Allowed inside tasks."""
        meta = self._meta
        if meta is None:
            store, clock = self.app.store, self.app.clock
            deadline = None if timeout is None else clock.monotonic() + timeout
            async with store.awatch([self.id]) as watcher:
                while True:
                    try:
                        meta = self._keep((await store.aget([self.id])).get(self.id))
                    except StoreUnavailable:
                        await watcher.wait(self._left(deadline, clock.monotonic(), timeout, None))
                        continue
                    if meta.state in READY_STATES:
                        break
                    await watcher.wait(self._left(deadline, clock.monotonic(), timeout, None))
        return self._hand_over(meta, propagate, None)

    def maybe_throw(
        self, propagate: bool = True, callback: Callable[[str, Any], object] | None = None
    ) -> Any:
        """Raise what the task raised, if it has failed; else return the result."""
        return self._hand_over(self._look(), propagate, callback)

    maybe_reraise = maybe_throw

    def forget(self) -> None:
        """Delete the result, and those of the tasks before it."""
        self._meta = None
        if self.parent is not None:
            self.parent.forget()
        self.app.store.forget([self.id])

    # -- as a value ------------------------------------------------------------------------

    def as_tuple(self) -> Any:
        """Return the result as it is written into other results."""
        parent = self.parent
        return (self.id, parent and parent.as_tuple()), None

    def as_list(self) -> list[str]:
        """Return the ids of this result and of those before it."""
        return [self.id, *(self.parent.as_list() if self.parent is not None else ())]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return other.id == self.id
        return other == self.id if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __copy__(self) -> Self:
        return type(self)(self.id, None, self._task_name, self._app, self.parent)

    def __reduce__(self) -> Any:
        return _restore, (self.id, self._task_name, self.parent)

    # -- inside ----------------------------------------------------------------------------

    def _look(self) -> ResultMeta:
        if self._meta is not None:
            return self._meta
        return self._keep(self.app.store.get([self.id]).get(self.id))

    def _keep(self, payload: bytes | None) -> ResultMeta:
        if payload is None:
            return ResultMeta(self.id, PENDING)
        app = self.app
        meta = result_meta.decode(payload, app.result_serialization, app.conf.result_serializer)
        if meta.state in READY_STATES:
            self._meta = meta
        return meta

    def _extended(self, key: str) -> Any:
        return self._look().extended.get(key)

    def _wait(
        self,
        timeout: float | None,
        interval: float | None,
        on_interval: Callable[[], object] | None,
        on_message: Callable[[dict[str, Any]], object] | None,
    ) -> ResultMeta:
        store, clock = self.app.store, self.app.clock
        deadline = None if timeout is None else clock.monotonic() + timeout
        # The watcher first: nothing that is written after the look can be missed.
        with store.watch([self.id]) as watcher:
            while True:
                try:
                    meta = self._keep(store.get([self.id]).get(self.id))
                except StoreUnavailable:
                    # The watcher comes back with the store, and then reports every id.
                    watcher.wait(self._left(deadline, clock.monotonic(), timeout, None))
                    continue
                if on_message is not None and meta.state != PENDING:
                    on_message(_as_dict(meta))
                if meta.state in READY_STATES:
                    return meta
                changed = watcher.wait(self._left(deadline, clock.monotonic(), timeout, interval))
                if on_interval is not None and not changed:
                    on_interval()

    def _left(
        self, deadline: float | None, now: float, timeout: float | None, interval: float | None
    ) -> float:
        """Return how long to wait now.

        Raises:
            TimeoutError: no time is left.
        """
        pause = _SAFETY_INTERVAL if interval is None else interval
        if deadline is None:
            return pause
        if now >= deadline:
            what = f"task {self._task_name}[{self.id}]" if self._task_name else f"task {self.id}"
            raise TimeoutError(f"{what} has not ended within {timeout} seconds")
        return min(pause, deadline - now)

    def _hand_over(
        self,
        meta: ResultMeta,
        propagate: bool,
        callback: Callable[[str, Any], object] | None,
    ) -> R:
        if propagate and meta.state in PROPAGATE_STATES:
            _raise(meta)
        if callback is not None:
            callback(self.id, meta.result)
        return cast("R", meta.result)

    def _raise_for_parents(self) -> None:
        node = self.parent
        while node is not None:
            node.maybe_throw()
            node = node.parent


def _raise(meta: ResultMeta) -> NoReturn:
    """Raise what a task raised, with the text of its traceback as a note."""
    error = meta.result
    if not isinstance(error, BaseException):
        error = RuntimeError(f"task {meta.id} ended as {meta.state}: {error!r}")
    if meta.traceback and not getattr(error, "__notes__", None):
        error.add_note(f"\nIn the worker:\n{meta.traceback}")
    raise error


def _as_dict(meta: ResultMeta) -> dict[str, Any]:
    return {
        "task_id": meta.id,
        "status": meta.state,
        "result": meta.result,
        "traceback": meta.traceback,
        "children": meta.children,
        "date_done": meta.date_done,
    }


def _restore(
    task_id: str, task_name: str | None, parent: AsyncResult[Any] | None
) -> AsyncResult[Any]:
    return AsyncResult(task_id, task_name=task_name, parent=parent)


def result_from_tuple(value: Any, app: Celeriac | None = None) -> AsyncResult[Any]:
    """Return the result that `AsyncResult.as_tuple` described.

    Raises:
        NotImplementedError: it describes the result of a group.
    """
    if isinstance(value, AsyncResult):
        return value
    head, members = value
    task_id, parent = head if isinstance(head, list | tuple) else (head, None)
    if members is not None:
        raise NotImplementedError("results of groups cannot be read by this version of celeriac")
    before = result_from_tuple(parent, app) if parent else None
    return AsyncResult(task_id, app=app, parent=before)


class EagerResult(AsyncResult[R]):
    """The result of a task that ran in the calling process; it is known from the start."""

    def __init__(
        self,
        id: str,  # noqa: A002 - Celery's name
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(id, task_name=name)
        self._meta = ResultMeta(id, state, ret_value, traceback, children=[])

    def get(self, timeout: float | None = None, propagate: bool = True, **_: Any) -> R:  # type: ignore[override]
        """Return what the task returned, or raise what it raised."""
        return self._hand_over(self._look(), propagate, None)

    wait = get  # type: ignore[assignment]

    def ready(self) -> bool:
        """Always true."""
        return True

    def forget(self) -> None:
        """Nothing is stored."""

    def __copy__(self) -> Self:
        return type(self)(self.id, self.result, self.state, self.traceback, self._task_name)

    def __reduce__(self) -> Any:
        meta = self._look()
        return EagerResult, (self.id, meta.result, meta.state, meta.traceback, self._task_name)

    def __repr__(self) -> str:
        return f"<EagerResult: {self.id}>"
