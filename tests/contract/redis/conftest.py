"""What the tests against a real Redis share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis

from celeriac.broker import open_broker
from celeriac.broker.base import BrokerOptions
from celeriac.testing.contracts.process import Process
from celeriac.testing.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celeriac.broker.base import Broker
    from celeriac.testing.server import RedisServer


@pytest.fixture
def connect(redis_url: str, redis_options: dict[str, Any]) -> Iterator[Callable[..., Broker]]:
    """Open brokers that are closed after the test."""
    opened: list[Broker] = []

    def connect(url: str = redis_url, **fields: Any) -> Broker:
        transport = redis_options | fields.pop("transport_options", {})
        opened.append(open_broker(url, BrokerOptions(transport_options=transport, **fields)))
        return opened[-1]

    yield connect
    for broker in opened:
        broker.close()


@pytest.fixture
def broker(connect: Callable[..., Broker]) -> Broker:
    return connect()


@pytest.fixture
def start(connect: Callable[..., Broker]) -> Iterator[Callable[..., Process]]:
    """Start processes, so to say; their consumers are closed after the test."""
    started: list[Process] = []

    def start(*queues: str, broker: Broker | None = None, **fields: Any) -> Process:
        started.append(Process(broker or connect(**fields), *(queues or ("q",))))
        return started[-1]

    yield start
    for process in started:
        process.consumer.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def key(redis_options: dict[str, Any]) -> Callable[[str], str]:
    """Name a key of this test."""
    return lambda name: redis_options["global_keyprefix"] + name


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def far_url(proxy: FaultProxy, redis_url: str) -> str:
    """The database of this test, seen through the proxy."""
    return proxy.url(redis_url)
