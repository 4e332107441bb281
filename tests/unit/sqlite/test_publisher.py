"""`BatchingPublisher`, which other blocking brokers use too."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import pytest

from celeriac.broker.publisher import BatchingPublisher
from celeriac.error import BrokerUnavailable, EncodeError, PublishRejected
from celeriac.testing.contracts.process import ids, outgoing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeriac.message import Outgoing


# Python 3.12 warns of forks in a process with threads; the test runner may have some.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Sink:
    """What is published, call by call; the first call can be held up."""

    def __init__(self, hold: bool = False) -> None:
        self.calls: list[list[str]] = []
        self.refused: dict[str, Exception] = {}
        self.entered = threading.Event()
        self.go_on = threading.Event()
        if not hold:
            self.go_on.set()

    def publish(self, batch: Sequence[Outgoing]) -> None:
        self.entered.set()
        assert self.go_on.wait(20)
        for key in ids(batch):
            if key in self.refused:
                raise self.refused[key]
        self.calls.append(ids(batch))


async def ahead(sink: Sink, publisher: BatchingPublisher) -> asyncio.Task[None]:
    """Send something that keeps the thread busy."""
    first = asyncio.ensure_future(publisher.publish([outgoing("q")]))
    await asyncio.to_thread(sink.entered.wait, 20)
    return first


def test_what_is_asked_for_meanwhile_is_sent_together() -> None:
    sink = Sink(hold=True)
    publisher = BatchingPublisher(sink.publish)
    items = [outgoing("q") for _ in range(10)]

    async def main() -> None:
        first = await ahead(sink, publisher)
        rest = [asyncio.ensure_future(publisher.publish([item])) for item in items]
        await asyncio.sleep(0)
        sink.go_on.set()
        await asyncio.gather(first, *rest)

    asyncio.run(main())
    assert sink.calls[1:] == [ids(items)]
    publisher.close()


@pytest.mark.parametrize("error", [PublishRejected("too large"), EncodeError("no")])
def test_only_whose_message_was_rejected_is_told(error: Exception) -> None:
    sink = Sink(hold=True)
    publisher = BatchingPublisher(sink.publish)
    items = [outgoing("q") for _ in range(3)]
    sink.refused[ids(items)[1]] = error

    async def main() -> list[BaseException | None]:
        first = await ahead(sink, publisher)
        rest = [asyncio.ensure_future(publisher.publish([item])) for item in items]
        await asyncio.sleep(0)
        sink.go_on.set()
        await first
        return await asyncio.gather(*rest, return_exceptions=True)

    assert asyncio.run(main()) == [None, error, None]
    assert sink.calls[1:] == [[ids(items)[0]], [ids(items)[2]]]
    publisher.close()


def test_an_unreachable_broker_is_told_to_all() -> None:
    sink = Sink(hold=True)
    publisher = BatchingPublisher(sink.publish)
    items = [outgoing("q") for _ in range(3)]
    sink.refused[ids(items)[1]] = BrokerUnavailable("away")

    async def main() -> list[BaseException | None]:
        first = await ahead(sink, publisher)
        rest = [asyncio.ensure_future(publisher.publish([item])) for item in items]
        await asyncio.sleep(0)
        sink.go_on.set()
        await first
        return await asyncio.gather(*rest, return_exceptions=True)

    assert [type(one) for one in asyncio.run(main())] == [BrokerUnavailable] * 3
    assert len(sink.calls) == 1
    publisher.close()


def test_what_was_cancelled_in_time_is_not_sent() -> None:
    sink = Sink(hold=True)
    publisher = BatchingPublisher(sink.publish)

    async def main() -> None:
        first = await ahead(sink, publisher)
        second = asyncio.ensure_future(publisher.publish([outgoing("q")]))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        sink.go_on.set()
        await first

    asyncio.run(main())
    publisher.close()
    assert len(sink.calls) == 1


def test_closed_and_used_again() -> None:
    sink = Sink()
    publisher = BatchingPublisher(sink.publish)
    before = threading.active_count()
    for _ in range(3):
        asyncio.run(publisher.publish([outgoing("q")]))
        publisher.close()
        assert threading.active_count() == before
    assert len(sink.calls) == 3


def test_fork() -> None:
    sink = Sink()
    publisher = BatchingPublisher(sink.publish)
    asyncio.run(publisher.publish([outgoing("q")]))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.run(publisher.publish([outgoing("q")]))
            publisher.close()
            code = 0 if len(sink.calls) == 2 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    publisher.close()
