"""Count the functions of celeriac that a piece of work calls.

The count is the same on every machine and under every load, which no stopwatch can say.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import celeriac

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType

SOURCE = str(Path(celeriac.__file__).parent)
#: Frames of their own before Python 3.12, and none since.
INLINED = frozenset({"<listcomp>", "<dictcomp>", "<setcomp>"})


class Calls:
    """What was called, and how often."""

    def __init__(self) -> None:
        self.codes: Counter[CodeType] = Counter()

    @property
    def total(self) -> int:
        return self.codes.total()

    def files(self, runs: int = 1) -> set[str]:
        """Return the files that a run crosses, as opposed to one run among many."""
        counts: Counter[str] = Counter()
        for code, count in self.codes.items():
            counts[str(Path(code.co_filename).relative_to(SOURCE))] += count
        return {file for file, count in counts.items() if count >= runs / 2}

    def __sub__(self, other: Calls) -> Calls:
        rest = Calls()
        rest.codes = self.codes - other.codes
        return rest

    def table(self, runs: int = 1) -> str:
        """Return a line per function, the most called first, for the message of a failed test."""
        lines = [
            f"{count / runs:7.2f}  {Path(code.co_filename).relative_to(SOURCE)}:{code.co_qualname}"
            for code, count in self.codes.most_common()
            if count / runs >= 0.01
        ]
        return "\n".join(lines)

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(SOURCE) and code.co_name not in INLINED:
            self.codes[code] += 1


@contextmanager
def counted() -> Iterator[Calls]:
    """Count in this thread, and in the threads that are started meanwhile."""
    calls = Calls()
    before = sys.getprofile()
    threading.setprofile(calls._profile)
    sys.setprofile(calls._profile)
    try:
        yield calls
    finally:
        sys.setprofile(before)
        threading.setprofile(None)  # type: ignore[arg-type]


def count_of(work: Callable[[], object]) -> Calls:
    """Count what one call of ``work`` calls."""
    with counted() as calls:
        work()
    return calls
