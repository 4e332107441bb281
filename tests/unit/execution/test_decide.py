"""Every fate of a delivery, as a table: what happened -> what is done about it."""

from __future__ import annotations

import pytest

from celeriac import Celeriac, state
from celeriac.error import (
    Ignore,
    NotRegistered,
    PoisonMessage,
    Reject,
    Retry,
    TaskRevokedError,
    WorkerLostError,
)
from celeriac.execution.decide import (
    DEATH_DELAYS,
    Policy,
    decide,
    decide_abandoned,
    decide_received,
    give_back,
)
from celeriac.execution.job import Admission, Job, Refused
from celeriac.execution.outcome import Dead, NotDue
from celeriac.execution.run import run
from celeriac.message import Delivery, Message, Outgoing, Verdict
from celeriac.protocol import result_meta
from celeriac.protocol.task import HELD_UNTIL, Fields, build

NOW = 1_800_000_000.0
NODE = "w@h"


@pytest.fixture
def app():
    with Celeriac("unit", broker="memory://decide", backend="memory://decide") as app:
        yield app


@pytest.fixture
def policy(app):
    return Policy.of(app, NODE)


def delivery(app, name, *args, deaths=0, losses=0, **fields):
    message = build(
        Fields(id="an-id", task=name, args=args, kwargs={}, **fields), app.serialization
    )
    return Delivery("r1", "celery", message, b"{}", deaths=deaths, losses=losses)


def fate(app, policy, task, *args, **fields):
    """Return the completion of one run."""
    job = Admission(app, NODE).admit(delivery(app, task.name, *args, **fields), NOW)
    assert isinstance(job, Job)
    return decide(job, run(job, None), policy, NOW)


def meta(app, completion):
    return result_meta.decode(completion.result.payload, app.serialization)


def test_success_is_stored_and_acknowledged(app, policy):
    completion = fate(app, policy, app.task(lambda x: x + 1, name="inc"), 1)
    assert completion.verdict is Verdict.ACK
    assert (completion.result.id, completion.result.state) == ("an-id", state.SUCCESS)
    assert completion.result.ttl == 86400
    assert meta(app, completion).result == 2


def test_ignored_results_are_not_stored(app, policy):
    completion = fate(app, policy, app.task(lambda: 1, name="quiet", ignore_result=True))
    assert completion.verdict is Verdict.ACK
    assert completion.result is None


def test_the_message_may_ask_to_ignore_the_result(app, policy):
    completion = fate(app, policy, app.task(lambda: 1, name="loud"), ignore_result=True)
    assert completion.result is None


def boom():
    raise KeyError("nope", 3)


def test_failure_is_stored_with_the_traceback_of_the_body_only(app, policy):
    completion = fate(app, policy, app.task(boom, name="boom"))
    assert completion.verdict is Verdict.ACK
    found = meta(app, completion)
    assert found.state == state.FAILURE
    assert isinstance(found.result, KeyError)
    assert found.result.args == ("nope", 3)
    assert found.traceback.count("  File ") == 1
    assert "in boom" in found.traceback


def test_failure_is_stored_for_ignored_results_when_asked(app, policy):
    task = app.task(boom, name="boom", ignore_result=True)
    assert fate(app, policy, task).result is None
    task = app.task(boom, name="boom2", ignore_result=True, store_errors_even_if_ignored=True)
    assert fate(app, policy, task).result.state == state.FAILURE


def test_a_failure_that_is_not_to_be_acknowledged_becomes_a_dead_letter(app, policy):
    task = app.task(boom, name="boom", acks_on_failure_or_timeout=False)
    completion = fate(app, policy, task)
    assert (completion.verdict, completion.reason) == (Verdict.DEAD, "rejected")
    assert completion.result.state == state.FAILURE


def test_a_result_that_cannot_be_written_is_a_failure_that_says_so(app, policy):
    completion = fate(app, policy, app.task(lambda: {"a": [object()]}, name="odd"))
    found = meta(app, completion)
    assert found.state == state.FAILURE
    assert "object" in str(found.result)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_no_exception_ends_the_worker(app, policy, error):
    def body():
        raise error

    completion = fate(app, policy, app.task(body, name="exits"))
    assert completion.result.state == state.FAILURE
    assert type(error).__name__ in meta(app, completion).traceback


def test_a_retry_is_sent_with_the_acknowledgement(app, policy):
    @app.task(bind=True, name="again")
    def again(self):
        raise self.retry(countdown=10, exc=ValueError("later"))

    completion = fate(app, policy, again)
    (sent,) = completion.publish
    assert completion.verdict is Verdict.ACK
    assert completion.result.state == state.RETRY
    assert isinstance(sent, Outgoing)
    assert (sent.message.id, sent.message.headers["retries"]) == ("an-id", 1)
    assert sent.queue == "celery"
    assert sent.due > NOW - 10**9


def test_ignore_stores_nothing(app, policy):
    def body():
        raise Ignore

    completion = fate(app, policy, app.task(body, name="ignores"))
    assert (completion.verdict, completion.result) == (Verdict.ACK, None)


@pytest.mark.parametrize(("requeue", "verdict"), [(True, Verdict.RELEASE), (False, Verdict.DEAD)])
def test_reject(app, policy, requeue, verdict):
    def body():
        raise Reject("no", requeue=requeue)

    completion = fate(app, policy, app.task(body, name="rejects"), deaths=1)
    assert completion.verdict is verdict
    assert completion.deaths == 1
    assert (completion.result is None) is requeue


# -- on receipt ----------------------------------------------------------------------------


def refused(app, one):
    found = Admission(app, NODE).admit(one, NOW)
    assert isinstance(found, Refused)
    return found


def test_an_unknown_task_is_kept_and_its_sender_learns_of_it(app, policy):
    app.task(lambda: 1, name="unit.known")
    found = refused(app, delivery(app, "unit.knwon"))
    completion = decide_received(found, policy, NOW)
    assert (completion.verdict, completion.reason) == (Verdict.DEAD, "unknown_task")
    assert "unit.known" in completion.detail
    assert isinstance(meta(app, completion).result, NotRegistered)


def test_an_unreadable_envelope_is_kept(app, policy):
    found = refused(app, Delivery("r1", "celery", None, b"garbage", "not JSON"))
    completion = decide_received(found, policy, NOW)
    assert (completion.verdict, completion.reason) == (Verdict.DEAD, "undecodable")
    assert completion.result is None


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"[[], {}]", "application/json", "undecodable"),
        (b"null", "application/json", "undecodable"),
        (b"17", "application/json", "undecodable"),
        (b"\xff\xfe", "application/json", "undecodable"),
        (b"[" * 100_000, "application/json", "undecodable"),
        (b"\x80\x04.", "application/x-python-serialize", "refused"),
    ],
)
def test_a_body_that_is_not_a_call_is_kept_and_its_sender_learns_of_it(
    app, policy, body, content_type, reason
):
    app.task(lambda: 1, name="t")
    message = Message("an-id", "t", body, content_type, headers={"id": "an-id", "task": "t"})
    completion = decide_received(refused(app, Delivery("r1", "celery", message)), policy, NOW)
    assert (completion.verdict, completion.reason) == (Verdict.DEAD, reason)
    assert completion.result.state == state.FAILURE


@pytest.mark.parametrize("headers", [{"retries": "x"}, {"timelimit": [1e99, "x"]}, {"eta": 7}])
def test_headers_that_lie_are_found_out(app, policy, headers):
    app.task(lambda: 1, name="t")
    found = refused(app, delivery(app, "t", headers=headers))
    assert decide_received(found, policy, NOW).reason == "undecodable"


SIGNATURE = {
    "task": "t",
    "args": [],
    "kwargs": {},
    "options": {},
    "subtask_type": None,
    "immutable": False,
}


@pytest.mark.parametrize(
    "after",
    [
        {"callbacks": [SIGNATURE]},
        {"errbacks": [SIGNATURE]},
        {"chain": [SIGNATURE]},
        {"chord": SIGNATURE},
    ],
    ids=str,
)
def test_what_comes_after_a_task_is_not_lost_in_silence(app, policy, after):
    """This version runs no canvas: the message is kept for one that does."""
    app.task(lambda: 1, name="t")
    found = refused(app, delivery(app, "t", **after))
    completion = decide_received(found, policy, NOW)
    assert (completion.verdict, completion.reason) == (Verdict.DEAD, "refused")
    assert completion.result.state == state.FAILURE


def test_an_expired_message_is_revoked(app, policy):
    app.task(lambda: 1, name="t")
    one = delivery(app, "t", headers={"expires": "2020-01-01T00:00:00+00:00"})
    completion = decide_received(refused(app, one), policy, NOW)
    assert (completion.verdict, completion.reason) == (Verdict.DEAD, "expired")
    assert completion.result.state == state.REVOKED
    assert isinstance(meta(app, completion).result, TaskRevokedError)


def test_a_message_that_is_not_due_waits_in_the_broker_and_is_sent_there_once(app, policy):
    app.task(lambda: 1, name="t")
    eta = "2100-01-01T00:00:00+00:00"
    found = refused(app, delivery(app, "t", headers={"eta": eta}))
    assert isinstance(found.outcome, NotDue)
    completion = decide_received(found, policy, NOW)
    (waiting,) = completion.publish
    assert completion.verdict is Verdict.ACK
    assert waiting.due == found.outcome.due
    assert waiting.message.headers[HELD_UNTIL] == eta
    # Delivered by a broker whose clock is ahead of ours, it is run.
    again = Admission(app, NODE).admit(Delivery("r2", "celery", waiting.message), NOW)
    assert isinstance(again, Job)


# -- abandoned -----------------------------------------------------------------------------


def abandoned(app, policy, *, died=True, early=False, deaths=0, losses=0, **options):
    name = f"t{len(app.tasks)}"
    task = app.task(lambda: 1, name=name, **options)
    one = delivery(app, name, deaths=deaths, losses=losses)
    return decide_abandoned(one, task.options(app), policy, NOW, died=died, early=early)


def test_a_death_runs_again_counted_and_later_each_time(app, policy):
    for deaths in range(2):
        completion = abandoned(app, policy, deaths=deaths)
        assert completion.verdict is Verdict.RELEASE
        assert (completion.deaths, completion.losses) == (deaths + 1, 0)
        assert completion.delay == DEATH_DELAYS[deaths]


@pytest.mark.parametrize("limit", [1, 3])
def test_the_last_death_is_the_end(app, policy, limit):
    completion = abandoned(app, policy, deaths=limit - 1, max_deaths=limit)
    assert (completion.verdict, completion.reason) == (Verdict.DEAD, "poison")
    assert completion.deaths == limit
    assert isinstance(meta(app, completion).result, PoisonMessage)


def test_losses_are_counted_apart(app, policy):
    completion = abandoned(app, policy, died=False, deaths=2, losses=8)
    assert completion.verdict is Verdict.RELEASE
    assert (completion.deaths, completion.losses, completion.delay) == (2, 9, 0.0)
    assert abandoned(app, policy, died=False, losses=9).reason == "poison"


@pytest.mark.parametrize("died", [True, False])
def test_what_was_acknowledged_early_does_not_run_again(app, policy, died):
    completion = abandoned(app, policy, died=died, early=True)
    assert (completion.verdict, completion.reason) == (Verdict.DEAD, "worker_lost")
    assert isinstance(meta(app, completion).result, WorkerLostError)


def test_reject_on_worker_lost_false_said_aloud_is_obeyed(app, policy):
    completion = abandoned(app, policy, reject_on_worker_lost=False)
    assert completion.reason == "worker_lost"


def test_giving_back_blames_nobody(app):
    completion = give_back(delivery(app, "t", deaths=1, losses=2))
    assert (completion.verdict, completion.deaths, completion.losses) == (Verdict.RELEASE, 1, 2)
    assert completion.delay == 0


def test_dead_and_not_due_are_decided_on_receipt(app, policy):
    app.task(lambda: 1, name="t")
    job = Admission(app, NODE).admit(delivery(app, "t"), NOW)
    for outcome in (NotDue(NOW), Dead("expired", "", Retry())):
        with pytest.raises(AssertionError, match="on receipt"):
            decide(job, outcome, policy, NOW)
