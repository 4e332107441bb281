"""A worker as a user starts it: a process of its own, in a process group of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from celeriac.testing.deadline import eventually

HERE = Path(__file__).parent


class WorkerProcess:
    """One ``celeriac -A subject worker``.

    Args:
        log: where its output goes.
        environment: of the process.
        options: of the command line.
    """

    def __init__(self, log: Path, environment: dict[str, str], *options: str) -> None:
        self.log = log
        self._environment = environment
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> WorkerProcess:
        """Start it, again after an end if need be."""
        before = self.output().count("ready in ")
        command = [sys.executable, "-m", "celeriac", "-A", "subject", "worker", "-l", "INFO"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self._options],
                cwd=HERE,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            eventually(lambda: self._ready(before), timeout=60)
        return self

    def _ready(self, before: int) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the worker ended at once:\n{self.output()}")
        return self.output().count("ready in ") > before

    def output(self) -> str:
        """Return what it has written so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def pid(self) -> int:
        """The process id of the supervisor."""
        return self.process.pid

    def children(self) -> list[int]:
        """Return the process ids of its children."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def signal(self, number: int) -> None:
        """Send a signal to the supervisor."""
        os.kill(self.pid, number)

    def signal_group(self, number: int) -> None:
        """Send a signal to the supervisor and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """End supervisor and children without a warning."""
        self.signal_group(signal.SIGKILL)
        self.process.wait(30)

    def stop(self, timeout: float = 30) -> int:
        """End it warmly; return its exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout)
