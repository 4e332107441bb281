"""A ledger of what really happened, kept outside of every broker and store.

Tasks of crash tests note their start and end, senders what was accepted.  Each process appends
records of one fixed size to a file of its own with one ``write`` each, so a process killed at any
instant leaves only whole records.  The environment names the directory, so workers inherit it.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

#: Names the directory of the ledger.
VARIABLE = "CELERIAC_LEDGER"
#: The length of a record, bytes.
RECORD_SIZE = 128
_ID_SIZE = 48
_DETAIL_SIZE = 41

#: States in which a task has come to its end without success.
_UNSUCCESSFUL = frozenset({"FAILURE", "REVOKED"})


class Kind(StrEnum):
    """What a record tells."""

    ACCEPT = "ACCEPT"  #: the send returned
    UNKNOWN = "UNKNOWN"  #: the send raised `PublishUnknown`
    REJECT = "REJECT"  #: the send raised another error
    START = "START"  #: the task body was entered
    END = "END"  #: the task body returned; the detail is its value
    READ = "READ"  #: somebody read a result; the detail is state and value
    FAULT = "FAULT"  #: something was killed while this task ran


class Record(NamedTuple):
    """One line of the ledger; times are Unix time in seconds."""

    kind: Kind
    id: str
    pid: int
    time: float
    detail: str


_files: dict[tuple[int, str], int] = {}


def note(kind: Kind, id: str, detail: str = "") -> None:  # noqa: A002 - Celery's name
    """Append a record to the ledger that the environment names.

    Args:
        kind: what happened.
        id: the task id.
        detail: one word or two about it.

    Raises:
        KeyError: the environment names no ledger.
        ValueError: id or detail are too long, not ASCII, or several lines.
    """
    directory, pid = os.environ[VARIABLE], os.getpid()
    place = (pid, directory)
    if place not in _files:
        path = os.path.join(directory, f"{pid}.ledger")
        _files[place] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    text = f"{kind:<8}{id:<{_ID_SIZE}}{pid:<10}{time.time():<20.6f}{detail:<{_DETAIL_SIZE}}"
    record = text.encode() + b"\n"
    if len(record) != RECORD_SIZE or "\n" in text:
        raise ValueError(f"does not fit into a ledger record: {id!r} {detail!r}")
    os.write(_files[place], record)


class Ledger:
    """Reads what all processes have noted, and checks it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def records(self) -> list[Record]:
        """Return all records in the order of their times."""
        records = []
        for path in self.directory.glob("*.ledger"):
            data = path.read_bytes()
            starts = range(0, len(data) - RECORD_SIZE + 1, RECORD_SIZE)
            records += [_parse(data[start : start + RECORD_SIZE].decode()) for start in starts]
        return sorted(records, key=lambda record: record.time)

    def by_id(self, kind: Kind) -> dict[str, list[Record]]:
        """Return the records of one kind by task id."""
        found: dict[str, list[Record]] = defaultdict(list)
        for record in self.records():
            if record.kind is kind:
                found[record.id].append(record)
        return dict(found)

    def counts(self, kind: Kind) -> Counter[str]:
        """Return how many records of one kind each task has."""
        return Counter(record.id for record in self.records() if record.kind is kind)

    def problems(self, *, overlaps: int = 0) -> list[str]:
        """Compare the records with the promises; return what is broken, nothing when all is well.

        * A task whose send was accepted has ended, or somebody has read that it failed.
        * A task whose send was rejected has not started.
        * There are no more second runs than tasks that were running when something was killed.
        * A successful result that was read is the value of some run of that task, and is the
          same for every reader.

        Args:
            overlaps: how many second runs more are allowed, for leases lost without a kill.
        """
        starts, ends = self.counts(Kind.START), self.by_id(Kind.END)
        reads = self.by_id(Kind.READ)
        accepted, rejected = self.counts(Kind.ACCEPT), self.counts(Kind.REJECT)
        problems = [
            f"{key}: accepted, but lost"
            for key in accepted
            if key not in ends and not any(_failed(read) for read in reads.get(key, ()))
        ]
        problems += [f"{key}: rejected, but started" for key in rejected if key in starts]
        second = sum(count - 1 for count in starts.values())
        allowed = self.counts(Kind.FAULT).total() + overlaps
        if second > allowed:
            problems.append(f"{second} second runs, but only {allowed} can be explained")
        for key, found in reads.items():
            values = {read.detail.partition(" ")[2] for read in found if not _failed(read)}
            made = {end.detail for end in ends.get(key, ())}
            if len(values) > 1 or not values <= made:
                problems.append(f"{key}: read {sorted(values)}, but the runs made {sorted(made)}")
        return problems


def _failed(read: Record) -> bool:
    return read.detail.partition(" ")[0] in _UNSUCCESSFUL


def _parse(line: str) -> Record:
    kind, text = line[:8], line[8:]
    key, text = text[:_ID_SIZE], text[_ID_SIZE:]
    pid, text = text[:10], text[10:]
    when, detail = text[:20], text[20:]
    return Record(Kind(kind.strip()), key.strip(), int(pid), float(when), detail.strip())
