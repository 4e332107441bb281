"""What a worker does for tasks that behave: pools, states, queues, signals, the request."""

from __future__ import annotations

import os
import time

import pytest

from celeriac import state
from celeriac.error import TaskRevokedError
from celeriac.testing.deadline import eventually
from celeriac.testing.ledger import Kind

POOLS = ("prefork", "threads", "asyncio", "solo")


def starts(site):
    return [one for one in site.ledger.records() if one.kind is Kind.START]


# -- pools ---------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", POOLS)
def test_plain_and_async_tasks_work_in_every_pool(site, pool):
    site.worker("-P", pool, "-c", "2")
    plain = [site.subject.add.delay(number, 1) for number in range(10)]
    coroutines = [site.subject.doze.delay(0.01) for _ in range(10)]
    assert [one.get(timeout=30) for one in plain] == list(range(1, 11))
    assert [one.get(timeout=30) for one in coroutines] == [0.01] * 10


def test_a_thousand_coroutines_run_at_once_in_one_child(site):
    results = [site.subject.doze.delay(1.0) for _ in range(1000)]
    worker = site.worker("-P", "asyncio", "-c", "1000")
    assert [one.get(timeout=60) for one in results] == [1.0] * 1000
    records = site.ledger.records()
    last_start = max(one.time for one in records if one.kind is Kind.START)
    first_end = min(one.time for one in records if one.kind is Kind.END)
    assert last_start < first_end
    assert {one.pid for one in records} == set(worker.children())


def test_a_plain_task_does_not_block_coroutines_beside_it(site, tmp_path):
    site.worker("-P", "asyncio", "-c", "10")
    blocked = site.subject.gate.delay(str(tmp_path / "gate"))
    eventually(lambda: site.ledger.counts(Kind.START)[blocked.id])
    assert [site.subject.doze.delay(0.01).get(timeout=30) for _ in range(5)] == [0.01] * 5
    assert not blocked.ready()
    (tmp_path / "gate").touch()
    assert blocked.get(timeout=30) == "open"


def test_every_coroutine_sees_its_own_run(site):
    site.worker("-P", "asyncio", "-c", "100")
    results = [site.subject.interleave.delay(50) for _ in range(100)]
    assert [one.get(timeout=30) for one in results] == [one.id for one in results]


def test_two_workers_share_the_work(site, tmp_path):
    workers = [site.worker("-c", "1"), site.worker("-c", "1")]
    gate = str(tmp_path / "gate")
    results = [site.subject.gate.delay(gate) for _ in range(2)]
    eventually(lambda: len(starts(site)) == 2)
    pids = {one.pid for one in starts(site)}
    assert pids == {pid for worker in workers for pid in worker.children()}
    (tmp_path / "gate").touch()
    assert [one.get(timeout=30) for one in results] == ["open"] * 2


# -- states and results --------------------------------------------------------------------


def test_started_is_shown_while_a_task_runs(site, tmp_path):
    site.configure(task_track_started=True)
    worker = site.worker("-c", "1")
    result = site.subject.gate.delay(str(tmp_path / "gate"))
    eventually(lambda: result.state == state.STARTED)
    assert result.info == {"pid": worker.children()[0], "hostname": result.info["hostname"]}
    assert result.info["hostname"].startswith("w0@")
    (tmp_path / "gate").touch()
    assert result.get(timeout=30) == "open"


def test_a_task_reports_states_of_its_own(site, tmp_path):
    site.worker("-c", "1")
    result = site.subject.progress.delay(str(tmp_path / "gate"))
    eventually(lambda: result.state == "PROGRESS")
    assert result.info == {"done": 1, "of": 2}
    assert not result.ready()
    (tmp_path / "gate").touch()
    assert result.get(timeout=30) == "done"


def test_an_ignored_result_is_not_stored(site):
    worker = site.worker("-c", "1")
    silent = site.subject.silent.delay()
    eventually(lambda: f"Task silent[{silent.id}] succeeded" in worker.output())
    assert worker.stop() == 0
    assert site.app.store.get([silent.id]) == {}
    assert site.depth() == (0, 0, 0)


def test_a_retry_waits_in_the_broker(site):
    worker = site.worker("-c", "1")
    result = site.subject.retry_later.delay(3600)
    eventually(lambda: result.state == state.RETRY)
    eventually(lambda: site.depth() == (0, 1, 0))
    assert worker.stop() == 0
    assert site.depth() == (0, 1, 0)


def test_retries_run_to_their_end(site):
    site.worker("-c", "1")
    result = site.subject.again.delay()
    assert result.get(timeout=30) == 2
    assert [one.detail for one in starts(site)] == ["0", "1", "2"]


def test_an_expired_task_is_not_run_and_not_silent(site):
    expired = site.subject.add.apply_async((1, 2), expires=0.01)
    fresh = site.subject.add.apply_async((1, 2), expires=3600)
    before = time.time()
    eventually(lambda: time.time() > before + 0.01)
    site.worker("-c", "1")
    assert fresh.get(timeout=30) == 3
    with pytest.raises(TaskRevokedError):
        expired.get(timeout=30)
    assert expired.state == state.REVOKED
    assert {one.id for one in starts(site)} == {fresh.id}
    assert site.app.broker.dead_letter(expired.id).reason == "expired"


# -- queues --------------------------------------------------------------------------------


def test_a_worker_serves_the_queues_it_was_given(site):
    site.worker("-c", "1", "-Q", "left,right")
    other = site.subject.add.apply_async((0, 0), queue="other")
    left = site.subject.add.apply_async((1, 0), queue="left")
    right = site.subject.add.apply_async((2, 0), queue="right")
    assert (left.get(timeout=30), right.get(timeout=30)) == (1, 2)
    assert other.state == state.PENDING
    assert site.depth("other") == (1, 0, 0)
    site.worker("-c", "1", "-Q", "other")
    assert other.get(timeout=30) == 0


# -- the process ---------------------------------------------------------------------------

LISTENER = """
import os
from celeriac import signal

def note(name):
    with open(os.environ["HEARD"], "a") as file:
        file.write(f"{name} {os.getpid()}\\n")

@signal.worker_init.connect
def on_init(**_):
    note("worker_init")

@signal.worker_process_init.connect
def on_process_init(**_):
    note("worker_process_init")

@signal.worker_ready.connect
def on_ready(sender, **_):
    note("worker_ready")

@signal.worker_process_shutdown.connect
def on_process_shutdown(pid, exitcode, **_):
    note("worker_process_shutdown")

@signal.worker_shutdown.connect
def on_shutdown(**_):
    note("worker_shutdown")
"""


def test_signals_are_sent_where_celery_sends_them(site, tmp_path):
    heard = tmp_path / "heard"
    site.module("listener", LISTENER)
    site.environment["HEARD"] = str(heard)
    worker = site.worker("-c", "2", "-I", "listener")
    first, second = worker.children()
    assert worker.stop() == 0
    lines = heard.read_text().splitlines()
    supervisor = worker.pid
    assert lines[0] == f"worker_init {supervisor}"
    assert set(lines[1:3]) == {f"worker_process_init {pid}" for pid in (first, second)}
    assert lines[3] == f"worker_ready {supervisor}"
    assert set(lines[4:6]) == {f"worker_process_shutdown {pid}" for pid in (first, second)}
    assert lines[6:] == [f"worker_shutdown {supervisor}"]


def test_a_pid_file_belongs_to_one_worker(site, tmp_path):
    path = tmp_path / "worker.pid"
    first = site.worker("-c", "1", "--pidfile", str(path))
    assert path.read_text() == f"{first.pid}\n"
    second = site.worker("-c", "1", "--pidfile", str(path), wait=False)
    assert second.process.wait(30) == 2
    assert f"says that process {first.pid} is running" in second.output()
    assert path.read_text() == f"{first.pid}\n"
    first.kill()
    third = site.worker("-c", "1", "--pidfile", str(path))
    assert path.read_text() == f"{third.pid}\n"
    assert third.stop() == 0
    assert not path.exists()


# -- the request ---------------------------------------------------------------------------


def test_what_a_task_sees_of_its_run(site):
    site.worker("-c", "1")
    result = site.subject.describe.apply_async(priority=3, queue="celery")
    seen = result.get(timeout=30)
    delivery = seen.pop("delivery_info")
    assert seen == {
        "id": result.id,
        "retries": 0,
        "attempt": 1,
        "hostname": f"w0@{os.uname().nodename}",
        "root_id": result.id,
        "parent_id": None,
    }
    assert delivery == {
        "exchange": "",
        "routing_key": "celery",
        "priority": 3,
        "redelivered": False,
        "queue": "celery",
    }


def test_a_task_sent_by_a_task_knows_where_it_comes_from(site):
    site.worker("-c", "1")
    parent = site.subject.send_describe.delay()
    child = site.app.AsyncResult(parent.get(timeout=30))
    seen = child.get(timeout=30)
    assert (seen["parent_id"], seen["root_id"]) == (parent.id, parent.id)
    assert [one.id for one in parent.children] == [child.id]
