"""A place for a test: one broker, one ledger, clients and workers of both sides."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import celery
from tests.interop import subject
from tests.interop.process import Worker

import celeriac
from celeriac.testing.ledger import VARIABLE, Ledger

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = {"celery": celery.Celery, "celeriac": celeriac.Celeriac}


class Site:
    """A place with one broker and one ledger, and any number of clients and workers."""

    def __init__(self, directory: Path, url: str, prefix: str = "") -> None:
        self.directory = directory
        self.url = url
        self.prefix = prefix
        self.ledger = Ledger(directory)
        self.workers: list[Worker] = []
        self._clients: list[Any] = []

    def client(self, side: str, **settings: Any) -> Any:
        """Return an application of one side, in this process."""
        app = subject.make(CLASSES[side], self.url, self.prefix, **settings)
        self._clients.append(app)
        return app

    def worker(self, side: str, *options: str, wait: bool = True, **settings: Any) -> Worker:
        """Start a worker of one side."""
        name = f"{side}{len(self.workers)}"
        environment = {
            **os.environ,
            subject.URL: self.url,
            subject.PREFIX: self.prefix,
            subject.SETTINGS: json.dumps(settings),
            VARIABLE: str(self.directory),
            "PYTHONUNBUFFERED": "1",
        }
        log = self.directory / f"{name}.log"
        worker = Worker(side, log, environment, "-n", f"{name}@%h", *options)
        self.workers.append(worker)
        return worker.start(wait)

    def close(self) -> None:
        """End everything that still runs."""
        for worker in self.workers:
            if worker.process is not None and worker.process.poll() is None:
                worker.signal_group(signal.SIGCONT)
                worker.kill()
        for app in self._clients:
            if isinstance(app, celery.Celery):
                _disconnect(app)
            app.close()


def _disconnect(app: celery.Celery) -> None:
    """Close the connections of a client of Celery, which leaves them open."""
    consumer = app.backend.result_consumer
    consumer.stop()
    # A result that is collected later would connect again, only to unsubscribe.
    consumer._pubsub = None
    app.backend.client.connection_pool.disconnect()
    app.amqp.producer_pool.force_close_all()
    app.pool.force_close_all()
