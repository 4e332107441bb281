"""Where the database is: from URL to absolute path, and what kind of disk that is on."""

from __future__ import annotations

import os
import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from celeriac.error import ImproperlyConfigured

DEFAULT_NAME = "celeriac.db"

#: File systems on which locks and shared memory do not hold between machines.
NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ceph",
        "lustre",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.rclone",
    }
)

_MOUNTS = "/proc/self/mounts"


class Location(NamedTuple):
    """An absolute path, fixed when the URL was read: a later ``chdir`` changes nothing."""

    path: str

    @property
    def display(self) -> str:
        """The URL of this file."""
        return f"sqlite:///{quote(self.path)}"

    @property
    def directory(self) -> str:
        """Where the file is."""
        return os.path.dirname(self.path)

    @property
    def wal(self) -> str:
        """The write-ahead log, made by SQLite."""
        return f"{self.path}-wal"

    @property
    def lock(self) -> str:
        """The file that every writer locks."""
        return f"{self.path}-lock"

    @property
    def ballast(self) -> str:
        """The file that is emptied so that work can be completed on a full disk."""
        return f"{self.path}-ballast"

    @property
    def wake(self) -> str:
        """The directory of the sockets of those who wait."""
        return f"{self.path}-wake"


def parse(url: str) -> tuple[Location, dict[str, str]]:
    """Return the file that ``url`` names and the options after its ``?``.

    ``sqlite:///name.db`` is relative to the working directory, ``sqlite:////var/name.db``
    absolute, and ``sqlite://`` is ``celeriac.db`` in the working directory.

    Raises:
        ImproperlyConfigured: the URL has a host, or names no file.
    """
    rest, _, query = url.partition("://")[2].partition("?")
    if rest and not rest.startswith("/"):
        raise ImproperlyConfigured(
            f"{url}: a SQLite URL has three slashes before a relative path and four before an "
            f"absolute one; did you mean sqlite:///{rest} ?"
        )
    name = unquote(rest[1:]) or DEFAULT_NAME
    if name == ":memory:":
        raise ImproperlyConfigured(
            f"{url}: a database in memory cannot be shared between processes; "
            "use memory:// for tests or name a file"
        )
    path = os.path.realpath(os.path.join(os.getcwd(), name))
    if os.path.isdir(path):
        raise ImproperlyConfigured(f"{url}: {path} is a directory; name a file in it")
    return Location(path), dict(parse_qsl(query))


def network_file_system(directory: str, mounts: str | None = None) -> str | None:
    """Return the type of the network file system that ``directory`` is on, None for a local one.

    Args:
        directory: an absolute path without symbolic links.
        mounts: the text of ``/proc/self/mounts``; read when None.
    """
    if mounts is None:
        try:
            with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
                mounts = file.read()
        except FileNotFoundError:  # not Linux: nothing to go by
            return None
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # Blanks in a mount point are written as octal escapes.
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1])
        inside = directory == point or directory.startswith(point.rstrip("/") + "/")
        # Of two mounts at one point the later hides the earlier.
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind if kind in NETWORK_FILE_SYSTEMS else None
