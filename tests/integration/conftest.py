"""Fixtures of the integration tests: an application, its ledger, and workers on each broker."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from celeriac.testing import ledger as ledgers

from .process import HERE, WorkerProcess

if TYPE_CHECKING:
    from pathlib import Path

BROKERS = ("sqlite", "redis")


class Site:
    """A place where a test runs: one broker, one ledger, any number of workers."""

    def __init__(self, directory: Path, url: str, prefix: str) -> None:
        self.directory = directory
        self.url = url
        self.prefix = prefix
        self.environment = {
            **os.environ,
            "SUBJECT_URL": url,
            "SUBJECT_PREFIX": prefix,
            ledgers.VARIABLE: str(directory),
            "PYTHONUNBUFFERED": "1",
        }
        self.workers: list[WorkerProcess] = []
        self.ledger = ledgers.Ledger(directory)
        self._subject = None

    def configure(self, **settings: object) -> None:
        """Set configuration of the application, before its first use."""
        for name, value in settings.items():
            self.environment[f"SUBJECT_CONF_{name.upper()}"] = repr(value)

    @property
    def subject(self):
        """The application, in this process."""
        if self._subject is None:
            names = {k: v for k, v in self.environment.items() if k.startswith("SUBJECT_")}
            before = dict(os.environ)
            os.environ.update(names, SUBJECT_URL=self.url)
            os.environ[ledgers.VARIABLE] = str(self.directory)
            spec = importlib.util.spec_from_file_location("subject", HERE / "subject.py")
            module = importlib.util.module_from_spec(spec)
            sys.modules["subject"] = module
            try:
                spec.loader.exec_module(module)
            finally:
                os.environ.clear()
                os.environ.update(before)
            self._subject = module
        return self._subject

    @property
    def app(self):
        """The application, in this process."""
        return self.subject.app

    def worker(self, *options: str, wait: bool = True) -> WorkerProcess:
        """Start a worker."""
        log = self.directory / f"worker-{len(self.workers)}.log"
        name = ("-n", f"w{len(self.workers)}@%h")
        worker = WorkerProcess(log, self.environment, *name, *options)
        self.workers.append(worker)
        return worker.start(wait)

    def route_workers(self, url: str) -> None:
        """Let workers and commands, not this process, reach the broker by another URL."""
        self.environment["SUBJECT_URL"] = url

    def module(self, name: str, text: str) -> None:
        """Write a module that workers and commands of this place can import."""
        (self.directory / f"{name}.py").write_text(text, "utf-8")
        self.environment["PYTHONPATH"] = str(self.directory)

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``celeriac -A subject`` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "celeriac", "-A", "subject", *arguments],
            cwd=HERE,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def depth(self, queue: str = "celery") -> tuple[int, int, int]:
        """Return how many messages are ready, delayed and leased."""
        one = self.app.broker.depth([queue])[queue]
        return one.ready, one.delayed, one.leased

    def close(self) -> None:
        """End everything that still runs."""
        for worker in self.workers:
            if worker.process is not None and worker.process.poll() is None:
                worker.signal_group(18)  # SIGCONT: a stopped process cannot be waited for
                worker.kill()
        if self._subject is not None:
            self.app.close()
            sys.modules.pop("subject", None)


@pytest.fixture
def new_site(request, tmp_path):
    """Make places: the URL of the broker, and what its keys begin with."""
    places: list[Site] = []

    def make(url: str, prefix: str = "") -> Site:
        directory = tmp_path if not places else tmp_path / f"site-{len(places)}"
        directory.mkdir(exist_ok=True)
        places.append(Site(directory, url, prefix))
        return places[-1]

    yield make
    failed = getattr(request.node, "failed", False)
    for place in places:
        place.close()
        for worker in place.workers:
            if failed:
                print(f"--- {worker.log.name}\n{worker.output()[-4000:]}")


@pytest.fixture(params=BROKERS)
def site(request, tmp_path, new_site):
    """A place for one test, on each broker."""
    if request.param == "sqlite":
        return new_site(f"sqlite:///{tmp_path}/queue.db")
    return request.getfixturevalue("redis_site")


@pytest.fixture
def redis_site(redis_url, tmp_path, new_site):
    """A place for one test, on Redis."""
    return new_site(redis_url, f"{tmp_path.name}:")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Remember a failure, so that the output of the workers is shown."""
    report = yield
    item.failed = getattr(item, "failed", False) or report.failed
    return report
