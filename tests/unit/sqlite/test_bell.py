from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from celeriac.engine.sqlite import Bell, Location, Waiter
from celeriac.engine.sqlite.bell import MAX_TOPICS, queue_topic, result_topic
from celeriac.testing.contracts.process import ids, outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celeriac.broker.sqlite import SQLiteBroker


# Python 3.12 warns of forks in a process with threads; the test runner may have some.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Room:
    """A bell and those who wait for it."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.bell = Bell(directory)
        self.waiters: list[Waiter] = []

    def waiter(self, *topics: str) -> Waiter:
        waiter = Waiter(self.directory, topics)
        waiter.listen()
        self.waiters.append(waiter)
        return waiter

    def woken(self) -> int:
        return sum(waiter.wait(0.0) for waiter in self.waiters)


@pytest.fixture
def room(location: Location) -> Iterator[Room]:
    room = Room(location.wake)
    yield room
    room.bell.close()
    for waiter in room.waiters:
        waiter.close()


def test_nobody_waits(room: Room) -> None:
    room.bell.ring({"q": 1}, ["id"])
    assert not os.path.exists(room.directory)


def test_one_waiter_per_message(room: Room) -> None:
    for _ in range(5):
        room.waiter(queue_topic("q"))
    other = room.waiter(queue_topic("other"))
    room.bell.ring({"q": 2})
    assert not other.wait(0.0)
    assert room.woken() == 2
    room.bell.ring({"q": 100})
    assert room.woken() == 5


def test_a_waiter_for_two_queues_is_rung_once(room: Room) -> None:
    waiter = room.waiter(queue_topic("a"), queue_topic("b"))
    room.bell.ring({"a": 1, "b": 1})
    assert waiter.wait(0.0)
    assert not waiter.wait(0.0)


def test_everyone_who_watches_a_result(room: Room) -> None:
    watching = [room.waiter(result_topic("a"), result_topic("b")) for _ in range(3)]
    many = room.waiter(*(result_topic(str(n)) for n in range(MAX_TOPICS + 1)))
    other = room.waiter(result_topic("c"))
    room.bell.ring(results=["b"])
    assert all(waiter.wait(0.0) for waiter in watching)
    assert many.wait(0.0)
    assert not other.wait(0.0)


def test_who_does_not_listen_is_not_rung(room: Room) -> None:
    busy = room.waiter(queue_topic("q"))
    busy.rest()
    idle = room.waiter(queue_topic("q"))
    room.bell.ring({"q": 1})
    assert idle.wait(0.0)
    assert not busy.wait(0.0)
    busy.listen()
    idle.rest()
    room.bell.ring({"q": 1})
    assert busy.wait(0.0)


def test_more_calls_than_a_socket_holds(room: Room) -> None:
    waiter = room.waiter(queue_topic("q"))
    for _ in range(2000):
        room.bell.ring({"q": 1})
    assert waiter.wait(0.0)
    assert not waiter.wait(0.0)


def test_the_dead_are_passed_over_and_cleared_away(room: Room) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        waiter = Waiter(room.directory, [queue_topic("q")])
        waiter.listen()
        os.write(write, b"1")
        signal.pause()
        os._exit(0)
    assert os.read(read, 1) == b"1"
    os.close(read)
    os.close(write)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(os.listdir(room.directory)) == 2
    alive = room.waiter(queue_topic("q"))
    room.bell.ring({"q": 2})
    assert alive.wait(0.0)
    assert {name.rpartition("~")[2].partition("-")[0] for name in os.listdir(room.directory)} == {
        str(os.getpid())
    }


def test_closing_leaves_nothing_behind(room: Room) -> None:
    room.waiter(queue_topic("q"), queue_topic("r")).close()
    assert os.listdir(room.directory) == []
    room.waiters.clear()


def test_a_fork_does_not_keep_a_waiter_alive(room: Room) -> None:
    waiter = room.waiter(queue_topic("q"))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"1")
        signal.pause()
        os._exit(0)
    assert os.read(read, 1) == b"1"
    for one in waiter.sockets():
        one.close()
    room.bell.ring({"q": 1})
    assert os.listdir(room.directory) == []
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)


def test_a_long_path(tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 40)
    directory.mkdir()
    room = Room(f"{directory}/queue.db-wake")
    waiter = room.waiter(queue_topic("q"))
    room.bell.ring({"q": 1})
    assert waiter.wait(0.0)
    room.bell.close()
    waiter.close()


def test_the_directory_is_private(room: Room) -> None:
    os.chmod(os.path.dirname(room.directory), 0o755)
    room.waiter(queue_topic("q"))
    assert os.stat(room.directory).st_mode & 0o777 == 0o700


def test_the_directory_is_shared_where_the_database_is(room: Room) -> None:
    os.chmod(os.path.dirname(room.directory), 0o775)
    room.waiter(queue_topic("q"))
    assert os.stat(room.directory).st_mode & 0o777 == 0o770


def test_without_sockets_a_consumer_looks_by_itself(
    location: Location, connect: Callable[..., SQLiteBroker]
) -> None:
    with open(location.wake, "w"):
        pass  # a file where the directory should be
    broker, other = connect(), connect()
    consumer = broker.consumer(["q"], "me")
    item = outgoing("q")
    thread = threading.Timer(0.05, other.publish, ([item],))
    thread.start()
    assert ids(consumer.receive(1, 20.0)) == ids([item])
    thread.join()
    consumer.wake()
    assert consumer.receive(1, 20.0) == []
    consumer.close()


def test_a_publish_of_another_process_wakes_a_consumer(
    location: Location,
    connect: Callable[..., SQLiteBroker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Without the look four times a second, only the bell is left.
    monkeypatch.setattr("celeriac.broker.sqlite.consumer.LOOK", 3600.0)
    broker = connect()
    consumer = broker.consumer(["q"], "me")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.read(read, 1)
            while not os.path.isdir(location.wake) or not any(
                name.startswith("q") for name in os.listdir(location.wake)
            ):
                pass
            broker.publish([outgoing("q")])
            broker.close()
            code = 0
        finally:
            os._exit(code)
    os.write(write, b"1")
    assert len(consumer.receive(1, 30.0)) == 1
    assert os.waitpid(child, 0)[1] == 0
    consumer.close()
    os.close(read)
    os.close(write)
