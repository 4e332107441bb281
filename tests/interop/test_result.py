"""A task sent by one side and run by the other: arguments, results, errors."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
import redis
from tests.interop.subject import Refused

from celeriac.testing.deadline import eventually
from celeriac.testing.ledger import Kind

#: Who sends and reads, and who runs.
DIRECTIONS = [("celery", "celeriac"), ("celeriac", "celery")]

VALUES = {
    "moment": datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC),
    "naive": datetime(2024, 2, 29, 12, 30),
    "elsewhere": datetime.fromisoformat("2024-02-29T12:30:00+05:30"),
    "day": date(2024, 2, 29),
    "clock": time(23, 59, 59),
    "amount": Decimal("0.10"),
    "key": uuid.UUID("9a2c1f0e-7b5d-4c3e-8f61-1d2e3f405162"),
    "text": "grüß dich, \N{SNOWMAN} \N{GRINNING FACE} \x00 \u2028",
    "octets": b"\x00\xff\xfe",
    "ascii": b"plain",
    "number": 2**80,
    "nothing": None,
    "nested": {"list": [1, [2, {"three": Decimal(3)}]], "empty": {}},
}


@pytest.fixture(scope="module", params=DIRECTIONS, ids="-to-".join)
def client(request, shared_site):
    """A client of one side; a worker of the other is running."""
    sender, runner = request.param
    # One process, so that results are stored in the order of their tasks.
    worker = shared_site.worker(runner, "-c", "1", result_extended=True)
    yield shared_site.client(sender)
    worker.stop()


def test_arguments_and_values(client):
    assert client.tasks["add"].delay(4, y=5).get(timeout=30) == 9


def test_types_beyond_json_arrive_and_return_as_what_they_are(client):
    answer = client.tasks["look"].delay(**VALUES).get(timeout=30)
    types = answer.pop("types")
    assert answer == VALUES
    assert types == {key: type(value).__name__ for key, value in VALUES.items()}


def test_tuples_become_lists(client):
    assert client.tasks["look"].delay(pair=(1, (2, 3))).get(timeout=30)["pair"] == [1, [2, 3]]


def test_what_is_known_of_a_success(client):
    before = datetime.now(UTC)
    result = client.tasks["add"].delay(1, y=1)
    result.get(timeout=30)
    again = client.AsyncResult(result.id)
    assert again.state == again.status == "SUCCESS"
    assert again.successful()
    assert again.ready()
    assert not again.failed()
    assert (again.result, again.traceback, again.children) == (2, None, [])
    assert again.date_done.utcoffset() == timedelta(0)
    assert before <= again.date_done <= datetime.now(UTC)


def test_what_is_known_of_the_call_with_extended_results(client):
    result = client.tasks["add"].delay(1, y=1)
    result.get(timeout=30)
    again = client.AsyncResult(result.id)
    assert (again.name, again.args, again.kwargs) == ("add", [1], {"y": 1})
    assert (again.retries, again.queue) == (0, "celery")
    assert "@" in again.worker


def test_an_exception_of_python_comes_back(client):
    result = client.tasks["fail"].delay()
    with pytest.raises(KeyError) as caught:
        result.get(timeout=30)
    assert type(caught.value) is KeyError
    assert caught.value.args == ("nothing", 3)


def test_an_exception_of_the_project_comes_back_as_its_own_class(client):
    result = client.tasks["refuse"].delay()
    with pytest.raises(Refused) as caught:
        result.get(timeout=30)
    assert type(caught.value) is Refused
    assert caught.value.args == ("not today", 3)


def test_what_is_known_of_a_failure(client):
    result = client.tasks["refuse"].delay()
    error = result.get(timeout=30, propagate=False)
    again = client.AsyncResult(result.id)
    assert type(error) is type(again.result) is Refused
    assert again.state == "FAILURE"
    assert again.failed()
    assert again.date_done.utcoffset() == timedelta(0)
    assert again.traceback.startswith("Traceback (most recent call last):\n")
    assert ", in refuse\n" in again.traceback
    assert again.traceback.rstrip().endswith("Refused: ('not today', 3)")


def test_what_a_task_knows_of_itself(client):
    result = client.tasks["tell"].apply_async(
        headers={"tenant": "blue"}, priority=4, time_limit=90, soft_time_limit=60, shadow="show"
    )
    told = result.get(timeout=30)
    assert told.pop("origin").startswith(f"gen{os.getpid()}@")
    assert told == {
        "id": result.id,
        "root_id": result.id,
        "parent_id": None,
        "correlation_id": result.id,
        "tenant": "blue",
        "priority": 4,
        "routing_key": "celery",
        "time_limits": [90, 60],
        "shadow": "show",
        "retries": 0,
    }


def test_children(client):
    result = client.tasks["parent"].delay()
    child_id = result.get(timeout=30)
    (child,) = client.AsyncResult(result.id).children
    assert child.id == child_id
    told = child.get(timeout=30)
    assert (told["root_id"], told["parent_id"]) == (result.id, result.id)
    assert child.children == []


def test_a_custom_state_is_seen_while_the_task_runs(client, tmp_path):
    flag = tmp_path / "flag"
    result = client.tasks["hold"].delay(str(flag))
    assert client.AsyncResult("nobody").state == "PENDING"
    eventually(lambda: result.state == "PROGRESS")
    assert result.info == {"done": 1, "of": 2}
    assert not result.ready()
    flag.touch()
    assert result.get(timeout=30) == 0


def test_ignored_results_are_not_stored(client, shared_site):
    result = client.tasks["add"].apply_async((1,), ignore_result=True)
    eventually(lambda: shared_site.ledger.counts(Kind.END)[result.id])
    # Whatever is written for the next one is written after it would have been for this one.
    client.tasks["add"].delay(1).get(timeout=30)
    assert client.AsyncResult(result.id).state == "PENDING"


def test_a_result_is_forgotten_for_both_sides(client, shared_site):
    result = client.tasks["add"].delay(1)
    result.get(timeout=30)
    readers = [shared_site.client(side) for side in ("celery", "celeriac")]
    assert [app.AsyncResult(result.id).state for app in readers] == ["SUCCESS"] * 2
    client.AsyncResult(result.id).forget()
    assert [app.AsyncResult(result.id).state for app in readers] == ["PENDING"] * 2


def test_results_are_kept_for_a_day(client, shared_site):
    result = client.tasks["add"].delay(1)
    result.get(timeout=30)
    with redis.Redis.from_url(shared_site.url) as server:
        seconds = server.ttl(f"{shared_site.prefix}celery-task-meta-{result.id}")
    assert 86000 < seconds <= 86400


def test_many_results_at_once(client):
    results = [client.tasks["add"].delay(number, y=1) for number in range(200)]
    assert [result.get(timeout=60) for result in results] == list(range(1, 201))


def test_large_arguments(client):
    text = "x" * 2_000_000
    assert client.tasks["look"].delay(text=text).get(timeout=60)["text"] == text
