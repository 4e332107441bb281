"""The store port: what celeriac asks of a result store (Celery's "result backend").

A store keeps encoded result metas by task id and tells waiting readers about changes.  What a
meta looks like is the business of `celeriac.protocol.result_meta`.  Errors, threads and forks: as
in `celeriac.broker.base`, with `StoreUnavailable` and `StoreRefused`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec

from celeriac.clock import SYSTEM, Clock

if TYPE_CHECKING:
    from types import TracebackType

    from celeriac.message import ResultRecord


class StoreOptions(msgspec.Struct, frozen=True):
    """The settings a store is opened with.

    Attributes:
        transport_options: the user's ``result_backend_transport_options``.
        timeout: seconds that one call may take at most.
        clock: the source of time; only the memory store follows a manual one.
    """

    transport_options: Mapping[str, Any] = {}
    timeout: float = 10.0
    clock: Clock = SYSTEM


class Watcher(ABC):
    """Tells about changes of some results from the moment it was made; used by one thread."""

    @abstractmethod
    def wait(self, timeout: float | None) -> frozenset[str]:
        """Wait until results may have changed; return their ids, empty after ``timeout`` seconds.

        A change between two calls is reported by the second.  Spurious reports are allowed,
        missed ones are not: after a reconnect every watched id is reported.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop watching."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncWatcher(ABC):
    """What `Watcher` is, on an event loop: watches from ``__aenter__`` on."""

    @abstractmethod
    async def wait(self, timeout: float | None) -> frozenset[str]:
        """Wait as `Watcher.wait` does, without blocking the event loop."""

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Store(ABC):
    """Keeps results."""

    #: The URL without its password, for banners and errors.
    display: str
    #: False for the store of an application without results: `get` is refused with an explanation.
    enabled: bool = True

    @abstractmethod
    def __init__(self, url: str, options: StoreOptions) -> None:
        """Take the URL and the settings; connect to nothing.  Errors as for a broker."""

    @abstractmethod
    def put(self, records: Sequence[ResultRecord]) -> None:
        """Write results and wake those who watch them.  A stored SUCCESS is never replaced."""

    @abstractmethod
    def get(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the payloads of those ids that have one and have not expired."""

    @abstractmethod
    def forget(self, ids: Sequence[str]) -> None:
        """Delete results; unknown ids are no error."""

    @abstractmethod
    def watch(self, ids: Sequence[str]) -> Watcher:
        """Begin to watch results: make the watcher first, `get` then, `Watcher.wait` last."""

    @abstractmethod
    def awatch(self, ids: Sequence[str]) -> AsyncWatcher:
        """Do what `watch` does for a caller on an event loop, without blocking it."""

    @abstractmethod
    async def aget(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Do what `get` does without blocking the running event loop."""

    @abstractmethod
    def sweep(self) -> int:
        """Delete expired results where the store does not do so by itself; return how many."""

    @abstractmethod
    def close(self) -> None:
        """Give up all connections; they are made anew when needed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
