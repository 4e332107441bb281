"""The contract of `celeriac.store.base.Store`."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from celeriac.identifier import uuid
from celeriac.message import ResultRecord
from celeriac.state import FAILURE, PENDING, RETRY, REVOKED, STARTED, SUCCESS
from celeriac.testing.contracts.process import PATIENCE
from celeriac.testing.deadline import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celeriac.store.base import Store


def record(
    id: str | None = None,  # noqa: A002 - Celery's name
    state: str = SUCCESS,
    result: str = "1",
    ttl: float | None = 3600.0,
) -> ResultRecord:
    """Return a result whose payload looks like Celery's."""
    id = id or uuid()  # noqa: A001
    payload = f'{{"status": "{state}", "result": {result}, "task_id": "{id}"}}'
    return ResultRecord(id, state, payload.encode(), ttl)


class StoreContract:
    """Every sentence of the store port as a test; see `celeriac.testing.contracts`."""

    @pytest.fixture
    def make_store(self) -> Callable[..., Store]:
        """Return what opens a store; its keywords are fields of `StoreOptions`."""
        raise NotImplementedError("a store contract needs a fixture make_store")

    @pytest.fixture
    def connect(self, make_store: Callable[..., Store]) -> Iterator[Callable[..., Store]]:
        """Open stores that are closed after the test."""
        opened: list[Store] = []

        def connect(**options: Any) -> Store:
            opened.append(make_store(**options))
            return opened[-1]

        yield connect
        for store in opened:
            store.close()

    @pytest.fixture
    def store(self, connect: Callable[..., Store]) -> Store:
        """Return a store."""
        return connect()

    @pytest.fixture
    def other(self, connect: Callable[..., Store]) -> Store:
        """Return a store object of another process, so to say."""
        return connect()

    # -- writing and reading -------------------------------------------------------------------

    def test_put_and_get(self, store: Store, other: Store) -> None:
        """What one process stores another reads, byte for byte."""
        one = ResultRecord(uuid(), SUCCESS, '{"status": "SUCCESS", "é": "\\u0000"}'.encode(), 60.0)
        two = record()
        store.put([one, two])
        assert other.get([one.id, two.id]) == {one.id: one.payload, two.id: two.payload}

    def test_unknown_ids(self, store: Store) -> None:
        """Only ids that have a payload are in the answer."""
        known = record()
        store.put([known])
        assert store.get([uuid(), known.id, uuid()]) == {known.id: known.payload}
        assert store.get([uuid()]) == {}

    def test_empty(self, store: Store) -> None:
        """Empty sequences are no error."""
        store.put([])
        store.forget([])
        assert store.get([]) == {}
        assert store.sweep() >= 0

    def test_many(self, store: Store) -> None:
        """Any number of ids in one call."""
        records = [record(result=str(index)) for index in range(1500)]
        store.put(records)
        assert store.get([one.id for one in records]) == {one.id: one.payload for one in records}
        store.forget([one.id for one in records[:-1]])
        assert list(store.get([one.id for one in records])) == [records[-1].id]

    def test_large(self, store: Store) -> None:
        """Results of some MiB pass."""
        one = record(result=f'"{"x" * 3_000_000}"')
        store.put([one])
        assert store.get([one.id]) == {one.id: one.payload}

    @pytest.mark.parametrize("state", [PENDING, STARTED, RETRY, FAILURE, REVOKED, "PROGRESS"])
    def test_other_states_are_replaced(self, store: Store, state: str) -> None:
        """Every state but SUCCESS gives way to a later one."""
        first = record(state=state)
        last = record(first.id, SUCCESS)
        store.put([first])
        store.put([last])
        assert store.get([first.id]) == {first.id: last.payload}

    @pytest.mark.parametrize("state", [STARTED, RETRY, FAILURE, REVOKED, SUCCESS])
    def test_success_is_never_replaced(self, store: Store, other: Store, state: str) -> None:
        """A stored SUCCESS is never replaced, not even by another SUCCESS."""
        first = record(result="1")
        store.put([first])
        other.put([record(first.id, state, "2")])
        assert store.get([first.id]) == {first.id: first.payload}

    def test_success_is_never_replaced_within_a_batch(self, store: Store) -> None:
        """Order within a batch counts."""
        started, success, failure = (
            record(key := uuid(), STARTED),
            record(key, SUCCESS),
            record(key, FAILURE),
        )
        store.put([started, success, failure])
        assert store.get([key]) == {key: success.payload}

    def test_a_result_that_speaks_of_success(self, store: Store) -> None:
        """The state counts, not what the value of the task happens to contain."""
        first = record(state=FAILURE, result='{"status": "SUCCESS"}')
        last = record(first.id, REVOKED)
        store.put([first])
        store.put([last])
        assert store.get([first.id]) == {first.id: last.payload}

    def test_forget(self, store: Store, other: Store) -> None:
        """Delete results; unknown ids are no error; a forgotten SUCCESS can be written anew."""
        one, two = record(), record()
        store.put([one, two])
        other.forget([one.id, uuid()])
        assert store.get([one.id, two.id]) == {two.id: two.payload}
        again = record(one.id, FAILURE)
        store.put([again])
        assert store.get([one.id]) == {one.id: again.payload}

    # -- expiry --------------------------------------------------------------------------------

    def test_expiry(self, store: Store) -> None:
        """A result is forgotten after its ttl, also a SUCCESS; None means never."""
        short, long, ever = record(ttl=1.0), record(ttl=3600.0), record(ttl=None)
        store.put([short, long, ever])
        every = [short.id, long.id, ever.id]
        assert short.id in store.get(every)
        eventually(lambda: short.id not in store.get(every))
        assert set(store.get(every)) == {long.id, ever.id}
        again = record(short.id, FAILURE)
        store.put([again])
        assert store.get([short.id]) == {short.id: again.payload}

    def test_sweep(self, store: Store) -> None:
        """`sweep` leaves what has not expired alone."""
        short, long = record(ttl=1.0), record()
        store.put([short, long])
        eventually(lambda: short.id not in store.get([short.id]))
        store.sweep()
        assert store.sweep() == 0
        assert store.get([long.id]) == {long.id: long.payload}

    # -- watching ------------------------------------------------------------------------------

    def test_watch(self, store: Store, other: Store) -> None:
        """A put between `watch` and `wait` is reported, whoever made it."""
        one, two = record(), record()
        with store.watch([one.id, two.id]) as watcher:
            other.put([two])
            assert two.id in watcher.wait(PATIENCE)
            store.put([one])
            assert one.id in watcher.wait(PATIENCE)

    def test_a_change_is_reported_and_then_no_more(self, store: Store, other: Store) -> None:
        """A spurious report is allowed, an endless row of them would be a busy loop."""
        started, success = record(key := uuid(), STARTED), record(key)
        with store.watch([key]) as watcher:
            for one in (started, success):
                other.put([one])
                assert watcher.wait(PATIENCE) == {key}
                eventually(lambda: watcher.wait(0.02) == frozenset())

    def test_a_waiting_watcher_is_woken(self, store: Store, other: Store) -> None:
        """`wait` returns when a result is written while it waits."""
        one = record()
        waiting = threading.Event()

        def wait() -> frozenset[str]:
            with store.watch([one.id]) as watcher:
                waiting.set()
                return watcher.wait(2 * PATIENCE)

        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(wait)
            assert waiting.wait(PATIENCE)
            other.put([one])
            assert future.result(PATIENCE) == {one.id}

    def test_watch_many(self, store: Store, other: Store) -> None:
        """All results of a large group are reported, in as many calls as it takes."""
        records = [record() for _ in range(300)]
        missing = {one.id for one in records}
        with store.watch(sorted(missing)) as watcher:
            for index in range(0, 300, 50):
                other.put(records[index : index + 50])
            deadline = time.monotonic() + PATIENCE
            while missing and time.monotonic() < deadline:
                missing -= watcher.wait(1.0)
        assert not missing

    def test_watch_reports_only_what_is_watched(self, store: Store, other: Store) -> None:
        """Reports are about the watched ids; without a change they are empty."""
        mine = uuid()
        with store.watch([mine]) as watcher:
            other.put([record()])
            assert watcher.wait(0.1) <= {mine}
            eventually(lambda: watcher.wait(0.05) == frozenset())
            assert watcher.wait(0.0) == frozenset()

    def test_two_watchers_of_one_result(self, store: Store, other: Store) -> None:
        """Each watcher is told."""
        one = record()
        with store.watch([one.id]) as first, store.watch([one.id]) as second:
            other.put([one])
            assert one.id in first.wait(PATIENCE)
            assert one.id in second.wait(PATIENCE)
        with store.watch([one.id]) as third:
            assert third.wait(0.0) <= {one.id}

    def test_watch_first_get_then_wait_last(self, store: Store, other: Store) -> None:
        """Whenever the put comes, the three steps together see it."""
        for _ in range(30):
            one = record()
            writer = threading.Thread(target=other.put, args=([one],))
            with store.watch([one.id]) as watcher:
                writer.start()
                deadline = time.monotonic() + PATIENCE
                while not (found := store.get([one.id])):
                    assert watcher.wait(deadline - time.monotonic()), "the put was missed"
            writer.join()
            assert found == {one.id: one.payload}

    # -- on an event loop ----------------------------------------------------------------------

    def test_aget(self, store: Store) -> None:
        """`aget` returns what `get` returns."""
        one = record()
        store.put([one])
        assert asyncio.run(store.aget([one.id, uuid()])) == {one.id: one.payload}
        assert asyncio.run(store.aget([])) == {}

    def test_awatch(self, store: Store, other: Store) -> None:
        """An `AsyncWatcher` reports a put made after ``__aenter__`` and leaves the loop free."""
        one = record()

        async def main() -> frozenset[str]:
            async with store.awatch([one.id]) as watcher:
                loop = asyncio.get_running_loop()
                waiting = asyncio.ensure_future(watcher.wait(PATIENCE))
                await asyncio.sleep(0)
                await loop.run_in_executor(None, other.put, [one])
                return await waiting

        assert asyncio.run(main()) == {one.id}

    def test_awatch_reports_what_came_before_wait(self, store: Store, other: Store) -> None:
        """A put between ``__aenter__`` and `wait` is reported; then nothing is."""
        one = record()

        async def main() -> None:
            async with store.awatch([one.id]) as watcher:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(None, other.put, [one])
                assert await watcher.wait(PATIENCE) == {one.id}
                assert await watcher.wait(0.05) <= {one.id}
                assert await store.aget([one.id]) == {one.id: one.payload}

        asyncio.run(main())

    def test_awatch_waits_again_after_a_report(self, store: Store, other: Store) -> None:
        """After a report the watcher falls silent, until the next change."""
        started, success = record(key := uuid(), STARTED), record(key)

        async def main() -> None:
            async with store.awatch([key]) as watcher:
                loop = asyncio.get_running_loop()
                for one in (started, success):
                    waiting = asyncio.ensure_future(watcher.wait(PATIENCE))
                    await asyncio.sleep(0.01)
                    assert not waiting.done()
                    await loop.run_in_executor(None, other.put, [one])
                    assert await waiting == {key}
                    deadline = loop.time() + PATIENCE
                    while await watcher.wait(0.02):
                        assert loop.time() < deadline, "the report never ended"

        asyncio.run(main())

    def test_awatch_can_be_cancelled(self, store: Store, other: Store) -> None:
        """A cancelled wait leaves nothing behind, and the loop goes on."""

        async def main() -> None:
            async with store.awatch([uuid()]) as watcher:
                waiting = asyncio.ensure_future(watcher.wait(None))
                await asyncio.sleep(0.01)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            one = record()
            async with store.awatch([one.id]) as watcher:
                other.put([one])
                assert await watcher.wait(PATIENCE) == {one.id}

        asyncio.run(main())

    def test_many_awatch(self, store: Store, other: Store) -> None:
        """Many coroutines of one loop wait at once."""
        records = [record() for _ in range(40)]

        async def wait(one: ResultRecord, ready: asyncio.Semaphore) -> frozenset[str]:
            async with store.awatch([one.id]) as watcher:
                ready.release()
                return await watcher.wait(PATIENCE)

        async def main() -> list[frozenset[str]]:
            ready = asyncio.Semaphore(0)
            waiting = [asyncio.ensure_future(wait(one, ready)) for one in records]
            for _ in records:
                await ready.acquire()
            await asyncio.get_running_loop().run_in_executor(None, other.put, records)
            return await asyncio.gather(*waiting)

        assert asyncio.run(main()) == [{one.id} for one in records]

    # -- threads, closing ----------------------------------------------------------------------

    def test_threads(self, store: Store) -> None:
        """A store may be called from any thread; the first SUCCESS wins, once."""
        key = uuid()
        rivals = [record(key, SUCCESS, str(index)) for index in range(16)]

        def write(one: ResultRecord) -> dict[str, bytes]:
            store.put([one])
            return store.get([key])

        with ThreadPoolExecutor(4) as pool:
            seen = list(pool.map(write, rivals))
        assert len({one[key] for one in seen}) == 1

    def test_closed_and_used_again(self, store: Store) -> None:
        """`close` gives up connections; they are made anew when needed."""
        one = record()
        store.put([one])
        store.close()
        store.close()
        assert store.get([one.id]) == {one.id: one.payload}
        with store.watch([one.id]) as watcher:
            assert watcher.wait(0.0) <= {one.id}

    def test_names(self, store: Store) -> None:
        """A store says what it is."""
        assert store.display
        assert store.enabled
