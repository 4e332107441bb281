"""How many functions a task crosses from the queue to its acknowledgement.  Celery: 414."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.calls.counting import per_task
from tests.calls.pipeline import consume

if TYPE_CHECKING:
    from celeriac import Celeriac

CALLS = 45
FILES = 12
FEW, MANY = 40, 240


def test_receive_run_and_acknowledge_is_short(app: Celeriac):
    task = app.tasks["noop"]
    sent = [task.delay() for _ in range(3 + MANY + FEW)]
    consume(app, 3)

    calls = per_task(lambda count: consume(app, count), FEW, MANY)

    each = calls.total / (MANY - FEW)
    assert each <= CALLS, f"{each:.1f} calls for each task\n{calls.table(MANY - FEW)}"
    assert len(calls.files) <= FILES, sorted(calls.files)
    assert all(result.successful() for result in sent)
