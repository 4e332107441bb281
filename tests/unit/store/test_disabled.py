"""The store of an application without results."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from celeriac.error import ImproperlyConfigured
from celeriac.message import ResultRecord
from celeriac.store import open_store
from celeriac.store.base import Store, StoreOptions

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def store() -> Store:
    return open_store("disabled://", StoreOptions())


def test_writing_is_ignored(store: Store) -> None:
    assert not store.enabled
    store.put([ResultRecord("a", "SUCCESS", b"{}")])
    store.forget(["a"])
    assert store.sweep() == 0
    store.close()


@pytest.mark.parametrize(
    "read",
    [
        lambda store: store.get(["a"]),
        lambda store: store.watch(["a"]),
        lambda store: store.awatch(["a"]),
        lambda store: asyncio.run(store.aget(["a"])),
    ],
    ids=["get", "watch", "awatch", "aget"],
)
def test_reading_is_refused_with_the_cure(store: Store, read: Callable[[Store], object]) -> None:
    with pytest.raises(NotImplementedError, match="No result backend is configured") as caught:
        read(store)
    assert "result_backend" in str(caught.value)
    assert isinstance(caught.value, ImproperlyConfigured)
