"""The broker contract, bound to every adapter."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
import redis

from celeriac.broker import open_broker
from celeriac.broker.base import BrokerOptions
from celeriac.engine import memory
from celeriac.identifier import token
from celeriac.store import open_store
from celeriac.store.base import Store, StoreOptions
from celeriac.testing.contracts import BrokerContract
from celeriac.testing.contracts.process import outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celeriac.broker.base import Broker


class OwnBrokerContract(BrokerContract):
    """What our adapters have in common: a URL, and a store of the same engine."""

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def transport_options(self) -> dict[str, Any]:
        return {}

    @pytest.fixture
    def make_broker(self, url: str, transport_options: dict[str, Any]) -> Callable[..., Broker]:
        def make(**options: Any) -> Broker:
            options.setdefault("transport_options", transport_options)
            return open_broker(url, BrokerOptions(**options))

        return make

    @pytest.fixture
    def committing_store(self, url: str, transport_options: dict[str, Any]) -> Iterator[Store]:
        with open_store(url, StoreOptions(transport_options=transport_options)) as store:
            yield store

    def test_commits_only_with_its_own_store(
        self, process: Any, committing_store: Store, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        foreign = f"sqlite:///{tmp_path_factory.mktemp('foreign')}/x.db"
        assert process.broker.commits(committing_store)
        for url in (foreign, f"memory://{token()}", "disabled://"):
            with open_store(url, StoreOptions()) as store:
                assert not process.broker.commits(store)


class TestMemoryBroker(OwnBrokerContract):
    @pytest.fixture
    def url(self) -> str:
        return f"memory://{token()}"

    @pytest.fixture
    def inject_raw(self, url: str) -> Callable[[str, bytes], None]:
        space = memory.space(url)

        def inject(queue: str, raw: bytes) -> None:
            with space.condition:
                space.push(memory.Entry(space.number(), queue, 0, raw))

        return inject


class TestSQLiteBroker(OwnBrokerContract):
    @pytest.fixture
    def url(self, sqlite_url: str) -> str:
        return sqlite_url

    @pytest.fixture
    def inject_raw(self, url: str, connect: Callable[..., Broker]) -> Callable[[str, bytes], None]:
        broker = connect()

        def inject(queue: str, raw: bytes) -> None:
            broker.publish([outgoing(queue)])
            with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
                (newest,) = database.execute("SELECT max(seq) FROM message").fetchone()
                database.execute("UPDATE message SET raw = ? WHERE seq = ?", [raw, newest])
                database.commit()

        return inject


class TestRedisBroker(OwnBrokerContract):
    @pytest.fixture
    def url(self, redis_url: str) -> str:
        return redis_url

    @pytest.fixture
    def transport_options(self, redis_options: dict[str, Any]) -> dict[str, Any]:
        return redis_options

    @pytest.fixture
    def inject_raw(
        self, redis_url: str, redis_options: dict[str, Any]
    ) -> Iterator[Callable[[str, bytes], None]]:
        with redis.Redis.from_url(redis_url) as client:
            prefix = redis_options["global_keyprefix"]
            yield lambda queue, raw: client.lpush(f"{prefix}{queue}", raw)
