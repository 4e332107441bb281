"""The fetcher: how far ahead it leases, what it gives back, and who runs alone."""

from __future__ import annotations

import os
import threading

import pytest

from celeriac.execution.job import Admission
from celeriac.identifier import machine, process_start, token
from celeriac.message import Completion, Message, Outgoing, Owner, Verdict
from celeriac.protocol import envelope
from celeriac.testing.deadline import eventually
from celeriac.worker.child import Child
from celeriac.worker.fetcher import LULL
from celeriac.worker.setting import Plan
from celeriac.worker.slot import SlotTable

LIMIT = 50


class Running:
    """A child in this process, not started yet; its tasks see the test's own objects."""

    def __init__(self, app, pool="solo", slots=1, capacity=None):
        plan = Plan("worker@host", pool, 1, slots, ("celery",), LIMIT, None, 10.0)
        pid = os.getpid()
        owner = Owner(token(), plan.node, machine(), pid, process_start(pid) or "", plan.queues)
        size = app.broker.capabilities.receipt_size
        self.table = SlotTable(capacity or slots + 2 * LIMIT, size)
        self.app = app
        self.child = Child(app, plan, owner, self.table)
        self.fetcher = self.child.fetcher
        self.limits = []
        self._receive = self.child.consumer.receive
        self.child.consumer.receive = self._note
        self.thread = threading.Thread(target=self.child.run)

    def _note(self, limit, timeout):
        self.limits.append(limit)
        return self._receive(limit, timeout)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.child.drain()
        self.thread.join()

    def depth(self):
        depth = self.app.broker.depth(["celery"])["celery"]
        return depth.ready, depth.leased


class Gate:
    """A task that waits in its body until it is let go."""

    def __init__(self, app, name="gate"):
        self.entered, self.open = threading.Event(), threading.Event()

        @app.task(name=name)
        def gate():
            self.entered.set()
            assert self.open.wait(30)

        self.send = gate.delay


@pytest.fixture
def gate(app):
    made = Gate(app)
    yield made
    made.open.set()


@pytest.fixture
def ran(app):
    """The ids of the no-op tasks that have run, in their order, and whether they came again."""
    found = []

    @app.task(name="noop", bind=True)
    def noop(self):
        found.append((self.request.id, self.request.delivery_info["redelivered"]))

    return found


def send(app, count):
    return [app.tasks["noop"].delay().id for _ in range(count)]


def warm_up(app, ran, count=100):
    """Let short runs be seen, so that the child leases far ahead."""
    send(app, count)
    eventually(lambda: len(ran) == count)
    ran.clear()


def suspect(app, name="noop"):
    """Send a task whose process has died before; return its id."""
    sent = app.tasks[name].delay().id
    consumer = app.broker.consumer(["celery"], token())
    deliveries = consumer.receive(100, 0)
    assert app.broker.settle(
        [Completion(one, Verdict.RELEASE, deaths=int(one.message.id == sent)) for one in deliveries]
    )
    return sent


def test_before_a_run_was_seen_nothing_is_leased_ahead(app, gate, ran):
    gate.send()
    send(app, 10)
    with Running(app) as running:
        assert gate.entered.wait(10)
        eventually(lambda: len(running.limits) == 1)
        assert running.depth() == (10, 1)
        gate.open.set()
        eventually(lambda: len(ran) == 10)
    assert running.limits[0] == 1


def test_short_runs_open_the_window_up_to_its_limit(app, ran):
    send(app, 500)
    with Running(app) as running:
        eventually(lambda: len(ran) == 500)
    assert running.limits[0] == 1
    assert max(running.limits) == LIMIT + 1


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_what_waits_behind_a_long_run_goes_back_in_order(app, gate, ran, pool):
    with Running(app, pool) as running:
        warm_up(app, ran)
        gate.send()
        assert gate.entered.wait(10)
        # Leased before the gate is known to be long, or never: either way they must not wait here.
        sent = send(app, 20)
        eventually(lambda: running.depth() == (20, 1))
        gate.open.set()
        eventually(lambda: len(ran) == 20)
    assert [one for one, _ in ran] == sent


def test_what_was_leased_with_a_long_run_goes_back(app, gate, ran):
    running = Running(app)
    warm_up_window(running)
    gate.send()
    sent = send(app, 20)
    with running:
        assert gate.entered.wait(10)
        eventually(lambda: running.depth() == (20, 1))
        gate.open.set()
        eventually(lambda: len(ran) == 20)
    assert running.limits[0] > 20
    assert ran == [(one, True) for one in sent]


def warm_up_window(running):
    """Have the child lease far ahead from the first time on."""
    running.fetcher._window.saw(1000, 0.1)


def test_what_has_just_ended_is_no_long_run(app, ran):
    """A job that ends between two looks must not send back those that wait for their turn."""
    running = Running(app)
    send(app, 10)
    consumer = app.broker.consumer(["celery"], "child")
    admission = Admission(app, "worker@host")
    running.fetcher._submit([admission.admit(one, 0.0) for one in consumer.receive(10, 0)])
    running.fetcher._wake_at = 5
    for _ in range(5):
        running.fetcher.ended(0.001)
    running.fetcher._wait_for_room()
    assert len(running.child.executor.withdraw()) == 10


def test_a_full_table_is_waited_for(app, ran):
    """The fetcher must not take the processor from the settler, which is what it waits for."""

    class Waits(threading.Event):
        def __init__(self):
            super().__init__()
            self.times = []

        def wait(self, timeout=None):
            self.times.append(timeout)
            return super().wait(timeout)

    running = Running(app, capacity=1)
    running.table.hold("unsettled")
    waits = running.fetcher._changed = Waits()
    assert running.fetcher._room() == 0
    running.fetcher._wait_for_room()
    assert waits.times == [LULL]


def test_more_than_the_table_holds_is_never_leased(app, ran):
    sent = send(app, 200)
    with Running(app, capacity=3) as running:
        eventually(lambda: len(ran) == 200)
    assert [one for one, _ in ran] == sent
    assert max(running.limits) <= 3
    assert running.depth() == (0, 0)


# -- quarantine ----------------------------------------------------------------------------


def test_a_suspect_runs_alone(app, ran):
    """With others before and behind it, in a child of many slots."""
    at_work, together, lock = set(), [], threading.Lock()
    others = threading.Event()

    @app.task(name="busy", bind=True)
    def busy(self):
        with lock:
            at_work.add(self.request.id)
            together.append((self.request.deaths, len(at_work)))
        if not self.request.deaths:
            others.wait(0.01)
        with lock:
            at_work.discard(self.request.id)

    for _ in range(20):
        busy.delay()
    suspect(app, "busy")
    for _ in range(20):
        busy.delay()
    running = Running(app, "threads", 4)
    warm_up_window(running)
    with running:
        eventually(lambda: len(together) == 41)
    assert max(count for deaths, count in together if not deaths) > 1
    assert [count for deaths, count in together if deaths] == [1]


def test_a_suspect_does_not_wait_behind_a_long_run(app, gate, ran):
    """In a child with one slot: another child may be idle."""
    gate.send()
    sent = suspect(app)
    running = Running(app)
    warm_up_window(running)
    with running:
        assert gate.entered.wait(10)
        eventually(lambda: running.depth() == (1, 1))
        assert ran == []
        gate.open.set()
        eventually(lambda: ran == [(sent, True)])
    assert running.depth() == (0, 0)


def test_suspects_do_not_wait_behind_a_suspect_that_runs_long(app, gate, ran):
    suspect(app, "gate")
    consumer = app.broker.consumer(["celery"], "before")
    (first,) = consumer.receive(1, 0)
    sent = suspect(app)
    app.broker.settle([Completion(first, Verdict.RELEASE, deaths=1)])
    running = Running(app, "threads", 4)
    warm_up_window(running)
    with running:
        assert gate.entered.wait(10)
        eventually(lambda: running.depth() == (1, 1))
        gate.open.set()
        eventually(lambda: [one for one, _ in ran] == [sent])
    assert running.depth() == (0, 0)


# -- early acknowledgement -----------------------------------------------------------------


def test_a_coroutine_that_waits_for_the_broker_does_not_stop_the_others(app, monkeypatch):
    """It has to be acknowledged before its body is entered, and the broker may be away."""
    asked, answer, turns, ended = (threading.Event() for _ in range(4))
    real = app.broker.mark_started

    def mark_started(receipts):
        asked.set()
        assert answer.wait(30)
        return real(receipts)

    @app.task(acks_late=False)
    async def early():
        ended.set()

    @app.task
    async def other():
        turns.set()

    monkeypatch.setattr(app.broker, "mark_started", mark_started)
    with Running(app, "asyncio", 4) as running:
        early.delay()
        assert asked.wait(10)
        other.delay()
        try:
            assert turns.wait(10)
            assert not ended.is_set()
        finally:
            answer.set()
        assert ended.wait(10)
        eventually(lambda: running.depth() == (0, 0))


# -- the end -------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["solo", "threads", "asyncio"])
def test_stopped_it_gives_back_what_has_not_begun(app, gate, ran, pool):
    gate.send()
    sent = send(app, 5)
    last = suspect(app)
    running = Running(app, pool)
    warm_up_window(running)
    with running:
        assert gate.entered.wait(10)
        stopper = threading.Thread(target=running.child.drain)
        stopper.start()
        eventually(lambda: running.depth() == (6, 1))
        gate.open.set()
        stopper.join()
    assert running.depth() == (6, 0)
    assert ran == []
    again = app.broker.consumer(["celery"], "other").receive(10, 0)
    assert [one.message.id for one in again] == [*sent, last]
    assert [one.deaths for one in again] == [0] * 5 + [1]


def test_stopped_it_returns_from_an_empty_queue(app):
    with Running(app) as running:
        eventually(lambda: running.limits)
    assert not running.fetcher.is_alive()


# -- odd messages --------------------------------------------------------------------------


ODD = {
    "headers": [
        {"followups": "x"},
        {"_children": [1]},
        {"entered": True},
        {"update": 1},
        {"id": "\ud800"},
        {"task": "\ud800"},
    ],
    "properties": [{"delivery_info": "x"}, {"delivery_info": [1]}, {"priority": "x"}],
}


@pytest.mark.parametrize(
    ("part", "fields"), [(part, fields) for part in ODD for fields in ODD[part]]
)
def test_an_odd_message_ends_and_the_child_goes_on(app, ran, part, fields):
    body = b'[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
    message = Message("odd", "noop", body, headers={"id": "odd", "task": "noop"})
    (raw,) = [envelope.encode(Outgoing(message, "celery"))]
    outer = envelope.json.loads(raw)
    outer[part].update(fields)
    space = app.broker.space
    app.broker.publish([Outgoing(message, "celery")])
    space.ready["celery"][0][2].raw = envelope.json.dumps(outer)
    with Running(app) as running:
        (sent,) = send(app, 1)
        eventually(lambda: sent in [one for one, _ in ran])
        eventually(lambda: running.depth() == (0, 0))
    known = [one for one, _ in ran] + [one.id for one in app.broker.dead_letters()]
    assert len(known) == 2


def test_a_message_that_no_one_foresaw_is_buried(app, ran, monkeypatch, caplog):
    real = Admission.admit

    def admit(self, delivery, now):
        if delivery.message.id == odd:
            raise ZeroDivisionError("a bug")
        return real(self, delivery, now)

    odd, good = send(app, 2)
    monkeypatch.setattr(Admission, "admit", admit)
    with Running(app) as running:
        eventually(lambda: [one for one, _ in ran] == [good])
        eventually(lambda: running.depth() == (0, 0))
    assert [(one.id, one.reason) for one in app.broker.dead_letters()] == [(odd, "undecodable")]
    assert "Cannot look at a message" in caplog.text
