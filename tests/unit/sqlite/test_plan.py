"""The hot statements cost the same whatever else is in the file."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from celeriac.broker.sqlite import statement
from celeriac.engine.sqlite import schema
from celeriac.store import sqlite as store

if TYPE_CHECKING:
    from collections.abc import Iterator

QUEUE = {"queue": "q", "now": 1.0, "limit": 10}


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    for one in schema.STATEMENTS:
        connection.execute(one)
    yield connection
    connection.close()


@pytest.mark.parametrize(
    ("query", "values", "index"),
    [
        (statement.IS_READY, ("q",), "message_ready"),
        (statement.NEXT_DUE, ("q",), "message_delayed"),
        (statement.CANDIDATES, ("q", 10), "message_ready"),
        (statement.PROMOTE, QUEUE, "message_delayed"),
        (statement.PURGE, QUEUE, "message_ready"),
        (statement.IS_THERE, ("id", 0), "message_id"),
        (statement.EXPIRED, (1.0, 10), "message_leased"),
        (statement.ADOPT, {"owner": "o", "by": "b", "deadline": 1.0}, "message_leased"),
        (statement.LEASE, {"owner": "o", "deadline": 1.0, "seqs": "[1]"}, "PRIMARY KEY"),
        (statement.RENEW, (1.0, 1, 1), "PRIMARY KEY"),
        (statement.ACK, (1, 1), "PRIMARY KEY"),
        (statement.DEAD_LETTERS, (1.0, 10, 0), "dead_letter"),
        (statement.SWEEP_DEAD, (1.0, 10), "dead_letter_died"),
        (statement.SWEEP_SENT, (1.0, 10), "sent_expires"),
        (store._GET, ("[]", 1.0), "sqlite_autoindex_result"),
        (store._SWEEP, (1.0, 10), "result_expires"),
        (store._NEW_OF_FEW, ("[]", 1), "sqlite_autoindex_result"),
        (store._NEW_OF_MANY, ("[]", 1), "PRIMARY KEY"),
    ],
)
def test_an_index_answers(
    connection: sqlite3.Connection, query: str, values: object, index: str
) -> None:
    rows = connection.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()  # type: ignore[arg-type]
    plan = " / ".join(row[3] for row in rows)
    assert index in plan
    assert "TEMP B-TREE" not in plan
    if query not in (statement.EXPIRED, statement.DEAD_LETTERS):
        # The first reads the few leases there are, the second goes back from the latest.
        assert "SCAN message" not in plan
        assert "SCAN dead_letter" not in plan
        assert "SCAN result" not in plan


def test_a_lease_does_not_look_at_the_backlog(connection: sqlite3.Connection) -> None:
    """Counted in steps of SQLite's machine, which do not depend on how fast this one is."""
    insert = statement.INSERT

    def steps() -> int:
        count = 0

        def tick() -> None:
            nonlocal count
            count += 1

        connection.set_progress_handler(tick, 1)
        connection.execute(statement.PROMOTE, {"queue": "q", "now": 5.0, "limit": 32})
        connection.execute(statement.NEXT_DUE, ("q",)).fetchone()
        seqs = [row[1] for row in connection.execute(statement.CANDIDATES, ("q", 32))]
        values = {"owner": "o", "deadline": 1.0, "seqs": str(seqs)}
        assert len(connection.execute(statement.LEASE, values).fetchall()) == 32
        connection.set_progress_handler(None, 0)
        return count

    connection.executemany(insert, [("", 0, "q", 0, schema.READY, None, b"")] * 100)
    few = steps()
    connection.executemany(insert, [("", 0, "q", 0, schema.READY, None, b"")] * 50_000)
    connection.executemany(
        insert, [("", 0, "q", 0, schema.DELAYED, 10.0 + n, b"") for n in range(50_000)]
    )
    assert steps() < few * 1.2
