"""The broker contract: threads and forks."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from celeriac.testing.contracts.process import (
    PATIENCE,
    BrokerCase,
    Process,
    ack,
    ids,
    needs,
    outgoing,
    release,
)
from celeriac.testing.deadline import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.message import Delivery


class ConcurrencyContract(BrokerCase):
    """Nothing is lost and nothing doubled, whoever calls at the same time."""

    def test_publishers_and_consumers(
        self, process: Process, start: Callable[..., Process], queue: str
    ) -> None:
        """Threads publish through one broker while processes lease: each message once."""
        batches = [[outgoing(queue) for _ in range(size)] for size in (1, 2, 5) for _ in range(12)]
        expected = sorted(ids([item for batch in batches for item in batch]))
        seen: list[str] = []
        lock = threading.Lock()
        finished = threading.Event()
        consumers = [start() for _ in range(3)]

        def consume(consumer: Process, seed: int) -> None:
            turn = seed
            while not finished.is_set():
                for delivery in consumer.consumer.receive(4, 0.05):
                    turn += 1
                    if turn % 5 == 0:
                        assert consumer.settle(release(delivery)) == [True]
                        continue
                    assert consumer.settle(ack(delivery)) == [True]
                    with lock:
                        seen.extend(ids([delivery]))

        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(consume, one, seed) for seed, one in enumerate(consumers)]
            try:
                sent = [pool.submit(process.broker.publish, batch) for batch in batches]
                for future in sent:
                    future.result()
                eventually(lambda: len(seen) >= len(expected) or any(f.done() for f in futures))
            finally:
                finished.set()
            for future in futures:
                future.result()
        assert sorted(seen) == expected

    def test_one_broker_in_many_threads(self, process: Process, queue: str) -> None:
        """A `Broker` may be called from any thread."""
        process.broker.publish([outgoing(queue) for _ in range(24)])
        taken = process.take(24)

        def work(index: int) -> list[bool]:
            mine = taken[index::4]
            receipts = [delivery.receipt for delivery in mine]
            assert process.broker.renew(process.id, receipts) == []
            assert process.broker.mark_started(receipts) == [True] * 6
            process.broker.depth([queue])
            return process.settle(*(ack(delivery, outgoing(queue)) for delivery in mine))

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(4))) == [[True] * 6] * 4
        assert len(process.take(24)) == 24

    def test_a_completion_is_settled_once(
        self, process: Process, start: Callable[..., Process], queue: str
    ) -> None:
        """Of two who settle one lease at the same time, one is told that it held."""
        other = start()
        process.broker.publish([outgoing(queue) for _ in range(20)])
        taken = process.take(20)
        with ThreadPoolExecutor(2) as pool:
            for delivery in taken:
                barrier = threading.Barrier(2)

                def settle(
                    one: Process,
                    delivery: Delivery = delivery,
                    barrier: threading.Barrier = barrier,
                ) -> list[bool]:
                    barrier.wait(PATIENCE)
                    return one.settle(ack(delivery))

                assert sorted(pool.map(settle, (process, other))) == [[False], [True]]

    def test_fork(self, process: Process, start: Callable[..., Process], queue: str) -> None:
        """A broker that was used before a fork works in parent and child."""
        needs(process.broker.capabilities.shared, "shared between processes")
        broker = process.broker
        broker.publish([outgoing(queue) for _ in range(5)])
        held = process.take(2)

        def child() -> None:
            broker.publish([outgoing(queue) for _ in range(5)])
            mine = Process(broker, queue)
            assert mine.settle(*map(ack, mine.take(4))) == [True] * 4
            mine.consumer.close()
            broker.unregister(mine.id)
            broker.close()

        pid = _fork(child)
        broker.publish([outgoing(queue) for _ in range(5)])
        assert process.settle(*map(ack, held)) == [True, True]
        _reap(pid)
        assert len(process.take(9)) == 9
        assert process.is_empty()

    def test_a_killed_process_loses_nothing(
        self, process: Process, start: Callable[..., Process], queue: str
    ) -> None:
        """A process killed with leases in its hands can be adopted."""
        needs(process.broker.capabilities.shared, "shared between processes")
        sent = [outgoing(queue) for _ in range(6)]
        process.broker.publish(sent)
        read, write = os.pipe()

        def child() -> None:
            mine = Process(process.broker, queue)
            mine.take(3)
            os.write(write, mine.id.encode())
            time.sleep(2 * PATIENCE)

        pid = _fork(child)
        os.close(write)
        owner = os.read(read, 100).decode()
        os.close(read)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        adopted = process.broker.adopt(owner, process.id)
        assert sorted(ids(adopted)) == sorted(ids(sent[:3]))
        assert ids(process.take(3)) == ids(sent[3:])


def _fork(body: Callable[[], None]) -> int:
    """Run ``body`` in a forked child that exits without the parent's clean-up."""
    with warnings.catch_warnings():
        # Python 3.12 warns of forks in a process with threads; the test runner may have some.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        body()
        code = 0
    except BaseException:  # noqa: BLE001 - the child must not return into pytest
        traceback.print_exc()
    os._exit(code)


def _reap(pid: int) -> None:
    status = eventually(lambda: (result := os.waitpid(pid, os.WNOHANG))[0] and result)
    assert isinstance(status, tuple)
    assert os.waitstatus_to_exitcode(status[1]) == 0, "the forked child failed"
