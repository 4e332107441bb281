"""A TCP proxy that loses, delays and cuts, for tests of what happens on a bad wire."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from types import TracebackType

#: ``up``: from the client to the server; ``down``: from the server to the client.
Direction = Literal["up", "down"]
DIRECTIONS: tuple[Direction, Direction] = ("up", "down")

_CHUNK = 65536
#: SO_LINGER on, 0 seconds: closing sends a reset instead of an orderly end.
_RESET = struct.pack("ii", 1, 0)


class FaultProxy:
    """Stands between clients and one server; passes everything until it is told otherwise.

    Faults hold for the connections there are and for those to come, until `heal`.

    Args:
        host: where the server is.
        port: where the server is.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = False
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        #: Where clients connect to, on 127.0.0.1.
        self.port: int = self._listener.getsockname()[1]
        #: Set once `drop_reply` has lost a reply.
        self.dropped = threading.Event()
        self.connections = 0
        self._rules = _Rules()
        self._accepting.start()

    def url(self, url: str) -> str:
        """Return ``url`` with this proxy in place of the server's host and port."""
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        netloc = f"{login}@127.0.0.1:{self.port}" if login else f"127.0.0.1:{self.port}"
        return parts._replace(netloc=netloc).geturl()

    # -- faults --------------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset all connections; new ones are accepted.  Returns once they are closed."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.doom()
        for link in links:
            link.join()

    def refuse(self) -> None:
        """Reset all connections, and new ones as soon as they are made."""
        self._rules.refusing = True
        self.cut()

    def blackhole(self, *directions: Direction) -> None:
        """Hold back everything in these directions (default: both); connections stay open.

        As when a cable is pulled: nobody is told, and after `heal` the bytes arrive.
        """
        for direction in directions or DIRECTIONS:
            self._rules.flow[direction].clear()

    def delay(self, seconds: float, *directions: Direction) -> None:
        """Pass on everything ``seconds`` later in these directions (default: both)."""
        for direction in directions or DIRECTIONS:
            self._rules.delay[direction] = seconds

    def drop_reply(self, after: bytes, *, cut: bool = True) -> None:
        """Lose the reply to the next request that contains ``after``.

        The request reaches the server and is carried out; `dropped` is set once the reply is gone.

        Args:
            after: bytes to look for in what clients send.
            cut: reset the connection as well; otherwise the client waits in vain.
        """
        self.dropped.clear()
        self._rules.cut_after_drop = cut
        self._rules.drop_after = after

    def truncate(self, count: int, direction: Direction = "down") -> None:
        """Reset the connection that carries the ``count``-th byte from now in this direction."""
        self._rules.budget[direction] = count

    def heal(self) -> None:
        """End all faults."""
        self._rules.heal()

    # -- inside --------------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                if self._closing:
                    return
                raise
            if self._closing or self._rules.refusing:
                _reset(client)
                continue
            try:
                server = socket.create_connection(self._upstream, timeout=5.0)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            link = _Link(self, client, server, self._rules)
            with self._lock:
                self._links.add(link)
            self.connections += 1
            link.start()

    def forget(self, link: _Link) -> None:
        """Forget a connection that has ended."""
        with self._lock:
            self._links.discard(link)

    def close(self) -> None:
        """Reset all connections and listen no more."""
        self._closing = True
        self.heal()
        # shutdown() ends a waiting accept(); close() alone would not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Rules:
    """The faults in force, shared by all connections."""

    def __init__(self) -> None:
        self.flow = {direction: threading.Event() for direction in DIRECTIONS}
        self.heal()

    def heal(self) -> None:
        self.refusing = False
        self.delay: dict[Direction, float] = dict.fromkeys(DIRECTIONS, 0.0)
        self.budget: dict[Direction, int | None] = dict.fromkeys(DIRECTIONS)
        self.drop_after: bytes | None = None
        self.cut_after_drop = True
        for event in self.flow.values():
            event.set()


class _Link:
    """One client's connection and its counterpart to the server, with a thread per direction."""

    def __init__(
        self, proxy: FaultProxy, client: socket.socket, server: socket.socket, rules: _Rules
    ) -> None:
        self._proxy = proxy
        self._rules = rules
        self._sockets = (client, server)
        self._wake, self._woken = socket.socketpair()
        self._doomed = threading.Event()
        self._dropping = False
        self._tail = b""
        self._left = 2
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._pump, args=("up", client, server), daemon=True),
            threading.Thread(target=self._pump, args=("down", server, client), daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def doom(self) -> None:
        """Let both directions end, and the sockets be reset."""
        with self._lock:
            if not self._doomed.is_set():
                self._doomed.set()
                self._wake.send(b"x")

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _pump(self, direction: Direction, source: socket.socket, target: socket.socket) -> None:
        # When one side has ended the connection, the other is told so by the reset below.
        with contextlib.suppress(OSError):
            while data := self._read(direction, source):
                if not self._is_lost(direction, data) and not self._pass_on(
                    direction, target, data
                ):
                    break
        self.doom()
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            for one in self._sockets:
                _reset(one)
            self._wake.close()
            self._woken.close()
            self._proxy.forget(self)

    def _read(self, direction: Direction, source: socket.socket) -> bytes:
        """Return what came, or nothing when the connection ends."""
        readable, _, _ = select.select([source, self._woken], [], [])
        if self._woken in readable:
            return b""
        data = source.recv(_CHUNK)
        flow = self._rules.flow[direction]
        # A blackhole must let go of a doomed connection, so the wait is in short turns.
        while not flow.wait(0.02):
            if self._doomed.is_set():
                return b""
        if self._rules.delay[direction]:
            self._doomed.wait(self._rules.delay[direction])
        return data

    def _is_lost(self, direction: Direction, data: bytes) -> bool:
        """Look for the request whose reply is to be dropped; drop the reply."""
        wanted = self._rules.drop_after
        if direction == "up":
            if wanted is not None:
                seen = self._tail + data
                if wanted in seen:
                    self._rules.drop_after = None
                    self._dropping = True
                self._tail = seen[-len(wanted) :]
            return False
        if not self._dropping:
            return False
        self._dropping = False
        if self._rules.cut_after_drop:
            self.doom()
        self._proxy.dropped.set()
        return True

    def _pass_on(self, direction: Direction, target: socket.socket, data: bytes) -> bool:
        budget = self._rules.budget[direction]
        if budget is None:
            return self._send(target, data)
        self._rules.budget[direction] = max(budget - len(data), 0)
        return self._send(target, data[:budget]) and len(data) < budget

    def _send(self, target: socket.socket, data: bytes) -> bool:
        """Send all of it; tell whether that came to pass before the connection was doomed."""
        rest = memoryview(data)
        while rest:
            ended, _, _ = select.select([self._woken], [target], [])
            if ended:
                return False
            rest = rest[target.send(rest, socket.MSG_DONTWAIT) :]
        return True


def _reset(one: socket.socket) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    one.close()
