"""An application of the test's own, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celeriac import Celeriac
from celeriac.identifier import token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celeriac.message import Message, Outgoing


@pytest.fixture
def app() -> Iterator[Celeriac]:
    name = f"memory://{token()}"
    with Celeriac("subject", broker=name, backend=name) as made:
        yield made


@pytest.fixture
def sent(app: Celeriac) -> Callable[[], list[Message]]:
    """Return what takes the messages that are ready in the given queues."""

    def take(*queues: str) -> list[Message]:
        consumer = app.broker.consumer(queues or ("celery",), token())
        found = [delivery.message for delivery in consumer.receive(100, 0)]
        consumer.close()
        assert None not in found
        return [message for message in found if message is not None]

    return take


@pytest.fixture
def published(app: Celeriac, monkeypatch: pytest.MonkeyPatch) -> list[Outgoing]:
    """What reaches the broker, due times included; it is published all the same."""
    broker, seen = app.write_broker, []
    real = broker.publish

    def publish(batch: list[Outgoing]) -> None:
        seen.extend(batch)
        real(batch)

    monkeypatch.setattr(broker, "publish", publish)
    return seen
