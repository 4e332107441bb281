"""The command line, in processes of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from celeriac.testing.deadline import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = Path(sys.executable).with_name("celeriac")

TASKS = """
from celeriac import Celeriac
from celeriac.log import get_task_logger

app = Celeriac("tasks")
logger = get_task_logger(__name__)

@app.task
def add(x, y):
    print("adding", x, y)
    logger.warning("said by the task")
    return x + y

@app.task
def boom():
    raise ValueError("boom")
"""

Run = Callable[..., subprocess.CompletedProcess[str]]
Worker = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of the commands: nothing in it speaks to them."""
    (tmp_path / "tasks.py").write_text(TASKS, "utf-8")
    foreign = ("CELERY_", "CELERIAC_", "BROKER_", "RESULT_", "CONFIG_", "APP", "FORCE_COLOR")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Run:
    """Run ``celeriac`` in a directory with ``tasks.py``."""

    def call(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *arguments],
            cwd=tmp_path,
            env={**environment, **extra},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


@pytest.fixture
def worker(tmp_path: Path, environment: dict[str, str]) -> Iterator[Worker]:
    """Start ``celeriac -A tasks worker``; what still runs afterwards is stopped."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [COMMAND, "-A", "tasks", "worker", "-c", "1", *options],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def stop(process: subprocess.Popen[str]) -> tuple[str, str]:
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return out, err


def test_from_call_to_result(run: Run, worker: Worker) -> None:
    sent = run("-A", "tasks", "call", "tasks.add", "-a", "[4, 5]")
    assert sent.returncode == 0, sent.stderr
    task_id = sent.stdout.strip()
    process = worker("-l", "info", "-n", "w1@here")
    done = run("-A", "tasks", "result", task_id, "--timeout", "30")
    assert (done.returncode, done.stdout) == (0, "SUCCESS\n9\n"), done.stderr
    out, err = stop(process)
    lines = out.splitlines()
    names = [line.split()[0] for line in lines]
    assert names == ["celeriac", "app", "broker", "results", "pool", "queues", "tasks", "ready"]
    assert ", w1@here, pid " in lines[0]
    assert lines[1].split()[1] == "tasks"
    start = r"\[[\d-]+ [\d:,]+: {}/ForkPoolWorker-1\] {}"
    mark = rf"tasks\.add\[{task_id}\]"
    assert re.search(start.format("INFO", rf"Task {mark} succeeded in [\d.e-]+s: 9\n"), err)
    assert re.search(start.format("WARNING", rf"{mark}: said by the task\n"), err)
    assert re.search(start.format("WARNING", r"adding 4 5\n"), err)


def test_failed_task(run: Run, worker: Worker) -> None:
    task_id = run("-A", "tasks", "call", "tasks.boom").stdout.strip()
    process = worker("--quiet")
    done = run("-A", "tasks", "result", task_id, "--timeout", "30")
    assert done.returncode == 1
    state, *trace = done.stdout.splitlines()
    assert state == "FAILURE"
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-1] == "ValueError: boom"
    assert any("tasks.py" in line for line in trace)
    out, err = stop(process)
    assert out == ""
    assert f"Task tasks.boom[{task_id}] raised unexpected: ValueError('boom')\n" in err


def test_log_and_pid_file(run: Run, worker: Worker, tmp_path: Path) -> None:
    process = worker("-l", "info", "-n", "w1@here", "-f", "%n%I.log", "--pidfile", "%n.pid")
    task_id = run("-A", "tasks", "call", "tasks.add", "-a", "[1, 1]").stdout.strip()
    assert run("-A", "tasks", "result", task_id, "--timeout", "30").returncode == 0
    assert (tmp_path / "w1.pid").read_text().strip() == str(process.pid)
    eventually(lambda: task_id in (tmp_path / "w1-1.log").read_text())
    _, err = stop(process)
    assert err == ""
    assert not (tmp_path / "w1.pid").exists()


def test_unknown_task_becomes_a_dead_letter_and_is_replayed(run: Run, worker: Worker) -> None:
    task_id = run("-A", "tasks", "call", "tasks.more", "--force").stdout.strip()
    process = worker("-q")

    def letters() -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(run("-A", "tasks", "dead", "list", "-j").stdout)
        return found

    (letter,) = eventually(letters)
    assert (letter["id"], letter["reason"]) == (task_id, "unknown_task")
    stop(process)
    assert run("-A", "tasks", "dead", "replay", task_id).stdout == "replayed 1\n"
    assert letters() == []
    worker("-q")
    eventually(letters)


@pytest.mark.parametrize("arguments", [("call", "tasks.add", "-a", "[1, 2]"), ("dead", "list")])
def test_broker_away(run: Run, arguments: tuple[str, ...]) -> None:
    done = run("-A", "tasks", "-b", "redis://user:secret@127.0.0.1:1/0", *arguments)
    assert done.returncode == 69
    assert done.stdout == ""
    said, *rest = done.stderr.splitlines()
    assert said.startswith("error: ")
    assert "127.0.0.1:1" in said
    assert rest == ["  hint: is it running? --broker names another one"]
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_application_that_raises(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import os\nos.environ['NO_SUCH_VARIABLE']\n", "utf-8")
    short = run("-A", "broken", "worker")
    assert short.returncode == 2
    assert short.stderr.startswith(
        'error: could not load app "broken"\n'
        "  importing broken raised KeyError\n"
        "  Traceback (most recent call last):\n"
        f'    File "{tmp_path}/broken.py", line 2, in <module>\n'
    )
    long = run("--traceback", "-A", "broken", "worker")
    assert "celeriac/cli/application.py" in long.stderr


def test_colors_are_asked_for(run: Run) -> None:
    assert "\x1b[" not in run("wroker").stderr
    assert "\x1b[" in run("wroker", FORCE_COLOR="1").stderr
    assert "\x1b[" not in run("wroker", FORCE_COLOR="1", NO_COLOR="1").stderr
    assert "\x1b[" not in run("-C", "wroker", FORCE_COLOR="1").stderr


def test_as_a_module(tmp_path: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "celeriac", "beat"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith('error: the command "beat" is not part of celeriac')
