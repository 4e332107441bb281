"""``celeriac call`` and ``celeriac result``."""

from __future__ import annotations

import importlib
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from celeriac import state
from celeriac.message import ResultRecord
from celeriac.protocol import result_meta
from celeriac.protocol.result_meta import ResultMeta

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celeriac import Celeriac
    from celeriac.message import Delivery

Run = Any


@pytest.fixture
def app(tasks: str, directory: Path) -> Celeriac:
    """The application behind the name that `tasks` is."""
    sys.path.insert(0, str(directory))
    found: Celeriac = importlib.import_module(tasks).app
    return found


def receive(app: Celeriac, queue: str = "celery") -> Delivery:
    consumer = app.broker.consumer([queue], "test-owner")
    (delivery,) = consumer.receive(1, 1.0)
    consumer.close()
    return delivery


def store(app: Celeriac, meta: ResultMeta) -> None:
    payload = result_meta.encode(meta, app.serialization, "json")
    app.store.put([ResultRecord(meta.id, meta.state, payload)])


class TestCall:
    """A task is sent."""

    def test_arguments(self, run: Callable[..., Run], tasks: str, app: Celeriac) -> None:
        done = run("-A", tasks, "call", f"{tasks}.add", "-a", "[1]", "-k", '{"y": 2}')
        assert done.code == 0
        message = receive(app).message
        assert message is not None
        assert done.out == f"{message.id}\n"
        assert message.task == f"{tasks}.add"
        assert json.loads(message.body)[:2] == [[1], {"y": 2}]

    def test_json(self, run: Callable[..., Run], tasks: str) -> None:
        done = run("-A", tasks, "call", f"{tasks}.add", "-a", "[1, 2]", "--json")
        assert json.loads(done.out)["task"] == f"{tasks}.add"

    def test_tasks_of_included_modules(
        self, run: Callable[..., Run], tasks: str, app: Celeriac, directory: Path
    ) -> None:
        source = "from celeriac import shared_task\n@shared_task\ndef more():\n    pass\n"
        (directory / f"{tasks}_more.py").write_text(source, "utf-8")
        app.conf.include = [f"{tasks}_more"]
        assert run("-A", tasks, "call", f"{tasks}_more.more").code == 0

    def test_included_module_that_is_not_there(
        self, run: Callable[..., Run], tasks: str, app: Celeriac
    ) -> None:
        app.conf.include = ["no_such_module_at_all"]
        done = run("-A", tasks, "call", f"{tasks}.add", "-a", "[1, 2]")
        assert done.code == 1
        assert done.err.startswith(
            "error: No module named 'no_such_module_at_all'\n"
            "  the configuration names it: imports, include, autodiscover_tasks or --include\n"
        )

    def test_queue(self, run: Callable[..., Run], tasks: str, app: Celeriac) -> None:
        assert run("-A", tasks, "call", f"{tasks}.add", "-a", "[1, 2]", "--queue", "q").code == 0
        assert receive(app, "q").queue == "q"

    @pytest.mark.parametrize(
        ("given", "meant"),
        [
            ("2999-01-02T03:04:05", "2999-01-02T03:04:05+00:00"),
            ("2999-01-02T03:04:05+02:00", "2999-01-02T01:04:05+00:00"),
        ],
    )
    def test_expires_at(
        self, run: Callable[..., Run], tasks: str, app: Celeriac, given: str, meant: str
    ) -> None:
        run("-A", tasks, "call", f"{tasks}.add", "-a", "[1, 2]", "--expires", given)
        message = receive(app).message
        assert message is not None
        assert datetime.fromisoformat(message.headers["expires"]) == datetime.fromisoformat(meant)

    def test_expires_in_seconds(self, run: Callable[..., Run], tasks: str, app: Celeriac) -> None:
        before = datetime.now(UTC)
        run("-A", tasks, "call", f"{tasks}.add", "-a", "[1, 2]", "--expires", "3600")
        message = receive(app).message
        assert message is not None
        expires = datetime.fromisoformat(message.headers["expires"])
        assert expires - before >= timedelta(hours=1)

    @pytest.mark.parametrize("when", [("--countdown", "3600"), ("--eta", "2999-01-01T00:00:00")])
    def test_later(
        self, run: Callable[..., Run], tasks: str, app: Celeriac, when: tuple[str, str]
    ) -> None:
        assert run("-A", tasks, "call", f"{tasks}.add", "-a", "[1, 2]", *when).code == 0
        depth = app.broker.depth(["celery"])["celery"]
        assert (depth.ready, depth.delayed) == (0, 1)

    def test_mistyped_name(self, run: Callable[..., Run], tasks: str, app: Celeriac) -> None:
        done = run("-A", tasks, "call", f"{tasks}.ad")
        assert done.code == 2
        assert done.out == ""
        assert done.err.startswith(
            f'error: no task named "{tasks}.ad" is registered in {tasks}\n'
            f'  hint: did you mean "{tasks}.add"?'
        )
        assert app.broker.depth(["celery"])["celery"].ready == 0

    def test_mistyped_name_by_force(
        self, run: Callable[..., Run], tasks: str, app: Celeriac
    ) -> None:
        assert run("-A", tasks, "call", "other.task", "--force").code == 0
        message = receive(app).message
        assert message is not None
        assert message.task == "other.task"

    def test_without_application(self, run: Callable[..., Run]) -> None:
        done = run("-b", "memory://", "call", "other.task")
        assert done.code == 2
        assert "hint: celeriac -A MODULE call other.task, or send it anyway" in done.err
        assert run("-b", "memory://", "call", "other.task", "--force").code == 0

    def test_arguments_that_do_not_fit(
        self, run: Callable[..., Run], tasks: str, app: Celeriac
    ) -> None:
        done = run("-A", tasks, "call", f"{tasks}.add", "-a", "[1]")
        assert done.code == 2
        assert done.err.startswith("error: ")
        assert f"{tasks}.add" in done.err
        assert "Traceback" not in done.err
        assert app.broker.depth(["celery"])["celery"].ready == 0

    @pytest.mark.parametrize(
        ("option", "value", "said"),
        [
            ("-a", "[1,", "is not JSON"),
            ("-a", "{}", "write '[2, 2]'"),
            ("-k", "[]", "write '{\"x\": 2}'"),
            ("--eta", "soon", "is not a time"),
            ("--expires", "soon", "or seconds from now"),
        ],
    )
    def test_values_that_cannot_be_read(
        self, run: Callable[..., Run], tasks: str, option: str, value: str, said: str
    ) -> None:
        done = run("-A", tasks, "call", f"{tasks}.add", option, value)
        assert done.code == 2
        assert said in done.err


class TestResult:
    """A result is shown."""

    def test_success(self, run: Callable[..., Run], tasks: str, app: Celeriac) -> None:
        store(app, ResultMeta(id="an-id", state=state.SUCCESS, result={"n": [1, None]}))
        assert run("-A", tasks, "result", "an-id") == (0, "SUCCESS\n{'n': [1, None]}\n", "")
        assert run("-A", tasks, "result", "an-id", "-t", f"{tasks}.add").code == 0

    def test_none(self, run: Callable[..., Run], tasks: str, app: Celeriac) -> None:
        store(app, ResultMeta(id="an-id", state=state.SUCCESS, result=None))
        assert run("-A", tasks, "result", "an-id").out == "SUCCESS\nNone\n"

    def test_failure(self, run: Callable[..., Run], tasks: str, app: Celeriac) -> None:
        trace = 'Traceback (most recent call last):\n  File "t.py", line 1, in f\nValueError: no\n'
        error = ValueError("no")
        store(app, ResultMeta(id="an-id", state=state.FAILURE, result=error, traceback=trace))
        assert run("-A", tasks, "result", "an-id") == (1, f"FAILURE\n{trace}", "")
        assert run("-A", tasks, "result", "an-id", "--traceback") == (1, trace, "")
        plain = json.loads(run("-A", tasks, "result", "an-id", "--json").out)
        assert plain == {
            "id": "an-id",
            "state": "FAILURE",
            "result": {"type": "ValueError", "message": "no"},
            "traceback": trace,
        }

    def test_failure_without_traceback(
        self, run: Callable[..., Run], tasks: str, app: Celeriac
    ) -> None:
        store(app, ResultMeta(id="an-id", state=state.FAILURE, result=ValueError("no")))
        assert run("-A", tasks, "result", "an-id").out == "FAILURE\nValueError: no\n"

    def test_pending(self, run: Callable[..., Run], tasks: str) -> None:
        assert run("-A", tasks, "result", "an-id") == (0, "PENDING\n", "")

    def test_timeout(self, run: Callable[..., Run], tasks: str) -> None:
        done = run("-A", tasks, "result", "an-id", "--timeout", "0.01")
        assert done.code == 1
        assert done.err == (
            "error: task an-id was not done within 0.01 s; its state is PENDING\n"
            "  hint: PENDING is also the state of an id that nobody has sent\n"
        )

    def test_unknown_task(self, run: Callable[..., Run], tasks: str) -> None:
        done = run("-A", tasks, "result", "an-id", "-t", f"{tasks}.ad")
        assert done.code == 1
        assert f'did you mean "{tasks}.add"?' in done.err
