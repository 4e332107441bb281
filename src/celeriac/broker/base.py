"""The broker port: what celeriac asks of a message broker.

An adapter implements `Broker` and `Consumer`.  `celeriac.testing.contracts` holds the contract
as tests; every adapter, ours or a third party's, runs them.

What every method keeps to:

* *Errors.*  Exceptions of drivers never escape.  `BrokerUnavailable`: not now, try again.
  `BrokerRefused`: the server said no, and the message names the cure.
* *Threads.*  A `Broker` may be called from any thread.  A `Consumer` belongs to one thread,
  except for `Consumer.wake`.
* *Forks.*  Nothing is connected before first use; a connection made before a fork is dropped
  without a word to the server in the child.
* *Leases.*  A lease belongs to one delivery.  Its token, the receipt, is never reused, and every
  change of a leased message succeeds only while the token holds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import msgspec

from celeriac.clock import SYSTEM, Clock

if TYPE_CHECKING:
    from types import TracebackType

    from celeriac.message import Completion, DeadLetter, Delivery, Outgoing, Owner, QueueDepth
    from celeriac.store.base import Store


class Capabilities(msgspec.Struct, frozen=True):
    """What a broker can do; the contract tests skip what it cannot.

    Attributes:
        shared: several processes can use one queue.
        durable: messages survive the death of every process of ours.
        priorities: how many priorities are told apart; 1 means none.
        max_delay: seconds that the broker can hold a message back; None means any.
        transactional: a completion is committed as a whole, and with the results of a store for
            which `Broker.commits` is true.
        receipt_size: the longest receipt, bytes.
        max_bytes: the longest message, bytes; None means no limit of its own.
    """

    shared: bool = True
    durable: bool = True
    priorities: int = 1
    max_delay: float | None = None
    transactional: bool = False
    receipt_size: int = 64
    max_bytes: int | None = None


class BrokerOptions(msgspec.Struct, frozen=True):
    """The settings a broker is opened with.

    Attributes:
        lease_ttl: seconds that a lease lives without a renewal.
        recovery_grace: seconds for which a survivor must have seen an expired lease unchanged, by
            its own monotonic clock, before it takes it over.
        publish_timeout: seconds that a publish may take at most.
        dead_letter_ttl: seconds that a dead letter is kept.
        max_message_bytes: longer messages are refused with `PublishRejected`.
        transport_options: the user's ``broker_transport_options``.
        clock: the source of time; only the memory broker follows a manual one.
    """

    lease_ttl: float = 30.0
    recovery_grace: float = 15.0
    publish_timeout: float = 10.0
    dead_letter_ttl: float = 30 * 86400.0
    max_message_bytes: int = 64 * 1024 * 1024
    transport_options: Mapping[str, Any] = {}
    clock: Clock = SYSTEM


class Consumer(ABC):
    """Leases messages from some queues for one owner; used by one thread."""

    @abstractmethod
    def receive(self, limit: int, timeout: float) -> list[Delivery]:
        """Lease up to ``limit`` messages, best priority first and first in first out within one.

        Waits at most ``timeout`` seconds for the first one, is woken by a publish without polling
        where the broker can, and returns an empty list when there was none or `wake` was called.
        A message whose envelope cannot be read is delivered too, with `Delivery.problem` set.
        Messages that are due are moved to their queues on the way.

        A reply lost on the way loses no message: what was leased by a call that failed comes back
        by a later call or when its lease expires.

        Raises:
            BrokerUnavailable: try again later; the consumer reconnects by itself.
            BrokerRefused: trying again won't help.
        """

    @abstractmethod
    def wake(self) -> None:
        """Make a waiting `receive` return at once; from any thread, never blocks."""

    @abstractmethod
    def close(self) -> None:
        """Give up the connections.  Leases held stay held."""


class Broker(ABC):
    """Carries messages."""

    capabilities: Capabilities
    options: BrokerOptions
    #: The URL without its password, for banners and errors.
    display: str

    @abstractmethod
    def __init__(self, url: str, options: BrokerOptions) -> None:
        """Take the URL and the settings; connect to nothing.

        Raises:
            ImproperlyConfigured: malformed URL, unknown option, or a driver that is not installed
                (the message names the extra: ``pip install "celeriac[redis]"``).
        """

    # -- sending ---------------------------------------------------------------------------

    @abstractmethod
    def publish(self, batch: Sequence[Outgoing]) -> None:
        """Send all messages of the batch; return once the server has them.

        An `Outgoing` with ``due`` waits in the broker, in nobody's memory.  Queues are declared
        as needed.  A connection that turns out to be dead is replaced and the batch sent again
        only when it is certain that nothing was accepted, or with de-duplication.

        Raises:
            PublishRejected: certainly not accepted (too large, full); nothing of the batch was.
            PublishUnknown: may have been accepted; repeat with the same ids and ``dedupe``.
            BrokerUnavailable: certainly not accepted, the broker is not reachable.
            BrokerRefused: certainly not accepted, trying again won't help.
        """

    @abstractmethod
    async def apublish(self, batch: Sequence[Outgoing]) -> None:
        """Do what `publish` does without blocking the running event loop."""

    # -- consuming -------------------------------------------------------------------------

    @abstractmethod
    def consumer(self, queues: Sequence[str], owner: str) -> Consumer:
        """Return a consumer that leases from ``queues`` in the name of ``owner``."""

    @abstractmethod
    def settle(self, batch: Sequence[Completion]) -> list[bool]:
        """Carry out completions, each wholly or not at all; tell for each whether its lease held.

        Where the lease held: stores ``result`` (only when `commits` is true for the store it is
        meant for: otherwise the caller has stored it already and leaves it None), publishes
        ``publish``, and then removes the message (ACK), puts it back with the counts given, at the
        front of its queue or due after ``delay`` seconds (RELEASE; several released in one batch
        keep their order), or moves it to the dead letters (DEAD).  Where the lease was lost:
        nothing at all.  Settling twice is harmless.

        Without `Capabilities.transactional` the order is: publish, then the verdict.

        Raises:
            BrokerUnavailable: it may or may not have been carried out; settle again.
        """

    @abstractmethod
    def mark_started(self, receipts: Sequence[str]) -> list[bool]:
        """Note durably that these deliveries have begun to run and must not begin again.

        Used for early acknowledgement (``acks_late=False``), before the body is entered.  Returns
        for each whether the lease held; where it did not, the task must not be run.
        """

    @abstractmethod
    def commits(self, store: Store) -> bool:
        """Tell whether `settle` can commit results of ``store`` together with the message."""

    # -- leases ----------------------------------------------------------------------------

    @abstractmethod
    def register(self, owner: Owner) -> None:
        """Announce a process that is about to lease."""

    @abstractmethod
    def unregister(self, owner: str) -> None:
        """Forget an owner that holds nothing any more."""

    @abstractmethod
    def owners(self) -> list[Owner]:
        """Return the registered owners, those included that died without a word."""

    @abstractmethod
    def renew(self, owner: str, receipts: Sequence[str]) -> list[str]:
        """Keep the owner and these leases alive for another ``lease_ttl``; return the lost ones.

        Only what is named is renewed, so a lease whose reply was lost expires by itself.
        """

    @abstractmethod
    def adopt(self, owner: str, by: str) -> list[Delivery]:
        """Take over everything that ``owner``, which is known to be dead, holds.

        The deliveries are leased anew in the name of ``by``; the old tokens are worth nothing from
        now on, and `Delivery.previous` tells them.  Messages that were on their way to ``owner``
        but not leased yet go back to the front of their queues.  ``owner`` is forgotten.
        """

    @abstractmethod
    def adopt_expired(self, by: str) -> list[Delivery]:
        """Take over leases that nobody has renewed, of this broker's queues.

        Made to be called once every few seconds.  A lease is taken only when it is past its time
        by the server's clock, and this process has then seen it unchanged for ``recovery_grace``
        seconds by its own monotonic clock, without a broker error in between; the take-over is a
        compare-and-swap on what was seen.  Owners without a sign of life for as long are adopted
        whole, as by `adopt`.
        """

    # -- administration --------------------------------------------------------------------

    @abstractmethod
    def depth(self, queues: Sequence[str]) -> dict[str, QueueDepth]:
        """Count the messages of each queue."""

    @abstractmethod
    def purge(self, queue: str) -> int:
        """Remove the ready and delayed messages of a queue; return how many there were."""

    @abstractmethod
    def dead_letters(self, limit: int = 100, offset: int = 0) -> list[DeadLetter]:
        """Return dead letters, the latest first."""

    @abstractmethod
    def dead_letter(self, id: str) -> DeadLetter | None:  # noqa: A002
        """Return one dead letter."""

    @abstractmethod
    def replay(self, ids: Sequence[str]) -> list[str]:
        """Put dead letters back into their queues with their counts at zero; return those found.

        Each is moved in one step: never in both places, never in none.
        """

    @abstractmethod
    def forget_dead(self, ids: Sequence[str] | None = None) -> int:
        """Delete these dead letters, or all; return how many there were."""

    @abstractmethod
    def ping(self) -> str:
        """Reach the broker once; return what it is, for instance ``Redis 7.2.4``.

        Raises:
            BrokerUnavailable, BrokerRefused: as everywhere.
        """

    @abstractmethod
    def close(self) -> None:
        """Give up all connections; they are made anew when needed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
