"""``--app``: every way to name an application, and every way to miss it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from celeriac.cli.application import find, suggest
from celeriac.cli.problem import Problem
from celeriac.identifier import token

if TYPE_CHECKING:
    from pathlib import Path

APP = "from celeriac import Celeriac\n{name} = Celeriac('found', set_as_current=False)\n"


@pytest.fixture
def module(directory: Path) -> str:
    """A module name that no other test uses, importable once it is written."""
    sys.path.insert(0, str(directory))
    return f"proj_{token()}"


def write(directory: Path, module: str, source: str) -> None:
    path = directory.joinpath(*module.split("."))
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".py").write_text(source, "utf-8")


def package(directory: Path, module: str, source: str = "") -> None:
    write(directory, f"{module}.__init__", source)


def missed(name: str) -> Problem:
    with pytest.raises(Problem) as caught:
        find(name, prog="celeriac")
    assert caught.value.code == 2
    assert caught.value.message == f'could not load app "{name}"'
    return caught.value


class TestFound:
    """Celery's rules."""

    @pytest.mark.parametrize("name", ["app", "celery", "anything"])
    def test_in_module(self, directory: Path, module: str, name: str) -> None:
        write(directory, module, APP.format(name=name))
        assert find(module, prog="celeriac").main == "found"

    def test_explicit_attribute(self, directory: Path, module: str) -> None:
        write(directory, module, APP.format(name="one") + "two = Celeriac('second')\n")
        assert find(f"{module}:two", prog="celeriac").main == "second"

    def test_nested_attribute(self, directory: Path, module: str) -> None:
        source = "from celeriac import Celeriac\nclass Box:\n    inner = Celeriac('found')\n"
        write(directory, module, source)
        assert find(f"{module}:Box.inner", prog="celeriac").main == "found"

    def test_dotted_attribute(self, directory: Path, module: str) -> None:
        write(directory, module, APP.format(name="mine") + "other = Celeriac('second')\n")
        assert find(f"{module}.mine", prog="celeriac").main == "found"

    def test_submodule_celery(self, directory: Path, module: str) -> None:
        package(directory, module)
        write(directory, f"{module}.celery", APP.format(name="app"))
        assert find(module, prog="celeriac").main == "found"
        assert find(f"{module}.celery", prog="celeriac").main == "found"
        assert find(f"{module}:celery", prog="celeriac").main == "found"

    def test_package_that_imports_its_app(self, directory: Path, module: str) -> None:
        package(directory, module, "from .celery import app as celery_app\n")
        write(directory, f"{module}.celery", APP.format(name="app"))
        assert find(module, prog="celeriac").main == "found"

    def test_app_of_another_kind_is_passed_over(self, directory: Path, module: str) -> None:
        write(directory, module, "app = object()\n" + APP.format(name="queue"))
        assert find(module, prog="celeriac").main == "found"

    def test_one_application_under_two_names(self, directory: Path, module: str) -> None:
        write(directory, module, APP.format(name="one") + "two = one\n")
        assert find(module, prog="celeriac").main == "found"


class TestMissed:
    """The message says what was looked at."""

    def test_no_module(self, directory: Path, module: str) -> None:
        write(directory, module, "")
        problem = missed(f"{module}x")
        assert f'there is no module "{module}x"; looked in {directory}' in problem.context[0]
        assert problem.hint == f'did you mean "-A {module}"?'

    @pytest.mark.usefixtures("directory")
    def test_nothing_like_it(self) -> None:
        assert missed("no.such.thing").hint == "run celeriac where no is, or use --workdir"

    @pytest.mark.parametrize("name", ["", ":app", "..x", "a b", ".x:app"])
    @pytest.mark.usefixtures("directory")
    def test_nonsense(self, name: str) -> None:
        assert "there is no module" in missed(name).context[0]

    def test_no_attribute(self, directory: Path, module: str) -> None:
        write(directory, module, APP.format(name="app"))
        problem = missed(f"{module}:nope")
        assert problem.context[0] == (
            f"{module} was imported from {directory}/{module}.py but has no attribute "
            '"nope"; Celeriac instances found there: app'
        )
        assert problem.hint == f"celeriac -A {module}:app worker"

    def test_attribute_of_another_kind(self, directory: Path, module: str) -> None:
        write(directory, module, "app = 42\n")
        problem = missed(f"{module}:app")
        assert '"app" in it is a builtins.int' in problem.context[0]
        assert problem.hint == f'put app = Celeriac("{module}") into {module}'

    def test_several(self, directory: Path, module: str) -> None:
        write(directory, module, APP.format(name="one") + "two = Celeriac('second')\n")
        problem = missed(module)
        assert (
            "has several applications; Celeriac instances found there: one, two"
            in (problem.context[0])
        )

    def test_current_app_is_not_an_application_of_the_module(
        self, directory: Path, module: str
    ) -> None:
        write(directory, module, "from celeriac import current_app\n")
        assert "has no application" in missed(module).context[0]

    def test_module_that_raises(self, directory: Path, module: str) -> None:
        write(directory, module, "import os\n\ndef f():\n    1 / 0\n\nf()\n")
        problem = missed(module)
        assert problem.context == (f"importing {module} raised ZeroDivisionError",)
        assert problem.trace is not None
        assert "line 4, in f" in problem.trace
        assert "importlib" not in problem.trace
        assert "celeriac" not in problem.trace

    def test_module_that_imports_what_is_not_there(self, directory: Path, module: str) -> None:
        write(directory, module, "import no_such_module_at_all\n")
        problem = missed(module)
        assert problem.context == (f"importing {module} raised ModuleNotFoundError",)
        assert "No module named 'no_such_module_at_all'" in (problem.trace or "")

    def test_package_that_raises(self, directory: Path, module: str) -> None:
        package(directory, module, "raise RuntimeError('package')\n")
        write(directory, f"{module}.celery", APP.format(name="app"))
        assert "raised RuntimeError" in missed(f"{module}.celery").context[0]

    def test_syntax_error(self, directory: Path, module: str) -> None:
        write(directory, module, "def f(:\n")
        assert "SyntaxError" in (missed(module).trace or "")


class TestSuggestion:
    """A worker without ``--app``."""

    def test_usual_name(self, directory: Path) -> None:
        (directory / "tasks.py").touch()
        assert suggest("celeriac") == "celeriac -A tasks worker"

    @pytest.mark.usefixtures("directory")
    def test_nothing_there(self) -> None:
        assert suggest("celery").startswith("celery -A MODULE worker")
