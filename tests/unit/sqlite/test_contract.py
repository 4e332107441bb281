"""The contracts of broker and store, on SQLite."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from celeriac.broker.base import BrokerOptions
from celeriac.broker.sqlite import SQLiteBroker
from celeriac.store.base import StoreOptions
from celeriac.store.sqlite import SQLiteStore
from celeriac.testing.contracts import BrokerContract, StoreContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class TestSQLiteBroker(BrokerContract):
    @pytest.fixture
    def make_broker(self, tmp_path: Path) -> Callable[..., SQLiteBroker]:
        def make_broker(**options: Any) -> SQLiteBroker:
            return SQLiteBroker(f"sqlite:///{tmp_path}/queue.db", BrokerOptions(**options))

        return make_broker

    @pytest.fixture
    def committing_store(self, tmp_path: Path) -> Iterator[SQLiteStore]:
        with SQLiteStore(f"sqlite:///{tmp_path}/queue.db", StoreOptions()) as store:
            yield store

    @pytest.fixture
    def inject_raw(
        self, make_broker: Callable[..., SQLiteBroker], tmp_path: Path
    ) -> Callable[[str, bytes], None]:
        def inject_raw(queue: str, raw: bytes) -> None:
            with make_broker() as broker:
                broker.ping()
            connection = sqlite3.connect(tmp_path / "queue.db")
            with connection:
                connection.execute(
                    "INSERT INTO message (id, retries, queue, priority, state, raw)"
                    " VALUES ('', 0, ?, 0, 0, ?)",
                    (queue, raw),
                )
            connection.close()

        return inject_raw


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[..., SQLiteStore]:
        def make_store(**options: Any) -> SQLiteStore:
            return SQLiteStore(f"sqlite:///{tmp_path}/results.db", StoreOptions(**options))

        return make_store
