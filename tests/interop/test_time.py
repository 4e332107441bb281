"""Tasks that are not to run yet, or no longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import celery.exceptions
import pytest

import celeriac.error
from celeriac.testing.deadline import eventually
from celeriac.testing.ledger import Kind

DIRECTIONS = [("celery", "celeriac"), ("celeriac", "celery")]
REVOKED = {
    "celery": celery.exceptions.TaskRevokedError,
    "celeriac": celeriac.error.TaskRevokedError,
}
#: Seconds; long enough to look at the queue meanwhile on a busy machine.
LATER = 4.0


def depth(site):
    """Return how many messages of the default queue are ready, delayed and leased."""
    counts = site.client("celeriac").broker.depth(["celery"])["celery"]
    return counts.ready, counts.delayed, counts.leased


def assert_ran_once_and_not_early(site, result, due):
    assert result.get(timeout=30) == 3
    (start,) = site.ledger.by_id(Kind.START)[result.id]
    assert start.time >= due


@pytest.mark.parametrize("how", ["countdown", "eta"])
def test_celerys_delayed_tasks_wait_in_the_broker_of_our_worker(site, how):
    site.worker("celeriac", "-c", "1")
    due = datetime.now(UTC) + timedelta(seconds=LATER)
    option = {"countdown": LATER} if how == "countdown" else {"eta": due}
    result = site.client("celery").tasks["add"].apply_async((1, 2), **option)
    eventually(lambda: depth(site) == (0, 1, 0))
    assert not site.ledger.records()
    assert_ran_once_and_not_early(site, result, due.timestamp())


@pytest.mark.parametrize("zone", [timedelta(hours=5, minutes=30), timedelta(hours=-8)])
def test_an_eta_of_another_time_zone(site, zone):
    site.worker("celeriac", "-c", "1")
    due = datetime.now(timezone(zone)) + timedelta(seconds=LATER)
    result = site.client("celery").tasks["add"].apply_async((1, 2), eta=due)
    eventually(lambda: depth(site) == (0, 1, 0))
    assert_ran_once_and_not_early(site, result, due.timestamp())


def test_our_delayed_tasks_run_on_celery_where_no_worker_of_ours_is(site):
    site.worker("celery", "-c", "1")
    due = datetime.now(UTC).timestamp() + LATER
    result = site.client("celeriac").tasks["add"].apply_async((1, 2), countdown=LATER)
    assert depth(site)[1] == 0
    assert_ran_once_and_not_early(site, result, due)


def test_our_delayed_tasks_run_on_either_side_of_a_mixed_fleet(site):
    site.worker("celery", "-c", "1")
    site.worker("celeriac", "-c", "1")
    due = datetime.now(UTC).timestamp() + LATER
    client = site.client("celeriac")
    results = [client.tasks["add"].apply_async((1, 2), countdown=LATER) for _ in range(20)]
    eventually(lambda: depth(site) == (0, 20, 0))
    for result in results:
        assert_ran_once_and_not_early(site, result, due)
    eventually(lambda: depth(site) == (0, 0, 0))


@pytest.mark.parametrize(("sender", "runner"), DIRECTIONS)
def test_an_expired_task_is_revoked_and_not_run(site, sender, runner):
    yesterday = datetime.now(UTC) - timedelta(days=1)
    client = site.client(sender)
    result = client.tasks["add"].apply_async((1,), expires=yesterday)
    site.worker(runner, "-c", "1")
    with pytest.raises(REVOKED[sender], match="expired"):
        result.get(timeout=30)
    assert result.state == "REVOKED"
    assert client.tasks["add"].delay(1).get(timeout=30) == 1
    assert result.id not in site.ledger.counts(Kind.START)


@pytest.mark.parametrize(("sender", "runner"), DIRECTIONS)
def test_a_task_that_expires_later_is_run(site, sender, runner):
    site.worker(runner, "-c", "1")
    result = site.client(sender).tasks["add"].apply_async((1,), expires=3600)
    assert result.get(timeout=30) == 1


def test_an_expired_task_of_celery_leaves_a_dead_letter(site):
    yesterday = datetime.now(UTC) - timedelta(days=1)
    result = site.client("celery").tasks["add"].apply_async((1,), expires=yesterday)
    site.worker("celeriac", "-c", "1")
    result.get(timeout=30, propagate=False)
    letter = site.client("celeriac").broker.dead_letter(result.id)
    assert (letter.reason, letter.task, letter.queue) == ("expired", "add", "celery")
