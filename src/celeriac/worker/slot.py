"""The slot table: what a child holds and runs, in memory it shares with its supervisor.

The child writes it, the supervisor reads it: to renew the leases of a child that is busy, stopped
or blocked, and to know for certain, once a child is dead, which bodies had been entered.  Each
entry is written before the thing it announces happens, so the table never says too little.
"""

from __future__ import annotations

import mmap
import struct
from collections import deque

import msgspec

#: The states of an entry.
FREE, HELD, RUNNING, ENDED = range(4)

_MARK = struct.Struct("=BBHI")  # state, 1 for early acknowledgement, length of the receipt, padding


class Held(msgspec.Struct, frozen=True):
    """One lease of a child: its receipt, whether its body was entered, and its acknowledgement."""

    receipt: str
    state: int
    early: bool


class SlotTable:
    """A fixed number of entries in anonymous shared memory; make it before the fork.

    Args:
        capacity: how many leases a child can hold at once.
        receipt_size: the longest receipt, bytes of ASCII.
    """

    def __init__(self, capacity: int, receipt_size: int) -> None:
        self.capacity = capacity
        self._receipt_size = receipt_size
        self._width = _MARK.size + receipt_size
        self._memory = mmap.mmap(-1, capacity * self._width)
        self._free = deque(range(capacity))
        self._offsets: dict[str, int] = {}

    # -- the child ------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many more leases fit."""
        return len(self._free)

    def hold(self, receipt: str, early: bool = False) -> None:
        """Enter a lease."""
        token = receipt.encode("ascii")
        if len(token) > self._receipt_size:
            raise ValueError(f"receipt of {len(token)} bytes; the broker said {self._receipt_size}")
        offset = self._offsets[receipt] = self._free.popleft() * self._width
        start = offset + _MARK.size
        # The state last: an entry that is not FREE always has a whole receipt.
        self._memory[start : start + len(token)] = token
        _MARK.pack_into(self._memory, offset, FREE, early, len(token), 0)
        self._memory[offset] = HELD

    def early(self, receipt: str) -> None:
        """Say that a lease is acknowledged early."""
        self._memory[self._offsets[receipt] + 1] = True

    def mark(self, receipt: str, state: int) -> None:
        """Say that the body of a lease is about to be entered (RUNNING) or has ended (ENDED)."""
        self._memory[self._offsets[receipt]] = state

    def free(self, receipt: str) -> None:
        """Strike out a lease that was settled or given back."""
        offset = self._offsets.pop(receipt)
        self._memory[offset] = FREE
        self._free.append(offset // self._width)

    # -- the supervisor -------------------------------------------------------------------

    def held(self) -> list[Held]:
        """Return all leases entered."""
        found = []
        for offset in range(0, self.capacity * self._width, self._width):
            state = self._memory[offset]
            if state == FREE:
                continue
            _, early, length, _ = _MARK.unpack_from(self._memory, offset)
            start = offset + _MARK.size
            receipt = self._memory[start : start + length].decode("ascii", "replace")
            found.append(Held(receipt, state, bool(early)))
        return found

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
