"""The only module that reads the time, so that tests can hold it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time and monotonic time."""

    def time(self) -> float:
        """Return Unix time, seconds."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps; only differences mean anything."""


class SystemClock:
    """The clock of the operating system."""

    def time(self) -> float:
        """Return Unix time, seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return the monotonic clock, seconds."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told, for tests."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now

    def time(self) -> float:
        """Return the time set, seconds."""
        return self._now

    def monotonic(self) -> float:
        """Return the time set, seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move forward by ``seconds``."""
        self._now += seconds


SYSTEM = SystemClock()


def utcnow() -> datetime:
    """Return the present as an aware UTC ``datetime``."""
    return datetime.now(UTC)
