"""The adapter: errors in the port's words around plans of the other modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from celeriac.broker.base import Broker, Capabilities
from celeriac.broker.redis.administration import Administration
from celeriac.broker.redis.consumer import RedisConsumer
from celeriac.broker.redis.recovery import Recovery
from celeriac.broker.redis.sending import Sender
from celeriac.broker.redis.settlement import Settler
from celeriac.engine.redis.address import Address, parse
from celeriac.engine.redis.fault import Fault, Kind
from celeriac.engine.redis.layout import Layout
from celeriac.engine.redis.runner import AsyncRunner, Runner, one
from celeriac.error import BrokerRefused, BrokerUnavailable
from celeriac.protocol import envelope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celeriac.broker.base import BrokerOptions, Consumer
    from celeriac.engine.redis.runner import Plan
    from celeriac.message import Completion, DeadLetter, Delivery, Outgoing, Owner, QueueDepth
    from celeriac.store.base import Store

T = TypeVar("T")

#: The longest string Redis takes (``proto-max-bulk-len``).
_MAX_BYTES = 512 * 1024 * 1024


def translate(fault: Fault) -> Exception:
    """Return the port's error for a fault; a full server is waited for."""
    kind = BrokerRefused if fault.kind is Kind.REFUSED else BrokerUnavailable
    return kind(fault.text)


class RedisBroker(Broker):
    """Messages in Redis or Valkey, shared with Celery workers."""

    def __init__(self, url: str, options: BrokerOptions) -> None:
        self.address = parse(url, options.transport_options)
        self.options = options
        self.display = self.address.display
        self._layout = Layout(self.address)
        self._runner = Runner(self.address)
        self._async_runner = AsyncRunner(self.address)
        self._sender = Sender(self._layout, options)
        self._settler = Settler(self._layout, options)
        self._recovery = Recovery(self._layout, options)
        self._administration = Administration(self._layout, options)
        self.capabilities = Capabilities(
            priorities=len(self._layout.steps),
            transactional=True,
            max_bytes=_MAX_BYTES,
        )

    def _run(self, plan: Plan[T]) -> T:
        try:
            return self._runner.run(plan)
        except Fault as fault:
            self._recovery.forget()
            raise translate(fault) from fault

    # -- sending ---------------------------------------------------------------------------

    def publish(self, batch: Sequence[Outgoing]) -> None:
        """See the port."""
        timeout = self.options.publish_timeout
        if len(batch) == 1 and (key := self._sender.ready(batch[0])) is not None:
            self._push(batch[0], key, timeout)
        elif batch:
            self._runner.run(self._sender.publish(batch), timeout)

    def _push(self, outgoing: Outgoing, key: str, timeout: float) -> None:
        """Publish with one command: what ``delay()`` does nearly always."""
        raw = envelope.encode(outgoing)
        if len(raw) > self.options.max_message_bytes:
            raise self._sender.too_large(outgoing, raw)
        try:
            self._runner.command(("LPUSH", key, raw), timeout)
        except Fault as fault:
            self._runner.run(self._sender.resume(outgoing, key, raw, fault), timeout)

    async def apublish(self, batch: Sequence[Outgoing]) -> None:
        """See the port."""
        if batch:
            plan = self._sender.publish(batch)
            await self._async_runner.run(plan, self.options.publish_timeout)

    # -- consuming -------------------------------------------------------------------------

    def consumer(self, queues: Sequence[str], owner: str) -> Consumer:
        """See the port."""
        self._recovery.queues.update(queues)
        return RedisConsumer(self._runner, self._layout, self.options, queues, owner)

    def settle(self, batch: Sequence[Completion]) -> list[bool]:
        """See the port."""
        return self._run(self._settler.settle(batch)) if batch else []

    def mark_started(self, receipts: Sequence[str]) -> list[bool]:
        """See the port."""
        return self._run(self._recovery.mark_started(receipts)) if receipts else []

    def commits(self, store: Store) -> bool:
        """See the port: the same database under the same prefix."""
        address = getattr(store, "address", None)
        return isinstance(address, Address) and address.place == self.address.place

    # -- leases ----------------------------------------------------------------------------

    def register(self, owner: Owner) -> None:
        """See the port."""
        self._run(self._recovery.register(owner))

    def unregister(self, owner: str) -> None:
        """See the port."""
        self._run(self._recovery.unregister(owner))

    def owners(self) -> list[Owner]:
        """See the port."""
        return self._run(self._recovery.owners())

    def renew(self, owner: str, receipts: Sequence[str]) -> list[str]:
        """See the port."""
        return self._run(self._recovery.renew(owner, receipts))

    def adopt(self, owner: str, by: str) -> list[Delivery]:
        """See the port."""
        return self._run(self._recovery.adopt(owner, by))

    def adopt_expired(self, by: str) -> list[Delivery]:
        """See the port."""
        return self._run(self._recovery.adopt_expired(by))

    # -- administration --------------------------------------------------------------------

    def depth(self, queues: Sequence[str]) -> dict[str, QueueDepth]:
        """See the port."""
        return self._run(self._administration.depth(queues)) if queues else {}

    def purge(self, queue: str) -> int:
        """See the port."""
        return self._run(self._administration.purge(queue))

    def dead_letters(self, limit: int = 100, offset: int = 0) -> list[DeadLetter]:
        """See the port."""
        return self._run(self._administration.dead_letters(limit, offset))

    def dead_letter(self, id: str) -> DeadLetter | None:  # noqa: A002
        """See the port."""
        return self._run(self._administration.dead_letter(id))

    def replay(self, ids: Sequence[str]) -> list[str]:
        """See the port."""
        return self._run(self._administration.replay(ids))

    def forget_dead(self, ids: Sequence[str] | None = None) -> int:
        """See the port."""
        return self._run(self._administration.forget_dead(ids))

    def ping(self) -> str:
        """See the port."""
        self._run(one("PING"))
        server = self._runner.server
        return f"{server.name} {server.version}"

    def close(self) -> None:
        """See the port."""
        self._runner.close()
