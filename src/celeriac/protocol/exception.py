"""Exceptions as results carry them: ``{exc_type, exc_message, exc_module}``.

Our own exceptions travel under the names Celery's have, and come back as ours.  Loading never
imports anything, never calls what is not an exception, and never fails on a constructor.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from celeriac import error
from celeriac.error import SecurityError
from celeriac.protocol.repr import saferepr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Module on the wire -> the names of `celeriac.error` that travel under it.
_WIRE: dict[str, tuple[str, ...]] = {
    "celery.exceptions": (
        "AlreadyRegistered",
        "CeleryError",
        "ChordError",
        "Ignore",
        "ImproperlyConfigured",
        "InvalidTaskError",
        "MaxRetriesExceededError",
        "NotRegistered",
        "Reject",
        "Retry",
        "SecurityError",
        "TaskError",
        "TaskPredicate",
        "TaskRevokedError",
        "TimeoutError",
        "WorkerShutdown",
        "WorkerTerminate",
    ),
    "billiard.exceptions": (
        "SoftTimeLimitExceeded",
        "Terminated",
        "TimeLimitExceeded",
        "WorkerLostError",
    ),
    "kombu.exceptions": (
        "ContentDisallowed",
        "DecodeError",
        "EncodeError",
        "OperationalError",
        "SerializationError",
    ),
}

_MODULES: dict[type, str] = {
    getattr(error, name): module for module, names in _WIRE.items() for name in names
}
_OURS: dict[tuple[str, str], type[BaseException]] = {
    (module, name): getattr(error, name) for module, names in _WIRE.items() for name in names
}
_OURS["celery.exceptions", "RetryTaskError"] = error.Retry
_OURS["celery.exceptions", "SystemTerminate"] = error.WorkerTerminate

_MAX_NAME = 255


def dump(exc: BaseException, encodable: Callable[[Any], bool]) -> dict[str, Any]:
    """Return what a result says of ``exc``.

    Args:
        exc: the exception.
        encodable: tells whether the serializer takes a value; other arguments of ``exc`` are
            replaced by their repr.
    """
    cls = type(exc)
    args = list(exc.args)
    if not encodable(args):
        args = [arg if encodable(arg) else saferepr(arg) for arg in args]
    return {
        "exc_type": cls.__qualname__,
        "exc_message": args,
        "exc_module": _MODULES.get(cls, cls.__module__),
    }


def load(fields: Mapping[str, Any]) -> BaseException:
    """Return the exception that ``fields`` tell of.

    Its class is found only in modules that are imported already.  A class that is not found, or
    that would end the process (``SystemExit`` and its like), is replaced by a subclass of
    `Exception` with its name and module.

    Raises:
        SecurityError: the name belongs to something that is not an exception.
    """
    name, module = fields.get("exc_type"), fields.get("exc_module")
    if not isinstance(name, str):
        return Exception(saferepr(dict(fields)))
    if not isinstance(module, str):
        module = "builtins"
    message = fields.get("exc_message")
    args = tuple(message) if isinstance(message, list | tuple) else (message,)
    found = _OURS.get((module, name)) or _find(module, name)
    if found is not None and issubclass(found, Exception):
        made = _make(found, args)
        if made is not None:
            return made
    return _synthesize(module, name)(*args)


def _find(module: str, name: str) -> type[BaseException] | None:
    """Return the exception class of that name, None where there is nothing of that name.

    Only the names a module or class defines are looked at: attribute access may run code.
    """
    place: object = sys.modules.get(module)
    if not isinstance(place, ModuleType):
        return None
    for part in name.split("."):
        place = vars(place).get(part)
        if place is None:
            return None
        if not isinstance(place, type):
            raise _refused(module, name)
    if isinstance(place, type) and issubclass(place, BaseException):
        return place
    raise _refused(module, name)


def _refused(module: str, name: str) -> SecurityError:
    return SecurityError(
        f"a result names {module}.{name} as its exception, which is not an exception;"
        " whoever wrote it may be trying to run code here"
    )


def _make(cls: type[Exception], args: tuple[Any, ...]) -> Exception | None:
    try:
        return cls(*args)
    except Exception:  # noqa: BLE001 - constructors of users raise anything
        return _make_bare(cls, args)


def _make_bare(cls: type[Exception], args: tuple[Any, ...]) -> Exception | None:
    """Return an instance without its ``__init__``, or None where even ``__new__`` refuses."""
    try:
        made = cls.__new__(cls)
        made.args = args
    except Exception:  # noqa: BLE001 - constructors of users raise anything
        return None
    return made


@lru_cache(maxsize=512)
def _synthesize(module: str, name: str) -> type[Exception]:
    if not name.isprintable() or not 0 < len(name) <= _MAX_NAME:
        name = "UnknownError"
    fields = {"__module__": module, "__qualname__": name}
    return type(name.rpartition(".")[2], (Exception,), fields)
