"""One writer at a time, across threads and processes.

SQLite locks writers out by itself, but a checkpoint that overlaps with a commit can corrupt the
file in versions before 3.51.3, and its busy handler starves the unlucky.  So every writer, and
whoever checkpoints, first takes this lock.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

from celeriac.clock import SYSTEM
from celeriac.engine.sqlite import fork

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds between two looks at a lock that another process holds.
_FIRST_NAP = 0.0001
_LAST_NAP = 0.0005


class FileLock:
    """An exclusive ``flock``, and a lock between the threads that share it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._threads = threading.Lock()
        self._file: int | None = None
        fork.register(self)

    @contextmanager
    def hold(self, timeout: float) -> Iterator[None]:
        """Hold the lock.

        Raises:
            TimeoutError: another thread or process held it for ``timeout`` seconds.
            OSError: the lock file cannot be opened.
        """
        deadline = SYSTEM.monotonic() + timeout
        threads = self._threads
        if not threads.acquire(timeout=max(0.0, timeout)):
            raise TimeoutError(self._path)
        try:
            file = self._acquire(deadline)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
        finally:
            threads.release()

    def abandon(self) -> None:
        """Give the parent's lock back to the parent.

        An open copy of the file would keep the lock held after the parent's death.
        """
        self._threads = threading.Lock()
        self._close()

    def close(self) -> None:
        """Close the file; the next `hold` opens it again."""
        with self._threads:
            self._close()

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _acquire(self, deadline: float) -> int:
        nap = _FIRST_NAP
        while True:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if SYSTEM.monotonic() >= deadline:
                    raise TimeoutError(self._path) from None
                # flock() cannot wait with a limit, so look again soon.
                time.sleep(nap)
                nap = min(2 * nap, _LAST_NAP)
                continue
            if self._is_current(self._file):
                return self._file
            self._close()

    def _is_current(self, file: int) -> bool:
        """Tell whether others would lock the same file: someone may have deleted it."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(self._path))
        except FileNotFoundError:
            return False


_locks: weakref.WeakValueDictionary[str, FileLock] = weakref.WeakValueDictionary()


def file_lock(path: str) -> FileLock:
    """Return the lock of this process for ``path``: one for all threads, so that they can wait."""
    lock = _locks.get(path)
    if lock is None:
        lock = _locks.setdefault(path, FileLock(path))
    return lock
