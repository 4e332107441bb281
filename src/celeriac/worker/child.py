"""A child: fetcher, executor and settler in one process, under a supervisor."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import multiprocessing
import os
import random
import select
import signal as unix
import sys
import threading
import time
from typing import TYPE_CHECKING

import msgspec

from celeriac import signal, state
from celeriac.error import OperationalError
from celeriac.execution.decide import (
    Policy,
    decide,
    decide_received,
    decide_unsendable,
    give_back,
    progress,
)
from celeriac.execution.job import Admission
from celeriac.execution.outcome import Success
from celeriac.execution.run import arun, run
from celeriac.identifier import process_start
from celeriac.pool import executor_class
from celeriac.pool.base import Resolve, Work
from celeriac.worker.fetcher import Fetcher
from celeriac.worker.report import report, report_refused
from celeriac.worker.settler import PAUSES, Settler
from celeriac.worker.slot import ENDED, RUNNING, SlotTable
from celeriac.worker.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.app import Celeriac
    from celeriac.execution.job import Job, Refused
    from celeriac.execution.outcome import Outcome
    from celeriac.message import Completion, Owner
    from celeriac.worker.setting import Plan

logger = logging.getLogger("celeriac.worker")
task_log = logging.getLogger("celeriac.task")

#: What the supervisor writes into the pipe of a child, and a child into its own.
DRAIN = b"d"
READY = b"r"

#: What the supervisor listens to and a child does not.
SIGNALS = (unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP)

PR_SET_PDEATHSIG = 1


class Child(Work):
    """Runs tasks for one owner id until it is told to drain.

    Args:
        app: whose tasks to run.
        plan: what the worker was asked to do.
        owner: the name to lease under; its pid is filled in by `main`.
        table: made by the supervisor before the fork.
        control: a socket to the supervisor, open for as long as the process works.
    """

    def __init__(
        self,
        app: Celeriac,
        plan: Plan,
        owner: Owner,
        table: SlotTable,
        control: int | None = None,
    ) -> None:
        self.app = app
        self.owner = owner
        self.table = table
        self.policy = Policy.of(app, plan.node)
        self.broker = app.broker
        self.executor = executor_class(plan.pool)(plan.slots, self)
        self.consumer = self.broker.consumer(plan.queues, owner.id)
        self.settler = Settler(
            self.broker, app.store, self._settled, self._unsendable, self._check_files
        )
        self.fetcher = Fetcher(
            Admission(app, plan.node),
            consumer=self.consumer,
            executor=self.executor,
            table=table,
            settler=self.settler,
            window=Window(plan.slots, plan.prefetch_limit),
            refuse=self._refuse,
            release=self.release,
            failed=self._check_files,
        )
        self._pid = os.getpid()
        self._control = control
        self._control_file = _file(control)
        self._begun = threading.Event()
        self._verbose = task_log.isEnabledFor(logging.INFO)
        self._draining = threading.Event()
        self._drained = threading.Event()

    def run(self) -> None:
        """Run tasks until `drain`; return when the last one is settled."""
        self.settler.start()
        self.fetcher.start()
        self._begun.set()
        self.executor.run()
        self._drained.wait()
        self.settler.finish()
        self.consumer.close()

    def drain(self) -> None:
        """Lease nothing more, give back what has not begun, let `run` end with the running jobs."""
        if self._draining.is_set():
            return
        self._draining.set()
        self.fetcher.stop()
        self.executor.stop()
        self._begun.wait()  # a worker may be told to stop while its children start
        self.fetcher.join()
        self.release(self.executor.withdraw())
        self._drained.set()

    # -- one job --------------------------------------------------------------------------

    def execute(self, job: Job, resolve: Resolve) -> None:
        """Run a job in the calling thread, and hand its completion to the settler."""
        job.begun = time.monotonic()
        if job.options.acks_late or self._mark_started(job):
            self._begin(job)
            self._end(job, run(job, resolve))

    async def aexecute(self, job: Job) -> None:
        """Run a job on the running event loop, and hand its completion to the settler."""
        job.begun = time.monotonic()
        # In a thread, since without the broker it waits, and the others must go on.
        if job.options.acks_late or await asyncio.to_thread(self._mark_started, job):
            self._begin(job)
            self._end(job, await arun(job))

    def _begin(self, job: Job) -> None:
        """Note the start, first of all in the slot table."""
        self.table.mark(job.delivery.receipt, RUNNING)
        if job.options.track_started:
            meta = {"pid": os.getpid(), "hostname": self.policy.node}
            record = progress(job, self.policy, state.STARTED, meta)
            if record is not None:
                self.settler.put(record)

    def _mark_started(self, job: Job) -> bool:
        """Early acknowledgement: from here on the message must not run again, whatever happens.

        False when the job must not be run here.
        """
        tries = 0
        while True:
            try:
                held = self.broker.mark_started([job.delivery.receipt])[0]
                break
            except OperationalError as error:
                logger.info("Cannot acknowledge %s now, will go on trying: %s", job.id, error)
                if self._draining.wait(PAUSES[min(tries, len(PAUSES) - 1)]):
                    self.release([job])
                    return False
                tries += 1
        if not held:
            logger.warning("Lost the lease of %s before it began; not run here", job.id)
            self.table.free(job.delivery.receipt)
            self.fetcher.withdrawn(1)
        return held

    def _end(self, job: Job, outcome: Outcome) -> None:
        if os.getpid() != self._pid:
            # The body has forked and let the copy return here: the job is the original's, and the
            # copy has no threads to settle it, nor the right to run the next one.
            os._exit(0)
        runtime = time.monotonic() - job.begun
        self.table.mark(job.delivery.receipt, ENDED)
        self.settler.put(decide(job, outcome, self.policy, time.time()))
        self.fetcher.ended(runtime)
        if self._verbose or type(outcome) is not Success:
            try:
                report(job, outcome, runtime)
            except Exception:
                logger.exception("Cannot log the end of %s", job.id)

    # -- without a run --------------------------------------------------------------------

    def _refuse(self, refused: Refused) -> None:
        completion = decide_received(refused, self.policy, time.time())
        self.settler.put(completion)
        report_refused(refused)

    def release(self, jobs: list[Job]) -> None:
        """Give back jobs that have not begun, to the front of their queues and in order."""
        if jobs:
            self.settler.put([give_back(job.delivery) for job in jobs])
            self.fetcher.withdrawn(len(jobs))

    def _unsendable(self, completion: Completion, error: Exception) -> Completion:
        return decide_unsendable(completion, error, self.policy, time.time())

    def _check_files(self) -> None:
        """End the process when a task has closed its files, those of the broker included.

        Nothing can be committed any more, and what is opened next may get a number that the
        connections still believe to be theirs.
        """
        if _file(self._control) == self._control_file:
            return
        logger.critical(
            "A task has closed the files of this process, as daemon code does; a task must close "
            "only what it has opened"
        )
        for one in self.table.held():
            if one.state == ENDED:
                # It is among the suspects: it must not come back for ever.
                self.table.mark(one.receipt, RUNNING)
        os._exit(1)

    def _settled(self, completion: Completion) -> None:
        self.table.free(completion.delivery.receipt)


def main(
    app: Celeriac,
    plan: Plan,
    owner: Owner,
    table: SlotTable,
    *,
    control: int,
    number: int,
    parent: int,
) -> None:
    """Be a child, in a process that was just forked.

    Args:
        app: whose tasks to run.
        plan: what the worker was asked to do.
        owner: the name to lease under, without its pid.
        table: shared with the supervisor.
        control: a socket to the supervisor.
        number: counts the children from 1, for the process name in the log.
        parent: the process id of the supervisor.
    """
    die_with(parent)
    for name in SIGNALS:
        # The supervisor decides.  A handler, since an ignored signal would stay ignored in the
        # programs that tasks start.
        unix.signal(name, _leave_to_supervisor)
    unix.signal(unix.SIGCHLD, unix.SIG_DFL)
    unix.pthread_sigmask(unix.SIG_UNBLOCK, {*SIGNALS, unix.SIGCHLD})
    multiprocessing.current_process().name = f"ForkPoolWorker-{number}"
    random.seed()
    pid = os.getpid()
    owner = msgspec.structs.replace(owner, pid=pid, start=process_start(pid) or "")
    if not _insist("register", lambda: app.broker.register(owner), control):
        return
    app.on_after_fork.send(sender=app)
    signal.worker_process_init.send(sender=None)
    child = Child(app, plan, owner, table, control)
    threading.excepthook = _thread_ended
    threading.Thread(target=_obey, args=(child, control), name="control", daemon=True).start()
    os.write(control, READY)
    child.run()
    signal.worker_process_shutdown.send(sender=None, pid=pid, exitcode=0)
    app.close()


def _obey(child: Child, control: int) -> None:
    """Do what the supervisor says; die when it is gone."""
    while True:
        word = os.read(control, 1)
        if word == DRAIN:
            child.drain()
        elif not word:
            os.kill(os.getpid(), unix.SIGKILL)


def _file(descriptor: int | None) -> tuple[int, int] | None:
    """Return which file a descriptor means; None when it is closed."""
    try:
        status = os.fstat(-1 if descriptor is None else descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _leave_to_supervisor(number: int, frame: object) -> None:
    del number, frame


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies (Linux); elsewhere `_obey` does."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, unix.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), unix.SIGKILL)


def _insist(what: str, action: Callable[[], None], control: int) -> bool:
    """Try until it is done; False when the supervisor speaks first: it says to stop, or is gone."""
    tries = 0
    while True:
        try:
            action()
        except OperationalError as error:
            logger.info("Cannot %s now, will go on trying: %s", what, error)
            if select.select([control], [], [], PAUSES[min(tries, len(PAUSES) - 1)])[0]:
                return False
            tries += 1
        else:
            return True


def _thread_ended(arguments: threading.ExceptHookArgs) -> None:
    """End the process when a bug has ended a thread of ours.

    Without it the child would hold for ever what it has leased; the supervisor gives that back.
    """
    threading.__excepthook__(arguments)
    name = arguments.thread.name if arguments.thread is not None else ""
    if name.startswith(("fetcher", "settler", "control", "slot-")):
        logger.critical("The thread %s of this child has ended; ending the child", name)
        os._exit(1)
