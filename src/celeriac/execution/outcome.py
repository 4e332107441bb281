"""What happened to a job."""

from __future__ import annotations

from typing import Any

import msgspec

from celeriac.error import Retry


class Success(msgspec.Struct, frozen=True):
    """The body returned."""

    value: Any


class Failure(msgspec.Struct, frozen=True):
    """The body raised."""

    error: BaseException
    traceback: str | None = None


class Retrying(msgspec.Struct, frozen=True):
    """The body asked to be run again; ``retry.sig`` is the message of the next run."""

    retry: Retry
    traceback: str | None = None


class Ignored(msgspec.Struct, frozen=True):
    """The body raised `Ignore`: nothing is stored."""


class Rejected(msgspec.Struct, frozen=True):
    """The body raised `Reject`."""

    reason: str
    requeue: bool


class Dead(msgspec.Struct, frozen=True):
    """The message will not be run; ``reason`` is one of `celeriac.message.DeadLetter.reason`."""

    reason: str
    detail: str
    error: BaseException
    revoked: bool = False


class NotDue(msgspec.Struct, frozen=True):
    """The message came before its time and goes back to wait in the broker."""

    due: float


Outcome = Success | Failure | Retrying | Ignored | Rejected | Dead | NotDue
