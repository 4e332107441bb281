"""What a worker says when it starts."""

from __future__ import annotations

import pytest

from celeriac.worker.banner import Introduction, banner, ready_line


def test_lines_are_aligned() -> None:
    shown = banner(
        Introduction(
            version="0.1.0",
            node="w1@host",
            pid=42,
            app="tasks:app",
            broker="redis://:**@h:6379/0 (Redis 7.2.4)",
            results="disabled",
            pool="prefork, 8 processes (8 CPUs)",
            queues=("celery", "mail"),
            tasks=3,
        )
    )
    assert shown.splitlines() == [
        "celeriac  0.1.0, w1@host, pid 42",
        "app       tasks:app",
        "broker    redis://:**@h:6379/0 (Redis 7.2.4)",
        "results   disabled",
        "pool      prefork, 8 processes (8 CPUs)",
        "queues    celery, mail",
        "tasks     3 registered",
    ]


@pytest.mark.parametrize(("seconds", "took"), [(0.18, "180 ms"), (2.34, "2.3 s")])
def test_ready(seconds: float, took: str) -> None:
    assert ready_line(seconds) == (
        f"ready in {took} \N{EM DASH} Ctrl-C to stop gracefully, twice to stop now"
    )
