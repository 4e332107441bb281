"""How many functions `delay()` crosses.  Celery: 317."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.calls.counting import count_of

if TYPE_CHECKING:
    from celeriac import Celeriac

CALLS = 30
FILES = 13


def test_a_warm_publish_is_short(app: Celeriac):
    task = app.tasks["step"]
    for _ in range(3):
        task.delay()

    calls = count_of(task.delay)

    assert calls.total <= CALLS, calls.table()
    assert len(calls.files()) <= FILES, sorted(calls.files())
    assert app.broker.depth([app.conf.task_default_queue])[app.conf.task_default_queue].ready == 4
