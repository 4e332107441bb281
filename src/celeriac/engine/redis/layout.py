"""The names of all keys: kombu's where kombu has the key, ours under ``celeriac:``."""

from __future__ import annotations

import json
from bisect import bisect_right
from typing import TYPE_CHECKING

from celeriac.error import BrokerRefused

if TYPE_CHECKING:
    from celeriac.engine.redis.address import Address

#: between the parts of a binding, and by default between a queue and its priority step
SEPARATOR = "\x06\x16"
_RESERVED = ("_kombu.", "celeriac:", "celery-task-meta-", "celery-taskset-meta-")


class Layout:
    """The keys of one database under one prefix."""

    def __init__(self, address: Address) -> None:
        self.address = address
        prefix = self.prefix = address.prefix
        self.steps: tuple[int, ...] = address.option("priority_steps", (0, 3, 6, 9))
        self.separator: str = address.option("sep", SEPARATOR)
        self.unacked = prefix + address.option("unacked_key", "unacked")
        self.unacked_index = prefix + address.option("unacked_index_key", "unacked_index")
        self.lease = f"{prefix}celeriac:lease"
        self.started = f"{prefix}celeriac:started"
        self.owner = f"{prefix}celeriac:owner"
        self.alive = f"{prefix}celeriac:alive"
        self.claims = f"{prefix}celeriac:claim"
        self.eta = f"{prefix}celeriac:eta"
        self.eta_messages = f"{prefix}celeriac:eta:m"
        self.eta_count = f"{prefix}celeriac:eta:n"
        self.dead = f"{prefix}celeriac:dead"
        self.dead_messages = f"{prefix}celeriac:dead:m"
        self.malformed = f"{prefix}celeriac:malformed"
        self.success = f"{prefix}celeriac:success:"
        self.task_meta = f"{prefix}celery-task-meta-"
        # Publish and subscribe know no databases, so the channel names it.
        self._wake = f"{prefix}celeriac:wake:{address.db}:"
        self._lists: dict[str, tuple[str, ...]] = {}

    def lists(self, queue: str) -> tuple[str, ...]:
        """Return the lists of a queue, the best priority first.

        Raises:
            BrokerRefused: the queue cannot have this name.
        """
        known = self._lists.get(queue)
        if known is None:
            self._check(queue)
            known = self._lists[queue] = tuple(
                f"{self.prefix}{queue}{self.separator}{step}" if step else self.prefix + queue
                for step in self.steps
            )
        return known

    def list_of(self, queue: str, priority: int) -> str:
        """Return the list that takes messages of ``priority``, clamped to 0 to 9."""
        lists = self._lists.get(queue) or self.lists(queue)
        if priority <= 0:
            return lists[0]
        return lists[bisect_right(self.steps, min(priority, 9)) - 1]

    def claim(self, owner: str, queue: str) -> str:
        """Return the list through which ``owner`` takes messages of ``queue``."""
        return f"{self.claims}:{owner}:{queue}"

    def once(self, id: str, retries: int) -> str:  # noqa: A002
        """Return the mark that a message was accepted."""
        return f"{self.prefix}celeriac:once:{id}:{retries}"

    def sent(self, mark: str) -> str:
        """Return the mark that a call to publish was carried out."""
        return f"{self.prefix}celeriac:sent:{mark}"

    def wake(self, queue: str) -> str:
        """Return the channel that tells of messages nobody blocks for."""
        return self._wake + queue

    def result(self, id: str) -> str:  # noqa: A002
        """Return the key of a result, and the channel that tells of it."""
        return self.task_meta + id

    def bindings(self, queue: str) -> tuple[tuple[str, str], tuple[str, str]]:
        """Return the keys and members that declare ``queue`` to kombu."""
        member = f"{queue}{SEPARATOR}{SEPARATOR}{queue}"
        return (
            (f"{self.prefix}_kombu.binding.{queue}", member),
            (f"{self.prefix}_kombu.binding_permanent.{queue}", member),
        )

    def suffix(self, queue: str) -> str:
        """Return what follows the message in an entry of ``unacked``.

        The empty exchange makes a Celery worker restore the message straight to the queue.
        """
        return f',"",{json.dumps(queue)}]'

    def _check(self, queue: str) -> None:
        taken = queue in (
            self.unacked.removeprefix(self.prefix),
            self.unacked_index.removeprefix(self.prefix),
            "unacked_mutex",
        )
        if taken or queue.startswith(_RESERVED):
            raise BrokerRefused(f'the queue name "{queue}" is a key of the broker; choose another')
        if not queue or not queue.isprintable() or len(queue) > 255:
            raise BrokerRefused(f"the queue name {queue!r} must be 1 to 255 printable characters")
