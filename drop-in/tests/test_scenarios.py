"""Programs written for Celery, run word for word."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess

    from conftest import Project

ADD = """
import os
from celery import Celery

app = Celery('tasks', broker=os.environ['URL'], backend=os.environ['URL'])

@app.task
def add(x, y):
    return x + y
"""

FACTORIAL = """
import os, math, time
from celery import Celery

app = Celery('tasks', broker=os.environ['URL'], backend=os.environ['URL'])

@app.task
def factorial(n):
    time.sleep(0.2)
    return math.factorial(n)
"""


@pytest.fixture
def add(project: Project) -> None:
    """The project has a task ``add``."""
    project.write(ADD)


@pytest.fixture
def factorial(project: Project) -> None:
    """The project has a slow task ``factorial``."""
    project.write(FACTORIAL)


@pytest.mark.usefixtures("add")
class TestAdd:
    """A task is called from another process and its result read."""

    def test_delay_and_get(self, project: Project, worker: subprocess.Popen[bytes]) -> None:
        del worker
        printed = project.python(
            "from tasks import add\n"
            "result = add.delay(4, 5)\n"
            "print(repr(result))\n"
            "print(result.get(timeout=30))\n"
        )
        shown, value = printed.splitlines()
        assert re.fullmatch(r"<AsyncResult: [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}>", shown)
        assert value == "9"

    def test_sent_before_the_worker_starts(
        self, project: Project, request: pytest.FixtureRequest
    ) -> None:
        task_id = project.python("from tasks import add; print(add.delay(4, 5).id)").strip()
        request.getfixturevalue("worker")
        printed = project.python(
            f"from tasks import app; print(app.AsyncResult({task_id!r}).get(timeout=30))"
        )
        assert printed == "9\n"

    def test_call_and_result_commands(
        self, project: Project, worker: subprocess.Popen[bytes]
    ) -> None:
        del worker
        task_id = project.celery("-A", "tasks", "call", "tasks.add", "-a", "[4, 5]").strip()
        printed = project.celery("-A", "tasks", "result", task_id, "--timeout", "30")
        assert printed.splitlines() == ["SUCCESS", "9"]


@pytest.mark.usefixtures("factorial")
class TestFactorial:
    """A slow task is polled, and a failing one tells why."""

    def test_polling(self, project: Project, worker: subprocess.Popen[bytes]) -> None:
        del worker
        printed = project.python(
            "import time\n"
            "from tasks import factorial\n"
            "result = factorial.delay(20)\n"
            "first = result.ready()\n"
            "while not result.ready():\n"
            "    time.sleep(0.01)\n"
            "print(first, result.successful(), result.get())\n"
        )
        assert printed == "False True 2432902008176640000\n"

    def test_failure(self, project: Project, worker: subprocess.Popen[bytes]) -> None:
        del worker
        printed = project.python(
            "import time\n"
            "from tasks import factorial\n"
            "result = factorial.delay('ten')\n"
            "while not result.ready():\n"
            "    time.sleep(0.01)\n"
            "print(result.successful(), result.failed(), result.state)\n"
            "print(str(result.result))\n"
            "try:\n"
            "    result.get()\n"
            "except TypeError as error:\n"
            "    print('raised', error)\n"
        )
        text = "'str' object cannot be interpreted as an integer"
        assert printed.splitlines() == ["False True FAILURE", text, f"raised {text}"]
