"""How the command line says what went wrong: one shape everywhere."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

USAGE = 2  #: the command line is wrong
UNAVAILABLE = 69  #: a server cannot be reached

#: At most so many lines between what went wrong and the hint.
CONTEXT_LINES = 3

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_CLICK = os.path.join("site-packages", "click", "")
_LIBRARY = os.path.dirname(os.__file__) + os.sep


class Problem(Exception):
    """Something that ends a command with a message for a human, not with a traceback.

    Args:
        message: one line.
        context: up to three lines of what is known about it.
        hint: the cure.
        code: the exit code.
        trace: the traceback of the user's code, when the fault is there.
    """

    def __init__(
        self,
        message: str,
        *context: str,
        hint: str | None = None,
        code: int = 1,
        trace: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.context: Sequence[str] = context[:CONTEXT_LINES]
        self.hint = hint
        self.code = code
        self.trace = trace


def show(problem: Problem, *, color: bool) -> None:
    """Write ``problem`` to standard error."""
    red, dim, reset = ("\x1b[1;31m", "\x1b[36m", "\x1b[0m") if color else ("", "", "")
    lines = [f"{red}error:{reset} {problem.message}"]
    lines += [f"  {line}" for line in problem.context]
    if problem.trace:
        lines += [f"  {line}" for line in problem.trace.rstrip("\n").split("\n")]
    if problem.hint:
        lines.append(f"  {dim}hint:{reset} {problem.hint}")
    sys.stderr.write("\n".join(lines) + "\n")


def user_traceback(error: BaseException, *, everything: bool) -> str:
    """Return the traceback of ``error``; our own frames are in it only with ``everything``."""
    report = traceback.TracebackException.from_exception(error)
    if not everything:
        for part in _chain(report):
            part.stack = traceback.StackSummary.from_list(_trimmed(part.stack))
    return "".join(report.format())


def in_user_code(error: BaseException) -> bool:
    """Tell whether the traceback of ``error`` leads through files of the user's."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(_is_users(frame.filename) for frame in frames)


def _trimmed(frames: Sequence[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    """Leave out our frames, and those of the standard library on the way to the user's."""
    shown: list[traceback.FrameSummary] = []
    for frame in frames:
        if _is_users(frame.filename) or (shown and not _is_ours(frame.filename)):
            shown.append(frame)
    return shown


def _is_ours(filename: str) -> bool:
    return filename.startswith((_PACKAGE, "<frozen ")) or _CLICK in filename


def _is_users(filename: str) -> bool:
    if _is_ours(filename):
        return False
    # Installed packages are below the standard library where there is no virtual environment.
    return not filename.startswith(_LIBRARY) or "site-packages" in filename


def _chain(report: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    part: traceback.TracebackException | None = report
    while part is not None:
        yield part
        part = part.__cause__ or part.__context__
