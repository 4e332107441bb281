"""Waiting in tests: for something to become true, never for time to pass."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def eventually(probe: Callable[[], T], timeout: float = 20.0, interval: float = 0.01) -> T:
    """Call ``probe`` until it returns something true, and return that.

    Args:
        probe: what is tried again and again.
        timeout: seconds after which the test fails; generous, since it only costs time on failure.
        interval: seconds between two tries.

    Raises:
        AssertionError: ``probe`` never returned anything true; the last value is in the message.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() >= deadline:
            name = getattr(probe, "__qualname__", repr(probe))
            raise AssertionError(f"{name} was still {value!r} after {timeout} s")
        time.sleep(interval)
