"""From a function to a `Task`: what `app.task` and `shared_task` have in common."""

from __future__ import annotations

import difflib
from types import FunctionType, MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    overload,
)

from celeriac import argument
from celeriac.task import Task

P = ParamSpec("P")
R = TypeVar("R")

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine
    from datetime import datetime, timedelta

    class AsyncTask(Task[P, R]):
        """A task whose body is ``async def``: calling it returns a coroutine.

        There is no such class at run time; the name only tells a type checker about the call.
        """

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:  # type: ignore[override]
            """Return the coroutine of the body."""

else:
    AsyncTask = Task


class TaskKeywords(TypedDict, total=False):
    """The options of ``@app.task`` besides ``bind`` and ``base``."""

    name: str
    typing: bool
    shared: bool
    lazy: bool
    acks_late: bool | None
    acks_on_failure_or_timeout: bool | None
    compression: str | None
    default_retry_delay: float
    delivery_mode: int | str | None
    exchange: Any
    expires: datetime | float | timedelta | None
    ignore_result: bool | None
    max_deaths: int | None
    max_losses: int | None
    max_retries: int | None
    priority: int | None
    queue: Any
    rate_limit: str | float | None
    reject_on_worker_lost: bool | None
    resultrepr_maxsize: int
    routing_key: str | None
    send_events: bool
    serializer: str | None
    soft_time_limit: float | None
    store_eager_result: bool | None
    store_errors_even_if_ignored: bool | None
    throws: Collection[type[BaseException]]
    time_limit: float | None
    track_started: bool | None
    trail: bool
    before_start: Callable[..., object]
    on_success: Callable[..., object]
    on_failure: Callable[..., object]
    on_retry: Callable[..., object]
    after_return: Callable[..., object]


class Decorate(Protocol):
    """Turns a function into a task."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R]: ...


class DecorateBound(Protocol):
    """Turns a function whose first parameter is the task into a task."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...


_HOOKS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")
#: Celery's options that mean nothing here: tasks are never lazy, and shared ones say so.
_IGNORED = frozenset({"lazy", "shared", "_force_evaluate"})


def make(
    function: Callable[..., Any],
    name: str,
    base: type[Task[Any, Any]],
    bind: bool,
    options: dict[str, Any],
) -> Task[Any, Any]:
    """Return a task for ``function``.

    Args:
        function: the body.
        name: the name of the task.
        base: the class of the task.
        bind: the function takes the task as its first argument.
        options: attributes of the task.

    Raises:
        TypeError: not a function, or an option that the class does not know.
    """
    if not callable(function):
        raise TypeError(f"a task is made of a function, not {function!r}")
    known = {key: value for key, value in options.items() if key not in _IGNORED}
    _check_options(name, base, known)
    task = base()
    for key, value in known.items():
        hook = key in _HOOKS
        # A hook is bound as if it were defined in the class.
        bound = MethodType(value, task) if hook and isinstance(value, FunctionType) else value
        setattr(task, key, bound)
        if hook:
            setattr(task, f"has_{key}", True)
    task.name = name
    task.run = MethodType(function, task) if bind else function
    task.is_async = argument.is_async(function)
    task._definition = (function, base, bind, known)
    _look_like(task, function)
    return task


def adopt(shared: Task[Any, Any], base: type[Task[Any, Any]]) -> Task[Any, Any]:
    """Return an application's own task for a shared one."""
    function, own_base, bind, options = shared._definition
    task = make(function, shared.name, base if own_base is Task else own_base, bind, options)
    task._origin = shared
    return task


def _look_like(task: Task[Any, Any], function: Callable[..., Any]) -> None:
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__"):
        value = getattr(function, attribute, None)
        if value is not None:
            setattr(task, attribute, value)
    task.__wrapped__ = function


def _check_options(name: str, base: type[Task[Any, Any]], options: dict[str, Any]) -> None:
    for option in options:
        if option.startswith("_") or not hasattr(base, option):
            known = [key for key in dir(base) if not key.startswith("_")]
            near = difflib.get_close_matches(option, known, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise TypeError(
                f'task "{name}": no option "{option}"{hint}  (An option of your own must be an '
                "attribute of the class given as base=.)"
            )
