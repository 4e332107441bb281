"""The options of a SQLite broker or store: from the URL and the transport options."""

from __future__ import annotations

import difflib
import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec

from celeriac.error import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB = 1024 * 1024

#: ``RETURNING`` came with it.
OLDEST_SQLITE = (3, 35, 0)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options.

    Attributes:
        synchronous: ``FULL``: what was accepted survives a power cut; ``NORMAL``: it survives the
            death of every process, and the last commits may be lost in a power cut.
        wal_limit: MiB that the write-ahead log may grow to before it is folded into the file.
        ballast: MiB that a worker keeps in reserve so that work can be completed when the disk is
            full; more than `wal_limit`, since the log must fit into the file, or 0 for none.  By
            default twice `wal_limit`.
    """

    synchronous: str = "FULL"
    wal_limit: float = 4
    ballast: float = -1


def settings(url: str, given: Mapping[str, Any]) -> Settings:
    """Return the options.

    Raises:
        ImproperlyConfigured: an option is unknown or has an impossible value, or the SQLite library
            is too old.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise ImproperlyConfigured(
            f"SQLite {sqlite3.sqlite_version} is too old: celeriac needs 3.35 or later; use a "
            "Python built with a newer one"
        )
    known = Settings.__struct_fields__
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise ImproperlyConfigured(
                f'{url}: unknown option "{name}"{hint} (known: {", ".join(known)})'
            )
    try:
        options = msgspec.convert(dict(given), Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ImproperlyConfigured(f"{url}: {error}") from None
    options = msgspec.structs.replace(options, synchronous=options.synchronous.upper())
    if options.synchronous not in ("FULL", "NORMAL"):
        raise ImproperlyConfigured(f"{url}: synchronous is FULL or NORMAL")
    if options.wal_limit <= 0:
        raise ImproperlyConfigured(f"{url}: wal_limit is a positive number of MiB")
    if options.ballast == Settings().ballast:
        options = msgspec.structs.replace(options, ballast=2 * options.wal_limit)
    if options.ballast and options.ballast <= options.wal_limit:
        raise ImproperlyConfigured(f"{url}: ballast is more than wal_limit, or 0")
    return options
