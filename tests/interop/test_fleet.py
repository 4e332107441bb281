"""Celery's clients and workers and ours, in every combination."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.interop.conftest import Fleet

COMBINATIONS = [("celery", "celeriac"), ("celeriac", "celery"), ("celeriac", "celeriac")]


@pytest.mark.parametrize(("client", "worker"), COMBINATIONS)
def test_tasks_and_results_cross_the_border(fleet: Fleet, client: str, worker: str):
    fleet.start_worker(worker)

    answer = fleet.client(
        client,
        """
added = tasks.add.delay(4, y=5)
failed = tasks.fail.delay("no luck")
retried = tasks.again.delay(2)
later = tasks.add.apply_async((1, 1), countdown=1)
try:
    failed.get(timeout=30)
except ValueError as error:
    text = str(error)
answer = [added.get(timeout=30), text, failed.state, retried.get(timeout=30),
          later.get(timeout=30), "ValueError" in failed.traceback]
""",
    )

    assert answer == [9, "no luck", "FAILURE", 2, 2, True]


@pytest.mark.parametrize(("sender", "reader"), [("celery", "celeriac"), ("celeriac", "celery")])
def test_a_result_is_read_by_the_other_side(fleet: Fleet, sender: str, reader: str):
    fleet.start_worker(sender)
    ids = fleet.client(
        sender,
        """
results = [tasks.add.delay(2, 2), tasks.fail.delay("no luck")]
answer = [(result.get(timeout=30, propagate=False), result.id)[1] for result in results]
""",
    )

    answer = fleet.client(
        reader,
        f"""
added, failed = [tasks.app.AsyncResult(id) for id in {ids!r}]
answer = [added.state, added.result, failed.state, repr(failed.result)]
""",
    )

    assert answer == ["SUCCESS", 4, "FAILURE", "ValueError('no luck')"]


def test_a_mixed_fleet_shares_one_queue(fleet: Fleet):
    for side in ("celery", "celeriac"):
        fleet.start_worker(side)

    program = """
answer = [result.get(timeout=30) for result in [tasks.side.delay() for _ in range(100)]]
"""
    sides = Counter(fleet.client("celery", program) + fleet.client("celeriac", program))

    assert sides.total() == 200
    assert set(sides) == {"celery", "celeriac"}
