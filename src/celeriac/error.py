"""Every exception that celeriac raises, and nothing else.

Names, bases and constructor arguments are Celery's where Celery has the exception
(``celery.exceptions``, ``kombu.exceptions`` and ``billiard.exceptions``), so that code which
catches them keeps working.  The wire names a result carries for them are kept in
:mod:`celeriac.protocol.exception`.
"""

from __future__ import annotations

from typing import Any


class CeleryError(Exception):
    """Base of the errors that celeriac raises."""


class CeleryWarning(UserWarning):
    """Base of the warnings that celeriac issues."""


class ImproperlyConfigured(CeleryError):
    """A setting, a URL or an installation is wrong; the message names the cure."""


class SecurityError(CeleryError):
    """Received data asked for something that is not allowed, such as a refused content type."""


# -- tasks ---------------------------------------------------------------------------------


class TaskError(CeleryError):
    """Base of the errors about one task."""


class NotRegistered(KeyError, TaskError):
    """The task name is not in the registry of the application."""

    def __str__(self) -> str:
        return str(self.args[0]) if len(self.args) == 1 else super().__str__()


class AlreadyRegistered(TaskError):
    """Another task has this name."""


class InvalidTaskError(TaskError):
    """A message is not a task message, or its parts do not fit together."""


class TimeoutError(TaskError):  # noqa: A001 - Celery's public name
    """The result was not ready in time."""


class MaxRetriesExceededError(TaskError):
    """``retry()`` was called more often than ``max_retries`` allows."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_args: Any = kwargs.pop("task_args", [])
        self.task_kwargs: Any = kwargs.pop("task_kwargs", {})
        super().__init__(*args, **kwargs)


class TaskRevokedError(TaskError):
    """The task was revoked, or expired before it started."""


class ChordError(TaskError):
    """A member of a chord failed."""


class PoisonMessage(TaskError):
    """The task killed its process, or lost its host, more often than is allowed."""


# -- control flow raised by task bodies ----------------------------------------------------


class TaskPredicate(CeleryError):
    """Raised by a task body to tell the worker what to do with the message."""


class Retry(TaskPredicate):
    """The task is to be run again.

    Args:
        message: why.
        exc: the exception that caused it.
        when: seconds from now, or the aware ``datetime`` of the next run.
    """

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: Any = None,
        is_eager: bool = False,
        sig: Any = None,
        **kwargs: Any,
    ) -> None:
        self.message = message
        self.exc: BaseException | None = exc if isinstance(exc, BaseException) else None
        self.excs: str | None = exc if isinstance(exc, str) else (repr(exc) if exc else None)
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        super().__init__(self, exc, when, **kwargs)

    def humanize(self) -> str:
        """Return when the task runs again, in words."""
        if isinstance(self.when, int | float):
            return f"in {self.when}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        if self.excs:
            return f"Retry {self.humanize()}: {self.excs}"
        return f"Retry {self.humanize()}"

    def __reduce__(self) -> Any:
        return self.__class__, (self.message, self.exc or self.excs, self.when)


class Ignore(TaskPredicate):
    """The worker acknowledges the message and stores nothing."""


class Reject(TaskPredicate):
    """The worker rejects the message.

    Args:
        reason: why; kept in the dead letter.
        requeue: put the message back instead of dead-lettering it.
    """

    def __init__(self, reason: Any = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


# -- the run -------------------------------------------------------------------------------


class SoftTimeLimitExceeded(Exception):
    """The soft time limit passed; the task may clean up and return."""


class TimeLimitExceeded(Exception):
    """The hard time limit passed; the process running the task was killed."""


class WorkerLostError(Exception):
    """The process running the task ended before the task did."""


class Terminated(Exception):
    """The task was terminated on request."""


class WorkerShutdown(SystemExit):
    """Ask the worker to shut down warmly."""


class WorkerTerminate(SystemExit):
    """Ask the worker to shut down at once."""


# -- broker and store ----------------------------------------------------------------------


class OperationalError(Exception):
    """The broker or the store could not do what was asked."""


class BrokerUnavailable(OperationalError):
    """The broker cannot be reached now; trying again later may work."""


class BrokerRefused(OperationalError):
    """The broker said no (credentials, rights, configuration); trying again won't help."""


class PublishRejected(OperationalError):
    """The message was certainly not accepted (too large, broker full, unroutable)."""


class PublishUnknown(OperationalError):
    """The connection ended after the message left; it may or may not have been accepted."""


class StoreUnavailable(OperationalError):
    """The result store cannot be reached now."""


class StoreRefused(OperationalError):
    """The result store said no; trying again won't help."""


# -- serialization -------------------------------------------------------------------------


class SerializationError(CeleryError):
    """Base of the errors of encoding and decoding."""


class EncodeError(SerializationError):
    """A value cannot be written with the chosen serializer."""


class DecodeError(SerializationError):
    """Received bytes cannot be read."""


class ContentDisallowed(SecurityError, DecodeError):
    """The content type of received data is not among the accepted ones."""


class LimitExceeded(DecodeError):
    """Received data is larger or nested deeper than allowed; it was not decoded."""
