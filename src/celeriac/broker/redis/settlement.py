"""The plan of a settle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from celeriac.broker.redis import catalog, entry
from celeriac.broker.redis.entry import Lists
from celeriac.engine.redis.script import Call
from celeriac.identifier import uuid
from celeriac.message import DeadLetter, Verdict
from celeriac.protocol import envelope
from celeriac.state import SUCCESS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from celeriac.broker.base import BrokerOptions
    from celeriac.engine.redis.layout import Layout
    from celeriac.engine.redis.runner import Plan
    from celeriac.message import Completion

#: The most that one script carries out, so that no call blocks the server for long.
MOST, MOST_BYTES = 256, 4 * 1024 * 1024

encode_dead = msgspec.msgpack.Encoder().encode
decode_dead = msgspec.msgpack.Decoder(DeadLetter).decode


class Settler:
    """Makes the plans that carry out completions."""

    def __init__(self, layout: Layout, options: BrokerOptions) -> None:
        self._layout = layout
        self._kept = f"{options.dead_letter_ttl * 1000:.0f}"

    def settle(self, batch: Sequence[Completion]) -> Plan[list[bool]]:
        """Carry out completions; return for each whether its lease held."""
        held: list[bool] = []
        for call in self._calls(batch):
            (reply,) = yield [call]
            held += map(bool, reply)
        return held

    def _calls(self, batch: Sequence[Completion]) -> Iterator[Call]:
        lists, arguments, count, size = Lists(self._layout), list[Any](), 0, 0
        for completion in batch:
            mine = self._arguments(completion, lists)
            # Only what is long counts: bytes are messages, payloads and records.
            weight = sum(len(item) for item in mine if type(item) is bytes)
            if count and (count >= MOST or size + weight > MOST_BYTES):
                yield self._call(lists, arguments)
                lists, arguments, count, size = Lists(self._layout), [], 0, 0
                mine = self._arguments(completion, lists)
            arguments += mine
            count += 1
            size += weight
        if count:
            yield self._call(lists, arguments)

    def _call(self, lists: Lists, arguments: list[Any]) -> Call:
        layout = self._layout
        keys = [
            layout.unacked,
            layout.unacked_index,
            layout.lease,
            layout.started,
            layout.alive,
            layout.eta,
            layout.eta_messages,
            layout.eta_count,
            layout.dead,
            layout.dead_messages,
            *lists.keys,
        ]
        return Call(catalog.SETTLE, keys, [self._kept, *lists.channels, *arguments])

    def _arguments(self, completion: Completion, lists: Lists) -> list[Any]:
        """Return what settle.lua reads for one completion."""
        delivery = completion.delivery
        arguments: list[Any] = [delivery.receipt]
        record = completion.result
        if record is None:
            arguments.append("0")
        else:
            layout = self._layout
            arguments += (
                "1",
                layout.task_meta + record.id,
                record.payload,
                milliseconds(record.ttl),
                "1" if record.state == SUCCESS else "0",
                layout.success + record.id,
            )
        arguments.append(len(completion.publish))
        for outgoing in completion.publish:
            arguments += lists.message(outgoing, envelope.encode(outgoing))
        if completion.verdict is Verdict.ACK:
            arguments.append("A")
        elif completion.verdict is Verdict.RELEASE:
            number = lists.number(delivery.queue, entry.priority(delivery.message))
            raw = entry.marked(delivery, completion.deaths, completion.losses)
            arguments += ("R", number, raw, f"{completion.delay * 1000:.0f}")
        else:
            letter = _dead_letter(completion)
            arguments += ("D", letter.id, encode_dead(letter))
        return arguments


def milliseconds(ttl: float | None) -> str:
    """Return a time to live for Redis; ``0`` is for ever."""
    return "0" if ttl is None else f"{max(ttl * 1000, 1):.0f}"


def _dead_letter(completion: Completion) -> DeadLetter:
    """Return the record of a burial; the time of death is the server's, in the set's score."""
    delivery, message = completion.delivery, completion.delivery.message
    return DeadLetter(
        id=(message.id if message is not None else "") or uuid(),
        task=message.task if message is not None else "",
        queue=delivery.queue,
        reason=completion.reason,
        detail=completion.detail,
        died=0.0,
        deaths=completion.deaths,
        losses=completion.losses,
        raw=delivery.raw,
    )
