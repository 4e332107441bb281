"""Result stores: the table from URL scheme to adapter.

The adapters are named by strings and imported on first use, so that nobody pays for a driver that
is not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.url import load_adapter

if TYPE_CHECKING:
    from celeriac.store.base import Store, StoreOptions

#: scheme -> (module, class)
ADAPTERS: dict[str, tuple[str, str]] = {
    "disabled": ("celeriac.store.disabled", "DisabledStore"),
    "memory": ("celeriac.store.memory", "MemoryStore"),
    "sqlite": ("celeriac.store.sqlite", "SQLiteStore"),
    "redis": ("celeriac.store.redis", "RedisStore"),
    "rediss": ("celeriac.store.redis", "RedisStore"),
    "redis+socket": ("celeriac.store.redis", "RedisStore"),
    "valkey": ("celeriac.store.redis", "RedisStore"),
    "valkeys": ("celeriac.store.redis", "RedisStore"),
}


def open_store(url: str, options: StoreOptions) -> Store:
    """Return the store that ``url`` names; nothing is connected yet.

    Raises:
        ImproperlyConfigured: unknown scheme, malformed URL, or a driver that is not installed.
    """
    adapter: type[Store] = load_adapter("result store", ADAPTERS, url)
    return adapter(url, options)
