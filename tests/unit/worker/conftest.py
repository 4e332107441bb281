"""An application of the test's own, and what its workers lease."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celeriac import Celeriac
from celeriac.execution.decide import Policy
from celeriac.identifier import token

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def app() -> Iterator[Celeriac]:
    name = f"memory://{token()}"
    with Celeriac("subject", broker=name, backend=name) as made:
        yield made


@pytest.fixture
def policy(app: Celeriac) -> Policy:
    return Policy.of(app, "worker@host")
