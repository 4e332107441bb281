"""The names that Celery programs import."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from pathlib import Path

import pytest

import celeriac
import celery
from celeriac import error
from celeriac.cli.main import main as celeriac_main

MODULES = (
    "celery",
    "celery._state",
    "celery.app",
    "celery.app.base",
    "celery.app.task",
    "celery.exceptions",
    "celery.result",
    "celery.signals",
    "celery.states",
    "celery.utils",
    "celery.utils.log",
    "kombu",
    "kombu.exceptions",
    "kombu.utils",
    "kombu.utils.json",
    "kombu.utils.uuid",
)


@pytest.mark.parametrize("name", MODULES)
def test_public_names_exist(name: str) -> None:
    module = importlib.import_module(name)
    assert [one for one in module.__all__ if not hasattr(module, one)] == []


def test_the_class_is_ours() -> None:
    assert celery.Celery is celeriac.Celeriac
    assert isinstance(celery.Celery("names", set_as_current=False), celery.Celery)


def test_exceptions_are_ours() -> None:
    from celery.exceptions import Retry, TimeLimitExceeded
    from kombu.exceptions import OperationalError

    assert Retry is error.Retry
    assert TimeLimitExceeded is error.TimeLimitExceeded
    assert OperationalError is error.OperationalError


def test_version() -> None:
    assert celery.VERSION >= (5, 7, 0)
    assert celery.__version__ == "5.7.0"
    assert celery.__celeriac_version__ == celeriac.__version__


def test_submodules_are_attributes_after_a_mere_import() -> None:
    program = "import celery; print(celery.app.task.Task.__name__, celery.signals.task_prerun.name)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "Task task_prerun\n"


def test_json_is_text() -> None:
    from kombu.utils.json import dumps, loads

    assert dumps({"a": [1, None]}) == '{"a": [1, null]}'
    assert loads('{"a": [1, null]}') == loads(b'{"a": [1, null]}') == {"a": [1, None]}


def test_uuid_is_a_function_whatever_is_imported_first() -> None:
    program = (
        "import kombu.utils.uuid\n"
        "from kombu.utils.uuid import uuid as one\n"
        "from kombu.utils import uuid as two\n"
        "assert one is two and len(one()) == 36\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_task_logger() -> None:
    from celery.utils.log import get_task_logger

    logger = get_task_logger("drop_in.tests.names")
    assert isinstance(logger, logging.Logger)
    assert logger.parent is logging.getLogger("celery.task")


class TestMissing:
    """What celeriac has not yet is refused by name."""

    @pytest.mark.parametrize(
        ("statement", "name"),
        [
            ("import celery.schedules", "celery.schedules"),
            ("from celery.schedules import crontab", "celery.schedules"),
            ("from celery import group", "celery.group"),
            ("from celery.result import ResultSet", "celery.result.ResultSet"),
            ("from kombu import Queue", "kombu.Queue"),
            ("from kombu.mixins import ConsumerMixin", "kombu.mixins"),
        ],
    )
    def test_import(self, statement: str, name: str) -> None:
        with pytest.raises(ImportError, match=rf"^{name} is not part of celeriac .* yet$"):
            exec(statement, {})

    def test_attribute(self) -> None:
        with pytest.raises(AttributeError, match=r"^celery\.chain is not part of celeriac"):
            celery.chain  # noqa: B018

    def test_asking_is_no_error(self) -> None:
        assert not hasattr(celery, "chord")
        assert getattr(celery.result, "ResultSet", None) is None
        assert not hasattr(celery, "__wrapped__")

    def test_other_packages_are_left_alone(self) -> None:
        with pytest.raises(ModuleNotFoundError, match="No module named 'celery_once'"):
            importlib.import_module("celery_once")


class TestCommand:
    """The command ``celery``."""

    def test_is_celeriacs(self, capfd: pytest.CaptureFixture[str]) -> None:
        command = Path(sys.executable).parent / "celery"
        assert subprocess.run([command, "--version"], check=False).returncode == 0
        assert capfd.readouterr().out == f"celeriac {celeriac.__version__}\n"
        assert celeriac_main(["worker"], prog="celery") == 2
        assert "hint: celery -A" in capfd.readouterr().err

    def test_refuses_to_start_beside_the_real_one(self, tmp_path: Path) -> None:
        metadata = tmp_path / "celery-5.7.0.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text("Metadata-Version: 2.1\nName: celery\nVersion: 5.7.0\n", "utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "celery", "--version"],
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.startswith("error: celery 5.7.0 and celeriac-drop-in are installed")
