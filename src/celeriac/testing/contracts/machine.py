"""The broker contract: a state machine that compares a broker with a model of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from celeriac.identifier import token
from celeriac.message import Completion, Outgoing, Verdict
from celeriac.testing.contracts.process import BrokerCase, Process, ids, outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.broker.base import Broker
    from celeriac.message import Delivery

#: Seconds that the machine holds messages back.
DELAY = 0.02
#: Seconds after which what is still missing is lost; short, since shrinking a failure repeats it.
LOST_AFTER = 3.0


class MachineContract(BrokerCase):
    """Any sequence of publishes, leases, settlements and deaths ends as in the model."""

    def test_state_machine(self, connect: Callable[..., Broker]) -> None:
        """Each message is in one place; the order is kept; a lost lease changes nothing."""
        brokers = (connect(), connect())

        class Bound(BrokerMachine):
            def __init__(self) -> None:
                super().__init__(brokers)

        run_state_machine_as_test(
            Bound,
            settings=settings(
                max_examples=self.machine_examples,
                stateful_step_count=self.machine_steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )


class BrokerMachine(RuleBasedStateMachine):
    """The model: where each message is.

    `ready` is in order.  `front` holds what was put back: it comes before `ready`, in any order.
    What was delayed (`delayed`, with its due time) may come back anywhere, but not early.
    """

    def __init__(self, brokers: tuple[Broker, Broker]) -> None:
        super().__init__()
        self.brokers = brokers
        self.queue = f"machine-{token()}"
        self.ready: list[str] = []
        self.front: set[str] = set()
        self.delayed: dict[str, float] = {}
        self.leased: dict[str, tuple[Process, Delivery]] = {}
        self.dead: set[str] = set()
        self.stale: list[Delivery] = []
        self.receipts: set[str] = set()
        self.processes = [Process(broker, self.queue) for broker in brokers]

    # -- sending -------------------------------------------------------------------------------

    def note(self, item: Outgoing) -> None:
        """Note in the model that ``item`` was sent."""
        (key,) = ids([item])
        if item.due is None:
            self.ready.append(key)
        else:
            self.delayed[key] = item.due

    def draft(self, delayed: bool) -> Outgoing:
        """Return a new message, due at once or soon."""
        return outgoing(self.queue, due=time.time() + DELAY if delayed else None)

    @rule(which=st.integers(0, 1), delays=st.lists(st.booleans(), min_size=1, max_size=4))
    def publish(self, which: int, delays: list[bool]) -> None:
        """Send a batch."""
        batch = [self.draft(delayed) for delayed in delays]
        self.processes[which].broker.publish(batch)
        for item in batch:
            self.note(item)

    # -- receiving -----------------------------------------------------------------------------

    @rule(which=st.integers(0, 1), limit=st.integers(1, 5))
    def receive(self, which: int, limit: int) -> None:
        """Lease some messages and compare their order with the model."""
        self.note_received(self.processes[which], limit)

    def note_received(self, process: Process, limit: int) -> int:
        """Receive without waiting; note the leases; return how many there were."""
        batch = process.consumer.receive(limit, 0.0)
        now = time.time()
        assert len(batch) <= limit
        for delivery in batch:
            (key,) = ids([delivery])
            if key in self.delayed:
                assert self.delayed.pop(key) <= now, "delivered before it was due"
            elif key in self.front:
                self.front.remove(key)
            else:
                assert not self.front, "a new message passed one that was put back"
                assert self.ready.pop(0) == key, "not first in, first out"
            self.note_lease(process, delivery)
        assert len(batch) == limit or not (self.front or self.ready)
        return len(batch)

    def note_lease(self, process: Process, delivery: Delivery) -> None:
        """Note a lease; its token must be new."""
        assert delivery.receipt not in self.receipts, "a receipt was reused"
        self.receipts.add(delivery.receipt)
        self.leased[delivery.receipt] = (process, delivery)

    # -- settling ------------------------------------------------------------------------------

    @precondition(lambda self: self.leased)
    @rule(
        data=st.data(),
        verdict=st.sampled_from(Verdict),
        count=st.integers(1, 3),
        follow_up=st.booleans(),
        delayed=st.booleans(),
    )
    def settle(
        self, data: st.DataObject, verdict: Verdict, count: int, follow_up: bool, delayed: bool
    ) -> None:
        """Settle some held leases and one that was lost in one batch."""
        receipts = data.draw(
            st.lists(st.sampled_from(sorted(self.leased)), min_size=1, max_size=count, unique=True)
        )
        batch: list[Completion] = []
        follow_ups: list[Outgoing] = []
        for receipt in receipts:
            _, delivery = self.leased.pop(receipt)
            (key,) = ids([delivery])
            completion = Completion(delivery, verdict)
            if verdict is Verdict.RELEASE and delayed:
                completion.delay = DELAY
                self.delayed[key] = time.time() + DELAY
            elif verdict is Verdict.RELEASE:
                self.front.add(key)
            elif verdict is Verdict.DEAD:
                completion.reason = "rejected"
                self.dead.add(key)
            if follow_up:
                completion.publish = [self.draft(delayed)]
                follow_ups += completion.publish
            batch.append(completion)
        lost = [Completion(one, verdict, publish=[self.draft(False)]) for one in self.stale[-1:]]
        held = self.brokers[len(receipts) % 2].settle(batch + lost)
        assert held == [True] * len(batch) + [False] * len(lost)
        self.stale += [completion.delivery for completion in batch]
        for item in follow_ups:
            self.note(item)

    @precondition(lambda self: self.dead)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """Put a dead letter back."""
        key = data.draw(st.sampled_from(sorted(self.dead)))
        assert self.brokers[0].replay([key]) == [key]
        self.dead.remove(key)
        # Where in its queue it goes is not promised, as for a delayed message.
        self.delayed[key] = 0.0

    # -- living and dying ----------------------------------------------------------------------

    @rule(which=st.integers(0, 1))
    def renew(self, which: int) -> None:
        """Renew what is held and what was lost."""
        process = self.processes[which]
        mine = [receipt for receipt, (owner, _) in self.leased.items() if owner is process]
        lost = [delivery.receipt for delivery in self.stale]
        assert sorted(process.broker.renew(process.id, mine + lost)) == sorted(lost)

    @rule(which=st.integers(0, 1))
    def crash(self, which: int) -> None:
        """One process dies; the other adopts what it held; a new one takes its place."""
        dead, survivor = self.processes[which], self.processes[1 - which]
        dead.consumer.close()
        mine = {receipt: one for receipt, (owner, one) in self.leased.items() if owner is dead}
        for receipt in mine:
            del self.leased[receipt]
        adopted = survivor.broker.adopt(dead.id, survivor.id)
        assert sorted(ids(adopted)) == sorted(ids(list(mine.values())))
        for delivery in adopted:
            self.note_lease(survivor, delivery)
        self.stale += mine.values()
        self.processes[which] = Process(dead.broker, self.queue)

    # -- what always holds ---------------------------------------------------------------------

    @invariant()
    def counts_agree(self) -> None:
        """The broker counts as many messages as the model, in the same places."""
        depth = self.brokers[0].depth([self.queue])[self.queue]
        assert depth.leased == len(self.leased)
        waiting = len(self.front) + len(self.ready) + len(self.delayed)
        assert depth.ready + depth.delayed == waiting

    def teardown(self) -> None:
        """Every message that was not settled for good is still there, once."""
        try:
            deadline = time.monotonic() + LOST_AFTER
            while self.front or self.ready or self.delayed:
                assert time.monotonic() < deadline, "messages were lost"
                if not sum(self.note_received(one, 10) for one in self.processes):
                    time.sleep(DELAY / 4)
            everything = [Completion(one) for _, one in self.leased.values()]
            assert self.brokers[1].settle(everything) == [True] * len(everything)
            assert not any(one.drain() for one in self.processes)
            self.brokers[0].forget_dead(sorted(self.dead))
        finally:
            for process in self.processes:
                process.consumer.close()
                process.broker.unregister(process.id)
