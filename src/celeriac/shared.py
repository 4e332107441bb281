"""Tasks of modules that know no application: ``@shared_task``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, Unpack, overload

from celeriac import decorator, registry
from celeriac.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from celeriac.decorator import AsyncTask, Decorate, DecorateBound, TaskKeywords

P = ParamSpec("P")
R = TypeVar("R")


@overload
def shared_task(
    fn: Callable[P, Coroutine[Any, Any, R]], /, **options: Unpack[TaskKeywords]
) -> AsyncTask[P, R]: ...
@overload
def shared_task(fn: Callable[P, R], /, **options: Unpack[TaskKeywords]) -> Task[P, R]: ...
@overload
def shared_task(*, bind: Literal[True], **options: Unpack[TaskKeywords]) -> DecorateBound: ...
@overload
def shared_task(*, bind: Literal[False] = False, **options: Unpack[TaskKeywords]) -> Decorate: ...
@overload
def shared_task(
    *, base: type[Task[Any, Any]] | None, bind: Literal[True], **options: Any
) -> DecorateBound: ...
@overload
def shared_task(
    *, base: type[Task[Any, Any]] | None, bind: Literal[False] = False, **options: Any
) -> Decorate: ...
def shared_task(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    base: type[Task[Any, Any]] | None = None,
    bind: bool = False,
    **options: Any,
) -> Any:
    """Make a task of every application; a decorator, with or without arguments.

    Args:
        fn: the function.
        base: the class of the task; the application's when not given.
        bind: the function gets the task as its first argument.
        options: the attributes of `celeriac.task.Task`, and ``name``.

    Raises:
        TypeError: an option nobody knows.
    """

    def decorate(function: Callable[..., Any]) -> Task[Any, Any]:
        own = dict(options)
        name = own.pop("name", None) or f"{function.__module__}.{function.__name__}"
        task = decorator.make(function, name, base or Task, bind, own)
        registry.share(task)
        return task

    return decorate if fn is None else decorate(fn)
