"""Plans about owners and their leases: register, renew, adopt, and find the dead."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from celeriac.broker.redis import catalog, entry
from celeriac.clock import SYSTEM
from celeriac.engine.redis.script import Call
from celeriac.error import DecodeError
from celeriac.identifier import token
from celeriac.message import Owner
from celeriac.protocol import envelope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from celeriac.broker.base import BrokerOptions
    from celeriac.engine.redis.layout import Layout
    from celeriac.engine.redis.runner import Plan
    from celeriac.message import Delivery

#: The most that one call looks at, adopts or renews.
_PAGE, _PAGES, _CHUNK = 1000, 50, 100

_encode_owner = msgspec.json.Encoder().encode
_decode_owner = msgspec.json.Decoder(Owner).decode


class Sightings:
    """What was seen past its time, with which score, and since when by our own clock.

    A wall clock that jumps, ours or the server's, thus takes nobody's lease.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._seen: dict[str, tuple[str, float]] = {}

    def ripe(self, present: Mapping[str, str]) -> list[tuple[str, str]]:
        """Note what is past its time now; return what has been so, unchanged, for long enough."""
        now = SYSTEM.monotonic()
        before, self._seen = self._seen, {}
        ripe = []
        for name, score in present.items():
            known = before.get(name)
            if known is None or known[0] != score:
                self._seen[name] = (score, now)
                continue
            self._seen[name] = known
            if now - known[1] >= self._patience:
                ripe.append((name, score))
        return ripe

    def forget(self) -> None:
        """Begin anew: while we could not see, anything may have happened."""
        self._seen = {}


class Recovery:
    """Makes the plans that watch over leases."""

    def __init__(self, layout: Layout, options: BrokerOptions) -> None:
        self._layout = layout
        self._ttl = f"{options.lease_ttl * 1000:.0f}"
        self._lease_ttl = options.lease_ttl
        self._max_bytes = options.max_message_bytes
        self._foreign_ttl: float = layout.address.option("visibility_timeout", 3600.0)
        self._leases = Sightings(options.recovery_grace)
        self._owners = Sightings(options.recovery_grace)
        self._foreign = Sightings(options.recovery_grace)
        #: The queues of this broker: what it registered and what it consumes.
        self.queues: set[str] = set()

    def forget(self) -> None:
        """Forget what was seen, after an error of the broker."""
        for sightings in (self._leases, self._owners, self._foreign):
            sightings.forget()

    # -- the living ------------------------------------------------------------------------

    def register(self, owner: Owner) -> Plan[None]:
        """Announce an owner."""
        self.queues.update(owner.queues)
        yield [
            ("HSET", self._layout.owner, owner.id, _encode_owner(owner)),
            self._renewal(owner.id, ()),
        ]

    def unregister(self, owner: str) -> Plan[None]:
        """Forget an owner and put back what was on its way to it."""
        yield [self._retirement(owner)]

    def owners(self) -> Plan[list[Owner]]:
        """Return the registered owners."""
        (flat,) = yield [("HGETALL", self._layout.owner)]
        return sorted((_decode_owner(value) for value in flat[1::2]), key=lambda owner: owner.id)

    def renew(self, owner: str, receipts: Sequence[str]) -> Plan[list[str]]:
        """Keep an owner and its leases alive; return the lost ones."""
        chunks = [receipts[i : i + _PAGE] for i in range(0, len(receipts), _PAGE)] or [()]
        replies = yield [self._renewal(owner, chunk) for chunk in chunks]
        return [lost.decode() for reply in replies for lost in reply]

    def _renewal(self, owner: str, receipts: Sequence[str]) -> Call:
        layout = self._layout
        keys = [layout.unacked, layout.unacked_index, layout.lease, layout.alive]
        return Call(catalog.RENEW, keys, [owner, self._ttl, *receipts])

    def _retirement(self, owner: str, seen: str = "") -> Call:
        layout = self._layout
        keys = [layout.owner, layout.alive, layout.claims]
        return Call(catalog.RETIRE, keys, [owner, layout.prefix, seen])

    def mark_started(self, receipts: Sequence[str]) -> Plan[list[bool]]:
        """Note that deliveries have begun to run."""
        layout = self._layout
        keys = [layout.unacked, layout.unacked_index, layout.started]
        (reply,) = yield [Call(catalog.START, keys, receipts)]
        return list(map(bool, reply))

    # -- the dead --------------------------------------------------------------------------

    def adopt(self, owner: str, by: str) -> Plan[list[Delivery]]:
        """Take over what ``owner`` holds."""
        yield [self._retirement(owner)]
        return (yield from self._inherit(owner, by))

    def _inherit(self, owner: str, by: str) -> Plan[list[Delivery]]:
        tokens, cursor = set[bytes](), b"0"
        while True:
            scan = ("ZSCAN", self._layout.lease, cursor, "MATCH", f"{owner}.*", "COUNT", _PAGE)
            ((cursor, flat),) = yield [scan]
            # The pattern of "a" also finds the tokens of "a.b".
            tokens.update(name for name in flat[::2] if _owner(name) == owner)
            if cursor == b"0":
                break
        pairs = [(name.decode(), "") for name in sorted(tokens, key=_order)]
        return (yield from self._take_over(pairs, by, ()))

    def _take_over(
        self, pairs: Sequence[tuple[str, str]], by: str, endings: Sequence[str]
    ) -> Plan[list[Delivery]]:
        """Lease these anew for ``by``, where they are still as they were seen."""
        layout, deliveries = self._layout, list[Any]()
        keys = [layout.unacked, layout.unacked_index, layout.lease, layout.started]
        prefix = f"{by}.{token(4)}."
        for start in range(0, len(pairs), _CHUNK):
            chunk = [value for pair in pairs[start : start + _CHUNK] for value in pair]
            arguments = [self._ttl, prefix, start, len(endings), *endings, *chunk]
            (flat,) = yield [Call(catalog.ADOPT, keys, arguments)]
            for number, value, started, former in zip(*[iter(flat)] * 4, strict=True):
                raw, queue = entry.split(value)
                delivery = entry.delivery(f"{prefix}{number}", queue, raw, self._max_bytes)
                delivery.redelivered = True
                delivery.started = bool(started)
                delivery.previous = former.decode()
                deliveries.append(delivery)
        return deliveries

    def adopt_expired(self, by: str) -> Plan[list[Delivery]]:
        """Take over what nobody has renewed, in our queues."""
        layout = self._layout
        ((seconds, micros),) = yield [("TIME",)]
        now = int(seconds) + int(micros) / 1e6
        leases = yield from self._past(layout.lease, now * 1000)
        owners = yield from self._past(layout.alive, (now - self._lease_ttl) * 1000)
        held = yield from self._past(layout.unacked_index, now - self._foreign_ttl)
        endings = [layout.suffix(queue) for queue in sorted(self.queues)]
        adopted = yield from self._take_over(self._leases.ripe(leases), by, endings)
        owners.pop(by, None)  # whoever asks is alive
        silent = self._owners.ripe(owners)
        for owner in (yield from self._our_owners(silent)):
            adopted += yield from self._inherit(owner, by)
        yield from self._restore(self._foreign.ripe(held))
        yield [self._retirement("")]
        return adopted

    def _past(self, key: str, limit: float) -> Plan[dict[str, str]]:
        """Return the members of a sorted set up to ``limit``, with their scores as text."""
        found: dict[str, str] = {}
        for page in range(_PAGES):
            part = ("LIMIT", page * _PAGE, _PAGE)
            (flat,) = yield [("ZRANGEBYSCORE", key, "-inf", f"{limit:.6f}", "WITHSCORES", *part)]
            names, scores = flat[::2], flat[1::2]
            found.update(
                (name.decode(errors="surrogateescape"), score.decode())
                for name, score in zip(names, scores, strict=True)
            )
            if len(names) < _PAGE:
                break
        return found

    def _our_owners(self, silent: Sequence[tuple[str, str]]) -> Plan[list[str]]:
        """Retire silent owners that share a queue with us; return those that stayed silent."""
        if not silent:
            return []
        (records,) = yield [("HMGET", self._layout.owner, *(name for name, _ in silent))]
        ours = [
            (name, score)
            for (name, score), record in zip(silent, records, strict=True)
            if self._is_ours(_decode_owner(record).queues if record else ())
        ]
        if not ours:
            return []
        replies = yield [self._retirement(name, score) for name, score in ours]
        return [name for (name, _), moved in zip(ours, replies, strict=True) if moved >= 0]

    def _is_ours(self, queues: Iterable[str]) -> bool:
        return not queues or not self.queues or not self.queues.isdisjoint(queues)

    # -- what Celery workers left behind ---------------------------------------------------

    def _restore(self, ripe: Sequence[tuple[str, str]]) -> Plan[None]:
        """Put back what Celery workers held for longer than they may."""
        layout = self._layout
        for start in range(0, len(ripe), _CHUNK):
            chunk = ripe[start : start + _CHUNK]
            tags = [tag.encode(errors="surrogateescape") for tag, _ in chunk]
            leases, entries = yield [
                ("ZMSCORE", layout.lease, *tags),
                ("HMGET", layout.unacked, *tags),
            ]
            calls = []
            for (_, score), tag, lease, value in zip(chunk, tags, leases, entries, strict=True):
                if lease is not None:  # ours: it has a deadline
                    continue
                target = (yield from self._origin(value)) if value else (layout.malformed, b"")
                if target is not None:
                    keys = [layout.unacked, layout.unacked_index, target[0]]
                    calls.append(Call(catalog.RESTORE, keys, [tag, score, target[1]]))
            if calls:
                yield calls

    def _origin(self, value: bytes) -> Plan[tuple[str, bytes] | None]:
        """Return the list and the envelope of a foreign entry; None when it is not ours."""
        layout = self._layout
        parsed = _foreign(value)
        if parsed is None:
            return layout.malformed, value
        raw, exchange, key = parsed
        queue = key
        if exchange:
            (bindings,) = yield [("SMEMBERS", f"{layout.prefix}_kombu.binding.{exchange}")]
            parts = [member.decode().split(layout.separator) for member in bindings]
            queue = next((part[2] for part in parts if len(part) == 3 and part[0] == key), key)
        if self.queues and queue not in self.queues:
            return None
        try:
            message = envelope.decode(raw, max_bytes=self._max_bytes)
            marks = envelope.counts(message)
            raw = envelope.patch(raw, redelivered=True, deaths=marks.deaths, losses=marks.losses)
        except DecodeError:
            return layout.malformed, value
        return layout.list_of(queue, entry.priority(message)), raw


def _foreign(value: bytes) -> tuple[bytes, str, str] | None:
    """Return envelope, exchange and routing key of an entry that kombu wrote, or None."""
    try:
        message, exchange, key = json.loads(value)
        if not isinstance(message, dict) or not isinstance(key, str):
            return None
        return json.dumps(message).encode(), str(exchange or ""), key
    except (ValueError, TypeError, RecursionError):
        return None


def _owner(name: bytes) -> str:
    return name.rsplit(b".", 2)[0].decode(errors="replace")


def _order(name: bytes) -> tuple[bytes, int]:
    """Sort tokens as they were made: their last part is a number."""
    head, _, number = name.rpartition(b".")
    return head, int(number) if number.isdigit() else 0
