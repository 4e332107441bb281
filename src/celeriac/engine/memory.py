"""What the memory broker and the memory store of one name share: a space in this process."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
from typing import TYPE_CHECKING

import msgspec

from celeriac.identifier import token
from celeriac.state import SUCCESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from celeriac.message import DeadLetter, Owner, ResultRecord


class Entry(msgspec.Struct):
    """A message in a space.

    Attributes:
        number: its place in line; kept when it is put back, so that it comes back to the front.
        queue: where it waits.
        priority: 0 is served first.
        raw: the envelope.
        due: Unix time before which it is not delivered, or None.
        deaths: how often the process that ran it died.
        losses: how often its lease expired.
        delivered: somebody leased it before.
        receipt: the token of its lease; empty while it waits.
        owner: who holds the lease.
        deadline: when the lease ends, on the monotonic clock.
        started: it must not begin again.
    """

    number: int
    queue: str
    priority: int
    raw: bytes
    due: float | None = None
    deaths: int = 0
    losses: int = 0
    delivered: bool = False
    receipt: str = ""
    owner: str = ""
    deadline: float = 0.0
    started: bool = False


class Watch:
    """The ids somebody watches, and those of them that have changed."""

    def __init__(self, ids: Iterable[str], alert: Callable[[], None]) -> None:
        self.ids = frozenset(ids)
        self.changed: set[str] = set()
        self.alert = alert


class Space:
    """Queues, leases, dead letters and results under one lock.

    The attributes are read and changed only by who holds `condition`, on which everybody waits.
    """

    def __init__(self) -> None:
        self.token = token(4)
        self._numbers = itertools.count(1)
        self._leases = itertools.count(1)
        self._clear()

    def _clear(self) -> None:
        self.condition = threading.Condition()
        #: queue -> heap of (priority, number, entry)
        self.ready: dict[str, list[tuple[int, int, Entry]]] = {}
        #: heap of (due, number, entry)
        self.delayed: list[tuple[float, int, Entry]] = []
        #: receipt -> entry
        self.leased: dict[str, Entry] = {}
        #: owner id -> owner, when its registration ends on the monotonic clock
        self.owners: dict[str, tuple[Owner, float]] = {}
        #: id -> dead letter, priority; in the order of death
        self.dead: dict[str, tuple[DeadLetter, int]] = {}
        #: (id, retries) -> when it may be forgotten, in the order of sending
        self.sent: dict[tuple[str, int], float] = {}
        #: id -> record, Unix time of its end or None
        self.results: dict[str, tuple[ResultRecord, float | None]] = {}
        self.watches: dict[str, list[Watch]] = {}

    def number(self) -> int:
        """Return the next place in line."""
        return next(self._numbers)

    def receipt(self) -> str:
        """Return a new token for a lease."""
        return f"{self.token}.{next(self._leases)}"

    # -- messages ------------------------------------------------------------------------------

    def push(self, entry: Entry) -> None:
        """Let a message wait, for its turn or for its due time."""
        if entry.due is None:
            line = self.ready.setdefault(entry.queue, [])
            heapq.heappush(line, (entry.priority, entry.number, entry))
        else:
            heapq.heappush(self.delayed, (entry.due, entry.number, entry))

    def promote(self, now: float) -> None:
        """Let what is due wait for its turn."""
        while self.delayed and self.delayed[0][0] <= now:
            entry = heapq.heappop(self.delayed)[2]
            entry.due = None
            self.push(entry)

    def pop(self, queues: Sequence[str]) -> Entry | None:
        """Take the message whose turn it is: best priority first, then first in first out."""
        lines = [line for queue in queues if (line := self.ready.get(queue))]
        if not lines:
            return None
        return heapq.heappop(min(lines, key=lambda line: line[0][:2]))[2]

    # -- results -------------------------------------------------------------------------------

    def store(self, records: Iterable[ResultRecord], now: float) -> None:
        """Write results, none of them over a SUCCESS, and tell who watches."""
        for record in records:
            stored = self.result(record.id, now)
            if stored is not None and stored.state == SUCCESS:
                continue
            self.results[record.id] = (record, None if record.ttl is None else now + record.ttl)
            for watch in self.watches.get(record.id, ()):
                watch.changed.add(record.id)
                watch.alert()

    def result(self, id: str, now: float) -> ResultRecord | None:  # noqa: A002
        """Return a result that has not expired."""
        record, end = self.results.get(id, (None, None))
        return None if end is not None and end <= now else record

    def watch(self, watch: Watch) -> None:
        """Tell ``watch`` about changes from now on."""
        for key in watch.ids:
            self.watches.setdefault(key, []).append(watch)

    def unwatch(self, watch: Watch) -> None:
        """Tell ``watch`` nothing more; harmless when repeated."""
        for key in watch.ids:
            others = [one for one in self.watches.get(key, ()) if one is not watch]
            if others:
                self.watches[key] = others
            else:
                self.watches.pop(key, None)


_spaces: dict[str, Space] = {}
_lock = threading.Lock()


def space(url: str) -> Space:
    """Return the space that ``memory://name`` names; ``memory://`` is the default one."""
    name = url.partition("://")[2].strip("/")
    with _lock:
        return _spaces.setdefault(name, Space())


def _begin_anew() -> None:
    """Empty the spaces of a forked child: what waits belongs to the parent, and only once.

    The locks are replaced too, since a thread that held one does not exist in the child.
    """
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    for one in _spaces.values():
        one._clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
