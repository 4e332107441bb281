"""Shutdown: what runs is finished within the grace, the rest goes back at once and in order."""

from __future__ import annotations

import signal

import pytest

from celeriac.testing.deadline import eventually
from celeriac.testing.ledger import Kind


def test_what_runs_is_finished_and_the_rest_is_given_back_in_order(site):
    worker = site.worker("-c", "1")
    first = site.subject.nap.delay(2)
    eventually(lambda: site.ledger.counts(Kind.START)[first.id] == 1)
    rest = [site.subject.add.delay(number, 0) for number in range(5)]
    assert worker.stop() == 0
    assert first.get(timeout=1) == 2
    assert site.app.broker.depth(["celery"])["celery"].ready == 5
    site.worker("-c", "1")
    assert [one.get(timeout=30) for one in rest] == list(range(5))
    starts = [one.id for one in site.ledger.records() if one.kind is Kind.START]
    assert starts == [first.id, *(one.id for one in rest)]


def test_leased_ahead_goes_back_in_order(site):
    """Short tasks first, so that the child leases far ahead; then one that blocks it."""
    worker = site.worker("-c", "1")
    for one in [site.subject.add.delay(0, 0) for _ in range(100)]:
        one.get(timeout=30)
    blocker = site.subject.nap.delay(5)
    rest = [site.subject.add.delay(number, 0) for number in range(30)]
    eventually(lambda: site.ledger.counts(Kind.START)[blocker.id] == 1)
    worker.stop()
    assert site.app.broker.depth(["celery"])["celery"].ready == 30
    site.worker("-c", "1")
    assert [one.get(timeout=30) for one in rest] == list(range(30))
    wanted = [one.id for one in rest]
    starts = [one.id for one in site.ledger.records() if one.kind is Kind.START]
    assert [key for key in starts if key in set(wanted)] == wanted


def test_tasks_longer_than_the_grace_are_given_back(site):
    """A grace of 5 s, tasks of 1, 3 and 60 s."""
    worker = site.worker("-c", "3", "--grace", "5")
    short, middle, long = (site.subject.nap.delay(seconds) for seconds in (1, 3, 60))
    eventually(lambda: len(site.ledger.counts(Kind.START)) == 3)
    assert worker.stop() == 0
    assert (short.get(timeout=1), middle.get(timeout=1)) == (1, 3)
    assert site.app.broker.depth(["celery"])["celery"].ready == 1
    assert long.state == "PENDING"
    counts = site.ledger.counts(Kind.START)
    assert [counts[one.id] for one in (short, middle, long)] == [1, 1, 1]
    site.worker("-c", "1")
    eventually(lambda: site.ledger.counts(Kind.START)[long.id] == 2)


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio"])
def test_a_second_signal_stops_now_and_loses_nothing(site, pool):
    worker = site.worker("-c", "2", "-P", pool)
    result = site.subject.nap.delay(60)
    eventually(lambda: site.ledger.counts(Kind.START)[result.id] == 1)
    worker.signal(signal.SIGTERM)
    eventually(lambda: "Stopping" in worker.output())
    worker.signal(signal.SIGTERM)
    assert worker.process.wait(30) == 1
    assert site.app.broker.depth(["celery"])["celery"].ready == 1


def test_sigquit_stops_now(site):
    worker = site.worker("-c", "2")
    result = site.subject.nap.delay(60)
    eventually(lambda: site.ledger.counts(Kind.START)[result.id] == 1)
    worker.signal(signal.SIGQUIT)
    assert worker.process.wait(30) == 1
    assert site.app.broker.depth(["celery"])["celery"].ready == 1


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio", "solo"])
def test_an_idle_worker_stops(site, pool):
    assert site.worker("-c", "2", "-P", pool).stop() == 0
    assert site.app.broker.owners() == []
