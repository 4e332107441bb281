"""A broker in one SQLite file: several processes of one machine, no server."""

from celeriac.broker.sqlite.adapter import SQLiteBroker

__all__ = ["SQLiteBroker"]
