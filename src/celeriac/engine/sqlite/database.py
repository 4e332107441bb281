"""One connection to the database file, shared by threads, renewed after a fork."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from celeriac.clock import SYSTEM
from celeriac.engine.sqlite import fork, schema
from celeriac.engine.sqlite.fault import Faults, explain, is_full
from celeriac.engine.sqlite.location import network_file_system
from celeriac.engine.sqlite.lock import file_lock
from celeriac.engine.sqlite.setting import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celeriac.engine.sqlite.location import Location
    from celeriac.engine.sqlite.setting import Settings
    from celeriac.error import OperationalError

T = TypeVar("T")


class Database:
    """The database file; opened, and made, on first use.

    Args:
        location: which file.
        settings: the options.
        faults: the exceptions to raise.
        timeout: seconds that one call may take at most.
    """

    def __init__(
        self, location: Location, settings: Settings, faults: Faults, timeout: float
    ) -> None:
        self.location = location
        #: How often a call has failed.
        self.failures = 0
        self._settings = settings
        self._faults = faults
        self._timeout = timeout
        self._lock = file_lock(location.lock)
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._checkpoint_at = settings.wal_limit * MIB
        fork.register(self)

    @property
    def is_open(self) -> bool:
        """Whether a call need not open the file first."""
        return self._connection is not None and self._pid == os.getpid()

    # -- working -------------------------------------------------------------------------------

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what ``work`` reads; never waits for a writer.

        Raises:
            OperationalError: one of `Faults`.
        """
        with self._using() as connection:
            return work(connection)

    def write(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        full: type[OperationalError] | None = None,
        doubt: type[OperationalError] | None = None,
        urgent: bool = False,
    ) -> T:
        """Run ``work`` in one transaction and return what it returns, once that is on disk.

        Args:
            work: called with the connection, perhaps twice; must have no other effects.
            full: what to raise when the disk is full.
            doubt: what to raise when the commit itself failed, and nobody knows whether it counts.
            urgent: spend the ballast when the disk is full.

        Raises:
            OperationalError: ``full``, ``doubt``, or one of `Faults`.
        """
        committing = False

        def transact(connection: sqlite3.Connection) -> T:
            nonlocal committing
            committing = False
            connection.execute("BEGIN IMMEDIATE")
            try:
                value = work(connection)
                committing = True
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return value

        deadline = SYSTEM.monotonic() + self._timeout
        try:
            with self._using() as connection, self._lock.hold(deadline - SYSTEM.monotonic()):
                if not urgent:
                    self._refill_ballast(connection)
                try:
                    value = transact(connection)
                except sqlite3.Error as error:
                    if not (urgent and is_full(error)):
                        raise
                    self._release_ballast()
                    # With the log folded into the file its space can be used again.
                    self._checkpoint(connection)
                    value = transact(connection)
                    self._checkpoint(connection)
                self._checkpoint_if_grown(connection)
                return value
        except self._faults.unavailable as error:
            cause = error.__cause__
            if full and isinstance(cause, Exception) and is_full(cause):
                raise full(str(error)) from cause
            if doubt and committing and _is_io_error(cause):
                raise doubt(f"{error}; the commit may or may not count") from cause
            raise

    def data_version(self) -> int:
        """Return a number that changes when another connection has written."""
        row = self.read(lambda connection: connection.execute("PRAGMA data_version").fetchone())
        return int(row[0])

    def keep_ballast(self) -> None:
        """Set the ballast aside, unless it is there already or there is no room for it."""
        path = self.location.ballast
        if self._settings.ballast and not os.path.exists(path) and not self._fill_ballast():
            # An empty file would be taken for a ballast that is spent.
            with suppress(FileNotFoundError):
                os.unlink(path)

    # -- opening and closing -------------------------------------------------------------------

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        if self._pid != os.getpid():
            self.abandon()
        with self._mutex:
            self._close()
            self._lock.close()

    def abandon(self) -> None:
        """Leave the parent's connection alone, in the child of a fork."""
        self._mutex = threading.Lock()
        self._pid = os.getpid()
        if self._connection is not None:
            fork.immortalize(self._connection)
            self._connection = None

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        if self._pid != os.getpid():
            self.abandon()
        mutex = self._mutex
        if not mutex.acquire(timeout=self._timeout):
            raise self._faults.unavailable(f"{self.location.path}: busy in another thread")
        try:
            yield self._open()
        except (sqlite3.Error, OSError) as error:
            self.failures += 1
            if self._connection is not None and self._connection.in_transaction:
                self._close()
            raise explain(error, self.location.path, self._faults) from error
        finally:
            mutex.release()

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            if self._identity == _identity(self.location.path):
                return self._connection
            # Somebody deleted or replaced the file: what we write to ours nobody will read.
            self._close()
        kind = network_file_system(self.location.directory)
        if kind is not None:
            raise self._faults.refused(
                f"{self.location.path} is on a network file system ({kind}), where SQLite's locks "
                "do not hold; put it on a local disk, or use a broker made for several machines"
            )
        connection = sqlite3.connect(
            self.location.path,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._prepare(connection)
            self._identity = _identity(self.location.path)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA synchronous = {self._settings.synchronous}")
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != schema.APPLICATION_ID:
            with self._lock.hold(self._timeout):
                self._create(connection)
        # Read last: where the first mark is, another process has set this one too.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != schema.VERSION:
            raise self._faults.refused(
                f"{self.location.path}: its tables are of version {version}, made by another "
                f"release of celeriac; this one reads version {schema.VERSION}"
            )

    def _create(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application == schema.APPLICATION_ID:
            return
        if connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise self._faults.refused(
                f"{self.location.path} is the database of another application; give celeriac a "
                "file of its own"
            )
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise self._faults.refused(
                f"{self.location.path}: SQLite cannot keep a write-ahead log on this disk; put the "
                "file on a local one"
            )
        connection.execute("BEGIN IMMEDIATE")
        for statement in schema.STATEMENTS:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {schema.VERSION}")
        connection.execute("COMMIT")

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # The last one to close folds the log into the file: no writer must be at work meanwhile.
        try:
            with self._lock.hold(self._timeout):
                connection.close()
        except OSError:
            connection.close()

    # -- log and ballast -----------------------------------------------------------------------

    def _checkpoint_if_grown(self, connection: sqlite3.Connection) -> None:
        try:
            size = os.stat(self.location.wal).st_size
        except FileNotFoundError:
            return
        limit = self._settings.wal_limit * MIB
        if size < limit:
            self._checkpoint_at = limit
        elif size >= self._checkpoint_at and not self._checkpoint(connection):
            # A reader is in the way; do not try again at every commit.
            self._checkpoint_at = size + limit / 4

    def _checkpoint(self, connection: sqlite3.Connection) -> bool:
        """Fold the log into the file and empty it; tell whether it is empty.  The lock is held."""
        # Not worth waiting for a reader: the log is complete, and the next writer tries again.
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:
            # The commit before it counts all the same, and must not be reported as failed.
            return False
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(self._timeout * 1000)}")
        return not busy

    def _refill_ballast(self, connection: sqlite3.Connection) -> None:
        """Accept nothing new before what was spent on completions is set aside again."""
        try:
            spent = os.stat(self.location.ballast).st_size == 0
        except FileNotFoundError:
            return
        if not (spent and self._settings.ballast) or self._fill_ballast():
            return
        # As good as room on the disk is room in the file, which does not shrink when emptied.
        (pages,) = connection.execute("PRAGMA freelist_count").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        if pages * size < self._settings.ballast * MIB:
            raise self._faults.unavailable(
                f"{self.location.path}: the disk is full; free some space"
            ) from OSError(errno.ENOSPC, "no room for the ballast")

    def _fill_ballast(self) -> bool:
        if not hasattr(os, "posix_fallocate"):
            return True
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            file = os.open(self.location.ballast, flags, 0o666)
        except OSError:
            return False
        try:
            os.posix_fallocate(file, 0, int(self._settings.ballast * MIB))
        except OSError:
            os.ftruncate(file, 0)
            return False
        finally:
            os.close(file)
        return True

    def _release_ballast(self) -> None:
        # There may be none, or it is another user's: then the log alone has to do.
        with suppress(OSError):
            os.truncate(self.location.ballast, 0)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino


def _is_io_error(error: BaseException | None) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_IOERR
