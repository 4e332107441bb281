"""The broker contract: settling."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from celeriac.identifier import uuid
from celeriac.message import QueueDepth, ResultRecord
from celeriac.state import FAILURE, RETRY, SUCCESS
from celeriac.testing.contracts.process import (
    BrokerCase,
    Process,
    ack,
    dead,
    ids,
    message,
    needs,
    outgoing,
    release,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.store.base import Store


def record(id: str, payload: str, state: str = SUCCESS) -> ResultRecord:  # noqa: A002
    """Return a result whose payload names its state as Celery's metas do."""
    text = f'{{"status": "{state}", "result": "{payload}", "task_id": "{id}"}}'
    return ResultRecord(id, state, text.encode(), 3600.0)


class SettleContract(BrokerCase):
    """What becomes of a message is decided once, by the one who holds its lease."""

    @pytest.fixture
    def committing_store(self) -> Store:
        """Return a store for which `Broker.commits` is true, where the adapter has one."""
        pytest.skip("capability: no store commits with this broker")

    def test_ack_removes(self, process: Process, queue: str) -> None:
        """ACK removes the message for good."""
        process.broker.publish([outgoing(queue) for _ in range(3)])
        assert process.settle(*map(ack, process.take(3))) == [True] * 3
        assert process.is_empty()
        assert process.broker.depth([queue]) == {queue: QueueDepth()}

    def test_release_goes_to_the_front(self, process: Process, queue: str) -> None:
        """RELEASE puts back at the front; several released in one batch keep their order."""
        sent = [outgoing(queue) for _ in range(5)]
        process.broker.publish(sent)
        assert process.settle(*map(release, process.take(3))) == [True] * 3
        assert ids(process.take(5)) == ids(sent)

    def test_release_keeps_the_priority(self, process: Process, queue: str) -> None:
        """What is put back is served at the priority it was sent with."""
        needs(process.broker.capabilities.priorities > 1, "priorities")
        best = self.best_priority
        worst = outgoing(queue, priority=9 - best)
        process.broker.publish([worst])
        delivery = process.take_one()
        first = outgoing(queue, priority=best)
        process.broker.publish([first])
        process.settle(release(delivery))
        assert ids(process.take(2)) == ids([first, worst])

    def test_release_notes_the_counts(self, process: Process, queue: str) -> None:
        """RELEASE notes the counts given, and they replace those that were there."""
        process.broker.publish([outgoing(queue)])
        process.settle(release(process.take_one(), deaths=2, losses=1))
        again = process.take_one()
        assert (again.deaths, again.losses, again.redelivered) == (2, 1, True)
        assert again.message is not None
        body = again.message.body
        process.settle(release(again, deaths=0, losses=3))
        third = process.take_one()
        assert (third.deaths, third.losses) == (0, 3)
        assert third.message is not None
        assert third.message.body == body

    def test_release_with_a_delay(self, process: Process, queue: str) -> None:
        """RELEASE with ``delay`` makes the message due later; its counts are kept."""
        process.broker.publish([outgoing(queue)])
        delivery = process.take_one()
        other = outgoing(queue)
        process.broker.publish([other])
        due = time.time() + 0.4
        process.settle(release(delivery, delay=0.4, deaths=1))
        assert ids(process.take(1)) == ids([other])
        again = process.take_one()
        assert time.time() >= due
        assert ids([again]) == ids([delivery])
        assert again.deaths == 1

    def test_follow_ups(self, process: Process, queue: str) -> None:
        """The messages of ``publish`` are sent as `Broker.publish` sends them."""
        process.broker.publish([outgoing(queue)])
        now, late = outgoing(queue), outgoing(queue, due=time.time() + 0.3)
        other = outgoing(f"{queue}-b")
        assert process.settle(ack(process.take_one(), now, late, other)) == [True]
        assert ids(process.take(2)) == ids([now, late])
        assert process.broker.depth([f"{queue}-b"])[f"{queue}-b"].ready == 1

    def test_follow_ups_with_dedupe(self, process: Process, queue: str) -> None:
        """Two runs of one task send their follow-up once."""
        process.broker.publish([outgoing(queue), outgoing(queue)])
        one, two = process.take(2)
        next_link = outgoing(queue, dedupe=True)
        assert process.settle(ack(one, next_link)) == [True]
        assert process.settle(ack(two, next_link)) == [True]
        process.take_one()
        assert process.is_empty()

    def test_a_retry_takes_the_place_of_its_message(self, process: Process, queue: str) -> None:
        """ACK and the retry are one step: never both messages, never none."""
        first = message()
        process.broker.publish([outgoing(queue, message=first)])
        again = outgoing(queue, message=message(id=first.id, retries=1), dedupe=True)
        assert process.settle(ack(process.take_one(), again)) == [True]
        depth = process.broker.depth([queue])[queue]
        assert (depth.ready, depth.leased) == (1, 0)
        assert ids(process.take(1)) == [first.id]

    def test_settling_twice_is_harmless(self, process: Process, queue: str) -> None:
        """The second time the lease does not hold, and nothing is done."""
        process.broker.publish([outgoing(queue)])
        completion = ack(process.take_one(), outgoing(queue))
        assert process.settle(completion) == [True]
        assert process.settle(completion) == [False]
        process.take_one()
        assert process.is_empty()

    def test_settling_twice_in_one_batch(self, process: Process, queue: str) -> None:
        """A batch that names a delivery twice settles it once."""
        process.broker.publish([outgoing(queue)])
        completion = ack(process.take_one(), outgoing(queue))
        assert process.settle(completion, completion) == [True, False]
        process.take_one()
        assert process.is_empty()

    def test_a_lost_lease_writes_nothing(self, process: Process, queue: str) -> None:
        """Where the lease was lost: nothing at all, whatever the verdict."""
        process.broker.publish([outgoing(queue)])
        stale = process.take_one()
        process.settle(release(stale))
        current = process.take_one()
        assert current.receipt != stale.receipt
        assert process.settle(ack(stale, outgoing(queue))) == [False]
        assert process.settle(release(stale)) == [False]
        assert process.settle(dead(stale)) == [False]
        assert process.broker.depth([queue]) == {queue: QueueDepth(leased=1)}
        assert process.broker.dead_letters() == []
        assert process.settle(ack(current)) == [True]

    def test_each_completion_by_itself(self, process: Process, queue: str) -> None:
        """A lost lease in the batch does not touch the others."""
        process.broker.publish([outgoing(queue) for _ in range(3)])
        one, two, three = process.take(3)
        process.settle(ack(two))
        follow_up = outgoing(queue)
        batch = [release(one), ack(two, outgoing(queue)), ack(three, follow_up)]
        assert process.settle(*batch) == [True, False, True]
        assert ids(process.take(2)) == [*ids([one]), *ids([follow_up])]

    def test_settled_by_another_thread_or_process(
        self, process: Process, start: Callable[..., Process], queue: str
    ) -> None:
        """The receipt is the right: whoever has it can settle."""
        process.broker.publish([outgoing(queue)])
        delivery = process.take_one()
        assert start(f"{queue}-b").settle(ack(delivery)) == [True]
        assert process.settle(ack(delivery)) == [False]

    def test_receipts_are_never_reused(self, process: Process, queue: str) -> None:
        """Every delivery has a token of its own: ASCII, no longer than announced."""
        process.broker.publish([outgoing(queue) for _ in range(5)])
        seen: list[str] = []
        for _ in range(4):
            batch = process.take(5)
            seen += [delivery.receipt for delivery in batch]
            process.settle(*map(release, batch))
        assert len(set(seen)) == 20
        assert all(one.isascii() for one in seen)
        assert max(map(len, seen)) <= process.broker.capabilities.receipt_size

    def test_result_with_the_message(
        self, process: Process, queue: str, committing_store: Store
    ) -> None:
        """Where the lease held, ``result`` is stored; where it was lost, it is not."""
        assert process.broker.commits(committing_store)
        process.broker.publish([outgoing(queue)])
        delivery = process.take_one()
        (key,) = ids([delivery])
        good = record(key, "good")
        with committing_store.watch([key]) as watcher:
            assert process.settle(ack(delivery, result=good)) == [True]
            assert watcher.wait(20.0) == {key}
        assert committing_store.get([key]) == {key: good.payload}
        stray = record(uuid(), "stray")
        assert process.settle(ack(delivery, result=stray)) == [False]
        assert committing_store.get([key, stray.id]) == {key: good.payload}

    def test_result_never_over_success(
        self, process: Process, queue: str, committing_store: Store
    ) -> None:
        """A stored SUCCESS is never replaced; the message is settled all the same."""
        process.broker.publish([outgoing(queue)])
        delivery = process.take_one()
        (key,) = ids([delivery])
        good = record(key, "good")
        committing_store.put([good])
        bad = record(key, "bad", FAILURE)
        assert process.settle(ack(delivery, result=bad)) == [True]
        assert committing_store.get([key]) == {key: good.payload}
        assert process.is_empty()

    def test_result_with_every_verdict(
        self, process: Process, queue: str, committing_store: Store
    ) -> None:
        """``result`` is stored whatever becomes of the message."""
        process.broker.publish([outgoing(queue), outgoing(queue)])
        one, two = process.take(2)
        key, other = ids([one, two])
        retry, failure = record(key, "r", RETRY), record(other, "f", FAILURE)
        released, buried = release(one), dead(two)
        released.result, buried.result = retry, failure
        assert process.settle(released, buried) == [True, True]
        assert committing_store.get([retry.id, failure.id]) == {
            retry.id: retry.payload,
            failure.id: failure.payload,
        }
