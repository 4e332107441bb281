"""What the SQLite broker and the SQLite store share: the file, its lock, its schema, its bells.

`location` finds the file, `database` writes and reads it, `lock` lets one writer at a time in,
`bell` wakes those who wait, `schema` and `result` hold the SQL of both.
"""

from celeriac.engine.sqlite.bell import Bell, Waiter
from celeriac.engine.sqlite.database import Database
from celeriac.engine.sqlite.fault import Faults
from celeriac.engine.sqlite.location import Location
from celeriac.engine.sqlite.setting import Settings

__all__ = ["Bell", "Database", "Faults", "Location", "Settings", "Waiter"]
