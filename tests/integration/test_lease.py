"""However long a task runs or waits, it runs once."""

from __future__ import annotations

import pytest

from celeriac.testing.deadline import eventually
from celeriac.testing.ledger import Kind

SHORT = {"lease_ttl": 2, "lease_heartbeat": 0.5, "recovery_grace": 1}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_task_longer_than_its_lease_runs_once(site, pool):
    site.configure(**SHORT)
    site.worker("-c", "1", "-P", pool)
    site.worker("-c", "1", "-P", pool)
    result = site.subject.nap.delay(10 * SHORT["lease_ttl"])
    assert result.get(timeout=60) == 20
    assert site.ledger.counts(Kind.START)[result.id] == 1


def test_a_countdown_longer_than_the_lease_runs_once_and_not_early(site):
    site.configure(**SHORT)
    site.worker("-c", "1")
    site.worker("-c", "1")
    eventually(lambda: len(site.app.broker.owners()) >= 4)
    sent = site.app.clock.time()
    result = site.subject.add.apply_async((1, 2), countdown=8)
    assert result.get(timeout=60) == 3
    (start,) = site.ledger.by_id(Kind.START)[result.id]
    assert start.time >= sent + 8


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio", "solo"])
def test_a_task_that_blocks_its_interpreter_keeps_its_lease(site, pool):
    site.configure(**SHORT)
    site.worker("-c", "1", "-P", pool)
    site.worker("-c", "1", "-P", pool)
    result = site.subject.hold_gil.delay(3 * SHORT["lease_ttl"])
    assert result.get(timeout=60) == 6
    assert site.ledger.counts(Kind.START)[result.id] == 1
