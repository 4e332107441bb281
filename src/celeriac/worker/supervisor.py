"""The supervisor: starts and watches children, keeps their leases, and never runs a task.

One thread, one loop.  Connections are given up before every fork and made anew after it, so a
child never shares one.  `docs/delivery.md` says what must hold when any of this is killed.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal as unix
import socket
import sys
import time
from collections import deque
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import msgspec

from celeriac import signal
from celeriac.error import BrokerRefused, OperationalError, StoreRefused
from celeriac.identifier import machine, process_start, token
from celeriac.message import Owner
from celeriac.worker import child as child_process
from celeriac.worker.reclaim import Reclaim
from celeriac.worker.slot import Held, SlotTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.app import Celeriac
    from celeriac.worker.log import WorkerLog
    from celeriac.worker.setting import Plan

logger = logging.getLogger("celeriac.worker")

#: Seconds between looks for owners that died on this machine, and for expired leases.
RECOVERY_INTERVAL = 2.0
#: Seconds between tries to reach the broker at the start.
CONNECT_PAUSES = (1.0, 2.0, 4.0, 8.0)
#: Seconds before a child that died before it was ready is started again, by tries.
RESTART_PAUSES = (0.1, 0.5, 1.0, 5.0)

SIGNALS = (*child_process.SIGNALS, unix.SIGCHLD)


class ChildProcess(msgspec.Struct):
    """What the supervisor knows of one child."""

    pid: int
    number: int
    owner: str
    table: SlotTable
    control: socket.socket
    ready: bool = False


class Bereaved(msgspec.Struct, frozen=True):
    """The leases of a child that has ended, still to be taken over."""

    owner: str
    held: list[Held]
    blame: bool


class Supervisor:
    """Runs the children of one worker until it is told to stop.

    Args:
        app: whose tasks the children run.
        plan: what the worker was asked to do.
        log: gives each child its log file.
        on_ready: called once, when every child is ready.
    """

    def __init__(
        self, app: Celeriac, plan: Plan, log: WorkerLog, on_ready: Callable[[], None]
    ) -> None:
        self._app = app
        self._plan = plan
        self._log = log
        self._on_ready: Callable[[], None] | None = on_ready
        self._name = token(4)
        self._children: dict[int, ChildProcess] = {}
        self._bereaved: deque[Bereaved] = deque()
        self._restarts: list[tuple[float, int]] = []
        self._failed_starts = 0
        self._spawned = 0
        self._stopping = False
        self._killed = False  # the children were ended by us: nobody is to blame
        self._cold = False
        self._deadline: float | None = None
        self._lost_broker = False
        self._missing: set[str] = set()  # leases that the last renewal did not find
        self._lost: set[str] = set()  # those that the one before had not found either
        self._selector = selectors.DefaultSelector()
        self._signals, self._wakeup = socket.socketpair()
        pid = os.getpid()
        self._owner = Owner(
            f"{self._name}.0", plan.node, machine(), pid, process_start(pid) or "", plan.queues
        )
        self._reclaim = Reclaim(app, plan.node, self._owner.id)

    # -- the loop -------------------------------------------------------------------------

    def run(self) -> int:
        """Supervise; return the exit code: 0 after a warm shutdown, 1 after a cold one."""
        self._listen()
        try:
            if not self._connect():
                return 0
            for number in range(1, self._plan.children + 1):
                self._spawn(number)
            renew_at = recover_at = 0.0
            while not (self._stopping and not self._children):
                now = time.monotonic()
                if now >= renew_at:
                    renew_at = now + self._duty(self._renew, self._plan.lease_heartbeat)
                if now >= recover_at:
                    recover_at = now + self._duty(self._recover, RECOVERY_INTERVAL)
                self._wait(min(renew_at, recover_at) - time.monotonic())
                self._reap()
                self._restart()
                self._enforce_grace()
            self._leave()
        finally:
            self._selector.close()
            self._signals.close()
            unix.set_wakeup_fd(-1)
            self._wakeup.close()
        return 1 if self._cold else 0

    def _listen(self) -> None:
        self._signals.setblocking(False)
        self._wakeup.setblocking(False)
        for number in SIGNALS:
            unix.signal(number, _note)
        unix.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._signals, selectors.EVENT_READ, None)

    def _wait(self, timeout: float) -> None:
        if self._bereaved or self._restarts:
            timeout = min(timeout, 0.1)
        if self._deadline is not None:
            timeout = min(timeout, self._deadline - time.monotonic())
        for key, _ in self._selector.select(max(timeout, 0.0)):
            if key.data is None:
                for number in self._signals.recv(64):
                    self._signalled(number)
            else:
                self._heard(key.data)

    def _heard(self, child: ChildProcess) -> None:
        try:
            word = child.control.recv(1)
        except ConnectionError:
            word = b""
        if not word:
            self._selector.unregister(child.control)
            return
        child.ready = True
        self._failed_starts = 0
        ready = sum(one.ready for one in self._children.values())
        if self._on_ready and ready == self._plan.children:
            self._on_ready()
            self._on_ready = None

    # -- children -------------------------------------------------------------------------

    def _spawn(self, number: int) -> None:
        """Start a child, or try again later when the system cannot: the others go on meanwhile."""
        # No connection may be shared with a child, and an SQLite one must not even be closed there.
        self._app.disconnect()
        try:
            with ExitStack() as undo:
                self._fork(number, undo)
        except OSError as error:
            logger.error("Cannot start child %d, will go on trying: %s", number, error)
            self._restarts.append((time.monotonic() + RESTART_PAUSES[-1], number))

    def _fork(self, number: int, undo: ExitStack) -> None:
        self._spawned += 1
        plan = self._plan
        capabilities = self._app.broker.capabilities
        table = SlotTable(plan.slots + 2 * plan.prefetch_limit, capabilities.receipt_size)
        undo.callback(table.close)
        owner = Owner(f"{self._name}.{self._spawned}", plan.node, machine(), 0, "", plan.queues)
        ours, theirs = socket.socketpair()
        undo.callback(theirs.close)
        undo.callback(ours.close)
        _flush()
        # A signal that comes before the child has handlers of its own would be handled by ours.
        unix.pthread_sigmask(unix.SIG_BLOCK, SIGNALS)
        parent = os.getpid()
        try:
            pid = os.fork()
            if not pid:
                ours.close()
                self._be_child(parent, owner, table, theirs, number)
        finally:
            unix.pthread_sigmask(unix.SIG_UNBLOCK, SIGNALS)
        undo.pop_all()
        theirs.close()
        child = ChildProcess(pid, number, owner.id, table, ours)
        self._children[pid] = child
        self._selector.register(ours, selectors.EVENT_READ, child)

    def _be_child(
        self, parent: int, owner: Owner, table: SlotTable, control: socket.socket, number: int
    ) -> None:
        """Never return: this process has no other purpose."""
        code = 1
        try:
            unix.set_wakeup_fd(-1)
            for sibling in self._children.values():
                sibling.control.close()
            self._selector.close()
            self._signals.close()
            self._wakeup.close()
            self._log.enter_child(number)
            child_process.main(
                self._app,
                self._plan,
                owner,
                table,
                control=control.fileno(),
                number=number,
                parent=parent,
            )
            code = 0
        except BaseException:
            logger.critical("Child %d failed", number, exc_info=True)
        finally:
            # Whatever happens: this process must not go on as a second supervisor.
            try:
                _flush()
            finally:
                os._exit(code)

    def _reap(self) -> None:
        for pid, child in list(self._children.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._children[pid]
                self._buried(child, os.waitstatus_to_exitcode(status))
        while self._bereaved:
            one = self._bereaved[0]
            try:
                self._reclaim.of_child(one.owner, one.held, one.blame)
            except OperationalError as error:
                self._broker_lost(error)
                return
            except Exception:
                # Its leases run out, and survivors take them over.
                logger.exception("Cannot take over the work of child %s", one.owner)
            self._bereaved.popleft()

    def _buried(self, child: ChildProcess, code: int) -> None:
        if child.control in [key.fileobj for key in self._selector.get_map().values()]:
            self._selector.unregister(child.control)
        child.control.close()
        held = child.table.held()
        child.table.close()
        self._bereaved.append(Bereaved(child.owner, held, blame=not self._killed))
        if self._stopping:
            return
        how = f"signal {unix.Signals(-code).name}" if code < 0 else f"exit code {code}"
        logger.error("Child %d (pid %d) ended with %s; replacing it", child.number, child.pid, how)
        pause = 0.0
        if not child.ready:
            self._failed_starts += 1
            pause = RESTART_PAUSES[min(self._failed_starts, len(RESTART_PAUSES)) - 1]
        self._restarts.append((time.monotonic() + pause, child.number))

    def _restart(self) -> None:
        if self._stopping:
            self._restarts.clear()
        for one in [one for one in self._restarts if one[0] <= time.monotonic()]:
            self._restarts.remove(one)
            self._spawn(one[1])

    # -- the broker -----------------------------------------------------------------------

    def _connect(self) -> bool:
        """Wait for the broker, saying so; False when told to stop meanwhile.

        Raises:
            BrokerRefused, StoreRefused: waiting won't help.
            BrokerUnavailable, StoreUnavailable: the settings say not to wait, or no longer.
        """
        conf, tries = self._app.conf, 0
        patient = conf.broker_connection_retry_on_startup
        if patient is None:
            patient = conf.broker_connection_retry
        while not self._stopping:
            try:
                self._app.broker.ping()
                self._app.broker.register(self._owner)
                if self._app.store.enabled:
                    self._app.store.get([self._owner.id])
            except (BrokerRefused, StoreRefused):
                raise
            except OperationalError as error:
                limit = conf.broker_connection_max_retries
                if not patient or (limit and tries >= limit):
                    raise
                pause = CONNECT_PAUSES[min(tries, len(CONNECT_PAUSES) - 1)]
                tries += 1
                logger.error(
                    "%s. Trying again in %.2f seconds... (try %d)",
                    str(error).rstrip("."),
                    pause,
                    tries,
                )
                self._deadline = time.monotonic() + pause
                while not self._stopping and time.monotonic() < self._deadline:
                    self._wait(pause)
                self._deadline = None if not self._stopping else self._deadline
            else:
                return True
        return False

    def _duty(self, duty: Callable[[], None], interval: float) -> float:
        """Do ``duty``; return the seconds until it is due again."""
        try:
            duty()
        except OperationalError as error:
            self._broker_lost(error)
            return min(interval, 1.0)
        except Exception:
            # The children and their tasks must not end for a bug in here.
            logger.exception("Cannot %s, will go on trying", duty.__name__.strip("_"))
            return min(interval, 1.0)
        if self._lost_broker:
            self._lost_broker = False
            logger.warning("The broker is back: %s", self._app.broker.display)
        return interval

    def _broker_lost(self, error: OperationalError) -> None:
        if not self._lost_broker:
            self._lost_broker = True
            logger.error("Lost the broker; going on trying. %s", error)

    def _renew(self) -> None:
        broker = self._app.broker
        broker.renew(self._owner.id, self._reclaim.held)
        missing: set[str] = set()
        for child in self._children.values():
            receipts = [one.receipt for one in child.table.held()]
            missing.update(broker.renew(child.owner, receipts))
        # What was settled just now is missing too, but no longer in the table the next time.
        lost = missing & self._missing
        for receipt in lost - self._lost:
            logger.warning("Lease %s was lost; its task may run elsewhere too", receipt)
        self._missing, self._lost = missing, lost

    def _recover(self) -> None:
        mine = {child.owner for child in self._children.values()}
        mine.update(one.owner for one in self._bereaved)
        self._reclaim.of_dead_neighbours(self._plan.queues, mine)
        self._reclaim.of_lost_hosts()

    # -- the end --------------------------------------------------------------------------

    def _signalled(self, number: int) -> None:
        if number == unix.SIGCHLD:
            return
        if number == unix.SIGQUIT or self._stopping:
            self._cold = True
            logger.warning("Stopping now")
            self._kill()
        if not self._stopping:
            self._stopping = True
            signal.worker_shutting_down.send(
                sender=self._plan.node, sig=unix.Signals(number).name, how="Warm", exitcode=0
            )
            running = sum(
                1 for child in self._children.values() for one in child.table.held() if one.state
            )
            logger.info(
                "Stopping: nothing more is started; %d leased tasks are finished or given back "
                "(again to stop now)",
                running,
            )
            if self._plan.grace is not None:
                self._deadline = time.monotonic() + self._plan.grace
            for child in self._children.values():
                try:
                    child.control.send(child_process.DRAIN)
                except OSError as error:
                    logger.debug("Child %d cannot be told to stop: %s", child.number, error)

    def _enforce_grace(self) -> None:
        if self._stopping and self._deadline is not None and time.monotonic() >= self._deadline:
            self._deadline = None
            if not self._killed:
                logger.warning("The grace of %s s is over", self._plan.grace)
                self._kill()

    def _kill(self) -> None:
        """End the children now; what they were running goes back to the queue unblamed."""
        self._stopping = True
        self._killed = True
        for child in self._children.values():
            os.kill(child.pid, unix.SIGKILL)

    def _leave(self) -> None:
        self._reap()
        try:
            self._app.broker.unregister(self._owner.id)
        except OperationalError as error:
            logger.warning("Could not sign off from the broker: %s", error)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            # What is closed, or a pipe without a reader, has nobody to tell.
            with suppress(OSError, ValueError):
                stream.flush()


def _note(number: int, frame: object) -> None:
    """Do nothing: the number of the signal arrives through the wakeup socket."""
    del number, frame
