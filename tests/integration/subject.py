"""The application under test; its workers are real processes started through the command line.

Every task notes its start and end in the ledger, outside of every broker.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from pathlib import Path

from celeriac import Celeriac
from celeriac.testing.ledger import Kind, note

URL = os.environ["SUBJECT_URL"]
OPTIONS = {"global_keyprefix": prefix} if (prefix := os.environ.get("SUBJECT_PREFIX")) else {}

app = Celeriac(
    "subject",
    broker=URL,
    backend=URL,
    broker_transport_options=OPTIONS,
    result_backend_transport_options=OPTIONS,
)
for name, value in os.environ.items():
    if name.startswith("SUBJECT_CONF_"):
        app.conf[name.removeprefix("SUBJECT_CONF_").lower()] = eval(value)  # noqa: S307


def noted(function):
    """Note when the body of a bound task is entered and left."""

    def body(self, *args):
        note(Kind.START, self.request.id, str(self.request.attempt))
        value = function(self, *args)
        note(Kind.END, self.request.id, str(value))
        return value

    body.__name__ = function.__name__
    return body


@app.task(bind=True, name="nap")
@noted
def nap(self, seconds):
    """Sleep."""
    time.sleep(seconds)
    return seconds


@app.task(bind=True, name="doze")
async def doze(self, seconds):
    """Sleep on the event loop."""
    note(Kind.START, self.request.id)
    await asyncio.sleep(seconds)
    note(Kind.END, self.request.id, str(seconds))
    return seconds


@app.task(bind=True, name="hold_gil")
@noted
def hold_gil(self, seconds):
    """Block the whole interpreter, as a C extension may do."""
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
    return seconds


@app.task(bind=True, name="die_once")
@noted
def die_once(self, flag):
    """Kill the process the first time."""
    try:
        Path(flag).touch(exist_ok=False)
    except FileExistsError:
        return self.request.attempt
    return os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True, name="die")
@noted
def die(self):
    """Kill the process every time."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True, name="die_early", acks_late=False)
@noted
def die_early(self):
    """Kill the process, of a task that is acknowledged early."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True, name="add")
@noted
def add(self, x, y):
    """Add."""
    return x + y


@app.task(bind=True, name="again", max_retries=2)
def again(self):
    """Ask to be run again, twice."""
    note(Kind.START, self.request.id, str(self.request.retries))
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    note(Kind.END, self.request.id, str(self.request.retries))
    return self.request.retries


@app.task(name="fail")
def fail(message):
    """Fail."""
    raise KeyError(message, 3)


@app.task(name="unserialisable")
def unserialisable():
    """Return what JSON does not know."""
    return object()
