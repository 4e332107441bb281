"""Messages that Celery refuses, chokes on or writes only when asked to, at a worker of ours."""

from __future__ import annotations

import base64
import json
import pickle
from datetime import UTC, datetime, timedelta

import celery.exceptions
import kombu.exceptions
import pytest
import redis

import celeriac.error
from celeriac.identifier import uuid
from celeriac.testing.deadline import eventually
from celeriac.testing.ledger import Kind


@pytest.fixture(scope="module")
def clients(shared_site):
    """Celery's client and ours; one worker of ours outlives all tests of this module."""
    worker = shared_site.worker("celeriac", "-c", "2")
    (child, other) = worker.children()
    yield shared_site.client("celery"), shared_site.client("celeriac")
    assert worker.children() == [child, other]
    assert worker.stop() == 0


@pytest.fixture
def push(shared_site):
    """Put bytes on the queue as they are."""
    with redis.Redis.from_url(shared_site.url) as server:
        yield lambda raw: server.lpush(f"{shared_site.prefix}celery", raw)


def envelope(task_id, body=((1, 2), {}, {}), *, headers=None, **changes):
    """Return the least that is an envelope of protocol 2."""
    return {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"id": task_id, "task": "add", **(headers or {})},
        "properties": {
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "delivery_tag": uuid(),
        },
        **changes,
    }


BODY_AS_TEXT = {
    "body": json.dumps([[1, 2], {}, {}]),
    "properties": {"delivery_info": {}, "delivery_tag": "tag"},
}
PROTOCOL_1 = {"task": "add", "args": [1, 2], "kwargs": {}}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(envelope, id="id and task only"),
        pytest.param(lambda key: envelope(key) | BODY_AS_TEXT, id="body as text"),
        pytest.param(
            lambda key: {**envelope(key, {**PROTOCOL_1, "id": key}), "headers": {}},
            id="protocol 1",
        ),
        pytest.param(
            lambda key: envelope(key, {**PROTOCOL_1, "id": key}), id="protocol 1 in protocol 2"
        ),
        pytest.param(lambda key: envelope(key, ([1, 2], {}, None)), id="embed null"),
        pytest.param(
            lambda key: envelope(key, properties={"body_encoding": "base64"}), id="no delivery tag"
        ),
        pytest.param(lambda key: envelope(key, surprise={"a": 1}), id="unknown field"),
    ],
)
def test_what_can_be_read_is_run(clients, push, make):
    theirs, _ = clients
    task_id = uuid()
    push(json.dumps(make(task_id)))
    assert theirs.AsyncResult(task_id).get(timeout=30) == 3


YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).isoformat()
UNREADABLE = {
    "two parts": ([1, 2], {}),
    "four parts": ([1, 2], {}, {}, {}),
    "text": "add",
    "args a number": (1, {}, {}),
    "kwargs a list": ([], [], {}),
    "embed a text": ([], {}, "embed"),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_a_body_that_is_no_call_fails_and_stops_nobody(clients, push, body):
    """Two parts instead of three end a worker of Celery, again at every start."""
    theirs, ours = clients
    task_id = uuid()
    push(json.dumps(envelope(task_id, body)))
    with pytest.raises(celery.exceptions.InvalidTaskError):
        theirs.AsyncResult(task_id).get(timeout=30)
    letter = ours.broker.dead_letter(task_id)
    assert (letter.reason, letter.task, letter.queue) == ("undecodable", "add", "celery")
    assert letter.detail


@pytest.mark.parametrize(
    "headers",
    [
        {"eta": "tomorrow"},
        {"expires": 12},
        {"retries": "many"},
        {"timelimit": "short"},
    ],
    ids=str,
)
def test_headers_that_make_no_sense_fail_the_task(clients, push, headers):
    theirs, ours = clients
    task_id = uuid()
    push(json.dumps(envelope(task_id, headers=headers)))
    with pytest.raises(celery.exceptions.InvalidTaskError, match=next(iter(headers))):
        theirs.AsyncResult(task_id).get(timeout=30)
    assert ours.broker.dead_letter(task_id).reason == "undecodable"


def test_content_that_is_not_accepted_fails_instead_of_vanishing(clients, push):
    """Celery stores no result, and the caller waits for ever."""
    theirs, ours = clients
    task_id = uuid()
    body = base64.b64encode(pickle.dumps(((1, 2), {}, {}))).decode()
    content = {"content-type": "application/x-python-serialize", "content-encoding": "binary"}
    push(json.dumps(envelope(task_id, body=None) | {"body": body} | content))
    with pytest.raises(kombu.exceptions.ContentDisallowed):
        theirs.AsyncResult(task_id).get(timeout=30)
    assert ours.broker.dead_letter(task_id).reason == "refused"
    with pytest.raises(celeriac.error.ContentDisallowed):
        ours.AsyncResult(task_id).get(timeout=1)


def test_an_expired_message_is_revoked(clients, push):
    theirs, _ = clients
    task_id = uuid()
    push(json.dumps(envelope(task_id, headers={"expires": YESTERDAY})))
    with pytest.raises(celery.exceptions.TaskRevokedError, match="expired"):
        theirs.AsyncResult(task_id).get(timeout=30)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not json",
        b"[1, 2]",
        b"{}",
        b"{" * 100_000,
        b'{"body": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"body": 5}',
        json.dumps(envelope("x") | {"body": "%%%"}).encode(),
        json.dumps(envelope(5)).encode(),
        b"\xff\xfe{}",
    ],
    ids=lambda raw: raw[:20].decode(errors="replace") or "nothing",
)
def test_what_is_no_envelope_becomes_a_dead_letter(clients, push, raw):
    theirs, ours = clients
    known = {letter.id for letter in ours.broker.dead_letters()}
    push(raw)

    def letters():
        return [one for one in ours.broker.dead_letters() if one.id not in known]

    (letter,) = eventually(letters)
    assert (letter.reason, letter.queue, letter.raw) == ("undecodable", "celery", raw)
    assert theirs.tasks["add"].delay(1, 2).get(timeout=30) == 3


def test_an_unknown_task_of_celery(clients):
    theirs, ours = clients
    result = theirs.send_task("ad", (1,))
    with pytest.raises(celery.exceptions.NotRegistered) as caught:
        result.get(timeout=30)
    assert caught.value.args == ("ad",)
    assert result.state == "FAILURE"
    letter = ours.broker.dead_letter(result.id)
    assert (letter.reason, letter.task) == ("unknown_task", "ad")
    assert '"add"' in letter.detail


def test_an_unknown_task_of_ours_at_a_worker_of_celery(site):
    site.worker("celery", "-c", "1")
    result = site.client("celeriac").send_task("ad", (1,))
    with pytest.raises(celeriac.error.NotRegistered) as caught:
        result.get(timeout=30)
    assert caught.value.args == ("ad",)


def test_a_dead_letter_of_celery_is_replayed(clients, shared_site):
    theirs, ours = clients
    result = theirs.send_task("ad", (1,))
    result.get(timeout=30, propagate=False)
    starts = len(shared_site.ledger.counts(Kind.START))
    assert ours.broker.replay([result.id]) == [result.id]
    # Still unknown: it dies again, with a new time.
    eventually(lambda: ours.broker.dead_letter(result.id))
    assert len(shared_site.ledger.counts(Kind.START)) == starts


@pytest.mark.parametrize("compression", ["zlib", "bzip2"])
def test_a_compressed_body_is_not_read_and_says_so(clients, compression):
    theirs, ours = clients
    result = theirs.tasks["add"].apply_async((1, 2), compression=compression)
    with pytest.raises(kombu.exceptions.DecodeError, match="unset task_compression"):
        result.get(timeout=30)
    assert ours.broker.dead_letter(result.id).reason == "undecodable"


def test_protocol_1_of_celerys_client(shared_site, clients):
    del clients
    theirs = shared_site.client("celery", task_protocol=1)
    assert theirs.tasks["add"].delay(1, y=2).get(timeout=30) == 3
    assert theirs.tasks["again"].delay(2).get(timeout=30) == 2
    with pytest.raises(KeyError):
        theirs.tasks["fail"].delay().get(timeout=30)


def test_protocol_1_with_times(shared_site, clients):
    del clients
    theirs = shared_site.client("celery", task_protocol=1)
    due = datetime.now(UTC) + timedelta(seconds=2)
    later = theirs.tasks["add"].apply_async((1,), eta=due)
    expired = theirs.tasks["add"].apply_async((1,), expires=datetime.fromisoformat(YESTERDAY))
    with pytest.raises(celery.exceptions.TaskRevokedError):
        expired.get(timeout=30)
    assert later.get(timeout=30) == 1
    (start,) = shared_site.ledger.by_id(Kind.START)[later.id]
    assert start.time >= due.timestamp()
