"""A worker of either side, as users start it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.process import WorkerProcess

from celeriac.testing.deadline import eventually

ROOT = Path(__file__).parent.parent.parent
MODULES = {"celery": "tests.interop.theirs", "celeriac": "tests.interop.ours"}
READY = {"celery": " ready.\n", "celeriac": "ready in "}
#: Celery's workers greet each other for a second at the start; ours are not asked yet.
QUIET = {"celery": ("--without-gossip", "--without-mingle"), "celeriac": ()}


class Worker(WorkerProcess):
    """One worker of one side: ``celery`` or ``celeriac``."""

    def __init__(self, side: str, log: Path, environment: dict[str, str], *options: str) -> None:
        super().__init__(log, environment, *options)
        self.side = side

    def start(self, wait: bool = True) -> Worker:
        """Start it, again after an end if need be."""
        before = self.output().count(READY[self.side])
        command = [sys.executable, "-m", self.side, "-A", MODULES[self.side], "worker"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "-l", "INFO", *QUIET[self.side], *self._options],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            eventually(lambda: self._ready(before), timeout=60)
        return self

    def stop(self, timeout: float = 30) -> int:
        """End it warmly; return its exit code.

        Celery's warm shutdown hangs once in a while, idle and with all of its messages given back
        or not: then what a test wants to know of our side cannot be seen.
        """
        try:
            return super().stop(timeout)
        except subprocess.TimeoutExpired:
            if self.side != "celery":
                raise
            pytest.skip(f"the real Celery did not end: {self.output()[-300:]}")

    def _ready(self, before: int) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the worker ended at once:\n{self.output()}")
        return self.output().count(READY[self.side]) > before
