from __future__ import annotations

import pytest

from celeriac.worker.window import HORIZON, Window


def test_nothing_is_leased_ahead_before_anything_is_known():
    assert Window(8, 1000).size == 8


def test_short_tasks_open_the_window_up_to_its_limit():
    window = Window(1, 500)
    for _ in range(200):
        window.saw(1, 0.00002)
    assert window.size == 501


def test_one_long_task_closes_it():
    window = Window(4, 500)
    for _ in range(200):
        window.saw(1, 0.00002)
    window.saw(1, 10.0)
    assert window.size == 4


def test_the_window_holds_the_horizon_of_work():
    window = Window(1, 1000)
    for _ in range(500):
        window.saw(1, 0.005)
    assert window.size == pytest.approx(1 + HORIZON / 0.005, abs=1)


def test_a_job_that_does_not_end_closes_the_window_before_it_ends():
    window = Window(2, 500)
    for _ in range(200):
        window.saw(1, 0.0001)
    window.stalled()
    assert window.size == 2


def test_many_runs_at_once_teach_as_much_as_one_by_one():
    together, singly = Window(1, 500), Window(1, 500)
    together.saw(20, 20 * 0.001)
    for _ in range(20):
        singly.saw(1, 0.001)
    assert together.size == singly.size > 1
