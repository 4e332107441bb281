"""Retries: seen by the other side's clients, taken over by the other side's workers."""

from __future__ import annotations

import celery.exceptions
import pytest
from tests.interop.subject import Refused

from celeriac.testing.deadline import eventually
from celeriac.testing.ledger import Kind

DIRECTIONS = [("celery", "celeriac"), ("celeriac", "celery")]


@pytest.mark.parametrize(("watcher", "runner"), DIRECTIONS)
def test_the_other_side_watches_a_task_being_retried(site, watcher, runner):
    site.worker(runner, "-c", "1")
    result = site.client(watcher).tasks["again"].delay(2, countdown=1)
    eventually(lambda: result.state == "RETRY")
    assert type(result.info) is Refused
    assert ", in again\n" in result.traceback
    assert not result.ready()
    assert result.date_done is None
    assert result.get(timeout=30) == 2
    starts = site.ledger.by_id(Kind.START)[result.id]
    assert [start.detail for start in starts] == [f"{runner} {number}" for number in range(3)]


@pytest.mark.parametrize(("watcher", "runner"), DIRECTIONS)
def test_the_last_error_is_raised_after_the_last_retry(site, watcher, runner):
    site.worker(runner, "-c", "1")
    result = site.client(watcher).tasks["again"].delay(9)
    with pytest.raises(Refused, match="again"):
        result.get(timeout=30)
    assert site.ledger.counts(Kind.START)[result.id] == 4  # max_retries is 3


@pytest.mark.parametrize("sender", ["celery", "celeriac"])
@pytest.mark.parametrize(("first", "second"), DIRECTIONS)
def test_the_retry_of_one_side_is_run_by_the_other(site, sender, first, second):
    site.worker(first, "-c", "1", "-Q", "first")
    site.worker(second, "-c", "1", "-Q", "second")
    result = site.client(sender).tasks["hop"].apply_async(("second",), queue="first")
    assert result.get(timeout=30) == second
    starts = site.ledger.by_id(Kind.START)[result.id]
    assert [start.detail for start in starts] == [f"{first} 0", f"{second} 1"]


def test_celery_cannot_tell_our_retry_from_its_own(site):
    """What is read of a retry whose cause is nothing but the retry itself."""
    site.worker("celeriac", "-c", "1")
    result = site.client("celery").tasks["hop"].apply_async(("nobody",), queue="celery")
    eventually(lambda: result.state == "RETRY")
    assert type(result.info) is celery.exceptions.Retry
