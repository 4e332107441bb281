from __future__ import annotations

import os
import signal
import sqlite3
from typing import TYPE_CHECKING

import msgspec
import pytest

from celeriac.clock import ManualClock
from celeriac.error import BrokerUnavailable
from celeriac.identifier import machine, process_start, token
from celeriac.message import Owner
from celeriac.testing.contracts.process import ack, dead, ids, message, outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.broker.sqlite import SQLiteBroker
    from celeriac.engine.sqlite import Location


# Python 3.12 warns of forks in a process with threads; the test runner may have some.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def owner(node: str, pid: int | None = None, start: str | None = None) -> Owner:
    """Return an owner on this machine; that of this process by default."""
    pid = pid or os.getpid()
    return Owner(token(), node, machine(), pid, start or process_start(pid) or "", ("q",))


def lease(broker: SQLiteBroker, holder: Owner, count: int = 1) -> list[str]:
    """Register ``holder``, let it lease new messages, return their ids."""
    broker.register(holder)
    broker.publish([outgoing("q") for _ in range(count)])
    consumer = broker.consumer(["q"], holder.id)
    taken = ids(consumer.receive(count, 20.0))
    consumer.close()
    assert len(taken) == count
    return taken


def test_what_a_killed_process_held_is_adopted(connect: Callable[..., SQLiteBroker]) -> None:
    """The lease has half a minute to live, and the process is dead."""
    broker = connect()
    me = owner("one@host")
    sent = [outgoing("q") for _ in range(5)]
    broker.publish(sent)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        mine = connect()
        mine.register(me)
        taken = mine.consumer(["q"], me.id).receive(3, 20.0)
        assert mine.mark_started([taken[0].receipt]) == [True]
        os.write(write, b"1")
        signal.pause()
        os._exit(0)
    assert os.read(read, 1) == b"1"
    os.close(read)
    os.close(write)
    survivor = owner("two@host")
    broker.register(survivor)
    assert broker.adopt_expired(survivor.id) == []
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    adopted = broker.adopt(me.id, survivor.id)
    assert ids(adopted) == ids(sent[:3])
    assert [one.started for one in adopted] == [True, False, False]
    assert broker.owners() == [survivor]
    assert broker.settle([ack(one) for one in adopted]) == [True] * 3


def test_a_jump_of_the_wall_clock_takes_nothing_over(connect: Callable[..., SQLiteBroker]) -> None:
    """Past its time by the clock on the wall, but not seen so for long enough."""

    class Jumping(ManualClock):
        wall = 0.0

        def time(self) -> float:
            return super().time() + self.wall

    clock = Jumping()
    broker = connect(clock=clock, lease_ttl=30.0, recovery_grace=15.0)
    holder = owner("one@host")
    broker.register(holder)
    broker.publish([outgoing("q")])
    consumer = broker.consumer(["q"], holder.id)
    (held,) = consumer.receive(1, 20.0)
    consumer.close()
    clock.wall = 3600.0
    assert broker.adopt_expired("me") == []
    clock.advance(10.0)
    assert broker.renew(holder.id, [held.receipt]) == []
    clock.advance(10.0)
    assert broker.adopt_expired("me") == []
    clock.advance(3600.0)
    assert broker.adopt_expired("me") == []
    clock.advance(15.0)
    assert ids(broker.adopt_expired("me")) == ids([held])


def test_after_an_error_the_observation_begins_anew(
    location: Location, connect: Callable[..., SQLiteBroker]
) -> None:
    """While the file cannot be used, its owners cannot renew."""
    clock = ManualClock()
    broker = connect(clock=clock, lease_ttl=30.0, recovery_grace=15.0, publish_timeout=0.05)
    held = lease(broker, Owner(token(), "one@host", "elsewhere", 1, "0", ("q",)))
    clock.advance(31.0)
    assert broker.adopt_expired("me") == []
    clock.advance(10.0)
    shell = sqlite3.connect(location.path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(BrokerUnavailable):
        broker.publish([outgoing("q")])
    shell.close()
    clock.advance(10.0)
    assert broker.adopt_expired("me") == []
    clock.advance(15.0)
    assert ids(broker.adopt_expired("me")) == held


def test_what_was_sent_is_remembered_for_a_while(connect: Callable[..., SQLiteBroker]) -> None:
    clock = ManualClock()
    broker = connect(clock=clock)
    item = outgoing("q", dedupe=True)
    broker.publish([item])
    broker.purge("q")
    clock.advance(3599.0)
    broker.publish([item])
    assert broker.depth(["q"])["q"].ready == 0
    clock.advance(2.0)
    broker.adopt_expired("me")
    broker.publish([item])
    assert broker.depth(["q"])["q"].ready == 1


def test_a_first_try_without_dedupe_is_recognised(connect: Callable[..., SQLiteBroker]) -> None:
    broker = connect()
    sent = message()
    broker.publish([outgoing("q", message=sent)])
    broker.publish([outgoing("q", message=sent, dedupe=True)])
    assert broker.depth(["q"])["q"].ready == 1


def test_twins_are_buried_side_by_side(connect: Callable[..., SQLiteBroker]) -> None:
    broker = connect()
    sent = message()
    broker.publish([outgoing("q", message=sent) for _ in range(2)])
    consumer = broker.consumer(["q"], "me")
    one, two = consumer.receive(2, 20.0)
    consumer.close()
    assert broker.settle([dead(one), dead(two)]) == [True, True]
    letters = broker.dead_letters()
    assert len({letter.id for letter in letters}) == 2
    assert broker.dead_letter(sent.id) in letters
    assert sorted(broker.replay([letter.id for letter in letters])) == sorted(
        letter.id for letter in letters
    )


def test_queues_take_turns(connect: Callable[..., SQLiteBroker]) -> None:
    """A long backlog in one queue does not starve the other."""
    broker = connect()
    broker.publish([outgoing("a") for _ in range(20)])
    broker.publish([outgoing("b") for _ in range(3)])
    broker.publish([outgoing("b", priority=9)])
    consumer = broker.consumer(["a", "b"], "me")
    queues = [one.queue for one in consumer.receive(6, 20.0)]
    assert queues == ["a", "b"] * 3
    assert [one.queue for one in consumer.receive(20, 20.0)] == ["a"] * 17 + ["b"]
    consumer.close()


def test_what_waits_in_queues_of_others_is_left_to_them(
    connect: Callable[..., SQLiteBroker],
) -> None:
    """Two applications share a file; neither knows the tasks of the other."""
    clock = ManualClock()
    broker = connect(clock=clock, lease_ttl=30.0, recovery_grace=15.0)
    holder = owner("one@host")
    held = lease(broker, holder)
    stranger = msgspec.structs.replace(owner("two@host"), queues=("another",))
    heir = owner("three@host")
    for moment in (0.0, 31.0, 16.0):
        clock.advance(moment)
        broker.register(stranger)
        assert broker.adopt_expired(stranger.id) == []
    broker.register(heir)
    assert broker.adopt_expired(heir.id) == []
    clock.advance(16.0)
    broker.register(heir)
    assert ids(broker.adopt_expired(heir.id)) == held
