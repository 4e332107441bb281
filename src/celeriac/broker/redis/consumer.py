"""Receiving: lease by script, and wait without polling and without a window for losses.

While there is nothing to lease, one connection per queue blocks in ``BLMOVE`` from the queue into
a claim list of this owner.  The server moves the message, the reply only wakes us; the next lease
takes the claim list first.  A lost reply thus loses nothing, and a dead owner's claim lists are
put back by survivors.  `receive` never returns while a ``BLMOVE`` waits: a message that arrives
while the child is busy must go to another one.

Nobody can block on a priority list or on the due time of a message: senders of ours publish on a
channel, and for Celery's we look at most every half second.
"""

from __future__ import annotations

import logging
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import hiredis

from celeriac.broker.base import Consumer
from celeriac.broker.redis import catalog, entry
from celeriac.engine.redis.fault import Fault, Kind, from_reply
from celeriac.engine.redis.poll import Poll
from celeriac.engine.redis.runner import call
from celeriac.error import BrokerRefused, BrokerUnavailable
from celeriac.identifier import token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeriac.broker.base import BrokerOptions
    from celeriac.engine.redis.connection import Connection
    from celeriac.engine.redis.layout import Layout
    from celeriac.engine.redis.runner import Plan, Runner
    from celeriac.message import Delivery

#: The most queues that are blocked on; the others are looked at every half second.
BLOCKING = 4
_PROMOTE = 100  # delayed messages moved by one lease
_BLOCK = 5.0  # seconds a BLMOVE waits at most
_PATIENCE = 5.0  # seconds it may be late before its connection counts as broken
_OPENING = 5.0  # seconds to make a connection
_FIRST_LOOK, _LAST_LOOK = 0.1, 0.5  # seconds between looks at what cannot be blocked on

_log = logging.getLogger("celeriac.broker.redis")


class _Waiter:
    """A connection that blocks for one queue."""

    def __init__(self, connection: Connection, queue: str, claim: str) -> None:
        self.connection = connection
        asked = [("CLIENT", "ID"), ("CLIENT", "UNBLOCK", 0)]
        name, unblocked = connection.exchange(asked, _OPENING)
        #: Who waits; None when the user may not end a wait, which then must be short.
        self.client: int | None = name if isinstance(unblocked, int) else None
        self._block = _BLOCK if self.client is not None else _LAST_LOOK
        self._move = ("BLMOVE", queue, claim, "RIGHT", "LEFT", self._block)
        #: When the reply of the BLMOVE that waits is overdue; None while none waits.
        self.due: float | None = None

    def start(self) -> None:
        """Send a BLMOVE unless one waits."""
        now = time.monotonic()
        if self.due is None:
            self.connection.send([self._move], _OPENING)
            self.due = now + self._block + _PATIENCE
        elif now > self.due:
            raise Fault("Redis does not answer on a blocking connection")

    def finish(self, timeout: float) -> bool:
        """Read what has arrived; return whether a message was moved.

        Raises:
            Fault: the connection ended, or the server said no.
        """
        for reply in self.connection.collect(timeout):
            self.due = None
            if isinstance(reply, hiredis.ReplyError):
                raise from_reply(str(reply))
            return reply is not None
        return False


class RedisConsumer(Consumer):
    """Leases from some queues for one owner."""

    def __init__(
        self,
        runner: Runner,
        layout: Layout,
        options: BrokerOptions,
        queues: Sequence[str],
        owner: str,
    ) -> None:
        order = layout.address.option("queue_order_strategy", "round_robin")
        self._queues = sorted(queues) if order == "sorted" else list(queues)
        self._rotates = order == "round_robin" and len(queues) > 1
        self._runner, self._layout, self._options = runner, layout, options
        self._lists = {queue: layout.lists(queue) for queue in queues}
        self._owner = owner
        self._salt, self._next = token(4), 0
        self._doubt: list[str] = []  # tokens of leases that nobody was told of
        self._turn = 0
        self._look = _FIRST_LOOK
        #: Whether messages can come to lists that nobody blocks on.
        self._looks = len(layout.steps) > 1 or len(queues) > BLOCKING
        self._waiters: dict[str, _Waiter] = {}
        self._listener: Connection | None = None
        self._deaf = False
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)

    # -- the port --------------------------------------------------------------------------

    def receive(self, limit: int, timeout: float) -> list[Delivery]:
        """See the port."""
        deadline = time.monotonic() + timeout
        deliveries: list[Delivery] = []
        try:
            deliveries, woken = self._salvage(limit), False
            while not deliveries:
                deliveries, due = self._lease(limit)
                left = deadline - time.monotonic()
                if deliveries or woken or left <= 0:
                    break
                woken = self._wait(min(left, due, self._pause()))
            return self._stop_waiting(deliveries, limit)
        except BaseException as error:
            self._drop()
            self._doubt += [delivery.receipt for delivery in deliveries]
            if isinstance(error, Fault):
                kind = BrokerRefused if error.kind is Kind.REFUSED else BrokerUnavailable
                raise kind(error.text) from error
            raise

    def wake(self) -> None:
        """See the port."""
        # Full means that a wake waits already, closed that nobody does.
        with suppress(BlockingIOError, OSError):
            self._waker.send(b"w")

    def close(self) -> None:
        """See the port."""
        if self._waiters:
            with suppress(Fault):
                self._cancel()
        self._drop()
        self._woken.close()
        self._waker.close()

    # -- leasing ---------------------------------------------------------------------------

    def _lease(self, limit: int) -> tuple[list[Delivery], float]:
        """Lease what is there; return it and the seconds until the next message is due."""
        layout, first = self._layout, self._next
        self._next += limit
        queues = self._rotation()
        blocking = self._queues[:BLOCKING]
        sources = [(layout.claim(self._owner, queue), queue) for queue in blocking]
        for step in range(len(layout.steps)):
            sources += [(self._lists[queue][step], queue) for queue in queues]
        keys = [
            layout.unacked,
            layout.unacked_index,
            layout.lease,
            layout.eta,
            layout.eta_messages,
            layout.eta_count,
            layout.malformed,
            layout.claims,
            *(key for key, _ in sources),
        ]
        prefix = f"{self._owner}.{self._salt}."
        arguments = [
            limit,
            f"{self._options.lease_ttl * 1000:.0f}",
            prefix,
            first,
            _PROMOTE,
            len(blocking),
            *(f"{self._owner}:{queue}" for queue in blocking),
            *(layout.suffix(queue) for _, queue in sources),
        ]
        try:
            reply = self._runner.run(call(catalog.LEASE, keys, arguments))
        except Fault as fault:
            if fault.doubtful:
                self._doubt += [f"{prefix}{first + i}" for i in range(limit)]
            raise
        deliveries: list[Delivery] = []
        for place, raws in zip(reply[1::2], reply[2::2], strict=True):
            queue = sources[place - 1][1]
            for raw in raws:
                receipt = f"{prefix}{first + len(deliveries)}"
                deliveries.append(
                    entry.delivery(receipt, queue, raw, self._options.max_message_bytes)
                )
        if deliveries:
            self._look = _FIRST_LOOK
        return deliveries, float("inf") if reply[0] < 0 else reply[0] / 1000

    def _rotation(self) -> list[str]:
        """Return the queues, each call another one first, so that none starves."""
        if not self._rotates:
            return self._queues
        self._turn = (self._turn + 1) % len(self._queues)
        return self._queues[self._turn :] + self._queues[: self._turn]

    def _salvage(self, limit: int) -> list[Delivery]:
        """Return deliveries that an earlier call leased and whose reply was lost."""
        deliveries: list[Delivery] = []
        while self._doubt and not deliveries:
            tokens = self._doubt[:limit]
            values = self._runner.run(self._entries(tokens))
            del self._doubt[:limit]
            for receipt, value in zip(tokens, values, strict=True):
                if value is not None:
                    raw, queue = entry.split(value)
                    deliveries.append(
                        entry.delivery(receipt, queue, raw, self._options.max_message_bytes)
                    )
        return deliveries

    def _entries(self, tokens: list[str]) -> Plan[list[bytes | None]]:
        (values,) = yield [("HMGET", self._layout.unacked, *tokens)]
        found: list[bytes | None] = values
        return found

    # -- waiting ---------------------------------------------------------------------------

    def _pause(self) -> float:
        """Return how long to wait before looking at lists that nobody blocks on."""
        if not self._looks:
            return _BLOCK
        pause = self._look
        self._look = min(self._look * 2, _LAST_LOOK)
        return pause

    def _wait(self, timeout: float) -> bool:
        """Wait for a message, for at most ``timeout`` seconds; return whether `wake` was called."""
        if self._listener is None and not self._deaf:
            self._listen()
            return False  # what was sent before we listened is found by another lease
        for queue in self._queues[:BLOCKING]:
            if queue not in self._waiters:
                claim = self._layout.claim(self._owner, queue)
                opened = self._runner.open(_OPENING)
                self._waiters[queue] = _Waiter(opened, self._lists[queue][0], claim)
            self._waiters[queue].start()
        waiters = {waiter.connection.fileno(): waiter for waiter in self._waiters.values()}
        listening = (self._listener.fileno(),) if self._listener is not None else ()
        ready = Poll(self._woken.fileno(), *waiters, *listening).wait(timeout)
        for descriptor in ready & waiters.keys():
            waiters[descriptor].finish(_OPENING)
        if self._listener is not None and self._listener.fileno() in ready:
            self._listener.collect(_OPENING)
        return self._woken.fileno() in ready and bool(self._woken.recv(4096))

    def _listen(self) -> None:
        """Subscribe to what cannot be blocked on."""
        listener = self._runner.open(_OPENING)
        channels = [self._layout.wake(queue) for queue in self._queues]
        replies = listener.exchange([("SUBSCRIBE", channel) for channel in channels], _OPENING)
        refused = [reply for reply in replies if isinstance(reply, hiredis.ReplyError)]
        if refused:
            listener.close()
            self._deaf = True
            _log.warning(
                "priorities and delayed messages may wait %.1f s longer: %s (grant the Redis "
                "user the channels %s*)",
                _LAST_LOOK,
                refused[0],
                channels[0].removesuffix(self._queues[0]),
            )
        else:
            self._listener = listener

    def _stop_waiting(self, deliveries: list[Delivery], limit: int) -> list[Delivery]:
        """End all waits; lease what they moved in the meantime or put it back."""
        moved = self._cancel()
        room = limit - len(deliveries)
        if moved and room > 0:
            deliveries += self._lease(room)[0]
            moved = moved[room:] if room < len(moved) else []
        if moved:
            # Back to the front of their queues.
            back = [(self._layout.claim(self._owner, one), self._lists[one][0]) for one in moved]
            self._runner.run(_all([("LMOVE", *ends, "LEFT", "RIGHT") for ends in back]))
        return deliveries

    def _cancel(self) -> list[str]:
        """End all waits and return the queues whose claim list now holds a message."""
        waiting = {queue: one for queue, one in self._waiters.items() if one.due is not None}
        if not waiting:
            return []
        commands = [
            ("CLIENT", "UNBLOCK", waiter.client)
            for waiter in waiting.values()
            if waiter.client is not None
        ]
        if commands:
            self._runner.run(_all(commands))
        moved = []
        for queue, waiter in waiting.items():
            while waiter.due is not None:
                if waiter.finish(waiter.due - time.monotonic()):
                    moved.append(queue)
        return moved

    def _drop(self) -> None:
        """Close the connections; what they moved meanwhile lies in the claim lists."""
        for waiter in self._waiters.values():
            waiter.connection.close()
        self._waiters = {}
        if self._listener is not None:
            self._listener.close()
            self._listener = None


def _all(commands: list[tuple[Any, ...]]) -> Plan[None]:
    """Return the plan of commands whose replies say nothing."""
    yield commands
