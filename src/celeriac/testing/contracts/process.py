"""What the contract tests of a broker share: messages, processes, fixtures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from celeriac.identifier import hostname, origin, token, uuid
from celeriac.message import Completion, Outgoing, Owner, Verdict
from celeriac.protocol.task import Fields, build
from celeriac.serialization.registry import Serialization

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celeriac.broker.base import Broker, Consumer
    from celeriac.message import Delivery, Message, ResultRecord

#: Seconds for what must happen; long, because only a failing test waits for it.
PATIENCE = 20.0

_SERIALIZATION = Serialization()


def message(
    task: str = "contract.add",
    args: Sequence[Any] = (2, 2),
    *,
    id: str | None = None,  # noqa: A002 - Celery's name
    retries: int = 0,
    headers: dict[str, Any] | None = None,
) -> Message:
    """Return a task message as `Task.delay` would send it."""
    fields = Fields(
        id=id or uuid(),
        task=task,
        args=args,
        retries=retries,
        headers=headers or {},
        origin=origin(),
    )
    return build(fields, _SERIALIZATION)


def outgoing(queue: str, **fields: Any) -> Outgoing:
    """Return a message for ``queue``; ``fields`` are those of `Outgoing`."""
    fields.setdefault("message", message())
    return Outgoing(queue=queue, routing_key=queue, **fields)


def ids(items: Sequence[Delivery] | Sequence[Outgoing]) -> list[str]:
    """Return the task ids of deliveries or outgoing messages."""
    return [item.message.id if item.message is not None else "" for item in items]


def ack(
    delivery: Delivery,
    *publish: Outgoing,
    result: ResultRecord | None = None,
) -> Completion:
    """Return the completion of a run that went well."""
    return Completion(delivery, Verdict.ACK, result=result, publish=publish)


def release(delivery: Delivery, **fields: Any) -> Completion:
    """Return the completion that puts a message back."""
    return Completion(delivery, Verdict.RELEASE, **fields)


def dead(delivery: Delivery, reason: str = "rejected", **fields: Any) -> Completion:
    """Return the completion that buries a message."""
    return Completion(delivery, Verdict.DEAD, reason=reason, **fields)


class Process:
    """What one worker process is to a broker: an owner with one consumer."""

    def __init__(self, broker: Broker, *queues: str) -> None:
        self.broker = broker
        # On another machine, so that nobody can tell from the pid whether it lives.
        self.owner = Owner(
            id=token(),
            node=f"contract@{hostname()}",
            machine=f"elsewhere-{token()}",
            pid=1,
            start="0",
            queues=queues,
        )
        self.id = self.owner.id
        broker.register(self.owner)
        self.consumer: Consumer = broker.consumer(queues, self.id)

    def take(self, count: int = 1) -> list[Delivery]:
        """Receive exactly ``count`` messages, in as many calls as it takes."""
        taken: list[Delivery] = []
        deadline = time.monotonic() + PATIENCE
        while len(taken) < count:
            left = deadline - time.monotonic()
            assert left > 0, f"received {len(taken)} of {count} messages"
            batch = self.consumer.receive(count - len(taken), min(left, 1.0))
            assert len(batch) <= count - len(taken)
            taken += batch
        return taken

    def take_one(self) -> Delivery:
        """Receive one message."""
        return self.take(1)[0]

    def drain(self) -> list[Delivery]:
        """Receive what is there, without waiting for more."""
        taken: list[Delivery] = []
        while batch := self.consumer.receive(100, 0.0):
            taken += batch
        return taken

    def settle(self, *completions: Completion) -> list[bool]:
        """Settle one batch."""
        return self.broker.settle(completions)

    def is_empty(self) -> bool:
        """Tell whether nothing waits that this process could receive; looks for a moment."""
        return self.consumer.receive(10, 0.1) == []


class BrokerCase:
    """The fixtures of a broker contract; a subclass supplies ``make_broker``."""

    #: The priority that is served first; 9 on brokers with AMQP's order.
    best_priority: ClassVar[int] = 0
    #: Examples and steps of the state machine; raise them for a long run.
    machine_examples: ClassVar[int] = 12
    machine_steps: ClassVar[int] = 30

    @pytest.fixture
    def make_broker(self) -> Callable[..., Broker]:
        """Return what opens a broker; its keywords are fields of `BrokerOptions`."""
        raise NotImplementedError("a broker contract needs a fixture make_broker")

    @pytest.fixture
    def inject_raw(self) -> Callable[[str, bytes], None]:
        """Return what puts bytes into a queue that no `publish` would put there."""
        pytest.skip("no inject_raw fixture")

    @pytest.fixture
    def connect(self, make_broker: Callable[..., Broker]) -> Iterator[Callable[..., Broker]]:
        """Open brokers that are closed after the test."""
        opened: list[Broker] = []

        def connect(**options: Any) -> Broker:
            opened.append(make_broker(**options))
            return opened[-1]

        yield connect
        for broker in opened:
            broker.close()

    @pytest.fixture
    def start(self, connect: Callable[..., Broker], queue: str) -> Iterator[Callable[..., Process]]:
        """Start processes that consume ``queue``; their consumers are closed after the test."""
        started: list[Process] = []

        def start(*queues: str, broker: Broker | None = None, **options: Any) -> Process:
            started.append(Process(broker or connect(**options), *(queues or (queue,))))
            return started[-1]

        yield start
        for process in started:
            process.consumer.close()

    @pytest.fixture
    def queue(self) -> str:
        """Return the name of the queue of this test."""
        return f"q-{token()}"

    @pytest.fixture
    def process(self, start: Callable[..., Process]) -> Process:
        """Return a registered process that consumes ``queue``."""
        return start()

    @pytest.fixture
    def broker(self, process: Process) -> Broker:
        """Return the broker of ``process``."""
        return process.broker


def needs(able: object, what: str) -> None:
    """Skip the test when the adapter's capabilities say it cannot do ``what``."""
    if not able:
        pytest.skip(f"capability: {what}")
