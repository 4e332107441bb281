"""The plan of a publish.

The common case, messages for one list of the best priority, is a single ``LPUSH``.  Everything
else is one script, which is carried out once however often it is sent: it leaves a mark.

A plain ``LPUSH`` leaves none.  When its reply is lost we look for the envelope, which is unique
because of its delivery tag: on its list, on its way to a worker, leased, or its result stored.
What is found was accepted.  What is not found was never accepted, or is already done: nobody can
tell, and the caller gets `PublishUnknown` instead of a second run.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

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
#: Sends in doubt that a process remembers.
_MOST_DOUBTS = 1000


class _Doubt(NamedTuple):
    """A send whose reply was lost: what was sent, and how to look for it."""

    command: Command | Call
    search: Callable[[], Call] | None


class Sender:
    """Makes the plans that send messages."""

    def __init__(self, layout: Layout, options: BrokerOptions) -> None:
        self._layout = layout
        self._options = options
        self._declared: set[str] = set()
        # Sends of one message that are in doubt, by task id: a repetition looks there first.
        self._doubts: OrderedDict[str, _Doubt] = OrderedDict()
        # The first priority that is not served first; with other steps than kombu's, all of them.
        self._second_step = (*layout.steps, 10)[1] if layout.steps[0] == 0 else -1

    def publish(self, batch: Sequence[Outgoing]) -> Plan[None]:
        """Send a batch.

        Raises:
            PublishRejected, PublishUnknown, BrokerUnavailable, BrokerRefused: as the port says.
        """
        doubt = self._doubts.pop(batch[0].message.id, None) if len(batch) == 1 else None
        if doubt is not None and (yield from self._was_accepted(doubt)):
            return
        raws = [envelope.encode(outgoing) for outgoing in batch]
        for item, raw in zip(batch, raws, strict=True):
            if len(raw) > self._options.max_message_bytes:
                raise self.too_large(item, raw)
        if self._is_plain(batch):
            key = self._layout.lists(batch[0].queue)[0]
            command: Command | Call = ("LPUSH", key, *raws)
            search = partial(self._seek, key, batch[-1], raws[-1])
        else:
            command, search = self._script(batch, raws), None
        yield from self._persist(batch, command, search)

    def _was_accepted(self, doubt: _Doubt) -> Plan[bool]:
        """Find out about an earlier send; one that leaves a mark is simply carried out again."""
        try:
            (found,) = yield [doubt.command if doubt.search is None else doubt.search()]
        except Fault as fault:
            raise _failure(fault, doubtful=True) from fault
        return doubt.search is None or bool(found)

    def ready(self, outgoing: Outgoing) -> str | None:
        """Return the list where one ``LPUSH`` publishes ``outgoing``, or None."""
        if (
            outgoing.due is None
            and not outgoing.dedupe
            and outgoing.priority < self._second_step
            and outgoing.queue in self._declared
            and outgoing.message.id not in self._doubts
        ):
            return self._layout.prefix + outgoing.queue
        return None

    def resume(self, outgoing: Outgoing, key: str, raw: bytes, fault: Fault) -> Plan[None]:
        """Go on after the ``LPUSH`` of one message has failed.

        Raises:
            PublishRejected, PublishUnknown, BrokerUnavailable, BrokerRefused: as the port says.
        """
        search = partial(self._seek, key, outgoing, raw)
        return self._persist((outgoing,), ("LPUSH", key, raw), search, fault)

    def _persist(
        self,
        batch: Sequence[Outgoing],
        command: Command | Call,
        search: Callable[[], Call] | None,
        fault: Fault | None = None,
    ) -> Plan[None]:
        """Send ``command``; in doubt whether it was accepted, find out.

        Args:
            batch: what it publishes.
            command: what to send.
            search: in doubt, what tells whether it was accepted; None where ``command`` itself
                may be repeated.
            fault: it has been sent already, with this outcome.
        """
        deadline = SYSTEM.monotonic() + self._options.publish_timeout
        queues = {item.queue for item in batch}
        pause, doubtful = _PAUSE, False
        while True:
            try:
                if fault is not None:
                    raise fault
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
            except Fault as failed:
                doubtful = doubtful or failed.doubtful
                last = SYSTEM.monotonic() + pause >= deadline
                # What certainly was not sent is for the caller to send again.
                if last or not doubtful or failed.kind is not Kind.UNAVAILABLE:
                    if doubtful and len(batch) == 1:
                        self._remember(batch[0].message.id, _Doubt(command, search))
                    raise _failure(failed, doubtful) from failed
            fault = None
            yield pause
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _remember(self, task_id: str, doubt: _Doubt) -> None:
        self._doubts[task_id] = doubt
        if len(self._doubts) > _MOST_DOUBTS:
            self._doubts.popitem(last=False)

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
        queue = batch[0].queue
        for item in batch:
            if item.due is not None or item.dedupe or item.queue != queue:
                return False
            if self._layout.list_of(queue, item.priority) != self._layout.lists(queue)[0]:
                return False
        return True

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

    def too_large(self, outgoing: Outgoing, raw: bytes) -> PublishRejected:
        """Return the error for a message that is too large."""
        message, limit = outgoing.message, self._options.max_message_bytes
        return PublishRejected(
            f"the message {message.id} of {message.task} has {len(raw)} bytes and "
            f"max_message_bytes is {limit}: send a reference to the data instead"
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
