"""The root command: its table, its errors, its global options."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest

import celeriac
from celeriac.cli.main import COMMANDS, LATER, main
from celeriac.cli.problem import Problem, show

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Run = Any


class TestTable:
    """Commands are named by strings and imported on use."""

    @pytest.mark.parametrize("name", sorted(COMMANDS))
    def test_entry(self, name: str) -> None:
        module, _ = COMMANDS[name]
        assert isinstance(importlib.import_module(module).command, click.Command)

    def test_help_lists_them(self, run: Callable[..., Run]) -> None:
        done = run("--help")
        assert done.code == 0
        for name, (_, text) in COMMANDS.items():
            assert f"{name} " in done.out
            assert text in done.out

    def test_help_imports_none_of_them(self) -> None:
        program = (
            "import sys\n"
            "from celeriac.cli.main import main\n"
            "assert main(['--help']) == 0\n"
            "heavy = {'redis', 'asyncio', 'sqlite3', 'celeriac.worker', 'celeriac.cli.worker'}\n"
            "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stderr == "[]\n"

    def test_nothing_is_both_here_and_later(self) -> None:
        assert not LATER & COMMANDS.keys()


class TestMistakes:
    """One shape: what is wrong, what is known, what to do."""

    def test_version(self, run: Callable[..., Run]) -> None:
        assert run("--version") == (0, f"celeriac {celeriac.__version__}\n", "")

    def test_mistyped_command(self, run: Callable[..., Run]) -> None:
        done = run("wroker")
        assert done == (
            2,
            "",
            'error: no command "wroker"\n  hint: did you mean "celeriac worker"?\n',
        )

    def test_unknown_command(self, run: Callable[..., Run]) -> None:
        done = run("zzz")
        assert done.err == 'error: no command "zzz"\n  hint: celeriac --help lists them\n'

    def test_command_of_a_later_version(self, run: Callable[..., Run]) -> None:
        done = run("beat")
        assert done.code == 2
        assert done.err.startswith('error: the command "beat" is not part of celeriac ')

    def test_mistyped_option(self, run: Callable[..., Run]) -> None:
        done = run("worker", "--concurency", "3")
        assert done.code == 2
        assert done.err == 'error: no option "--concurency"\n  hint: did you mean --concurrency?\n'

    def test_missing_argument(self, run: Callable[..., Run]) -> None:
        done = run("result")
        assert done == (
            2,
            "",
            "error: missing argument 'TASK_ID'\n  hint: celeriac result --help\n",
        )

    def test_colors(self, capsys: pytest.CaptureFixture[str]) -> None:
        show(Problem("x", "known", hint="y"), color=True)
        assert capsys.readouterr().err == (
            "\x1b[1;31merror:\x1b[0m x\n  known\n  \x1b[36mhint:\x1b[0m y\n"
        )

    def test_wrong_scheme(self, run: Callable[..., Run]) -> None:
        done = run("-b", "rediss3://x", "dead", "list")
        assert done.code == 2
        said, hint, *_ = done.err.splitlines()
        assert said == 'error: no broker for the URL scheme "rediss3"'
        assert hint.startswith('  hint: did you mean "rediss://"?')

    def test_bug_of_ours_shows_everything(
        self, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, tasks: str
    ) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError("oops")

        monkeypatch.setattr("celeriac.cli.dead._table", broken)
        monkeypatch.setattr("celeriac.broker.memory.MemoryBroker.dead_letters", broken)
        done = run("-A", tasks, "dead", "list")
        assert done.code == 1
        assert done.err.startswith("error: ZeroDivisionError: oops\n  Traceback")


class TestGlobalOptions:
    """They are accepted before and behind the command, and from the environment."""

    def test_behind_the_command(self, run: Callable[..., Run], tasks: str) -> None:
        assert run("dead", "list", "-A", tasks) == run("-A", tasks, "dead", "list")
        assert run("dead", "-A", tasks, "list").out == "no dead letters\n"

    @pytest.mark.parametrize("name", ["CELERIAC_APP", "CELERY_APP", "APP"])
    def test_environment(
        self, run: Callable[..., Run], tasks: str, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setenv(name, tasks)
        assert run("dead", "list").out == "no dead letters\n"

    @pytest.mark.parametrize("prefix", ["CELERIAC", "CELERY"])
    def test_environment_of_a_command(
        self, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, prefix: str
    ) -> None:
        monkeypatch.setenv(f"{prefix}_WORKER_CONCURRENCY", "many")
        done = run("worker")
        assert done.code == 2
        assert "'many' is not a valid integer" in done.err

    def test_broker_wins_over_the_application_and_the_environment(
        self, run: Callable[..., Run], tasks: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CELERY_BROKER_URL", "memory://elsewhere")
        done = run("-A", tasks, "-b", "nonsense://", "dead", "list")
        assert 'scheme "nonsense"' in done.err

    def test_workdir(
        self, run: Callable[..., Run], tasks: str, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (directory / "elsewhere").mkdir()
        monkeypatch.chdir(directory / "elsewhere")
        assert run("-A", tasks, "dead", "list").code == 2
        assert run("-A", tasks, "--workdir", str(directory), "dead", "list").code == 0

    def test_missing_workdir(self, run: Callable[..., Run]) -> None:
        done = run("--workdir", "nowhere", "dead", "list")
        assert done.err == (
            'error: cannot change to the directory "nowhere": No such file or directory\n'
        )

    def test_config(self, run: Callable[..., Run], directory: Path) -> None:
        (directory / "cli_config_module.py").write_text("broker_url = 'nonsense://'\n", "utf-8")
        assert 'scheme "nonsense"' in run("--config", "cli_config_module", "dead", "list").err


def test_reader_that_has_enough(tasks: str, directory: Path) -> None:
    """``celeriac --help | head -0`` ends without a traceback."""
    del tasks, directory
    program = "import sys; from celeriac.cli.main import main; sys.exit(main(['--help']))"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate()
    assert err == b""
    assert process.returncode == 1


def test_given_application_is_used(tasks: str, directory: Path) -> None:
    sys.path.insert(0, str(directory))
    app = importlib.import_module(tasks).app
    assert main(["call", "no.such.task"], app=app) == 2
