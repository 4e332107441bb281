"""What the memory adapters do beyond the contracts: a manual clock, names, forks."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from celeriac.broker.base import BrokerOptions
from celeriac.broker.memory import MemoryBroker
from celeriac.clock import ManualClock
from celeriac.identifier import token, uuid
from celeriac.message import QueueDepth, ResultRecord
from celeriac.state import SUCCESS
from celeriac.store.base import StoreOptions
from celeriac.store.memory import MemoryStore
from celeriac.testing.contracts.process import Process, ack, dead, ids, outgoing, release
from celeriac.testing.deadline import eventually

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def url() -> str:
    return f"memory://{token()}"


@pytest.fixture
def start(url: str, clock: ManualClock) -> Callable[..., Process]:
    def start(**options: Any) -> Process:
        return Process(MemoryBroker(url, BrokerOptions(clock=clock, **options)), "q")

    return start


@pytest.fixture
def process(start: Callable[..., Process]) -> Process:
    return start()


def test_due_follows_the_clock(process: Process, clock: ManualClock) -> None:
    sent = [outgoing("q", due=clock.time() + seconds) for seconds in (20.0, 10.0)]
    process.broker.publish(sent)
    assert process.drain() == []
    clock.advance(10.0)
    assert ids(process.drain()) == ids(sent[1:])
    assert process.broker.depth(["q"]) == {"q": QueueDepth(delayed=1, leased=1)}
    clock.advance(10.0)
    assert process.broker.depth(["q"]) == {"q": QueueDepth(ready=1, leased=1)}
    assert ids(process.drain()) == ids(sent[:1])


def test_released_with_a_delay(process: Process, clock: ManualClock) -> None:
    process.broker.publish([outgoing("q")])
    process.settle(release(process.take_one(), delay=60.0))
    clock.advance(59.0)
    assert process.drain() == []
    clock.advance(1.0)
    assert len(process.drain()) == 1


def test_a_lease_lives_for_its_time_and_the_grace(
    process: Process, start: Callable[..., Process], clock: ManualClock
) -> None:
    survivor = start()
    process.broker.publish([outgoing("q")])
    held = process.take_one()
    clock.advance(29.9)
    survivor.broker.renew(survivor.id, [])
    assert survivor.broker.adopt_expired(survivor.id) == []
    clock.advance(0.1)
    assert survivor.broker.adopt_expired(survivor.id) == []
    clock.advance(14.9)
    assert survivor.broker.adopt_expired(survivor.id) == []
    clock.advance(0.1)
    assert ids(survivor.broker.adopt_expired(survivor.id)) == ids([held])


def test_the_grace_begins_anew_after_a_renewal(
    process: Process, start: Callable[..., Process], clock: ManualClock
) -> None:
    survivor = start()
    process.broker.publish([outgoing("q")])
    held = process.take_one()
    clock.advance(40.0)
    assert survivor.broker.adopt_expired(survivor.id) == []
    assert process.broker.renew(process.id, [held.receipt]) == []
    clock.advance(40.0)
    survivor.broker.renew(survivor.id, [])
    assert survivor.broker.adopt_expired(survivor.id) == []
    clock.advance(15.0)
    assert len(survivor.broker.adopt_expired(survivor.id)) == 1


def test_owners_must_give_signs_of_life(
    process: Process, start: Callable[..., Process], clock: ManualClock
) -> None:
    survivor = start()
    for _ in range(10):
        clock.advance(20.0)
        survivor.broker.renew(survivor.id, [])
        survivor.broker.adopt_expired(survivor.id)
    assert [owner.id for owner in survivor.broker.owners()] == [survivor.id]


def test_an_unknown_owner_is_not_renewed_into_being(process: Process) -> None:
    process.broker.renew("stranger", [])
    assert [owner.id for owner in process.broker.owners()] == [process.id]


def test_only_the_owner_renews(process: Process) -> None:
    process.broker.publish([outgoing("q")])
    receipt = process.take_one().receipt
    assert process.broker.renew("stranger", [receipt]) == [receipt]


def test_dead_letters_are_forgotten(process: Process, clock: ManualClock) -> None:
    process.broker.publish([outgoing("q")])
    process.settle(dead(process.take_one()))
    clock.advance(process.broker.options.dead_letter_ttl - 1.0)
    assert len(process.broker.dead_letters()) == 1
    clock.advance(1.0)
    assert process.broker.dead_letters() == []


def test_a_replay_keeps_the_priority(process: Process) -> None:
    last = outgoing("q", priority=9)
    process.broker.publish([last])
    delivery = process.take_one()
    process.settle(dead(delivery))
    process.broker.replay(ids([delivery]))
    first = outgoing("q", priority=0)
    process.broker.publish([first])
    assert ids(process.drain()) == ids([first, last])


def test_what_was_sent_once_may_be_sent_again_after_an_hour(
    process: Process, clock: ManualClock
) -> None:
    item = outgoing("q", dedupe=True)
    process.broker.publish([item])
    clock.advance(3599.0)
    process.broker.publish([item])
    assert len(process.drain()) == 1
    clock.advance(1.0)
    process.broker.publish([item])
    assert len(process.drain()) == 1


def test_results_expire(url: str, clock: ManualClock) -> None:
    with MemoryStore(url, StoreOptions(clock=clock)) as store:
        key = uuid()
        store.put([ResultRecord(key, SUCCESS, b"{}", 60.0)])
        clock.advance(59.0)
        assert store.sweep() == 0
        assert store.get([key]) == {key: b"{}"}
        clock.advance(1.0)
        assert store.get([key]) == {}
        assert store.sweep() == 1


def test_names_are_spaces() -> None:
    name = token()
    options = BrokerOptions()
    one, same = (
        MemoryBroker(f"memory://{name}", options),
        MemoryBroker(f"memory://{name}/", options),
    )
    other = MemoryBroker(f"memory://{name}-b", options)
    one.publish([outgoing("q")])
    assert same.depth(["q"])["q"].ready == 1
    assert other.depth(["q"])["q"].ready == 0
    assert MemoryBroker("memory://", options).space is MemoryBroker("memory", options).space


def test_wake_before_receive_is_not_lost(process: Process) -> None:
    process.consumer.wake()
    thread = threading.Thread(target=process.consumer.receive, args=(1, 60.0), daemon=True)
    thread.start()
    thread.join(20.0)
    assert not thread.is_alive()


def test_watches_leave_nothing_behind(url: str) -> None:
    store = MemoryStore(url, StoreOptions())

    async def main() -> None:
        async with store.awatch(["a", "b"]):
            assert set(store.space.watches) == {"a", "b"}

    asyncio.run(main())
    watcher = store.watch(["a"])
    with store.watch(["a", "c"]):
        pass
    assert set(store.space.watches) == {"a"}
    watcher.close()
    watcher.close()
    assert store.space.watches == {}


def test_a_forked_child_begins_with_empty_spaces(
    process: Process, start: Callable[..., Process]
) -> None:
    process.broker.publish([outgoing("q")])
    held = threading.Event()
    letgo = threading.Event()

    def hold() -> None:
        with process.broker.space.condition:  # type: ignore[attr-defined]
            held.set()
            letgo.wait(20.0)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(20.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        empty = process.broker.depth(["q"])["q"] == QueueDepth() and process.broker.owners() == []
        os._exit(0 if empty else 1)
    _, status = eventually(lambda: (found := os.waitpid(pid, os.WNOHANG))[0] and found)
    letgo.set()
    holder.join()
    assert os.waitstatus_to_exitcode(status) == 0
    assert process.settle(ack(process.take_one())) == [True]
