"""Taking over: whose work it is, who is to blame, and what is left alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from celeriac import Celeriac, state
from celeriac.clock import ManualClock
from celeriac.error import BrokerUnavailable
from celeriac.identifier import machine, process_start, token
from celeriac.message import Owner
from celeriac.worker.reclaim import Reclaim
from celeriac.worker.slot import ENDED, HELD, RUNNING, Held


@pytest.fixture(params=["memory", "sqlite"])
def app(request, tmp_path):
    name = token()
    url = f"memory://{name}" if request.param == "memory" else f"sqlite:///{tmp_path}/{name}.db"
    with Celeriac("subject", broker=url, backend=url) as made:
        made.clock = ManualClock()

        @made.task(name="noop")
        def noop():
            return None

        @made.task(name="once", acks_late=False)
        def once():
            return None

        yield made


@pytest.fixture
def reclaim(app):
    register(app, "us.0")
    return Reclaim(app, "worker@host", "us.0")


def register(app, name, *, pid=None, start=None, queues=("celery",), where=None):
    pid = os.getpid() if pid is None else pid
    start = process_start(pid) if start is None else start
    owner = Owner(name, "worker@host", where or machine(), pid, start or "", queues)
    app.broker.register(owner)
    return owner


@pytest.fixture(scope="module")
def dead():
    """The pid and the start mark of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = process_start(process.pid)
    process.communicate(b"\n")
    return {"pid": process.pid, "start": start}


def lease(app, owner, *names, queue="celery"):
    """Send tasks and lease them for an owner."""
    sent = [app.tasks[name].apply_async(queue=queue).id for name in names]
    consumer = app.broker.consumer([queue], owner)
    deliveries = consumer.receive(len(names), 0)
    consumer.close()
    assert [one.message.id for one in deliveries] == sent
    return deliveries


def ready(app, queue="celery"):
    """Lease what is ready, and return ids and marks."""
    consumer = app.broker.consumer([queue], token())
    found = consumer.receive(100, 0)
    consumer.close()
    return [(one.message.id, one.deaths, one.losses) for one in found]


def ids(deliveries, deaths=0, losses=0):
    return [(one.message.id, deaths, losses) for one in deliveries]


def leased(app, queue="celery"):
    return app.broker.depth([queue])[queue].leased


def held(deliveries, *states, early=False):
    return [Held(one.receipt, how, early) for one, how in zip(deliveries, states, strict=True)]


# -- a child of ours -----------------------------------------------------------------------


def test_only_what_a_dead_child_was_running_is_blamed(app, reclaim):
    deliveries = lease(app, "us.1", *["noop"] * 4)
    reclaim.of_child("us.1", held(deliveries, ENDED, RUNNING, HELD, HELD), blame=True)
    assert ready(app) == [
        *ids(deliveries[:1]),
        *ids(deliveries[1:2], deaths=1),
        *ids(deliveries[2:]),
    ]


def test_what_is_not_in_the_table_yet_is_given_back(app, reclaim):
    deliveries = lease(app, "us.1", "noop", "noop")
    reclaim.of_child("us.1", held(deliveries[:1], RUNNING), blame=True)
    assert ready(app) == [*ids(deliveries[:1], deaths=1), *ids(deliveries[1:])]


def test_where_nothing_ran_what_was_to_be_settled_is_blamed(app, reclaim):
    """Else a message whose result kills its process would come back for ever."""
    deliveries = lease(app, "us.1", "noop", "noop")
    reclaim.of_child("us.1", held(deliveries, ENDED, HELD), blame=True)
    assert ready(app) == [*ids(deliveries[:1], deaths=1), *ids(deliveries[1:])]


def test_a_child_that_we_have_ended_blames_nobody(app, reclaim):
    deliveries = lease(app, "us.1", *["noop"] * 3)
    reclaim.of_child("us.1", held(deliveries, RUNNING, ENDED, HELD), blame=False)
    assert ready(app) == ids(deliveries)


def test_the_last_death_is_the_end(app, reclaim):
    for deaths in range(1, 4):
        app.clock.advance(60)
        consumer = app.broker.consumer(["celery"], f"us.{deaths}")
        if deaths == 1:
            result = app.tasks["noop"].delay()
        (delivery,) = consumer.receive(1, 0)
        consumer.close()
        reclaim.of_child(f"us.{deaths}", held([delivery], RUNNING), blame=True)
    assert ready(app) == []
    (letter,) = app.broker.dead_letters()
    assert (letter.id, letter.reason, letter.deaths) == (result.id, "poison", 3)
    assert result.state == state.FAILURE


@pytest.mark.parametrize("how", [RUNNING, ENDED])
@pytest.mark.parametrize("blame", [True, False])
def test_what_was_acknowledged_early_and_has_begun_is_not_run_again(app, reclaim, how, blame):
    (delivery,) = lease(app, "us.1", "once")
    reclaim.of_child("us.1", held([delivery], how, early=True), blame=blame)
    assert ready(app) == []
    (letter,) = app.broker.dead_letters()
    assert letter.reason == "worker_lost"
    assert app.AsyncResult(delivery.message.id).state == state.FAILURE


def test_what_the_broker_knows_to_have_begun_is_not_run_again(app, reclaim):
    (delivery,) = lease(app, "us.1", "once")
    assert app.broker.mark_started([delivery.receipt]) == [True]
    reclaim.of_child("us.1", held([delivery], HELD, early=True), blame=True)
    assert ready(app) == []
    assert [one.reason for one in app.broker.dead_letters()] == ["worker_lost"]


def test_what_was_to_be_acknowledged_early_and_has_not_begun_is_given_back(app, reclaim):
    deliveries = lease(app, "us.1", "once")
    reclaim.of_child("us.1", held(deliveries, HELD, early=True), blame=True)
    assert ready(app) == ids(deliveries)


def test_what_was_adopted_and_not_settled_is_settled_later(app, reclaim, monkeypatch):
    """A broker that goes away between the two must not make a death a loss, or hide it."""
    deliveries = lease(app, "us.1", "noop", "noop")
    table = held(deliveries, RUNNING, HELD)

    def away(batch):
        raise BrokerUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(app.broker, "settle", away)
        with pytest.raises(BrokerUnavailable):
            reclaim.of_child("us.1", table, blame=True)
        assert app.broker.renew("us.0", reclaim.held) == []
        assert len(reclaim.held) == 2
        with pytest.raises(BrokerUnavailable):
            reclaim.of_lost_hosts()
    reclaim.of_child("us.1", table, blame=True)
    assert reclaim.held == []
    assert ready(app) == [*ids(deliveries[:1], deaths=1), *ids(deliveries[1:])]


def test_what_cannot_be_settled_keeps_nobody_back(app, reclaim, monkeypatch, caplog):
    deliveries = lease(app, "us.1", "noop", "noop")
    real = app.broker.settle

    def settle(batch):
        if any(one.deaths for one in batch):
            raise TypeError("a bug")
        return real(batch)

    monkeypatch.setattr(app.broker, "settle", settle)
    reclaim.of_child("us.1", held(deliveries, RUNNING, HELD), blame=True)
    assert ready(app) == ids(deliveries[1:])
    assert reclaim.held == []
    assert "Cannot settle" in caplog.text


# -- neighbours ----------------------------------------------------------------------------


def test_the_work_of_a_dead_worker_is_taken_over(app, reclaim, dead):
    register(app, "them.0", **dead)
    register(app, "them.1", **dead)
    deliveries = lease(app, "them.1", "noop", "noop")
    reclaim.of_dead_neighbours(["celery"], [])
    assert ready(app) == ids(deliveries, losses=1)
    assert [one.id for one in app.broker.owners()] == ["us.0"]


def test_a_pid_that_is_used_again_does_not_keep_the_dead_alive(app, reclaim):
    register(app, "them.1", pid=os.getpid(), start="1")
    deliveries = lease(app, "them.1", "noop")
    reclaim.of_dead_neighbours(["celery"], [])
    assert ready(app) == ids(deliveries, losses=1)


@pytest.mark.parametrize("case", ["alive", "supervised", "ours", "elsewhere", "other queues"])
def test_what_is_not_ours_to_take_is_left_alone(app, reclaim, dead, case):
    """A supervisor that lives knows better what its dead child was running."""
    mine = []
    if case == "alive":
        register(app, "them.1")
    elif case == "supervised":
        register(app, "them.0")
        register(app, "them.1", **dead)
    elif case == "ours":
        register(app, "them.1", **dead)
        mine = ["them.1"]
    elif case == "elsewhere":
        register(app, "them.1", **dead, where="another machine")
    else:
        register(app, "them.1", **dead, queues=("theirs",))
    lease(app, "them.1", "noop")
    reclaim.of_dead_neighbours(["celery"], mine)
    assert ready(app) == []
    assert leased(app) == 1
    assert "them.1" in [one.id for one in app.broker.owners()]


def test_what_a_dead_worker_had_begun_and_acknowledged_is_not_run_again(app, reclaim, dead):
    register(app, "them.1", **dead)
    (delivery,) = lease(app, "them.1", "once")
    app.broker.mark_started([delivery.receipt])
    reclaim.of_dead_neighbours(["celery"], [])
    assert ready(app) == []
    assert [one.reason for one in app.broker.dead_letters()] == ["worker_lost"]


# -- lost hosts ----------------------------------------------------------------------------


def test_a_lease_that_nobody_renews_is_taken_over_when_it_was_seen_so_for_long_enough(app, reclaim):
    register(app, "far.1", where="another machine")
    deliveries = lease(app, "far.1", "noop")
    options = app.broker.options
    app.clock.advance(options.lease_ttl + 1)
    app.broker.renew("us.0", [])
    reclaim.of_lost_hosts()
    assert leased(app) == 1
    app.clock.advance(options.recovery_grace + 1)
    app.broker.renew("us.0", [])
    reclaim.of_lost_hosts()
    assert ready(app) == ids(deliveries, losses=1)
    assert [one.id for one in app.broker.owners()] == ["us.0"]


def test_a_clock_that_jumps_takes_nobodys_lease(app, reclaim):
    register(app, "far.1", where="another machine")
    (delivery,) = lease(app, "far.1", "noop")
    options = app.broker.options
    for _ in range(3):
        app.clock.advance(options.lease_ttl + options.recovery_grace + 3600)
        reclaim.of_lost_hosts()
        assert leased(app) == 1
        assert app.broker.renew("far.1", [delivery.receipt]) == []
        reclaim.of_lost_hosts()
    assert leased(app) == 1
