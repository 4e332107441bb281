"""A project in a directory of its own, and a worker started as a user would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from celeriac.testing.server import (
    REDIS_DEFAULT_URL,
    REDIS_URL_VARIABLE,
    RedisServer,
    answers,
    unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = Path(sys.executable).parent


class Project:
    """A directory with ``tasks.py`` in it."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url
        self.environment = {**os.environ, "URL": url, "PYTHONUNBUFFERED": "1"}

    def write(self, source: str) -> None:
        """Write ``tasks.py``."""
        (self.directory / "tasks.py").write_text(source, "utf-8")

    def python(self, source: str) -> str:
        """Run a program of the user's and return what it prints."""
        return self._run([sys.executable, "-c", source])

    def celery(self, *arguments: str) -> str:
        """Run the ``celery`` command and return what it prints."""
        return self._run([str(BIN / "celery"), *arguments])

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start ``celery -A tasks worker``; its log is ``worker.log``."""
        with (self.directory / "worker.log").open("wb") as log:
            return subprocess.Popen(
                [str(BIN / "celery"), "-A", "tasks", "worker", "--loglevel=INFO", "-c", "2"],
                cwd=self.directory,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis that no other test process uses, where one can be started."""
    if named := os.environ.get(REDIS_URL_VARIABLE):
        yield named
    elif RedisServer.binary() is not None:
        with RedisServer(tmp_path_factory.mktemp("redis")) as server:
            yield server.url
    elif answers(REDIS_DEFAULT_URL):
        yield REDIS_DEFAULT_URL
    else:
        unavailable(f"no Redis: install redis-server, or set {REDIS_URL_VARIABLE}")


@pytest.fixture(params=["sqlite", "redis"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A project on each kind of server."""
    if request.param == "sqlite":
        return Project(tmp_path, f"sqlite:///{tmp_path}/celeriac.db")
    return Project(tmp_path, request.getfixturevalue("redis_url"))


@pytest.fixture
def worker(project: Project) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the project, which must stop gracefully when the test is over."""
    process = project.start_worker()
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    assert code == 0, (project.directory / "worker.log").read_text()
