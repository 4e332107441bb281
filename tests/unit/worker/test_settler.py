"""The settler: what is put is committed, in order, however long it takes."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from celeriac import Celeriac, state
from celeriac.broker.memory import MemoryBroker
from celeriac.engine.sqlite.lock import FileLock
from celeriac.execution.decide import Policy, decide_unsendable, give_back
from celeriac.message import Completion, Message, Outgoing, ResultRecord, Verdict
from celeriac.worker import settler as module
from celeriac.worker.settler import BATCH, Settler


class Recording(MemoryBroker):
    """A memory broker that tells how it was asked to settle."""

    def __init__(self, url, options):
        super().__init__(url, options)
        self.batches = []

    def settle(self, batch):
        self.batches.append(list(batch))
        return super().settle(batch)


class Site:
    """A settler that has not been started, and what it has to do."""

    def __init__(self, app, store=None):
        self.app = app
        self.broker = Recording(app.broker.display, app.broker.options)
        self.store = store or app.store
        self.settled = []
        self.failed = threading.Event()
        policy = Policy.of(app, "worker@host")
        self.settler = Settler(
            self.broker,
            self.store,
            self.settled.append,
            lambda completion, error: decide_unsendable(completion, error, policy, time.time()),
            self.failed.set,
        )

    def lease(self, count, owner="child"):
        names = [f"task-{number}" for number in range(count)]
        self.broker.publish([outgoing(name) for name in names])
        consumer = self.broker.consumer(["celery"], owner)
        deliveries = consumer.receive(count, 0)
        assert [one.message.id for one in deliveries] == names
        return deliveries

    def finish(self):
        self.settler.start()
        self.settler.finish()

    def depth(self):
        depth = self.broker.depth(["celery"])["celery"]
        return depth.ready, depth.leased


@pytest.fixture
def site(app):
    return Site(app)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0))


def outgoing(name, size=0):
    headers = {"id": name, "task": "noop"}
    return Outgoing(Message(name, "noop", b"x" * size, headers=headers), "celery")


def record(delivery, name=state.SUCCESS):
    return ResultRecord(delivery.message.id, name, name.encode(), None)


def test_what_has_gathered_is_committed_at_once_and_in_order(site):
    completions = [Completion(one, result=record(one)) for one in site.lease(10)]
    for one in completions:
        site.settler.put(one)
    site.finish()
    assert site.broker.batches == [completions]
    assert site.settled == completions
    assert site.depth() == (0, 0)
    assert len(site.store.get([one.result.id for one in completions])) == 10


def test_a_batch_has_an_end(site):
    for one in site.lease(BATCH + 5):
        site.settler.put(Completion(one))
    site.finish()
    assert [len(batch) for batch in site.broker.batches] == [BATCH, 5]


def test_a_list_is_settled_in_one_piece_and_keeps_its_order(site):
    deliveries = site.lease(BATCH + 20)
    for one in deliveries[: BATCH - 1]:
        site.settler.put(Completion(one))
    released = deliveries[BATCH - 1 :]
    site.settler.put([give_back(one) for one in released])
    site.finish()
    assert [len(batch) for batch in site.broker.batches] == [BATCH + 20]
    again = site.broker.consumer(["celery"], "other").receive(100, 0)
    assert [one.message.id for one in again] == [one.message.id for one in released]


def test_a_result_on_the_way_comes_before_the_last(site):
    (delivery,) = site.lease(1)
    site.settler.put(record(delivery, state.STARTED))
    site.settler.put(Completion(delivery, result=record(delivery, state.FAILURE)))
    site.finish()
    assert site.store.get(["task-0"]) == {"task-0": b"FAILURE"}


def test_a_store_of_another_place_has_the_result_before_the_message_is_gone(app):
    with Celeriac(
        "elsewhere", broker="memory://", backend=f"memory://{app.broker.space.token}"
    ) as other:
        site = Site(app, other.store)
        (delivery,) = site.lease(1)
        seen = []
        site.settler._settled = lambda _: seen.append(site.store.get(["task-0"]))
        site.settler.put(Completion(delivery, result=record(delivery)))
        site.finish()
        assert seen == [{"task-0": b"SUCCESS"}]
        assert site.broker.batches[0][0].result is None
        assert app.store.get(["task-0"]) == {}


def test_what_cannot_be_committed_now_is_tried_until_it_can(tmp_path):
    url = f"sqlite:///{tmp_path}/queue.db"
    with Celeriac("subject", broker=url, backend=url) as app:
        app.conf.publish_timeout = 0.05
        app.broker.publish([outgoing("task-0")])
        consumer = app.broker.consumer(["celery"], "child")
        (delivery,) = consumer.receive(1, 0)
        consumer.close()
        settled, failed = threading.Event(), threading.Event()
        settler = Settler(
            app.broker, app.store, lambda _: settled.set(), lambda one, _: one, failed.set
        )
        other = FileLock(app.broker.location.lock)
        with other.hold(1):
            settler.put(Completion(delivery, result=record(delivery)))
            settler.start()
            assert failed.wait(10)
            assert settler.blocked
            assert not settled.is_set()
        settler.finish()
        other.close()
        assert settled.is_set()
        assert not settler.blocked
        assert app.store.get(["task-0"]) == {"task-0": b"SUCCESS"}
        assert app.broker.depth(["celery"])["celery"].leased == 0


def test_a_follow_up_that_is_refused_costs_only_its_own_completion(app):
    app.conf.max_message_bytes = 2000
    site = Site(app)
    first, culprit, last = site.lease(3)
    site.settler.put(Completion(first, result=record(first)))
    big = outgoing("next", 5000)
    site.settler.put(Completion(culprit, result=record(culprit), publish=[big]))
    site.settler.put(Completion(last, result=record(last), publish=[outgoing("small")]))
    site.finish()
    assert [one.delivery for one in site.settled] == [first, culprit, last]
    results = site.store.get(["task-0", "task-1", "task-2"])
    assert (results["task-0"], results["task-2"]) == (b"SUCCESS", b"SUCCESS")
    assert b"FAILURE" in results["task-1"]
    (letter,) = site.broker.dead_letters()
    assert (letter.id, letter.reason) == ("task-1", "rejected")
    assert "next" in letter.detail
    assert site.depth() == (1, 0)


def test_a_bug_costs_only_the_completion_that_has_it(site, impatient):
    first, culprit, last = site.lease(3)
    site.settler.put(Completion(first))
    site.settler.put(Completion(culprit, publish=["not a message"]))
    site.settler.put(Completion(last))
    site.finish()
    assert [one.delivery for one in site.settled] == [first, culprit, last]
    assert [one.id for one in site.broker.dead_letters()] == ["task-1"]
    assert site.depth() == (0, 0)
    assert not site.settler.blocked


def test_what_cannot_even_be_buried_does_not_keep_the_others_back(site, impatient, caplog):
    culprit, other = site.lease(2)
    culprit.receipt = ["not a receipt"]
    site.settler.put(Completion(culprit, Verdict.DEAD, reason="rejected"))
    site.settler.put(Completion(other, result=record(other)))
    site.finish()
    assert [one.delivery for one in site.settled] == [culprit, other]
    assert site.store.get(["task-1"]) == {"task-1": b"SUCCESS"}
    assert "Cannot bury" in caplog.text


def test_a_run_whose_lease_was_lost_changes_nothing(site, caplog):
    (delivery,) = site.lease(1)
    (taken,) = site.broker.adopt("child", "other")
    site.settler.put(Completion(delivery, result=record(delivery), publish=[outgoing("next")]))
    with caplog.at_level(logging.WARNING):
        site.finish()
    assert "Lost the lease of noop[task-0]" in caplog.text
    assert [one.delivery for one in site.settled] == [delivery]
    assert site.store.get(["task-0"]) == {}
    assert site.depth() == (0, 1)
    assert site.broker.settle([Completion(taken)]) == [True]


def test_a_lost_lease_that_was_to_be_given_back_is_no_news(site, caplog):
    (delivery,) = site.lease(1)
    site.broker.adopt("child", "other")
    site.settler.put([give_back(delivery)])
    with caplog.at_level(logging.WARNING):
        site.finish()
    assert site.settled
    assert not caplog.records
