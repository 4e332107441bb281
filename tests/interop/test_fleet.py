"""A fleet with workers of both sides on one queue."""

from __future__ import annotations

import celery.exceptions
import pytest

import celeriac.error
from celeriac.testing.deadline import eventually
from celeriac.testing.ledger import Kind

SIDES = ["celery", "celeriac"]


def sides(site, kind=Kind.START):
    """Return on which sides tasks have run."""
    return {one.detail.partition(" ")[0] for one in site.ledger.records() if one.kind is kind}


@pytest.mark.parametrize("sender", SIDES)
def test_both_sides_share_the_work_and_the_retries(site, sender):
    for side in SIDES:
        site.worker(side, "-c", "2", worker_prefetch_multiplier=1)
    again = site.client(sender).tasks["again"]
    results = [again.delay(1, countdown=0.2) for _ in range(200)]
    assert [result.get(timeout=60) for result in results] == [1] * 200
    counts = site.ledger.counts(Kind.START)
    assert counts == {result.id: 2 for result in results}
    assert sides(site) == set(SIDES)


@pytest.mark.parametrize("sender", SIDES)
def test_a_fleet_moves_over_one_worker_at_a_time_and_back(plain_site, sender):
    """Each worker is stopped with work in its hands."""
    client = plain_site.client(sender)
    results = []

    def send():
        results.extend(client.tasks["nap"].delay(0.05) for _ in range(100))

    def wait_for_ends(number):
        eventually(lambda: len(plain_site.ledger.counts(Kind.END)) >= number, timeout=60)

    send()
    workers = [plain_site.worker("celery", "-c", "2"), plain_site.worker("celery", "-c", "2")]
    ends = 10
    for side in ("celeriac", "celeriac", "celery", "celery"):
        wait_for_ends(ends)
        assert workers.pop(0).stop() == 0
        workers.append(plain_site.worker(side, "-c", "2"))
        send()
        ends += 80
    assert [result.get(timeout=60) for result in results] == [0.05] * 500
    assert plain_site.ledger.counts(Kind.START) == {result.id: 1 for result in results}
    assert sides(plain_site) == set(SIDES)
    assert [worker.stop() for worker in workers] == [0, 0]
    depth = plain_site.client("celeriac").broker.depth(["celery"])["celery"]
    assert (depth.ready, depth.delayed, depth.leased) == (0, 0, 0)


@pytest.mark.parametrize(("first", "second"), [SIDES, SIDES[::-1]])
def test_what_one_side_gives_back_at_its_end_the_other_runs(site, tmp_path, first, second):
    flag = tmp_path / "flag"
    worker = site.worker(first, "-c", "1")
    client = site.client(first)
    running = client.tasks["hold"].delay(str(flag))
    eventually(lambda: site.ledger.counts(Kind.START)[running.id])
    waiting = [client.tasks["add"].delay(number) for number in range(20)]
    worker.signal(15)
    flag.touch()
    assert worker.process.wait(30) == 0
    site.worker(second, "-c", "1")
    assert [one.get(timeout=30) for one in waiting] == list(range(20))
    assert running.get(timeout=30) == 0
    assert set(site.ledger.counts(Kind.START).values()) == {1}


def test_errors_of_the_queue_are_each_sides_own(site):
    """Code that catches Celery's exceptions catches Celery's, ours catches ours."""
    theirs, ours = (site.client(side) for side in SIDES)
    result = theirs.tasks["add"].delay(1)
    with pytest.raises(celery.exceptions.TimeoutError):
        result.get(timeout=0.1)
    with pytest.raises(celeriac.error.TimeoutError):
        ours.AsyncResult(result.id).get(timeout=0.1)
