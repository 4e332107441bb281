"""One connection to the server: redis-py opens it, from then on we hold the socket ourselves.

That gives what a queue needs and a general client hides: whether a command had left when the
connection ended, a deadline over a whole exchange, and no repetition behind our back.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import hiredis

from celeriac.engine.redis import fault
from celeriac.engine.redis.fault import Fault
from celeriac.engine.redis.poll import Poll

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Sequence

    from celeriac.engine.redis.address import Address

#: What the reader returns while a reply is incomplete.
_INCOMPLETE = object()
_CHUNK = 65536
_CLOSED = "the server closed the connection"
_SILENT = "the server did not answer in time"

Command = tuple[Any, ...]


def _settings(address: Address, timeout: float) -> dict[str, Any]:
    """Return the arguments of a redis-py connection, each one that matters said aloud.

    redis-py 8 by default repeats a command whose reply was lost, which would be a second task.
    """
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    connect = min(timeout, address.option("socket_connect_timeout", 5.0))
    settings: dict[str, Any] = {
        "db": address.db,
        "username": address.username,
        "password": address.password,
        "credential_provider": address.option("credential_provider", None),
        "client_name": address.option("client_name", None),
        "socket_timeout": connect,
        "socket_connect_timeout": connect,
        "health_check_interval": 0,
        "protocol": 2,
        "decode_responses": False,
    }
    if address.path:
        settings["path"] = address.path
    else:
        settings["host"] = address.host
        settings["port"] = address.port
        settings["socket_keepalive"] = address.option("socket_keepalive", True)
        if "socket_keepalive_options" in address.options:
            settings["socket_keepalive_options"] = address.options["socket_keepalive_options"]
    if address.tls:
        settings |= {k: v for k, v in address.options.items() if k.startswith("ssl_")}
    settings["retry"] = Retry(NoBackoff(), 0)
    return settings


class Connection:
    """A connection for one thread at a time.

    Args:
        address: of the server.
        timeout: seconds to connect in at most.

    Raises:
        Fault: the server cannot be reached or says no; never doubtful.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        from redis import connection as driver
        from redis.exceptions import RedisError

        kind: Any = driver.Connection
        if address.path:
            kind = driver.UnixDomainSocketConnection
        elif address.tls:
            kind = driver.SSLConnection
        opener = kind(**_settings(address, timeout))
        try:
            opener.connect()
        except (RedisError, OSError) as error:
            opener.disconnect()
            raise fault.from_opening(error, address.display) from error
        self._opener = opener
        # redis-py has no public name for its socket.
        self.socket: socket.socket = opener._sock
        self.socket.setblocking(False)
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._tls = address.tls
        self._poll = Poll(self.socket.fileno())
        self._pid = os.getpid()
        self.used = time.monotonic()
        self.closed = False

    def fileno(self) -> int:
        """Return the descriptor of the socket, for `select`."""
        return self.socket.fileno()

    @property
    def usable(self) -> bool:
        """Whether it is open, ours, and nothing has arrived that nobody asked for."""
        return not self.closed and self._pid == os.getpid() and not self._poll.wait(0)

    def exchange(self, commands: Sequence[Command], timeout: float) -> list[Any]:
        """Send commands and return their replies; an error reply is a value in the list.

        Raises:
            Fault: the connection ended; doubtful when a command may have been carried out.
        """
        deadline = time.monotonic() + timeout
        self.send(commands, timeout)
        replies: list[Any] = []
        try:
            while len(replies) < len(commands):
                reply = self._reader.gets()
                if reply is _INCOMPLETE:
                    self._feed(deadline)
                else:
                    replies.append(reply)
        except BaseException:
            # Half-read replies would be taken for those of the next call.
            self.close()
            raise
        self.used = time.monotonic()
        return replies

    def send(self, commands: Sequence[Command], timeout: float) -> None:
        """Send commands; whoever calls reads the replies with `collect`."""
        data = b"".join([hiredis.pack_command(command) for command in commands])
        try:
            try:
                sent = self.socket.send(data)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                sent = 0
            if sent < len(data):
                self._send_rest(memoryview(data)[sent:], time.monotonic() + timeout)
        except OSError as error:
            self.close()
            raise Fault(f"sending to Redis failed: {error}", doubtful=True) from error
        except BaseException:
            self.close()
            raise

    def collect(self, timeout: float) -> list[Any]:
        """Return the replies that have arrived, after at least one read from the socket.

        Raises:
            Fault: the connection ended.
        """
        replies: list[Any] = []
        try:
            self._feed(time.monotonic() + timeout)
            while self._tls and self._receive():
                continue
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                replies.append(reply)
        except BaseException:
            self.close()
            raise
        return replies

    def _send_rest(self, data: memoryview, deadline: float) -> None:
        poll = Poll(self.socket.fileno(), write=True)
        while data:
            if not poll.wait(deadline - time.monotonic()):
                raise TimeoutError(_SILENT)
            with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                data = data[self.socket.send(data) :]

    def _feed(self, deadline: float) -> None:
        """Read once, as soon as something arrives."""
        # Above TLS bytes may wait already, where no `poll` sees them.
        done = self._tls and self._receive()
        while not done:
            left = deadline - time.monotonic()
            if left <= 0 or not self._poll.wait(left):
                raise Fault(_SILENT, doubtful=True)
            done = self._receive()

    def _receive(self) -> bool:
        """Read what is there; return whether there was anything."""
        try:
            data = self.socket.recv(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            raise Fault(f"reading from Redis failed: {error}", doubtful=True) from error
        if not data:
            raise Fault(_CLOSED, doubtful=True)
        self._reader.feed(data)
        return True

    def close(self) -> None:
        """Close; in a child process without a word to the server."""
        self.closed = True
        self._opener.disconnect()


class AsyncConnection:
    """A connection for one task at a time of one event loop; made by `open`."""

    def __init__(self, opener: Any) -> None:
        self._opener = opener
        self._input: asyncio.StreamReader = opener._reader
        self._output: asyncio.StreamWriter = opener._writer
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self.used = time.monotonic()
        self.closed = False

    @classmethod
    async def open(cls, address: Address, timeout: float) -> AsyncConnection:
        """Connect; arguments and errors as for `Connection`."""
        from redis.asyncio import connection as driver
        from redis.exceptions import RedisError

        kind: Any = driver.Connection
        if address.path:
            kind = driver.UnixDomainSocketConnection
        elif address.tls:
            kind = driver.SSLConnection
        opener = kind(**_settings(address, timeout))
        try:
            await opener.connect()
        except (RedisError, OSError) as error:
            await opener.disconnect(nowait=True)
            raise fault.from_opening(error, address.display) from error
        except BaseException:
            await opener.disconnect(nowait=True)
            raise
        return cls(opener)

    @property
    def usable(self) -> bool:
        """Whether it is open."""
        return not self.closed and not self._input.at_eof()

    async def exchange(self, commands: Sequence[Command], timeout: float | None) -> list[Any]:
        """Do what `Connection.exchange` does without blocking the event loop."""
        replies: list[Any] = []
        async with self._all_or_closed(), asyncio.timeout(timeout):
            await self._write(commands)
            while len(replies) < len(commands):
                reply = self._reader.gets()
                if reply is _INCOMPLETE:
                    await self._feed()
                else:
                    replies.append(reply)
        self.used = time.monotonic()
        return replies

    async def send(self, commands: Sequence[Command], timeout: float | None) -> None:
        """Send commands; whoever calls reads the replies with `collect`."""
        async with self._all_or_closed(), asyncio.timeout(timeout):
            await self._write(commands)

    async def collect(self) -> list[Any]:
        """Return the replies that have arrived, at least after one read from the socket.

        May be cancelled: what has arrived is kept for the next call.
        """
        replies: list[Any] = []
        try:
            await self._feed()
        except OSError as error:
            await self.close()
            raise Fault(f"reading from Redis failed: {error}", doubtful=True) from error
        while (reply := self._reader.gets()) is not _INCOMPLETE:
            replies.append(reply)
        return replies

    async def _write(self, commands: Sequence[Command]) -> None:
        self._output.write(b"".join([hiredis.pack_command(command) for command in commands]))
        await self._output.drain()

    async def _feed(self) -> None:
        data = await self._input.read(_CHUNK)
        if not data:
            await self.close()
            raise Fault(_CLOSED, doubtful=True)
        self._reader.feed(data)

    @asynccontextmanager
    async def _all_or_closed(self) -> AsyncIterator[None]:
        """Close after any error: half-read replies would be taken for those of the next call."""
        try:
            yield
        except TimeoutError as error:
            await self.close()
            raise Fault(_SILENT, doubtful=True) from error
        except OSError as error:
            await self.close()
            raise Fault(f"the connection to Redis broke: {error}", doubtful=True) from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close without waiting for the server, nor for the farewell of TLS."""
        self.closed = True
        self._output.transport.abort()
        await self._opener.disconnect(nowait=True)
