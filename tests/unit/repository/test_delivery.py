"""docs/delivery.md names the tests that hold us to it: they are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "delivery.md").read_text()
PROMISE = re.compile(r"^### (P\d+)\. .*?(?=^##)", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"`(test_\w+(?:\.py)?)`")


def there_are() -> set[str]:
    """The names of all tests and of their files, those of the contract included."""
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("src/celeriac/testing/contracts/*.py")]
    tests = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
    return tests | {file.name for file in files}


def test_every_promise_names_its_tests():
    promises = {found[1]: NAME.findall(found[0]) for found in PROMISE.finditer(PAGE)}
    assert list(promises) == [f"P{number}" for number in range(1, 13)]
    assert [name for name, tests in promises.items() if not tests] == []


def test_the_tests_named_are_there():
    assert sorted(set(NAME.findall(PAGE)) - there_are()) == []
