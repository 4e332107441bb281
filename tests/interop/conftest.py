"""One project, run by the real Celery on one side and by celeriac on the other.

Both are in `.venv-interop`.  Workers are processes of their own, as in a mixed fleet; the clients
of both sides are in the process of the test.
"""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import celery
import pytest
from tests.interop import subject
from tests.interop.process import Worker

import celeriac
from celeriac.identifier import token
from celeriac.testing.ledger import VARIABLE, Ledger
from celeriac.testing.server import REDIS_URL_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celeriac.testing.server import RedisServer

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
                app.backend.result_consumer.stop()
                app.backend.client.close()
            app.close()


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> str:
    """The one database of all tests that bring their own key prefix."""
    if named := os.environ.get(REDIS_URL_VARIABLE):
        return named
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


@pytest.fixture(scope="module")
def shared_site(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A place for all tests of a module that leave its workers as they are."""
    site = Site(tmp_path_factory.mktemp("site"), server_url, f"test-{token()}:")
    yield site
    site.close()


@pytest.fixture
def site(request, server_url: str, tmp_path: Path) -> Iterator[Site]:
    """A place for one test, under a key prefix."""
    site = Site(tmp_path, server_url, f"test-{token()}:")
    yield site
    _end(site, request)


@pytest.fixture
def plain_site(
    request, private_redis: Callable[..., RedisServer], tmp_path: Path
) -> Iterator[Site]:
    """A place for one test, with a server of its own and without a key prefix."""
    site = Site(tmp_path, private_redis().url)
    yield site
    _end(site, request)


def _end(site: Site, request: pytest.FixtureRequest) -> None:
    site.close()
    if getattr(request.node, "failed", False):
        for worker in site.workers:
            print(f"--- {worker.log.name}\n{worker.output()[-4000:]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Remember a failure, so that the output of the workers is shown."""
    report = yield
    item.failed = getattr(item, "failed", False) or report.failed
    return report
