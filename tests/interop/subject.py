"""The tasks of one project, registered with either side's application.

Code, names and options are the same on both sides; only the class of the application differs.
Every task notes its runs in the ledger, outside of every broker, and on which side they were.
"""

from __future__ import annotations

import functools
import json
import os
import time
from pathlib import Path

from celeriac.testing.deadline import eventually
from celeriac.testing.ledger import Kind, note

#: What the environment of a worker tells it.
URL, PREFIX, SETTINGS = "INTEROP_URL", "INTEROP_PREFIX", "INTEROP_SETTINGS"


class Refused(Exception):
    """An exception of the project."""


def noted(function):
    """Note when the body of a bound task is entered and left."""

    @functools.wraps(function)
    def body(self, *args, **kwargs):
        note(Kind.START, self.request.id, f"{side_of(self.app)} {self.request.retries}")
        value = function(self, *args, **kwargs)
        note(Kind.END, self.request.id, side_of(self.app))
        return value

    return body


def side_of(app):
    """Return ``celery`` or ``celeriac``."""
    return type(app).__module__.partition(".")[0]


def add(self, x, y=0):
    """Add."""
    return x + y


def look(self, **values):
    """Tell what arrived, and give it back."""
    return {"types": {key: type(value).__name__ for key, value in values.items()}, **values}


def fail(self):
    """Fail with an exception of Python's."""
    raise KeyError("nothing", 3)


def refuse(self):
    """Fail with an exception of the project's."""
    raise Refused("not today", 3)


def parent(self):
    """Send another task."""
    return self.app.tasks["tell"].delay().id


def hold(self, flag):
    """Report progress, and run until the test says so."""
    self.update_state(state="PROGRESS", meta={"done": 1, "of": 2})
    eventually(Path(flag).exists, timeout=120)
    return self.request.retries


def nap(self, seconds):
    """Take some time."""
    time.sleep(seconds)
    return seconds


def again(self, times, countdown=0):
    """Ask to be run again some times."""
    if self.request.retries < times:
        raise self.retry(countdown=countdown, exc=Refused("again"))
    return self.request.retries


def tell(self):
    """Tell what the task knows of itself."""
    request = self.request
    return {
        "id": request.id,
        "root_id": request.root_id,
        "parent_id": request.parent_id,
        "correlation_id": request.correlation_id,
        "tenant": (request.headers or {}).get("tenant"),
        "priority": request.delivery_info["priority"],
        "routing_key": request.delivery_info["routing_key"],
        "time_limits": list(request.timelimit),
        "shadow": request.shadow,
        "origin": request.origin,
        "retries": request.retries,
    }


def hop(self, queue):
    """Ask to be run again by who takes from another queue."""
    if not self.request.retries:
        # Celery stores RETRY after it has sent the message, over a SUCCESS that comes meanwhile.
        raise self.retry(queue=queue, countdown=0.5)
    return {"side": side_of(self.app), **tell(self)}


TASKS = (add, look, fail, refuse, parent, hold, nap, again, tell, hop)


def make(cls, url, prefix, **settings):
    """Return an application of class ``cls`` with all tasks."""
    options = {"global_keyprefix": prefix} if prefix else {}
    broker_options = {**options, **settings.pop("broker_transport_options", {})}
    app = cls("interop", broker=url, backend=url, set_as_current=False)
    app.conf.update(
        broker_transport_options=broker_options,
        result_backend_transport_options=options,
        **settings,
    )
    for function in TASKS:
        app.task(bind=True, shared=False, name=function.__name__)(noted(function))
    app.task(bind=True, shared=False, name="early", acks_late=False)(noted(hold))
    return app


def make_worker(cls):
    """Return the application of a worker process."""
    settings = json.loads(os.environ[SETTINGS])
    return make(cls, os.environ[URL], os.environ[PREFIX], **settings)
