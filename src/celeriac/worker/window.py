"""How far ahead a child leases, judged by the running times it has seen."""

from __future__ import annotations

#: Seconds of work that a child may have at hand.
HORIZON = 0.075


class Window:
    """The number of messages a child may hold at once, running ones included.

    No-op tasks move at batch speed, and long ones are leased only when a slot is free, so that
    they are spread evenly over the children.

    Args:
        slots: how many jobs run at once.
        limit: how many messages may wait behind them at most.
    """

    def __init__(self, slots: int, limit: int) -> None:
        self._slots = slots
        self._limit = limit
        # Nothing is known yet: lease nothing ahead until short runs have been seen.
        self._mean = HORIZON

    def saw(self, runs: int, seconds: float) -> None:
        """Learn from some runs: at once from longer ones than before, slowly from shorter.

        Args:
            runs: how many have ended.
            seconds: how long they took, all of them together.
        """
        mean = seconds / runs
        if mean > self._mean:
            self._mean = (self._mean + mean) / 2
        else:
            self._mean += (mean - self._mean) * (1 - 0.9**runs)

    def stalled(self) -> None:
        """Learn that a job runs longer than the horizon."""
        self._mean = max(self._mean, HORIZON)

    @property
    def size(self) -> int:
        """The number of messages to hold at once."""
        if self._mean >= HORIZON:
            return self._slots
        ahead = int(HORIZON / self._mean) * self._slots if self._mean > 0 else self._limit
        return self._slots + min(ahead, self._limit)
