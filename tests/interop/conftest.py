"""One project, run by the real Celery on one side and by celeriac on the other.

Both are in `.venv-interop`; everything runs in processes of its own, as in a mixed fleet.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from celeriac.testing.deadline import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TASKS = """
import os

if os.environ["SIDE"] == "celery":
    from celery import Celery
else:
    from celeriac import Celeriac as Celery

app = Celery("tasks", broker=os.environ["URL"], backend=os.environ["URL"])
app.conf.update(worker_redirect_stdouts=False)


@app.task
def add(x, y=0):
    return x + y


@app.task
def fail(text):
    raise ValueError(text)


@app.task(bind=True, max_retries=3)
def again(self, times):
    if self.request.retries < times:
        raise self.retry(countdown=0)
    return self.request.retries


@app.task
def side():
    return os.environ["SIDE"]
"""
#: Seconds that anything here may take.
PATIENCE = 60.0


class Fleet:
    """The project, its workers and its clients."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url
        self.workers: list[subprocess.Popen[bytes]] = []
        (directory / "tasks.py").write_text(TASKS)

    def environment(self, side: str) -> dict[str, str]:
        return {**os.environ, "SIDE": side, "URL": self.url, "PYTHONUNBUFFERED": "1"}

    def start_worker(self, side: str) -> None:
        """Start a worker and wait until it is ready."""
        command = [sys.executable, "-m", side, "-A", "tasks", "worker"]
        log = self.directory / f"{side}.log"
        with log.open("wb") as output:
            worker = subprocess.Popen(
                [*command, "--loglevel=INFO", "--concurrency=2"],
                cwd=self.directory,
                env=self.environment(side),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.workers.append(worker)
        assert eventually(lambda: b" ready" in log.read_bytes(), PATIENCE), log.read_text()

    def client(self, side: str, program: str) -> Any:
        """Run a program of the user's that sets ``answer``; return what it set."""
        source = f"import json\nimport tasks\n{program}\nprint(json.dumps(answer))"
        done = subprocess.run(
            [sys.executable, "-c", source],
            cwd=self.directory,
            env=self.environment(side),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def stop(self) -> None:
        """Stop all workers."""
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.wait(PATIENCE)


@pytest.fixture
def fleet(tmp_path: Path, redis_url: str) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, redis_url)
    yield fleet
    fleet.stop()
