"""Plans for humans: counts, purges, dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from celeriac.broker.redis import catalog, entry
from celeriac.broker.redis.settlement import decode_dead
from celeriac.engine.redis.script import Call
from celeriac.error import DecodeError
from celeriac.message import QueueDepth
from celeriac.protocol import envelope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeriac.broker.base import BrokerOptions
    from celeriac.engine.redis.layout import Layout
    from celeriac.engine.redis.runner import Plan
    from celeriac.message import DeadLetter

_PAGE = 1000
#: How far the name of a list lies inside a member of ``celeriac:eta``.
_NAME = 41


class Administration:
    """Makes the plans that look and tidy up."""

    def __init__(self, layout: Layout, options: BrokerOptions) -> None:
        self._layout = layout
        keys = [layout.dead, layout.dead_messages]
        self._expire = Call(catalog.EXPIRE, keys, [f"{options.dead_letter_ttl * 1000:.0f}"])

    def depth(self, queues: Sequence[str]) -> Plan[dict[str, QueueDepth]]:
        """Count ready, delayed and leased messages."""
        layout, commands = self._layout, list[Any]()
        for queue in queues:
            lists = layout.lists(queue)
            commands += [("LLEN", key) for key in lists]
            commands.append(("HMGET", layout.eta_count, *lists))
        endings = [layout.suffix(queue) for queue in queues]
        commands.append(Call(catalog.COUNT, [layout.unacked, layout.lease], endings))
        *replies, leased = yield commands
        depths, width = {}, len(layout.steps) + 1
        for index, queue in enumerate(queues):
            *ready, delayed = replies[index * width : (index + 1) * width]
            waiting = sum(int(count or 0) for count in delayed)
            depths[queue] = QueueDepth(sum(ready), waiting, leased[index])
        return depths

    def purge(self, queue: str) -> Plan[int]:
        """Remove the ready and delayed messages of a queue."""
        layout = self._layout
        lists = layout.lists(queue)
        wanted = {key.encode() for key in lists}
        keys = [layout.eta, layout.eta_messages, layout.eta_count, *lists]
        (removed,) = yield [Call(catalog.PURGE, keys, [])]
        cursor, count = b"0", int(removed)
        while True:
            ((cursor, flat),) = yield [("ZSCAN", layout.eta, cursor, "COUNT", _PAGE)]
            members = [member for member in flat[::2] if member[_NAME:] in wanted]
            if members:
                (removed,) = yield [Call(catalog.PURGE, keys[:3], members)]
                count += removed
            if cursor == b"0":
                return count

    # -- dead letters ----------------------------------------------------------------------

    def dead_letters(self, limit: int, offset: int) -> Plan[list[DeadLetter]]:
        """Return dead letters, the latest first."""
        if limit <= 0:
            return []
        key = self._layout.dead
        last = offset + limit - 1
        _, flat = yield [self._expire, ("ZREVRANGE", key, offset, last, "WITHSCORES")]
        if not flat:
            return []
        ids, scores = flat[::2], flat[1::2]
        (records,) = yield [("HMGET", self._layout.dead_messages, *ids)]
        return [
            _letter(record, score)
            for record, score in zip(records, scores, strict=True)
            if record is not None
        ]

    def dead_letter(self, id: str) -> Plan[DeadLetter | None]:  # noqa: A002
        """Return one dead letter."""
        layout = self._layout
        _, record, score = yield [
            self._expire,
            ("HGET", layout.dead_messages, id),
            ("ZSCORE", layout.dead, id),
        ]
        return _letter(record, score) if record is not None and score is not None else None

    def replay(self, ids: Sequence[str]) -> Plan[list[str]]:
        """Put dead letters back into their queues; return those found."""
        layout = self._layout
        moved: list[str] = []
        for id in ids:  # noqa: A001
            (record,) = yield [("HGET", layout.dead_messages, id)]
            if record is None:
                continue
            target, raw, channel = self._revived(decode_dead(record))
            keys = [layout.dead, layout.dead_messages, target]
            (done,) = yield [Call(catalog.REPLAY, keys, [id, record, raw, channel])]
            if done:
                moved.append(id)
        return moved

    def _revived(self, letter: DeadLetter) -> tuple[str, bytes, str]:
        """Return the list, the envelope without counts, and the channel to wake, if any."""
        raw, priority = letter.raw, 0
        try:
            message = envelope.decode(raw)
            raw = envelope.patch(raw, redelivered=False, deaths=0, losses=0)
        except DecodeError:
            message = None
        priority = entry.priority(message)
        target = self._layout.list_of(letter.queue, priority)
        best = target == self._layout.lists(letter.queue)[0]
        return target, raw, "" if best else self._layout.wake(letter.queue)

    def forget_dead(self, ids: Sequence[str] | None) -> Plan[int]:
        """Delete these dead letters, or all."""
        layout = self._layout
        if ids is None:
            count, _, _ = yield [
                ("ZCARD", layout.dead),
                ("DEL", layout.dead),
                ("DEL", layout.dead_messages),
            ]
            return int(count)
        if not ids:
            return 0
        count, _ = yield [
            ("ZREM", layout.dead, *ids),
            ("HDEL", layout.dead_messages, *ids),
        ]
        return int(count)


def _letter(record: bytes, score: bytes) -> DeadLetter:
    return msgspec.structs.replace(decode_dead(record), died=float(score) / 1e6)
