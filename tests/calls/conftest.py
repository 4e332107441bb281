from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from tests.calls.pipeline import step

from celeriac import Celeriac

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["memory", "redis"])
def app(request: pytest.FixtureRequest) -> Iterator[Celeriac]:
    """An application on a queue of its own, with a task that does as good as nothing."""
    name = f"calls-{uuid.uuid4()}"
    url = f"memory://{name}" if request.param == "memory" else request.getfixturevalue("redis_url")
    with Celeriac(
        name, broker=url, backend=url, task_default_queue=name, set_as_current=False
    ) as app:
        app.task(name="step")(step)
        yield app
        app.broker.purge(name)
