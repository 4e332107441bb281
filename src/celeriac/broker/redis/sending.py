"""The plan of a publish.

The common case, messages for one list of the best priority, is a single ``LPUSH``.  Everything
else is one script, which is carried out once however often it is sent: it leaves a mark.

A plain ``LPUSH`` leaves none.  When its reply is lost we look for the envelope, which is unique
because of its delivery tag: on its list, on its way to a worker, leased, or its result stored.
What is found was accepted.  What is not found was never accepted, or is already done: nobody can
tell, and the caller gets `PublishUnknown` instead of a second run.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from celeriac.broker.redis import catalog
from celeriac.broker.redis.entry import Lists
from celeriac.clock import SYSTEM
from celeriac.engine.redis.fault import Fault, Kind
from celeriac.engine.redis.script import Call
from celeriac.error import BrokerRefused, BrokerUnavailable, PublishRejected, PublishUnknown
from celeriac.identifier import token
from celeriac.protocol import envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celeriac.broker.base import BrokerOptions
    from celeriac.engine.redis.connection import Command
    from celeriac.engine.redis.layout import Layout
    from celeriac.engine.redis.runner import Plan
    from celeriac.message import Outgoing

_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class Sender:
    """Makes the plans that send messages."""

    def __init__(self, layout: Layout, options: BrokerOptions) -> None:
        self._layout = layout
        self._options = options
        self._declared: set[str] = set()

    def publish(self, batch: Sequence[Outgoing]) -> Plan[None]:
        """Send a batch.

        Raises:
            PublishRejected, PublishUnknown, BrokerUnavailable, BrokerRefused: as the port says.
        """
        raws = [envelope.encode(outgoing) for outgoing in batch]
        self._check_sizes(batch, raws)
        if self._is_plain(batch):
            key = self._layout.lists(batch[0].queue)[0]
            command: Command | Call = ("LPUSH", key, *raws)
            search = partial(self._seek, key, batch[-1], raws[-1])
        else:
            command, search = self._script(batch, raws), None
        yield from self._persist({item.queue for item in batch}, command, search)

    def _persist(
        self, queues: set[str], command: Command | Call, search: Callable[[], Call] | None
    ) -> Plan[None]:
        """Send ``command`` until it certainly was accepted, or time is up.

        Args:
            queues: what to declare first.
            command: what to send.
            search: in doubt, what tells whether it was accepted; None where ``command`` itself
                may be repeated.
        """
        deadline = SYSTEM.monotonic() + self._options.publish_timeout
        pause, doubtful = _PAUSE, False
        while True:
            try:
                yield from self._declare(queues)
                if not doubtful or search is None:
                    yield [command]
                    return
                (found,) = yield [search()]
                if found:
                    return
                raise PublishUnknown(
                    "the connection to Redis ended before the answer came, and the message is in "
                    "no queue: it was not accepted, or it has been run already"
                )
            except Fault as fault:
                doubtful = doubtful or fault.doubtful
                last = SYSTEM.monotonic() + pause >= deadline
                if last or fault.kind is not Kind.UNAVAILABLE:
                    raise _failure(fault, doubtful) from fault
            yield pause
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _declare(self, queues: set[str]) -> Plan[None]:
        """Tell kombu of queues, once per process and before the first message."""
        new = queues - self._declared
        if not new:
            return
        try:
            yield [
                ("SADD", key, member)
                for queue in sorted(new)
                for key, member in self._layout.bindings(queue)
            ]
        except Fault as fault:  # no message has left yet
            raise Fault(fault.text, fault.kind) from fault
        self._declared |= new

    def _is_plain(self, batch: Sequence[Outgoing]) -> bool:
        queue, steps = batch[0].queue, self._layout.steps
        next_step = steps[1] if len(steps) > 1 else 10
        return all(
            item.due is None
            and not item.dedupe
            and item.priority < next_step
            and item.queue == queue
            for item in batch
        )

    def _script(self, batch: Sequence[Outgoing], raws: list[bytes]) -> Call:
        layout, lists = self._layout, Lists(self._layout)
        messages: list[Any] = []
        for item, raw in zip(batch, raws, strict=True):
            messages += lists.message(item, raw)
        keys = [layout.alive, layout.eta, layout.eta_messages, layout.eta_count]
        return Call(
            catalog.PUBLISH,
            [*keys, layout.sent(token(8)), *lists.keys],
            [*lists.channels, *messages],
        )

    def _seek(self, key: str, outgoing: Outgoing, raw: bytes) -> Call:
        """Return the search for the last message of a batch, which was accepted as a whole."""
        layout, message = self._layout, outgoing.message
        # A retry has the id of its first run, whose result would prove nothing.
        evidence = message.id if not message.headers.get("retries") else ""
        keys = [key, layout.unacked, layout.unacked_index, layout.claims, layout.result(evidence)]
        return Call(catalog.SEEK, keys, [raw])

    def _check_sizes(self, batch: Sequence[Outgoing], raws: list[bytes]) -> None:
        limit = self._options.max_message_bytes
        for item, raw in zip(batch, raws, strict=True):
            if len(raw) > limit:
                raise PublishRejected(
                    f"the message {item.message.id} of {item.message.task} has {len(raw)} bytes "
                    f"and max_message_bytes is {limit}: send a reference to the data instead"
                )


def _failure(fault: Fault, doubtful: bool) -> Exception:
    if doubtful:
        return PublishUnknown(
            f"{fault.text}; the message may or may not have been accepted: "
            "repeat it with the same task id"
        )
    if fault.kind is Kind.FULL:
        return PublishRejected(fault.text)
    if fault.kind is Kind.REFUSED:
        return BrokerRefused(fault.text)
    return BrokerUnavailable(fault.text)
