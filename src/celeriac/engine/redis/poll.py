"""Wait for sockets: by ``poll``, and by ``select`` on Windows, which has no ``poll``."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Poll:
    """Waits until one of some descriptors can be read, or one can be written."""

    def __init__(self, *descriptors: int, write: bool = False) -> None:
        self._descriptors, self._write = descriptors, write
        self._poll = None
        if hasattr(select, "poll"):
            self._poll = select.poll()
            for descriptor in descriptors:
                self._poll.register(descriptor, select.POLLOUT if write else select.POLLIN)

    def wait(self, timeout: float) -> set[int]:
        """Return those that are ready, or have ended, after at most ``timeout`` seconds."""
        timeout = max(timeout, 0.0)
        if self._poll is not None:
            return {descriptor for descriptor, _ in self._poll.poll(timeout * 1000)}
        ends: Iterable[int] = self._descriptors
        reading, writing = ((), ends) if self._write else (ends, ())
        ready, sent, broken = select.select(reading, writing, ends, timeout)
        return {*ready, *sent, *broken}
