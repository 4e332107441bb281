"""Waking processes that wait, without polling.

Whoever waits binds a datagram socket in a directory beside the database and, while it waits, has
a symbolic link to it there for each topic it waits for: a queue or a result.  Whoever has
committed something reads the directory and sends a byte to those whom it concerns.  A bell that
is not heard loses nothing: every waiter looks into the database four times a second anyway.
"""

from __future__ import annotations

import os
import random
import select
import socket
import weakref
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

from celeriac.engine.sqlite import fork
from celeriac.identifier import token

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Seconds between two looks of a waiter into the database.
LOOK = 0.25

#: A waiter for more topics than this waits for all of them.
MAX_TOPICS = 64

_ANY_RESULT = "r*"
_ANY_QUEUE = "q*"

#: Bytes that the path of a socket may have (108 on Linux, 104 on BSD, less the final zero).
_MAX_PATH = 100


def queue_topic(queue: str) -> str:
    """Return the topic of a queue; two queues may share one, and then wake each other's waiters."""
    return f"q{zlib.crc32(queue.encode()):08x}"


def result_topic(id: str) -> str:  # noqa: A002
    """Return the topic of a result."""
    return f"r{zlib.crc32(id.encode()):08x}"


class _Directory:
    """The directory of the sockets; short names for its entries."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._handle: int | None = None
        self._finalizer: weakref.finalize[[int], _Directory] | None = None

    def make(self) -> None:
        """Make the directory, as accessible as the one it is in.

        Raises:
            OSError: there is no right to.
        """
        with suppress(FileExistsError):
            os.mkdir(self.path, 0o700)
            # Who may write to the database's directory can use the database, so may ring too.
            parent = os.stat(os.path.dirname(self.path)).st_mode
            shared = (0o070 if parent & 0o020 else 0) | (0o007 if parent & 0o002 else 0)
            os.chmod(self.path, 0o700 | shared)

    def address(self, name: str) -> str:
        """Return a path to an entry that is short enough for a socket."""
        path = f"{self.path}/{name}"
        if len(os.fsencode(path)) <= _MAX_PATH:
            return path
        if self._handle is None:
            self._handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._finalizer = weakref.finalize(self, os.close, self._handle)
        return f"/proc/self/fd/{self._handle}/{name}"

    def close(self) -> None:
        """Close what was opened for short names."""
        if self._finalizer is not None:
            self._finalizer()
        self._handle = self._finalizer = None

    def remove(self, name: str) -> None:
        """Remove an entry; it may be gone already, or be another user's."""
        with suppress(OSError):
            os.unlink(f"{self.path}/{name}")


class Bell:
    """Wakes waiters; used by any thread."""

    def __init__(self, directory: str) -> None:
        self._directory = _Directory(directory)
        self._sender: socket.socket | None = None

    def ring(self, queues: Mapping[str, int] | None = None, results: Iterable[str] = ()) -> None:
        """Wake who waits for these; call it after the commit.

        Args:
            queues: how many messages came into each queue; as many waiters are woken.
            results: ids of the results written; all who watch one of them are woken.
        """
        waiting = self._waiting()
        if not waiting:
            return
        rung: set[str] = set()
        for queue, count in (queues or {}).items():
            names = waiting.get(queue_topic(queue), []) + waiting.get(_ANY_QUEUE, [])
            # Everyone has a turn, so that one who is stuck does not get all the calls.
            random.shuffle(names)
            self._ring_some(names, count, rung)
        topics = {result_topic(id) for id in results}  # noqa: A001
        if topics:
            topics.add(_ANY_RESULT)
            everyone = [name for topic in topics for name in waiting.get(topic, ())]
            self._ring_some(everyone, len(everyone), rung)

    def close(self) -> None:
        """Close the socket; the next call opens it again."""
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close()
        self._directory.close()

    def _waiting(self) -> dict[str, list[str]]:
        """Return the links by topic."""
        try:
            names = os.listdir(self._directory.path)
        except OSError:  # nobody has waited yet, or it is another user's
            return {}
        waiting: dict[str, list[str]] = {}
        for name in names:
            topic, _, _ = name.partition("~")
            if topic != "s":
                waiting.setdefault(topic, []).append(name)
        return waiting

    def _ring_some(self, names: list[str], count: int, rung: set[str]) -> None:
        for name in names:
            if count <= 0:
                return
            waiter = name.partition("~")[2]
            if waiter in rung or self._send(name):
                rung.add(waiter)
                count -= 1

    def _send(self, name: str) -> bool:
        """Wake one waiter; tell whether there was one."""
        if self._sender is None:
            self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._sender.setblocking(False)
        try:
            self._sender.sendto(b"!", self._directory.address(name))
        except BlockingIOError:
            return True  # it has more calls waiting than it can hold
        except ConnectionRefusedError:
            self._forget(name)  # its process died
        except FileNotFoundError:
            if not os.path.exists(f"{self._directory.path}/s~{name.partition('~')[2]}"):
                self._directory.remove(name)
        except OSError:
            # Another user's, or no socket: it looks into the database by itself.
            return False
        else:
            return True
        return False

    def _forget(self, name: str) -> None:
        self._directory.remove(name)
        self._directory.remove(f"s~{name.partition('~')[2]}")


class Waiter:
    """Waits for a bell, or for a call of `interrupt`.

    Args:
        directory: where bells look for it.
        topics: what it waits for.
    """

    def __init__(self, directory: str, topics: Iterable[str]) -> None:
        self._directory = _Directory(directory)
        self._id = f"{os.getpid()}-{token()}"
        wanted = sorted(set(topics))
        if len(wanted) > MAX_TOPICS:
            wanted = [_ANY_QUEUE if wanted[0].startswith("q") else _ANY_RESULT]
        self._links = [f"{topic}~{self._id}" for topic in wanted]
        self._listening = False
        self._inner, self._outer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._outer.setblocking(False)
        self._socket: socket.socket | None = self._bind()
        self._poll = select.poll()
        for one in self.sockets():
            one.setblocking(False)
            self._poll.register(one, select.POLLIN)
        fork.register(self)

    def sockets(self) -> list[socket.socket]:
        """Return the sockets that become readable when it is woken."""
        return [self._inner] if self._socket is None else [self._inner, self._socket]

    def listen(self) -> None:
        """Be among those who are woken."""
        if self._listening or self._socket is None:
            return
        self._listening = True
        # Without a link it is not woken, and still looks into the database by itself.
        with suppress(OSError):
            for link in self._links:
                os.symlink(f"s~{self._id}", f"{self._directory.path}/{link}")

    def rest(self) -> None:
        """Be no more among those who are woken."""
        if self._listening:
            self._listening = False
            for link in self._links:
                self._directory.remove(link)

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; tell whether it was woken."""
        if not self._poll.poll(max(0.0, timeout) * 1000):
            return False
        self.drain()
        return True

    def drain(self) -> None:
        """Forget all calls so far."""
        for one in self.sockets():
            with suppress(BlockingIOError):
                while True:
                    one.recv(16)

    def interrupt(self) -> None:
        """Wake it; from any thread."""
        # Full of calls, or closed meanwhile: it is awake anyway.
        with suppress(OSError):
            self._outer.send(b"!")

    def close(self) -> None:
        """Leave."""
        self.rest()
        if self._socket is not None:
            self._directory.remove(f"s~{self._id}")
        self.abandon()

    def abandon(self) -> None:
        """Close the sockets, and leave the files to the parent."""
        self._listening = False
        for one in (*self.sockets(), self._outer):
            one.close()
        self._directory.close()

    def _bind(self) -> socket.socket | None:
        name = f"s~{self._id}"
        one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._directory.make()
            one.bind(self._directory.address(name))
            # The directory guards it.
            os.chmod(f"{self._directory.path}/{name}", 0o666)  # noqa: S103
        except OSError:
            # A disk without sockets, or no right to: it looks into the database by itself.
            one.close()
            return None
        return one
