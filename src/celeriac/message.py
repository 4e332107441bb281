"""The values that travel through celeriac: a message, its delivery, its completion.

They are plain values without behaviour of their own.  `docs/design.md`, section 2, has the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import msgspec


class Message(msgspec.Struct, frozen=True):
    """What travels.  The body stays encoded until a child runs it.

    Attributes:
        id: the task id, chosen by the sender; empty when only the body tells it (protocol 1).
        task: the registered name of the task; empty when only the body tells it (protocol 1).
        body: the serialized arguments, already compressed if the headers say so.
        content_type: how ``body`` was serialized, for instance ``application/json``.
        content_encoding: ``utf-8`` or ``binary``.
        headers: the headers of the task protocol in their order on the wire; unknown ones are kept.
        properties: broker properties; unknown ones are kept.
    """

    id: str
    task: str
    body: bytes
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    headers: dict[str, Any] = {}
    properties: dict[str, Any] = {}


class Outgoing(msgspec.Struct, frozen=True):
    """A message and where it goes.

    Attributes:
        message: what to send.
        queue: the queue that receives it.
        exchange: as sent on the wire; empty for straight to the queue.
        routing_key: as sent on the wire.
        priority: 0 to 9; on Redis, SQLite and in memory 0 is served first, as in Celery on Redis.
        due: Unix time in seconds before which it must not be delivered, or None for at once.
        dedupe: the caller may have sent it before: accept it once per ``(id, retries)``.
    """

    message: Message
    queue: str
    exchange: str = ""
    routing_key: str = ""
    priority: int = 0
    due: float | None = None
    dedupe: bool = False


class Delivery(msgspec.Struct):
    """A message, the right to run it, and what is known of earlier tries.

    Attributes:
        receipt: the token of the lease; never reused, opaque to all but the broker, at most
            `Capabilities.receipt_size` bytes of ASCII.
        queue: where it was waiting.
        message: what arrived; None when it could not be read, then `problem` says why.
        raw: what the broker holds, byte for byte; goes into a dead letter.
        problem: why `message` is None.
        redelivered: it was delivered before.
        deaths: how often the process that ran it died.
        losses: how often its lease expired (host, network or a whole worker was lost).
        started: it had begun to run and must not begin again (early acknowledgement); only
            `Broker.adopt` and `Broker.adopt_expired` say so.
        previous: the receipt under which the former owner held it, of an adopted delivery.
    """

    receipt: str
    queue: str
    message: Message | None
    raw: bytes = b""
    problem: str | None = None
    redelivered: bool = False
    deaths: int = 0
    losses: int = 0
    started: bool = False
    previous: str = ""


class ResultRecord(msgspec.Struct, frozen=True):
    """One write to the result store.

    Attributes:
        id: the task id.
        state: the state it reports.
        payload: the encoded result meta, in Celery's format.
        ttl: seconds until it may be forgotten; None for never.
    """

    id: str
    state: str
    payload: bytes
    ttl: float | None = None


class Verdict(Enum):
    """What becomes of a delivery."""

    ACK = "ack"  #: done with; removed
    RELEASE = "release"  #: back to the front of its queue, or due later
    DEAD = "dead"  #: moved to the dead letters


class Completion(msgspec.Struct):
    """What to do about an outcome, all of it or nothing where the broker can.

    Attributes:
        delivery: whose lease is settled.
        verdict: what becomes of the message.
        result: what to store, if anything.
        publish: follow-up messages: the retry, callbacks, the next link.
        delay: RELEASE: seconds before the message may be delivered again.
        deaths: RELEASE and DEAD: the number of deaths to note on the message.
        losses: RELEASE and DEAD: the number of losses to note on the message.
        reason: DEAD: one of the words of `DeadLetter.reason`.
        detail: DEAD: one line for a human.
    """

    delivery: Delivery
    verdict: Verdict = Verdict.ACK
    result: ResultRecord | None = None
    publish: Sequence[Outgoing] = ()
    delay: float = 0.0
    deaths: int = 0
    losses: int = 0
    reason: str = ""
    detail: str = ""


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that will not be run, kept so that a human can look at it and replay it.

    Attributes:
        id: the key of this record: the task id where one is readable, else a new identifier.
        task: the task name, or empty.
        queue: where it was waiting, and where a replay puts it.
        reason: ``unknown_task``, ``undecodable``, ``refused``, ``poison``, ``worker_lost``,
            ``expired`` or ``rejected``.
        detail: one line for a human.
        died: Unix time in seconds.
        deaths: how often the process that ran it died.
        losses: how often its lease expired.
        raw: what the broker held, byte for byte.
    """

    id: str
    task: str
    queue: str
    reason: str
    detail: str
    died: float
    deaths: int
    losses: int
    raw: bytes


class Owner(msgspec.Struct, frozen=True):
    """A process that holds leases.

    Attributes:
        id: the name it leases under: letters, digits, ``.`` and ``-``, at most 24 of them; never
            reused.
        node: the worker it belongs to, ``name@host``.
        machine: `identifier.machine()` of the process.
        pid: its process id.
        start: `identifier.process_start(pid)`.
        queues: what it consumes.
    """

    id: str
    node: str
    machine: str
    pid: int
    start: str
    queues: tuple[str, ...] = ()


class QueueDepth(msgspec.Struct, frozen=True):
    """How many messages of one queue are ready, wait for their due time, and are leased."""

    ready: int = 0
    delayed: int = 0
    leased: int = 0
