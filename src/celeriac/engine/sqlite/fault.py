"""What went wrong, and the cure: from errors of SQLite and the system to ours."""

from __future__ import annotations

import errno
import os
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from celeriac.error import OperationalError

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class Faults(NamedTuple):
    """The exceptions of the adapter that uses the database.

    Attributes:
        unavailable: not now; trying again may work.
        refused: trying again won't help.
    """

    unavailable: type[OperationalError]
    refused: type[OperationalError]


def is_full(error: Exception) -> bool:
    """Tell whether ``error`` says that the disk is full."""
    if isinstance(error, OSError):
        return error.errno in _NO_SPACE
    return _code(error) == sqlite3.SQLITE_FULL


def explain(error: Exception, path: str, faults: Faults) -> OperationalError:
    """Return the exception to raise for an ``sqlite3.Error`` or an ``OSError``."""
    if isinstance(error, TimeoutError):
        return faults.unavailable(f"{path}: other writers held the file for too long")
    if is_full(error):
        return faults.unavailable(f"{path}: the disk is full; free some space")
    if isinstance(error, OSError):
        if error.errno in _READ_ONLY:
            return faults.refused(_read_only(path))
        if error.errno == errno.ENOENT:
            return faults.refused(_cannot_open(path))
        return faults.unavailable(f"{path}: {error}")
    return _explain_sqlite(error, path, faults)


def _explain_sqlite(error: Exception, path: str, faults: Faults) -> OperationalError:
    match _code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            return faults.unavailable(f"{path}: other writers held the file for too long")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return faults.refused(_read_only(path))
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return faults.refused(
                f"{path}: not a SQLite database, or damaged ({error}); it was left as it is.  Stop "
                f'all processes, save what can be read with: sqlite3 "{path}" .recover | '
                "sqlite3 recovered.db, and put that file in its place"
            )
        case sqlite3.SQLITE_CANTOPEN:
            return faults.refused(_cannot_open(path))
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_INTERRUPT | sqlite3.SQLITE_NOMEM:
            return faults.unavailable(f"{path}: {error}")
        case _:
            return faults.refused(f"{path}: {error}")


def _read_only(path: str) -> str:
    return (
        f"{path}: read-only for this user; file and directory must be writable, also to read: "
        "change their owner or their permissions"
    )


def _cannot_open(path: str) -> str:
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        return f"{path}: its directory does not exist; create it first"
    if not os.access(directory, os.W_OK | os.X_OK):
        return _read_only(path)
    return f"{path}: cannot be opened; look at the permissions of it and of its -wal and -shm"


def _code(error: Exception) -> int:
    """Return the primary result code of SQLite; -1 when there is none."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else int(code) & 0xFF
