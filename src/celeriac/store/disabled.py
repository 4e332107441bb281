"""The store of an application without results."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from celeriac.error import ImproperlyConfigured
from celeriac.store.base import AsyncWatcher, Store, StoreOptions, Watcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeriac.message import ResultRecord


class ResultsDisabled(ImproperlyConfigured, NotImplementedError):
    """A result was asked for, but the application keeps none."""


class DisabledStore(Store):
    """Keeps nothing: writing is ignored, reading is refused."""

    enabled = False

    def __init__(self, url: str, options: StoreOptions) -> None:
        """Take the URL and the settings."""
        self.display = "disabled"

    def put(self, records: Sequence[ResultRecord]) -> None:
        """Ignore results."""

    def get(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Refuse.

        Raises:
            ResultsDisabled: always.
        """
        _refuse()

    def forget(self, ids: Sequence[str]) -> None:
        """Do nothing: there is nothing to forget."""

    def watch(self, ids: Sequence[str]) -> Watcher:
        """Refuse, as `get` does."""
        _refuse()

    def awatch(self, ids: Sequence[str]) -> AsyncWatcher:
        """Refuse, as `get` does."""
        _refuse()

    async def aget(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Refuse, as `get` does."""
        _refuse()

    def sweep(self) -> int:
        """Return 0: nothing expires."""
        return 0

    def close(self) -> None:
        """Do nothing."""


def _refuse() -> NoReturn:
    raise ResultsDisabled(
        "No result backend is configured, so this application keeps no results. Set the setting"
        ' result_backend, for instance Celeriac("tasks", broker=..., backend="redis://localhost").'
    )
