"""The SQL of the broker.

States: 0 ready, 1 delayed, 2 leased.  They are written as literals since SQLite uses a partial
index only for a condition that it can see.  ``seq IN (SELECT value FROM json_each(...))`` takes a
list of any length as one parameter.
"""

# -- sending -------------------------------------------------------------------------------------

INSERT = """
    INSERT INTO message (id, retries, queue, priority, state, due, raw) VALUES (?, ?, ?, ?, ?, ?, ?)
"""

#: Changes one row when (id, retries) was not sent before, or too long ago to remember.
REMEMBER_SENT = """
    INSERT INTO sent (id, retries, expires) VALUES (:id, :retries, :expires)
    ON CONFLICT DO UPDATE SET expires = excluded.expires WHERE sent.expires <= :now
"""

#: A first try without de-duplication is not in `sent`.
IS_THERE = "SELECT 1 FROM message WHERE id = ? AND retries = ?"

# -- leasing -------------------------------------------------------------------------------------

IS_READY = "SELECT 1 FROM message WHERE state = 0 AND queue = ? LIMIT 1"

NEXT_DUE = "SELECT min(due) FROM message WHERE state = 1 AND queue = ?"

PROMOTE = """
    UPDATE message SET state = 0, due = NULL WHERE seq IN (
        SELECT seq FROM message WHERE state = 1 AND queue = :queue AND due <= :now
        ORDER BY due LIMIT :limit
    )
"""

CANDIDATES = """
    SELECT priority, seq FROM message WHERE state = 0 AND queue = ? ORDER BY priority, seq LIMIT ?
"""

#: What `row.deliver` takes.
_DELIVERY = "seq, generation, queue, redelivered, deaths, losses, started, raw"

LEASE = f"""
    UPDATE message SET state = 2, owner = :owner, deadline = :deadline, generation = generation + 1
    WHERE seq IN (SELECT value FROM json_each(:seqs))
    RETURNING {_DELIVERY}
"""  # noqa: S608 - constants

RENEW = """
    UPDATE message SET deadline = ? WHERE seq = ? AND generation = ? AND state = 2
"""

MARK_STARTED = """
    UPDATE message SET started = 1 WHERE seq = ? AND generation = ? AND state = 2
"""

# -- settling ------------------------------------------------------------------------------------

ACK = "DELETE FROM message WHERE seq = ? AND generation = ? AND state = 2"

RELEASE = """
    UPDATE message SET
        state = :state, due = :due, owner = NULL, deadline = NULL, started = 0,
        redelivered = 1, deaths = :deaths, losses = :losses
    WHERE seq = :seq AND generation = :generation AND state = 2
"""

#: Without an id, or with one that another dead letter has, it gets a key of its own.
BURY = """
    INSERT INTO dead_letter
        (id, task, message_id, retries, queue, priority, reason, detail, died, deaths, losses, raw)
    SELECT
        CASE
            WHEN id = '' OR EXISTS (SELECT 1 FROM dead_letter WHERE dead_letter.id = message.id)
            THEN :key ELSE id
        END,
        :task, id, retries, queue, priority, :reason, :detail, :died, :deaths, :losses, raw
    FROM message WHERE seq = :seq AND generation = :generation AND state = 2
"""

# -- owners and their leases ---------------------------------------------------------------------

REGISTER = """
    INSERT OR REPLACE INTO owner (id, node, machine, pid, start, queues, deadline)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""

UNREGISTER = "DELETE FROM owner WHERE id = ?"

OWNERS = "SELECT id, node, machine, pid, start, queues, deadline FROM owner ORDER BY id"

RENEW_OWNER = "UPDATE owner SET deadline = ? WHERE id = ?"

#: Forget an owner unless it has given a sign of life since it was seen.
FORGET_OWNER = "DELETE FROM owner WHERE id = ? AND deadline = ?"

_TAKE_OVER = """
    UPDATE message SET
        owner = :by, deadline = :deadline, generation = generation + 1, redelivered = 1
"""

ADOPT = f"{_TAKE_OVER} WHERE state = 2 AND owner = :owner RETURNING {_DELIVERY}"

EXPIRED = """
    SELECT seq, generation, queue, deadline FROM message WHERE state = 2 AND deadline <= ? LIMIT ?
"""

ADOPT_ONE = f"""
    {_TAKE_OVER}
    WHERE seq = :seq AND generation = :generation AND deadline = :seen AND state = 2
    RETURNING {_DELIVERY}
"""

# -- administration ------------------------------------------------------------------------------

DEPTH = """
    SELECT
        (SELECT count(*) FROM message WHERE state = 0 AND queue = :queue),
        (SELECT count(*) FROM message WHERE state = 1 AND queue = :queue),
        (SELECT count(*) FROM message WHERE state = 2 AND queue = :queue)
"""

PURGE = """
    DELETE FROM message WHERE seq IN (
        SELECT seq FROM message WHERE state = 0 AND queue = :queue
        UNION ALL
        SELECT seq FROM message WHERE state = 1 AND queue = :queue
        LIMIT :limit
    )
"""

_DEAD_LETTER = "id, task, queue, reason, detail, died, deaths, losses, raw"

DEAD_LETTERS = f"""
    SELECT {_DEAD_LETTER} FROM dead_letter WHERE died > ? ORDER BY seq DESC LIMIT ? OFFSET ?
"""  # noqa: S608 - constants

DEAD_LETTER = f"SELECT {_DEAD_LETTER} FROM dead_letter WHERE died > ? AND id = ?"  # noqa: S608

REPLAY = """
    INSERT INTO message (id, retries, queue, priority, state, raw)
    SELECT message_id, retries, queue, priority, 0, raw FROM dead_letter WHERE died > ? AND id = ?
    RETURNING queue
"""

FORGET_DEAD = "DELETE FROM dead_letter WHERE id = ?"

FORGET_ALL_DEAD = "DELETE FROM dead_letter"

SWEEP_DEAD = """
    DELETE FROM dead_letter WHERE seq IN (
        SELECT seq FROM dead_letter WHERE died <= ? ORDER BY died LIMIT ?
    )
"""

SWEEP_SENT = """
    DELETE FROM sent WHERE (id, retries) IN (
        SELECT id, retries FROM sent WHERE expires <= ? ORDER BY expires LIMIT ?
    )
"""
