"""Take over the work of the dead, and decide what becomes of it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from celeriac.error import OperationalError
from celeriac.execution.decide import Policy, decide_abandoned, give_back
from celeriac.identifier import machine, process_start
from celeriac.message import Verdict
from celeriac.worker.slot import ENDED, RUNNING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from celeriac.app import Celeriac
    from celeriac.message import Completion, Delivery
    from celeriac.task import TaskOptions
    from celeriac.worker.slot import Held

logger = logging.getLogger("celeriac.worker")


class Reclaim:
    """Adopts leases in the name of a supervisor.

    Args:
        app: whose tasks tell how often a death is forgiven.
        node: the name of the worker.
        owner: the name to adopt under.
    """

    def __init__(self, app: Celeriac, node: str, owner: str) -> None:
        self._app = app
        self._owner = owner
        self._policy = Policy.of(app, node)
        #: Adopted and decided, but not settled yet.
        self._undone: list[Completion] = []

    @property
    def held(self) -> list[str]:
        """The receipts of what was adopted and could not be settled yet."""
        return [one.delivery.receipt for one in self._undone]

    def of_child(self, owner: str, held: Sequence[Held], blame: bool) -> None:
        """Take over from a child of ours that has ended.

        Args:
            owner: the name it leased under.
            held: what its slot table said.
            blame: what it was running is suspected to have killed it.
        """
        self._settle()
        entries = {one.receipt: one for one in held}
        # Where no body was running, what was about to be settled is all that there is to suspect.
        suspects = RUNNING if any(one.state == RUNNING for one in held) else ENDED
        for delivery in self._app.broker.adopt(owner, self._owner):
            entry = entries.get(delivery.previous)
            entered = entry is not None and entry.state in (RUNNING, ENDED)
            early = delivery.started or (entry is not None and entry.early and entered)
            if early or (blame and entry is not None and entry.state == suspects):
                self._decide(delivery, died=entered, early=early)
            else:
                self._undone.append(give_back(delivery))
        self._settle()

    def of_dead_neighbours(self, queues: Collection[str], mine: Collection[str]) -> None:
        """Take over from processes of other workers on this machine that are gone."""
        self._settle()
        broker = self._app.broker
        owners = {owner.id: owner for owner in broker.owners() if owner.machine == machine()}
        alive = {one.id for one in owners.values() if process_start(one.pid) == one.start}
        for owner in owners.values():
            if owner.id in alive or owner.id in mine or owner.id == self._owner:
                continue
            # A supervisor that lives knows better what its dead child was running.
            if owner.id.rpartition(".")[0] + ".0" in alive:
                continue
            if owner.queues and not set(owner.queues) & set(queues):
                continue
            logger.warning("%s (pid %d) is gone; taking over its work", owner.node, owner.pid)
            self._lost(broker.adopt(owner.id, self._owner))

    def of_lost_hosts(self) -> None:
        """Take over leases that nobody renews any more."""
        self._lost(self._app.broker.adopt_expired(self._owner))

    def _lost(self, deliveries: Sequence[Delivery]) -> None:
        for one in deliveries:
            self._decide(one, died=False, early=one.started)
        self._settle()

    def _decide(self, delivery: Delivery, died: bool, early: bool) -> None:
        options = self._options(delivery)
        completion = decide_abandoned(
            delivery, options, self._policy, time.time(), died=died, early=early
        )
        message = delivery.message
        name = f"{message.task}[{message.id}]" if message else "an unreadable message"
        if completion.verdict is Verdict.DEAD:
            logger.error("Giving up on %s: %s", name, completion.detail)
        elif died:
            logger.error(
                "Task %s killed its process (%d of %d times); running it again in %g s",
                name,
                completion.deaths,
                options.max_deaths,
                completion.delay,
            )
        self._undone.append(completion)

    def _options(self, delivery: Delivery) -> TaskOptions:
        task = self._app.tasks.get(delivery.message.task) if delivery.message else None
        return task.options(self._app) if task else self._app.default_options()

    def _settle(self) -> None:
        """Settle what is undone; it stays undone when the broker or the store is away."""
        try:
            self._commit(self._undone)
        except OperationalError:
            raise
        except Exception:
            # A bug must end neither the supervisor nor the work of the others.
            logger.exception("Cannot settle what was taken over; trying one by one")
            for one in self._undone:
                try:
                    self._commit([one])
                except Exception:
                    # Its lease runs out, and what comes back counts as lost once more.
                    logger.exception("Cannot settle %s", one.delivery.receipt)
        self._undone = []

    def _commit(self, completions: list[Completion]) -> None:
        if not completions:
            return
        broker, store = self._app.broker, self._app.store
        if not broker.commits(store):
            records = [one.result for one in completions if one.result is not None]
            if records:
                store.put(records)
            for one in completions:
                one.result = None
        broker.settle(completions)
