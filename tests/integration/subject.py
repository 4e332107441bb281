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

from celeriac import Celeriac, current_task
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
        app.conf[name.removeprefix("SUBJECT_CONF_").lower()] = eval(value)


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


@app.task(bind=True, name="retry_later")
def retry_later(self, countdown):
    """Ask to be run again, later."""
    raise self.retry(countdown=countdown)


@app.task(name="fail")
def fail(message):
    """Fail."""
    raise KeyError(message, 3)


@app.task(name="unserialisable")
def unserialisable():
    """Return what JSON does not know."""
    return object()


# -- what a task can see and say -----------------------------------------------------------


@app.task(bind=True, name="gate")
@noted
def gate(self, path):
    """Wait until a file is there."""
    while not os.path.exists(path):
        time.sleep(0.01)
    return "open"


@app.task(bind=True, name="progress")
def progress(self, path):
    """Tell of its progress, then wait until a file is there."""
    self.update_state(state="PROGRESS", meta={"done": 1, "of": 2})
    while not os.path.exists(path):
        time.sleep(0.01)
    return "done"


@app.task(bind=True, name="describe")
def describe(self):
    """Tell what it sees of its own run."""
    names = ("id", "retries", "attempt", "hostname", "delivery_info", "root_id", "parent_id")
    return {name: getattr(self.request, name) for name in names}


@app.task(bind=True, name="send_describe")
def send_describe(self):
    """Send a task from a task."""
    return describe.delay().id


@app.task(bind=True, name="interleave")
async def interleave(self, turns):
    """Check at every turn that this run is still the current one."""
    for _ in range(turns):
        await asyncio.sleep(0)
        if current_task.request.id != self.request.id:
            return "mixed up"
    return self.request.id


@app.task(bind=True, name="silent", ignore_result=True)
@noted
def silent(self):
    """Return what nobody wants."""
    return "unheard"


# -- what a task can do to its process -----------------------------------------------------


class Unprintable(Exception):
    """Cannot be shown."""

    def __repr__(self):
        raise RuntimeError("no repr")

    __str__ = __repr__


RAISED = {
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "GeneratorExit": GeneratorExit(),
    "CancelledError": asyncio.CancelledError(),
    "Unprintable": Unprintable(),
}


@app.task(name="raise_")
def raise_(name):
    """Raise what is not an ordinary error."""
    raise RAISED[name]


@app.task(name="araise")
async def araise(name):
    """Raise what is not an ordinary error, on the event loop."""
    raise RAISED[name]


@app.task(name="leave")
def leave():
    """End the process without a word."""
    os._exit(0)


@app.task(name="segfault")
def segfault():
    """End the process as a broken extension does."""
    ctypes.string_at(0)


@app.task(name="close_all")
def close_all():
    """Close every file of the process, as careless daemon code does."""
    os.closerange(3, 4096)


@app.task(name="flood")
def flood(size):
    """Return much."""
    return "x" * size
