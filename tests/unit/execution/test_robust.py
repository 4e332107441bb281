"""Whatever a body leaves behind, its run comes to an end that can be told."""

from __future__ import annotations

import pytest

from celeriac import Celeriac, state
from celeriac.error import EncodeError, Ignore, Reject
from celeriac.execution.decide import Policy, decide
from celeriac.execution.job import Admission
from celeriac.execution.run import run
from celeriac.identifier import token
from celeriac.message import Delivery, Message, Verdict
from celeriac.protocol import result_meta
from celeriac.protocol.task import Fields, build
from celeriac.task import Task

NOW = 1_800_000_000.0


class Unsayable:
    """Has no text."""

    def __repr__(self):
        raise RuntimeError("no text")

    __str__ = __repr__


class Unreadable(Exception):
    """Tells nothing of itself."""

    @property
    def args(self):
        raise RuntimeError("no arguments")


class Leaving:
    """Ends the process that writes it."""

    def __json__(self):
        raise SystemExit(1)


@pytest.fixture
def app():
    name = f"memory://{token()}"
    with Celeriac("unit", broker=name, backend=name) as app:
        yield app


def fate(app, task, *args):
    """Return the completion of one run, and what it stores."""
    message = build(Fields(id="an-id", task=task.name, args=args, kwargs={}), app.serialization)
    delivery = Delivery("r1", "celery", message, b"{}")
    job = Admission(app, "w@h").admit(delivery, NOW)
    completion = decide(job, run(job, None), Policy.of(app, "w@h"), NOW)
    record = completion.result
    return completion, record and result_meta.decode(record.payload, app.serialization)


def test_arguments_that_the_body_has_changed_are_shown(app):
    app.conf.result_extended = True

    @app.task
    def change(items):
        items.append(object())
        return len(items)

    completion, meta = fate(app, change, [1])
    assert (meta.state, meta.result) == (state.SUCCESS, 2)
    assert "object object" in meta.extended["args"]
    assert completion.verdict is Verdict.ACK


def test_children_that_are_no_results_are_a_failure(app):
    @app.task(bind=True)
    def spoil(self):
        self.request.children = ["not a result"]

    completion, meta = fate(app, spoil)
    assert meta.state == state.FAILURE
    assert isinstance(meta.result, EncodeError)
    assert completion.verdict is Verdict.ACK


@pytest.mark.parametrize("value", [Leaving(), Unsayable(), {Unsayable(): 1}])
def test_a_result_that_cannot_be_written_is_a_failure(app, value):
    @app.task
    def give():
        return value

    assert fate(app, give)[1].state == state.FAILURE


@pytest.mark.parametrize("error", [Unreadable(), ValueError(Unsayable()), ValueError(Leaving())])
def test_an_error_that_cannot_be_written_is_a_failure(app, error):
    @app.task
    def fail():
        raise error

    assert fate(app, fail)[1].state == state.FAILURE


def test_a_reason_without_text_is_rejected_all_the_same(app):
    @app.task
    def reject():
        raise Reject(Unsayable())

    completion, _ = fate(app, reject)
    assert completion.verdict is Verdict.DEAD
    assert completion.reason == "rejected"


def test_a_failure_that_is_kept_and_has_no_text(app):
    @app.task(acks_on_failure_or_timeout=False)
    def fail():
        raise Unreadable

    assert fate(app, fail)[0].verdict in (Verdict.ACK, Verdict.DEAD)


@pytest.mark.parametrize("hook", ["on_failure", "on_success", "after_return", "before_start"])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, ValueError])
def test_a_hook_cannot_end_the_run(app, hook, error, caplog):
    def break_off(self, *args):
        raise error

    base = type("Hooked", (Task,), {hook: break_off})

    @app.task(base=base)
    def work(fail):
        if fail:
            raise KeyError(fail)
        return "done"

    fails = hook == "on_failure"
    _, meta = fate(app, work, fails)
    broken = fails or hook == "before_start"
    assert meta.state == (state.FAILURE if broken else state.SUCCESS)


def test_a_header_cannot_speak_for_the_run(app):
    """Headers are attributes of the request, but not those that we keep in it."""

    @app.task(bind=True)
    def look(self):
        return [list(self.request.followups), self.request.children, self.request.trace_id]

    message = build(Fields(id="an-id", task=look.name, args=(), kwargs={}), app.serialization)
    odd = {"followups": "x", "_children": [1], "entered": True, "is_eager": True, "trace_id": "t"}
    message = Message(message.id, message.task, message.body, headers={**message.headers, **odd})
    job = Admission(app, "w@h").admit(Delivery("r1", "celery", message, b"{}"), NOW)
    completion = decide(job, run(job, None), Policy.of(app, "w@h"), NOW)
    meta = result_meta.decode(completion.result.payload, app.serialization)
    assert (meta.state, meta.result) == (state.SUCCESS, [[], [], "t"])
    assert completion.publish == ()


def test_an_ignored_run_with_spoilt_children_is_acknowledged(app):
    @app.task(bind=True)
    def spoil(self):
        self.request.children = ["not a result"]
        raise Ignore

    completion, meta = fate(app, spoil)
    assert completion.verdict is Verdict.ACK
    assert meta is None
