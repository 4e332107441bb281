"""From an outcome to a completion: pure functions, the only place where fates are decided.

`decide` is for a delivery that was looked at or run; `decide_abandoned` for one whose process died
or whose lease expired.  `docs/delivery.md` is the contract they keep.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from celeriac import state
from celeriac.error import (
    EncodeError,
    PoisonMessage,
    Reject,
    TaskRevokedError,
    WorkerLostError,
)
from celeriac.execution.outcome import (
    Dead,
    Failure,
    Ignored,
    NotDue,
    Outcome,
    Rejected,
    Retrying,
    Success,
)
from celeriac.message import Completion, Delivery, Message, Outgoing, ResultRecord, Verdict
from celeriac.protocol import result_meta
from celeriac.protocol.repr import saferepr
from celeriac.protocol.result_meta import ResultMeta
from celeriac.protocol.task import HELD_UNTIL
from celeriac.serialization.registry import Serialization

if TYPE_CHECKING:
    from celeriac.app import Celeriac
    from celeriac.execution.job import Job, Refused
    from celeriac.task import TaskOptions

#: Seconds before the next run after the n-th death: a killed task gets a second chance at once,
#: one that kills every process waits longer each time.
DEATH_DELAYS = (0.0, 2.0, 8.0, 30.0)


class Policy(msgspec.Struct, frozen=True):
    """What the configuration says about completions; made once per process.

    Attributes:
        serialization: writes results.
        serializer: the name of the serializer of results.
        expires: seconds that results are kept; None for ever.
        extended: results tell name, arguments, worker, retries and queue too.
        node: the name of this worker.
    """

    serialization: Serialization
    serializer: str
    expires: float | None
    extended: bool
    node: str

    @classmethod
    def of(cls, app: Celeriac, node: str) -> Policy:
        """Return what the configuration of ``app`` says on the worker ``node``."""
        expires = app.conf.result_expires or None
        return cls(
            serialization=app.serialization,
            serializer=app.conf.result_serializer,
            expires=expires.total_seconds() if isinstance(expires, timedelta) else expires,
            extended=app.conf.result_extended,
            node=node,
        )


def decide(job: Job, outcome: Outcome, policy: Policy, now: float) -> Completion:
    """Return what to do about ``outcome``.

    Args:
        job: what was run; only its delivery, request and options are read.
        outcome: what happened.
        policy: the configuration.
        now: Unix time, seconds.
    """
    if isinstance(outcome, Dead | NotDue):
        raise AssertionError(f"{outcome} is decided on receipt")
    try:
        return _decide(job, outcome, policy, now)
    except BaseException as error:  # noqa: BLE001 - values and exceptions of users raise anything
        return _untold(job, error, policy, now)


def _decide(
    job: Job, outcome: Success | Failure | Retrying | Ignored | Rejected, policy: Policy, now: float
) -> Completion:
    match outcome:
        case Success(value):
            return _succeeded(job, value, policy, now)
        case Failure(error, traceback):
            return _failed(job, error, traceback, policy, now)
        case Retrying(retry, traceback):
            cause = retry.exc or retry
            record = _record(job, policy, None, state.RETRY, cause, traceback=traceback)
            sent = [*job.request.followups, retry.sig]
            return Completion(job.delivery, result=record, publish=sent)
        case Ignored():
            return Completion(job.delivery, publish=job.request.followups)
        case Rejected(reason, requeue):
            delivery = job.delivery
            if requeue:
                return give_back(delivery)
            record = _record(job, policy, now, state.FAILURE, Reject(reason))
            return _dead(delivery, "rejected", reason, record)


def decide_received(refused: Refused, policy: Policy, now: float) -> Completion:
    """Return what to do about a delivery that is not run now.

    Args:
        refused: the delivery and why.
        policy: the configuration.
        now: Unix time, seconds.
    """
    delivery, outcome = refused.delivery, refused.outcome
    if isinstance(outcome, NotDue):
        return _wait(delivery, outcome.due)
    record = None
    if refused.task_id and not refused.ignore_result:
        final = state.REVOKED if outcome.revoked else state.FAILURE
        meta = ResultMeta(
            id=refused.task_id, state=final, result=outcome.error, date_done=_iso(now)
        )
        record = _encode(meta, policy)
    return _dead(delivery, outcome.reason, outcome.detail, record)


def decide_abandoned(
    delivery: Delivery,
    options: TaskOptions,
    policy: Policy,
    now: float,
    *,
    died: bool,
    early: bool,
) -> Completion:
    """Return what to do about an adopted delivery.

    Args:
        delivery: adopted from its former owner.
        options: of the task.
        policy: the configuration.
        now: Unix time, seconds.
        died: its body had been entered when the process died; False: not, or nobody knows, as
            after the loss of a host.
        early: it was acknowledged early and had begun: it must not begin again.
    """
    deaths, losses = delivery.deaths + died, delivery.losses + (not died)
    final = early or (died and options.reject_on_worker_lost is False)
    if final:
        reason = "worker_lost"
        error: Exception = WorkerLostError(
            "the process running the task ended before the task did, and the task is not to be "
            "run again (acks_late=False or reject_on_worker_lost=False)"
        )
    elif deaths >= options.max_deaths or losses >= options.max_losses:
        reason = "poison"
        error = PoisonMessage(
            f"{deaths} runs ended with the death of their process, {losses} with the loss of their "
            f"lease (limits: {options.max_deaths} and {options.max_losses})"
        )
    else:
        delay = DEATH_DELAYS[min(deaths, len(DEATH_DELAYS)) - 1] if died else 0.0
        return Completion(delivery, Verdict.RELEASE, delay=delay, deaths=deaths, losses=losses)
    record = None
    if delivery.message is not None and not options.ignore_result:
        meta = ResultMeta(
            id=delivery.message.id, state=state.FAILURE, result=error, date_done=_iso(now)
        )
        record = _encode(meta, policy)
    completion = _dead(delivery, reason, str(error), record)
    completion.deaths, completion.losses = deaths, losses
    return completion


def give_back(delivery: Delivery) -> Completion:
    """Return the completion of a delivery that was not run and may run elsewhere."""
    return Completion(delivery, Verdict.RELEASE, deaths=delivery.deaths, losses=delivery.losses)


def decide_unsendable(
    completion: Completion, error: Exception, policy: Policy, now: float
) -> Completion:
    """Return what to do instead of a completion whose follow-up messages cannot be sent.

    Args:
        completion: the broker refuses it, or its follow-ups, now and for ever.
        error: why.
        policy: the configuration.
        now: Unix time, seconds.
    """
    delivery, record = completion.delivery, None
    if completion.result is not None:
        meta = ResultMeta(
            id=completion.result.id, state=state.FAILURE, result=error, date_done=_iso(now)
        )
        record = _encode(meta, policy)
    what = "a follow-up cannot be sent" if completion.publish else "it cannot be settled"
    return _dead(delivery, "rejected", f"{what}: {saferepr(error)}", record)


def expired() -> Dead:
    """Return the outcome of a message that came after its ``expires``."""
    return Dead("expired", "expired before it was run", TaskRevokedError("expired"), revoked=True)


def progress(job: Job, policy: Policy, name: str, meta: Any) -> ResultRecord | None:
    """Return the record of a state on the way, such as STARTED."""
    return _record(job, policy, None, name, meta)


def _succeeded(job: Job, value: Any, policy: Policy, now: float) -> Completion:
    try:
        record = _record(job, policy, now, state.SUCCESS, value)
    except EncodeError as error:
        return _failed(job, error, None, policy, now)
    return Completion(job.delivery, result=record, publish=job.request.followups)


def _untold(job: Job, error: BaseException, policy: Policy, now: float) -> Completion:
    """Return the completion of a run of which the outcome cannot be written down.

    It has to come to an end all the same: a child that fails here would run it for ever.
    """
    record = None
    if not job.ignore_result:
        told = EncodeError(f"the outcome of the run cannot be told: {saferepr(error)}")
        meta = ResultMeta(id=job.id, state=state.FAILURE, result=told, date_done=_iso(now))
        record = _encode(meta, policy)
    return Completion(job.delivery, result=record)


def _failed(
    job: Job, error: BaseException, traceback: str | None, policy: Policy, now: float
) -> Completion:
    always = job.options.store_errors_even_if_ignored
    record = _record(job, policy, now, state.FAILURE, error, traceback=traceback, always=always)
    if job.options.acks_on_failure_or_timeout:
        return Completion(job.delivery, result=record, publish=job.request.followups)
    return _dead(job.delivery, "rejected", saferepr(error, 500), record)


def _record(
    job: Job,
    policy: Policy,
    now: float | None,
    name: str,
    result: Any,
    *,
    traceback: str | None = None,
    always: bool = False,
) -> ResultRecord | None:
    if job.ignore_result and not always:
        return None
    request = job.request
    done = None if now is None else datetime.fromtimestamp(now, UTC).isoformat()
    meta = ResultMeta(
        id=job.id,
        state=name,
        result=result,
        traceback=traceback,
        children=request.trail() if request._children else [],
        date_done=done,
        group_id=request.group,
        parent_id=request.parent_id,
    )
    if policy.extended:
        meta.extended = {
            "name": job.task.name,
            "args": list(job.args),
            "kwargs": job.kwargs,
            "worker": policy.node,
            "retries": request.retries,
            "queue": job.delivery.queue,
        }
    try:
        payload = result_meta.encode(meta, policy.serialization, policy.serializer)
    except EncodeError:
        if not policy.extended:
            raise
        # The body may have changed its arguments into what cannot be written.
        told = {"args": saferepr(job.args), "kwargs": saferepr(job.kwargs)}
        meta.extended = {**meta.extended, **told}
        payload = result_meta.encode(meta, policy.serialization, policy.serializer)
    return ResultRecord(job.id, name, payload, policy.expires)


def _encode(meta: ResultMeta, policy: Policy) -> ResultRecord:
    payload = result_meta.encode(meta, policy.serialization, policy.serializer)
    return ResultRecord(meta.id, meta.state, payload, policy.expires)


def _dead(delivery: Delivery, reason: str, detail: str, record: ResultRecord | None) -> Completion:
    return Completion(
        delivery,
        Verdict.DEAD,
        result=record,
        deaths=delivery.deaths,
        losses=delivery.losses,
        reason=reason,
        detail=detail,
    )


def _wait(delivery: Delivery, due: float) -> Completion:
    """Send the message to wait in the broker; it is marked so that it is not sent twice.

    Without the mark a worker whose clock is behind the broker's would send it round and round.
    """
    message = delivery.message
    if message is None:
        raise AssertionError("a message that cannot be read has no due time")
    headers = {**message.headers, HELD_UNTIL: message.headers.get("eta")}
    waiting: Message = msgspec.structs.replace(message, headers=headers)
    priority = message.properties.get("priority")
    outgoing = Outgoing(
        waiting,
        delivery.queue,
        routing_key=delivery.queue,
        priority=priority if isinstance(priority, int) else 0,
        due=due,
    )
    return Completion(delivery, publish=[outgoing])


def _iso(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat()
