"""The current application: the one that `shared_task` and `current_app` mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from celeriac import context
from celeriac.error import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Callable

    from celeriac.app import Celeriac
    from celeriac.task import Task


class _State:
    """Of this process: applications are shared by its threads."""

    current: Celeriac | None = None
    default: Celeriac | None = None
    #: Makes the application that is used when there is none; set by `celeriac.app`.
    make: Callable[[], Celeriac] | None = None


def get_current_app() -> Celeriac:
    """Return the application made last, or set by `set_current_app`; else a default one."""
    app = _State.current or _State.default
    if app is None:
        if _State.make is None:
            raise ImproperlyConfigured("no application: make one with celeriac.Celeriac()")
        app = _State.default = _State.make()
    return app


def set_current_app(app: Celeriac | None) -> None:
    """Make ``app`` the current application of this process."""
    _State.current = app


def set_default_app(app: Celeriac | None) -> None:
    """Make ``app`` the application that is used when none is current."""
    _State.default = app


def set_factory(make: Callable[[], Celeriac]) -> None:
    """Set what makes the default application."""
    _State.make = make


class _Current:
    """Stands for whatever is current at the moment of use."""

    __slots__ = ("_get", "_name")

    def __init__(self, name: str, get: Callable[[], Any]) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_get", get)

    def _get_current_object(self) -> Any:
        return self._get()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get(), name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._get()(*args, **kwargs)

    def __bool__(self) -> bool:
        return bool(self._get())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _Current):
            other = other._get()
        return bool(self._get() == other)

    def __hash__(self) -> int:
        return hash(self._get())

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        # isinstance(current_app, Celeriac) holds.
        return type(self._get())

    def __repr__(self) -> str:
        return repr(self._get())


current_app = cast("Celeriac", _Current("current_app", get_current_app))
current_task = cast("Task[Any, Any]", _Current("current_task", context.get_current_task))
