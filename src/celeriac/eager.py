"""Running a task in the process that calls it: ``apply()`` and ``task_always_eager``."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING, Any

from celeriac import context, publish
from celeriac.context import Context
from celeriac.identifier import hostname, uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from celeriac.app import Celeriac
    from celeriac.result import EagerResult
    from celeriac.task import Task

#: Runs the task as a worker does.  It belongs to the layer above, and is therefore looked up by
#: name on first use: ``run(app, task, request, throw) -> EagerResult``.
RUNNER = "celeriac.execution.eager:run"


def run(
    task: Task[Any, Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: dict[str, Any],
    throw: bool | None = None,
) -> EagerResult[Any]:
    """Run a task here and now.

    Args:
        task: what to run.
        args: positional arguments.
        kwargs: keyword arguments.
        options: as for `Task.apply_async`.
        throw: raise what it raises; None means the setting ``task_eager_propagates``.
    """
    runner: Callable[[Celeriac, Task[Any, Any], Context, bool], EagerResult[Any]]
    runner = pkgutil.resolve_name(RUNNER)
    if throw is None:
        throw = bool(task.app.conf.task_eager_propagates)
    return runner(task.app, task, _request(task, args, kwargs, options), throw)


def through_wire(
    task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return the arguments as a worker would get them, so that tests see what is lost on the way.

    Raises:
        EncodeError: an argument cannot be serialized.
    """
    app = task.app
    name = options.get("serializer") or task.options(app).serializer
    encoded = app.serialization.dumps((tuple(args), dict(kwargs)), name, names=("args", "kwargs"))
    there: tuple[list[Any], dict[str, Any]] = app.serialization.loads(*encoded)
    return there


def _request(
    task: Task[Any, Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Context:
    task_id = options.get("task_id") or uuid()
    outer = context.running()
    parent = None if outer is None else outer.request
    root_id = options.get("root_id") or (parent and (parent.root_id or parent.id)) or task_id
    link, link_error = options.get("link"), options.get("link_error")
    return Context(
        id=task_id,
        task=task.name,
        args=tuple(args),
        kwargs=dict(kwargs),
        root_id=root_id,
        parent_id=options.get("parent_id") or (parent and parent.id),
        retries=options.get("retries") or 0,
        is_eager=True,
        called_directly=False,
        headers=options.get("headers"),
        callbacks=publish.signatures(link) if link else None,
        errbacks=publish.signatures(link_error) if link_error else None,
        logfile=options.get("logfile"),
        loglevel=options.get("loglevel") or 0,
        ignore_result=options.get("ignore_result") or False,
        hostname=hostname(),
        delivery_info={
            "is_eager": True,
            "exchange": options.get("exchange"),
            "routing_key": options.get("routing_key"),
            "priority": options.get("priority"),
            "redelivered": False,
        },
    )
