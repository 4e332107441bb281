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
    hop = site.client(sender).tasks["hop"]
    options = {"headers": {"tenant": "blue"}, "priority": 6, "time_limit": 90, "shadow": "show"}
    result = hop.apply_async(("second",), queue="first", **options)
    told = result.get(timeout=30)
    assert (told["side"], told["id"], told["root_id"]) == (second, result.id, result.id)
    assert (told["tenant"], told["priority"], told["shadow"]) == ("blue", 6, "show")
    assert (told["time_limits"], told["retries"]) == ([90, None], 1)
    starts = site.ledger.by_id(Kind.START)[result.id]
    assert [start.detail for start in starts] == [f"{first} 0", f"{second} 1"]


def test_a_retry_without_a_cause_is_read_as_a_retry(site):
    site.worker("celeriac", "-c", "1")
    result = site.client("celery").tasks["hop"].delay("nobody")
    eventually(lambda: result.state == "RETRY")
    assert type(result.info) is celery.exceptions.Retry
