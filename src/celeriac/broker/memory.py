"""The memory broker: the port's reference adapter, for tests and for single processes.

``memory://name`` is one space of queues per name in this process; ``memory://`` is the default
one.  A forked child begins with empty spaces.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from celeriac.broker.base import Broker, BrokerOptions, Capabilities, Consumer
from celeriac.clock import SYSTEM
from celeriac.engine import memory
from celeriac.engine.memory import Entry, Space
from celeriac.error import DecodeError, PublishRejected
from celeriac.identifier import uuid
from celeriac.message import DeadLetter, Delivery, Message, QueueDepth, Verdict
from celeriac.protocol import envelope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeriac.message import Completion, Outgoing, Owner
    from celeriac.store.base import Store

#: Seconds for which a message sent with ``dedupe`` is remembered.
DEDUPE_WINDOW = 3600.0


class MemoryBroker(Broker):
    """Queues in the memory of this process."""

    capabilities = Capabilities(
        shared=False,
        durable=False,
        priorities=10,
        transactional=True,
    )

    def __init__(self, url: str, options: BrokerOptions) -> None:
        """Take the URL and the settings; transport options are ignored."""
        self.options = options
        self.display = url
        self.space = memory.space(url)
        # What adopt_expired has seen: receipt or owner -> its deadline, when it was first seen.
        self._seen: dict[str, tuple[float, float]] = {}

    # -- sending ---------------------------------------------------------------------------

    def publish(self, batch: Sequence[Outgoing]) -> None:
        """Send all messages of the batch."""
        encoded = self._encode(batch)
        with self.space.condition:
            self._push(batch, encoded)
            self.space.condition.notify_all()

    async def apublish(self, batch: Sequence[Outgoing]) -> None:
        """Do what `publish` does, which never blocks for long."""
        self.publish(batch)

    def _encode(self, batch: Sequence[Outgoing]) -> list[bytes]:
        encoded = [envelope.encode(outgoing) for outgoing in batch]
        limit = self.options.max_message_bytes
        for outgoing, raw in zip(batch, encoded, strict=True):
            if len(raw) > limit:
                raise PublishRejected(
                    f"message {outgoing.message.id} of {outgoing.message.task} has {len(raw)}"
                    f" bytes, more than max_message_bytes={limit}; pass a reference to the data"
                    " instead of the data, or raise the setting"
                )
        return encoded

    def _push(self, batch: Sequence[Outgoing], encoded: Sequence[bytes]) -> None:
        for outgoing, raw in zip(batch, encoded, strict=True):
            if outgoing.dedupe and not self._is_first(outgoing.message):
                continue
            number = self.space.number()
            entry = Entry(number, outgoing.queue, outgoing.priority, raw, outgoing.due)
            self.space.push(entry)

    def _is_first(self, message: Message) -> bool:
        now = self.options.clock.monotonic()
        sent = self.space.sent
        while sent and sent[oldest := next(iter(sent))] <= now:
            del sent[oldest]
        key = (message.id, message.headers.get("retries") or 0)
        if key in sent:
            return False
        sent[key] = now + DEDUPE_WINDOW
        return True

    # -- consuming -------------------------------------------------------------------------

    def consumer(self, queues: Sequence[str], owner: str) -> Consumer:
        """Return a consumer that leases from ``queues`` in the name of ``owner``."""
        return MemoryConsumer(self, queues, owner)

    def lease(self, entry: Entry, owner: str) -> Delivery:
        """Lease a message that is neither waiting nor leased; `Space.condition` is held."""
        redelivered = entry.delivered
        entry.delivered = True
        entry.receipt = self.space.receipt()
        entry.owner = owner
        entry.deadline = self.options.clock.monotonic() + self.options.lease_ttl
        self.space.leased[entry.receipt] = entry
        message, problem = None, None
        try:
            message = envelope.decode(entry.raw, max_bytes=self.options.max_message_bytes)
        except DecodeError as error:
            problem = str(error)
        return Delivery(
            receipt=entry.receipt,
            queue=entry.queue,
            message=message,
            raw=entry.raw,
            problem=problem,
            redelivered=redelivered,
            deaths=entry.deaths,
            losses=entry.losses,
        )

    def settle(self, batch: Sequence[Completion]) -> list[bool]:
        """Carry out completions; tell for each whether its lease held."""
        encoded = [self._encode(completion.publish) for completion in batch]
        with self.space.condition:
            held = [self._settle(*pair) for pair in zip(batch, encoded, strict=True)]
            self.space.condition.notify_all()
        return held

    def _settle(self, completion: Completion, encoded: Sequence[bytes]) -> bool:
        entry = self.space.leased.pop(completion.delivery.receipt, None)
        if entry is None:
            return False
        now = self.options.clock.time()
        if completion.result is not None:
            self.space.store([completion.result], now)
        self._push(completion.publish, encoded)
        if completion.verdict is Verdict.RELEASE:
            entry.receipt, entry.started = "", False
            entry.deaths, entry.losses = completion.deaths, completion.losses
            entry.due = now + completion.delay if completion.delay > 0 else None
            self.space.push(entry)
        elif completion.verdict is Verdict.DEAD:
            self._bury(entry, completion, now)
        return True

    def mark_started(self, receipts: Sequence[str]) -> list[bool]:
        """Note that these deliveries must not begin again."""
        with self.space.condition:
            held = [self.space.leased.get(receipt) for receipt in receipts]
            for entry in held:
                if entry is not None:
                    entry.started = True
            return [entry is not None for entry in held]

    def commits(self, store: Store) -> bool:
        """Tell whether ``store`` is the memory store of the same name."""
        return getattr(store, "space", None) is self.space

    # -- leases ----------------------------------------------------------------------------

    def register(self, owner: Owner) -> None:
        """Announce a process that is about to lease."""
        with self.space.condition:
            end = self.options.clock.monotonic() + self.options.lease_ttl
            self.space.owners[owner.id] = (owner, end)

    def unregister(self, owner: str) -> None:
        """Forget an owner that holds nothing any more."""
        with self.space.condition:
            self.space.owners.pop(owner, None)

    def owners(self) -> list[Owner]:
        """Return the registered owners."""
        with self.space.condition:
            return [owner for owner, _ in self.space.owners.values()]

    def renew(self, owner: str, receipts: Sequence[str]) -> list[str]:
        """Keep the owner and these leases alive; return the lost ones."""
        with self.space.condition:
            end = self.options.clock.monotonic() + self.options.lease_ttl
            if owner in self.space.owners:
                self.space.owners[owner] = (self.space.owners[owner][0], end)
            lost = []
            for receipt in receipts:
                entry = self.space.leased.get(receipt)
                if entry is not None and entry.owner == owner:
                    entry.deadline = end
                else:
                    lost.append(receipt)
            return lost

    def adopt(self, owner: str, by: str) -> list[Delivery]:
        """Take over everything that ``owner``, which is known to be dead, holds."""
        with self.space.condition:
            self.space.owners.pop(owner, None)
            held = [entry for entry in self.space.leased.values() if entry.owner == owner]
            return [self._take_over(entry, by) for entry in held]

    def _take_over(self, entry: Entry, by: str) -> Delivery:
        previous = entry.receipt
        del self.space.leased[previous]
        delivery = self.lease(entry, by)
        delivery.started = entry.started
        delivery.previous = previous
        return delivery

    def adopt_expired(self, by: str) -> list[Delivery]:
        """Take over leases that nobody has renewed, and owners without a sign of life."""
        with self.space.condition:
            leases = {key: entry.deadline for key, entry in self.space.leased.items()}
            owners = {key: end for key, (_, end) in self.space.owners.items()}
            expired = self._observe({**leases, **owners})
            taken = [one for owner in expired & owners.keys() for one in self.adopt(owner, by)]
            entries = [entry for key, entry in self.space.leased.items() if key in expired]
            return taken + [self._take_over(entry, by) for entry in entries]

    def _observe(self, deadlines: dict[str, float]) -> set[str]:
        """Return what is past its deadline and has been seen so, unchanged, for the grace."""
        now = self.options.clock.monotonic()
        seen = {
            key: self._seen[key] if self._seen.get(key, (None,))[0] == deadline else (deadline, now)
            for key, deadline in deadlines.items()
            if deadline <= now
        }
        grace = self.options.recovery_grace
        expired = {key for key, (_, since) in seen.items() if now - since >= grace}
        self._seen = {key: value for key, value in seen.items() if key not in expired}
        return expired

    # -- administration --------------------------------------------------------------------

    def depth(self, queues: Sequence[str]) -> dict[str, QueueDepth]:
        """Count the messages of each queue."""
        with self.space.condition:
            self.space.promote(self.options.clock.time())
            delayed = [entry.queue for _, _, entry in self.space.delayed]
            leased = [entry.queue for entry in self.space.leased.values()]
            return {
                queue: QueueDepth(
                    ready=len(self.space.ready.get(queue, ())),
                    delayed=delayed.count(queue),
                    leased=leased.count(queue),
                )
                for queue in queues
            }

    def purge(self, queue: str) -> int:
        """Remove the ready and delayed messages of a queue; return how many there were."""
        with self.space.condition:
            others = [item for item in self.space.delayed if item[2].queue != queue]
            count = len(self.space.delayed) - len(others)
            heapq.heapify(others)
            self.space.delayed = others
            return count + len(self.space.ready.pop(queue, ()))

    def _bury(self, entry: Entry, completion: Completion, now: float) -> None:
        message = completion.delivery.message
        key = (message.id if message is not None else "") or uuid()
        letter = DeadLetter(
            id=key,
            task=message.task if message is not None else "",
            queue=entry.queue,
            reason=completion.reason,
            detail=completion.detail,
            died=now,
            deaths=completion.deaths,
            losses=completion.losses,
            raw=entry.raw,
        )
        # Removed first, so that the order of the dictionary is the order of death.
        self.space.dead.pop(key, None)
        self.space.dead[key] = (letter, entry.priority)

    def _letters(self) -> dict[str, tuple[DeadLetter, int]]:
        """Return the dead letters that are not too old, and forget the others."""
        dead = self.space.dead
        oldest = self.options.clock.time() - self.options.dead_letter_ttl
        for key in [key for key, (letter, _) in dead.items() if letter.died <= oldest]:
            del dead[key]
        return dead

    def dead_letters(self, limit: int = 100, offset: int = 0) -> list[DeadLetter]:
        """Return dead letters, the latest first."""
        with self.space.condition:
            latest = [letter for letter, _ in reversed(self._letters().values())]
        return latest[offset : offset + limit]

    def dead_letter(self, id: str) -> DeadLetter | None:  # noqa: A002 - the port's name
        """Return one dead letter."""
        with self.space.condition:
            return self._letters().get(id, (None, 0))[0]

    def replay(self, ids: Sequence[str]) -> list[str]:
        """Put dead letters back into their queues; return those found."""
        replayed = []
        with self.space.condition:
            letters = self._letters()
            for key in ids:
                if key in letters:
                    letter, priority = letters.pop(key)
                    entry = Entry(self.space.number(), letter.queue, priority, letter.raw)
                    self.space.push(entry)
                    replayed.append(key)
            self.space.condition.notify_all()
        return replayed

    def forget_dead(self, ids: Sequence[str] | None = None) -> int:
        """Delete these dead letters, or all; return how many there were."""
        with self.space.condition:
            letters = self._letters()
            keys = [key for key in letters if ids is None or key in ids]
            for key in keys:
                del letters[key]
            return len(keys)

    def ping(self) -> str:
        """Return what this is."""
        return "memory of this process"

    def close(self) -> None:
        """Do nothing: there are no connections, and the messages stay."""


class MemoryConsumer(Consumer):
    """Leases from the queues of one space."""

    def __init__(self, broker: MemoryBroker, queues: Sequence[str], owner: str) -> None:
        self._broker = broker
        self._queues = tuple(queues)
        self._owner = owner
        self._woken = False

    def receive(self, limit: int, timeout: float) -> list[Delivery]:
        """Lease up to ``limit`` messages; wait ``timeout`` seconds for the first one."""
        # A manual clock decides what is due, but nobody could wait by it.
        end = SYSTEM.monotonic() + timeout
        space = self._broker.space
        with space.condition:
            while not self._woken:
                now = self._broker.options.clock.time()
                space.promote(now)
                taken = self._take(space, limit)
                left = end - SYSTEM.monotonic()
                if taken or left <= 0:
                    return taken
                if space.delayed:
                    left = min(left, max(space.delayed[0][0] - now, 0.001))
                space.condition.wait(left)
            self._woken = False
            return []

    def _take(self, space: Space, limit: int) -> list[Delivery]:
        taken: list[Delivery] = []
        while len(taken) < limit and (entry := space.pop(self._queues)) is not None:
            taken.append(self._broker.lease(entry, self._owner))
        return taken

    def wake(self) -> None:
        """Make a waiting `receive`, or else the next one, return at once."""
        with self._broker.space.condition:
            self._woken = True
            self._broker.space.condition.notify_all()

    def close(self) -> None:
        """Do nothing: leases held stay held."""
