from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from celeriac.engine.sqlite import Database, Faults, Location
from celeriac.engine.sqlite.lock import FileLock, file_lock
from celeriac.engine.sqlite.setting import MIB, settings
from celeriac.error import BrokerRefused, BrokerUnavailable, PublishRejected
from celeriac.message import Completion, Owner
from celeriac.testing.contracts.process import message, outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.broker.sqlite import SQLiteBroker

FAULTS = Faults(BrokerUnavailable, BrokerRefused)


# Python 3.12 warns of forks in a process with threads; the test runner may have some.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def database(location: Location, timeout: float = 10.0, **options: Any) -> Database:
    return Database(location, settings("sqlite://", options), FAULTS, timeout)


def pragma(location: Location, name: str) -> Any:
    connection = sqlite3.connect(location.path)
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    connection.close()
    return value


# -- opening -------------------------------------------------------------------------------------


def test_two_connections_make_one_schema(location: Location) -> None:
    bases = [database(location) for _ in range(4)]
    barrier = threading.Barrier(4)

    def use(base: Database) -> None:
        barrier.wait(20)
        base.data_version()

    threads = [threading.Thread(target=use, args=(base,)) for base in bases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [base.failures for base in bases] == [0] * 4
    for base in bases:
        base.close()
    assert pragma(location, "journal_mode") == "wal"


@pytest.mark.parametrize(("option", "level"), [("FULL", 2), ("NORMAL", 1)])
def test_synchronous(location: Location, option: str, level: int) -> None:
    base = database(location, synchronous=option)
    row = base.read(lambda connection: connection.execute("PRAGMA synchronous").fetchone())
    assert row == (level,)
    base.close()


def test_not_a_database_is_left_as_it_is(location: Location) -> None:
    garbage = b"this is not a database, but somebody may need it" * 100
    with open(location.path, "wb") as file:
        file.write(garbage)
    with pytest.raises(BrokerRefused, match=r"\.recover"):
        database(location).data_version()
    with open(location.path, "rb") as file:
        assert file.read() == garbage


def test_a_damaged_database_is_refused(
    location: Location, connect: Callable[..., SQLiteBroker]
) -> None:
    with connect() as broker:
        broker.publish([outgoing("q") for _ in range(200)])
    with open(location.path, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(os.path.getsize(location.path) - 4096))
    damaged = connect()
    with pytest.raises(BrokerRefused, match=rf"{re.escape(location.path)}.*\.recover"):
        damaged.publish([outgoing("q")])


def test_the_database_of_another_application_is_refused(location: Location) -> None:
    connection = sqlite3.connect(location.path)
    connection.execute("CREATE TABLE customer (id)")
    connection.close()
    with pytest.raises(BrokerRefused, match="file of its own"):
        database(location).data_version()
    assert pragma(location, "journal_mode") == "delete"


def test_tables_of_another_version_are_refused(location: Location) -> None:
    base = database(location)
    base.data_version()
    base.close()
    connection = sqlite3.connect(location.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(BrokerRefused, match="version 99"):
        base.data_version()


def test_no_directory(tmp_path: object) -> None:
    with pytest.raises(BrokerRefused, match="directory"):
        database(Location(f"{tmp_path}/nowhere/queue.db")).data_version()


def test_read_only(mount: Callable[[str], str], connect: Callable[..., SQLiteBroker]) -> None:
    path = mount("4m")
    with connect(f"{path}/queue.db") as broker:
        broker.publish([outgoing("q")])
    subprocess.run(["mount", "-o", "remount,ro", path], check=True)
    with pytest.raises(BrokerRefused, match=f"{path}/queue.db: read-only.*permissions"):
        broker.publish([outgoing("q")])
    broker.close()


def test_a_network_file_system_is_refused(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No network file system to be had here; what tells one is tested by itself.
    monkeypatch.setattr(
        "celeriac.engine.sqlite.database.network_file_system", lambda directory: "nfs4"
    )
    with pytest.raises(BrokerRefused, match=r"nfs4.*local disk"):
        database(location).data_version()
    assert not os.path.exists(location.path)


def test_a_replaced_file_is_opened_anew(
    location: Location, connect: Callable[..., SQLiteBroker]
) -> None:
    broker, other = connect(), connect()
    broker.publish([outgoing("q"), outgoing("q")])
    for name in (location.path, location.wal, f"{location.path}-shm", location.lock):
        os.unlink(name)
    other.publish([outgoing("q")])
    assert broker.depth(["q"])["q"].ready == 1
    broker.publish([outgoing("q")])
    assert other.depth(["q"])["q"].ready == 2


# -- locks ---------------------------------------------------------------------------------------


def test_a_writer_waits_no_longer_than_its_timeout(location: Location) -> None:
    base = database(location, timeout=0.05)
    base.data_version()
    stranger = FileLock(location.lock)
    with stranger.hold(1.0), pytest.raises(BrokerUnavailable, match="other writers"):
        base.write(lambda connection: None)
    assert base.failures == 1
    base.write(lambda connection: None)
    base.close()


def test_a_foreign_writer_is_waited_for(location: Location) -> None:
    base = database(location, timeout=20.0)
    base.data_version()
    shell = sqlite3.connect(location.path, isolation_level=None, check_same_thread=False)
    shell.execute("BEGIN IMMEDIATE")
    begun = threading.Event()

    def commit() -> None:
        begun.wait(20)
        shell.execute("COMMIT")

    thread = threading.Thread(target=commit)
    thread.start()
    begun.set()
    base.write(lambda connection: None)
    thread.join()
    shell.close()
    base.close()


def test_threads_share_a_lock(location: Location) -> None:
    lock = file_lock(location.lock)
    assert file_lock(location.lock) is lock
    with lock.hold(1.0), pytest.raises(TimeoutError), lock.hold(0.0):
        pass
    with lock.hold(0.0):
        pass
    lock.close()


def test_a_deleted_lock_file_locks_nobody_out_of_the_new_one(location: Location) -> None:
    first, second = FileLock(location.lock), FileLock(location.lock)
    with first.hold(1.0):
        pass
    os.unlink(location.lock)
    with second.hold(1.0), pytest.raises(TimeoutError), first.hold(0.0):
        pass


def test_a_failed_transaction_leaves_nothing(location: Location) -> None:
    base = database(location)

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO sent VALUES ('a', 0, 0)")
        raise KeyError

    with pytest.raises(KeyError):
        base.write(work)
    count = base.read(lambda connection: connection.execute("SELECT * FROM sent").fetchall())
    assert count == []
    base.write(lambda connection: connection.execute("INSERT INTO sent VALUES ('a', 0, 0)"))
    base.close()


# -- forks ---------------------------------------------------------------------------------------


def test_a_child_opens_its_own_connection(
    location: Location, connect: Callable[..., SQLiteBroker]
) -> None:
    broker = connect()
    broker.publish([outgoing("q")])
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(read)
            broker.publish([outgoing("q")])
            broker.close()
            os.write(write, b"1")
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    assert os.read(read, 1) == b"1"
    os.close(read)
    assert os.waitpid(child, 0)[1] == 0
    broker.publish([outgoing("q")])
    assert broker.depth(["q"])["q"].ready == 3


def test_the_exit_of_a_child_leaves_the_log_alone(location: Location) -> None:
    """Runs in its own interpreter: the child must go through all of Python's clean-up."""
    script = """if True:
        import os, sys
        from celeriac.broker.base import BrokerOptions
        from celeriac.broker.sqlite import SQLiteBroker
        from celeriac.testing.contracts.process import outgoing
        broker = SQLiteBroker("sqlite:///" + sys.argv[1], BrokerOptions())
        broker.publish([outgoing("q")])
        child = os.fork()
        if child == 0:
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert os.path.getsize(sys.argv[1] + "-wal") > 0
        broker.publish([outgoing("q")])
        assert broker.depth(["q"])["q"].ready == 2
        broker.close()
        print("kept")
    """
    command = [sys.executable, "-W", "error", "-c", script, location.path]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("kept\n", "")


def test_a_child_does_not_keep_the_lock_of_a_dead_parent(location: Location) -> None:
    """The parent is killed in the middle of a transaction, with a child alive."""
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        base = database(location)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO sent VALUES ('a', 0, 0)")
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            os.write(write, str(child).encode())
            signal.pause()

        base.write(work)
        os._exit(1)
    os.close(write)
    child = int(os.read(read, 20))
    os.close(read)
    try:
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        base = database(location, timeout=20.0)
        base.write(lambda connection: None)
        rows = base.read(lambda connection: connection.execute("SELECT * FROM sent").fetchall())
        assert rows == []
        base.close()
    finally:
        os.kill(child, signal.SIGKILL)


# -- log and ballast -----------------------------------------------------------------------------


def test_the_log_stays_small_under_concurrent_writers(
    location: Location, connect: Callable[..., SQLiteBroker]
) -> None:
    options = {"wal_limit": 0.25, "synchronous": "NORMAL"}
    brokers = [connect(transport_options=options) for _ in range(4)]
    sizes: list[int] = []

    def publish(broker: SQLiteBroker) -> None:
        for _ in range(40):
            broker.publish([outgoing("q") for _ in range(10)])
            sizes.append(os.path.getsize(location.wal))

    threads = [threading.Thread(target=publish, args=(broker,)) for broker in brokers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sizes) == 160
    assert max(sizes) < 0.75 * MIB
    assert brokers[0].depth(["q"])["q"].ready == 1600
    assert pragma(location, "integrity_check") == "ok"


def test_a_reader_holds_up_checkpoints_and_nothing_else(
    location: Location, connect: Callable[..., SQLiteBroker]
) -> None:
    broker = connect(transport_options={"wal_limit": 0.1})
    broker.publish([outgoing("q")])
    reader = sqlite3.connect(location.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM message").fetchall()
    for _ in range(30):
        broker.publish([outgoing("q") for _ in range(10)])
    assert os.path.getsize(location.wal) > 0.1 * MIB
    reader.close()
    for _ in range(30):
        broker.publish([outgoing("q") for _ in range(10)])
    assert os.path.getsize(location.wal) < 0.2 * MIB


def test_the_last_to_close_leaves_no_log(
    location: Location, connect: Callable[..., SQLiteBroker]
) -> None:
    one, two = connect(), connect()
    one.publish([outgoing("q")])
    two.publish([outgoing("q")])
    one.close()
    assert os.path.exists(location.wal)
    two.close()
    assert not os.path.exists(location.wal)


def test_a_full_disk_can_be_worked_off(
    mount: Callable[[str], str], connect: Callable[..., SQLiteBroker]
) -> None:
    path = mount("6m")
    broker = connect(f"{path}/queue.db", transport_options={"wal_limit": 0.5, "ballast": 1})
    broker.register(Owner("me", "n@h", "m", 1, "0", ("q",)))
    sent = 0

    def fill() -> None:
        nonlocal sent
        while True:
            broker.publish([outgoing("q", message=message(args=["x" * 1000])) for _ in range(9)])
            sent += 9

    with pytest.raises(PublishRejected, match="disk is full; free some space"):
        fill()
    assert broker.depth(["q"])["q"].ready == sent
    consumer = broker.consumer(["q"], "me")
    done = 0
    while batch := consumer.receive(16, 0.0):
        assert all(broker.settle([Completion(one) for one in batch]))
        done += len(batch)
    assert done == sent
    broker.publish([outgoing("q")])
    assert broker.depth(["q"])["q"].ready == 1
    consumer.close()
    broker.close()
