"""The settler: commits completions in batches, and goes on trying until the broker took them."""

from __future__ import annotations

import logging
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from celeriac.error import EncodeError, OperationalError, PublishRejected
from celeriac.message import Completion, ResultRecord, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.broker.base import Broker
    from celeriac.store.base import Store

T = TypeVar("T")

logger = logging.getLogger("celeriac.worker")

#: Completions committed in one round trip or transaction at most.
BATCH = 256
#: Seconds between tries while the broker or the store is away.
PAUSES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)


class Settler(threading.Thread):
    """Commits what is put, in order, from a thread of its own.

    An acknowledgement that cannot be made now is retried, not the task: its lease stays in the slot
    table, so the supervisor keeps it alive meanwhile.

    Args:
        broker: settles.
        store: takes the results where the broker does not commit them itself.
        settled: called with each completion once it is through.
        unsendable: says what to do instead of a completion whose follow-ups are refused.
        failed: called after each try that failed.
    """

    def __init__(
        self,
        broker: Broker,
        store: Store,
        settled: Callable[[Completion], None],
        unsendable: Callable[[Completion, Exception], Completion],
        failed: Callable[[], None],
    ) -> None:
        super().__init__(name="settler", daemon=True)
        self._broker = broker
        self._store = store
        self._settled = settled
        self._unsendable = unsendable
        self._failed = failed
        self._queue: SimpleQueue[Completion | list[Completion] | ResultRecord | None] = (
            SimpleQueue()
        )
        self._atomic = broker.commits(store)
        #: Hands over a completion, or a result on the way such as STARTED; never blocks.  A list
        #: is settled in one piece, so that what goes back to the queue keeps its order.
        self.put = self._queue.put
        #: True while what was put cannot be committed: the fetcher stops leasing.
        self.blocked = False

    def finish(self) -> None:
        """Commit all that was put, however long it takes, and end."""
        self._queue.put(None)
        self.join()

    def run(self) -> None:
        """Commit batches until `finish`."""
        open_ = True
        while open_:
            completions: list[Completion] = []
            records: list[ResultRecord] = []
            item = self._queue.get()
            while True:
                match item:
                    case None:
                        open_ = False
                        break
                    case Completion():
                        completions.append(item)
                    case list():
                        completions += item
                    case ResultRecord():
                        records.append(item)
                if len(completions) >= BATCH:
                    break
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
            self._commit(records, completions)

    def _commit(self, records: list[ResultRecord], completions: list[Completion]) -> None:
        """Results on the way first; then result, follow-ups, verdict: all at once or in order."""
        if not self._atomic:
            records += [one.result for one in completions if one.result is not None]
        if records:
            self._store_all(records)
        if not completions:
            return
        if not self._atomic:
            for one in completions:
                one.result = None
        try:
            held = self._insist("settle", lambda: self._broker.settle(completions))
        except Exception as error:  # noqa: BLE001 - what cannot be committed ends as a dead letter
            self._commit_singly(completions, error)
            return
        for one, was_held in zip(completions, held, strict=True):
            if not was_held:
                self._fenced(one)
            self._settled(one)

    def _store_all(self, records: list[ResultRecord]) -> None:
        """Store results; one that cannot be stored at all must not keep the others back."""
        try:
            self._insist("store results", lambda: self._store.put(records))
        except Exception as error:  # noqa: BLE001 - told below, when it is known whose it is
            if len(records) > 1:
                for one in records:
                    self._store_all([one])
            else:
                logger.critical("Cannot store the result of %s: %r", records[0].id, error)

    def _commit_singly(self, completions: list[Completion], error: Exception) -> None:
        """Commit what can be of a batch in which something cannot; that becomes a dead letter."""
        if len(completions) > 1:
            for one in completions:
                self._commit([], [one])
            return
        one = completions[0]
        if one.verdict is Verdict.DEAD and not one.publish:
            # Even that: its lease runs out, and what comes back counts as lost once more.
            logger.critical("Cannot bury %s: %r", one.delivery.receipt, error)
            self._settled(one)
            return
        logger.error("Cannot settle %s: %r", one.delivery.receipt, error)
        self._commit([], [self._unsendable(one, error)])

    def _insist(self, what: str, action: Callable[[], T]) -> T:
        """Try until it is done.

        Raises:
            Exception: not one of broker or store, and still so after a few seconds.
        """
        tries = 0
        while True:
            try:
                done = action()
            except (PublishRejected, EncodeError):
                raise
            except OperationalError as error:
                if not self.blocked:
                    logger.info("Cannot %s now, will go on trying: %s", what, error)
            except Exception:
                # A bug, or a driver's, or a moment without memory.
                if tries == len(PAUSES):
                    self.blocked = False
                    raise
                logger.exception("Cannot %s, will go on trying", what)
            else:
                self.blocked = False
                return done
            self.blocked = True
            self._failed()
            time.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1

    def _fenced(self, completion: Completion) -> None:
        if completion.verdict is Verdict.RELEASE:
            return
        message = completion.delivery.message
        logger.warning(
            "Lost the lease of %s[%s] before it was settled; this run changes nothing",
            message.task if message else "an unreadable message",
            message.id if message else completion.delivery.receipt,
        )
