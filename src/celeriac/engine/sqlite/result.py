"""Writing results: done by the store, and by the broker together with the message."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

    from celeriac.message import ResultRecord

# REPLACE makes a new row with a new seq.  Over a SUCCESS that has not expired there is no row.
_SAVE = """
    INSERT OR REPLACE INTO result (id, state, expires, payload)
    SELECT :id, :state, :expires, :payload
    WHERE NOT EXISTS (
        SELECT 1 FROM result
        WHERE id = :id AND state = 'SUCCESS' AND (expires IS NULL OR expires > :now)
    )
"""


def save(connection: sqlite3.Connection, record: ResultRecord, now: float) -> None:
    """Write one result inside a transaction; a stored SUCCESS is never replaced."""
    connection.execute(
        _SAVE,
        {
            "id": record.id,
            "state": record.state,
            "expires": None if record.ttl is None else now + record.ttl,
            "payload": record.payload,
            "now": now,
        },
    )
