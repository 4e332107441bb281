"""Signals: observers of what happens, with Celery's names and arguments.

A signal nobody listens to costs one truth test of `Signal.receivers`.  A receiver that fails is
logged and changes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Hashable
from types import MethodType
from typing import Any, NamedTuple, TypeVar, overload

logger = logging.getLogger("celeriac.signal")

Receiver = TypeVar("Receiver", bound=Callable[..., Any])
#: Seconds between two tries of a receiver connected with ``retry=True``, and how many tries.
_RETRY_INTERVAL = 0.2
_RETRY_LIMIT = 5


class _Connection(NamedTuple):
    """One receiver, held weakly or strongly, and whom it listens to."""

    key: tuple[Hashable, Hashable]
    sender: Any
    resolve: Callable[[], Callable[..., Any] | None]
    retry: bool

    def hears(self, sender: Any) -> bool:
        # Task names are senders by value; everything else by identity.
        mine = self.sender
        return mine is None or mine is sender or (isinstance(mine, str) and mine == sender)


class Signal:
    """Something that happens.

    Attributes:
        name: its public name.
        providing_args: the names of the arguments its receivers get besides ``sender``.
        receivers: the connections; empty when nobody listens.
    """

    def __init__(
        self,
        providing_args: frozenset[str] | set[str] | list[str] | None = None,
        use_caching: bool = False,
        name: str | None = None,
    ) -> None:
        self.name = name
        self.providing_args = set(providing_args or ())
        self.receivers: tuple[_Connection, ...] = ()
        # Reentrant: a receiver may be collected, and so removed, while the lock is held.
        self._lock = threading.RLock()

    @overload
    def connect(
        self,
        receiver: Receiver,
        /,
        *,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Hashable = None,
        retry: bool = False,
    ) -> Receiver: ...
    @overload
    def connect(
        self,
        receiver: None = None,
        /,
        *,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Hashable = None,
        retry: bool = False,
    ) -> Callable[[Receiver], Receiver]: ...
    def connect(
        self,
        receiver: Any = None,
        /,
        *,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Hashable = None,
        retry: bool = False,
    ) -> Any:
        """Call ``receiver(sender=..., signal=..., **arguments)`` whenever this happens.

        Also a decorator, with or without arguments.

        Args:
            receiver: a callable that takes ``**kwargs``.
            sender: listen to this sender only; a string equals any string of the same text.
            weak: do not keep the receiver alive.
            dispatch_uid: connecting twice with the same uid connects once.
            retry: try again a few times when the receiver raises.

        Raises:
            ValueError: the receiver does not take ``**kwargs``.
        """
        if receiver is None:
            return lambda fn: self.connect(
                fn, sender=sender, weak=weak, dispatch_uid=dispatch_uid, retry=retry
            )
        if not _takes_keywords(receiver):
            raise ValueError(
                f"the signal receiver {receiver!r} must take **kwargs: arguments may be added"
            )
        key = _key(receiver, sender, dispatch_uid)
        connection = _Connection(key, sender, self._reference(receiver, key, weak), retry)
        with self._lock:
            if all(other.key != key for other in self.receivers):
                self.receivers = (*self.receivers, connection)
        return receiver

    def disconnect(
        self,
        receiver: Callable[..., Any] | None = None,
        sender: Any = None,
        weak: bool | None = None,
        dispatch_uid: Hashable = None,
    ) -> bool:
        """Undo `connect` with the same arguments; tell whether there was something to undo."""
        return self._remove(_key(receiver, sender, dispatch_uid))

    def has_listeners(self, sender: Any = None) -> bool:
        """Tell whether anybody listens to ``sender``."""
        return any(connection.hears(sender) for connection in self.receivers)

    def send(self, sender: Any = None, **named: Any) -> list[tuple[Callable[..., Any], Any]]:
        """Call the receivers; return each with what it returned or raised."""
        responses: list[tuple[Callable[..., Any], Any]] = []
        for connection in self.receivers:
            receiver = connection.resolve() if connection.hears(sender) else None
            if receiver is None:
                continue
            try:
                call = _patiently if connection.retry else _at_once
                response = call(receiver, {"signal": self, "sender": sender, **named})
            except Exception as error:
                logger.exception("Signal receiver %r of %s failed", receiver, self.name)
                response = error
            responses.append((receiver, response))
        return responses

    send_robust = send

    def __repr__(self) -> str:
        return f"<Signal: {self.name}>"

    def _reference(
        self, receiver: Callable[..., Any], key: tuple[Hashable, Hashable], weak: bool
    ) -> Callable[[], Callable[..., Any] | None]:
        if not weak:
            return lambda: receiver

        def gone(_: object) -> None:
            self._remove(key)

        if isinstance(receiver, MethodType):
            return weakref.WeakMethod(receiver, gone)
        return weakref.ref(receiver, gone)

    def _remove(self, key: tuple[Hashable, Hashable]) -> bool:
        with self._lock:
            left = tuple(connection for connection in self.receivers if connection.key != key)
            found = len(left) != len(self.receivers)
            self.receivers = left
        return found


def _key(receiver: Any, sender: Any, uid: Hashable) -> tuple[Hashable, Hashable]:
    who: Hashable = uid
    if uid is None:
        owner = getattr(receiver, "__self__", None)
        who = (
            (id(owner), id(receiver.__func__)) if isinstance(receiver, MethodType) else id(receiver)
        )
    return who, sender if isinstance(sender, str) else id(sender)


def _takes_keywords(receiver: Callable[..., Any]) -> bool:
    from inspect import Parameter, signature

    try:
        parameters = signature(receiver).parameters.values()
    except (TypeError, ValueError):
        return True  # some builtins tell nothing about themselves
    return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)


def _at_once(receiver: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    return receiver(**arguments)


def _patiently(receiver: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    for _ in range(_RETRY_LIMIT - 1):
        try:
            return receiver(**arguments)
        except Exception:
            logger.warning("Signal receiver %r failed; trying again", receiver, exc_info=True)
            time.sleep(_RETRY_INTERVAL)
    return receiver(**arguments)


def _signal(name: str, *arguments: str) -> Signal:
    return Signal(name=name, providing_args=set(arguments))


# -- sending -------------------------------------------------------------------------------

before_task_publish = _signal(
    "before_task_publish",
    "body",
    "exchange",
    "routing_key",
    "headers",
    "properties",
    "declare",
    "retry_policy",
)
after_task_publish = _signal("after_task_publish", "body", "headers", "exchange", "routing_key")

# -- running -------------------------------------------------------------------------------

task_received = _signal("task_received", "request")
task_prerun = _signal("task_prerun", "task_id", "task", "args", "kwargs")
task_postrun = _signal("task_postrun", "task_id", "task", "args", "kwargs", "retval", "state")
task_success = _signal("task_success", "result", "runtime")
task_failure = _signal(
    "task_failure", "task_id", "exception", "args", "kwargs", "traceback", "einfo"
)
task_retry = _signal("task_retry", "request", "reason", "einfo")
task_revoked = _signal("task_revoked", "request", "terminated", "signum", "expired")
task_rejected = _signal("task_rejected", "message", "exc")
task_unknown = _signal("task_unknown", "message", "exc", "name", "id")
task_internal_error = _signal(
    "task_internal_error",
    "task_id",
    "args",
    "kwargs",
    "request",
    "exception",
    "traceback",
    "einfo",
)

# -- the worker ----------------------------------------------------------------------------

celeryd_init = _signal("celeryd_init", "instance", "conf", "options")
celeryd_after_setup = _signal("celeryd_after_setup", "instance", "conf")
import_modules = _signal("import_modules")
worker_init = _signal("worker_init")
worker_process_init = _signal("worker_process_init")
worker_process_shutdown = _signal("worker_process_shutdown", "pid", "exitcode")
worker_ready = _signal("worker_ready")
worker_shutting_down = _signal("worker_shutting_down", "sig", "how", "exitcode")
worker_shutdown = _signal("worker_shutdown")

# -- logging -------------------------------------------------------------------------------

setup_logging = _signal("setup_logging", "loglevel", "logfile", "format", "colorize")
after_setup_logger = _signal(
    "after_setup_logger", "logger", "loglevel", "logfile", "format", "colorize"
)
after_setup_task_logger = _signal(
    "after_setup_task_logger", "logger", "loglevel", "logfile", "format", "colorize"
)
