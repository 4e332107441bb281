"""What `delay`, `apply_async` and `send_task` send."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from celeriac import Celeriac, context, signal
from celeriac.clock import ManualClock
from celeriac.context import Context
from celeriac.error import (
    BrokerUnavailable,
    EncodeError,
    ImproperlyConfigured,
    PublishRejected,
    PublishUnknown,
)
from celeriac.protocol import task as protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.message import Message, Outgoing
    from celeriac.task import Task


@pytest.fixture
def add(app: Celeriac) -> Task[[int, int], int]:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    return add


def test_delay_sends_the_call_and_returns_its_result(
    app: Celeriac, add: Task[[int, int], int], sent: Callable[..., list[Message]]
) -> None:
    result = add.delay(1, 2)
    (message,) = sent()
    call = protocol.read(message, app.serialization)
    assert (call.id, call.task, call.args, call.kwargs) == (result.id, add.name, (1, 2), {})
    headers = message.headers
    assert headers["root_id"] == result.id
    assert headers["parent_id"] is None
    assert headers["origin"].startswith(f"gen{os.getpid()}@")
    assert headers["ignore_result"] is False
    assert message.properties["reply_to"]
    assert message.properties["delivery_mode"] == 2


def test_every_option_reaches_the_wire(
    app: Celeriac, add: Task[[int, int], int], published: list[Outgoing]
) -> None:
    app.clock = ManualClock(1_700_000_000)
    add.apply_async(
        (1,),
        {"y": 2},
        task_id="chosen",
        link={"task": "after", "args": []},
        link_error=[{"task": "failed"}],
        shadow="shown",
        countdown=10,
        expires=60,
        queue="q",
        priority=5,
        headers={"x-mine": 1},
        retries=2,
        group_id="g",
        group_index=1,
        root_id="root",
        parent_id="parent",
        ignore_result=True,
        time_limit=9,
        soft_time_limit=8,
        reply_to="me",
        chord={"task": "body"},
        delivery_mode="transient",
        MessageGroupId="group",
    )
    (outgoing,) = published
    message = outgoing.message
    assert (outgoing.queue, outgoing.priority, outgoing.due) == ("q", 5, 1_700_000_010)
    expected = {
        "id": "chosen",
        "shadow": "shown",
        "eta": "2023-11-14T22:13:30+00:00",
        "expires": "2023-11-14T22:14:20+00:00",
        "group": "g",
        "group_index": 1,
        "retries": 2,
        "timelimit": [9, 8],
        "root_id": "root",
        "parent_id": "parent",
        "ignore_result": True,
        "x-mine": 1,
    }
    assert {key: message.headers[key] for key in expected} == expected
    call = protocol.read(message, app.serialization)
    assert call.callbacks == [{"task": "after", "args": []}]
    assert call.errbacks == [{"task": "failed"}]
    assert call.chord == {"task": "body"}
    assert message.properties["MessageGroupId"] == "group"
    assert message.properties["expiration"] == "60000"
    assert message.properties["delivery_mode"] == 1
    assert message.properties["reply_to"] == "me"


def test_options_of_the_task_win_over_routes_and_those_of_the_call_over_both(
    app: Celeriac, published: list[Outgoing]
) -> None:
    app.conf.task_routes = {"subject.*": {"queue": "route", "priority": 1, "serializer": "json"}}

    @app.task(name="subject.plain")
    def plain() -> None: ...

    @app.task(name="subject.own", queue="own", priority=2, time_limit=7)
    def own() -> None: ...

    plain.delay()
    own.delay()
    own.apply_async(queue="call", priority=0, time_limit=None)
    assert [(one.queue, one.priority) for one in published] == [
        ("route", 1),
        ("own", 2),
        ("call", 0),
    ]
    assert [one.message.headers["timelimit"] for one in published] == [
        [None, None],
        [7, None],
        [None, None],
    ]


def test_attributes_and_settings_changed_later_are_seen(
    app: Celeriac, add: Task[[int, int], int], published: list[Outgoing]
) -> None:
    add.delay(1, 1)
    add.queue = "attribute"
    add.delay(1, 1)
    del add.queue
    add.queue = None
    app.conf.task_default_queue = "setting"
    add.delay(1, 1)
    assert [one.queue for one in published] == ["celery", "attribute", "setting"]


def test_route_functions_see_the_arguments(
    app: Celeriac, add: Task[[int, int], int], published: list[Outgoing]
) -> None:
    app.conf.task_routes = lambda name, args, *_, **__: {"queue": f"q{args[0]}", "priority": 4}
    add.delay(1, 0)
    add.delay(2, 0)
    assert [(one.queue, one.priority) for one in published] == [("q1", 4), ("q2", 4)]


@pytest.mark.parametrize(
    ("eta", "due"),
    [
        (datetime(2030, 1, 1, tzinfo=UTC), 1893456000.0),
        (datetime(2030, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 1893456000.0),
        (datetime(2030, 1, 1), 1893452400.0),  # naive: in the zone of the application
        ("2030-01-01T00:00:00+00:00", 1893456000.0),
        (datetime(2000, 1, 1, tzinfo=UTC), None),  # past: at once
    ],
)
def test_eta(
    app: Celeriac, add: Task[[int, int], int], published: list[Outgoing], eta: Any, due: Any
) -> None:
    app.conf.timezone = "Europe/Vienna"
    add.apply_async((1, 2), eta=eta)
    assert published[0].due == due
    assert protocol.check(published[0].message).eta is not None


@pytest.mark.parametrize(
    "options", [{"eta": "soon"}, {"countdown": "5"}, {"expires": object()}, {"link": 5}]
)
def test_options_of_the_wrong_kind_are_refused_by_name(
    add: Task[[int, int], int], options: dict[str, Any], published: list[Outgoing]
) -> None:
    with pytest.raises(TypeError, match=next(iter(options))):
        add.apply_async((1, 2), **options)
    assert published == []


def test_an_explicit_none_clears_the_expiry_of_the_task(
    app: Celeriac, published: list[Outgoing]
) -> None:
    @app.task(expires=60)
    def short() -> None: ...

    short.delay()
    short.apply_async(expires=None)
    assert published[0].message.headers["expires"] is not None
    assert published[1].message.headers["expires"] is None
    assert "expiration" not in published[1].message.properties


def test_arguments_that_do_not_fit_fail_at_the_caller(
    app: Celeriac, add: Any, published: list[Outgoing]
) -> None:
    for args, kwargs in [((1,), {}), ((1, 2, 3), {}), ((1, 2), {"y": 3}), ((1,), {"z": 3})]:
        with pytest.raises(TypeError, match=r"add\(x, y\): "):
            add.delay(*args, **kwargs)
    add.typing = False
    add.delay(1)
    assert len(published) == 1


def test_arguments_that_cannot_be_serialized_are_named(add: Any, published: list[Outgoing]) -> None:
    with pytest.raises(EncodeError, match=r"args\[1\]"):
        add.delay(1, object())
    assert published == []


def test_an_unknown_task_may_be_sent_by_name(app: Celeriac, published: list[Outgoing]) -> None:
    result = app.send_task("elsewhere.work", (1,), {"k": 2}, queue="far", task_id="i")
    (outgoing,) = published
    assert (outgoing.queue, outgoing.message.task, result.id) == ("far", "elsewhere.work", "i")
    assert outgoing.message.headers["ignore_result"] is None


def test_send_task_applies_the_options_of_a_known_task(
    app: Celeriac, published: list[Outgoing]
) -> None:
    @app.task(queue="own", ignore_result=True)
    def known() -> None: ...

    app.send_task(known.name)
    assert published[0].queue == "own"
    assert published[0].message.headers["ignore_result"] is True


def test_receivers_may_change_what_is_sent(
    app: Celeriac, add: Task[[int, int], int], sent: Callable[..., list[Message]]
) -> None:
    told: list[dict[str, Any]] = []

    def before(
        sender: str, body: Any, headers: Any, properties: Any, routing_key: str, **_: Any
    ) -> None:
        assert (sender, routing_key) == (add.name, "celery")
        headers["trace"] = "t"
        properties["app_id"] = "a"
        body[1]["y"] = 5

    def after(sender: str, headers: Any, **named: Any) -> None:
        told.append({"sender": sender, **headers})

    signal.before_task_publish.connect(before)
    signal.after_task_publish.connect(after, sender=add.name)
    try:
        add.apply_async((1,), {"y": 2})
    finally:
        signal.before_task_publish.disconnect(before)
        signal.after_task_publish.disconnect(after, sender=add.name)
    (message,) = sent()
    assert message.headers["trace"] == "t"
    assert message.properties["app_id"] == "a"
    assert protocol.read(message, app.serialization).kwargs == {"y": 5}
    assert told[0]["trace"] == "t"


def test_what_a_task_sends_knows_where_it_comes_from(
    app: Celeriac, add: Task[[int, int], int], published: list[Outgoing]
) -> None:
    request = Context(id="parent", root_id="root", called_directly=False)
    token = context.push(add, request)
    try:
        kept = add.delay(1, 2)
        add.apply_async((1, 2), ignore_result=True)
        add.apply_async((1, 2), add_to_parent=False)
    finally:
        context.pop(token)
    headers = published[0].message.headers
    assert (headers["parent_id"], headers["root_id"]) == ("parent", "root")
    assert request.trail() == [kept.as_tuple()]


def test_without_a_trail_children_are_not_noted(app: Celeriac) -> None:
    @app.task(trail=False)
    def quiet() -> None: ...

    request = Context(id="parent", called_directly=False)
    token = context.push(quiet, request)
    try:
        quiet.delay()
    finally:
        context.pop(token)
    assert request.trail() == []


class Failing:
    """A broker that fails a number of times before it accepts."""

    display = "memory://broken"

    def __init__(self, errors: list[Exception]) -> None:
        self.errors = errors
        self.batches: list[tuple[Outgoing, ...]] = []

    def publish(self, batch: tuple[Outgoing, ...]) -> None:
        self.batches.append(batch)
        if self.errors:
            raise self.errors.pop(0)

    async def apublish(self, batch: tuple[Outgoing, ...]) -> None:
        self.publish(batch)

    def close(self) -> None: ...


@pytest.fixture
def failing(app: Celeriac, monkeypatch: pytest.MonkeyPatch) -> Failing:
    app.conf.task_publish_retry_policy = {"interval_step": 0, "interval_max": 0, "max_retries": 3}
    broker = Failing([])
    monkeypatch.setattr(Celeriac, "write_broker", broker)
    return broker


def test_sending_is_tried_again(add: Task[[int, int], int], failing: Failing) -> None:
    failing.errors = [BrokerUnavailable("down")] * 3
    add.delay(1, 2)
    assert len({batch[0].message.id for batch in failing.batches}) == 1
    assert len(failing.batches) == 4


@pytest.mark.parametrize(("kind", "tries"), [(BrokerUnavailable, 4), (PublishUnknown, 1)])
def test_in_the_end_the_error_names_task_broker_and_cure(
    add: Task[[int, int], int], failing: Failing, kind: type[Exception], tries: int
) -> None:
    """What is in doubt is not sent again behind the sender's back."""
    failing.errors = [kind(f"refused {n}") for n in range(9)]
    with pytest.raises(kind, match=rf"add\[mine\].*memory://broken.*refused {tries - 1}") as caught:
        add.apply_async((1, 2), task_id="mine")
    assert isinstance(caught.value.__cause__, kind)
    assert len(failing.batches) == tries


def test_retrying_may_be_turned_off(add: Task[[int, int], int], failing: Failing) -> None:
    failing.errors = [BrokerUnavailable("down")] * 2
    with pytest.raises(BrokerUnavailable):
        add.apply_async((1, 2), retry=False)
    assert len(failing.batches) == 1


def test_a_policy_may_be_given_with_the_call(add: Task[[int, int], int], failing: Failing) -> None:
    failing.errors = [BrokerUnavailable("down")] * 9
    with pytest.raises(BrokerUnavailable):
        add.apply_async((1, 2), retry_policy={"max_retries": 1})
    assert len(failing.batches) == 2


def test_a_pause_that_would_pass_the_timeout_is_not_begun(
    app: Celeriac, add: Task[[int, int], int], failing: Failing
) -> None:
    app.conf.publish_timeout = 5
    failing.errors = [BrokerUnavailable("down")] * 9
    with pytest.raises(BrokerUnavailable):
        add.apply_async((1, 2), retry_policy={"interval_start": 60})
    assert len(failing.batches) == 1


def test_a_refusal_is_not_tried_again(add: Task[[int, int], int], failing: Failing) -> None:
    failing.errors = [PublishRejected("full")]
    with pytest.raises(PublishRejected, match="full"):
        add.delay(1, 2)
    assert len(failing.batches) == 1


async def test_on_an_event_loop_everything_is_the_same(
    app: Celeriac, add: Task[[int, int], int], sent: Callable[..., list[Message]]
) -> None:
    results = await asyncio.gather(*(add.adelay(n, n) for n in range(5)))
    results.append(await add.aapply_async((1,), {"y": 2}, queue="celery", headers={"h": 1}))
    assert {message.id for message in sent()} == {result.id for result in results}


async def test_on_an_event_loop_sending_is_tried_again(
    add: Task[[int, int], int], failing: Failing
) -> None:
    failing.errors = [BrokerUnavailable("down")] * 2
    await add.adelay(1, 2)
    assert len(failing.batches) == 3
    failing.errors = [PublishUnknown("cut"), BrokerUnavailable("down")]
    with pytest.raises(PublishUnknown, match="memory://broken"):
        await add.adelay(1, 2)
    failing.errors = [BrokerUnavailable("down")] * 9
    with pytest.raises(BrokerUnavailable, match="memory://broken"):
        await add.adelay(1, 2)


def test_compression_says_that_it_is_not_there(add: Task[[int, int], int]) -> None:
    with pytest.raises(ImproperlyConfigured, match="compression"):
        add.apply_async((1, 2), compression="zlib")  # type: ignore[call-arg]


def test_the_name_of_the_sender_does_not_survive_a_fork(
    app: Celeriac, add: Task[[int, int], int], published: list[Outgoing], tmp_path: Any
) -> None:
    add.delay(1, 2)
    report = tmp_path / "origin"
    child = os.fork()
    if not child:
        try:
            add.delay(1, 2)
            report.write_text(published[-1].message.headers["origin"])
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert report.read_text().startswith(f"gen{child}@")
