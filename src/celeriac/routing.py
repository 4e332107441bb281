"""Which queue a task goes to: pure, from names and settings."""

from __future__ import annotations

import fnmatch
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from celeriac.error import ImproperlyConfigured

#: Takes the task name, and by keyword ``args``, ``kwargs``, ``options`` and ``task``.
RouteFunction = Callable[..., Any]


class Queue(msgspec.Struct, frozen=True):
    """A declared queue."""

    name: str
    exchange: str = ""
    routing_key: str = ""


class Destination(msgspec.Struct, frozen=True):
    """Where a message goes.

    Attributes:
        queue: the queue that receives it.
        exchange: as sent on the wire.
        routing_key: as sent on the wire.
        options: what the route says about the message besides, such as its priority.
    """

    queue: str
    exchange: str
    routing_key: str
    options: Mapping[str, Any] = {}


class Router:
    """Finds destinations.

    Args:
        queues: ``task_queues``.
        routes: ``task_routes``.
        default: ``task_default_queue``.
        create_missing: ``task_create_missing_queues``.

    Raises:
        ImproperlyConfigured: queues or routes of a form that is not understood.
    """

    def __init__(
        self,
        queues: Any = None,
        routes: Any = None,
        default: str = "celery",
        create_missing: bool = True,
    ) -> None:
        self.default = default
        self.queues = {queue.name: queue for queue in _queues(queues)}
        self._create_missing = create_missing
        self._routes = _routes(routes)
        #: False when only names decide, so that a destination can be kept.
        self.dynamic = any(callable(route) for route in self._routes)

    def queue_names(self) -> list[str]:
        """Return the queues a worker consumes when nobody says which."""
        return list(self.queues) or [self.default]

    def route(
        self,
        task: str,
        options: Mapping[str, Any],
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        sender: Any = None,
    ) -> Destination:
        """Return where a message of ``task`` goes.

        Args:
            task: its name.
            options: ``queue``, ``exchange`` and ``routing_key`` asked for by the caller or the
                task; they win over routes.
            args: the arguments, for route functions.
            kwargs: the keyword arguments, for route functions.
            sender: the task, for route functions.

        Raises:
            ImproperlyConfigured: a queue that is not declared while missing ones are not made.
        """
        found: Mapping[str, Any] = {}
        for route in self._routes:
            if callable(route):
                answer = route(task, args, kwargs or {}, dict(options), task=sender)
            else:
                answer = route.get(task)
            if answer:
                found = _as_options(answer)
                break
        asked = {**found, **{key: value for key, value in options.items() if value is not None}}
        rest = {key: value for key, value in found.items() if key not in _ADDRESS}
        return self._destination(asked, rest)

    def _destination(self, asked: Mapping[str, Any], rest: Mapping[str, Any]) -> Destination:
        name = _name(asked.get("queue"))
        exchange = _name(asked.get("exchange"))
        routing_key = asked.get("routing_key") or ""
        if not name and (routing_key or exchange):
            name = self._bound(exchange, routing_key) or routing_key
        name = name or self.default
        if name not in self.queues and name != self.default and not self._create_missing:
            known = ", ".join(self.queues) or self.default
            raise ImproperlyConfigured(
                f'queue "{name}" is not in task_queues ({known}) and task_create_missing_queues '
                "is False"
            )
        return Destination(name, exchange, routing_key or name, rest)

    def _bound(self, exchange: str, routing_key: str) -> str:
        """Return the declared queue that an exchange and a routing key lead to, or ""."""
        for queue in self.queues.values():
            same_exchange = not exchange or queue.exchange == exchange
            if same_exchange and routing_key in ("", queue.routing_key, queue.name):
                return queue.name
        return ""


_ADDRESS = frozenset({"queue", "exchange", "routing_key"})


def _name(thing: Any) -> str:
    """Return the name of a queue or an exchange given by name or as an object."""
    if thing is None or isinstance(thing, str):
        return thing or ""
    return str(thing.name)


def _as_options(answer: Any) -> Mapping[str, Any]:
    if isinstance(answer, Mapping):
        return answer
    return {"queue": _name(answer)}


def _queues(declared: Any) -> Iterable[Queue]:
    if declared is None:
        return
    if isinstance(declared, Mapping):
        for name, options in declared.items():
            yield _queue(name, options or {})
        return
    for item in [declared] if isinstance(declared, str) else declared:
        if isinstance(item, Mapping):
            yield _queue(item.get("name"), item)
        elif isinstance(item, str):
            yield _queue(item, {})
        else:
            exchange, key = getattr(item, "exchange", None), getattr(item, "routing_key", None)
            yield _queue(getattr(item, "name", None), {"exchange": exchange, "routing_key": key})


def _queue(name: Any, options: Any) -> Queue:
    if not isinstance(name, str) or not name:
        raise ImproperlyConfigured(f"task_queues: {name!r} is not the name of a queue")
    if not isinstance(options, Mapping):
        options = {"exchange": options.exchange, "routing_key": options.routing_key}
    return Queue(name, _name(options.get("exchange")), options.get("routing_key") or name)


class _Names:
    """A dict of ``task_routes``: exact names first, then patterns in their order."""

    def __init__(self, table: Mapping[Any, Any]) -> None:
        self._exact = {
            key: value for key, value in table.items() if isinstance(key, str) and not _is_glob(key)
        }
        self._patterns = [
            (re.compile(fnmatch.translate(key)) if isinstance(key, str) else key, value)
            for key, value in table.items()
            if key not in self._exact
        ]

    def get(self, task: str) -> Any:
        if task in self._exact:
            return self._exact[task]
        return next((value for key, value in self._patterns if key.match(task)), None)


def _is_glob(key: str) -> bool:
    return any(mark in key for mark in "*?[")


def _routes(routes: Any) -> list[_Names | RouteFunction]:
    if routes is None:
        return []
    if not isinstance(routes, list | tuple):
        routes = [routes]
    found: list[_Names | RouteFunction] = []
    for route in routes:
        if isinstance(route, str):
            found.extend(_routes(_resolve(route)))
        elif isinstance(route, Mapping):
            found.append(_Names(route))
        elif hasattr(route, "route_for_task"):
            found.append(_for_task(route))
        elif callable(route):
            found.append(route)
        else:
            found.append(_Names(_pairs(route)))
    return found


def _pairs(route: Any) -> dict[Any, Any]:
    try:
        return dict(route)
    except (TypeError, ValueError):
        raise ImproperlyConfigured(
            f"task_routes: {route!r} is neither a dict from task names to queues, nor a function, "
            "nor the name of one"
        ) from None


def _resolve(path: str) -> Any:
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(f'task_routes: "{path}" cannot be imported: {error}') from error


def _for_task(router: Any) -> RouteFunction:
    def route(name: str, args: Any, kwargs: Any, _: Any, **__: Any) -> Any:
        return router.route_for_task(name, args, kwargs)

    return route
