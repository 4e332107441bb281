"""Tasks: what they are, their options, and what happens in a body."""

from __future__ import annotations

import asyncio
import functools
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest

from celeriac import Celeriac, Task, context, current_app, current_task, shared_task, state
from celeriac.context import Context
from celeriac.error import AlreadyRegistered, MaxRetriesExceededError, NotRegistered, Retry
from celeriac.message import Delivery, Outgoing
from celeriac.protocol import result_meta
from celeriac.protocol import task as protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.message import Message


def begin(app: Celeriac, message: Message, **facts: Any) -> Context:
    """Return the request of a worker's run of ``message``."""
    call = protocol.read(message, app.serialization)
    return Context.received(call, Delivery("r", "celery", message, **facts), "worker@here")


# -- definition ----------------------------------------------------------------------------


def test_a_task_looks_like_its_function_and_calls_it(app: Celeriac) -> None:
    @app.task
    def add(x: int, y: int = 1) -> int:
        """Add."""
        return x + y

    assert add(1, y=4) == 5
    assert add.name == f"{__name__}.add"
    assert (add.__name__, add.__doc__, add.__module__) == ("add", "Add.", __name__)
    assert app.tasks[add.name] is add
    assert repr(add) == f"<@task: {add.name}>"
    assert isinstance(add, Task)
    assert type(add) is Task


def test_names(app: Celeriac) -> None:
    assert app.gen_task_name("f", "__main__") == "subject.f"
    assert app.gen_task_name("f", "proj.tasks") == "proj.tasks.f"

    @app.task(name="chosen")
    def f() -> None: ...

    assert app.tasks["chosen"] is f


def test_two_functions_may_not_share_a_name(app: Celeriac) -> None:
    @app.task(name="same")
    def one() -> None: ...

    with pytest.raises(AlreadyRegistered, match=r"one.*two"):

        @app.task(name="same")
        def two() -> None: ...

    # What is defined again, as by a reload, takes the place of the former.
    again = app.task(name="same")(one.run)
    assert app.tasks["same"] is again


def test_an_unknown_name_suggests_the_nearest(app: Celeriac) -> None:
    app.task(name="proj.add")(lambda: None)
    with pytest.raises(NotRegistered, match=r'"proj\.ad"; did you mean "proj\.add"'):
        app.tasks["proj.ad"]
    assert app.tasks.get("proj.ad") is None
    assert "proj.ad" not in app.tasks
    assert app.tasks.hint("nothing like it") == ""


@pytest.mark.parametrize(
    ("option", "hint"), [("acks_lat", '"acks_late"'), ("exponential_backoff", "base=")]
)
def test_an_unknown_option_is_an_error(app: Celeriac, option: str, hint: str) -> None:
    with pytest.raises(TypeError, match=f"{option}.*{hint}"):
        app.task(**{option: 1})(lambda: None)


def test_an_option_may_be_an_attribute_of_the_base_class(app: Celeriac) -> None:
    class Database(Task[..., Any]):
        connection: str | None = None

    @app.task(base=Database, bind=True, connection="db")
    def query(self: Database) -> str | None:
        return self.connection

    assert isinstance(query, Database)
    assert query() == "db"


def test_options_follow_the_settings_where_the_task_says_nothing(app: Celeriac) -> None:
    @app.task(acks_late=False, time_limit=5, throws=[KeyError])
    def f() -> None: ...

    options = f.options()
    assert (options.acks_late, options.time_limit, options.throws) == (False, 5, (KeyError,))
    assert (options.max_deaths, options.max_retries, options.track_started) == (3, 3, False)
    app.conf.task_track_started = True
    app.conf.max_deaths = 7
    assert (f.options().max_deaths, f.options().track_started) == (7, True)
    f.track_started = False
    assert f.options().track_started is False
    assert app.default_options().acks_late is True
    assert f.options() is f.options()


def test_class_based_tasks(app: Celeriac) -> None:
    class Add(app.Task):  # type: ignore[name-defined,misc]
        name = "class.add"

        def run(self, x: int, y: int) -> int:
            return x + y

        def on_success(self, *args: Any) -> None: ...

    add = app.register_task(Add())
    assert add(1, 2) == 3
    assert app.tasks["class.add"] is add
    assert (add.has_on_success, add.has_on_failure) == (True, False)
    with pytest.raises(TypeError, match=r"class\.add\(x, y\): "):
        add.delay(1)

    class Unnamed(Task[..., Any]):
        async def run(self) -> int:
            return 1

    unnamed = app.register_task(Unnamed)
    assert app.tasks[f"{__name__}.Unnamed"].is_async
    assert unnamed is not Unnamed


def test_hooks_may_be_given_to_the_decorator(app: Celeriac) -> None:
    def failed(self: Any, *args: Any) -> Any:
        return self, args

    @app.task(on_failure=failed)
    def f() -> None: ...

    assert f.has_on_failure
    assert not f.has_on_success
    assert f.on_failure(ValueError(), "i", (), {}, None)[0] is f  # type: ignore[func-returns-value]


def test_async_functions_are_recognized_through_wrappers(app: Celeriac) -> None:
    async def body(x: int) -> int:
        return x

    class Caller:
        async def __call__(self) -> None: ...

    named = functools.partial(body, 1)
    assert app.task(body).is_async
    assert app.task(name="partial")(_named(named)).is_async
    assert app.task(name="object")(_named(Caller())).is_async
    assert not app.task(name="plain")(len).is_async
    assert asyncio.run(app.tasks[f"{__name__}.body"](3)) == 3


def _named(thing: Any) -> Any:
    return thing


def test_the_wrapper_of_a_decorated_function_decides_what_fits(app: Celeriac) -> None:
    def inject(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def wrapper(x: int) -> Any:
            return fn("session", x)

        return wrapper

    @app.task
    @inject
    def f(session: str, x: int) -> Any:
        return session, x

    f.delay(1)
    with pytest.raises(TypeError):
        f.delay("session", 1)


def test_keyword_only_parameters_are_checked(app: Celeriac) -> None:
    @app.task
    def f(*args: int, flag: bool) -> None: ...

    f.delay(1, 2, flag=True)
    with pytest.raises(TypeError, match="flag"):
        f.delay(1)


def test_a_task_travels_as_its_name(app: Celeriac) -> None:
    task = app.task(name="travels")(lambda: None)
    app.set_current()
    assert pickle.loads(pickle.dumps(task)) is task


# -- shared tasks --------------------------------------------------------------------------


def test_every_application_has_its_own_of_a_shared_task(app: Celeriac) -> None:
    class Mine(Task[..., Any]):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return "mine", super().__call__(*args, **kwargs)

    @shared_task(name="shared.one", bind=True)
    def one(self: Any, x: int) -> Any:
        return type(self), self.request.called_directly, x

    other = Celeriac("other", task_cls=Mine, broker="memory://other-shared", set_as_current=False)
    assert "shared.one" in app.tasks
    assert "shared.one" in list(other.tasks)
    assert app.tasks["shared.one"].app is app
    assert app.tasks["shared.one"](1) == (Task, True, 1)
    assert other.tasks["shared.one"](2) == ("mine", (Mine, True, 2))
    app.set_current()
    result = one.delay(1)
    assert result.app is app
    assert one.app is app


def test_the_request_of_a_shared_task_is_found_by_its_public_name(app: Celeriac) -> None:
    @shared_task(name="shared.two")
    def two() -> Any:
        return two.request.id

    task = app.tasks["shared.two"]
    token = context.push(task, Context(id="i", called_directly=False))
    try:
        assert task() == "i"
    finally:
        context.pop(token)


def test_the_current_application(app: Celeriac) -> None:
    app.set_current()
    assert current_app == app
    assert current_app.main == "subject"
    assert isinstance(current_app, Celeriac)
    assert not current_task
    assert app.current_task is None


# -- in the body ---------------------------------------------------------------------------


def test_a_run_is_seen_by_its_own_thread_only(app: Celeriac) -> None:
    @app.task(bind=True)
    def outer(self: Any) -> Any:
        inside: list[Any] = []
        thread = threading.Thread(target=lambda: inside.append(app.current_task))
        thread.start()
        thread.join()
        assert current_task == outer
        return self.request.id, self.request.called_directly, inner(), inside

    @app.task(bind=True)
    def inner(self: Any) -> Any:
        return self.request.id, self.request.called_directly, outer.request.id

    token = context.push(outer, Context(id="o", called_directly=False))
    try:
        assert outer() == ("o", False, (None, True, "o"), [None])
    finally:
        context.pop(token)
    assert outer.request.id is None


def test_calling_the_own_task_in_its_body_is_a_call_like_any_other(app: Celeriac) -> None:
    @app.task(bind=True)
    def count(self: Any, n: int) -> Any:
        return [self.request.called_directly, *(count(n - 1) if n else [])]

    token = context.push(count, Context(id="i", called_directly=False))
    try:
        assert count(2) == [False, True, True]
    finally:
        context.pop(token)


async def test_a_run_is_seen_across_await(app: Celeriac) -> None:
    @app.task(bind=True)
    async def task(self: Any, n: int) -> Any:
        await asyncio.sleep(0)
        return self.request.args == (n,) and current_task == task

    assert await asyncio.gather(task(1), task(2)) == [True, True]
    assert not current_task


def test_a_request_can_be_pushed_by_hand(app: Celeriac) -> None:
    @app.task(bind=True)
    def f(self: Any) -> Any:
        return self.request.id

    f.push_request(id="by hand")
    assert f.request.id == "by hand"
    assert f.run() == "by hand"
    f.pop_request()
    assert f.request.id is None


# -- the request ---------------------------------------------------------------------------


def test_the_request_has_every_header_as_an_attribute(
    app: Celeriac, sent: Callable[..., list[Message]]
) -> None:
    f = app.task(name="f")(_take)
    f.apply_async((1,), {"k": 2}, headers={"tenant": "t", "get": "no method"}, priority=3)
    (message,) = sent()
    request = begin(app, message, deaths=1, losses=2, redelivered=True)
    assert (request.id, request.task, request.args) == (message.id, "f", (1,))
    assert request.tenant == "t"  # type: ignore[attr-defined]
    assert request.get("tenant") == "t"
    assert request.get("nothing", 5) == 5
    assert (request.deaths, request.losses, request.attempt) == (1, 2, 4)
    assert request.hostname == "worker@here"
    assert request.correlation_id == message.id
    assert request.delivery_info["routing_key"] == "celery"
    assert request.delivery_info["redelivered"] is True
    assert request.headers["tenant"] == "t"
    assert "origin" not in request.headers
    assert (request.called_directly, request.is_eager, request.retries) == (False, False, 0)
    with pytest.raises(AttributeError):
        _ = request.nothing  # type: ignore[attr-defined]


def test_nested_headers_are_the_headers(app: Celeriac, sent: Callable[..., list[Message]]) -> None:
    app.task(name="f")(_take).apply_async((1,), headers={"headers": {"nested": 1}, "flat": 2})
    request = begin(app, sent()[0])
    assert request.headers == {"nested": 1}
    assert request.flat == 2  # type: ignore[attr-defined]


def test_no_headers_of_the_user_is_none(app: Celeriac, sent: Callable[..., list[Message]]) -> None:
    app.task(name="f")(_take).apply_async((1,))
    assert begin(app, sent()[0]).headers is None


def _take(*args: Any, **kwargs: Any) -> None: ...


# -- retry ---------------------------------------------------------------------------------


def run(app: Celeriac, task: Any, message: Message, **facts: Any) -> tuple[Any, Context]:
    request = begin(app, message, **facts)
    token = context.push(task, request)
    try:
        return task(*request.args, **request.kwargs), request
    except Retry as retry:
        return retry, request
    finally:
        context.pop(token)


@pytest.fixture
def flaky(app: Celeriac) -> Any:
    @app.task(bind=True, name="flaky", max_retries=2)
    def flaky(self: Any, options: dict[str, Any]) -> Any:
        cause = ValueError("cause") if options.pop("exc", False) else None
        return self.retry(exc=cause, **options)

    return flaky


def test_retry_carries_the_next_message(
    app: Celeriac, flaky: Any, sent: Callable[..., list[Message]]
) -> None:
    flaky.apply_async(
        ({"countdown": 10, "exc": True},),
        queue="q",
        priority=4,
        expires=600,
        root_id="root",
        headers={"tenant": "t"},
        link={"task": "after"},
    )
    (message,) = sent("q")
    retry, _ = run(app, flaky, message)
    following = retry.sig
    assert isinstance(following, Outgoing)
    assert str(retry) == "Retry in 10s: ValueError('cause')"
    assert isinstance(retry.exc, ValueError)
    again = following.message
    assert (again.id, again.headers["retries"]) == (message.id, 1)
    assert (again.headers["parent_id"], again.headers["root_id"]) == (message.id, "root")
    assert again.headers["expires"] == message.headers["expires"]
    assert again.headers["tenant"] == "t"
    assert again.body == message.body
    assert following.priority == 4
    assert following.due is not None
    assert protocol.check(again).eta.timestamp() == pytest.approx(following.due)  # type: ignore[union-attr]
    assert following.due - app.clock.time() == pytest.approx(10, abs=5)


def test_retry_may_change_arguments_and_options(
    app: Celeriac, flaky: Any, sent: Callable[..., list[Message]]
) -> None:
    flaky.delay(
        {
            "args": [7],
            "kwargs": {"k": 1},
            "queue": "other",
            "priority": 1,
            "time_limit": 5,
            "expires": 60,
            "headers": {"h": 1},
        }
    )
    retry, request = run(app, flaky, sent()[0])
    following = retry.sig
    call = protocol.read(following.message, app.serialization)
    assert (call.args, call.kwargs) == ((7,), {"k": 1})
    assert (following.queue, following.routing_key, following.priority) == ("other", "other", 1)
    assert call.headers["timelimit"] == [5, None]
    assert call.headers["h"] == 1
    assert protocol.check(following.message).expires is not None
    assert following.due - app.clock.time() == pytest.approx(180, abs=5)  # the default
    assert not request.followups


def test_retry_without_throwing_is_a_follow_up(
    app: Celeriac, flaky: Any, sent: Callable[..., list[Message]]
) -> None:
    flaky.delay({"throw": False, "countdown": 0})
    returned, request = run(app, flaky, sent()[0])
    assert isinstance(returned, Retry)
    assert request.followups == [returned.sig]
    assert returned.sig.due is None


@pytest.mark.parametrize(
    ("options", "error"), [({"exc": True}, ValueError), ({}, MaxRetriesExceededError)]
)
def test_too_many_retries_raise_the_cause(
    app: Celeriac,
    flaky: Any,
    sent: Callable[..., list[Message]],
    options: dict[str, Any],
    error: type[Exception],
) -> None:
    flaky.apply_async((options,), retries=2)
    (message,) = sent()
    with pytest.raises(error) as caught:
        run(app, flaky, message)
    if isinstance(caught.value, MaxRetriesExceededError):
        assert message.id in str(caught.value)
        assert caught.value.task_args == (options,)


def test_retry_of_a_direct_call_raises_the_cause(flaky: Any) -> None:
    with pytest.raises(ValueError, match="cause"):
        flaky({"exc": True})
    with pytest.raises(Retry):
        flaky({})


# -- reporting -----------------------------------------------------------------------------


def test_update_state(app: Celeriac, sent: Callable[..., list[Message]]) -> None:
    @app.task(bind=True, name="reports")
    def reports(self: Any) -> None:
        self.update_state(state="PROGRESS", meta={"done": 1})

    result = reports.delay()
    run(app, reports, sent()[0])
    assert (result.state, result.info) == ("PROGRESS", {"done": 1})
    meta = result_meta.decode(app.store.get([result.id])[result.id], app.serialization)
    assert meta.date_done is None
    reports.update_state("other", state.SUCCESS, 5)
    assert app.AsyncResult("other").get() == 5
    with pytest.raises(ValueError, match="task_id"):
        reports.update_state(state="X")


def test_without_a_store_reports_go_nowhere() -> None:
    app = Celeriac("none", broker="memory://none-at-all", set_as_current=False)
    task = app.task(name="t")(lambda: None)
    task.update_state("i", "PROGRESS", {})
    assert not app.store.enabled


# -- eagerly -------------------------------------------------------------------------------


def test_apply_runs_here_and_now(app: Celeriac) -> None:
    @app.task(bind=True, max_retries=3)
    def climb(self: Any, goal: int) -> Any:
        if self.request.retries < goal:
            self.retry(countdown=60)
        return self.request.retries, self.request.is_eager, self.request.id

    assert climb.apply((2,), task_id="i").get() == (2, True, "i")
    failed = climb.apply((9,))
    assert failed.state == "FAILURE"
    with pytest.raises(MaxRetriesExceededError):
        failed.get()
    with pytest.raises(MaxRetriesExceededError):
        climb.apply((9,), throw=True)


def test_always_eager_passes_the_arguments_through_the_serializer(app: Celeriac) -> None:
    app.conf.task_always_eager = True

    @app.task
    def kind(x: Any) -> str:
        return type(x).__name__

    assert kind.delay((1, 2)).get() == "list"
    assert repr(kind.apply_async(("x",), task_id="i")) == "<EagerResult: i>"


async def test_always_eager_on_an_event_loop(app: Celeriac) -> None:
    app.conf.task_always_eager = True

    @app.task
    async def double(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    assert (await double.adelay(2)).get() == 4
