"""What must not be used, and not be closed either, in the child of a fork."""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import sqlite3


class Inherited(Protocol):
    """Something that holds connections, locks or sockets of the process that made it."""

    def abandon(self) -> None:
        """Let go, in the child, of what belongs to the parent."""


_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()


def register(thing: Inherited) -> None:
    """Have ``thing`` let go of its possessions in every child of a fork."""
    _inherited.add(thing)


def immortalize(connection: sqlite3.Connection) -> None:
    """Never close a connection of the parent process, not even at exit.

    Closing it would make SQLite believe that the last user leaves: it would try to fold the
    write-ahead log of a database in use into the file and delete it.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _abandon_all() -> None:
    for thing in list(_inherited):
        thing.abandon()


os.register_at_fork(after_in_child=_abandon_all)
