"""What a hostile reader of the worker has thought of."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys

import pytest

from celeriac.testing.deadline import eventually
from celeriac.testing.ledger import Kind

from .process import HERE

TASKS = """
import os
from subject import app
from celeriac.testing.ledger import Kind, note


@app.task(bind=True, name="fork_and_return")
def fork_and_return(self):
    note(Kind.START, self.request.id)
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        note(Kind.END, self.request.id)
    return "parent" if pid else "copy"

"""


@pytest.fixture
def tasks(site):
    """Tasks of these tests only."""
    site.module("review_tasks", TASKS)
    site.configure(imports=("review_tasks",))
    return lambda name, *args: site.app.send_task(name, args)


def test_the_copy_of_a_task_that_forks_runs_nothing(site, tasks):
    """It has neither the threads to settle with, nor the right to run what waits."""
    results = [tasks("fork_and_return")]
    results += [site.subject.add.delay(number, 1) for number in range(20)]
    worker = site.worker("-c", "1")
    assert results[0].get(timeout=30) == "parent"
    assert [one.get(timeout=30) for one in results[1:]] == list(range(1, 21))
    assert set(site.ledger.counts(Kind.START).values()) == {1}
    assert worker.stop() == 0


def test_a_child_that_cannot_be_started_is_started_later(site):
    """The other children, and what they run, must not end for it."""
    worker = site.worker("-c", "2")
    result = site.subject.nap.delay(60)
    eventually(lambda: site.ledger.counts(Kind.START)[result.id] == 1)
    runner = site.ledger.by_id(Kind.START)[result.id][0].pid
    (idle,) = set(worker.children()) - {runner}
    before = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    os.kill(idle, signal.SIGKILL)
    eventually(lambda: "Cannot start child" in worker.output())
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, before)
    eventually(lambda: len(worker.children()) == 2)
    assert runner in worker.children()
    assert site.subject.add.delay(1, 2).get(timeout=30) == 3
    worker.kill()


def test_a_child_that_waits_for_the_broker_can_be_stopped(private_redis, new_site):
    server = private_redis()
    site = new_site(server.url)
    worker = site.worker("-c", "2")
    server.kill()
    for pid in worker.children():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: worker.output().count("Cannot register") >= 2)
    worker.signal(signal.SIGTERM)
    assert worker.process.wait(30) == 0


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-"])
def test_a_worker_needs_no_standard_streams(site, streams):
    log = site.directory / "streams.log"
    pidfile = site.directory / "pid"
    command = f"exec {sys.executable} -m celeriac -A subject worker -c 1 -l INFO"
    process = subprocess.Popen(
        ["sh", "-c", f"{command} --logfile {log} --pidfile {pidfile} {streams}"],
        cwd=HERE,
        env=site.environment,
        start_new_session=True,
    )
    try:
        assert site.subject.add.delay(1, 2).get(timeout=60) == 3
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert not pidfile.exists()


def test_what_was_leased_with_a_long_task_runs_in_another_child(site):
    """Also when nothing more arrives: the long one may take hours."""
    worker = site.worker("-c", "1")
    for one in [site.subject.add.delay(0, 0) for _ in range(200)]:
        one.get(timeout=30)
    worker.signal_group(signal.SIGSTOP)
    long = site.subject.nap.delay(60)
    rest = [site.subject.add.delay(number, 0) for number in range(5)]
    worker.signal_group(signal.SIGCONT)
    eventually(lambda: site.ledger.counts(Kind.START)[long.id] == 1)
    site.worker("-c", "1")
    assert [one.get(timeout=30) for one in rest] == list(range(5))
    worker.kill()
