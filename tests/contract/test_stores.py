"""The store contract, bound to every adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from celeriac.identifier import token
from celeriac.store import open_store
from celeriac.store.base import StoreOptions
from celeriac.testing.contracts import StoreContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.store.base import Store


class OwnStoreContract(StoreContract):
    """What our adapters have in common: a URL."""

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def transport_options(self) -> dict[str, Any]:
        return {}

    @pytest.fixture
    def make_store(self, url: str, transport_options: dict[str, Any]) -> Callable[..., Store]:
        def make(**options: Any) -> Store:
            options.setdefault("transport_options", transport_options)
            return open_store(url, StoreOptions(**options))

        return make


class TestMemoryStore(OwnStoreContract):
    @pytest.fixture
    def url(self) -> str:
        return f"memory://{token()}"


class TestSQLiteStore(OwnStoreContract):
    @pytest.fixture
    def url(self, sqlite_url: str) -> str:
        return sqlite_url


class TestRedisStore(OwnStoreContract):
    @pytest.fixture
    def url(self, redis_url: str) -> str:
        return redis_url

    @pytest.fixture
    def transport_options(self, redis_options: dict[str, Any]) -> dict[str, Any]:
        return redis_options
