"""The same application twice: once on celeriac, once on Celery.

``BENCH_SYSTEM`` chooses; both use the Redis of ``BENCH_BROKER``.
"""

from __future__ import annotations

import os

SYSTEM = os.environ["BENCH_SYSTEM"]
URL = os.environ["BENCH_BROKER"]

if SYSTEM == "celeriac":
    from celeriac import Celeriac as App
else:
    from celery import Celery as App

app = App("subject", broker=URL, backend=URL)


@app.task(ignore_result=True)
def noop():
    """Do nothing, and store nothing."""


@app.task
def add(x, y):
    """Return a small result."""
    return x + y
