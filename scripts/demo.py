"""Show celeriac to a newcomer: start a worker, run examples/tour, stop the worker.

Exits with 0 only when every step did what it was to do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOUR = Path(__file__).resolve().parent.parent / "examples" / "tour"
#: Seconds that the program, and then the end of the worker, may take.
PATIENCE = 120.0


def main() -> int:
    """Take the tour in a directory that is removed afterwards."""
    print("celeriac is a task queue that needs no server to start.")
    print("The tasks of this tour are in examples/tour/tour.py; queue and results live in one")
    print("SQLite file, celeriac.db.\n")
    with tempfile.TemporaryDirectory(prefix="celeriac-tour-") as directory:
        return tour(directory)


def tour(directory: str) -> int:
    """Start the worker, run the program, stop the worker; return the exit code."""
    environ = {**os.environ, "PYTHONPATH": str(TOUR), "PYTHONUNBUFFERED": "1"}
    log = Path(directory, "worker.log")
    command = [sys.executable, "-m", "celeriac", "-A", "tour", "worker", "--loglevel", "INFO"]
    print("$ celeriac -A tour worker --loglevel INFO > worker.log &")
    print("$ python", flush=True)
    with log.open("w") as output:
        worker = subprocess.Popen(
            command, cwd=directory, env=environ, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        program = run([sys.executable, str(TOUR)], directory, environ)
        began = time.monotonic()
        stopped = stop(worker)
    finally:
        worker.kill()
        worker.wait()
    lines = log.read_text(errors="replace").splitlines()
    if program != 0 or stopped != 0:
        print(f"\nerror: the program ended with {program}, the worker with {stopped}; it said:\n")
        print("\n".join(lines[-60:]))
        return 1
    seconds = time.monotonic() - began
    print(
        f"\n$ kill %1                 # finishes what it runs and stops; that took {seconds:.1f} s"
    )
    print("$ cat worker.log")
    print("\n".join(lines))
    print("\nThat was it.  Now `. .venv/bin/activate` for the command celeriac, and go on with")
    print("docs/quickstart.md.")
    return 0


def run(command: list[str], directory: str, environ: dict[str, str]) -> int | None:
    """Run the program; return its exit code, or None when it took too long."""
    try:
        return subprocess.run(
            command, cwd=directory, env=environ, timeout=PATIENCE, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return None


def stop(worker: subprocess.Popen[bytes]) -> int | None:
    """Ask the worker to stop; return its exit code, or None when it does not."""
    worker.send_signal(signal.SIGTERM)
    try:
        return worker.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        return None


if __name__ == "__main__":
    sys.exit(main())
