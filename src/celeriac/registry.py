"""The tasks of an application, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from typing import TYPE_CHECKING, Any

from celeriac.error import AlreadyRegistered, NotRegistered

if TYPE_CHECKING:
    from celeriac.task import Task

#: Shared tasks belong to every application, those made later included.
_shared: dict[str, Task[Any, Any]] = {}


def share(task: Task[Any, Any]) -> None:
    """Make ``task`` known to every application."""
    # Taken out first, so that a reloaded module's task is seen as the newest one.
    _shared.pop(task.name, None)
    _shared[task.name] = task


class TaskRegistry(dict[str, "Task[Any, Any]"]):
    """Tasks by name.

    Args:
        adopt: makes the application's own task of a shared one.
    """

    NotRegistered = NotRegistered

    def __init__(self, adopt: Callable[[Task[Any, Any]], Task[Any, Any]]) -> None:
        super().__init__()
        self._adopt = adopt

    def register(self, task: Task[Any, Any]) -> None:
        """Add a task.

        Raises:
            AlreadyRegistered: another function has this name.
        """
        known = super().get(task.name)
        if known is not None and known is not task and _place(known) != _place(task):
            raise AlreadyRegistered(
                f'two tasks are named "{task.name}": {_place(known)} and {_place(task)}; '
                "give one of them another name="
            )
        self[task.name] = task

    def unregister(self, name: Any) -> None:
        """Remove a task, by itself or its name.

        Raises:
            NotRegistered: there is none.
        """
        name = getattr(name, "name", name)
        if super().pop(name, None) is None:
            raise NotRegistered(f'no task named "{name}"{self.hint(name)}')

    def hint(self, name: str) -> str:
        """Return ``; did you mean "..."?`` for an unknown name, or nothing."""
        near = difflib.get_close_matches(name, self, n=1)
        return f'; did you mean "{near[0]}"?' if near else ""

    def __missing__(self, name: str) -> Task[Any, Any]:
        shared = _shared.get(name)
        if shared is None:
            raise NotRegistered(f'no task named "{name}"{self.hint(name)}')
        task = self[name] = self._adopt(shared)
        return task

    def get(self, name: str, default: Any = None) -> Any:
        """Return the task called ``name``, or ``default``."""
        if super().__contains__(name) or name in _shared:
            return self[name]
        return default

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in _shared

    def __iter__(self) -> Iterator[str]:
        self.complete()
        return super().__iter__()

    def __len__(self) -> int:
        self.complete()
        return super().__len__()

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """Return the names."""
        self.complete()
        return KeysView(self)

    def values(self) -> ValuesView[Task[Any, Any]]:  # type: ignore[override]
        """Return the tasks."""
        self.complete()
        return ValuesView(self)

    def items(self) -> ItemsView[str, Task[Any, Any]]:  # type: ignore[override]
        """Return names and tasks."""
        self.complete()
        return ItemsView(self)

    def complete(self) -> None:
        """Take over every shared task."""
        for name in list(_shared):
            if not super().__contains__(name):
                self[name] = self._adopt(_shared[name])


def _place(task: Task[Any, Any]) -> str:
    """Return where the body of a task is defined."""
    run = getattr(task.run, "__func__", task.run)
    return f"{getattr(run, '__module__', '?')}.{getattr(run, '__qualname__', run)}"
