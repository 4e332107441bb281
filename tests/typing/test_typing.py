"""mypy --strict and pyright read tasks as their authors mean them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
POSITIVE, NEGATIVE = HERE / "positive.py", HERE / "negative.py"


def marked(path: Path) -> set[int]:
    lines = path.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# error")}


def mypy(path: Path, cache: Path) -> dict[int, str]:
    """Return the message for each line that mypy refuses."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", cache]
    done = subprocess.run([*command, path], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(r"^(.+?):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    assert {Path(file).name for file, _, _ in found} <= {path.name}, done.stdout
    return {int(line): message for _, line, message in found}


def pyright(path: Path) -> dict[int, str]:
    """Return the message for each line that pyright refuses."""
    command = shutil.which("pyright", path=os.fspath(Path(sys.executable).parent))
    if command is None:
        pytest.fail("pyright is not installed; it belongs to the development dependencies")
    done = subprocess.run(
        [command, "--outputjson", "--pythonpath", sys.executable, path],
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE,
    )
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"pyright cannot run here: {(done.stdout + done.stderr).strip()[-300:]}")
    errors = [one for one in report["generalDiagnostics"] if one["severity"] == "error"]
    assert report["summary"]["filesAnalyzed"] == 1
    return {one["range"]["start"]["line"] + 1: one["message"] for one in errors}


def test_mypy_accepts_what_is_right(tmp_path: Path) -> None:
    assert mypy(POSITIVE, tmp_path) == {}


def test_mypy_refuses_exactly_what_is_wrong(tmp_path: Path) -> None:
    assert mypy(NEGATIVE, tmp_path).keys() == marked(NEGATIVE)


def test_pyright_accepts_what_is_right() -> None:
    assert pyright(POSITIVE) == {}


def test_pyright_refuses_exactly_what_is_wrong() -> None:
    assert pyright(NEGATIVE).keys() == marked(NEGATIVE)
