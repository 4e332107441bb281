"""The worker, from the command line's options to its exit code: the boot order, line by line."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from celeriac import __version__, signal
from celeriac.error import ImproperlyConfigured
from celeriac.identifier import process_start
from celeriac.worker.banner import Introduction, banner, ready_line
from celeriac.worker.log import WorkerLog, expand_path
from celeriac.worker.setting import Plan, WorkerSettings, plan
from celeriac.worker.supervisor import Supervisor

if TYPE_CHECKING:
    from celeriac.app import Celeriac


logger = logging.getLogger("celeriac.worker")


class Worker:
    """One worker of an application.

    Args:
        app: whose tasks it runs.
        settings: what the command line says.

    Raises:
        ImproperlyConfigured: a setting or an option is wrong.
    """

    def __init__(self, app: Celeriac, settings: WorkerSettings) -> None:
        self.app = app
        self.settings = settings
        self._begun = time.monotonic()
        signal.celeryd_init.send(
            sender=None, instance=self, conf=app.conf, options=msgspec.structs.asdict(settings)
        )
        app.set_current()
        app.import_tasks()
        app.finalize()
        self.plan: Plan = plan(app, settings)
        signal.celeryd_after_setup.send(sender=self.plan.node, instance=self, conf=app.conf)

    def run(self) -> int:
        """Run until told to stop; return the exit code.

        Raises:
            ImproperlyConfigured: a file cannot be written, or another worker owns the pid file.
            BrokerRefused, StoreRefused: the broker or the store said no at the start.
        """
        if not hasattr(os, "fork"):
            raise ImproperlyConfigured("a worker needs fork(), which this system does not have")
        if not self.app.broker.capabilities.shared:
            raise ImproperlyConfigured(
                f"the broker {self.app.broker.display} lives in the memory of one process, and a "
                "worker has several; use sqlite:// for a queue that needs no server"
            )
        streams = sys.stdout, sys.stderr
        try:
            return self._supervise()
        finally:
            # Whatever is said after this is not for the log.
            sys.stdout, sys.stderr = streams

    def _supervise(self) -> int:
        log = WorkerLog(self.app.conf, self.settings, self.plan.node)
        log.set_up()
        signal.worker_init.send(sender=self)
        if not self.settings.quiet:
            self._say(banner(self._introduction()))
        supervisor = Supervisor(self.app, self.plan, log, self._ready)
        with _PidFile(self.settings.pidfile, self.plan.node):
            code = supervisor.run()
        signal.worker_shutdown.send(sender=self)
        self.app.close()
        return code

    def _ready(self) -> None:
        signal.worker_ready.send(sender=self)
        logger.info("%s ready.", self.plan.node)
        if not self.settings.quiet:
            self._say(ready_line(time.monotonic() - self._begun))

    @staticmethod
    def _say(text: str) -> None:
        # Past `worker_redirect_stdouts`: the banner is for the eye, not for the log.
        stream = sys.__stdout__ or sys.stdout
        if stream is not None:  # as under a service manager that closes it
            stream.write(text + "\n")
            stream.flush()

    def _introduction(self) -> Introduction:
        app, it = self.app, self.plan
        return Introduction(
            version=__version__,
            node=it.node,
            pid=os.getpid(),
            app=self.settings.app_name or app.main or "(no name)",
            broker=app.broker.display,
            results=app.store.display,
            pool=_pool(it),
            queues=it.queues,
            tasks=len(app.tasks),
        )


def _pool(it: Plan) -> str:
    if it.pool == "prefork":
        many = "process" if it.children == 1 else "processes"
        return f"prefork, {it.children} {many} ({os.cpu_count()} CPUs)"
    processes = f"{it.children} processes of " if it.children > 1 else ""
    unit = {"threads": "threads", "asyncio": "coroutines", "solo": "slot"}[it.pool]
    return f"{it.pool}, {processes}{it.slots} {unit}"


class _PidFile:
    """Holds the process id while the worker runs; a stale file of a dead process is replaced."""

    def __init__(self, path: str | None, node: str) -> None:
        self._path = Path(expand_path(path, node)) if path else None

    def __enter__(self) -> None:
        if self._path is None:
            return
        try:
            owner = int(self._path.read_text("ascii"))
        except (FileNotFoundError, ValueError):
            owner = 0
        if owner and owner != os.getpid() and process_start(owner) is not None:
            raise ImproperlyConfigured(
                f"{self._path} says that process {owner} is running; stop it, or name another "
                "file with --pidfile"
            )
        try:
            self._path.write_text(f"{os.getpid()}\n", "ascii")
        except OSError as error:
            raise ImproperlyConfigured(
                f"cannot write the pid file {self._path}: {error.strerror}"
            ) from error

    def __exit__(self, *_: object) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
