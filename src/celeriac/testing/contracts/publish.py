"""The broker contract: sending and receiving."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import TYPE_CHECKING

import pytest

from celeriac.error import PublishRejected
from celeriac.message import QueueDepth
from celeriac.testing.contracts.process import (
    PATIENCE,
    BrokerCase,
    Process,
    ack,
    ids,
    message,
    needs,
    outgoing,
)
from celeriac.testing.deadline import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.broker.base import Broker, Consumer
    from celeriac.message import Delivery


class Receiving(threading.Thread):
    """A `Consumer.receive` that waits in a thread of its own."""

    def __init__(self, consumer: Consumer) -> None:
        super().__init__(daemon=True)
        self.consumer = consumer
        self.received: list[Delivery] | None = None
        self.start()

    def run(self) -> None:
        """Wait longer than any test has patience for."""
        self.received = self.consumer.receive(10, 2 * PATIENCE)

    def result(self) -> list[Delivery]:
        """Return what was received."""
        self.join(PATIENCE)
        assert self.received is not None, "receive() was not woken"
        return self.received


class PublishContract(BrokerCase):
    """What is sent arrives: whole, in order, not early."""

    def test_a_message_arrives_as_it_was_sent(self, process: Process, queue: str) -> None:
        """Body, headers and properties arrive; unknown headers are kept, in their order."""
        sent = message(args=["é😀\u2028", 1.5, None, "x" * 1000], headers={"x-mine": {"a": [1]}})
        process.broker.publish([outgoing(queue, message=sent)])
        delivery = process.take_one()
        got = delivery.message
        assert got is not None
        assert (got.id, got.task, got.body) == (sent.id, sent.task, sent.body)
        assert (got.content_type, got.content_encoding) == ("application/json", "utf-8")
        assert list(got.headers.items()) == list(sent.headers.items())
        assert sent.properties.items() <= got.properties.items()
        assert delivery.queue == queue
        assert delivery.problem is None
        assert not delivery.redelivered
        assert not delivery.started
        assert (delivery.deaths, delivery.losses) == (0, 0)

    def test_fifo(self, process: Process, queue: str) -> None:
        """First in, first out, within and across batches."""
        sent = [outgoing(queue) for _ in range(12)]
        process.broker.publish(sent[:5])
        for item in sent[5:8]:
            process.broker.publish([item])
        process.broker.publish(sent[8:])
        assert ids(process.take(12)) == ids(sent)

    def test_receive_takes_no_more_than_its_limit(self, process: Process, queue: str) -> None:
        """Lease up to ``limit`` messages."""
        process.broker.publish([outgoing(queue) for _ in range(5)])
        first = process.take(2)
        rest = process.take(3)
        assert len({item.receipt for item in first + rest}) == 5
        assert process.is_empty()

    def test_best_priority_first(self, process: Process, queue: str) -> None:
        """Best priority first and first in first out within one."""
        capabilities = process.broker.capabilities
        needs(capabilities.priorities > 1, "priorities")
        every = capabilities.priorities >= 10
        levels = list(range(10)) if every else [0, 9]
        sent = [outgoing(queue, priority=level) for level in levels for _ in range(2)]
        random.Random(7).shuffle(sent)  # noqa: S311
        process.broker.publish(sent)
        best = sorted(sent, key=lambda item: abs(item.priority - self.best_priority))
        assert ids(process.take(len(sent))) == ids(best)

    def test_several_queues(self, start: Callable[..., Process], queue: str) -> None:
        """A consumer leases from each of its queues and from no other."""
        process = start(queue, f"{queue}-b")
        sent = [outgoing(queue), outgoing(f"{queue}-b"), outgoing(f"{queue}-c")]
        process.broker.publish(sent)
        got = process.take(2)
        assert {(item.queue, *ids([item])) for item in got} == {
            (item.queue, *ids([item])) for item in sent[:2]
        }
        assert process.is_empty()

    def test_nothing_there(self, process: Process) -> None:
        """An empty list when there was none."""
        assert process.consumer.receive(10, 0.0) == []
        assert process.consumer.receive(10, 0.05) == []

    def test_an_empty_batch_is_no_error(self, process: Process) -> None:
        """Ports take sequences, and an empty one is one."""
        process.broker.publish([])
        assert process.settle() == []
        assert process.broker.renew(process.id, []) == []
        assert process.broker.mark_started([]) == []
        assert process.broker.replay([]) == []

    def test_wake(self, process: Process, queue: str) -> None:
        """Make a waiting `receive` return at once; the consumer goes on afterwards."""
        receiving = Receiving(process.consumer)

        def woken() -> bool:
            process.consumer.wake()
            receiving.join(0.02)
            return not receiving.is_alive()

        eventually(woken)
        assert receiving.result() == []
        process.broker.publish([outgoing(queue)])
        process.take_one()

    def test_woken_by_a_publish_of_another_process(
        self, process: Process, connect: Callable[..., Broker], queue: str
    ) -> None:
        """A waiting `receive` is woken by a publish."""
        receiving = Receiving(process.consumer)
        item = outgoing(queue)
        connect().publish([item])
        assert ids(receiving.result()) == ids([item])

    def test_woken_by_a_due_time(self, process: Process, queue: str) -> None:
        """A message that becomes due is delivered to a `receive` that already waits."""
        receiving = Receiving(process.consumer)
        item = outgoing(queue, due=time.time() + 0.3)
        process.broker.publish([item])
        assert ids(receiving.result()) == ids([item])

    def test_not_before_it_is_due(self, process: Process, queue: str) -> None:
        """A message with ``due`` is not delivered before; others pass it."""
        due = time.time() + 0.5
        late, now = outgoing(queue, due=due), outgoing(queue)
        process.broker.publish([late, now])
        assert ids(process.take(1)) == ids([now])
        assert ids(process.take(1)) == ids([late])
        assert time.time() >= due

    def test_due_in_the_past(self, process: Process, queue: str) -> None:
        """What is due already is delivered at once."""
        item = outgoing(queue, due=time.time() - 3600)
        process.broker.publish([item])
        assert ids(process.take(1)) == ids([item])

    def test_due_waits_in_the_broker(
        self, process: Process, start: Callable[..., Process], queue: str
    ) -> None:
        """A delayed message waits in the broker: the process that sent it may be gone."""
        item = outgoing(queue, due=time.time() + 0.3)
        process.broker.publish([item])
        process.consumer.close()
        process.broker.close()
        assert ids(start().take(1)) == ids([item])

    def test_dedupe(self, process: Process, queue: str) -> None:
        """``dedupe`` accepts a message once per ``(id, retries)``, wherever the first is now."""
        first = message()
        again = message(id=first.id, retries=1)
        item = outgoing(queue, message=first, dedupe=True)
        process.broker.publish([item])
        process.broker.publish([item])
        delivery = process.take_one()
        process.broker.publish([item])
        assert process.settle(ack(delivery)) == [True]
        process.broker.publish([item, outgoing(queue, message=again, dedupe=True)])
        retry = process.take_one()
        assert retry.message is not None
        assert retry.message.headers["retries"] == 1
        assert process.is_empty()

    def test_dedupe_within_a_batch(self, process: Process, queue: str) -> None:
        """Twins in one batch are one message."""
        item = outgoing(queue, dedupe=True)
        process.broker.publish([item, item])
        process.take_one()
        assert process.is_empty()

    def test_without_dedupe_nothing_is_compared(self, process: Process, queue: str) -> None:
        """The same message sent twice on purpose is two messages."""
        item = outgoing(queue)
        process.broker.publish([item, item])
        assert ids(process.take(2)) == ids([item, item])

    def test_too_large(self, start: Callable[..., Process], queue: str) -> None:
        """Longer messages are refused with `PublishRejected`; nothing of the batch is accepted."""
        process = start(max_message_bytes=4000)
        small = outgoing(queue)
        large = outgoing(queue, message=message(args=["x" * 4000]))
        with pytest.raises(PublishRejected):
            process.broker.publish([small, large])
        assert process.is_empty()
        process.broker.publish([small])
        assert ids(process.take(1)) == ids([small])

    def test_apublish(self, process: Process, queue: str) -> None:
        """Many tasks of one event loop can publish at once."""
        sent = [[outgoing(queue), outgoing(queue)] for _ in range(20)]

        async def publish() -> None:
            await asyncio.gather(*(process.broker.apublish(batch) for batch in sent))

        asyncio.run(publish())
        got = ids(process.take(40))
        assert sorted(got) == sorted(ids([item for batch in sent for item in batch]))
        for batch in sent:
            first, second = ids(batch)
            assert got.index(first) < got.index(second)

    def test_apublish_rejects(self, start: Callable[..., Process], queue: str) -> None:
        """`apublish` raises what `publish` raises."""
        process = start(max_message_bytes=4000)
        large = outgoing(queue, message=message(args=["x" * 4000]))
        with pytest.raises(PublishRejected):
            asyncio.run(process.broker.apublish([large]))

    def test_unreadable_envelope(
        self, process: Process, inject_raw: Callable[[str, bytes], None], queue: str
    ) -> None:
        """A message whose envelope cannot be read is delivered, with `Delivery.problem` set."""
        inject_raw(queue, b"\x00 not an envelope")
        inject_raw(queue, b"[1, 2]")
        item = outgoing(queue)
        process.broker.publish([item])
        *bad, good = process.take(3)
        assert [one.raw for one in bad] == [b"\x00 not an envelope", b"[1, 2]"]
        assert all(one.message is None and one.problem for one in bad)
        assert ids([good]) == ids([item])
        assert process.settle(*map(ack, [*bad, good])) == [True] * 3

    def test_depth(self, process: Process, queue: str) -> None:
        """Count the messages of each queue: ready, delayed, leased."""
        other = f"{queue}-unknown"
        assert process.broker.depth([queue, other]) == {queue: QueueDepth(), other: QueueDepth()}
        process.broker.publish([outgoing(queue) for _ in range(3)])
        process.broker.publish([outgoing(queue, due=time.time() + 3600) for _ in range(2)])
        process.take_one()
        assert process.broker.depth([queue]) == {queue: QueueDepth(ready=2, delayed=2, leased=1)}

    def test_purge(self, process: Process, queue: str) -> None:
        """Remove the ready and delayed messages of one queue; return how many there were."""
        other = f"{queue}-b"
        process.broker.publish([outgoing(queue) for _ in range(3)])
        process.broker.publish([outgoing(queue, due=time.time() + 3600), outgoing(other)])
        leased = process.take_one()
        assert process.broker.purge(queue) == 3
        assert process.broker.purge(queue) == 0
        assert process.broker.depth([queue, other]) == {
            queue: QueueDepth(leased=1),
            other: QueueDepth(ready=1),
        }
        assert process.settle(ack(leased)) == [True]

    def test_ping(self, process: Process) -> None:
        """`ping` returns what the broker is."""
        assert process.broker.ping()
        assert process.broker.display

    def test_closed_and_used_again(self, process: Process, queue: str) -> None:
        """`close` gives up all connections; they are made anew when needed."""
        item = outgoing(queue)
        process.broker.publish([item])
        process.consumer.close()
        process.broker.close()
        process.broker.close()
        consumer = process.broker.consumer([queue], process.id)
        try:
            (delivery,) = eventually(lambda: consumer.receive(1, 1.0))
        finally:
            consumer.close()
        assert ids([delivery]) == ids([item])
        assert process.settle(ack(delivery)) == [True]

    def test_context_manager(self, connect: Callable[..., Broker], queue: str) -> None:
        """``with broker:`` closes it."""
        with connect() as broker:
            broker.publish([outgoing(queue)])
        assert broker.depth([queue])[queue].ready == 1
