"""The tables of broker and store."""

from __future__ import annotations

#: Marks the file as ours: "celr".
APPLICATION_ID = 0x63656C72
#: Rises with every change of the tables.
VERSION = 1

READY = 0
DELAYED = 1
LEASED = 2

#: One statement each.
#:
#: message: a row keeps its place (seq) until it is done with, so what is released, or becomes due,
#:   is at the front of its queue by itself.  AUTOINCREMENT, since seq is part of the receipt.
#:   The indexes are partial: no question about ready messages ever looks at a delayed one, and the
#:   reverse.
#: sent: what was sent with de-duplication, for as long as a sender may try again.
#: result: a write makes a new row, so that seq tells a watcher what is new.
STATEMENTS = (
    """
    CREATE TABLE message (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        retries INTEGER NOT NULL,
        queue TEXT NOT NULL,
        priority INTEGER NOT NULL,
        state INTEGER NOT NULL,
        due REAL,
        owner TEXT,
        deadline REAL,
        generation INTEGER NOT NULL DEFAULT 0,
        redelivered INTEGER NOT NULL DEFAULT 0,
        deaths INTEGER NOT NULL DEFAULT 0,
        losses INTEGER NOT NULL DEFAULT 0,
        started INTEGER NOT NULL DEFAULT 0,
        raw BLOB NOT NULL
    )
    """,
    "CREATE INDEX message_ready ON message (queue, priority, seq) WHERE state = 0",
    "CREATE INDEX message_delayed ON message (queue, due) WHERE state = 1",
    "CREATE INDEX message_leased ON message (owner, deadline) WHERE state = 2",
    "CREATE INDEX message_id ON message (id, retries)",
    """
    CREATE TABLE sent (
        id TEXT NOT NULL,
        retries INTEGER NOT NULL,
        expires REAL NOT NULL,
        PRIMARY KEY (id, retries)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX sent_expires ON sent (expires)",
    """
    CREATE TABLE dead_letter (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        task TEXT NOT NULL,
        message_id TEXT NOT NULL,
        retries INTEGER NOT NULL,
        queue TEXT NOT NULL,
        priority INTEGER NOT NULL,
        reason TEXT NOT NULL,
        detail TEXT NOT NULL,
        died REAL NOT NULL,
        deaths INTEGER NOT NULL,
        losses INTEGER NOT NULL,
        raw BLOB NOT NULL
    )
    """,
    "CREATE INDEX dead_letter_died ON dead_letter (died)",
    """
    CREATE TABLE owner (
        id TEXT PRIMARY KEY,
        node TEXT NOT NULL,
        machine TEXT NOT NULL,
        pid INTEGER NOT NULL,
        start TEXT NOT NULL,
        queues TEXT NOT NULL,
        deadline REAL NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE result (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL,
        expires REAL,
        payload BLOB NOT NULL
    )
    """,
    "CREATE INDEX result_expires ON result (expires) WHERE expires IS NOT NULL",
)
