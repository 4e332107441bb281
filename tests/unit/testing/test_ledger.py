"""The ledger: whole records from many processes, and its verdict."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from celeriac.identifier import uuid
from celeriac.testing.deadline import eventually
from celeriac.testing.ledger import RECORD_SIZE, VARIABLE, Kind, note

if TYPE_CHECKING:
    from celeriac.testing.ledger import Ledger


def test_what_is_noted_is_read(ledger: Ledger) -> None:
    key = uuid()
    note(Kind.START, key)
    note(Kind.END, key, "the value 4")
    start, end = ledger.records()
    assert (start.kind, start.id, start.detail) == (Kind.START, key, "")
    assert (end.kind, end.id, end.pid, end.detail) == (Kind.END, key, os.getpid(), "the value 4")
    assert start.time <= end.time
    assert ledger.counts(Kind.START) == {key: 1}
    assert ledger.by_id(Kind.END) == {key: [end]}


def test_records_have_one_size(ledger: Ledger) -> None:
    note(Kind.ACCEPT, "x" * 48, "d" * 41)
    (path,) = ledger.directory.iterdir()
    assert path.stat().st_size == RECORD_SIZE


@pytest.mark.parametrize(
    ("key", "detail"),
    [("x" * 49, ""), ("x", "d" * 42), ("two\nlines", ""), ("é", ""), ("x", "a\nb")],
)
def test_what_does_not_fit_is_refused(ledger: Ledger, key: str, detail: str) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        note(Kind.ACCEPT, key, detail)
    assert ledger.records() == []


def test_no_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(KeyError, match=VARIABLE):
        note(Kind.START, uuid())


def test_processes_that_are_killed_leave_whole_records(ledger: Ledger) -> None:
    code = "from celeriac.testing.ledger import *\nwhile True: note(Kind.START, 'x')"
    children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    eventually(lambda: len({record.pid for record in ledger.records()}) == 2)
    for child in children:
        child.send_signal(signal.SIGKILL)
        child.wait()
    for path in ledger.directory.iterdir():
        assert path.stat().st_size % RECORD_SIZE == 0
    assert ledger.counts(Kind.START).keys() == {"x"}


def run(key: str, value: str = "1") -> None:
    note(Kind.START, key)
    note(Kind.END, key, value)


def test_all_is_well(ledger: Ledger) -> None:
    note(Kind.ACCEPT, "good")
    run("good")
    note(Kind.READ, "good", "SUCCESS 1")
    note(Kind.ACCEPT, "failed")
    note(Kind.START, "failed")
    note(Kind.READ, "failed", "FAILURE KeyError")
    note(Kind.REJECT, "refused")
    note(Kind.UNKNOWN, "doubtful")
    note(Kind.ACCEPT, "killed")
    note(Kind.START, "killed")
    note(Kind.FAULT, "killed", "SIGKILL")
    run("killed")
    assert ledger.problems() == []


def test_lost(ledger: Ledger) -> None:
    note(Kind.ACCEPT, "a")
    note(Kind.START, "a")
    assert ledger.problems() == ["a: accepted, but lost"]


def test_rejected_but_run(ledger: Ledger) -> None:
    note(Kind.REJECT, "a")
    run("a")
    assert ledger.problems() == ["a: rejected, but started"]


def test_second_runs_without_a_reason(ledger: Ledger) -> None:
    run("a")
    run("a")
    run("a")
    note(Kind.FAULT, "a", "SIGKILL")
    assert ledger.problems() == ["2 second runs, but only 1 can be explained"]
    assert ledger.problems(overlaps=1) == []


def test_a_value_that_no_run_made(ledger: Ledger) -> None:
    run("a", "1")
    note(Kind.READ, "a", "SUCCESS 2")
    assert ledger.problems() == ["a: read ['2'], but the runs made ['1']"]


def test_a_result_that_changed(ledger: Ledger) -> None:
    run("a", "1")
    run("a", "2")
    note(Kind.READ, "a", "SUCCESS 1")
    note(Kind.READ, "a", "SUCCESS 2")
    assert ledger.problems(overlaps=1) == ["a: read ['1', '2'], but the runs made ['1', '2']"]
