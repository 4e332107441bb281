"""How many functions a task crosses from the queue to its acknowledgement.  Celery: 414."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.calls.counting import count_of
from tests.calls.pipeline import consume

if TYPE_CHECKING:
    from tests.calls.counting import Calls

    from celeriac import Celeriac

CALLS = 45
FILES = 16
FEW, MANY = 40, 240


def calls_for(app: Celeriac, count: int) -> Calls:
    results = [app.tasks["step"].delay() for _ in range(count)]
    calls = count_of(lambda: consume(app, count))
    assert all(result.successful() for result in results)
    return calls


def test_receive_run_and_acknowledge_is_short(app: Celeriac):
    calls_for(app, 3)

    # What happens once, at the start and at the end, falls out of the difference.
    few, many = calls_for(app, FEW), calls_for(app, MANY)
    calls, tasks = many - few, MANY - FEW

    assert calls.total / tasks <= CALLS, calls.table(tasks)
    files = calls.files(tasks)
    assert len(files) <= FILES, sorted(files)
