"""What can go wrong between us and the server, and what to do about it."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """What an error means for the one who asked."""

    UNAVAILABLE = "unavailable"  #: not now; trying again may work
    REFUSED = "refused"  #: trying again won't help
    FULL = "full"  #: the server takes no more data for now


class Fault(Exception):
    """A command failed.

    Args:
        text: what happened and the cure.
        kind: what it means for the one who asked.
        doubtful: the command had left and may have been carried out.
    """

    def __init__(self, text: str, kind: Kind = Kind.UNAVAILABLE, *, doubtful: bool = False) -> None:
        self.text = text
        self.kind = kind
        self.doubtful = doubtful
        super().__init__(text)


_LOGIN = "check the user and password in the URL (redis://user:password@host)"

#: first word of the server's reply -> what it means, and the cure
_CURES: dict[str, tuple[Kind, str]] = {
    "OOM": (
        Kind.FULL,
        "Redis has used up its maxmemory: raise it, or let workers drain the queues",
    ),
    "MISCONF": (Kind.FULL, "Redis cannot save to its disk and refuses writes: free its disk"),
    "READONLY": (Kind.UNAVAILABLE, "this Redis is a replica: connect to the master"),
    "LOADING": (Kind.UNAVAILABLE, "Redis is still loading its data"),
    "MASTERDOWN": (Kind.UNAVAILABLE, "this replica has lost its master"),
    "NOREPLICAS": (Kind.UNAVAILABLE, "Redis has fewer replicas than min-replicas-to-write"),
    "BUSY": (Kind.UNAVAILABLE, "another client's script blocks Redis"),
    "TRYAGAIN": (Kind.UNAVAILABLE, "Redis is moving keys"),
    "UNBLOCKED": (Kind.UNAVAILABLE, "Redis ended a blocking command: its role changed"),
    "NOAUTH": (Kind.REFUSED, f"Redis wants a password: {_LOGIN}"),
    "WRONGPASS": (Kind.REFUSED, _LOGIN),
    "NOPERM": (Kind.REFUSED, "the Redis user lacks a right: see ACL SETUSER"),
    "DENIED": (Kind.REFUSED, "Redis runs in protected mode: set a password or bind address"),
    "WRONGTYPE": (
        Kind.REFUSED,
        "another program keeps this key: use another database or set global_keyprefix",
    ),
    "MOVED": (Kind.REFUSED, "Redis Cluster is not supported: connect to a single Redis"),
    "ASK": (Kind.REFUSED, "Redis Cluster is not supported: connect to a single Redis"),
    "CROSSSLOT": (Kind.REFUSED, "Redis Cluster is not supported: connect to a single Redis"),
}

#: what replies that all begin with ERR contain -> what they mean, and the cure
_ERR_CURES: tuple[tuple[str, Kind, str], ...] = (
    ("max number of clients", Kind.UNAVAILABLE, "raise maxclients or use fewer processes"),
    ("DB index is out of range", Kind.REFUSED, "use a database that exists, or raise `databases`"),
    ("invalid DB index", Kind.REFUSED, "the path of the URL must be a database number"),
    ("invalid password", Kind.REFUSED, _LOGIN),
    ("AUTH", Kind.REFUSED, _LOGIN),
    ("unknown command", Kind.REFUSED, "celeriac needs Redis 6.2 or later"),
)


def from_reply(reply: str) -> Fault:
    """Return the fault for an error that the server sent; the command had no effect."""
    code = reply.partition(" ")[0]
    if code in _CURES:
        kind, cure = _CURES[code]
        return Fault(f"{reply} ({cure})", kind)
    for part, kind, cure in _ERR_CURES:
        if part in reply:
            return Fault(f"{reply} ({cure})", kind)
    return Fault(reply, Kind.REFUSED)


def from_opening(error: Exception, place: str) -> Fault:
    """Return the fault for an error of connecting to ``place``."""
    from redis import exceptions

    text = f"cannot connect to Redis at {place}: {error}"
    if isinstance(error, exceptions.BusyLoadingError):
        return Fault(text)
    refused = (
        exceptions.AuthenticationError,
        exceptions.AuthorizationError,
        exceptions.AuthenticationWrongNumberOfArgsError,
        exceptions.NoPermissionError,
    )
    if isinstance(error, refused):
        return Fault(f"{text} ({_LOGIN})", Kind.REFUSED)
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Fault(f"{text} (set ssl_ca_certs to the file of your CA)", Kind.REFUSED)
    if isinstance(error, exceptions.ResponseError):
        known = from_reply(str(error))
        return Fault(f"cannot connect to Redis at {place}: {known.text}", known.kind)
    return Fault(text)
