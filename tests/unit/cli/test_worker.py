"""``celeriac worker``: from the command line to `WorkerSettings`."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

from celeriac.cli import worker as command_module
from celeriac.cli.worker import LATER, NEEDLESS
from celeriac.worker.setting import WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from celeriac import Celeriac

Run = Any


class Recorder:
    """Stands where the worker would start processes, and keeps what it was asked to do."""

    app: Celeriac
    settings: WorkerSettings

    def __init__(self, app: Celeriac, settings: WorkerSettings) -> None:
        Recorder.app, Recorder.settings = app, settings

    def run(self) -> int:
        return 7


@pytest.fixture
def started(
    monkeypatch: pytest.MonkeyPatch, run: Callable[..., Run], tasks: str
) -> Callable[..., WorkerSettings]:
    """Run ``celeriac worker`` with options up to the start of the worker."""
    monkeypatch.setattr(command_module, "Worker", Recorder)

    def start(*options: str) -> WorkerSettings:
        done = run("-A", tasks, "worker", *options)
        assert done == (7, "", "")
        return Recorder.settings

    return start


class TestSettings:
    """Options arrive where they are meant to."""

    def test_nothing_given(self, started: Callable[..., WorkerSettings], tasks: str) -> None:
        assert started() == WorkerSettings(app_name=tasks)

    def test_everything_given(self, started: Callable[..., WorkerSettings], tasks: str) -> None:
        options = (
            "-n w1@%h -P threads -c 8 --processes 2 -Q a,b, -X b -l info -f w.log "
            "--pidfile w.pid --grace 2.5 -q -C --prefetch-multiplier 4"
        )
        assert started(*options.split()) == WorkerSettings(
            pool="threads",
            concurrency=8,
            processes=2,
            queues=("a", "b"),
            exclude=("b",),
            hostname="w1@%h",
            loglevel="info",
            logfile="w.log",
            pidfile="w.pid",
            prefetch_limit=24,
            grace=2.5,
            color=False,
            quiet=True,
            app_name=tasks,
        )

    @pytest.mark.parametrize(
        ("options", "limit"),
        [
            (("-c", "8", "--prefetch-multiplier", "4"), 3),
            (("--prefetch-multiplier", "0"), None),
            (("--disable-prefetch",), 0),
        ],
    )
    def test_prefetch(
        self, started: Callable[..., WorkerSettings], options: tuple[str, ...], limit: int | None
    ) -> None:
        assert started(*options).prefetch_limit == limit

    @pytest.mark.parametrize(
        ("given", "pool"), [("processes", "prefork"), ("asyncio", "asyncio"), ("solo", "solo")]
    )
    def test_pool_names(
        self, started: Callable[..., WorkerSettings], given: str, pool: str
    ) -> None:
        assert started("--pool", given).pool == pool

    def test_limits_and_modules_become_configuration(
        self, started: Callable[..., WorkerSettings]
    ) -> None:
        started("--time-limit", "30", "--soft-time-limit", "20", "-I", "one,two")
        conf = Recorder.app.conf
        assert (conf.task_time_limit, conf.task_soft_time_limit) == (30, 20)
        assert tuple(conf.include)[-2:] == ("one", "two")

    @pytest.mark.parametrize(("names", "takes_value"), NEEDLESS)
    def test_needless_options_are_accepted(
        self,
        started: Callable[..., WorkerSettings],
        tasks: str,
        names: tuple[str, ...],
        takes_value: bool,
    ) -> None:
        for name in names:
            value = ("2",) if takes_value else ()
            assert started(name, *value) == WorkerSettings(app_name=tasks)

    def test_events_are_accepted(self, started: Callable[..., WorkerSettings], tasks: str) -> None:
        assert started("-E") == WorkerSettings(app_name=tasks)

    def test_purge(
        self, started: Callable[..., WorkerSettings], tasks: str, directory: Path
    ) -> None:
        sys.path.insert(0, str(directory))
        app = importlib.import_module(tasks).app
        app.tasks[f"{tasks}.add"].delay(1, 2)
        started("--purge")
        assert app.broker.depth(["celery"])["celery"].ready == 0


class TestRefused:
    """What cannot be done is said before anything starts."""

    @pytest.mark.parametrize(("names", "takes_value"), LATER)
    def test_options_of_later_versions(
        self, run: Callable[..., Run], tasks: str, names: tuple[str, ...], takes_value: bool
    ) -> None:
        for name in names:
            done = run("-A", tasks, "worker", name, *(("3",) if takes_value else ()))
            assert done.code == 2
            assert "is not part of celeriac" in done.err
            assert done.err.startswith(f"error: the option {names[-1]} is not")

    @pytest.mark.parametrize("pool", ["gevent", "eventlet", "custom"])
    def test_pools_of_later_versions(self, run: Callable[..., Run], tasks: str, pool: str) -> None:
        done = run("-A", tasks, "worker", "-P", pool)
        assert done.code == 2
        assert done.err.startswith(f"error: the {pool} pool is not part of celeriac")
        assert "hint: " in done.err

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (("-P", "nope"), "there is no pool 'nope'; choose one of prefork"),
            (("-c", "0"), "0 is not in the range"),
            (("-l", "loud"), 'no log level "loud"'),
            (("--grace", "-1"), "-1.0 is not in the range"),
            (("-Q", "a", "-X", "a"), "no queue to consume"),
        ],
    )
    def test_wrong_values(
        self, run: Callable[..., Run], tasks: str, options: tuple[str, ...], said: str
    ) -> None:
        done = run("-A", tasks, "worker", *options)
        assert done.code in {1, 2}
        assert done.err.startswith("error: ")
        assert said in done.err

    def test_without_application(self, run: Callable[..., Run], directory: Path) -> None:
        (directory / "tasks.py").touch()
        done = run("worker")
        assert done.code == 2
        assert done.err == (
            "error: a worker needs an application, to know its tasks\n"
            "  hint: celeriac -A tasks worker\n"
        )
