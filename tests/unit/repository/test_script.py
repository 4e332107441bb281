"""What the Makefile rests on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import reference, setup

ROOT = Path(__file__).parents[3]


def chosen_python(**environ: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "scripts" / "python.sh")]
    return subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )


def test_the_newest_python_is_chosen_and_can_be_overridden(tmp_path: Path):
    for name, works in (("python3.14", 1), ("python3.13", 0), ("python3.12", 0)):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\nexit {works}\n")
        program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"

    assert chosen_python(PATH=path, PYTHON="").stdout == "python3.13\n"
    assert chosen_python(PATH=path, PYTHON=sys.executable).stdout == f"{sys.executable}\n"


@pytest.mark.parametrize(
    ("environ", "said"),
    [({"PYTHON": "/bin/false"}, "PYTHON=/bin/false"), ({"PATH": "/nowhere"}, "hint:")],
)
def test_without_a_python_the_cure_is_named(environ: dict[str, str], said: str):
    environ = {"PYTHON": "", **environ}

    done = chosen_python(**environ)

    assert done.returncode == 1
    assert said in done.stderr


def test_an_environment_is_current_until_something_it_depends_on_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    project = tmp_path / "pyproject.toml"
    project.write_text("before")
    monkeypatch.setattr(setup, "PROJECTS", (project,))
    monkeypatch.delenv("PYTHON", raising=False)
    venv = tmp_path / ".venv"
    venv.mkdir()

    assert not setup.current(venv, "dev")
    (venv / ".stamp-dev").write_text(setup.digest(venv))
    assert setup.current(venv, "dev")
    assert setup.current(venv, "demo")  # the larger one does for the smaller
    assert not setup.current(venv, "interop")
    project.write_text("after")
    assert not setup.current(venv, "dev")


def test_an_environment_of_another_python_is_not_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "pyvenv.cfg").write_text("version = 3.1.4\n")
    (tmp_path / ".stamp-dev").write_text(setup.digest(tmp_path))

    monkeypatch.delenv("PYTHON", raising=False)
    assert setup.current(tmp_path, "dev")
    monkeypatch.setenv("PYTHON", sys.executable)
    assert not setup.current(tmp_path, "dev")


@pytest.mark.parametrize("group", ["dev", "drop-in", "interop"])
def test_groups_are_installed_without_the_project_itself(group: str):
    requirements = setup.requirements_of(group)

    assert any(line.startswith("pytest") for line in requirements)
    assert not any(line.startswith("celeriac") for line in requirements)


def test_the_page_of_settings_is_up_to_date():
    assert reference.PAGE.read_text() == reference.page(), "run `make docs`"


def test_help_lists_the_targets():
    makefile = (ROOT / "Makefile").read_text()
    documented = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)", makefile, re.MULTILINE)
    assert phony is not None
    internal = {"suite", "servers", "format-check"}

    assert set(phony[1].replace("\\\n", " ").split()) - internal == documented
    help_text = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"^  make ([a-z-]+)", help_text, re.MULTILINE)) == documented
