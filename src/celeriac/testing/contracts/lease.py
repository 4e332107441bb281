"""The broker contract: owners, leases, and taking over from the dead."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from celeriac.identifier import token
from celeriac.message import QueueDepth
from celeriac.testing.contracts.process import (
    BrokerCase,
    Process,
    ack,
    ids,
    outgoing,
    release,
)
from celeriac.testing.deadline import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.broker.base import Broker
    from celeriac.message import Delivery

#: Seconds; short, since these tests really wait for them.
LEASE_TTL = 0.6
GRACE = 0.4


class LeaseContract(BrokerCase):
    """A lease belongs to one delivery, is kept alive by its owner and taken over after it."""

    @pytest.fixture
    def short(self, start: Callable[..., Process]) -> Callable[[], Process]:
        """Start processes whose leases end soon."""
        return lambda: start(lease_ttl=LEASE_TTL, recovery_grace=GRACE)

    def test_owners(self, process: Process, start: Callable[..., Process]) -> None:
        """`owners` returns who was registered and not unregistered."""
        other = start()
        by_id = {owner.id: owner for owner in process.broker.owners()}
        assert by_id == {process.id: process.owner, other.id: other.owner}
        other.consumer.close()
        process.broker.unregister(other.id)
        process.broker.unregister(other.id)
        assert process.broker.owners() == [process.owner]

    def test_a_lease_is_exclusive(
        self, process: Process, start: Callable[..., Process], queue: str
    ) -> None:
        """What one process leased no other receives, even when its consumer is closed."""
        process.broker.publish([outgoing(queue)])
        delivery = process.take_one()
        process.consumer.close()
        assert start().is_empty()
        assert process.broker.depth([queue]) == {queue: QueueDepth(leased=1)}
        assert process.settle(ack(delivery)) == [True]

    def test_renew_returns_the_lost(self, process: Process, queue: str) -> None:
        """`renew` keeps the leases that hold and returns the others."""
        process.broker.publish([outgoing(queue) for _ in range(3)])
        one, two, three = process.take(3)
        process.settle(ack(one))
        process.settle(release(two))
        receipts = [delivery.receipt for delivery in (one, two, three)]
        lost = process.broker.renew(process.id, receipts)
        assert sorted(lost) == sorted([one.receipt, two.receipt])

    def test_mark_started(self, process: Process, queue: str) -> None:
        """`mark_started` tells for each delivery whether its lease held."""
        process.broker.publish([outgoing(queue), outgoing(queue)])
        one, two = process.take(2)
        process.settle(ack(one))
        assert process.broker.mark_started([one.receipt, two.receipt]) == [False, True]

    # -- the dead that are known ---------------------------------------------------------------

    def test_adopt(self, process: Process, start: Callable[..., Process], queue: str) -> None:
        """Everything the dead owner holds is leased anew; its tokens are worth nothing."""
        sent = [outgoing(queue) for _ in range(3)]
        process.broker.publish(sent)
        held = process.take(2)
        survivor = start()
        adopted = survivor.broker.adopt(process.id, survivor.id)
        assert sorted(ids(adopted)) == sorted(ids(sent[:2]))
        assert {one.queue for one in adopted} == {queue}
        assert all(one.redelivered for one in adopted)
        assert not {one.receipt for one in adopted} & {one.receipt for one in held}
        assert [owner.id for owner in survivor.broker.owners()] == [survivor.id]
        assert process.settle(*(ack(one, outgoing(queue)) for one in held)) == [False, False]
        old = [one.receipt for one in held]
        assert sorted(process.broker.renew(process.id, old)) == sorted(old)
        assert process.broker.mark_started(old) == [False, False]
        assert survivor.settle(*map(ack, adopted)) == [True, True]
        assert ids(survivor.take(1)) == ids(sent[2:])
        assert survivor.is_empty()

    def test_adopt_keeps_content_and_counts(
        self, process: Process, start: Callable[..., Process], queue: str
    ) -> None:
        """What is adopted is the message as it was delivered, with its counts."""
        process.broker.publish([outgoing(queue)])
        process.settle(release(process.take_one(), deaths=1, losses=2))
        held = process.take_one()
        survivor = start()
        (adopted,) = survivor.broker.adopt(process.id, survivor.id)
        assert (adopted.deaths, adopted.losses) == (1, 2)
        assert adopted.message is not None
        assert held.message is not None
        assert adopted.message.body == held.message.body
        assert adopted.message.headers["id"] == held.message.id
        survivor.settle(release(adopted, deaths=2, losses=2))
        again = survivor.take_one()
        assert (again.deaths, again.losses) == (2, 2)

    def test_adopt_one_who_holds_nothing(self, process: Process) -> None:
        """No leases and no such owner are no error."""
        assert process.broker.adopt(f"x{token()}", process.id) == []

    def test_adopted_can_be_adopted(
        self, process: Process, start: Callable[..., Process], queue: str
    ) -> None:
        """A survivor can die too."""
        process.broker.publish([outgoing(queue)])
        held = process.take_one()
        second, third = start(), start()
        second.broker.adopt(process.id, second.id)
        (adopted,) = third.broker.adopt(second.id, third.id)
        assert ids([adopted]) == ids([held])
        assert third.settle(ack(adopted)) == [True]

    def test_adopt_tells_what_had_started(
        self, process: Process, start: Callable[..., Process], queue: str
    ) -> None:
        """Marked deliveries are adopted as `Delivery.started`; nothing else says so."""
        process.broker.publish([outgoing(queue), outgoing(queue)])
        one, two = process.take(2)
        assert process.broker.mark_started([one.receipt]) == [True]
        survivor = start()
        adopted = survivor.broker.adopt(process.id, survivor.id)
        assert {ids([item])[0]: item.started for item in adopted} == {
            ids([one])[0]: True,
            ids([two])[0]: False,
        }
        survivor.settle(*map(release, adopted))
        assert [item.started for item in survivor.take(2)] == [False, False]
        third = start()
        adopted = third.broker.adopt(survivor.id, third.id)
        assert [item.started for item in adopted] == [False, False]

    def test_adopt_returns_what_was_on_its_way(
        self, process: Process, start: Callable[..., Process], queue: str
    ) -> None:
        """Messages on their way to the dead owner, not leased yet, go back to the queue."""
        assert process.consumer.receive(1, 0.05) == []
        sent = [outgoing(queue), outgoing(queue)]
        process.broker.publish(sent)
        survivor = start()
        assert survivor.broker.adopt(process.id, survivor.id) == []
        assert ids(survivor.take(2)) == ids(sent)

    def test_unregister_returns_what_was_on_its_way(
        self, process: Process, start: Callable[..., Process], queue: str
    ) -> None:
        """An owner that leaves in good order takes nothing with it."""
        assert process.consumer.receive(1, 0.05) == []
        sent = [outgoing(queue), outgoing(queue)]
        process.broker.publish(sent)
        process.consumer.close()
        process.broker.unregister(process.id)
        assert ids(start().take(2)) == ids(sent)

    # -- the dead that are not known -----------------------------------------------------------

    def test_an_expired_lease_is_taken_over(self, short: Callable[[], Process], queue: str) -> None:
        """A lease that nobody renews is taken over; its owner is forgotten."""
        process, survivor = short(), short()
        process.broker.publish([outgoing(queue)])
        held = process.take_one()
        (adopted,) = _patrol(survivor)
        assert ids([adopted]) == ids([held])
        assert adopted.redelivered
        assert adopted.receipt != held.receipt
        assert process.settle(ack(held, outgoing(queue))) == [False]
        assert process.broker.renew(process.id, [held.receipt]) == [held.receipt]
        assert survivor.settle(ack(adopted)) == [True]
        assert survivor.is_empty()

    def test_two_observations(self, short: Callable[[], Process], queue: str) -> None:
        """Past its time is not enough: it must have been seen unchanged for the grace too."""
        process, survivor = short(), short()
        process.broker.publish([outgoing(queue)])
        process.take_one()
        time.sleep(LEASE_TTL + GRACE)
        assert survivor.broker.adopt_expired(survivor.id) == []
        assert len(_patrol(survivor)) == 1

    def test_the_grace_begins_when_the_lease_has_ended(
        self, short: Callable[[], Process], queue: str
    ) -> None:
        """However often a survivor looks, a lease has its whole time, and the grace after it."""
        process, survivor = short(), short()
        process.broker.publish([outgoing(queue)])
        before = time.monotonic()
        process.take_one()
        _patrol(survivor)
        # Servers count time in milliseconds.
        assert time.monotonic() - before >= LEASE_TTL + GRACE - 0.01

    def test_a_renewed_lease_is_not_taken_over(
        self, short: Callable[[], Process], queue: str
    ) -> None:
        """Only what is named is renewed: it stays, and what is not named expires."""
        process, survivor = short(), short()
        process.broker.publish([outgoing(queue), outgoing(queue)])
        kept, left = process.take(2)
        adopted: list[Delivery] = []

        def round_passed() -> bool:
            assert process.broker.renew(process.id, [kept.receipt]) == []
            survivor.broker.renew(survivor.id, [one.receipt for one in adopted])
            adopted.extend(survivor.broker.adopt_expired(survivor.id))
            return bool(adopted)

        eventually(round_passed)
        end = time.monotonic() + LEASE_TTL + GRACE
        eventually(lambda: round_passed() and time.monotonic() > end)
        assert ids(adopted) == ids([left])
        assert {one.id for one in survivor.broker.owners()} == {process.id, survivor.id}
        assert process.settle(ack(left)) == [False]
        assert process.settle(ack(kept)) == [True]

    def test_one_survivor_takes_it(self, short: Callable[[], Process], queue: str) -> None:
        """The take-over is a compare-and-swap: of two survivors one gets it."""
        process, one, two = short(), short(), short()
        process.broker.publish([outgoing(queue) for _ in range(10)])
        held = process.take(10)
        taken: list[Delivery] = []

        def both() -> bool:
            for survivor in (one, two):
                mine = survivor.broker.adopt_expired(survivor.id)
                taken.extend(mine)
                survivor.broker.renew(survivor.id, [item.receipt for item in taken])
            return len(taken) >= 10

        eventually(both)
        assert sorted(ids(taken)) == sorted(ids(held))
        assert one.settle(*map(ack, taken)) == [True] * 10

    def test_a_silent_owner_is_adopted_whole(
        self, short: Callable[[], Process], queue: str
    ) -> None:
        """An owner without a sign of life is forgotten, and what was on its way goes back."""
        process, survivor = short(), short()
        assert process.consumer.receive(1, 0.05) == []
        sent = outgoing(queue)
        process.broker.publish([sent])

        def forgotten() -> bool:
            survivor.broker.renew(survivor.id, [])
            assert survivor.broker.adopt_expired(survivor.id) == []
            return [one.id for one in survivor.broker.owners()] == [survivor.id]

        eventually(forgotten)
        assert ids(survivor.take(1)) == ids([sent])

    def test_started_is_told_after_an_expiry(
        self, short: Callable[[], Process], queue: str
    ) -> None:
        """The mark of `mark_started` is durable: a survivor sees it."""
        process, survivor = short(), short()
        process.broker.publish([outgoing(queue)])
        held = process.take_one()
        assert process.broker.mark_started([held.receipt]) == [True]
        (adopted,) = _patrol(survivor)
        assert adopted.started

    def test_leases_outlive_the_connections(
        self, process: Process, connect: Callable[..., Broker], queue: str
    ) -> None:
        """`close` of consumer and broker gives up connections, not leases."""
        process.broker.publish([outgoing(queue)])
        delivery = process.take_one()
        process.consumer.close()
        process.broker.close()
        assert connect().renew(process.id, [delivery.receipt]) == []
        assert process.settle(ack(delivery)) == [True]


def _patrol(survivor: Process) -> list[Delivery]:
    """Do what a supervisor does every few seconds, until something was taken over."""

    def look() -> list[Delivery]:
        survivor.broker.renew(survivor.id, [])
        return survivor.broker.adopt_expired(survivor.id)

    return eventually(look)
