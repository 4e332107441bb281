"""Workers are killed at any instant; a ledger outside of the broker tells what became of tasks."""

from __future__ import annotations

import os
import signal
import time

import pytest

from celeriac import state
from celeriac.error import PoisonMessage, WorkerLostError
from celeriac.testing.deadline import eventually
from celeriac.testing.ledger import Kind


def test_killed_workers_lose_nothing(site):
    """500 tasks of 0.5 s; a worker is killed with SIGKILL every 3 s, five times."""
    workers = [site.worker("-c", "8"), site.worker("-c", "8")]
    ids = [site.subject.nap.delay(0.5).id for _ in range(500)]
    running_at_kills = 0
    for number in range(5):
        time.sleep(3)  # the kills come at the times that the test is about
        victim = workers[number % 2]
        victim.signal_group(signal.SIGSTOP)
        starts, ends = site.ledger.by_id(Kind.START), site.ledger.by_id(Kind.END)
        victim_pids = set(victim.children())
        running_at_kills += sum(
            1
            for key, records in starts.items()
            for record in records
            if record.pid in victim_pids
            and not any(end.pid == record.pid for end in ends.get(key, ()))
        )
        # Ended, but perhaps not settled yet: their acknowledgement was on its way.
        running_at_kills += _unsettled(site, starts, ends, victim_pids)
        victim.kill()
        victim.start()
    eventually(lambda: len(site.ledger.counts(Kind.END)) == 500, timeout=60)
    counts = site.ledger.counts(Kind.START)
    assert set(counts) == set(ids)
    assert sum(counts.values()) - 500 <= running_at_kills
    results = [site.app.AsyncResult(key) for key in ids]
    eventually(lambda: all(result.state == state.SUCCESS for result in results), timeout=60)
    assert all(worker.stop() == 0 for worker in workers)
    depth = site.app.broker.depth(["celery"])["celery"]
    assert (depth.ready, depth.delayed, depth.leased) == (0, 0, 0)


def _unsettled(site, starts, ends, pids):
    done = {key for key, records in ends.items() if any(one.pid in pids for one in records)}
    return sum(1 for key in done if not site.app.AsyncResult(key).ready())


def test_a_task_that_kills_its_process_once_succeeds(site, tmp_path):
    site.worker("-c", "2")
    result = site.subject.die_once.delay(str(tmp_path / "flag"))
    assert result.get(timeout=30) == 2
    assert [one.detail for one in site.ledger.by_id(Kind.START)[result.id]] == ["1", "2"]


def test_an_early_acknowledged_task_is_not_run_again_and_not_silent(site):
    site.worker("-c", "1")
    result = site.subject.die_early.delay()
    with pytest.raises(WorkerLostError):
        result.get(timeout=30)
    assert site.ledger.counts(Kind.START)[result.id] == 1
    letter = site.app.broker.dead_letter(result.id)
    assert letter is not None
    assert letter.reason == "worker_lost"


def test_a_poison_message_ends_as_a_dead_letter(site):
    """And the workers go on."""
    site.worker("-c", "2")
    result = site.subject.die.delay()
    with pytest.raises(PoisonMessage):
        result.get(timeout=60)
    assert site.ledger.counts(Kind.START)[result.id] == 3
    letter = site.app.broker.dead_letter(result.id)
    assert letter is not None
    assert (letter.reason, letter.deaths, letter.task) == ("poison", 3, "die")
    assert site.subject.add.delay(2, 2).get(timeout=30) == 4


@pytest.mark.parametrize("pool", ["threads", "asyncio"])
def test_those_who_stood_by_when_a_poison_message_struck_are_cleared(site, pool):
    site.worker("-P", pool, "-c", "8")
    slow = [site.subject.nap.delay(1.0) for _ in range(4)]
    poison = site.subject.die.delay()
    more = [site.subject.nap.delay(0.2) for _ in range(8)]
    with pytest.raises(PoisonMessage):
        poison.get(timeout=90)
    assert [one.get(timeout=60) for one in slow + more] == [1.0] * 4 + [0.2] * 8


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio", "solo"])
def test_the_work_of_a_killed_child_runs_again_soon(site, pool):
    worker = site.worker("-P", pool, "-c", "2")
    result = site.subject.nap.delay(3)
    eventually(lambda: site.ledger.counts(Kind.START)[result.id] == 1)
    runner = site.ledger.by_id(Kind.START)[result.id][0].pid
    os.kill(runner, signal.SIGKILL)
    eventually(lambda: site.ledger.counts(Kind.START)[result.id] == 2)
    assert result.get(timeout=30) == 3
    assert runner not in worker.children()


def test_the_work_of_a_killed_worker_goes_to_another_on_its_machine(site):
    """The supervisor is gone too."""
    first = site.worker("-c", "1")
    result = site.subject.nap.delay(3)
    eventually(lambda: site.ledger.counts(Kind.START)[result.id] == 1)
    site.worker("-c", "1")
    first.kill()
    eventually(lambda: site.ledger.counts(Kind.START)[result.id] == 2, timeout=60)
    assert result.get(timeout=30) == 3


def test_no_child_survives_its_supervisor(site):
    worker = site.worker("-c", "3")
    result = site.subject.nap.delay(60)
    eventually(lambda: site.ledger.counts(Kind.START)[result.id] == 1)
    children = worker.children()
    assert len(children) == 3
    worker.signal(signal.SIGKILL)
    worker.process.wait(10)
    eventually(lambda: not any(_alive(pid) for pid in children), timeout=5)


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except FileNotFoundError:
        return False


def test_a_worker_frozen_between_fetch_and_run_loses_nothing(site):
    """Stopped while it waits for a message, sent to, and killed."""
    frozen = site.worker("-c", "1")
    for _ in range(5):
        frozen.signal_group(signal.SIGSTOP)
        results = [site.subject.add.delay(number, 1) for number in range(3)]
        frozen.kill()
        frozen.start()
        assert [one.get(timeout=60) for one in results] == [1, 2, 3]


def test_a_frozen_worker_is_fenced(site):
    """Others take over, and what the frozen one then finishes changes nothing."""
    site.configure(lease_ttl=2, lease_heartbeat=0.5, recovery_grace=1)
    frozen = site.worker("-c", "1")
    result = site.subject.nap.delay(1)
    eventually(lambda: site.ledger.counts(Kind.START)[result.id] == 1)
    frozen.signal_group(signal.SIGSTOP)
    site.worker("-c", "1")
    assert result.get(timeout=60) == 1
    assert site.ledger.counts(Kind.START)[result.id] == 2
    done = result.date_done
    frozen.signal_group(signal.SIGCONT)
    eventually(lambda: "Lost the lease of nap" in frozen.output(), timeout=30)
    assert site.app.AsyncResult(result.id).date_done == done
