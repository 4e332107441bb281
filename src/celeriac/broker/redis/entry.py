"""From bytes in Redis to deliveries, and from messages to the arguments of scripts."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from celeriac.error import DecodeError
from celeriac.message import Delivery
from celeriac.protocol import envelope

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celeriac.engine.redis.layout import Layout
    from celeriac.message import Message, Outgoing


def delivery(receipt: str, queue: str, raw: bytes, max_bytes: int) -> Delivery:
    """Return the delivery of an envelope; one that cannot be read says why."""
    try:
        message = envelope.decode(raw, max_bytes=max_bytes)
    except DecodeError as error:
        return Delivery(receipt, queue, None, raw, str(error))
    marks = envelope.counts(message)
    return Delivery(receipt, queue, message, raw, None, *marks)


def split(value: bytes) -> tuple[bytes, str]:
    """Return the envelope and the queue of an entry that a script of ours has written."""
    head, _, queue = value.rpartition(b',"","')
    return head[1:], _unquote(queue[:-2])


def _unquote(text: bytes) -> str:
    if b"\\" not in text:
        return text.decode()
    import json

    name: str = json.loads(b'"%b"' % text)
    return name


def priority(message: Message | None) -> int:
    """Return the priority a message was sent with; 0 when it cannot be read."""
    value = message.properties.get("priority") if message is not None else None
    return value if isinstance(value, int) else 0


def marked(delivery: Delivery, deaths: int, losses: int) -> bytes:
    """Return the envelope with these counts, byte for byte the old one when it has them."""
    message = delivery.message
    if message is None:
        return delivery.raw
    redelivered = delivery.redelivered or deaths > 0 or losses > 0
    if envelope.counts(message) == (redelivered, deaths, losses):
        return delivery.raw
    return envelope.patch(delivery.raw, redelivered=redelivered, deaths=deaths, losses=losses)


class Lists:
    """The lists that a script writes to, numbered in the order of first use."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._numbers: dict[str, int] = {}
        self.channels: list[str] = []

    @property
    def keys(self) -> Iterable[str]:
        """Their keys."""
        return self._numbers

    def number(self, queue: str, priority: int) -> int:
        """Return the number of the list of a queue and priority, counted from 1."""
        key = self._layout.list_of(queue, priority)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._numbers) + 1
            # Consumers block on the best list of a queue; of the others they must be told.
            best = key == self._layout.lists(queue)[0]
            self.channels += [self._layout.wake(queue), "0" if best else "1"]
        return number

    def message(self, outgoing: Outgoing, raw: bytes) -> tuple[Any, ...]:
        """Return the arguments for one message to send: list, envelope, due time, once-key."""
        once = ""
        if outgoing.dedupe:
            retries = outgoing.message.headers.get("retries")
            tries = retries if isinstance(retries, int) else 0
            once = self._layout.once(outgoing.message.id, tries)
        # Rounded up: never early.
        due = "" if outgoing.due is None else str(ceil(outgoing.due * 1000))
        return (self.number(outgoing.queue, outgoing.priority), raw, due, once)
