"""Executors: how the jobs of one child run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celeriac.pool.base import Executor

#: pool -> (module, class); a ``prefork`` child is a solo one, of which there are many.
EXECUTORS: dict[str, tuple[str, str]] = {
    "prefork": ("celeriac.pool.solo", "SoloExecutor"),
    "solo": ("celeriac.pool.solo", "SoloExecutor"),
    "threads": ("celeriac.pool.threads", "ThreadsExecutor"),
    "asyncio": ("celeriac.pool.asyncio", "AsyncioExecutor"),
}


def executor_class(pool: str) -> type[Executor]:
    """Return the executor of the children of ``pool``."""
    module, name = EXECUTORS[pool]
    cls: type[Executor] = getattr(importlib.import_module(module), name)
    return cls
