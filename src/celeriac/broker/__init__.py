"""Brokers: the table from URL scheme to adapter.

The adapters are named by strings and imported on first use, so that nobody pays for a driver that
is not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from celeriac.url import load_adapter

if TYPE_CHECKING:
    from celeriac.broker.base import Broker, BrokerOptions

#: scheme -> (module, class)
ADAPTERS: dict[str, tuple[str, str]] = {
    "memory": ("celeriac.broker.memory", "MemoryBroker"),
    "sqlite": ("celeriac.broker.sqlite", "SQLiteBroker"),
    "redis": ("celeriac.broker.redis", "RedisBroker"),
    "rediss": ("celeriac.broker.redis", "RedisBroker"),
    "redis+socket": ("celeriac.broker.redis", "RedisBroker"),
    "valkey": ("celeriac.broker.redis", "RedisBroker"),
    "valkeys": ("celeriac.broker.redis", "RedisBroker"),
}


def open_broker(url: str, options: BrokerOptions) -> Broker:
    """Return the broker that ``url`` names; nothing is connected yet.

    Raises:
        ImproperlyConfigured: unknown scheme, malformed URL, or a driver that is not installed.
    """
    adapter: type[Broker] = load_adapter("broker", ADAPTERS, url)
    return adapter(url, options)
