"""The command line, called in this process in a directory of the test's own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from celeriac.cli.main import main
from celeriac.current import set_current_app
from celeriac.identifier import token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TASKS = """
from celeriac import Celeriac

app = Celeriac("tasks", broker="memory://{name}", backend="memory://{name}")

@app.task
def add(x, y):
    return x + y
"""


class Ended(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory; what is imported from it is forgotten afterwards."""
    for name in ("CELERY_APP", "CELERIAC_APP", "APP", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    modules = set(sys.modules)
    yield tmp_path
    set_current_app(None)
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def tasks(directory: Path) -> str:
    """The name of a module with an application on a memory broker of the test's own."""
    name = f"tasks_{token()}"
    (directory / f"{name}.py").write_text(TASKS.format(name=name), "utf-8")
    return name


@pytest.fixture
def run(directory: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run ``celeriac`` with some arguments."""
    del directory

    def call(*arguments: str) -> Ended:
        capfd.readouterr()
        code = main(arguments)
        return Ended(code, *capfd.readouterr())

    return call
