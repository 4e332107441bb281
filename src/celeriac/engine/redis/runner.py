"""Carries out plans.

A *plan* is a generator that yields commands and is sent their replies; it yields a number to
wait as many seconds, and is thrown a `Fault` when an exchange fails.  It knows what to say to the
server and what an answer means, but not how either travels: `Runner` carries it out with blocking
calls and `AsyncRunner` on an event loop.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import hiredis

from celeriac.engine.redis import fault
from celeriac.engine.redis.connection import AsyncConnection, Connection
from celeriac.engine.redis.fault import Fault
from celeriac.engine.redis.script import Call

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from celeriac.engine.redis.address import Address
    from celeriac.engine.redis.connection import Command

T = TypeVar("T")
Step: TypeAlias = "Sequence[Command | Call] | float"
Plan: TypeAlias = "Generator[Step, list[Any], T]"

_IDLE = 25.0  # seconds after which a connection is asked whether it still lives
_ASKING = 2.0  # seconds it has for the answer


class Server(NamedTuple):
    """What answers: its name, its version, and which start of it."""

    name: str
    version: str
    run: str

    @property
    def flags(self) -> bool:
        """Whether its scripts can have flags (Redis 7 and all of Valkey)."""
        return int(self.version.partition(".")[0] or 0) >= 7


def one(*command: Any) -> Plan[Any]:
    """Return the plan of a single command."""
    (reply,) = yield [command]
    return reply


def call(script: Any, keys: Sequence[Any], arguments: Sequence[Any]) -> Plan[Any]:
    """Return the plan of a single script."""
    (reply,) = yield [Call(script, keys, arguments)]
    return reply


def _server(reply: Any) -> Server:
    if isinstance(reply, hiredis.ReplyError):  # the user may not ask: assume the least
        return Server("Redis", "0", "")
    lines = (line.partition(":") for line in reply.decode().splitlines())
    info = {name: value for name, _, value in lines}
    if "valkey_version" in info:
        return Server("Valkey", info["valkey_version"], info.get("run_id", ""))
    return Server("Redis", info.get("redis_version", "0"), info.get("run_id", ""))


def _wire(item: Command | Call, flags: bool, whole: bool = False) -> Command:
    """Return a command as it is sent; ``whole`` sends a script's text instead of its digest."""
    if not isinstance(item, Call):
        return item
    text, digest = item.script.source(flags)
    name, body = ("EVAL", text) if whole else ("EVALSHA", digest)
    return (name, body, len(item.keys), *item.keys, *item.arguments)


def _unknown(commands: Sequence[Command | Call], replies: list[Any]) -> list[int]:
    """Return which scripts the server did not know; raise the first real error."""
    missing = []
    for index, reply in enumerate(replies):
        if isinstance(reply, hiredis.ReplyError):
            if isinstance(commands[index], Call) and str(reply).startswith("NOSCRIPT"):
                missing.append(index)
            else:
                raise fault.from_reply(str(reply))
    return missing


class Runner:
    """Carries out plans with blocking calls; for any thread, and in forked children."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.timeout: float = address.option("socket_timeout", 10.0)
        self._idle_limit: float = address.option("health_check_interval", _IDLE) or inf
        self._most: int = address.option("max_connections", 10)
        self._free: deque[Connection] = deque()
        self._pid = os.getpid()
        self.server = Server("Redis", "0", "")

    def run(self, plan: Plan[T], timeout: float | None = None) -> T:
        """Carry out ``plan`` within ``timeout`` seconds and return what it returns.

        Raises:
            Fault: as the plan lets it through.
        """
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        try:
            step = next(plan)
            while True:
                if isinstance(step, int | float):
                    time.sleep(step)
                    step = plan.send([])
                    continue
                try:
                    replies = self._exchange(step, deadline)
                except Fault as error:
                    step = plan.throw(error)
                else:
                    step = plan.send(replies)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            plan.close()

    def command(self, command: Command, timeout: float) -> Any:
        """Carry out one command, without a plan: for the path of every ``delay()``.

        Raises:
            Fault: it failed, or its connection did.
        """
        connection = self._take(time.monotonic() + timeout)
        (reply,) = connection.exchange((command,), timeout)
        self._give(connection)
        if isinstance(reply, hiredis.ReplyError):
            raise fault.from_reply(str(reply))
        return reply

    def _exchange(self, commands: Sequence[Command | Call], deadline: float) -> list[Any]:
        connection = self._take(deadline)
        flags = self.server.flags
        replies = connection.exchange(
            [_wire(item, flags) for item in commands], deadline - time.monotonic()
        )
        try:
            for index in _unknown(commands, replies):
                whole = _wire(commands[index], flags, whole=True)
                again = connection.exchange([whole], deadline - time.monotonic())
                _unknown([()], again)
                replies[index] = again[0]
        finally:
            self._give(connection)
        return replies

    def open(self, timeout: float) -> Connection:
        """Return a new connection that belongs to the caller."""
        return Connection(self.address, timeout)

    def _take(self, deadline: float) -> Connection:
        if self._pid != os.getpid():
            self._forget()
        while True:
            try:
                connection = self._free.pop()
            except IndexError:
                break
            fresh = time.monotonic() - connection.used < self._idle_limit
            if connection.usable and (fresh or self._alive(connection, deadline)):
                return connection
            connection.close()
        left = deadline - time.monotonic()
        if left <= 0:
            raise Fault("Redis could not be reached in time")
        connection = Connection(self.address, left)
        try:
            (info,) = connection.exchange([("INFO", "server")], deadline - time.monotonic())
        except Fault as error:  # what was asked for has not been sent yet
            raise Fault(error.text) from error
        self.server = _server(info)
        return connection

    def _alive(self, connection: Connection, deadline: float) -> bool:
        """Ask a connection that has long been idle: a router may have forgotten it."""
        try:
            left = max(deadline - time.monotonic(), 0.001)
            connection.exchange([("PING",)], min(_ASKING, left))
        except Fault:
            return False
        return True

    def _give(self, connection: Connection) -> None:
        if connection.closed:
            return
        if len(self._free) < self._most:
            self._free.append(connection)
        else:
            connection.close()

    def _forget(self) -> None:
        """Drop what the parent process had opened; the server hears nothing of it."""
        inherited, self._free, self._pid = self._free, deque(), os.getpid()
        for connection in inherited:
            connection.close()

    def close(self) -> None:
        """Close all idle connections; new ones are made when needed."""
        while self._free:
            self._free.pop().close()


class _Pool:
    """The connections of one event loop: the idle ones, and how many may work at once."""

    def __init__(self, most: int) -> None:
        self.free: deque[AsyncConnection] = deque()
        self.limit = asyncio.Semaphore(most)
        self.keeper: AsyncGenerator[None, None] | None = None


class AsyncRunner:
    """Carries out plans on the running event loop; connections belong to one loop each."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.timeout: float = address.option("socket_timeout", 10.0)
        self._idle_limit: float = address.option("health_check_interval", _IDLE) or inf
        self._most: int = address.option("max_connections", 10)
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = WeakKeyDictionary()
        self._pid = os.getpid()
        self.server = Server("Redis", "0", "")

    async def run(self, plan: Plan[T], timeout: float | None = None) -> T:
        """Do what `Runner.run` does without blocking the event loop."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        try:
            step = next(plan)
            while True:
                if isinstance(step, int | float):
                    await asyncio.sleep(step)
                    step = plan.send([])
                    continue
                try:
                    replies = await self._exchange(step, deadline)
                except Fault as error:
                    step = plan.throw(error)
                else:
                    step = plan.send(replies)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            plan.close()

    async def _exchange(self, commands: Sequence[Command | Call], deadline: float) -> list[Any]:
        async with (await self._pool()).limit:
            connection = await self.take(deadline - time.monotonic())
            flags = self.server.flags
            replies = await connection.exchange(
                [_wire(item, flags) for item in commands], deadline - time.monotonic()
            )
            try:
                for index in _unknown(commands, replies):
                    whole = _wire(commands[index], flags, whole=True)
                    again = await connection.exchange([whole], deadline - time.monotonic())
                    _unknown([()], again)
                    replies[index] = again[0]
            finally:
                await self.give(connection)
            return replies

    async def take(self, timeout: float) -> AsyncConnection:
        """Return an idle connection of this loop or a new one; `give` it back."""
        pool = await self._pool()
        deadline = time.monotonic() + timeout
        while pool.free:
            connection = pool.free.pop()
            if connection.usable and await self._alive(connection, deadline):
                return connection
            await connection.close()
        left = deadline - time.monotonic()
        if left <= 0:
            raise Fault("Redis could not be reached in time")
        connection = await AsyncConnection.open(self.address, left)
        try:
            (info,) = await connection.exchange([("INFO", "server")], left)
        except Fault as error:  # what was asked for has not been sent yet
            raise Fault(error.text) from error
        self.server = _server(info)
        return connection

    async def give(self, connection: AsyncConnection) -> None:
        """Keep a connection for the next one who needs it."""
        pool = await self._pool()
        if not connection.closed and len(pool.free) < self._most:
            pool.free.append(connection)
        else:
            await connection.close()

    async def _alive(self, connection: AsyncConnection, deadline: float) -> bool:
        now = time.monotonic()
        if now - connection.used < self._idle_limit:
            return True
        try:
            await connection.exchange([("PING",)], min(_ASKING, max(deadline - now, 0.001)))
        except Fault:
            return False
        return True

    async def _pool(self) -> _Pool:
        if self._pid != os.getpid():
            self._pools, self._pid = WeakKeyDictionary(), os.getpid()
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            pool = self._pools[loop] = _Pool(self._most)
            # An event loop tells nobody that it ends, but it closes its asynchronous generators.
            pool.keeper = _close_at_end(pool.free)
            await anext(pool.keeper)
        return pool


async def _close_at_end(connections: deque[AsyncConnection]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        while connections:
            await connections.pop().close()
