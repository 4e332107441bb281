"""Rules of the house that no linter checks."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCES = sorted(ROOT.glob("src/**/*.py")) + sorted(ROOT.glob("drop-in/src/**/*.py"))
ALL_CODE = SOURCES + [
    path
    for folder in ("tests", "scripts", "examples", "benchmarks", "drop-in/tests")
    for path in sorted(ROOT.glob(f"{folder}/**/*.py"))
]
LONGEST_FILE = 600
LONGEST_FUNCTION = 60
#: Names that say nothing about what is inside.
EMPTY_NAME = re.compile(r"(?:^|_)(utils?|helpers?|models?|commons?|misc)$")
# In two parts, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_code_to_check():
    assert len(SOURCES) > 20
    assert len(ALL_CODE) > len(SOURCES)


def test_files_are_short():
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in ALL_CODE}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_functions_are_short():
    lengths = {
        f"{name_of(path)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in ALL_CODE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, Function)
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}


def test_module_names_say_what_is_inside():
    # The drop-in repeats Celery's module names, which are not ours to choose.
    own = [path.relative_to(ROOT).with_suffix("") for path in ROOT.glob("src/**/*.py")]
    assert [str(path) for path in own if any(EMPTY_NAME.search(part) for part in path.parts)] == []


def test_nothing_is_left_unfinished():
    assert [name_of(path) for path in ALL_CODE if UNFINISHED.search(path.read_text())] == []


def test_no_exception_vanishes():
    silent = [
        f"{name_of(path)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and all(isinstance(line, ast.Pass) for line in node.body)
    ]
    assert silent == []
