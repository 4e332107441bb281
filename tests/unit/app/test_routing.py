"""Which queue a task goes to."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from celeriac.error import ImproperlyConfigured
from celeriac.routing import Destination, Router


def test_without_any_routes_a_task_goes_to_the_default_queue() -> None:
    router = Router(default="d")
    assert router.route("t", {}) == Destination("d", "", "d")
    assert router.queue_names() == ["d"]
    assert not router.dynamic


@pytest.mark.parametrize(
    ("routes", "queue"),
    [
        ({"proj.add": "q"}, "q"),
        ({"proj.add": {"queue": "q"}}, "q"),
        ({"proj.*": "glob"}, "glob"),
        ({"proj.*": "glob", "proj.add": "exact"}, "exact"),
        ({re.compile(r"proj\.(add|mul)"): "regex"}, "regex"),
        ([{"other": "x"}, {"proj.add": "second"}], "second"),
        ([[("proj.add", "pairs")]], "pairs"),
        ({"other": "x"}, "celery"),
        (lambda name, args, kwargs, options, task=None, **_: f"for-{name}", "for-proj.add"),
        (lambda *_, **__: None, "celery"),
        (SimpleNamespace(route_for_task=lambda name, args, kwargs: {"queue": "old"}), "old"),
    ],
)
def test_routes(routes: Any, queue: str) -> None:
    assert Router(routes=routes).route("proj.add", {}).queue == queue


def test_what_is_asked_for_wins_over_routes() -> None:
    router = Router(routes={"t": {"queue": "route", "priority": 3}})
    found = router.route("t", {"queue": "asked", "exchange": None})
    assert found.queue == "asked"
    assert found.options == {"priority": 3}


def test_functions_see_the_call() -> None:
    seen: list[Any] = []

    def route(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_: Any) -> Any:
        seen.append((name, args, kwargs, options, task))
        return {"queue": "big" if args[0] > 10 else "small"}

    router = Router(routes=(route,))
    assert router.dynamic
    assert router.route("t", {"exchange": "e"}, [11], {"k": 1}, "task").queue == "big"
    assert seen == [("t", [11], {"k": 1}, {"exchange": "e"}, "task")]


@pytest.mark.parametrize(
    "queues",
    [
        ["a", "b"],
        {"a": {}, "b": None},
        [{"name": "a"}, {"name": "b"}],
        [SimpleNamespace(name="a"), SimpleNamespace(name="b", exchange=None, routing_key="k")],
    ],
)
def test_queues_may_be_declared_in_several_ways(queues: Any) -> None:
    assert Router(queues=queues).queue_names() == ["a", "b"]


def test_a_routing_key_finds_the_queue_bound_to_it() -> None:
    exchange = SimpleNamespace(name="media")
    router = Router(
        queues=[
            {"name": "video", "exchange": exchange, "routing_key": "v"},
            {"name": "other", "routing_key": "x"},
        ]
    )
    assert router.route("t", {"routing_key": "v"}).queue == "video"
    assert router.route("t", {"exchange": "media"}) == Destination("video", "media", "video")
    # As with AMQP's default exchange, a key that is bound to nothing is the name of a queue.
    assert router.route("t", {"routing_key": "free"}).queue == "free"


def test_undeclared_queues_may_be_forbidden() -> None:
    router = Router(queues=["a"], default="a", create_missing=False)
    assert router.route("t", {}).queue == "a"
    with pytest.raises(ImproperlyConfigured, match=r'"b".*task_queues \(a\)'):
        router.route("t", {"queue": "b"})


def test_a_route_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match="no_such_module_at_all"):
        Router(routes="no_such_module_at_all:route")


def test_a_route_of_no_known_form_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="task_routes: 5"):
        Router(routes=5)


def test_a_queue_without_a_name_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="None"):
        Router(queues=[{"exchange": "x"}])
